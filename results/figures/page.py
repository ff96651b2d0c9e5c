"""Figures for a page: a width in millimetres, fonts that can be read there, with or without title.

A figure is drawn for a screen; `fit` lays it out again for a column, a slide or another width.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from results.errors import StoreError, nearest
from results.figures.style import FONT_SIZE, WIDTH, lay_out, wrapped

PX_PER_INCH = 96
_PER_PX = {"mm": PX_PER_INCH / 25.4, "cm": PX_PER_INCH / 2.54, "in": PX_PER_INCH, "pt": 4 / 3,
           "px": 1.0}  # fmt: skip
SMOKE = "Smoke run: a small variant, not the published grid."


@dataclass(frozen=True)
class Style:
    """A kind of page: its usual width in pixels of 1/96 inch, its font in points, and how thick
    lines are beside those of a screen."""

    width: float
    font: float
    lines: float
    dots: float = 2.0
    """Pixels of a PNG for each of these; 600 dots an inch on paper."""


STYLES = {
    "screen": Style(WIDTH, FONT_SIZE * 0.75, 1.0),
    "paper": Style(85 * PX_PER_INCH / 25.4, 8, 0.6, 6.25),
    "slide": Style(1280, 18, 1.5),
}


@dataclass(frozen=True)
class Page:
    """What is asked of a figure's size.

    Attributes:
      style: of `STYLES`.
      width: such as 85mm, 3.3in, 9cm, 240pt or 800px; the style's if None.
      font_size: of labels, in points; the style's if None.
      title: whether the title and the notes below it are drawn.
    """

    style: str = "screen"
    width: str | None = None
    font_size: float | None = None
    title: bool = True

    @property
    def kind(self) -> Style:
        """Raises StoreError if there is no such style."""
        if self.style not in STYLES:
            raise StoreError(
                f"--style is {', '.join(STYLES)}; got {self.style}{nearest(self.style, STYLES)}."
            )
        return STYLES[self.style]

    @property
    def pixels(self) -> float:
        """The width in pixels of 1/96 inch.

        Raises:
          StoreError: it is no length, or none between 30 mm and 2 m.
        """
        if self.width is None:
            return self.kind.width
        found = re.fullmatch(r"([0-9]*\.?[0-9]+) *(mm|cm|in|pt|px)", self.width.strip())
        if not found:
            raise StoreError(f"--width is a length such as 85mm, 3.3in or 800px; got {self.width}.")
        pixels = float(found[1]) * _PER_PX[found[2]]
        if not 30 <= pixels * 25.4 / PX_PER_INCH <= 2000:
            raise StoreError(f"--width is between 30mm and 2000mm; got {self.width}.")
        return pixels

    @property
    def font_pixels(self) -> float:
        """Raises StoreError if the size is not between 4 and 72 points."""
        points = self.kind.font if self.font_size is None else self.font_size
        if not 4 <= points <= 72:
            raise StoreError(f"--font-size is between 4 and 72 points; got {points:g}.")
        return points * 4 / 3


def fit(fig: Any, page: Page, smoke: bool = False) -> go.Figure:
    """The figure, laid out for the page. One that is laid out in another way than ours keeps its
    proportions.

    Raises:
      StoreError: an unknown style, or a width or a font size that cannot be.
    """
    pixels, font, kind = page.pixels, page.font_pixels, page.kind
    meta: dict[str, Any] = dict(fig.layout.meta or {})
    times = font / FONT_SIZE
    if "notes" in meta and smoke:
        meta["notes"] = [SMOKE, *meta["notes"]]
    elif smoke:
        fig.add_annotation(x=0, y=0, xref="paper", yref="paper", text=SMOKE, showarrow=False)
    if page == Page() and not smoke:
        return fig
    if page != Page():
        _scale(fig, times, kind.lines if page.style != "screen" else times)
    if "notes" not in meta:
        shape = (fig.layout.height or 450) / (fig.layout.width or 700)
        own: dict[str, Any] = {"width": pixels, "height": pixels * shape, "font": {"size": font}}
        return fig.update_layout(own if page.title else {**own, "title": {"text": ""}})
    if not page.title:
        meta |= {"title": "", "notes": [SMOKE] if smoke else []}
    inner = max((pixels - 120 * times) / (WIDTH - 120), 0.05)
    taller = inner**0.6 if inner < 1 else 0.9 * inner  # a narrow figure is not as flat
    labelled = any(axis.type == "category" and axis.tickvals for axis in fig.select_yaxes())
    height = meta["plot_height"] * (max(taller, times) if labelled else taller)
    if page != Page():
        meta["heads"] += _break(fig, pixels - 120 * times, height)
    return lay_out(fig, meta, width=round(pixels), font=font, plot_height=height)


def _break(fig: Any, width: float, height: float) -> int:
    """Breaks titles that are longer than their axis; gives the lines that heads of panels grew."""
    for axes, length in ((fig.select_xaxes(), width), (fig.select_yaxes(), height)):
        for axis in axes:
            low, high = axis.domain or (0, 1)
            text, size = axis.title.text, axis.title.font.size or FONT_SIZE
            if text and "<" not in text:
                letters = max(int((high - low) * length / (0.55 * size)), 8)
                axis.title.text = "<br>".join(wrapped(text, letters))
    panels = max(sum(1 for _ in fig.select_xaxes()), 1)
    grown = 0
    for note in fig.layout.annotations or ():
        text = note.text or ""
        if " · " in text and 0.55 * (note.font.size or 16) * (len(text) - 7) > width / panels:
            note.text, grown = text.replace(" · ", "<br>"), 1
    return grown


def _scale(fig: Any, times: float, lines: float) -> None:
    """Fonts of labels, and lines and marks, for another size of page."""

    def font(one: Any) -> None:
        if one.font.size:
            one.font.size = max(one.font.size * times, 5)
        if getattr(one, "text", None):  # sizes inside texts
            one.text = re.sub(
                r"font-size:(\d+)px", lambda m: f"font-size:{float(m[1]) * times:.1f}px", one.text
            )

    for note in fig.layout.annotations or ():
        if not note.font.size:
            note.font.size = 16
        font(note)
    for axis in [*fig.select_xaxes(), *fig.select_yaxes()]:
        for one in (axis.tickfont, axis.title.font):
            if one.size:
                one.size = one.size * times
        if axis.title.standoff:
            axis.title.standoff *= times
        axis.update(ticklen=5 * times, linewidth=max(lines, 0.5), gridwidth=max(lines, 0.4))
    for trace in fig.data:
        for part in ("line", "marker.line"):
            try:
                width = trace[part + ".width"]
            except (ValueError, TypeError, KeyError):
                continue
            if width:
                trace[part + ".width"] = width * lines
        size = trace["marker.size"] if "marker" in trace else None
        if isinstance(size, int | float):
            trace["marker.size"] = size * lines
        if trace.type == "heatmap" and trace.colorbar.thickness:
            trace.colorbar.thickness *= times
    for axis in fig.layout:
        if axis.startswith("coloraxis") and fig.layout[axis].colorbar.thickness:
            fig.layout[axis].colorbar.thickness *= times
    for shape in fig.layout.shapes or ():
        if shape.line.width:
            shape.line.width *= lines
