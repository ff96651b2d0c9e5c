"""Judges with real stores: what launches do whose trials train in no time, and which end early."""

from __future__ import annotations

import json
import math
import random
import zlib
from pathlib import Path
from typing import Any

import pytest

from orchestrator.plan.packs import Lane
from orchestrator.plan.plan import SpacePlan, plan
from orchestrator.pruning.judge import Judge, Reached
from orchestrator.pruning.launch_judge import judge_for
from results import Store, create_store
from tests.support.made_up_rows import attempt_row, epoch_row, table
from trainables.declarations import Trial

pytestmark = pytest.mark.slow

STUDY = str(Path(__file__).parents[2] / "support" / "tiny_study.py")
EPOCHS = 6
CHANGES = {"epochs": EPOCHS, "lr": [0.3, 0.1, 0.01, 0.001], "seed": [0, 1]}
RULES = ("asha", "halving", "hyperband", "median")


def planned(store: Store, **options: Any) -> SpacePlan:
    given = {"set": CHANGES, "metric": "val_loss", "grace": 1, **options}
    (found,) = plan("tiny/grid", store=store, study=STUDY, **given)
    return found


def value_of(trial_id: str, epochs: int) -> float:
    return zlib.crc32(f"{trial_id} {epochs}".encode()) / 2**32


class Launch:
    """Trains a lane by publishing what a worker would, from its first epoch on."""

    def __init__(self, store: Store, name: str, **options: Any):
        self.store, self.name = store, name
        self.plan = planned(store, **options)
        judge = judge_for(store, [self.plan], name)
        assert judge is not None
        self.judge: Judge = judge
        self.lanes = {lane.trial_id: lane for pack in self.plan.packs for lane in pack.lanes}
        self.done: dict[str, int] = {}
        self.waiting: set[str] = set()

    def run(self, rng: random.Random, events: int = 10**6) -> None:
        """Trains all there is, in an order that `rng` draws, or is killed after some events."""
        for _ in range(events):
            self._settle(self.judge.settled())
            moving = sorted(self.lanes.keys() - self.waiting)
            if not moving:
                assert not self.waiting
                return
            self._train(self.lanes[rng.choice(moving)])

    def _train(self, lane: Lane) -> None:
        one, begin = lane.trial_id, self.done.get(lane.trial_id, lane.first_epoch)
        if one not in self.done:
            self._publish(lane, 0, "running", begin)
        end = min([rung for rung in self.judge.rungs(one) if rung > begin] or [EPOCHS])
        rows = [
            epoch_row(one, e, 1.0, lane.attempt, val_loss=value_of(one, e + 1), launch_id=self.name)
            for e in range(begin, end)
        ]
        self.store.publish("epochs", table(rows))
        self.done[one] = end
        if end == EPOCHS:
            self._end(lane, "done")
            self.judge.ended(one, "done")
        else:
            self.waiting.add(one)
            self._settle(self.judge.ask([Reached(one, end, value_of(one, end))]))

    def _settle(self, verdicts: dict[str, Any]) -> None:
        for one, verdict in verdicts.items():
            if verdict != "wait":
                self.waiting.discard(one)
            if verdict == "prune":
                self._end(self.lanes[one], "pruned")

    def _end(self, lane: Lane, status: str) -> None:
        self._publish(lane, 1, status, self.done[lane.trial_id])
        del self.lanes[lane.trial_id]

    def _publish(self, lane: Lane, event: int, status: str, done: int) -> None:
        row = attempt_row(
            lane.trial_id, lane.attempt, event, status=status, config=lane.config,
            first_epoch=lane.first_epoch, epochs_done=done, epochs_planned=EPOCHS,
            rows={"epochs": done}, launch_id=self.name, follows=json.dumps(lane.follows),
        )  # fmt: skip
        self.store.publish("trials", table([row]))


def swept(path: Path, rule: str, seed: int, kills: bool, **options: Any) -> Store:
    """A store after launches of which all but the last were killed."""
    store, rng = create_store(str(path)), random.Random(seed)
    for number in range(3 if kills else 0):
        Launch(store, f"killed-{number}", prune=rule, **options).run(rng, rng.randint(1, 12))
    Launch(store, "last", prune=rule, **options).run(rng)
    return store


def decisions(store: Store) -> list[tuple[Any, ...]]:
    names = ("space", "rule", "metric", "trial_id", "rung", "epoch", "value", "verdict", "against")
    return [tuple(row[name] for name in names) for row in store.decisions().to_pylist()]


@pytest.mark.parametrize("over", [None, "seed"])
def test_halving_decides_the_same_through_any_kills(tmp_path: Path, over: str | None) -> None:
    plain = swept(tmp_path / "plain", "halving", 0, kills=False, over=over)
    rows = decisions(plain)
    assert {row[:3] for row in rows} == {("tiny/grid", "halving", "val_loss")}
    assert [sum(row[4] == rung for row in rows) for rung in (0, 1)] == [8, 2]
    if over is None:
        for *_, one, _, epoch, value, verdict, against in rows:
            held = json.loads(against)
            assert held[one] == value == value_of(one, epoch)
            best = sorted(held.values())[: max(1, len(held) // 3)]
            assert verdict == ("go" if value in best else "prune")
    killed = swept(tmp_path / "killed", "halving", 1, kills=True, over=over)
    assert sorted(decisions(killed)) == sorted(rows)
    again = planned(killed, prune="halving", over=over)
    assert not again.to_run
    assert again.pruned == planned(plain, prune="halving", over=over).pruned
    ended = plain.sql("SELECT status, count(*) FROM trials GROUP BY 1 ORDER BY 1").fetchall()
    done = 1 if over is None else 2
    assert ended == [("done", done), ("pruned", 8 - done)]


@pytest.mark.parametrize("rule", RULES)
def test_pruned_trials_are_those_of_all_cells(tmp_path: Path, rule: str) -> None:
    """Trials are compared within each learning rate alone."""
    store = swept(tmp_path, rule, 0, kills=True, within=["lr"])
    pruned = {row[3] for row in decisions(store) if row[7] == "prune"}
    again = planned(store, prune=rule, within=["lr"])
    assert not again.to_run
    assert again.pruned.keys() == pruned
    rates = store.sql("SELECT DISTINCT lr FROM trials WHERE status = 'pruned'").fetchall()
    assert rule != "halving" or len(rates) == 4


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule != "halving"])
def test_a_resumed_launch_takes_no_decision_again(tmp_path: Path, rule: str) -> None:
    store = swept(tmp_path, rule, 1, kills=True, factor=None)
    rows = decisions(store)
    assert len({row[3:5] for row in rows}) == len(rows)  # a trial at a rung
    last = {row[3]: row[7] for row in rows}
    status = dict(store.sql("SELECT trial_id, status FROM trials").fetchall())
    pruned = {trial_id for trial_id, verdict in last.items() if verdict == "prune"}
    assert {trial_id for trial_id, known in status.items() if known == "pruned"} == pruned
    again = planned(store, prune=rule)
    assert not again.to_run
    assert again.pruned.keys() == pruned
    if rule == "asha":
        _check_asha(rows)


@pytest.mark.parametrize("rule", ["asha", "halving"])
def test_the_next_launch_ends_what_was_decided_but_not_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rule: str
) -> None:
    """All processes die after decisions are written and before any trial has ended by them."""
    store = create_store(str(tmp_path))
    killed = Launch(store, "killed", prune=rule)
    monkeypatch.setattr(killed, "_settle", lambda verdicts: None)
    for lane in list(killed.lanes.values()):
        killed._train(lane)
    before = decisions(store)
    assert {row[7] for row in before} == {"go", "prune"}
    assert not planned(store, prune=rule).pruned
    Launch(store, "last", prune=rule).run(random.Random(0))
    rows = decisions(store)
    assert rows[: len(before)] == before
    assert len({row[3:5] for row in rows}) == len(rows)
    status = dict(store.sql("SELECT trial_id, status FROM trials").fetchall())
    pruned = {row[3] for row in rows if row[7] == "prune"}
    assert status == {one: "pruned" if one in pruned else "done" for one in status}
    assert planned(store, prune=rule).pruned.keys() == pruned


def _check_asha(rows: list[tuple[Any, ...]]) -> None:
    """Each verdict is that of Optuna's rule on the values before it, and these are in its row."""
    before: dict[int, dict[str, float]] = {}
    for *_, one, rung, _, value, verdict, against in rows:
        held = json.loads(against)
        assert held == before.setdefault(rung, {})
        before[rung][one] = value
        ranked = sorted(before[rung].values())
        assert verdict == ("go" if value <= ranked[max(len(ranked) // 3, 1) - 1] else "prune")


def test_a_launch_without_the_rule_takes_pruned_trials_up(tmp_path: Path) -> None:
    store = swept(tmp_path, "halving", 0, kills=False)
    assert len(planned(store, prune=None, metric=None, grace=None).to_run) == 7
    # Another factor has other survivors: what it prunes no more goes on.
    kinder = planned(store, prune="halving", factor=2)
    assert 0 < len(kinder.to_run) < 7
    assert kinder.pruned.keys() < planned(store, prune="halving").pruned.keys()
    assert not planned(store, prune="asha").pruned  # which has decided nothing yet


def test_spaces_that_share_trials_have_one_judge_for_each(tmp_path: Path) -> None:
    """The one whose packs run a trial judges it; the other space hears of it."""
    store = create_store(str(tmp_path))
    halving, asha = planned(store, prune="halving"), planned(store, prune="asha", grace=2)
    plain = planned(store, metric=None, grace=None)
    assert judge_for(store, [plain], "a") is None
    judge = judge_for(store, [plain, halving], "a")
    ids = [trial.id for trial in plain.to_run]
    assert judge is not None
    assert not any(map(judge.rungs, ids))  # the first space runs them, and prunes nothing
    judge = judge_for(store, [halving, asha], "a")
    assert judge is not None
    assert {tuple(judge.rungs(one)) for one in ids} == {(1, 3)}
    reached = [Reached(one, 1, value_of(one, 1)) for one in ids]
    assert set(judge.ask(reached[:-1]).values()) == {"wait"}
    assert judge.settled() == {}
    last = judge.ask(reached[-1:])
    assert last.keys() == {ids[-1]}
    assert sorted({**last, **judge.settled()}.values()) == ["go"] * 2 + ["prune"] * 6
    assert {row[1] for row in decisions(store)} == {"halving"}


def test_a_longer_trial_is_judged_by_the_epochs_of_its_shorter_one(tmp_path: Path) -> None:
    store = swept(tmp_path, "halving", 0, kills=False)
    went = {row[3] for row in decisions(store) if row[4] == 0 and row[7] == "go"}

    def key(one: Trial) -> tuple[Any, ...]:
        return one.config["lr"], one.config["seed"]

    short = {key(one): one.id for one in planned(store, metric=None, grace=None).targets}
    longer = planned(store, prune="halving", set={**CHANGES, "epochs": 12})
    of = {one.id: short[key(one)] for one in longer.to_run}
    longer.continued = {one: (shorter, 1) for one, shorter in of.items()}
    judge = judge_for(store, [longer], "longer")
    assert judge is not None
    said = judge.ask([Reached(one, 1, math.nan) for one in of])
    assert {of[one] for one, verdict in said.items() if verdict == "go"} == went
    assert set(said.values()) == {"go", "prune"}
