"""What the diagnosis must measure, worked out from the rows by numpy and pandas."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import pandas as pd

from results.schema import CENSORED
from results.store.diagnosis import RULES
from tests.support.made_up_rows import epoch_row
from tests.support.verdicts.cases import Case

Numbers = dict[str, Any]


def numbers(case: Case) -> Numbers:
    """The numbers in a trial's evidence, by the default thresholds."""
    rows, kept = _rows(case), counted(case)
    loss = [row["loss"] for row in kept]
    tops = [row["grad_norm_max"] or row["grad_norm"] for row in kept]
    first = kept[0]["loss_first"] if kept else None
    start = first if first is not None and math.isfinite(first) else next(iter(loss), None)
    guess = case.chance_loss
    if guess is None and kept and kept[0].get("loss_ratio"):
        guess = kept[0]["loss"] / kept[0]["loss_ratio"]
    scale = guess if guess is not None else max(abs(start or 0), RULES["least_loss"])
    scale *= case.loss_terms or 1
    lows = [row["grad_norm_min"] or row["grad_norm"] for row in kept]
    frozen = _frozen(case, kept, scale)
    whole = max(len(kept), case.planned or 0) if case.status in CENSORED else len(kept)
    window = int(min(max(RULES["plateau_epochs"], math.ceil(0.2 * whole)), len(kept)))
    found: Numbers = {
        "epochs": len(kept),
        "censored": case.status in CENSORED,
        "epochs_planned": case.planned,
        "loss_start": start,
        "loss_end": loss[-1] if loss else None,
        "loss_fall": _fall(start, loss),
        "window_fall": _fall(loss[-window], loss) if window > 1 else None,
        "window_epochs": window if kept else None,
        "loss_spearman": _trend(loss) if len(loss) > 2 else None,
        "chance_loss": case.chance_loss,
        "guess_loss": guess,
        "loss_scale": scale,
        "norm_start": lows[0] if lows else None,
        "frozen_layers": ", ".join(frozen.values()) or None,
        "burst_epoch": _burst(rows, guess, max([*lows[:1], scale])),
        "largest_norm": max((norm for norm in tops if math.isfinite(norm)), default=None),
        "bad_epoch": next((row["epoch"] for row in rows if _is_bad(row)), None),
    }
    profiles = [_profile(case.profiles()[row["epoch"]], row, frozen) for row in kept]
    for name in ("smallest_norm", "depth_slope", "depth_r2", "depth_ratio", "spread"):
        known = [each[name] for each in profiles if each.get(name) is not None]
        found[name] = known[-1] if known else None  # of the last epoch that has it
    epochs = [row["epoch"] for row in kept]
    total = [_log(row["grad_norm"]) for row in kept]
    found["total_slope"], found["total_r2"] = _line(epochs, total)
    pairs = [(e, p["first"]) for e, p in zip(epochs, profiles, strict=True) if "first" in p]
    found["first_slope"], found["first_r2"] = _line([e for e, _ in pairs], [y for _, y in pairs])
    return found


def counted(case: Case) -> list[dict[str, Any]]:
    """The epochs that had a finite step."""
    return [r for r in _rows(case) if _finite(r["loss"]) and r["finite_steps"] != 0]


def _finite(loss: float | None) -> bool:
    return loss is not None and math.isfinite(loss)


def _rows(case: Case) -> list[dict[str, Any]]:
    return [epoch_row("", epoch, **row) for epoch, row in enumerate(case.epochs())]


def _is_bad(row: dict[str, Any]) -> bool:
    steps = row["finite_steps"]
    return (
        row.get("bad_step") is not None
        or row["nonfinite_tensors"] > 0
        or (steps is not None and steps < row["steps"])
        or (row["loss"] is not None and not math.isfinite(row["loss"]))
        or not math.isfinite(row["grad_norm"])
    )


def _burst(rows: list[dict[str, Any]], guess: float | None, longest: float) -> int | None:
    """The first epoch with an infinite number, or one out of all proportion."""
    most = math.inf if guess is None else RULES["explode_loss"] * guess
    for row in rows:
        losses = [row[name] for name in ("loss", "loss_first", "loss_last")]
        norm = row["grad_norm"] if row["grad_norm_max"] is None else row["grad_norm_max"]
        if any(loss is not None and (loss > most or loss == math.inf) for loss in losses):
            return row["epoch"]
        has_loss = row["loss"] is not None  # else there is no scale of norms
        if has_loss and (norm > RULES["explode_growth"] * longest or norm == math.inf):
            return row["epoch"]
    return None


def _frozen(case: Case, kept: list[dict[str, Any]], scale: float) -> dict[int, str]:
    """Layers that are declared frozen, and those at 0 throughout, above the highest of which a
    weight learns, or else below; by number, their names."""
    every = [row for each in case.profiles() for row in each if math.isfinite(row["grad_norm"])]
    found = {row["layer"]: row["layer_name"] for row in every if row["layer"] in case.declared}
    shown = [row for row in every if row["layer"] not in found]
    layers = sorted({row["layer"] for row in shown})
    of = {layer: [row for row in shown if row["layer"] == layer] for layer in layers}
    always = {layer for layer in layers if not any(row["grad_norm_max"] for row in of[layer])}
    last = {
        layer: [r for r in rows if r["epoch"] == rows[-1]["epoch"]] for layer, rows in of.items()
    }
    passing = {
        layer
        for layer, rows in last.items()
        if {r["grad_norm"] > 0 for r in rows if r["tensor"][0] not in "*b"} == {True}
        and rows[-1]["grad_norm"] >= RULES["abs_norm"] * scale
    }
    for layer in sorted(always):
        above = [other for other in layers if other > layer and other not in always]
        if above[0] in passing if above else passing:
            found[layer] = of[layer][0]["layer_name"]
    return dict(sorted(found.items()))


def _fall(start: float | None, loss: Sequence[float]) -> float | None:
    return (start - loss[-1]) / abs(start) if start else None


def _trend(loss: Sequence[float]) -> float:
    ranks = pd.Series(loss).rank()
    return math.nan if ranks.nunique() == 1 else float(ranks.corr(pd.Series(range(len(loss)))))


def _log(norm: float) -> float:
    return math.log10(max(norm, RULES["floor_norm"])) if norm == norm else math.nan


def _profile(
    rows: Sequence[dict[str, Any]], row: dict[str, Any], frozen: Collection[int]
) -> dict[str, Any]:
    """What the layers of one epoch say; without layers, what the epoch's smallest tensor does."""
    if not rows:
        return {"smallest_norm": 0.0 if row["zero_tensors"] else row["grad_norm_smallest"]}
    whole = [r for r in rows if r["tensor"] == "*"]
    finite = {r["layer"]: float(np.float32(r["grad_norm"])) for r in whole}
    finite = {layer: norm for layer, norm in finite.items() if math.isfinite(norm)}
    readout = max(finite)
    finite = {layer: norm for layer, norm in finite.items() if layer not in frozen}
    below = {layer: _log(norm) for layer, norm in finite.items() if layer < readout}
    if not below:
        return {"smallest_norm": min(finite.values(), default=None), "spread": 0.0}
    values = list(below.values())
    slope, r2 = _line(list(below), values) if len(below) > 2 else (None, None)
    return {
        "smallest_norm": min(finite.values()),
        "depth_slope": slope,
        "depth_r2": r2,
        "depth_ratio": 10 ** (values[0] - values[-1]),
        "spread": max(values) - min(values),
        "first": values[0],
    }


def _line(x: Sequence[float], y: Sequence[float]) -> tuple[float | None, float | None]:
    """Slope and R2 of the least-squares line; None of no points."""
    if not x:
        return None, None
    if len(x) == 1 or not np.isfinite(y).all():
        return math.nan, (None if len(x) == 1 else math.nan)
    if len(set(y)) == 1:
        return 0.0, 1.0
    across, up = np.asarray(x, float) - np.mean(x), np.asarray(y) - np.mean(y)
    along = float(across @ up)
    return along / float(across @ across), along**2 / float((across @ across) * (up @ up))
