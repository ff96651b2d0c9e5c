"""What a launch says of itself: words, plain lines in a log, bars on a terminal."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping

import pytest
from rich.console import Console

from orchestrator.plan.packs import Lane, PackSpec
from orchestrator.queue import progress
from orchestrator.queue.pace import Snapshot
from orchestrator.queue.progress import Display, line, rates
from orchestrator.queue.queue import PackQueue
from orchestrator.units import counted, duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.4, "59 s"), (59.6, "1:00"), (754, "12:34"), (3600, "1:00:00"),
     (90_061, "25:01:01")],
)  # fmt: skip
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def snapshot(
    epochs: int = 30, seconds: float = 10.0, pace: float = 0.0, left: float | None = None,
    phases: Mapping[str, int] | None = None, waiting: int = 0, **counts: int,
) -> Snapshot:  # fmt: skip
    return Snapshot(
        8, Counter(counts), 2, epochs, 60, seconds, Counter(phases or {}), pace, left, waiting
    )  # fmt: skip


def test_a_line_says_how_far_how_fast_and_what_went_wrong() -> None:
    assert line(snapshot(3, 10, 0.3, 190, {"training": 2}, diverged=1)) == (
        "[10 s] 1/8 trials, 3/60 epochs, 0.3 epochs/s, ETA 3:10, 1 diverged, 0 failed"
    )
    assert line(snapshot(60, 65, 0.0, 0.0, done=3, failed=2, blocked=1)) == (
        "[1:05] 6/8 trials, 60/60 epochs, ETA 0 s, 0 diverged, 2 failed, 1 blocked"
    )
    assert line(snapshot(30, 5, 2.0, 15.0, done=1, pruned=3, waiting=2)) == (
        "[5 s] 4/8 trials, 30/60 epochs, 2.0 epochs/s, ETA 15 s, 0 diverged, 3 pruned, 0 failed, "
        "2 waiting"
    )


@pytest.mark.parametrize(
    ("phases", "epochs", "pace", "left", "says"),
    [
        ({}, 0, 0.0, None, "starting Ray"),
        ({"importing": 2}, 0, 0.0, None, "importing 2 packs"),
        ({"importing": 1, "compiling": 1}, 0, 0.0, None, "importing 1 pack, compiling 1 pack"),
        ({"training": 2}, 0, 0.0, None, "training"),
        ({"training": 1, "compiling": 1}, 4, 2.0, 30.0, "compiling 1 pack, 2.0 epochs/s, ETA 30 s"),
        ({"compiling": 1}, 4, 0.0, 30.0, "compiling 1 pack, ETA 30 s"),
    ],
)
def test_what_packs_do_before_they_train_is_told_apart(
    phases: dict[str, int], epochs: int, pace: float, left: float | None, says: str
) -> None:
    assert rates(snapshot(epochs, 10.0, pace, left, phases)) == says


@pytest.fixture
def queue() -> PackQueue:
    lanes = [Lane(name, {}) for name in "ab"]
    pack = PackSpec("p", "p", lanes, 2, "default")
    found = PackQueue([pack], {"a": 4, "b": 4}, set(), "l", lambda lost: ([], {}))
    found.next("r")
    found.report("r", {"epochs": {"b": 2}, "ended": {"a": "diverged"}})
    return found


def test_a_log_gets_plain_lines(queue: PackQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LINE_S", 0.001)
    said: list[str] = []
    twice = threading.Event()

    def say(text: str) -> None:
        said.append(text)
        if len(said) == 2:
            twice.set()

    with Display(queue, "auto", say) as display:
        assert display.mode == "plain"  # pytest's stderr is no terminal
        twice.wait()
    assert "1/2 trials, 6/8 epochs" in said[0]
    assert "1 diverged" in said[0]
    assert "\x1b" not in said[0]
    assert not display._thread.is_alive()


def test_none_says_nothing(queue: PackQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LINE_S", 0.001)
    said: list[str] = []
    with Display(queue, "none", said.append) as display:
        display._thread.join()  # it ends by itself, having nothing to do
    assert said == []


def test_a_terminal_gets_bars_that_end_where_the_launch_ends(
    queue: PackQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "TICK_S", 0.001)
    display = Display(queue, "bar")
    display.console = Console(record=True, force_terminal=True, width=120, quiet=False)
    snapshot, twice = queue.snapshot, threading.Event()
    asked: list[Snapshot] = []

    def noted() -> Snapshot:
        asked.append(snapshot())
        if len(asked) == 2:
            twice.set()
        return asked[-1]

    monkeypatch.setattr(queue, "snapshot", noted)
    with display:
        twice.wait()
        queue.complete("r", {"ended": {"b": "done"}, "done": True})
    text = display.console.export_text()
    assert "2/2 0 running, 1 diverged, 0 failed, 0 blocked" in text
    assert "8/8" in text
    assert asked[0].running == 1
    assert asked[-1].running == 0


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 packs"), (1, "1 pack"), (2, "2 packs"), (11, "11 packs")]
)
def test_one_of_a_thing_is_singular(count: int, text: str) -> None:
    assert counted(count, "pack") == text
    assert counted(count, "axis", "axes") == text.replace("packs", "axes").replace("pack", "axis")
