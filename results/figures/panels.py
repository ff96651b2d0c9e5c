"""Panels of a figure, one per trial: which trials, where each goes, and what is said of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from results.figures.selection import Selection, Shown
from results.figures.style import BAD_COLOUR, BAD_NAME, ZERO_COLOUR, ZERO_NAME, LogScale, wrapped

_MOST_PANELS = 6


@dataclass(frozen=True)
class Layout:
    """Panels in rows of three; pixels, so that titles and tick labels never meet."""

    columns: int
    lines: int
    each: int
    labels: int
    heads: int
    named: bool

    @classmethod
    def of(cls, panels: Sequence[Shown], rows: int, named: bool) -> Layout:
        columns = 2 if len(panels) == 4 else min(len(panels), 3)
        each = min(max(13 * rows, 260), 1150)  # room for the label of each of 88 tensors
        heads = max(_head(p).count("<br>") + 1 for p in panels) if columns > 1 else 0
        return cls(columns, -(-len(panels) // columns), each, each // 13, heads, named)

    @property
    def gap(self) -> int:
        return 85 + 20 * self.heads

    @property
    def height(self) -> int:
        return self.lines * self.each + (self.lines - 1) * self.gap

    def place(self, index: int) -> dict[str, Any]:
        return {"row": index // self.columns + 1, "col": index % self.columns + 1}

    def figure(self, panels: Sequence[Shown]) -> go.Figure:
        wide = 0.13 if self.named else 0.06
        return make_subplots(
            self.lines, self.columns,
            subplot_titles=[_head(p) for p in panels] if self.heads else None,
            horizontal_spacing=wide if self.columns > 1 else 0,
            vertical_spacing=self.gap / self.height if self.lines > 1 else 0,
        )  # fmt: skip

    def ticks(self, names: Sequence[str]) -> list[str]:
        """The labels there is room for, the first one always."""
        return list(names[:: max(1, -(-len(names) // self.labels))])


def explain_cells(fig: go.Figure, scale: LogScale) -> None:
    """Legend entries for zeros and non-finite values, where there are any."""
    if scale.zeros:
        fig.add_trace(_key(ZERO_NAME, "square", ZERO_COLOUR))
    if scale.bads:
        fig.add_trace(_key(BAD_NAME, "square", BAD_COLOUR))


def _key(name: str, symbol: str, colour: str) -> go.Scatter:
    return go.Scatter(
        x=[None], y=[None], mode="markers", name=name, showlegend=True,
        marker={"symbol": symbol, "size": 13, "color": colour},
    )  # fmt: skip


def pick(chosen: Selection, have: set[str] | None = None) -> list[Shown]:
    """The first trial of each cell that has the rows; where these are more than six, of every
    verdict some."""
    firsts = []
    for trials in chosen.cells.values():
        firsts += [trial for trial in trials if have is None or trial.id in have][:1]
    turn: dict[str, int] = {}
    order = []
    for at, trial in enumerate(firsts):
        turn[trial.verdict] = turn.get(trial.verdict, -1) + 1
        order.append((turn[trial.verdict], at))
    return [firsts[at] for at in sorted(at for _, at in sorted(order)[:_MOST_PANELS])]


def notes(chosen: Selection, panels: Sequence[Shown]) -> list[str]:
    notes = chosen.notes()
    if len(chosen.trials) > len(panels):
        notes.append(
            f"Shown: the first trial of {len(panels)} of {len(chosen.cells)} cells; "
            "--trial ID shows any other."
        )
    return notes


def _head(shown: Shown) -> str:
    lines = wrapped(shown.name, 40)
    kept = lines[:3] if len(lines) <= 3 else [*lines[:2], lines[2] + "…"]
    told = [shown.verdict, shown.state] if shown.censored else [shown.verdict]
    return "<br>".join(f"<span style='font-size:13px'>{text}</span>" for text in (*kept, *told))
