"""Lines of a figure: one per trial, or one per group of trials with a band over seeds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from results.ask.seeds import CONFIDENCE, intervals_along
from results.errors import StoreError, nearest
from results.figures.declaration import FigureOption
from results.figures.selection import Selection, Shown, averaged_keys, joined, labels
from results.figures.style import END_NAME, Scale, draw_series, look, mark_end

Rows = Mapping[str, Sequence[Mapping[str, Any]]]

MOST_LINES = 12
"""Lines that can be told apart; where there are more, groups of trials are drawn."""

BANDS = ("ci", "sd", "none")
BAND_OPTIONS = (
    FigureOption("by", "str", "Keys that make a line, joined by commas; the others are pooled."),
    FigureOption("over", "str", "Keys that a line pools, joined by commas, such as seed."),
    FigureOption("band", "str", "ci: 95% interval of the median; sd: mean and standard deviation; "
                 "none: the median alone."),
)  # fmt: skip


@dataclass(frozen=True)
class Line:
    """What is drawn of a trial or of a group: values by x, and the ends of its band."""

    name: str
    group: int
    x: list[Any]
    y: list[float | None]
    low: list[float] | None = None
    high: list[float] | None = None
    hover: str = ""
    end: str | None = None
    alone: bool = True

    @property
    def values(self) -> Iterable[float | None]:
        """What the axis must have room for."""
        return [*self.y, *(self.low or ()), *(self.high or ())]


@dataclass(frozen=True)
class Grouping:
    """How trials become lines: a name for each group of several, or each trial by itself.

    `note` says what lines and bands are; "" where each trial has its own.
    """

    groups: dict[str, list[Shown]]
    band: str | None
    note: str = ""

    def lines(self, rows: Rows, x: str, y: str, worst: float = math.inf) -> list[Line]:
        """The lines of a column `y` against `x`.

        Args:
          rows: by trial.
          worst: what a diverged trial counts as from there on, inf or -inf.
        """
        found = []
        for index, (cell, trials) in enumerate(self.groups.items()):
            own = [trial for trial in trials if rows.get(trial.id)]
            if not own:
                continue
            if self.band is None:
                found += [_single(trial, _name(cell, own), index, rows[trial.id], x, y, len(own))
                          for trial in own]  # fmt: skip
            else:
                found.append(_pooled(own, _name(cell, own), index, rows, x, y, worst, self.band))
        return found


def grouping(
    chosen: Selection,
    space: Mapping[str, Any],
    by: str | None = None,
    over: str | None = None,
    band: str | None = None,
) -> Grouping:
    """How the trials of a figure become lines.

    Where nothing is asked each trial has a line, up to `MOST_LINES`. Beyond, the trials of a cell
    have one; and where there are more cells than that, keys are pooled too: the one that the space
    chooses first, then those with the most values.

    Raises:
      StoreError: an unknown band, or a key that is not swept here.
    """
    asked = by or over or band
    if len(chosen.trials) <= MOST_LINES and not asked:
        return Grouping(chosen.cells, None)
    kind = band or "ci"
    if kind not in BANDS:
        raise StoreError(f"--band is {joined(BANDS, 'or')}; got {kind}{nearest(kind, BANDS)}.")
    known = [key for key in space.get("swept") or () if key in chosen.trials[0].config]
    counts = {key: len({str(t.config.get(key)) for t in chosen.trials}) for key in known}
    swept = [key for key in known if counts[key] > 1]
    if by:
        keys = _keys("--by", by, chosen.trials[0].config)
    elif over:
        keys = [key for key in swept if key not in _keys("--over", over, chosen.trials[0].config)]
    else:
        keys = [key for key in swept if key not in averaged_keys(space)]
        chooses = (space.get("select") or {}).get("choose")
        while len(_groups(chosen, keys)) > MOST_LINES:
            keys.remove(max(keys, key=lambda key: (key == chooses, counts[key])))
    groups = _groups(chosen, keys)
    pooled = [key for key in swept if key not in keys]
    return Grouping(groups, kind, _note(kind, pooled, asked is None))


def draw(
    fig: go.Figure, lines: Sequence[Line], scale: Scale, legend: bool = True, **place: Any
) -> None:
    """Lines with their bands and end marks, on an axis that has seen their values."""
    named: set[int] = set()
    for line in lines:
        style = look(line.group)
        if line.low is not None and line.high is not None:
            _band(fig, line, scale, style["colour"], **place)
        draw_series(
            fig, line.x, line.y, scale, line.name, style, opacity=1.0 if line.alone else 0.65,
            legend=legend and line.group not in named, hover=line.hover or line.name,
            marks=line.low is None or len(line.x) <= 30, **place,
        )  # fmt: skip
        named.add(line.group)
        finite = [
            (x, y)
            for x, y in zip(line.x, line.y, strict=True)
            if y is not None and math.isfinite(y) and scale.shows(y)
        ]
        if line.end and finite:
            mark_end(fig, *finite[-1], style, line.hover, line.end, **place)


def end_of(trial: Shown) -> str | None:
    """What the mark at the end of a trial's line says, where it has one."""
    if trial.bad_epoch is not None:
        return END_NAME
    return f"{trial.status} here" if trial.censored else None


def _keys(flag: str, text: str, known: Mapping[str, Any]) -> list[str]:
    keys = [key.strip() for key in text.split(",")]
    for key in keys:
        if key not in known:
            raise StoreError(f"{flag}: no trial here has the key {key!r}{nearest(key, known)}.")
    return keys


def _groups(chosen: Selection, keys: Sequence[str]) -> dict[str, list[Shown]]:
    found: dict[str, list[Shown]] = {}
    names = labels([trial.config for trial in chosen.trials], keys)
    for trial, name in zip(chosen.trials, names, strict=True):
        found.setdefault(name or "all trials", []).append(trial)
    return found


def _note(kind: str, pooled: Sequence[str], why: bool) -> str:
    over = f" over {joined(pooled)}" if pooled else ""
    first = f"Lines: {'mean' if kind == 'sd' else 'median'}{over}"
    what = {
        "ci": f"; bands: its {CONFIDENCE:.0%} bootstrap interval. ",
        "sd": "; bands: one standard deviation. Diverged trials are left out from there on. ",
        "none": ". ",
    }[kind]
    worst = "" if kind == "sd" else "Diverged trials count as the worst from there on. "
    return first + what + worst + ("--by KEYS draws other groups." if why else "")


def _name(cell: str, trials: Sequence[Shown]) -> str:
    if len(trials) == 1:
        return cell or trials[0].name
    bad = sum(trial.bad_epoch is not None for trial in trials)
    text = f"×{len(trials)}, {bad} diverged" if bad else f"×{len(trials)}"
    return f"{cell} ({text})" if cell else f"{len(trials)} trials"


def _single(
    trial: Shown, name: str, index: int, rows: Sequence[Mapping[str, Any]], x: str, y: str, of: int
) -> Line:
    places, values = [row[x] for row in rows], [row[y] for row in rows]
    return Line(name, index, places, values, hover=trial.name, end=end_of(trial), alone=of == 1)


def _pooled(
    trials: Sequence[Shown], name: str, index: int, rows: Rows, x: str, y: str, worst: float,
    band: str,
) -> Line:  # fmt: skip
    places = sorted({row[x] for trial in trials for row in rows[trial.id]})
    at = {place: column for column, place in enumerate(places)}
    values = np.full((len(trials), len(places)), np.nan)
    for own, trial in zip(values, trials, strict=True):
        for row in rows[trial.id]:
            if row[y] is not None:
                own[at[row[x]]] = row[y] if math.isfinite(row[y]) else worst
        bad = ~np.isnan(own) & np.isinf(own)
        start = int(np.argmax(bad)) if bad.any() else len(places)
        if x == "epoch" and trial.bad_epoch is not None:
            start = min(start, sum(place < trial.bad_epoch for place in places))
        own[start:] = worst
    if band == "sd":
        values = np.where(np.isinf(values), np.nan, values)
    seen: Any = ~np.isnan(values).all(axis=0)
    places, values = (
        [p for p, shown in zip(places, seen.tolist(), strict=True) if shown],
        values[:, seen],
    )
    if band == "sd":
        centre = np.nanmean(values, axis=0)
        several = (~np.isnan(values)).sum(axis=0) > 1
        apart = np.zeros(len(places))
        apart[several] = np.nanstd(values[:, several], axis=0, ddof=1)
        ends = centre - apart, centre + apart
    else:
        centre = np.nanmedian(values, axis=0)
        ends = (None, None) if band == "none" else intervals_along(values, np.median)
    y_values: list[float | None] = list(map(float, centre))
    gone = next((i for i, value in enumerate(centre) if not math.isfinite(value)), None)
    if gone is not None:  # one cross where it goes, none at each epoch after
        y_values[gone + 1 :] = [None] * (len(places) - gone - 1)
    low, high = (None if end is None else list(map(float, end)) for end in ends)
    return Line(name, index, places, y_values, low, high, hover=name)


def _band(fig: go.Figure, line: Line, scale: Scale, colour: str, **place: Any) -> None:
    """The area between the ends; an end off the axis is drawn at the axis's end."""
    kept = [i for i, v in enumerate(line.y) if v is not None and math.isfinite(v)]
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    for what, end in (("high", line.high), ("low", line.low)):
        own = [end[i] if end else math.nan for i in kept]
        fig.add_trace(
            go.Scatter(
                x=[line.x[i] for i in kept],
                y=[min(max(v, scale.floor), scale.ceiling) for v in own], customdata=own,
                name=f"{line.name}: {what}", legendgroup=line.name, showlegend=False,
                mode="lines", line={"width": 0}, hoverinfo="skip",
                fill="tonexty" if what == "low" else None,
                fillcolor=f"rgba({red},{green},{blue},0.18)",
            ),
            **place,
        )  # fmt: skip
