"""How our figures look: colours, fonts, axes that hide neither zero nor NaN."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import plotly.graph_objects as go

# Okabe and Ito's palette, told apart with any colour vision; yellow is left out, too pale on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKERS = ("circle", "square", "diamond", "triangle-up", "star", "pentagon", "hexagon")
DASHES = ("solid", "dash", "dot", "dashdot")

ZERO_COLOUR = "#D55E00"
BAD_COLOUR = "#9A9A9A"
ZERO_NAME = "exactly 0"
BAD_NAME = "not finite"
END_NAME = "became non-finite here"
_END_SYMBOLS = {END_NAME: "x-thin", "pruned here": "line-ns", "paused here": "line-ew"}

WIDTH = 1000
FONT_SIZE = 14
"""Pixels, on a screen."""
_FONT = "Open Sans, Helvetica, Arial, sans-serif"


def look(index: int) -> dict[str, Any]:
    """Colour, dash and marker of the n-th group; no two of the first 28 are alike."""
    return {
        "colour": COLOURS[index % len(COLOURS)],
        "dash": DASHES[index // len(COLOURS) % len(DASHES)],
        "symbol": MARKERS[index % len(MARKERS)],
    }


def finish(
    fig: go.Figure, title: str, notes: Iterable[str], plot_height: int, heads: int = 0
) -> go.Figure:
    """Title, notes below it, fonts, grid, and a legend below the axes; the size follows from them.

    Args:
      plot_height: pixels of the axes, gaps between panels included.
      heads: lines of the panels' own titles.
    """
    meta = {"title": title, "notes": [note for note in notes if note],
            "plot_height": plot_height, "heads": heads}  # fmt: skip
    axis = {
        "showline": True, "linecolor": "#444444", "ticks": "outside", "tickcolor": "#444444",
        "gridcolor": "rgba(0,0,0,0.12)", "zeroline": False, "automargin": True,
        "title_standoff": 12, "title_font": {"size": 15},
    }  # fmt: skip
    fig.update_xaxes(axis)
    fig.update_yaxes(axis)
    fig.update_layout(
        template="none", plot_bgcolor="white", paper_bgcolor="white", hovermode="closest"
    )
    return lay_out(fig, meta, WIDTH, FONT_SIZE, plot_height)


def lay_out(
    fig: go.Figure, meta: dict[str, Any], width: int, font: float, plot_height: float
) -> go.Figure:
    """Sizes, margins, title, notes and legend of a figure that `finish` has given its axes.

    Args:
      meta: its title, notes, plot height and head lines, which `layout.meta` keeps.
      width, font: of the figure and of its labels, in pixels.
      plot_height: pixels of the axes, gaps between panels included.
    """
    times = font / FONT_SIZE
    letters = max(round(130 * (width - 120 * times) / (WIDTH - 120) / times), 20)
    lines = [line for note in meta["notes"] for line in wrapped(note, letters)]
    names = [trace["name"] or "" for trace in fig.to_dict()["data"] if _in_legend(trace)]
    rows = _legend_rows(names, (width - 120 * times) / times)
    heading = wrapped(meta["title"], max(round(letters * 0.62), 10)) if meta["title"] else []
    small = 16 if not heading and not lines else 30 + 42 * bool(heading)
    top = times * (small + 25 * max(len(heading) - 1, 0) + 18 * len(lines) + 22 * meta["heads"])
    stacked = rows == len(names) > 1 and width < WIDTH  # Plotly sets such rows closer together
    pitch = max(17 * times + 3, 19) if stacked else max(27 * times, 27)
    feet = max((str(axis.title.text).count("<br>") for axis in fig.select_xaxes()), default=0)
    below = (62 + 20 * (feet if width < WIDTH else 0)) * times
    bottom = below + 13 * times + (pitch * rows + 10 * times if rows else 0)
    height = top + plot_height + bottom
    name = f"<b>{'<br>'.join(heading)}</b>" if heading else "\N{ZERO WIDTH SPACE}"
    fig.update_layout(
        meta=meta,
        width=width,
        height=height,
        font={"family": _FONT, "size": font, "color": "#222222"},
        title={
            "text": name if heading or lines else None,
            "subtitle": {"text": "<br>".join(lines),
                         "font": {"size": 13 * times, "color": "#555555"}},
            "x": 0.0, "xanchor": "left", "xref": "paper",
            "y": 1 - 28 * times / height, "yanchor": "top", "yref": "container",
            "font": {"size": 20 * times},
        },
        margin={"l": 90 * times, "r": 30 * times, "t": top, "b": bottom},
        showlegend=rows > 0,
        legend={"orientation": "v" if stacked else "h", "x": 0, "xanchor": "left",
                "y": -below / plot_height,
                "yanchor": "top", "font": {"size": 13 * times},
                "tracegroupgap": 0 if stacked else 10, "itemwidth": max(40 * times, 30)},
    )  # fmt: skip
    return fig


def _in_legend(trace: dict[str, Any]) -> bool:
    return trace.get("type") in ("scatter", "bar") and trace.get("showlegend") is not False


def _legend_rows(names: Sequence[str], room: float = WIDTH - 120) -> int:
    """Lines the legend takes, by the usual width of a letter."""
    rows, used = (1 if names else 0), 0.0
    for name in names:
        wide = 70 + 7.0 * len(name)
        if used and used + wide > room:
            rows, used = rows + 1, 0.0
        used += wide
    return rows


def threshold(fig: go.Figure, value: float, text: str, log: bool, col: int | None = None) -> None:
    """A dotted horizontal line with its name above its right end."""
    place: dict[str, Any] = {} if col is None else {"row": 1, "col": col}
    line = {"dash": "dot", "color": "#555555", "width": 1.5}
    fig.add_shape(
        type="line", x0=0, x1=1, y0=value, y1=value, xref="x domain", line=line, layer="below",
        **place,
    )  # fmt: skip
    # Shapes take data coordinates on a logarithmic axis, annotations take the logarithm.
    fig.add_annotation(
        x=0.99, xref="x domain", xanchor="right", y=math.log10(value) if log else value,
        yanchor="bottom", yshift=3, text=text, showarrow=False,
        font={"size": 12, "color": "#555555"}, **place,
    )  # fmt: skip


def wrapped(text: str, width: int) -> list[str]:
    """`text` in lines of at most `width` characters, broken at spaces."""
    import textwrap

    return textwrap.wrap(text, width, break_long_words=False) or [""]


@dataclass
class LogScale:
    """A logarithmic axis that has room for zeros below the data and non-finite values above.

    Collects values first; `floor` and `ceiling` are then where zeros and non-finite values are
    drawn. All numbers are in the data's unit, not its logarithm.
    """

    least_decades: float = 0.15
    _low: float = math.inf
    _high: float = 0.0
    zeros: bool = False
    bads: bool = False
    _marks: list[float] = field(default_factory=list)

    def see(self, values: Iterable[float | None]) -> None:
        """Takes values into account; None is no value at all."""
        for value in values:
            if value is None:
                continue
            if not math.isfinite(value):
                self.bads = True
            elif value <= 0:
                self.zeros = True
            else:
                self._low = min(self._low, value)
                self._high = max(self._high, value)

    def shows(self, value: float) -> bool:
        """Whether a finite value has its own place on the axis."""
        return value > 0

    @property
    def decades(self) -> tuple[float, float]:
        """log10 of the least and greatest positive value, spread to the least span."""
        if self._high == 0:
            return (-1.0, 0.0)
        low, high = math.log10(self._low), math.log10(self._high)
        short = max(self.least_decades - (high - low), 0.0) / 2
        return low - short, high + short

    @property
    def _pad(self) -> float:
        low, high = self.decades
        return 0.06 * (high - low)

    @property
    def floor(self) -> float:
        return 10 ** (self.decades[0] - 2 * self._pad)

    @property
    def ceiling(self) -> float:
        return 10 ** (self.decades[1] + 2 * self._pad)

    def axis(self) -> dict[str, Any]:
        """Properties of the Plotly axis."""
        low, high = self.decades
        low -= self._pad * (3 if self.zeros else 1)
        high += self._pad * (3 if self.bads else 1)
        ticks: dict[str, Any] = {"tickformat": ".4~g"}
        if high - low > 0.5:
            marks = log_ticks(low, high)
            ticks = {"tickvals": list(marks), "ticktext": list(marks.values())}
        return {"type": "log", "range": [low, high], **ticks}


@dataclass
class LinearScale:
    """A linear axis that has room for non-finite values above; its methods are those of `LogScale`.

    For numbers that may be negative, and for those of about one size.
    """

    _low: float = math.inf
    _high: float = -math.inf
    zeros: bool = False
    bads: bool = False

    def see(self, values: Iterable[float | None]) -> None:
        """Takes values into account; None is no value at all."""
        for value in values:
            if value is None:
                continue
            if math.isfinite(value):
                self._low, self._high = min(self._low, value), max(self._high, value)
            else:
                self.bads = True

    def shows(self, value: float) -> bool:
        """Whether a finite value has its own place on the axis."""
        return True

    @property
    def _ends(self) -> tuple[float, float]:
        if self._high < self._low:
            return 0.0, 1.0
        least = 0.02 * abs(self._high) or 1.0  # of equal values
        short = max(least - (self._high - self._low), 0.0) if self._low == self._high else 0.0
        return self._low - short / 2, self._high + short / 2

    @property
    def _pad(self) -> float:
        low, high = self._ends
        return 0.06 * (high - low)

    @property
    def floor(self) -> float:
        return self._ends[0] - 2 * self._pad

    @property
    def ceiling(self) -> float:
        return self._ends[1] + 2 * self._pad

    def axis(self) -> dict[str, Any]:
        """Properties of the Plotly axis."""
        low, high = self._ends
        return {
            "type": "linear",
            "range": [low - self._pad, high + self._pad * (3 if self.bads else 1)],
        }


Scale = LogScale | LinearScale


def scale_for(values: Iterable[float | None], decades: float = 0.0) -> Scale:
    """An axis for these values, which it has seen: logarithmic where none is negative and they span
    as many decades; else linear."""
    known = list(values)
    finite = [value for value in known if value is not None and math.isfinite(value)]
    above = [value for value in finite if value > 0]
    wide = bool(above) and math.log10(max(above) / min(above)) >= decades
    scale = LogScale() if wide and min(finite) >= 0 else LinearScale()
    scale.see(known)
    return scale


def log_ticks(low: float, high: float) -> dict[float, str]:
    """Values and labels of ticks between 10**low and 10**high: powers of ten, eight or so; where
    that gives few 2 and 5 times each, or all whole multiples. The labels are of one kind: plain
    numbers where all lie between 0.01 and 1000, otherwise powers."""
    every = max(1, math.ceil((high - low) / 8))
    exponents = range(math.floor(low), math.floor(high) + 1)
    shown = [e for e in exponents if e % every == 0 and low <= e <= high]
    if high - low > 2.5:
        plain = all(-2 <= e <= 3 for e in shown)
        return {float(f"1e{e}"): f"{10.0**e:g}" if plain else power(e) for e in shown}
    marks: dict[float, tuple[int, int]] = {}
    for digits in ((1, 2, 5), range(1, 10)):
        for exponent in exponents:
            for digit in digits:
                if low <= math.log10(digit) + exponent <= high:
                    marks[float(f"{digit}e{exponent}")] = digit, exponent
        if len(marks) > 2:
            break
    plain = all(-3 <= exponent <= 3 for _, exponent in marks.values())
    return {
        value: f"{value:g}" if plain else (f"{digit}×" if digit > 1 else "") + power(exponent)
        for value, (digit, exponent) in sorted(marks.items())
    }


def power(exponent: int) -> str:
    """10 to the `exponent` as a tick label."""
    return f"10<sup>{exponent}</sup>".replace("-", "\N{MINUS SIGN}")


def draw_series(
    fig: go.Figure,
    x: Sequence[Any],
    y: Sequence[float | None],
    scale: Scale,
    name: str,
    style: dict[str, Any],
    legend: bool = True,
    opacity: float = 1.0,
    hover: str = "",
    marks: bool = True,
    **place: Any,
) -> None:
    """One line, with a mark at each point if `marks`. On a logarithmic axis zeros become hollow
    triangles at its floor; on any non-finite values become crosses at its ceiling; a line is broken
    there, not joined across."""
    kept = [v if v is not None and math.isfinite(v) and scale.shows(v) else None for v in y]
    colour = style["colour"]
    fig.add_trace(
        go.Scatter(
            x=list(x), y=kept, name=name, mode="lines+markers" if marks or len(y) == 1 else "lines",
            showlegend=legend, opacity=opacity,
            legendgroup=name, connectgaps=False,
            line={"color": colour, "dash": style["dash"], "width": 2},
            marker={"symbol": style["symbol"], "size": 6, "color": colour},
            hovertemplate=f"{hover or name}<br>%{{x}}: %{{y:.4g}}<extra></extra>",
        ),
        **place,
    )  # fmt: skip
    zeros = [
        i for i, v in enumerate(y) if v is not None and math.isfinite(v) and not scale.shows(v)
    ]
    bads = [i for i, v in enumerate(y) if v is not None and not math.isfinite(v)]
    for where, height, symbol in (
        (zeros, scale.floor, "triangle-down-open"), (bads, scale.ceiling, "x"),
    ):  # fmt: skip
        if where:
            fig.add_trace(
                go.Scatter(
                    x=[x[i] for i in where], y=[height] * len(where), mode="markers",
                    customdata=[y[i] for i in where], legendgroup=name, showlegend=False,
                    opacity=opacity,
                    marker={"symbol": symbol, "size": 10, "color": colour,
                            "line": {"width": 2, "color": colour}},
                    hovertemplate=f"{hover or name}<br>%{{x}}: "
                    f"{ZERO_NAME if where is zeros else BAD_NAME}<extra></extra>",
                ),
                **place,
            )  # fmt: skip


def mark_end(
    fig: go.Figure,
    x: Any,
    y: float,
    style: dict[str, Any],
    hover: str,
    name: str = END_NAME,
    **place: Any,
) -> None:
    """A mark around a line's last point: a cross where the next step was not finite, a bar where
    the trial was pruned (`pruned here`) or is paused."""
    fig.add_trace(
        go.Scatter(
            x=[x], y=[y], mode="markers", showlegend=False, name=name,
            marker={"symbol": _END_SYMBOLS[name], "size": 13 if name == END_NAME else 15,
                    "color": style["colour"], "line": {"width": 3, "color": style["colour"]}},
            hovertemplate=f"{hover}<br>{name}<extra></extra>",
        ),
        **place,
    )  # fmt: skip


def explain_marks(fig: go.Figure, scales: Iterable[Scale], ends: Iterable[str] = ()) -> None:
    """Legend entries for the marks that zeros and non-finite values get, where there are any, and
    for those of `mark_end`, by name."""
    found, ends = list(scales), set(ends)
    for wanted, symbol, name in (
        (any(s.zeros for s in found), "triangle-down-open", f"{ZERO_NAME} (at the axis's foot)"),
        (any(s.bads for s in found), "x", f"{BAD_NAME} (at the top)"),
        *((name in ends, symbol, name) for name, symbol in _END_SYMBOLS.items()),
    ):
        if wanted:
            fig.add_trace(
                go.Scatter(
                    x=[None], y=[None], mode="markers", name=name,
                    marker={"symbol": symbol, "size": 10, "color": "#444444",
                            "line": {"width": 2, "color": "#444444"}},
                )
            )  # fmt: skip
