"""What a simulated pack publishes, against what a real one does on the same clock."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.plan.packs import Context
from orchestrator.plan.plan import plan
from orchestrator.plan.studies import catalogue
from orchestrator.simulate.pace import Pace
from orchestrator.simulate.publishing import LaneWork, journal, lane_work
from orchestrator.worker import pack_run, recorder
from orchestrator.worker.pack_run import PackRun
from results import create_store
from results.schema import table_name

STUDY = str(Path(__file__).parents[2] / "support" / "tiny_study.py")


@pytest.mark.parametrize(
    ("pace", "checkpoint_s", "observed"),
    [
        (Pace(0.5, 0.0, 1, 1), 60.0, {}),
        (Pace(4.0, 0.0, 1, 1), 20.0, {"timeline_every": 3}),
        (Pace(0.0, 1.0, 1, 1), 7.0, {"keep_weights": "best", "timeline_every": 0}),
        (Pace(25.0, 1.0, 1, 1), 60.0, {"keep_weights": "every:4"}),
        (Pace(3.0, 0.0, 1, 1), 0.0, {"keep_weights": "last"}),
    ],
)
@pytest.mark.slow
def test_a_real_pack_publishes_the_same(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    pace: Pace,
    checkpoint_s: float,
    observed: dict[str, Any],
) -> None:
    changes = {"epochs": [5, 14], "seed": 0, "lr": 0.01, **observed}
    (one,) = plan("tiny/grid", store=None, set=changes, study=STUDY, devices=1)
    (pack,) = one.packs
    trials = {trial.id: trial for trial in one.to_run}
    now = [0.0]
    clock = SimpleNamespace(monotonic=lambda: now[0])
    monkeypatch.setattr(pack_run, "time", clock)
    monkeypatch.setattr(recorder, "time", clock)
    store = create_store(str(tmp_path / "store"))
    rows: Counter[str] = Counter()
    parts: Counter[str] = Counter()
    saves: Counter[str] = Counter()
    publish, save = store.publish, store.save_weights

    def counting_publish(table: str, data: Any) -> str:
        name = table.removeprefix("probes/")
        rows[name] += len(data)
        parts[name] += 1
        assert table_name(table) == table
        return publish(table, data)

    def counting_save(kind: Any, *words: Any) -> str:
        saves[kind] += 1
        return save(kind, *words)

    monkeypatch.setattr(store, "publish", counting_publish)
    monkeypatch.setattr(store, "save_weights", counting_save)
    run = PackRun(pack, catalogue(STUDY).registry, store, Context(checkpoint_s=checkpoint_s))
    run.start()
    train = run.pack.advance

    def timed(epoch: int) -> Any:
        now[0] += pace.epoch_s(int(run.pack.active[: len(pack.lanes)].sum()))
        return train(epoch)

    monkeypatch.setattr(run.pack, "advance", timed)
    while not run.step().done:
        pass

    log = journal(tuple(lane_work(trials[i]) for i in pack.trial_ids), 0, pace, checkpoint_s)
    assert log.seconds == pytest.approx(now[0])
    assert {table: round(count) for table, count in log.whole.rows.items()} == rows
    assert log.whole.parts == parts
    assert log.whole.resume_points == saves["checkpoints"]
    if observed.get("keep_weights") == "best":  # taken to improve from each save to the next
        assert log.whole.saves >= saves["artifacts"] > 0
    else:
        assert log.whole.saves == saves["artifacts"]


lanes = st.lists(st.integers(1, 40), min_size=1, max_size=4).map(
    lambda epochs: tuple(LaneWork(n, (("epochs", 1.0), ("layers", 7.0))) for n in epochs)
)
paces = st.builds(
    Pace, st.floats(0.01, 100), st.sampled_from([0.0, 0.5]), st.just(10.0), st.just(1.0)
)


@given(lanes, paces, st.integers(0, 39), st.floats(0, 300))
def test_rows_add_up_and_time_runs_on(
    lanes: tuple[LaneWork, ...], pace: Pace, first: int, checkpoint_s: float
) -> None:
    log = journal(lanes, first, pace, checkpoint_s)
    times = [mark.at for mark in log.marks]
    assert times == sorted(times)
    trained = [max(lane.epochs - first, 1) for lane in lanes]
    assert log.whole.rows["epochs"] == pytest.approx(sum(trained))
    assert log.whole.rows["layers"] == pytest.approx(7 * sum(trained))
    assert log.whole.rows["trials"] == 2 * len(lanes)
    assert sorted(i for mark in log.marks for i in mark.ended) == list(range(len(lanes)))
    told = [lane for _, ended in log.reports() for lane in ended]
    assert sorted(told) == list(range(len(lanes)))
    assert log.reports()[-1][0] == log.seconds
    if pace.lane_s == 0:
        assert log.seconds == pytest.approx(max(trained) * pace.pack_s)


@given(lanes, paces, st.integers(0, 39), st.floats(0.1, 300), st.floats(-0.1, 1))
def test_a_death_loses_what_is_after_the_resume_point_and_no_more(
    lanes: tuple[LaneWork, ...], pace: Pace, first: int, checkpoint_s: float, when: float
) -> None:
    log = journal(lanes, first, pace, checkpoint_s)
    at = when * log.seconds
    cut = log.cut(at)
    assert cut.resume >= first
    assert all(mark.at <= at for mark in cut.marks)
    assert cut.ended == {i for mark in log.marks if mark.at <= at for i in mark.ended}
    # Saving comes at the end of an epoch, so this much may be lost and not a second more.
    longest = pace.epoch_s(len(lanes))
    assert cut.seconds <= (checkpoint_s + longest) * (1 + 1e-6) + longest
    left = len(lanes) - len(cut.ended)
    assert cut.epochs % max(left, 1) == 0
    assert cut.rows <= 8 * cut.epochs + 1e-6


def test_dying_before_the_first_step_loses_nothing() -> None:
    log = journal((LaneWork(3, (("epochs", 1.0),)),), 0, Pace(1.0, 0.0, 9.0, 1.0), 60.0)
    cut = log.cut(-0.5)
    assert (cut.marks, cut.resume, cut.epochs, cut.seconds) == ((), 0, 0, 0.0)
