"""Showing how a launch stands: a live display on a terminal, plain lines in a log."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from types import TracebackType

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from orchestrator import notebook
from orchestrator.queue.pace import COMPILING, IMPORTING, TRAINING, Snapshot
from orchestrator.queue.queue import PackQueue
from orchestrator.terminal import console, out
from orchestrator.units import counted, duration

LINE_S = 5.0
TICK_S = 0.5
_ENDED = ("done", "diverged", "stopped", "pruned", "gate_failed", "failed", "blocked")


def rates(now: Snapshot) -> str:
    """What packs do that do not train yet; epochs a second and time left, once that is known."""
    if not now.phases and not now.epochs_done:
        return "starting Ray"
    words = [
        f"{phase} {counted(now.phases[phase], 'pack')}"
        for phase in (IMPORTING, COMPILING)
        if now.phases[phase]
    ]
    words += [f"{now.pace:.1f} epochs/s"] if now.pace else []
    words += [f"ETA {duration(now.left)}"] if now.left is not None else []
    return ", ".join(words) or TRAINING


def line(now: Snapshot) -> str:
    """One line for a log."""
    ended = sum(now.counts[status] for status in _ENDED)
    words = [
        f"{ended}/{counted(now.trials, 'trial')}",
        f"{now.epochs_done}/{counted(now.epochs_total, 'epoch')}",
        rates(now),
    ]
    words += [
        f"{now.counts[s]} {s}" for s in _ENDED[1:] if now.counts[s] or s in ("diverged", "failed")
    ]
    words += [f"{now.waiting} waiting"] if now.waiting else []
    return f"[{duration(now.seconds)}] " + ", ".join(words)


class Display:
    """Reports a queue until closed. `mode` is auto, bar, plain, notebook or none."""

    def __init__(self, queue: PackQueue, mode: str = "auto", say: Callable[[str], None] = out):
        self.queue = queue
        self.say = say
        self.console = console(stderr=True)
        live = self.console.is_terminal and sys.stderr.isatty()
        self.kernel = notebook.shell()
        if mode == "auto":
            mode = "notebook" if self.kernel else "bar" if live else "plain"
        self.mode = mode
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)

    def __enter__(self) -> Display:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        if self.mode == "bar":
            self._bars()
        elif self.mode == "notebook" and self.kernel:
            self._updates(notebook.Updated(self.kernel))
        elif self.mode == "plain":
            while not self._stop.wait(LINE_S):
                self.say(line(self.queue.snapshot()))

    def _updates(self, show: notebook.Updated) -> None:
        while True:
            finished = self._stop.wait(TICK_S)
            now = self.queue.snapshot()
            show(line(now), now.epochs_done, now.epochs_total)
            if finished:
                return

    def _bars(self) -> None:
        columns = (
            TextColumn("{task.description:>7}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self.console) as bars:
            trials = bars.add_task("trials", total=None, note="")
            epochs = bars.add_task("epochs", total=None, note="")
            while True:
                finished = self._stop.wait(TICK_S)
                now = self.queue.snapshot()
                ended = sum(now.counts[status] for status in _ENDED)
                counts = [f"{now.running} running"]
                counts += [f"{now.waiting} waiting"] if now.waiting else []
                counts += [f"{now.counts['pruned']} pruned"] if now.counts["pruned"] else []
                counts += [f"{now.counts[s]} {s}" for s in ("diverged", "failed", "blocked")]
                bars.update(trials, total=now.trials, completed=ended, note=", ".join(counts))
                bars.update(
                    epochs, total=now.epochs_total, completed=now.epochs_done, note=rates(now)
                )
                if finished:
                    return
