"""How long a launch still takes, by the epochs its packs have trained."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from orchestrator.plan.packs import Lane, PackSpec
from orchestrator.queue import pace
from orchestrator.queue.queue import PackQueue

SIGNATURE = {"strategy": "sequential"}


class Clock:
    """Stands until it is set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.now = 0.0
        monkeypatch.setattr(pace, "time", SimpleNamespace(monotonic=lambda: self.now))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def packs(*sizes: int, program: str = "p") -> list[PackSpec]:
    return [
        PackSpec(
            f"{program}{i}", program, [Lane(f"{program}{i}.{j}", {}) for j in range(n)], n, "x"
        )
        for i, n in enumerate(sizes)
    ]


def queue_of(given: list[PackSpec], epochs: int = 10) -> PackQueue:
    every = {trial_id: epochs for one in given for trial_id in one.trial_ids}
    return PackQueue(given, every, set(), "l", lambda lost: ([], {}))


def at(queue: PackQueue, done: int, runner: str = "r") -> dict[str, int]:
    """All trials of a pack have done as many epochs."""
    return dict.fromkeys(queue.running[runner].trial_ids, done)


def test_what_a_pack_took_to_start_is_no_training(clock: Clock) -> None:
    """A start of 44 minutes, then four of 10 epochs of two trials in 8 s: 12 s are left."""
    queue = queue_of(packs(2))
    assert not queue.snapshot().phases
    queue.next("r")
    assert queue.snapshot().phases == {"importing": 1}
    clock.now = 1200
    queue.report("r", {"imported": True})
    assert queue.snapshot().phases == {"compiling": 1}
    clock.now = 2640
    queue.report("r", {"trained": 0, "signature": SIGNATURE})
    now = queue.snapshot()
    assert (now.phases, now.pace, now.left) == ({"training": 1}, 0.0, None)
    clock.now = 2648
    queue.report("r", {"trained": 8, "epochs": at(queue, 4)})
    now = queue.snapshot()
    assert (now.pace, now.left) == (1.0, 12.0)


def test_epochs_from_before_this_launch_are_none_of_its_pace(clock: Clock) -> None:
    (one,) = packs(1)
    one.lanes[0].first_epoch = 8
    queue = queue_of([one])
    queue.next("r")
    queue.report("r", {"trained": 0, "signature": SIGNATURE})
    clock.now = 5
    queue.report("r", {"trained": 1, "epochs": at(queue, 9)})
    now = queue.snapshot()
    assert (now.pace, now.left) == (0.2, 5.0)


def test_a_pack_that_has_to_wait_takes_a_wave_more(clock: Clock) -> None:
    """Five packs of 10 s on two workers, two of them half done: 5 s, then two waves."""
    queue = queue_of(packs(1, 1, 1, 1, 1))
    for runner in "ab":
        queue.next(runner)
        queue.report(runner, {"trained": 0, "signature": SIGNATURE})
    clock.now = 5
    for runner in "ab":
        queue.report(runner, {"trained": 5, "epochs": at(queue, 5, runner)})
    now = queue.snapshot()
    assert (now.pace, now.left) == (2.0, 25.0)


def test_each_program_has_its_own_pace_and_an_unmeasured_one_the_mean(clock: Clock) -> None:
    slow, fast = packs(1, 1, program="slow"), packs(1, 1, program="fast")
    queue = queue_of([*slow, *fast, *packs(1, 1, 1, program="new")])
    for runner in ("slow", "other", "fast"):
        queue.next(runner)
        queue.report(runner, {"trained": 0, "signature": SIGNATURE})
    clock.now = 10
    queue.complete("fast", {"trained": 10, "ended": {"fast0.0": "done"}})
    for runner in ("slow", "other"):
        queue.report(runner, {"trained": 2, "epochs": at(queue, 2, runner)})
    # The mean is 30 s for 14 epochs. Two workers are busy for 8 epochs of 5 s; the third trains
    # fast1 for 10 s and two of the new ones, and the last of these follows after the 40 s.
    assert queue.snapshot().left == pytest.approx(40 + 10 * 30 / 14)


def test_trials_that_have_ended_early_take_no_more_time(clock: Clock) -> None:
    queue = queue_of(packs(2))
    queue.next("r")
    queue.report("r", {"trained": 0, "signature": SIGNATURE})
    clock.now = 4
    queue.report("r", {"trained": 4, "epochs": at(queue, 2), "ended": {"p0.0": "diverged"}})
    assert queue.snapshot().left == 8.0
