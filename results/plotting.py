"""Figures by name, and writing one to a file."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import results.figures
from results.ask.named_queries import space_name, space_of
from results.errors import StoreError, nearest

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from results.store.store import Store

FigureFunction = Callable[["Store", Mapping[str, Any], "str | None"], "go.Figure"]


def _declared(general: bool) -> dict[str, FigureFunction]:
    """The functions that the modules of `results.figures` list in `FIGURES`, by name: those of its
    own modules, or of the folders of single studies."""
    found = {}
    for module in pkgutil.walk_packages(results.figures.__path__, "results.figures."):
        if (module.name.count(".") == 2) == general:
            listed = getattr(importlib.import_module(module.name), "FIGURES", ())
            found |= {function.__name__: function for function in listed}
    return found


GENERAL = _declared(general=True)
"""Figures of any trials that train."""

FIGURES = GENERAL | _declared(general=False)
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
