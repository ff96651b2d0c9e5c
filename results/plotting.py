"""Figures by name, and writing one to a file."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from results.ask.named_queries import space_name, space_of
from results.errors import StoreError, nearest
from results.figures.bar2025.accuracy import ACCURACY
from results.figures.bar2025.recurrences import BAR2025
from results.figures.curves import grad_norms, grad_norms_last_10, training_loss
from results.figures.heatmaps import grad_heatmap, grad_per_layer, timeline
from results.figures.herranz2023.covariance import covariance, decay
from results.figures.herranz2023.figure1 import figure1a, figure1b, figure1c
from results.figures.herranz2023.figures_2_to_4 import figure2, figure3, figure4
from results.figures.herranz2023.lsc import before_after, lsc_radius
from results.figures.herranz2023.table1 import table1
from results.figures.ribeiro2020.chaotic_lstm import CHAOS_FIGURES
from results.figures.ribeiro2020.orbits import ORBIT_FIGURES
from results.figures.sweeps import depth, overview
from results.figures.zucchet2024.deep_signals import DEEP
from results.figures.zucchet2024.scans import ZUCCHET2024
from results.figures.zucchet2024.signals import SIGNALS

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from results.store.store import Store

FigureFunction = Callable[["Store", Mapping[str, Any], "str | None"], "go.Figure"]

GENERAL: dict[str, FigureFunction] = {
    function.__name__: function
    for function in (
        training_loss, grad_norms, grad_per_layer, grad_norms_last_10, grad_heatmap, overview,
        depth, timeline,
    )
}  # fmt: skip
"""Figures of any trials that train."""

FIGURES: dict[str, FigureFunction] = {
    **GENERAL,
    **{
        function.__name__: function
        for function in (
            figure1a,
            figure1b,
            figure1c,
            figure2,
            figure3,
            figure4,
            table1,
            lsc_radius,
            before_after,
            covariance,
            decay,
            *ZUCCHET2024,
            *SIGNALS,
            *DEEP,
            *ORBIT_FIGURES,
            *CHAOS_FIGURES,
            *BAR2025,
            *ACCURACY,
        )
    },
}
"""The built-in figures: of any training, then of single studies. A user's figure is a function of
the same three arguments."""

FORMATS = ("html", "png", "pdf", "svg")


def register_figure(name: str, function: FigureFunction) -> None:
    """Adds a figure. Raises StoreError if the name is taken by another."""
    if FIGURES.get(name, function) is not function:
        raise StoreError(f"a figure named {name} exists already; choose another name.")
    FIGURES[name] = function


def figure(
    store: Store,
    space: str | Mapping[str, Any],
    name: str | None = None,
    trial: str | None = None,
    figures: Mapping[str, FigureFunction] | None = None,
) -> go.Figure:
    """A figure of a space, as a Plotly object.

    Args:
      space: `study/space`, or the space's JSON.
      name: the figure; the space's first if None.
      trial: unique prefix of one trial; the whole space if None.
      figures: functions by name; the registered ones if None.

    Raises:
      StoreError: no such space, figure or trial; or the store lacks the rows it needs.
    """
    data = space_of(store, space) if isinstance(space, str) else dict(space)
    known = FIGURES if figures is None else figures
    wanted = name or next(iter(data.get("figures") or ()), "overview")
    if wanted not in known:
        raise StoreError(
            f"no figure is called {wanted!r}{nearest(wanted, known)}; known: {', '.join(known)}."
        )
    return known[wanted](store, data, trial)


def plot(
    store: Store,
    space: str | Mapping[str, Any],
    name: str | None = None,
    *,
    trial: str | None = None,
    output: str | Path | None = None,
    format: str | None = None,
    figures: Mapping[str, FigureFunction] | None = None,
) -> Path:
    """Writes a figure and returns its path, a different one for every space, figure and trial.

    Args:
      output: file to write; `figures/<study>-<space>-<figure>[-<trial>].<format>` if None.
      format: html (self-contained), png, pdf or svg; by the ending of `output` if None.

    Raises:
      StoreError: as `figure`; an unknown format; a place not writable; no browser for an image.
    """
    data = space_of(store, space) if isinstance(space, str) else dict(space)
    wanted = name or next(iter(data.get("figures") or ()), "overview")
    drawn = figure(store, data, wanted, trial, figures)
    if output is None:
        kind = format or "html"
        own = [space_name(data), wanted, store.resolve(trial) if trial else ""]
        stem = "-".join(_plain(part) for part in own if part)
        path = Path("figures") / f"{stem}.{kind}"
    else:
        path = Path(output)
        kind = format or path.suffix.lstrip(".") or "html"
    if kind not in FORMATS:
        raise StoreError(f"cannot write {path} as {kind!r}; formats are {', '.join(FORMATS)}.")
    write_bytes(path, rendered(drawn, kind, wanted))
    return path


def rendered(drawn: go.Figure, kind: str, name: str) -> bytes:
    """The figure as a file of that format. HTML holds all it needs, plotly.js included."""
    if kind == "html":
        text = drawn.to_html(include_plotlyjs=True, full_html=True, div_id=_plain(name))
        return text.encode()
    try:
        return drawn.to_image(format=kind, scale=2 if kind == "png" else 1)
    except (ImportError, OSError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise StoreError(
            f"cannot draw a {kind} ({reason}); install gradsweep[png] and Chromium, or use html."
        ) from error


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file, its folder made first. Raises StoreError if it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        raise StoreError(f"cannot write {path} ({error.strerror}); choose another -o.") from error


def _plain(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.]+", "-", text).strip("-")
