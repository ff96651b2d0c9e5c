"""What a simulated pack publishes, against what a real one does on the same clock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
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
from orchestrator.simulate.publishing import Course, LaneWork, Tally, lane_work
from orchestrator.worker import pack_run, recorder, resume_points
from orchestrator.worker.pack_run import PackRun
from results import create_store
from results.schema import table_name

STUDY = str(Path(__file__).parents[2] / "support" / "tiny_study.py")


def whole(course: Course, waiting: Sequence[tuple[LaneWork, int]] = ()) -> tuple[Tally, float]:
    """All that a pack publishes which nothing disturbs, and the seconds it takes; those that wait
    take the slots of those that have ended."""
    found, seconds, left = Tally(), 0.0, list(waiting)
    while course.active:
        coming = course.next
        found.add_whole(coming)
        seconds += coming.seconds
        for _ in course.finish():
            course.take([left.pop(0)] if left else [])
    return found, seconds


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
    changes = {"epochs": [5, 14, 6], "seed": 0, "lr": 0.01, **observed}
    (one,) = plan("tiny/grid", store=None, set=changes, study=STUDY, devices=1, width=2)
    pack, later = one.packs
    first = list(pack.trial_ids)
    trials = {trial.id: trial for trial in one.to_run}
    now = [0.0]
    clock = SimpleNamespace(monotonic=lambda: now[0])
    for module in (pack_run, recorder, resume_points):
        monkeypatch.setattr(module, "time", clock)
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

    def timed(epochs: Any) -> Any:
        now[0] += pace.epoch_s(int(run.pack.active[: len(pack.lanes)].sum()))
        return train(epochs)

    monkeypatch.setattr(run.pack, "advance", timed)
    waiting = list(later.lanes)
    while not run.idle:
        run.step()
        if waiting and run.free():
            assert not run.take([waiting.pop()])
    run.close()

    course = Course(pace, checkpoint_s)
    course.take([(lane_work(trials[i]), 0) for i in first])
    tally, seconds = whole(course, [(lane_work(trials[i]), 0) for i in later.trial_ids])
    assert seconds == pytest.approx(now[0])
    assert {table: round(count) for table, count in tally.rows.items()} == rows
    assert tally.parts == parts
    assert tally.resume_points == saves["checkpoints"]
    if observed.get("keep_weights") == "best":  # taken to improve from each save to the next
        assert tally.saves >= saves["artifacts"] > 0
    else:
        assert tally.saves == saves["artifacts"]


lanes = st.lists(st.integers(1, 40), min_size=1, max_size=4).map(
    lambda epochs: tuple(LaneWork(n, (("epochs", 1.0), ("layers", 7.0))) for n in epochs)
)
paces = st.builds(
    Pace, st.floats(0.01, 100), st.sampled_from([0.0, 0.5]), st.just(10.0), st.just(1.0)
)


def course_of(lanes: Sequence[LaneWork], pace: Pace, first: int, checkpoint_s: float) -> Course:
    found = Course(pace, checkpoint_s)
    found.take([(lane, first) for lane in lanes])
    return found


@given(lanes, lanes, paces, st.integers(0, 39), st.floats(0, 300))
def test_rows_add_up_and_time_runs_on(
    lanes: tuple[LaneWork, ...],
    later: tuple[LaneWork, ...],
    pace: Pace,
    first: int,
    checkpoint_s: float,
) -> None:
    course = course_of(lanes, pace, first, checkpoint_s)
    times = [mark.at for mark in course.next.marks]
    assert times == sorted(times)
    tally, seconds = whole(course, [(lane, 3) for lane in later])
    trained = [max(lane.epochs - first, 1) for lane in lanes]
    trained += [max(lane.epochs - 3, 1) for lane in later]
    assert tally.rows["epochs"] == pytest.approx(sum(trained))
    assert tally.rows["layers"] == pytest.approx(7 * sum(trained))
    assert tally.rows["trials"] == 2 * len(trained)
    if pace.lane_s == 0:
        most = max(*trained, sum(trained) / len(lanes))
        assert most * pace.pack_s <= seconds * (1 + 1e-9)


@given(lanes, paces, st.integers(0, 39), st.floats(0.1, 300), st.floats(-0.1, 1), st.data())
def test_a_death_loses_what_is_after_the_resume_point_and_no_more(
    lanes: tuple[LaneWork, ...],
    pace: Pace,
    first: int,
    checkpoint_s: float,
    when: float,
    data: st.DataObject,
) -> None:
    course = course_of(lanes, pace, first, checkpoint_s)
    for _ in range(data.draw(st.integers(0, len({lane.epochs for lane in lanes})))):
        if len(course.active) > 1:
            course.finish()
            course.take([(LaneWork(30, (("epochs", 1.0),)), 5)])
    at = when * course.next.seconds
    cut = course.cut(at)
    assert cut.resume.keys() == course.active.keys()
    assert all(epoch >= min(first, 5) for epoch in cut.resume.values())
    assert all(mark.at <= at for mark in cut.marks)
    # Saving comes at the end of an epoch, so this much may be lost and not a second more.
    longest = pace.epoch_s(len(lanes))
    assert cut.seconds <= (checkpoint_s + longest) * (1 + 1e-6) + longest
    assert cut.rows <= 8 * cut.epochs + 1e-6


def test_dying_before_the_first_step_loses_nothing() -> None:
    course = course_of([LaneWork(3, (("epochs", 1.0),))], Pace(1.0, 0.0, 9.0, 1.0), 0, 60.0)
    cut = course.cut(-0.5)
    assert (cut.marks, cut.resume, cut.epochs, cut.seconds) == ((), {0: 0}, 0, 0.0)
