"""What a worker says of its pack, and when, with a made-up run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.plan.packs import Lane
from orchestrator.plan.paused import PausedTrial
from orchestrator.pruning.judge import Reached
from orchestrator.ray_backend import pack_talk
from orchestrator.ray_backend.pack_talk import PackTalk
from orchestrator.worker.run_progress import Failure, Progress
from tests.support.queues import END, handed, lane, pack, queue_of

NOTHING = {"verdicts": {}, "lanes": [], "more": False, "stop": False}


class Run:
    """A pack whose trials end after so many epochs, or cannot be made (0); an epoch takes
    `epoch_s` of a clock that stands otherwise. At `rungs` a trial is held."""

    def __init__(self, width: int, lanes: Mapping[str, int], epoch_s: float = 0.125, rung: int = 0):
        self.spec = pack(*(lane(name) for name in lanes), width=width)
        self.signature = {"strategy": "sequential", "width": width}
        self.context = SimpleNamespace(trial_seconds=None)
        self.lengths = dict(lanes)
        self.epochs = [0] * width
        self.active = [True] * len(lanes) + [False] * (width - len(lanes))
        self.rung, self.epoch_s = rung, epoch_s
        self.now, self.flushed, self.settled = 0.0, 0, {}
        self.recorder = SimpleNamespace(flush=self._flush)

    def _flush(self) -> None:
        self.flushed += 1

    @property
    def idle(self) -> bool:
        return not any(self.active)

    def active_lanes(self) -> list[int]:
        return [slot for slot, active in enumerate(self.active) if active]

    def start(self) -> None:
        pass

    def free(self) -> list[int]:
        return [slot for slot, active in enumerate(self.active) if not active]

    def step(self) -> Progress:
        self.now += self.epoch_s
        trained = sum(self.active)
        ended, held = {}, []
        for slot, one in enumerate(self.spec.lanes):
            if not self.active[slot]:
                continue
            self.epochs[slot] += 1
            if self.epochs[slot] >= self.lengths[one.trial_id]:
                self.active[slot], ended[one.trial_id] = False, "done"
            elif self.epochs[slot] == self.rung:
                held.append(Reached(one.trial_id, self.rung, float("nan")))
        return Progress(0, ended, {}, self.signature, trained=trained, at_rung=held)

    def settle(self, verdicts: Mapping[str, str]) -> dict[str, PausedTrial]:
        self.settled, paused = dict(verdicts), {}
        for slot, one in enumerate(self.spec.lanes):
            verdict = verdicts.get(one.trial_id, "go")
            if verdict != "go":
                self.active[slot] = False
            if verdict == "wait":
                paused[one.trial_id] = PausedTrial(one, END)
        return paused

    def take(self, lanes: Sequence[Lane]) -> dict[str, Failure]:
        failed = {}
        for slot, one in zip(self.free(), lanes, strict=False):
            self.spec.lanes[slot : slot + 1] = [one]
            self.epochs[slot] = one.first_epoch
            self.active[slot] = bool(self.lengths[one.trial_id])
            if not self.active[slot]:
                failed[one.trial_id] = Failure("no such init", [{"init": "bad"}])
        return failed


@pytest.fixture
def talk_of(monkeypatch: pytest.MonkeyPatch) -> Any:
    def talk(run: Run) -> PackTalk:
        clock = SimpleNamespace(monotonic=lambda: run.now)
        monkeypatch.setattr(pack_talk, "time", clock)
        found: Any = run
        one = PackTalk(found)
        one.hear({**NOTHING, "more": True})  # the answer to its start
        return one

    return talk


def stays() -> bool:
    return False


def test_a_worker_speaks_once_a_second_and_as_soon_as_a_slot_is_free(talk_of: Any) -> None:
    talk = talk_of(Run(2, {"a": 25, "b": 13}))
    found = talk.train(stays)
    assert found["epochs"] == {"a": 8, "b": 8}
    assert (found["trained"], found["slots"], found["free"], found["ended"]) == (16, 16, 0, {})
    talk.hear({**NOTHING, "more": True})
    found = talk.train(stays)
    assert (found["epochs"], found["ended"], found["free"]) == ({"a": 13}, {"b": "done"}, 1)
    assert (found["trained"], found["slots"], found["done"]) == (10, 10, False)
    talk.hear({**NOTHING, "more": True})
    assert talk.train(stays)["epochs"] == {"a": 21}, "not for the same slot again"
    talk.hear(NOTHING)
    found = talk.train(stays)
    assert (found["ended"], found["done"]) == ({"a": "done"}, True)


def test_of_slots_that_nobody_waits_for_it_does_not_speak(talk_of: Any) -> None:
    talk = talk_of(Run(3, {"a": 30, "b": 2, "c": 4}))
    talk.hear(NOTHING)
    assert talk.train(stays)["epochs"] == {"a": 8}


def test_a_pack_ends_when_it_has_asked_for_more_in_vain(talk_of: Any) -> None:
    run = Run(1, {"a": 2})
    talk = talk_of(run)
    found = talk.train(stays)
    assert (found["ended"], found["free"], found["done"]) == ({"a": "done"}, 1, False)
    talk.hear({**NOTHING, "more": True})
    found = talk.train(stays)
    assert (found["ended"], found["done"]) == ({}, True)
    assert run.now == 0.25, "no epoch of nobody"


def test_a_trial_that_cannot_be_made_has_failed_and_the_others_go_on(talk_of: Any) -> None:
    run = Run(2, {"a": 1, "b": 3})
    run.lengths |= {"bad": 0, "good": 1}
    talk = talk_of(run)
    assert talk.train(stays)["ended"] == {"a": "done"}
    talk.hear({**NOTHING, "lanes": [lane("bad").to_json()]})
    found = talk.train(stays)
    assert found["ended"] == {"bad": "failed", "b": "done"}
    assert found["reasons"] == {"bad": "no such init"}
    assert found["unmakeable"] == [("no such init", [{"init": "bad"}])]
    assert run.flushed == 1, "before it is said"


def test_what_the_driver_does_not_say_waits(talk_of: Any) -> None:
    run = Run(3, {"a": 9, "b": 9, "c": 9}, rung=4)
    talk = talk_of(run)
    found = talk.train(stays)
    assert [one[:2] for one in found["at_rung"]] == [["a", 4], ["b", 4], ["c", 4]]
    talk.hear({**NOTHING, "verdicts": {"a": "go", "b": "prune"}})
    found = talk.train(stays)
    assert run.settled == {"a": "go", "b": "prune", "c": "wait"}
    assert found["ended"] == {"b": "pruned", "a": "done"}
    assert PausedTrial.from_text(found["paused"]["c"]) == (run.spec.lanes[2], END)

    run = Run(1, {"a": 9}, rung=4)
    talk = talk_of(run)
    talk.train(stays)
    found = talk.train(stays)  # its answer was lost
    assert (run.settled, list(found["paused"]), found["done"]) == ({"a": "wait"}, ["a"], True)


def test_a_launch_that_stops_leaves_trials_at_rungs_as_they_are(talk_of: Any) -> None:
    run = Run(1, {"a": 9}, rung=4)
    talk = talk_of(run)
    talk.train(stays)
    talk.hear({**NOTHING, "stop": True})
    talk.train(stays)
    assert (talk.stop, run.settled) == (True, {})


def test_a_driver_s_queue_keeps_the_slots_busy(talk_of: Any) -> None:
    """Twelve trials of 1 to 12 epochs in three slots: no slot is free while one waits."""
    lengths = {f"t{n}": 1 + (5 * n) % 12 for n in range(12)}
    queue = queue_of(pack(*(lane(name) for name in lengths), width=3), epochs=lengths)
    given = handed(queue)
    run = Run(3, {i: lengths[i] for i in given.trial_ids})
    run.lengths = lengths
    talk = talk_of(run)
    while not (report := talk.train(stays))["done"]:
        talk.hear(queue.talk("r", report))
    queue.complete("r", report)
    assert queue.outcomes == dict.fromkeys(lengths, "done")
    assert queue.slots["used"] == queue.slots["all"] > 0
    assert not queue.running
    assert queue.exhausted
    assert run.now <= (sum(lengths.values()) / 3 + 4) * run.epoch_s
