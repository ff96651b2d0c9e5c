"""Plans against a real store, whose rows `debug --record` has written."""

from __future__ import annotations

import gc
import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import trainables.spec
from orchestrator.debugging import debug
from orchestrator.errors import RequestError
from orchestrator.planning import SpacePlan, open_or_none, plan
from results import open_store
from trainables.spec import MODELS, STAGES, Trial

STUDY = str(Path(__file__).with_name("tiny_study.py"))
GRID, STAGED = "tiny/grid", "tiny/staged"
JSON_KEYS = {"space", "trials", "done", "to_run", "packs", "programs", "widths"}


def planned(
    space: str = GRID,
    store: Path | None = None,
    changes: Mapping[str, Any] | None = None,
    **more: Any,
) -> SpacePlan:
    (found,) = plan(
        space, store=str(store) if store else None, set=changes or {}, study=STUDY, **more
    )
    return found


def record(store: Path, trial: Trial, space: str, changes: Mapping[str, Any], **more: Any) -> None:
    debug(space, trial=trial.id, store=str(store), set=changes, study=STUDY, record=True, **more)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with the grid's four trials, each in parts of its own."""
    store = tmp_path_factory.mktemp("planning") / "store"
    for trial in planned().trials:
        record(store, trial, GRID, {})
    return store


@pytest.fixture
def store(recorded: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(recorded, tmp_path / "store"))


@pytest.fixture(scope="module")
def recorded_stages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a warm-up whose weights are kept, one of its two children, and another warm-up
    that did not pass its gate."""
    store = tmp_path_factory.mktemp("planning") / "store"
    keep = {"keep_weights": "last"}
    for trial in planned(STAGED).trials[:2]:
        record(store, trial, STAGED, keep)
    gated = {"warmup_gate": 1e-3}
    record(store, planned(STAGED, changes=gated).trials[0], STAGED, gated)
    return store


@pytest.fixture
def stages(recorded_stages: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(recorded_stages, tmp_path / "store"))


def ids(trials: list[Trial]) -> list[str]:
    return [trial.id for trial in trials]


# ---- what would run ----------------------------------------------------------------------------


def test_an_empty_store_or_none_at_all_runs_everything_and_writes_nothing(tmp_path: Path) -> None:
    for store in (None, tmp_path / "absent", tmp_path):
        one = planned(store=store)
        assert ids(one.to_run) == ids(one.trials) == ids(one.targets)
        assert (len(one.trials), one.done, one.seconds) == (4, set(), None)
    assert list(tmp_path.iterdir()) == []


def test_json_has_the_promised_keys_and_is_json() -> None:
    one = planned()
    found = json.loads(json.dumps(one.to_json()))
    assert found.keys() >= JSON_KEYS
    assert (found["space"], found["trials"], found["done"], found["to_run"]) == (GRID, 4, 0, 4)
    assert (found["packs"], found["programs"], found["widths"]) == (2, 1, [2])
    assert found["to_run_ids"] == ids(one.trials)


def test_what_is_recorded_is_done(store: Path) -> None:
    one = planned(store=store)
    assert one.done == set(ids(one.trials))
    assert one.to_run == one.packs == []
    assert one.rows == {}


def test_the_estimate_is_what_is_written(recorded: Path, recorded_stages: Path) -> None:
    opened = open_store(str(recorded))
    for table, count in planned().rows.items():
        folder = "attempts" if table == "trials" else table
        (found,) = opened.sql(f"SELECT count(*) FROM {folder}").fetchall()[0]
        assert (table, found) == (table, count // 2 if table == "trials" else count)
    one = planned(STAGED)
    done = planned(STAGED, recorded_stages)
    opened = open_store(str(recorded_stages))
    chosen = [t.id for t in one.trials if t.id in done.done]
    assert len(chosen) == 2
    for table in ("epochs", "layers", "steps", "timeline"):
        query = f"SELECT count(*) FROM {table} WHERE trial_id IN (SELECT unnest($ids))"
        (found,) = opened.sql(query, {"ids": chosen}).fetchall()[0]
        assert found == one.rows[table] - done.rows[table]


@pytest.mark.parametrize("table", ["epochs", "layers", "steps", "probes/timeline"])
def test_a_deleted_part_names_exactly_its_trial(store: Path, table: str) -> None:
    part = sorted((store / table).glob("*.parquet"))[1]
    before = open_store(str(store)).completeness(ids(planned().trials))
    part.unlink()
    one = planned(store=store)
    after = open_store(str(store)).completeness(ids(one.trials))
    hit = [i for i in before if after[i] != before[i]]
    assert len(hit) == 1
    assert one.incomplete == {hit[0]: [table.split("/")[-1]]}
    assert ids(one.to_run) == hit
    (pack,) = one.packs
    (lane,) = pack.lanes
    assert (lane.attempt, lane.first_epoch) == (1, 0)


def test_a_corrupt_part_is_a_hole_too(store: Path) -> None:
    part = sorted((store / "layers").glob("*.parquet"))[0]
    part.write_bytes(part.read_bytes()[:100])
    assert len(planned(store=store).incomplete) == 1


def test_new_trials_keep_the_recorded_width(store: Path) -> None:
    more = {"seed": [0, 1, 2]}
    one = planned(store=store, changes=more)
    assert (len(one.trials), len(one.done), len(one.to_run)) == (6, 4, 2)
    assert {pack.width for pack in one.packs} == {1}
    assert {pack.strategy for pack in one.packs} == {"sequential"}
    assert one.seconds is not None
    assert 0 < one.seconds < 60
    assert {pack.width for pack in planned(changes=more).packs} == {3}
    assert {p.width for p in planned(store=store, changes=more, width=4).packs} == {4}
    assert {p.strategy for p in planned(store=store, changes=more, lanes="vmap").packs} == {"vmap"}


def test_limit_and_smoke(store: Path) -> None:
    assert ids(planned(limit=2).trials) == ids(planned().trials)[:2]
    one = planned(store=store, smoke=True)
    assert one.smoke
    assert [(t.epochs, t.config["seed"]) for t in one.trials] == [(1, 0), (1, 0)]
    assert len(one.to_run) == 2
    assert len(planned(STAGED, limit=1).trials) == 2  # its parent comes along


def test_a_study_is_all_its_spaces(store: Path) -> None:
    plans = plan("tiny", store=str(store), study=STUDY)
    assert [(one.name, len(one.to_run)) for one in plans] == [(GRID, 0), (STAGED, 3)]
    assert plans[1].stages == ["warmup", "train"]


# ---- versions, reruns, observations ------------------------------------------------------------


@pytest.fixture
def newer_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainables.spec, "MODELS", [replace(m, version=2) for m in MODELS])


@pytest.mark.usefixtures("newer_model")
def test_an_older_version_is_stale_and_runs_when_asked(store: Path) -> None:
    one = planned(store=store)
    assert one.stale == set(ids(one.trials))
    assert one.done == set()
    assert one.to_run == []
    again = planned(store=store, rerun=["stale"])
    assert ids(again.to_run) == ids(one.trials)
    assert again.stale == set()
    assert {lane.attempt for pack in again.packs for lane in pack.lanes} == {0}
    assert len(planned(store=store, changes={"seed": [0, 5]}).to_run) == 2


def test_a_stale_parent_runs_for_a_child_that_needs_it(
    stages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = planned(STAGED, stages)
    assert len(one.done) == 2
    newer = [replace(s, version=2) if s.name == "warmup" else s for s in STAGES]
    monkeypatch.setattr(trainables.spec, "STAGES", newer)
    one = planned(STAGED, stages)
    parent, first, second = one.trials
    assert one.stale == {first.id}
    assert ids(one.to_run) == [parent.id, second.id]
    assert {lane.artifact for p in one.packs for lane in p.lanes if lane.trial_id == parent.id} == {
        True
    }


def test_one_trial_by_a_unique_prefix(store: Path) -> None:
    every = ids(planned().trials)
    one = planned(store=store, rerun=[every[2][:8]])
    assert ids(one.to_run) == [every[2]]
    (pack,) = one.packs
    assert [(lane.attempt, lane.first_epoch) for lane in pack.lanes] == [(1, 0)]
    assert planned(store=store, rerun=["failed"]).to_run == []
    with pytest.raises(RequestError, match="--rerun zzz is no trial of this space; give stale,"):
        planned(store=store, rerun=["zzz"])
    with pytest.raises(RequestError, match="--rerun  matches several trials"):
        planned(store=store, rerun=[""])


@pytest.mark.parametrize(
    ("changes", "lacking"),
    [
        ({"timeline_every": 1}, ["timeline"]),
        ({"timeline_points": 128}, ["timeline"]),
        ({"keep_weights": "last"}, ["weights"]),
        ({"timeline_every": 2, "keep_weights": "best"}, ["timeline", "weights"]),
        ({"timeline_points": 3}, None),
    ],
)
def test_done_but_lacking_what_is_asked_for_now(
    store: Path, changes: dict[str, Any], lacking: list[str] | None
) -> None:
    one = planned(store=store, changes=changes)
    assert set(ids(one.trials)) == set(ids(planned().trials))
    if lacking is None:
        assert (one.lacking, one.to_run) == ({}, [])
    else:
        assert one.lacking == dict.fromkeys(ids(one.trials), lacking)
        assert {lane.attempt for pack in one.packs for lane in pack.lanes} == {1}


def test_an_interrupted_trial_resumes_where_it_was(tmp_path: Path) -> None:
    store = tmp_path / "store"
    trial = planned().trials[1]
    record(store, trial, GRID, {}, epochs=1)
    one = planned(store=store)
    assert one.done == set()
    lanes = {lane.trial_id: lane for pack in one.packs for lane in pack.lanes}
    assert (lanes[trial.id].attempt, lanes[trial.id].first_epoch) == (1, 1)
    assert lanes[trial.id].checkpoint
    assert {len({lane.first_epoch for lane in pack.lanes}) for pack in one.packs} == {1}
    for part in (store / "epochs").glob("*.parquet"):
        part.unlink()  # rows before the resume point are gone, so it is worth nothing
    lanes = {lane.trial_id: lane for pack in planned(store=store).packs for lane in pack.lanes}
    assert (lanes[trial.id].first_epoch, lanes[trial.id].checkpoint) == (0, None)


# ---- stages ------------------------------------------------------------------------------------


def test_a_child_waits_for_a_kept_parent(stages: Path) -> None:
    one = planned(STAGED, stages)
    parent, first, second = one.trials
    assert one.done == {parent.id, first.id}
    assert ids(one.to_run) == [second.id]
    (pack,) = one.packs
    assert pack.parents == {parent.id}


def test_a_parent_whose_weights_are_gone_runs_again(stages: Path) -> None:
    for path in (stages / "artifacts").iterdir():
        path.unlink()
    one = planned(STAGED, stages)
    parent, first, second = one.trials
    assert one.done == {first.id}
    assert one.lacking == {parent.id: ["weights"]}
    assert ids(one.to_run) == [parent.id, second.id]


def test_children_of_a_failed_gate_are_blocked_with_the_reason(stages: Path) -> None:
    one = planned(STAGED, stages, {"warmup_gate": 1e-3})
    parent, *children = one.trials
    assert one.done == {parent.id}
    assert one.to_run == []
    assert set(one.blocked) == set(ids(children))
    for reason in one.blocked.values():
        assert reason.startswith(f"parent {parent.id} gate_failed: warm-up ended at loss")


def test_children_of_a_diverged_parent_are_blocked(tmp_path: Path) -> None:
    store, wild = tmp_path / "store", {"warmup_lr": 3e38, "warmup_min_norm": 3e38}
    parent = planned(STAGED, changes=wild).trials[0]
    record(store, parent, STAGED, wild)
    one = planned(STAGED, store, wild)
    assert len(one.blocked) == 2
    assert all("non-finite at epoch 0" in reason for reason in one.blocked.values())


# ---- bad requests ------------------------------------------------------------------------------


def problems(space: str = GRID, **request: Any) -> list[str]:
    with pytest.raises(RequestError) as caught:
        plan(space, study=STUDY, **request)
    return caught.value.problems


def test_every_problem_at_once() -> None:
    found = problems(set=["depht=3", "lr=-1", "activation=gelu", "depth=0", "epochs"])
    assert found == [
        "unknown key 'depht' (did you mean depth?)",
        "--set 'epochs' is not key=value",
        "activation must be one of tanh, relu; got 'gelu'",
        "depth must be an integer >= 1 and <= 10000; got 0",
        "lr must be a number >= 0; got -1",
    ]


def test_a_key_that_a_trial_does_not_read_is_told() -> None:
    (found,) = problems(set={"residual_scale": 1.0})
    assert found == (
        "unknown key 'residual_scale'; not read by stage train, model vanilla_rnn, task gaussian, "
        "optimizer sgd"
    )


def test_a_missing_data_set_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADSWEEP_DATA", str(tmp_path))
    (one,) = plan("vanishing/readme")
    (warning,) = one.warnings
    assert warning.startswith(f"data set cifar10 is not complete in {tmp_path}")
    assert "run `gradsweep data fetch cifar10`" in warning


def test_planning_leaves_garbage_collection_as_it_was() -> None:
    assert gc.isenabled()
    planned()
    assert gc.isenabled()
    with pytest.raises(RequestError):
        planned("nothing")
    assert gc.isenabled()
    gc.disable()
    try:
        planned()
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_what_is_no_store(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "notes.txt").write_text("")
    newer = tmp_path / "newer"
    newer.mkdir()
    (newer / "store.json").write_text('{"format": 99}')
    for path, says in (
        (str(file), "file"), (str(folder), "is not a store (no store.json)"),
        (str(newer), "has format 99 and this gradsweep reads up to"),
        ("nowhere://x", "give a local path or an s3://"),
    ):  # fmt: skip
        (found,) = problems(store=path)
        assert says in found
    assert open_or_none(str(tmp_path / "absent")) is None
    assert open_or_none(None) is None
