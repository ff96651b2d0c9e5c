"""Figures of the pretraining itself, and of gradients with and without it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from results.ask.named_queries import nothing_yet, space_name
from results.config_values import value_text, value_texts
from results.errors import StoreError
from results.figures.declaration import Figure
from results.figures.heatmaps import Grid, colour_axis, heatmap
from results.figures.herranz2023.starts import BY_START, in_order, start_of, told_by_start
from results.figures.panels import Layout, explain_cells, notes, pick
from results.figures.selection import (
    Selection,
    Shown,
    averaged_keys,
    labels,
    select_trials,
    series,
)
from results.figures.style import LogScale, draw_series, finish, look, wrapped

if TYPE_CHECKING:
    from results.store.store import Store

KINDS = {
    "block": "block of a feed-forward net",
    "rec": "recurrent ∂h<sub>t</sub>/∂h<sub>t−1</sub>",
    "enc": "input ∂h<sub>t</sub>/∂x<sub>t</sub>",
    "depth": "depth ∂h<sub>t</sub>/∂h<sub>t</sub> below",
    "dec": "decoder ∂y<sub>t</sub>/∂h<sub>t</sub>",
}
_BINS = 60
_MOST_ROWS = 3


def lsc_radius(store: Store, space: Mapping[str, Any], trial: str | None = None) -> go.Figure:
    """Spectral radius of each kind of Jacobian by iteration of the pretraining, and its target."""
    chosen, panels, rows = pretrainings(store, space, trial)
    layout = Layout.of(panels, 20, named=False)
    fig = layout.figure(panels)
    named: set[str] = set()
    for index, shown in enumerate(panels):
        place = layout.place(index)
        for at, kind in enumerate(KINDS):
            lines = [row for row in rows[shown.id] if row["kind"] == kind]
            if lines:
                _radius_line(fig, lines, kind, look(at), kind not in named, place)
                named.add(kind)
        _targets(fig, rows[shown.id], "target" not in named, place)
        named.add("target")
    fig.update_xaxes(title="Iteration", rangemode="tozero", tickformat="d")
    fig.update_yaxes(rangemode="tozero")
    fig.update_yaxes(title="Spectral radius", col=1)
    note = "Lines: mean over layers and neighbouring iterations; bands: 10 % to 90 % of them."
    note += " The decoder's target is always 1." if "dec" in named else ""
    return finish(fig, f"Radius while pretraining — {chosen.title}",
                  [*notes(chosen, panels), note], layout.height, layout.heads)  # fmt: skip


def pretrainings(
    store: Store, space: Mapping[str, Any], trial: str | None, bins: int = _BINS
) -> tuple[Selection, list[Shown], dict[str, list[dict[str, Any]]]]:
    """The pretrainings of a space that have a panel each, and their radii as `_radii` gives them.

    Raises:
      StoreError: there are none.
    """
    parents = list(dict.fromkeys((space.get("parents") or {}).values()))
    if not store.has("lsc"):
        asked = parents or list(space.get("trials") or ())
        raise StoreError(nothing_yet(store, space_name(space), asked, "rows of lsc"))
    own = {**space, "targets": parents, "parents": {}} if parents else space
    chosen = select_trials(store, own, trial)
    rows = _radii(store, chosen.ids, bins)
    panels = _named(store, space, pick(chosen, set(rows)))
    if not panels:
        raise StoreError(f"no trial of {chosen.title} is a pretraining; name one with --trial.")
    return chosen, panels, rows


def _named(store: Store, space: Mapping[str, Any], panels: Sequence[Shown]) -> list[Shown]:
    """Pretrainings as panels call them: by what they read, and by how they ended."""
    rows = store.sql(
        "SELECT trial_id, arg_max(metrics['radius'], epoch) AS radius, "
        "arg_max(metrics['radius_std'], epoch) AS spread FROM all_epochs "
        "WHERE trial_id IN (SELECT unnest($ids)) GROUP BY trial_id",
        {"ids": [shown.id for shown in panels]},
    ).rows()
    ends = {row["trial_id"]: row for row in rows}
    keys = [k for k in space.get("swept") or () if not told_by_start(k) and k != "seed"]
    found = []
    names = labels([shown.config for shown in panels], keys)
    for shown, name in zip(panels, names, strict=True):
        end = ends.get(shown.id) or {}
        known = end.get("radius") is not None and end.get("spread") is not None
        said = f"radius {end['radius']:.3f} ± {end['spread']:.3f}, " if known else ""
        target = start_of(shown.config).removeprefix("LSC, ")
        cell = ", ".join(word for word in (name, f"target {target}") if word)
        found.append(replace(shown, cell=cell, verdict=said + shown.status.replace("_", " ")))
    return found


def _radii(store: Store, ids: Sequence[str], bins: int) -> dict[str, list[dict[str, Any]]]:
    """Per trial and kind, radii over bins of iterations: their middle, their spread, variance, and
    mean squared distance from the target."""
    rows = store.sql(
        """
        WITH own AS (
            SELECT *, max(iteration) OVER (PARTITION BY trial_id) + 1 AS total
            FROM all_lsc WHERE trial_id IN (SELECT unnest($ids))
        )
        SELECT trial_id, kind, avg(iteration) AS iteration, avg(target) AS target,
            avg(radius) FILTER (isfinite(radius)) AS mean,
            quantile_cont(radius, 0.1) FILTER (isfinite(radius)) AS low,
            quantile_cont(radius, 0.9) FILTER (isfinite(radius)) AS high,
            var_pop(radius) FILTER (isfinite(radius)) AS variance,
            avg((radius - target) ** 2) FILTER (isfinite(radius)) AS distance
        FROM own GROUP BY trial_id, kind, iteration * $bins // greatest(total, $bins)
        ORDER BY trial_id, kind, iteration
        """,
        {"ids": list(ids), "bins": bins},
    ).rows()
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["trial_id"], []).append(row)
    return found


def _radius_line(
    fig: go.Figure,
    rows: Sequence[Mapping[str, Any]],
    kind: str,
    style: Mapping[str, Any],
    legend: bool,
    place: Mapping[str, Any],
) -> None:
    kept = [row for row in rows if row["mean"] is not None]
    x = [row["iteration"] for row in kept]
    name = KINDS[kind]
    fig.add_trace(
        go.Scatter(
            x=[*x, *reversed(x)],
            y=[*(row["high"] for row in kept), *(row["low"] for row in reversed(kept))],
            fill="toself", mode="lines", line={"width": 0}, fillcolor=style["colour"],
            opacity=0.2, showlegend=False, legendgroup=kind, hoverinfo="skip",
        ),
        **place,
    )  # fmt: skip
    fig.add_trace(
        go.Scatter(
            x=x, y=[row["mean"] for row in kept], mode="lines", name=name, legendgroup=kind,
            showlegend=legend, line={"color": style["colour"], "width": 2},
            hovertemplate=f"{name}<br>%{{x:.0f}}: %{{y:.3f}}<extra></extra>",
        ),
        **place,
    )  # fmt: skip


def _targets(
    fig: go.Figure, rows: Sequence[Mapping[str, Any]], legend: bool, place: Mapping[str, Any]
) -> None:
    """A dotted line for each target, which kinds may share."""
    end = max(row["iteration"] for row in rows)
    for index, target in enumerate(sorted({round(row["target"], 6) for row in rows})):
        fig.add_trace(
            go.Scatter(
                x=[0, end], y=[target, target], mode="lines", name="target",
                legendgroup="target", showlegend=legend and index == 0,
                line={"color": "#333333", "dash": "dot", "width": 1.5},
                hovertemplate=f"target {value_text(target)}<extra></extra>",
            ),
            **place,
        )  # fmt: skip


def before_after(store: Store, space: Mapping[str, Any], trial: str | None = None) -> go.Figure:
    """Training loss, and gradient norm of each layer over the epochs, by what was started from."""
    chosen = select_trials(store, space, None)
    shown, left_out = one_setting_each(store, space, chosen.trials, trial)
    ids = [one.id for group in shown.values() for one in group]
    layers = series(store, "layers", "epoch, layer, grad_norm", ids, "tensor = '*'", "epoch, layer")
    if not layers:
        raise StoreError(f"no trial of {chosen.title} recorded its layers; launch it again.")
    losses = series(store, "epochs", "epoch, loss", ids, order="epoch")
    starts = in_order([start_of(one.config) for group in shown.values() for one in group])
    colours, heights = LogScale(least_decades=1.0), LogScale()
    heights.see(row["loss"] for own in losses.values() for row in own)
    grids = {
        (name, start): _by_layer(
            [layers[one.id] for one in group if start_of(one.config) == start and one.id in layers]
        )
        for name, group in shown.items()
        for start in starts
    }
    for grid in grids.values():
        for line in grid.values:
            colours.see(line)
    each = 300
    heads = [_head(name, text) for name in shown for text in ("training loss", *starts)]
    lines = max(head.count("<br>") + 1 for head in heads)
    fig = make_subplots(
        len(shown), 1 + len(starts), subplot_titles=heads, horizontal_spacing=0.06,
        vertical_spacing=(60 + 20 * lines) / (each * len(shown)) if len(shown) > 1 else 0,
    )  # fmt: skip
    for row, (name, group) in enumerate(shown.items(), 1):
        for index, start in enumerate(starts):
            own = [losses[o.id] for o in group if start_of(o.config) == start and o.id in losses]
            _loss(fig, own, heights, start, look(index), legend=row == 1, row=row, col=1)
            place: dict[str, Any] = {"row": row, "col": 2 + index}
            heatmap(fig, grids[name, start], place)
            layers_here = [int(layer) for layer in grids[name, start].y]
            fig.update_yaxes({"autorange": "reversed", "tickvals": _some(layers_here)}, **place)
        fig.update_yaxes({"title": chosen.loss("Loss"), **heights.axis()}, row=row, col=1)
        fig.update_yaxes(title="Layer", row=row, col=2)
    explain_cells(fig, colours)
    colour_axis(fig, colours, "Gradient<br>norm")
    epochs = sorted({row["epoch"] for own in losses.values() for row in own})
    ends = [epochs[0] - 0.5, epochs[-1] + 0.5]
    fig.update_xaxes({"tickvals": _some(epochs), "range": ends, "showgrid": False})
    for col in range(1, 2 + len(starts)):
        fig.update_xaxes({"title": "Epoch"}, row=len(shown), col=col)
    said = [*chosen.notes(), "Medians over seeds.", left_out]
    title = f"Gradients by layer and start — {chosen.title}"
    return finish(fig, title, said, each * len(shown), heads=lines)


def _some(numbers: Sequence[int], most: int = 6) -> list[int]:
    """At most so many of the numbers, evenly spaced, for ticks."""
    return list(numbers[:: max(1, -(-len(numbers) // most))])


def one_setting_each(
    store: Store, space: Mapping[str, Any], trials: Sequence[Shown], trial: str | None
) -> tuple[dict[str, list[Shown]], str]:
    """Trials that differ in start and seed only, by name; at most three rows, or that of a trial.

    Of several values of the key that is selected (a learning rate) the middle one is shown.
    """
    select = space.get("select") or {}
    free = averaged_keys(space, default=())
    keys = [k for k in space.get("swept") or () if k not in free and not told_by_start(k)]
    choose = str(select.get("choose") or "lr")
    known = {shown.id: shown for shown in trials}
    wanted = known.get(store.resolve(trial)) if trial else None
    if trial and wanted is None:
        raise StoreError(f"trial {trial} is not one of this figure's.")
    values = sorted({v for t in trials if (v := t.config.get(choose)) is not None})
    chosen = wanted.config.get(choose) if wanted else values[len(values) // 2] if values else None
    groups: dict[str, list[Shown]] = {}
    own = [one for one in trials if choose not in keys or one.config.get(choose) == chosen]
    for one, name in zip(own, labels([one.config for one in own], keys), strict=True):
        groups.setdefault(name, []).append(one)
    if wanted:
        return {name: own for name, own in groups.items() if wanted in own}, ""
    shown = dict(list(groups.items())[:_MOST_ROWS])
    words = []
    if choose in keys and len(values) > 1:
        words.append(f"{choose} {value_text(chosen)} of {', '.join(value_texts(values))}.")
    if len(groups) > len(shown):
        words.append(f"Shown: {len(shown)} of {len(groups)} settings; --trial ID shows another.")
    return shown, " ".join(words)


def _head(name: str, text: str) -> str:
    lines = [*wrapped(name, 26)[:3], f"<b>{text}</b>"] if text == "training loss" else [text]
    return "<br>".join(f"<span style='font-size:13px'>{line}</span>" for line in lines if line)


def _by_layer(seeds: Sequence[Sequence[Mapping[str, Any]]]) -> Grid:
    """Median over trials of each layer's norm at each epoch; not finite where one is not."""
    cells: dict[tuple[int, int], list[float]] = {}
    for own in seeds:
        for row in own:
            value = row["grad_norm"]
            cells.setdefault((row["layer"], row["epoch"]), []).append(
                math.nan if value is None else value
            )
    layers, epochs = (sorted({key[axis] for key in cells}) for axis in (0, 1))

    def middle(layer: int, epoch: int) -> float | None:
        values = cells.get((layer, epoch))
        if not values:
            return None
        return statistics.median(v if math.isfinite(v) else math.inf for v in values)

    return Grid(epochs, [str(n) for n in layers], [[middle(n, e) for e in epochs] for n in layers])


def _loss(
    fig: go.Figure,
    seeds: Sequence[Sequence[Mapping[str, Any]]],
    scale: LogScale,
    name: str,
    style: dict[str, Any],
    legend: bool,
    **place: Any,
) -> None:
    by_epoch: dict[int, list[float]] = {}
    for own in seeds:
        for row in own:
            value = math.inf if row["loss"] is None else float(row["loss"])
            own_epoch = by_epoch.setdefault(row["epoch"], [])
            own_epoch.append(value if math.isfinite(value) else math.inf)
    kept = sorted(by_epoch.items())
    if kept:
        draw_series(fig, [epoch for epoch, _ in kept], [statistics.median(v) for _, v in kept],
                    scale, name, style, legend=legend, **place)  # fmt: skip


FIGURES = (
    Figure(lsc_radius, table="lsc", parents=True),
    Figure(before_after, table="layers", by=(BY_START,), apart=lambda key: not told_by_start(key)),
)
