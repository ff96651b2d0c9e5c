"""Plans against a real store, whose rows `debug --record` has written."""

from __future__ import annotations

import gc
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import orchestrator.plan.studies
from orchestrator.debug import debug
from orchestrator.errors import RequestError
from orchestrator.plan.plan import SpacePlan, open_or_none, plan
from results import create_store, open_store
from tests.support.made_up_rows import attempt_row, table
from trainables.declarations import Part, Registry, Trial, builtin_registry
from trainables.declarations.probes.base import is_due, times_due

STUDY = str(Path(__file__).parents[2] / "support" / "tiny_study.py")
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


def test_json_tells_programs_stages_and_padding() -> None:
    found = planned(changes={"depth": [1, 2]}, width=3).to_json()
    assert (found["trials"], found["packs"], found["programs"], found["widths"]) == (8, 4, 2, [3])
    assert found["padding"] == 2 * (3 - 1)
    assert found["stages"] == {"train": 8}
    assert [
        (row["stage"], row["differs"], row["trials"], row["packs"], row["widths"])
        for row in found["program_table"]
    ] == [("train", {"depth": 1}, 4, 2, [3]), ("train", {"depth": 2}, 4, 2, [3])]
    assert len({row["program"] for row in found["program_table"]}) == 2
    assert (found["stale"], found["blocked"], found["incomplete"], found["lacking"]) == (
        0, {}, {}, {}
    )  # fmt: skip
    assert (found["variants"], found["warnings"], found["seconds"]) == ({}, [], None)
    assert found["rows"]["epochs"] == 8 * 2
    assert found["bytes"] > 0
    staged = planned(STAGED)
    assert staged.stages == ["warmup", "train"]
    assert staged.to_json()["stages"] == {"warmup": 1, "train": 2}
    assert staged.programs == sorted({pack.program for pack in staged.packs})
    assert [row["differs"].keys() for row in staged.program_table] == [
        row["differs"].keys() for row in staged.program_table[:1]
    ] * 2
    assert ids(staged.trials) == [*ids(staged.trials[:1]), *ids(staged.targets)]


def test_the_defaults_are_two_devices_no_gpu_and_no_forced_pack() -> None:
    assert planned().packs == planned(devices=2, gpu=False, lanes="auto", width=None).packs
    assert {pack.width for pack in planned(devices=1).packs} == {4}
    assert {pack.width for pack in planned(devices=4).packs} == {1}


def test_what_is_recorded_is_done(store: Path) -> None:
    one = planned(store=store)
    assert one.done == set(ids(one.trials))
    assert one.to_run == one.packs == []
    assert one.rows == {}


def test_the_estimate_is_what_is_written(recorded: Path, recorded_stages: Path) -> None:
    opened = open_store(str(recorded))
    for name, count in planned().rows.items():
        folder = "attempts" if name == "trials" else name
        (found,) = opened.sql(f"SELECT count(*) FROM {folder}").fetchall()[0]
        assert (name, found) == (name, count // 2 if name == "trials" else count)
    one = planned(STAGED)
    done = planned(STAGED, recorded_stages)
    opened = open_store(str(recorded_stages))
    chosen = [t.id for t in one.trials if t.id in done.done]
    assert len(chosen) == 2
    for name in ("epochs", "layers", "steps", "timeline"):
        query = f"SELECT count(*) FROM {name} WHERE trial_id IN (SELECT unnest($ids))"
        (found,) = opened.sql(query, {"ids": chosen}).fetchall()[0]
        assert found == one.rows[name] - done.rows[name]


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


def make_newer(monkeypatch: pytest.MonkeyPatch, which: Callable[[Part], bool]) -> None:
    """From now on these built-in parts are of version 2."""

    def registry() -> Registry:
        found = builtin_registry()
        for place, part in found.parts.items():
            found.parts[place] = replace(part, version=2) if which(part) else part
        return found

    monkeypatch.setattr(orchestrator.plan.studies, "builtin_registry", registry)


@pytest.fixture
def newer_model(monkeypatch: pytest.MonkeyPatch) -> None:
    make_newer(monkeypatch, lambda part: part.role == "model")


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
    make_newer(monkeypatch, lambda part: part.name == "warmup")
    one = planned(STAGED, stages)
    parent, first, second = one.trials
    assert one.stale == {first.id}
    assert ids(one.to_run) == [parent.id, second.id]
    assert {lane.artifact for p in one.packs for lane in p.lanes if lane.trial_id == parent.id} == {
        True
    }


def made(folder: Path, *rows: Mapping[str, Any]) -> Path:
    """A store of attempts that were never run."""
    opened = create_store(folder / "made")
    opened.publish("trials", table(rows))
    return folder / "made"


@pytest.mark.parametrize("status", ["done", "diverged", "failed", "running"])
def test_only_what_an_older_version_has_ended_is_stale(tmp_path: Path, status: str) -> None:
    first, *others = planned().trials
    store = made(tmp_path, attempt_row("0" * 16, config_id=first.config_id, status=status))
    one = planned(store=store)
    old = status in ("done", "diverged")
    assert one.stale == ({first.id} if old else set())
    assert ids(one.to_run) == ([] if old else [first.id]) + ids(others)
    if status == "done":
        again = planned(store=store, rerun=["stale"])
        assert (again.stale, len(again.to_run)) == (set(), 4)
        assert planned(store=store, rerun=["failed"]).stale == one.stale


def test_what_this_version_has_begun_is_not_stale_whatever_an_older_one_did(tmp_path: Path) -> None:
    first = planned().trials[0]
    own = attempt_row(first.id, config_id=first.config_id, status="failed", config=first.config)
    old = attempt_row("0" * 16, config_id=first.config_id)
    one = planned(store=made(tmp_path, old, own))
    assert one.stale == set()
    assert first.id in ids(one.to_run)


@pytest.mark.parametrize("status", ["done", "interrupted"])
def test_rows_that_are_missing_make_an_ended_trial_incomplete_and_no_other(
    tmp_path: Path, status: str
) -> None:
    """Either starts over, since rows before its resume point are gone."""
    first = planned().trials[0]
    row = attempt_row(first.id, 3, status=status, config=first.config, rows={"epochs": 2})
    store = made(tmp_path, row)
    one = planned(store=store)
    assert one.incomplete == ({first.id: ["epochs"]} if status == "done" else {})
    assert one.lacking == {}
    lanes = {lane.trial_id: lane for pack in one.packs for lane in pack.lanes}
    assert len(lanes) == 4
    assert (lanes[first.id].attempt, lanes[first.id].first_epoch) == (4, 0)


def test_an_ended_trial_that_runs_again_leaves_its_resume_points_alone(tmp_path: Path) -> None:
    """One that was asked for again, one without its rows and one that lacks a probe."""
    trials = planned().trials
    rows = [
        attempt_row(one.id, config=one.config, rows={"epochs": 2} if number == 1 else {})
        for number, one in enumerate(trials)
    ]
    store = made(tmp_path, *rows)
    entries = [{"trial_id": one.id, "attempt": 0, "epoch": 1, "rows": {}} for one in trials]
    open_store(str(store)).save_weights(
        "checkpoints", "p", {"w": np.zeros((4, 1))}, {"lanes": entries}
    )
    again = planned(store=store, rerun=[trials[0].id])
    assert again.done == {one.id for one in trials[2:]}
    assert ids(again.to_run) == [one.id for one in trials[:2]]
    assert {lane.first_epoch for pack in again.packs for lane in pack.lanes} == {0}
    lacking = planned(store=store, changes={"timeline_every": 1})
    assert lacking.lacking.keys() == {trials[0].id, trials[2].id, trials[3].id}
    assert {lane.first_epoch for pack in lacking.packs for lane in pack.lanes} == {0}


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


@pytest.mark.parametrize("harm", ["gone", "tensors gone", "tensors cut short"])
def test_a_parent_whose_weights_cannot_be_read_runs_again(stages: Path, harm: str) -> None:
    for path in (stages / "artifacts").iterdir():
        if harm == "tensors cut short" and path.suffix == ".safetensors":
            path.write_bytes(path.read_bytes()[:-1])
        elif harm == "gone" or path.suffix == ".safetensors":
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


@pytest.mark.parametrize("every", [None, 0, 1, 2, 3, 7, 10, 100])
@pytest.mark.parametrize("epochs", [0, 1, 2, 3, 9, 10, 11])
def test_how_often_a_probe_is_due_is_counted_without_counting(
    every: int | None, epochs: int
) -> None:
    due = sum(is_due(every, epoch, epoch == epochs - 1) for epoch in range(epochs))
    assert times_due(every, epochs) == due


def test_a_plan_of_as_many_epochs_as_there_may_be_is_made_at_once() -> None:
    (one,) = plan("vanishing/quickstart", set=["epochs=2147483647", "timeline_every=3"], limit=1)
    assert one.rows["epochs"] == 2**31 - 1


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "2", 2**31, pytest.param(10**5000, id="huge")])
@pytest.mark.parametrize("name", ["limit", "width", "devices"])
def test_a_count_is_a_whole_number_in_python_too(name: str, value: object) -> None:
    with pytest.raises(RequestError, match=f"--{name} must be a whole number of at least 1; got"):
        plan(GRID, study=STUDY, **{name: value})  # type: ignore[arg-type]
