"""Per-epoch lines and per-layer gradient bars of a debug run, in the terminal."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import TYPE_CHECKING

from orchestrator.terminal import console
from orchestrator.units import counted

if TYPE_CHECKING:
    from orchestrator.worker.pack_run import PackRun

WIDTH = 40
_SHOWN = ("loss", "val_loss", "val_accuracy", "grad_norm", "grad_norm_smallest")


def gradient_bars(
    names: list[str], norms: list[float], width: int = WIDTH, frozen: Collection[str] = ()
) -> list[str]:
    """One line per layer: a bar on a log scale from the smallest to the largest norm.

    A norm of exactly 0, a non-finite one and that of a `frozen` layer have no bar and say so.
    """
    logs = [math.log10(n) for n in norms if n > 0 and math.isfinite(n)]
    low, high = (min(logs), max(logs)) if logs else (0.0, 0.0)
    span = max(high - low, 1e-9)
    label = max((len(name) for name in names), default=0)
    lines = []
    for name, norm in zip(names, norms, strict=True):
        if name in frozen:
            bar = "frozen"
        elif not math.isfinite(norm):
            bar = "not finite"
        elif norm <= 0:
            bar = "exactly zero"
        else:
            length = (
                1 + round((math.log10(norm) - low) / span * (width - 1)) if high > low else width
            )
            bar = f"{norm:9.2e} " + "█" * length
        lines.append(f"  {name:<{label}} {bar}")
    return lines


class EpochPrinter:
    """Prints each epoch of a debug run as it ends."""

    def __init__(self, quiet: bool = False):
        self.quiet = quiet
        self.console = console()
        self._counts: dict[str, int] = {}

    def __call__(self, run: PackRun, epoch: int) -> None:
        if self.quiet or run.last is None:
            return
        stage = run.trials[0].stage
        name = f"epoch {epoch}" if stage.name == "train" else f"{stage.name}, epoch {epoch}"
        known = [
            f"{word} {float(columns[word][0]):.4g}"
            for columns, words in ((run.last.epochs, _SHOWN), (run.last.metrics, run.last.metrics))
            for word in words
            if word in columns and math.isfinite(columns[word][0])
        ]
        counts = dict(run.recorder.counts[0])
        probes = [f"{counted(count, 'row')} of {name}" for name, count in counts.items()]
        self.console.print(f"{name}: {', '.join(known or probes)}", soft_wrap=True)
        more = {p: counts.get(p, 0) - self._counts.get(p, 0) for p in run.trials[0].probes}
        self._counts = counts
        if known:
            for probe, count in more.items():
                if count and probe != "timeline":
                    self.console.print(f"  {counted(count, 'row')} of {probe}", soft_wrap=True)
        if "grad_norm" not in run.last.layers:
            return
        rows = [(i, row) for i, row in enumerate(run.pack.layer_rows) if row.tensor == "*"]
        norms = [float(run.last.layers["grad_norm"][0, i]) for i, _ in rows]
        frozen = [row.layer_name for _, row in rows if row.frozen]
        for line in gradient_bars([row.layer_name for _, row in rows], norms, frozen=frozen):
            self.console.print(line, soft_wrap=True)
