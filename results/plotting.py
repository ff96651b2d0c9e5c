"""Figures by name, and writing one to a file."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import results.figures
from results.ask.named_queries import space_name, space_of
from results.ask.restricted import Where, restricted
from results.errors import StoreError, nearest
from results.figures.declaration import Figure, FigureFunction, FigureOption
from results.figures.drawn import drawn_csv
from results.figures.page import Page, fit
from results.figures.selection import joined

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from results.store.store import Store


def _declared(general: bool) -> dict[str, FigureFunction]:
    """The figures that modules list in `FIGURES`, by name: of modules directly in `results.figures`
    if `general`, otherwise of the folders of single studies."""
    found: dict[str, FigureFunction] = {}
    for module in pkgutil.walk_packages(results.figures.__path__, "results.figures."):
        if (module.name.count(".") == 2) == general:
            listed = getattr(importlib.import_module(module.name), "FIGURES", ())
            found |= {one.name if isinstance(one, Figure) else one.__name__: one for one in listed}
    return found


GENERAL = _declared(general=True)
"""Figures of any trials that train."""

FIGURES = GENERAL | _declared(general=False)
"""The built-in figures: of any training, then of single studies. A user's figure is a function of
the same three arguments, or a `Figure` that declares what it keeps apart."""

SCREEN = Page()

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
    where: Where = (),
    metric: str | None = None,
    options: Mapping[str, Any] | None = None,
    page: Page = SCREEN,
) -> go.Figure:
    """A figure of a space, as a Plotly object.

    Args:
      space: `study/space`, or the space's JSON.
      name: the figure; the space's first if None.
      trial: unique prefix of one trial; the whole space if None.
      figures: functions by name; the registered ones if None.
      where: values of config keys, such as `{"init": "xavier"}`; other trials are left out.
      metric: what a figure draws that lets one choose; without a `name` the figure is `metric`.
      options: of the figure, by name, such as `{"input": 3, "from_epoch": 100}`.
      page: its style, width, font size, and whether it has a title.

    Raises:
      StoreError: no such space, figure or trial; the store lacks the rows it needs; or trials
        differ in a key that the figure neither keeps apart nor averages over.
    """
    data = space_of(store, space) if isinstance(space, str) else dict(space)
    known = FIGURES if figures is None else figures
    wanted = _wanted(data, name, metric, known)
    if wanted not in known:
        if wanted in figures_of(data):
            raise StoreError(f"{wanted} is a figure of a study file of yours; give --study FILE.")
        raise StoreError(
            f"no figure is called {wanted!r}{nearest(wanted, known)}; known: {', '.join(known)}."
        )
    drawn, shown = known[wanted], restricted(store, data, where)
    if options:
        if not isinstance(drawn, Figure):
            raise StoreError(f"{wanted} has no options; a Figure(...) declares them.")
        shown = {**shown, "options": dict(options)}
    if metric is not None and not (isinstance(drawn, Figure) and drawn.chooses_metric):
        able = [n for n, f in known.items() if isinstance(f, Figure) and f.chooses_metric]
        raise StoreError(f"{wanted} draws no metric of one's choice; {joined(able, 'or')} does.")
    shown = shown if metric is None else {**shown, "metric": metric}
    return fit(drawn(store, shown, trial), page, smoke=bool(data.get("smoke")))


def _wanted(
    space: Mapping[str, Any],
    name: str | None,
    metric: str | None,
    known: Mapping[str, FigureFunction],
) -> str:
    return full_name(name or ("metric" if metric else figures_of(space)[0]), known)


def full_name(name: str, known: Mapping[str, FigureFunction]) -> str:
    """A figure's name; `curve` is another for `metric`."""
    return "metric" if name == "curve" and "curve" not in known else name


def figures_of(space: Mapping[str, Any]) -> list[str]:
    """Names of a space's figures, the one drawn by default first."""
    return list(space.get("figures") or ()) or ["overview"]


def describe_figure(function: FigureFunction) -> str:
    """The first line of a figure's docstring."""
    drawn = function.draw if isinstance(function, Figure) else function
    return (drawn.__doc__ or "").strip().split("\n")[0]


def options_of(function: FigureFunction) -> tuple[FigureOption, ...]:
    """What can be asked of a figure."""
    return function.options if isinstance(function, Figure) else ()


def unfit(store: Store, space: Mapping[str, Any], function: FigureFunction) -> str | None:
    """Why a figure cannot be drawn of a space, as a sentence; None where it can, as far as it
    declares what it needs."""
    if not isinstance(function, Figure):
        return None
    return function.lacking(store, space) or function.misfit(store, space)


def plot(
    store: Store,
    space: str | Mapping[str, Any],
    name: str | None = None,
    *,
    trial: str | None = None,
    output: str | Path | None = None,
    format: str | None = None,
    figures: Mapping[str, FigureFunction] | None = None,
    where: Where = (),
    metric: str | None = None,
    options: Mapping[str, Any] | None = None,
    page: Page = SCREEN,
    data: bool = False,
) -> Path:
    """Writes a figure and returns its path, a different one for every space, figure and trial.

    Args:
      output: the file to write, or an existing folder for one named as by default:
        `figures/<study>-<space>-<figure>[-<metric>][-<trial>][-<option>-<value>].<format>`.
      format: html (self-contained), png, pdf or svg; by the ending of `output` if None.
      where, metric, options, page: as in `figure`.
      data: also write what is drawn beside it, as CSV of the same name (`results.figures.drawn`).

    Raises:
      StoreError: as `figure`; an unknown format; a place not writable; no browser for an image.
    """
    record = space_of(store, space) if isinstance(space, str) else dict(space)
    wanted = _wanted(record, name, metric, FIGURES if figures is None else figures)
    own = [space_name(record), wanted, metric or "", store.resolve(trial) if trial else ""]
    own += [f"{name}-{value}" for name, value in (options or {}).items()]
    stem = "-".join(plain_name(part) for part in own if part)
    path, kind = place_of(output, stem, FORMATS, format)
    drawn = figure(store, record, wanted, trial, figures, where, metric, options, page)
    write_bytes(path, rendered(drawn, kind, wanted, page.kind.dots))
    if data:
        write_bytes(path.with_suffix(".csv"), drawn_csv(drawn).encode())
    return path


def place_of(
    output: str | Path | None, stem: str, formats: Sequence[str], format: str | None = None
) -> tuple[Path, str]:
    """The file to write, and its format.

    Args:
      output: a file, an existing folder, or None for the folder `figures`.
      stem: the file's name in a folder.
      formats: known ones, the default first.
      format: one of them; by the file's ending if None.

    Raises:
      StoreError: unknown format, or not that of the file's ending.
    """
    path = Path("figures" if output is None else output)
    known = ", ".join(formats)
    if format is not None and format not in formats:
        raise StoreError(f"cannot write {path} as {format!r}; formats are {known}.")
    if output is None or path.is_dir():
        kind = format or formats[0]
        return path / f"{stem}.{kind}", kind
    ending = path.suffix.lstrip(".").lower()
    if ending not in formats:
        ends = joined([f".{name}" for name in formats], "or")
        raise StoreError(
            f"cannot write {path}: give a file that ends in {ends}, or an existing folder."
        )
    if format not in (None, ending):
        raise StoreError(f"cannot write {path} as {format}: its ending says {ending}.")
    return path, ending


def rendered(drawn: go.Figure, kind: str, name: str, dots: float = 2) -> bytes:
    """The figure as a file of that format. HTML holds all it needs, plotly.js included."""
    if kind == "html":
        text = drawn.to_html(include_plotlyjs=True, full_html=True, div_id=plain_name(name))
        return text.encode()
    try:
        return drawn.to_image(format=kind, scale=dots if kind == "png" else 1)
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


def plain_name(text: str) -> str:
    """`text` as a part of a file's name."""
    return re.sub(r"[^A-Za-z0-9_.]+", "-", text).strip("-")
