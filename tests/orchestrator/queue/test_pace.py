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
    queue.report("r", {"epoch": -1, "signature": SIGNATURE})
    now = queue.snapshot()
    assert (now.phases, now.pace, now.left) == ({"training": 1}, 0.0, None)
    clock.now = 2648
    queue.report("r", {"epoch": 3, "signature": SIGNATURE})
    now = queue.snapshot()
    assert (now.pace, now.left) == (1.0, 12.0)


def test_epochs_from_before_this_launch_are_none_of_its_pace(clock: Clock) -> None:
    (one,) = packs(1)
    one.lanes[0].first_epoch = 8
    queue = queue_of([one])
    queue.next("r")
    queue.report("r", {"epoch": 7, "signature": SIGNATURE})
    clock.now = 5
    queue.report("r", {"epoch": 8, "signature": SIGNATURE})
    now = queue.snapshot()
    assert (now.pace, now.left) == (0.2, 5.0)


def test_a_pack_that_has_to_wait_takes_a_wave_more(clock: Clock) -> None:
    """Five packs of 10 s on two workers, two of them half done: 5 s, then two waves."""
    queue = queue_of(packs(1, 1, 1, 1, 1))
    for runner in "ab":
        queue.next(runner)
        queue.report(runner, {"epoch": -1, "signature": SIGNATURE})
    clock.now = 5
    for runner in "ab":
        queue.report(runner, {"epoch": 4, "signature": SIGNATURE})
    now = queue.snapshot()
    assert (now.pace, now.left) == (2.0, 25.0)


def test_each_program_has_its_own_pace_and_an_unmeasured_one_the_mean(clock: Clock) -> None:
    slow, fast = packs(1, 1, program="slow"), packs(1, 1, program="fast")
    queue = queue_of([slow[0], fast[0], slow[1], fast[1], *packs(1, program="new")])
    for runner in ("slow", "fast"):
        queue.next(runner)
        queue.report(runner, {"epoch": -1, "signature": SIGNATURE})
    clock.now = 10
    queue.complete("fast", {"epoch": 9, "signature": SIGNATURE, "ended": {"fast0.0": "done"}})
    queue.report("slow", {"epoch": 1, "signature": SIGNATURE})
    # slow: 5 s an epoch, 40 s left; then beside it slow1 50 s, fast1 10 s and new 10 x 20/12 s.
    assert queue.snapshot().left == pytest.approx(50 + 10 * 20 / 12)


def test_trials_that_have_ended_early_take_no_more_time(clock: Clock) -> None:
    queue = queue_of(packs(2))
    queue.next("r")
    queue.report("r", {"epoch": -1, "signature": SIGNATURE})
    clock.now = 4
    queue.report("r", {"epoch": 1, "signature": SIGNATURE, "ended": {"p0.0": "diverged"}})
    assert queue.snapshot().left == 8.0
