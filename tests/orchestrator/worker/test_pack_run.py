"""One pack's life, in this process."""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from orchestrator.plan.packs import Context, Lane, PackSpec, make_packs
from orchestrator.plan.plan import plan
from orchestrator.plan.studies import catalogue
from orchestrator.queue.lease import Lease, SupersededError, passes
from orchestrator.user_code import guarded
from orchestrator.worker import pack_run, resume_points
from orchestrator.worker import recorder as recording
from orchestrator.worker.pack_run import PackRun, stop_on_sigterm
from orchestrator.worker.recorder import Recorder
from orchestrator.worker.watchdog import Watchdog
from results import Store, StoreError, create_store, open_store
from tests.support import faulty_study, tiny_study
from tests.support.small_trials import same
from tests.support.stores import kept_epochs
from trainables.declarations.probes.base import is_due
from trainables.packs.pack import EpochResult

TINY = str(Path(__file__).parents[2] / "support" / "tiny_study.py")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return create_store(tmp_path / "store")


def tiny(*lanes: dict[str, Any], **shared: Any) -> PackSpec:
    """A pack of up to four trials of the tiny grid, all of one program."""
    registry = catalogue(TINY).registry
    grid = {**tiny_study.GRID.param_space, "lr": 0.1, "seed": 0, **shared}
    trials = [registry.resolve({**grid, **lane}) for lane in lanes]
    (spec,) = make_packs(trials, {}, {}, devices=1, width=4)
    return spec


def started(spec: PackSpec, store: Store | None = None, *more: Any, **context: Any) -> PackRun:
    """A run that writes no resume points unless told to."""
    told = Context(**{"checkpoint_s": math.inf, **context})
    run = PackRun(spec, catalogue(TINY).registry, store, told, *more)
    run.start()
    return run


def finished(run: PackRun) -> PackRun:
    while not run.step().done:
        pass
    return run


def files_of(store: Store) -> dict[str, bytes]:
    """Content of each file but the lease, which beats."""
    root = Path(store.root)
    paths = [path for path in root.rglob("*") if path.is_file() and path.name != "lease.json"]
    return {str(path.relative_to(root)): path.read_bytes() for path in paths}


class Clock:
    """Goes on by `pace` seconds whenever it is read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, pace: float = 0.0):
        self.now, self.pace = 0.0, pace
        for module in (pack_run, recording, resume_points):
            monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=self.monotonic))

    def monotonic(self) -> float:
        self.now += self.pace
        return self.now


def test_an_interrupt_after_a_resume_point_keeps_it(tmp_path: Path) -> None:
    store = create_store(str(tmp_path / "store"))
    (pack,) = plan("tiny/grid", study=TINY, store=store, width=4)[0].packs
    run = PackRun(pack, catalogue(TINY).registry, store, Context(checkpoint_s=0.0))
    run.start()
    assert not run.step().done
    (saved,) = store.list_checkpoints()
    run.interrupt()
    (kept,) = store.list_checkpoints()
    assert (kept["path"], kept["lanes"][0]["epoch"]) == (saved["path"], 1)
    (again,) = plan("tiny/grid", study=TINY, store=store, width=4)[0].packs
    assert {lane.first_epoch for lane in again.lanes} == {1}
    assert {lane.attempt for lane in again.lanes} == {1}


def test_a_gpu_takes_up_what_a_cpu_began_under_a_signature_of_a_gpu_s(tmp_path: Path) -> None:
    store = create_store(str(tmp_path / "store"))
    (pack,) = plan("tiny/grid", study=TINY, store=store, width=4, limit=1)[0].packs
    run = PackRun(pack, catalogue(TINY).registry, store, Context(checkpoint_s=0.0))
    run.start()
    run.step()
    run.interrupt()
    on_cpu, on_gpu = (
        plan("tiny/grid", study=TINY, store=store, devices=1, gpu=gpu)[0].packs
        for gpu in (False, True)
    )
    assert {(p.width, p.strategy) for p in on_cpu} == {(4, "sequential")}
    assert {(p.width, p.strategy) for p in on_gpu} == {(4, "default")}
    assert [lane.first_epoch for p in on_gpu for lane in p.lanes] == [1, 0, 0, 0]


def test_a_fenced_attempt_stops_itself_and_publishes_nothing_more(tmp_path: Path) -> None:
    """As that of a worker whose node was cut off, when its pack runs elsewhere."""
    store = create_store(str(tmp_path / "store"))
    (pack,) = plan("tiny/grid", study=TINY, store=store, width=4)[0].packs
    pack.generation = "launch:first"
    with Lease(store) as lease:
        lease.raise_fence(pack.id, pack.generation)
        guard = partial(passes, open_store(store.uri), pack.id, pack.generation)
        run = PackRun(pack, catalogue(TINY).registry, store, Context(), guard)
        run.start()
        lease.drop_fence(pack.id)  # what the driver does before it queues the pack again
        before = {path.name for path in (tmp_path / "store").rglob("*") if path.is_file()}
        for publish in (run.step, run.interrupt, partial(run.fail, "Traceback", "why")):
            with pytest.raises(SupersededError, match="taken over"):
                publish()
        assert {p.name for p in (tmp_path / "store").rglob("*") if p.is_file()} == before


def fenced(spec: PackSpec, store: Store, lease: Lease, **context: Any) -> PackRun:
    """A run behind its fence, after one epoch, with nothing left to publish."""
    spec.generation = "launch:first"
    lease.raise_fence(spec.id, spec.generation)
    guard = partial(passes, open_store(store.uri), spec.id, spec.generation)
    run = started(spec, store, guard, **context)
    assert not run.step().done
    return run


@pytest.mark.parametrize("taken_over", [False, True])
@pytest.mark.parametrize(
    "publish",
    [PackRun.checkpoint, PackRun.interrupt, PackRun.step, finished],
    ids=lambda f: f.__name__,
)
def test_a_fenced_worker_writes_no_resume_point_nor_weights_nor_rows(
    store: Store, publish: Callable[[PackRun], Any], taken_over: bool
) -> None:
    """Whether its fence is gone or names the attempt that has taken over."""
    spec = tiny({"keep_weights": "every:2"}, {"keep_weights": "last", "seed": 1}, epochs=3)
    with Lease(store) as lease:
        run = fenced(spec, store, lease)
        if taken_over:
            lease.raise_fence(spec.id, "launch:second")
        else:
            lease.drop_fence(spec.id)
        before = files_of(store)
        with pytest.raises(SupersededError):
            publish(run)
        assert files_of(store) == before


def test_a_fenced_worker_leaves_the_resume_point_to_the_next(store: Store) -> None:
    """It has written one itself, which the attempt that takes over starts from."""
    spec = tiny({}, epochs=3)
    with Lease(store) as lease:
        run = fenced(spec, store, lease, checkpoint_s=0.0)
        lease.drop_fence(spec.id)
        before = files_of(store)
        assert [name for name in before if name.startswith("checkpoints/")]
        for publish in (run.checkpoint, run.step, run.interrupt):
            with pytest.raises(SupersededError):
                publish()
        assert files_of(store) == before


@pytest.mark.parametrize(
    ("every", "epochs"),
    [(None, []), (0, [0, 6]), (1, [0, 1, 2, 3, 4, 5, 6]), (2, [0, 2, 4, 6]), (3, [0, 3, 6]),
     (4, [0, 4, 6]), (6, [0, 6]), (7, [0, 6])],
)  # fmt: skip
def test_a_probe_comes_with_the_first_and_the_last_epoch_and_each_kth(
    every: int | None, epochs: list[int]
) -> None:
    assert [e for e in range(7) if is_due(every, e, e == 6)] == epochs


def test_each_lane_is_probed_at_its_own_cadence_and_at_its_own_end(store: Store) -> None:
    spec = tiny(
        {"timeline_every": 0},
        {"timeline_every": 2, "seed": 1},
        {"timeline_every": 3, "seed": 2},
        {"timeline_every": 0, "seed": 3, "epochs": 3},
        epochs=5,
    )
    finished(started(spec, store))
    query = "SELECT trial_id, list(DISTINCT epoch ORDER BY epoch) FROM timeline GROUP BY 1"
    found = dict(store.sql(query).fetchall())
    assert [found[i] for i in spec.trial_ids] == [[0, 4], [0, 2, 4], [0, 3, 4], [0, 2]]
    assert not store.has("probes/sharpness"), "null is never"
    assert all(state["done"] for state in store.completeness(spec.trial_ids).values())


def test_rows_of_probes_that_an_epoch_brings_are_recorded_with_it() -> None:
    """As those of an analysis: of its active lanes, whatever the cadences of others are."""
    run = PackRun(tiny({}, {"seed": 1}), catalogue(TINY).registry, None, Context())
    columns = {"layer": np.array([0, 1]), "t": np.array([5, 5]),
               "grad_norm": np.array([[1.0, 2.0], [3.0, 4.0]])}  # fmt: skip
    nothing = np.array([])
    result = EpochResult({}, {}, {}, nothing, nothing, np.array([-1, -1]), np.zeros(2, bool), {},
                         {"timeline": columns})  # fmt: skip
    run.epochs[1] = 1
    run._record_probes(np.array([1]), set(), result)
    run.recorder.flush()
    (rows,) = run.recorder.kept["timeline"]
    assert rows.select(["trial_id", "epoch", "layer", "t", "grad_norm"]).to_pylist() == [
        {"trial_id": run.spec.trial_ids[1], "epoch": 1, "layer": layer, "t": 5, "grad_norm": norm}
        for layer, norm in ((0, 3.0), (1, 4.0))
    ]


def test_an_end_that_is_shown_is_whole(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reads the store at any moment finds, with a trial's end, its rows and weights."""
    spec = tiny({"epochs": 1}, {"seed": 1, "epochs": 2}, {"seed": 2}, epochs=3, keep_weights="last")
    publish, save = store.publish, store.save_weights
    ends: list[set[str]] = []

    reader = open_store(store.uri)

    def look(path: str) -> str:
        states = reader.completeness(spec.trial_ids)
        ended = {i for i, state in states.items() if state["status"] == "done"}
        assert all(states[i]["done"] and i in kept_epochs(reader) for i in ended)
        ends.append(ended)
        return path

    monkeypatch.setattr(store, "publish", lambda *given: look(publish(*given)))
    monkeypatch.setattr(store, "save_weights", lambda *given: look(save(*given)))
    monkeypatch.setattr(recording, "ENDS_S", 0.0)
    finished(started(spec, store))
    assert [len(set(found)) for found in ends[:1] + ends[-1:]] == [0, 3]
    assert {len(found) for found in ends} == {0, 1, 2, 3}


def test_a_resume_point_comes_with_the_epoch_that_ends_a_minute_after_the_last(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    run = started(tiny({}, epochs=6), store, checkpoint_s=60.0)
    found = []
    for now in (59.99, 60.0, 119.99, 120.0, 121.0, 999.0):
        clock.now = now
        run.step()
        found.append([entry["path"] for entry in store.list_checkpoints()])
    first, second = (f"checkpoints/{run.spec.id}-{epoch:06d}" for epoch in (2, 4))
    assert found == [[], [first], [first], [second], [second], []], "one at a time, and none at end"


def test_a_resume_point_holds_the_lanes_that_go_on_and_all_rows_before_it_are_out(
    store: Store,
) -> None:
    run = started(tiny({"epochs": 1}, {"seed": 1}, {"seed": 2}, epochs=3), store)
    run.step()
    run.step()
    run.checkpoint()
    (entry,) = store.list_checkpoints()
    assert [(lane["trial_id"], lane["attempt"], lane["epoch"]) for lane in entry["lanes"]] == [
        (trial_id, 0, 2) for trial_id in run.spec.trial_ids[1:]
    ]
    for lane in entry["lanes"]:
        assert lane["rows"]["epochs"] == 2
        assert open_store(store.uri).rows_intact(lane["trial_id"], 2, lane["rows"])
    state = run.pack.state()
    for position in (0, 1):
        held = store.load_lane(entry["path"], position)
        assert held.keys() == state.keys()
        assert all(same(held[name], values[position + 1]) for name, values in state.items())


def test_a_run_that_was_interrupted_ends_as_if_it_had_not_been(
    store: Store, tmp_path: Path
) -> None:
    """Weights to the last bit, ends, and all that rows are counted by."""
    lanes = [
        {"early_stopping": 2, "lr": 1.0, "seed": 1},  # its lowest loss is that of the first epoch
        {"keep_weights": "best", "lr": 1.0, "seed": 1},
        {"stop_below": 1e9, "stop_patience": 3},
        {"keep_weights": "last"},
    ]
    whole = finished(started(tiny(*lanes, epochs=5), create_store(tmp_path / "whole")))
    first = started(tiny(*lanes, epochs=5), store)
    first.step()
    first.step()
    first.interrupt()
    spec = tiny(*lanes, epochs=5)
    (entry,) = store.list_checkpoints()
    for position, lane in enumerate(spec.lanes):
        memo = entry["lanes"][position]
        assert (memo["trial_id"], memo["epoch"]) == (lane.trial_id, 2)
        lane.attempt, lane.first_epoch, lane.follows = 1, 2, [(0, "")]
        lane.checkpoint, lane.checkpoint_lane, lane.memo = entry["path"], position, memo
    again = finished(started(spec, store))
    assert whole.store is not None
    for lane, trial_id in enumerate(spec.trial_ids):
        ours, theirs = again.pack.weights(lane), whole.pack.weights(lane)
        assert all(same(ours[name], theirs[name]) for name in theirs)
        ends = [
            found.sql(
                "SELECT status, reason, epochs_done, rows::JSON FROM attempts "
                "WHERE trial_id = $id AND newest",
                {"id": trial_id},
            ).fetchall()
            for found in (store, whole.store)
        ]
        assert ends[0] == ends[1]
    assert kept_epochs(store) == kept_epochs(whole.store)
    assert all(state["done"] for state in store.completeness(spec.trial_ids).values())


def test_rows_of_trials_say_how_far_each_came_and_at_what_cost(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    spec = tiny({}, {"lr": 1e38}, {"seed": 1, "epochs": 1}, epochs=2)
    run = started(spec, store, launch_id="launch", space="tiny/grid")
    clock.pace = 0.5  # an epoch takes as long, as it reads the clock before and after
    first, second = run.step(), run.step()
    done, bad, short = spec.trial_ids
    assert run.last is not None
    assert (first.epoch, first.ended, first.done) == (0, {bad: "diverged", short: "done"}, False)
    assert first.reasons.keys() == {bad}
    assert (second.epoch, second.ended, second.reasons, second.done) == (
        1,
        {done: "done"},
        {},
        True,
    )
    assert first.signature == run.signature
    rows = {
        (row["trial_id"], row["event"]): row
        for part in (Path(store.root) / "trials").glob("*.parquet")
        for row in pq.read_table(part).to_pylist()
    }
    assert len(rows) == 6
    for trial_id in spec.trial_ids:
        begun, ended = rows[trial_id, 0], rows[trial_id, 1]
        assert (begun["status"], begun["epochs_done"]) == ("running", 0)
        assert all(begun[name] is None for name in ("rows", "ended", "seconds", "bad_epoch"))
        assert ended["started"] == begun["started"] <= ended["ended"]
        for row in (begun, ended):
            assert (row["launch_id"], row["space"]) == ("launch", "tiny/grid")
            assert json.loads(row["signature"]) == run.signature
            assert row["device"] == run.signature["device"]
            assert row["parameters"] == run.pack.parameter_count > 0
            assert row["error"] is None
    assert {i: rows[i, 1]["epochs_done"] for i in spec.trial_ids} == {done: 2, bad: 1, short: 1}
    shares = {i: rows[i, 1]["seconds"] for i in spec.trial_ids}
    assert shares == pytest.approx({done: 0.5 / 3 + 0.5, bad: 0.5 / 3, short: 0.5 / 3})
    assert rows[bad, 1]["bad_epoch"] == 0
    step = rows[bad, 1]["bad_step"]
    assert rows[bad, 1]["reason"] == first.reasons[bad] == f"non-finite at epoch 0, step {step}"
    assert rows[done, 1]["bad_epoch"] is rows[done, 1]["bad_step"] is None


def test_a_failure_ends_the_lanes_that_were_still_active(store: Store) -> None:
    run = started(tiny({"epochs": 1}, {"seed": 1}, epochs=3), store)
    run.step()
    run.fail("Traceback", "ValueError: why")
    rows = store.sql("SELECT status, reason, error, epochs_done FROM attempts ORDER BY lane")
    assert rows.fetchall() == [
        ("done", None, None, 1), ("failed", "ValueError: why", "Traceback", 1)
    ]  # fmt: skip


def test_a_failure_before_the_pack_is_built_ends_all_lanes(store: Store) -> None:
    run = PackRun(tiny({}, {"seed": 1}), catalogue(TINY).registry, store, Context())
    run.fail("Traceback", "MemoryError: why")
    rows = store.sql("SELECT status, parameters, device, signature FROM attempts")
    assert rows.fetchall() == [("failed", None, None, None)] * 2


FAULTY = str(Path(__file__).parents[2] / "support" / "faulty_study.py")


def faulty(*lanes: dict[str, Any], **shared: Any) -> PackRun:
    """A run of the faulty study's trials, whose start raises."""
    registry = catalogue(FAULTY).registry
    grid = {**faulty_study.SMALL, "fault": "none", **shared}
    trials = [registry.resolve({**grid, "seed": i, **lane}) for i, lane in enumerate(lanes)]
    (spec,) = make_packs(trials, {}, {}, devices=1, width=4)
    run = PackRun(spec, registry, None, Context())
    with pytest.raises(Exception), guarded():  # noqa: B017, PT011
        run.start()
    return run


@pytest.mark.parametrize(
    ("bug", "of"), [("build", {"fault": "none"}), ("exit", {"fault": "none"}), ("call", {})]
)
def test_a_bug_in_a_model_is_every_trial_s(bug: str, of: dict[str, str]) -> None:
    """Of these init keys at least: `build` reads them, and `__call__` does not."""
    assert faulty({}, {}, {}, bug=bug).unmakeable() == [of]


def test_a_model_that_cannot_be_made_by_one_value_of_an_init_key_is_those_trials_fault() -> None:
    bad = [{"fault": "raise"}]
    assert faulty({}, {"fault": "raise"}, {}).unmakeable() == bad
    assert faulty({"fault": "raise"}, {}, {"fault": "raise"}).unmakeable() == bad
    both = faulty({"fault": "raise"}, {"fault": "exit"}).unmakeable()
    assert both == [{"fault": "raise"}, {"fault": "exit"}]


def test_a_schedule_that_refuses_one_trial_s_values_is_that_trial_s_fault() -> None:
    refused = {"lr": 0.5}
    shared = {"optimizer": "faulty_sgd"}
    assert faulty({}, refused, **shared).unmakeable() is None
    assert faulty(refused, **shared).unmakeable() is None
    assert faulty(refused, refused, **shared).unmakeable() == [{}]


def test_what_fails_in_training_may_be_one_trial_s_fault() -> None:
    run = started(tiny({}, {"seed": 1}))
    run.pack._state = None
    with pytest.raises(RuntimeError):
        run.step()
    assert run.unmakeable() is None


def test_a_trial_that_takes_too_long_has_failed_by_what_it_did(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All lanes of the pack, and the rows say where it hung."""
    found = catalogue(FAULTY)
    seen: list[list[tuple[Any, ...]]] = []

    def end(status: int) -> None:
        rows = store.sql("SELECT status, reason, error, attempt FROM attempts")
        seen.append(rows.fetchall())
        hang.set()

    monkeypatch.setattr(pack_run, "Watchdog", partial(Watchdog, end=end))
    grid = {**faulty_study.SMALL, "bug": "hang"}
    trials = [found.registry.resolve({**grid, "seed": seed}) for seed in (0, 1)]
    build: Any = trials[0].model.build
    hang = build.__globals__["HANG"]  # the study's own, as `catalogue` has read it
    (spec,) = make_packs(trials, {}, {}, devices=1, width=2)
    with pytest.raises(RuntimeError, match="woken"):
        PackRun(spec, found.registry, store, Context(trial_seconds=0.2)).start()
    (rows,) = seen
    line = 1 + Path(FAULTY).read_text().splitlines().index("        HANG.wait()")
    for status, reason, error, attempt in rows:
        assert (status, attempt) == ("failed", 0)
        limit = "after 0.2 s, the --trial-timeout"
        assert reason == f"still building model and data {limit} ({FAULTY}:{line})"
        assert "HANG.wait()" in error
    assert len(rows) == 2


def test_trials_that_train_in_turn_share_their_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """An epoch of two lanes may take twice what one of them has left."""
    allowed: list[tuple[str, float]] = []

    class Noted(Watchdog):
        def within(self, doing: str, seconds: float) -> AbstractContextManager[None]:
            allowed.append((doing, seconds))
            return contextlib.nullcontext()

    monkeypatch.setattr(pack_run, "Watchdog", Noted)
    run = started(tiny({"epochs": 1}, {"seed": 1, "epochs": 2}), trial_seconds=1000.0)
    finished(run)
    making = [name for name, _ in allowed[:3]]
    assert making == ["building model and data", "initialising", "compiling"]
    left = {name: seconds for name, seconds in allowed if name.startswith("training")}
    assert 1000 < left["training epoch 0"] <= 2000
    assert left["training epoch 1"] < 1000
    assert run._spent[0] < 1000


def test_only_lanes_with_the_values_at_fault_are_ended(store: Store) -> None:
    run = PackRun(tiny({}, {"seed": 1}, {"seed": 2}), catalogue(TINY).registry, store, Context())
    run.fail("Traceback", "why", [{"seed": 1}, {"seed": 2, "lr": 0.1}])
    rows = store.sql("SELECT t.seed, a.status FROM attempts a JOIN trials t USING (trial_id)")
    assert sorted(rows.fetchall()) == [(1, "failed"), (2, "failed")]


def test_an_interrupt_comes_once_and_only_while_something_runs(store: Store) -> None:
    run = started(tiny({"epochs": 1}, {"seed": 1, "epochs": 2}), store)
    run.step()
    run.interrupt("it was told to leave")
    before = files_of(store)
    assert [name for name in before if name.startswith("checkpoints/")]
    run.interrupt("again")
    assert files_of(store) == before
    rows = store.sql("SELECT status, reason FROM attempts ORDER BY lane").fetchall()
    assert rows == [("done", None), ("interrupted", "it was told to leave")]
    finished(run)
    ended = files_of(store)
    run._interrupted = False
    run.interrupt()
    assert files_of(store) == ended


def test_without_a_store_rows_are_kept_and_no_resume_point_is_written() -> None:
    run = started(tiny({}, {"seed": 1}), checkpoint_s=0.0)
    finished(run)
    kept = {name: sum(table.num_rows for table in t) for name, t in run.recorder.kept.items()}
    assert kept["epochs"] == 4
    assert run.recorder.counts[0]["epochs"] == 2


def test_another_segment_goes_on_from_the_same_states() -> None:
    """As a replay does it where a trial was resumed under another signature."""
    whole, cut = started(tiny({}, {"seed": 1})), started(tiny({}, {"seed": 1}))
    whole.step()
    cut.step()
    before = cut.pack
    cut.change_segment({"width": 4, "strategy": "sequential"})
    assert cut.pack is not before
    assert cut.signature == whole.signature
    whole.step()
    cut.step()
    for lane in (0, 1):
        theirs = whole.pack.weights(lane)
        assert all(same(value, theirs[name]) for name, value in cut.pack.weights(lane).items())


def test_a_trial_that_another_version_would_make_is_refused() -> None:
    spec = tiny({})
    spec.lanes[0] = Lane("0" * 16, spec.lanes[0].config)
    with pytest.raises(RuntimeError, match="another version of the code"):
        PackRun(spec, catalogue(TINY).registry, None, Context())


def test_a_notice_to_leave_is_heard() -> None:
    before = signal.getsignal(signal.SIGTERM)
    heard: list[bool] = []
    try:
        stop_on_sigterm(lambda: heard.append(True))
        os.kill(os.getpid(), signal.SIGTERM)
        assert heard == [True]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_pack_that_would_not_fit_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (pack,) = plan("tiny/grid", store=None, study=TINY, width=4)[0].packs
    run = PackRun(pack, catalogue(TINY).registry, None, Context())
    run.start()
    needed = run.pack.rise_bytes()
    for free, fits in ((needed, True), (needed - 1, False)):
        monkeypatch.setattr(pack_run, "memory_free", lambda free=free: float(free))
        again = PackRun(pack, catalogue(TINY).registry, None, Context())
        if fits:
            again.start()
        else:
            with pytest.raises(MemoryError, match=r"4 lanes takes .* --width"):
                again.start()


def test_a_flush_that_failed_half_way_publishes_nothing_twice(tmp_path: Path) -> None:
    store = create_store(tmp_path / "store")
    recorder = Recorder(store, ["a"], [0])
    for table in ("epochs", "steps"):
        recorder.add(table, np.array([0]), {"epoch": np.zeros(1, np.int32)}, 1)
    in_the_way = tmp_path / "store" / "steps"
    in_the_way.touch()
    with pytest.raises(StoreError):
        recorder.flush()
    in_the_way.unlink()
    recorder.flush()
    parts = [path.parent.name for path in sorted((tmp_path / "store").glob("*/*.parquet"))]
    assert parts == ["epochs", "steps"]


def test_a_lane_starts_from_the_weights_that_its_parent_has_kept(store: Store) -> None:
    def packs() -> list[PackSpec]:
        changes = ["lr=0.1", "epochs=1"]
        return plan("tiny/staged", study=TINY, store=store.uri, set=changes)[0].packs

    first, second = packs()
    assert {lane.parent_id for lane in first.lanes} == {None}
    finished(started(first, store))
    (waiting,) = packs()
    (lane,), parent = waiting.lanes, first.lanes[0].trial_id
    assert lane.trial_id == second.lanes[0].trial_id
    assert lane.parent_id == parent
    found, kept = started(waiting, store).pack.weights(0), store.weights(parent)
    assert found.keys() == kept.keys()
    assert all(same(found[name], kept[name]) for name in kept)
