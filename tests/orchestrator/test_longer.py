"""Trials that go on from shorter ones, and from the states that pruned ones left."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator import store_queue
from orchestrator.cli.plan_text import plan_lines
from orchestrator.errors import RequestError
from orchestrator.exact_replay import segments
from orchestrator.plan.packs import Context
from orchestrator.plan.plan import SpacePlan, plan
from orchestrator.plan.space_record import space_json
from orchestrator.plan.store_state import drop_finished_checkpoints
from orchestrator.plan.stored_trials import stored_trials
from orchestrator.plan.studies import catalogue
from orchestrator.promote import promote
from orchestrator.worker.pack_run import PackRun
from results import Store, create_store, open_store
from tests.orchestrator.cli.test_app import many
from tests.support.stores import attempts, differing, kept_epochs, published, whole

LONGER = str(Path(__file__).parents[1] / "support" / "longer_study.py")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return create_store(tmp_path / "store")


def planned(store: Store, space: str, width: int | None = None, **changes: Any) -> SpacePlan:
    return plan(f"longer/{space}", study=LONGER, store=store, set=changes, width=width)[0]


def started(one: SpacePlan, store: Store) -> list[PackRun]:
    launch = f"launch{len(store.attempts())}"
    found = []
    for pack in one.packs:
        told = Context(launch_id=launch, checkpoint_s=math.inf)
        run = PackRun(pack, catalogue(LONGER).registry, store, told)
        run.start()
        found.append(run)
    return found


def ran(store: Store, space: str, width: int | None = None, **changes: Any) -> SpacePlan:
    """What a launch does, here and without Ray."""
    one = planned(store, space, width, **changes)
    for run in started(one, store):
        while not run.step().done:
            pass
        run.close()
    drop_finished_checkpoints(store)
    return one


@pytest.mark.slow
@pytest.mark.parametrize("space", ["kinds", "streamed"])
def test_a_longer_trial_has_the_numbers_of_one_trained_at_once(
    space: str, store: Store, tmp_path: Path
) -> None:
    """Twice longer, batch norm, dropout, momenta and stop rules included, under other widths."""
    ran(store, space, width=2, epochs=2, keep_weights="state")
    before = published(Path(store.root))
    middle = ran(store, space, width=2, epochs=3, keep_weights="state")
    last = ran(store, space, width=2, epochs=6)
    count = len(last.trials)
    assert {epoch for _, epoch in middle.continued.values()} == {2}
    assert {epoch for _, epoch in last.continued.values()} == {3}
    assert len(middle.continued) == len(last.continued) == count
    ends = {row["trial_id"]: row for row in attempts(Path(store.root))}
    trained = [ends[one.id]["epochs_done"] for one in last.trials]
    stops = [one.config["stop_below"] is not None for one in last.trials]
    assert trained == [4 if stop else 6 for stop in stops]
    assert published(Path(store.root)) == before + count + sum(trained) - 3 * count

    at_once = create_store(tmp_path / "at_once")
    for epochs, keep in ((6, "none"), (3, "state"), (2, "state")):
        assert not ran(at_once, space, width=2, epochs=epochs, keep_weights=keep).continued
    assert differing(store, at_once) == {}
    assert not planned(store, space, epochs=6).to_run
    again = planned(store, space, epochs=6, keep_weights="last")
    assert set(again.lacking) == set(again.continued) == {one.id for one in last.trials}


def test_a_longer_trial_whose_worker_died_goes_on_from_the_shorter_one_again(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the launch that lost it, and in another."""
    (short,) = ran(store, "one", epochs=2, keep_weights="state").trials
    one = planned(store, "one", epochs=4)
    (lost,) = started(one, store)
    lost.step()
    lost.recorder.flush()
    monkeypatch.setattr(store_queue, "PackQueue", lambda *given, **more: given[4])
    lease: Any = SimpleNamespace(id="launch")
    refresh: Any = store_queue.store_queue(store, [one], lease, Context(), keep_going=False)
    ((lane,), ended) = refresh(lost.spec)
    assert (lane.first_epoch, lane.attempt, lane.continues, ended) == (2, 1, short.id, {})
    again = ran(store, "one", epochs=4)
    assert [epoch for _, epoch in again.continued.values()] == [2]
    at_once = create_store(tmp_path / "at_once")
    ran(at_once, "one", epochs=4)
    ran(at_once, "one", epochs=2, keep_weights="state")
    assert differing(store, at_once) == {}


def test_a_longer_trial_goes_on_from_where_a_launch_was_stopped(
    store: Store, tmp_path: Path
) -> None:
    """From the resume point of the shorter one, though that one has more to do."""
    (run,) = started(planned(store, "one", epochs=4), store)
    run.step()
    run.interrupt()
    longer = ran(store, "one", epochs=5)
    assert [epoch for _, epoch in longer.continued.values()] == [1]
    assert not ran(store, "one", epochs=4).continued
    at_once = create_store(tmp_path / "at_once")
    ran(at_once, "one", epochs=5)
    ran(at_once, "one", epochs=4)
    assert differing(store, at_once) == {}


REASONS: dict[str, tuple[str, dict[str, Any], dict[str, Any], str]] = {
    "a schedule of ours": (
        "adam", {"lr_end": 0.001}, {"lr_end": 0.001},
        "optimizer adam with lr_end=0.001 reads the total of epochs",
    ),
    "an optimizer of the user's": (
        "cosine", {}, {}, "optimizer cosine reads the total of epochs",
    ),
    "no state": (
        "one", {"keep_weights": "last"}, {},
        "the shorter trials' states were not kept or are damaged (--keep-weights state keeps them)",
    ),
    "its end": (
        "one", {"stop_below": 1e9, "stop_patience": 1}, {"stop_below": 1e9, "stop_patience": 1},
        "the shorter trials ended before their length was up",
    ),
    "weights": (
        "one", {}, {"keep_weights": "best"},
        "keep_weights=best wants weights of epochs that are done",
    ),
    "a probe": ("deep", {}, {"timeline_every": 1}, "the shorter trials did not record timeline"),
}  # fmt: skip


@pytest.mark.parametrize("case", REASONS)
def test_the_plan_says_why_a_trial_cannot_go_on(case: str, store: Store) -> None:
    space, short, long, why = REASONS[case]
    ran(store, space, **{"epochs": 2, "keep_weights": "state", **short})
    one = planned(store, space, **{"epochs": 4, **long})
    (trial,) = one.to_run
    assert not one.continued
    assert [lane.first_epoch for pack in one.packs for lane in pack.lanes] == [0]
    lost = 1 if case == "its end" else 2
    assert one.anew == {why: {trial.id: lost}}
    more = "1 epoch" if lost == 1 else "2 epochs"
    assert f"  {why}: 1 trial trains from epoch 0, {more} more" in plan_lines(one, 0)


def test_a_state_that_is_damaged_or_lacks_rows_is_worth_nothing(store: Store) -> None:
    ran(store, "one", epochs=2, keep_weights="state")
    assert planned(store, "one", epochs=4).continued
    (index,) = store.list_checkpoints()
    file = Path(store.root, f"{index['path']}.safetensors")
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    assert not planned(store, "one", epochs=4).continued
    file.write_bytes(whole)
    assert planned(store, "one", epochs=4).continued
    next(Path(store.root, "steps").glob("*.parquet")).unlink()
    assert not planned(store, "one", epochs=4).continued


def test_states_are_kept_with_the_last_weights_and_sized_beforehand(store: Store) -> None:
    """Of a trial that comes to its length; the last weights of any."""
    one = planned(store, "kinds", epochs=5, keep_weights="state")
    (line,) = [line for line in plan_lines(one, 0) if "states of" in line]
    assert line.startswith("  states of 6 trials are kept: about 21.8 kB, 3.64 kB each")
    ran(store, "kinds", epochs=5, keep_weights="state")
    done = {t.id for t in one.trials if t.config["stop_below"] is None}
    saved = store.list_checkpoints()
    assert {entry["trial_id"] for index in saved for entry in index["lanes"]} == done
    assert {i: epochs[-1] for i, epochs in kept_epochs(store).items()} == {
        t.id: 4 if t.id in done else 3 for t in one.trials
    }


# ---- pruned trials ---------------------------------------------------------------------------


def pruned(
    store: Store, space: str, keep: bool = True, width: int | None = None, **changes: Any
) -> list[str]:
    """Runs a space whose trials are all pruned after their first epoch; their ids, the best in
    val_loss first."""
    one = planned(store, space, width, **changes)
    values: dict[str, float] = {}
    for pack in one.packs:
        for lane in pack.lanes:
            lane.rungs, lane.metric = [1], "val_loss"
        told = Context(launch_id="pruning", checkpoint_s=math.inf, keep_pruned=keep)
        run = PackRun(pack, catalogue(LONGER).registry, store, told)
        run.start()
        reached = run.step().at_rung
        values |= {at.trial_id: at.value for at in reached}
        run.settle({at.trial_id: "prune" for at in reached})
        run.close()
    store.write_space(one.name, space_json(one, catalogue(LONGER)))
    drop_finished_checkpoints(store)
    return sorted(values, key=lambda trial_id: values[trial_id])


def test_a_pruned_trial_goes_on_to_its_length_or_beyond(store: Store, tmp_path: Path) -> None:
    (trial_id,) = pruned(store, "one")
    longer = ran(store, "one", epochs=5)
    assert list(longer.continued.values()) == [(trial_id, 1)]
    (pack,) = planned(store, "one").packs
    assert [(lane.first_epoch, lane.attempt) for lane in pack.lanes] == [(1, 1)]
    ran(store, "one")
    assert not store.list_checkpoints()
    at_once = create_store(tmp_path / "at_once")
    ran(at_once, "one", epochs=5)
    ran(at_once, "one")
    assert differing(store, at_once) == {}


def test_what_cannot_be_promoted_is_said_in_a_sentence(store: Store, tmp_path: Path) -> None:
    (lost,) = pruned(store, "cosine", keep=False)
    (kept,) = pruned(store, "adam", lr_end=0.001)
    done = ran(store, "one").trials[0].id
    given: dict[str, Any] = {"store": store.uri, "study": LONGER}
    zero = "would train from epoch 0; --from-start has it do that"
    total = "optimizer adam with lr_end=0.001 reads the total of epochs"
    best = {"space": "longer/adam", "top": 1}
    wrong: list[tuple[tuple[str, ...], dict[str, Any], str]] = [
        ((), {}, "name the trials to promote, or give --space STUDY/SPACE and --top N"),
        ((kept,), best, "name the trials to promote, or give"),
        ((), {"space": "longer/adam"}, "name the trials to promote, or give"),
        (("nix",), {}, "no trial starts with 'nix'; see `gradsweep status`."),
        ((done,), {}, f"trial {done} is done, not pruned, so none of it is left to train"),
        ((lost,), {}, f"no state of trial {lost} was kept, so it {zero}"),
        ((kept, lost), {}, "these trials are of several spaces; promote those of one space"),
        ((kept,), {"epochs": 2}, "--epochs 2 is less than the 3 that were planned"),
        ((kept,), {"epochs": 5}, f"{total}, so 1 trial {zero}"),
        ((), {**best, "metric": "val_los"}, "has recorded val_los (did you mean val_loss?)"),
        ((), {**best, "mode": "up"}, "mode is min or max; got up"),
        ((kept,), {"study": None}, "unknown space 'longer/adam'"),
        ((kept,), {"store": str(tmp_path / "none")}, "there is no store at "),
    ]
    for trials, options, why in wrong:
        with pytest.raises(RequestError, match=re.escape(why)):
            promote(*trials, **{**given, **options})


@pytest.mark.ray
@pytest.mark.slow
def test_promoted_trials_are_trained_to_their_end(store: Store, ray_session: str) -> None:
    """The best of a space to its length, another beyond it; the third stays as it is."""
    ids = pruned(store, "kinds", stop_below=None)
    given: dict[str, Any] = {"store": store.uri, "study": LONGER, "progress": "none"}
    assert promote(space="longer/kinds", top=1, **given).counts == {"done": 1}
    assert promote(ids[1][:6], epochs=5, **given).counts == {"done": 1}
    rows = {row["trial_id"]: row for row in attempts(Path(store.root)) if row["newest"]}
    assert [rows[i]["status"] for i in ids] == ["done", "pruned", "pruned"]
    assert [rows[i]["first_epoch"] for i in ids] == [1, 0, 0]
    (longer,) = rows.keys() - {*ids}
    assert (rows[longer]["continues"], rows[longer]["first_epoch"]) == (ids[1], 1)
    whole(Path(store.root))
    record = open_store(store.uri).spaces()["longer/kinds"]
    assert sorted(record["trials"]) == sorted([*ids, longer])


@pytest.mark.slow
def test_a_longer_trial_and_a_promoted_one_are_replayed_to_the_bit(store: Store) -> None:
    """Under the width of the first epochs, then under another."""
    (promoted,) = pruned(store, "one", width=1)
    ran(store, "one", width=2)
    ran(store, "kinds", width=2, epochs=2, stop_below=None, keep_weights="state")
    one = ran(store, "kinds", width=3, epochs=4, stop_below=None)
    longer = next(trial.id for trial in one.trials if trial.config["optimizer"] == "momentum")
    rebuilt = {promoted: [(0, 1), (1, 2)], longer: [(0, 2), (2, 3)]}
    words = ["debug", "--study", LONGER, "--store", store.uri, "--exact", "--json", "--trial"]
    said, _ = many([[*words, trial_id] for trial_id in rebuilt], Path(store.root).parent)
    skip = {"trial_id", "attempt", "launch_id", "seconds", "metrics"}
    for (trial_id, widths), (status, out, err) in zip(rebuilt.items(), said, strict=True):
        (trial,) = stored_trials(catalogue(LONGER), store, [trial_id])
        found = segments(store, trial)
        assert [(part.from_epoch, part.signature["width"]) for part in found] == widths
        assert status == 0, err
        replayed = json.loads(out)
        for table, order in (("epochs", "epoch"), ("steps", "epoch, step")):
            held = store.sql(
                f"SELECT * FROM {table} WHERE trial_id = $id ORDER BY {order}", {"id": trial_id}
            ).rows()
            assert len(held) == len(replayed[table]) > 0
            for row, again in zip(held, replayed[table], strict=True):
                names = row.keys() & again.keys() - skip
                assert {n: row[n] for n in names} == {n: again[n] for n in names}
