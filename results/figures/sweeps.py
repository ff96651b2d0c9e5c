"""Figures over many trials: verdicts side by side, and what depth does."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from results.errors import StoreError
from results.figures.declaration import Figure
from results.figures.selection import Shown, averaged_keys, labels, select_trials, series
from results.figures.style import LogScale, draw_series, explain_marks, finish, look, threshold

if TYPE_CHECKING:
    from results.store.store import Store

_CLASSES = {
    "vanishing": ("vanishing", "vanishing_mild", "dead"),
    "healthy": ("healthy",),
    "exploding": ("exploding", "diverged"),
    "neither": ("rising", "plateau", "undetermined", "open"),
}


def overview(store: Store, space: Mapping[str, Any], trial: str | None = None) -> go.Figure:
    """Gradient norm by layer, vanishing, healthy and exploding trials side by side."""
    chosen = select_trials(store, space, trial).ended()
    # The last epoch with a finite step: that of a diverged trial shows where it was before.
    rows = series(
        store, "layers", "epoch, layer, grad_norm", chosen.ids,
        where="tensor = '*' AND NOT coalesce(frozen, false)", order="epoch, layer",
    )  # fmt: skip
    profiles = {trial_id: _last_profile(own) for trial_id, own in rows.items()}
    if not profiles:
        raise StoreError(f"no trial of {chosen.title} recorded its layers; launch it again.")
    shown: dict[str, list[Shown]] = {}
    for name, verdicts in _CLASSES.items():
        members = [t for t in chosen.trials if t.verdict in verdicts and t.id in profiles]
        if members:
            shown[name] = members
    scale = LogScale(least_decades=1.0)
    for profile in profiles.values():
        scale.see(value for _, value in profile)
    heads = [f"<b>{name}</b> · {_trials(len(members))}" for name, members in shown.items()]
    fig = make_subplots(1, len(shown), subplot_titles=heads, shared_yaxes=True,
                        horizontal_spacing=0.03)  # fmt: skip
    order = {cell: index for index, cell in enumerate(chosen.cells)}
    named: set[str] = set()
    for col, members in enumerate(shown.values(), 1):
        for member in members:
            x, y = zip(*profiles[member.id], strict=True)
            draw_series(
                fig, x, y, scale, member.cell or member.name, look(order[member.cell]),
                legend=member.cell not in named, opacity=0.75,
                hover=f"{member.name}, {member.verdict}", row=1, col=col,
            )  # fmt: skip
            named.add(member.cell)
    explain_marks(fig, [scale])
    deepest = max(layer for profile in profiles.values() for layer, _ in profile)
    fig.update_xaxes(title="Layer (0 nearest the input)", tickformat="d")
    if deepest <= 8:
        fig.update_xaxes(dtick=1)  # else Plotly sets ticks between layers
    fig.update_yaxes(**scale.axis())
    fig.update_yaxes(title="Gradient norm of the layer", row=1, col=1)
    absent = [name for name in ("vanishing", "healthy", "exploding") if name not in shown]
    note = f"No trial is {' or '.join(absent)}." if absent and trial is None else ""
    title = f"Gradient by layer and verdict — {chosen.title}"
    return finish(fig, title, [*chosen.notes(), note], 400, heads=1)


def _last_profile(rows: list[dict[str, Any]]) -> list[tuple[int, float]]:
    """(layer, norm) at the last epoch with a finite norm; at the last of all where none has."""
    finite = [
        r["epoch"] for r in rows if r["grad_norm"] is not None and math.isfinite(r["grad_norm"])
    ]
    epoch = max(finite) if finite else rows[-1]["epoch"]
    return [(r["layer"], r["grad_norm"]) for r in rows if r["epoch"] == epoch]


def depth(store: Store, space: Mapping[str, Any], trial: str | None = None) -> go.Figure:
    """Smallest tensor norm and depth slope of the first epoch, against the number of layers."""
    chosen = select_trials(store, space, trial)
    rows = store.sql(
        """
        WITH whole AS (
            SELECT trial_id, epoch, layer, grad_norm::DOUBLE AS norm,
                layer = max(layer) OVER (PARTITION BY trial_id) AS readout,
                epoch = min(epoch) OVER (PARTITION BY trial_id) AS early
            FROM all_layers
            WHERE tensor = '*' AND trial_id IN (SELECT unnest($ids))
        ),
        slopes AS (
            SELECT trial_id, epoch, count(*) AS depth,
                regr_slope(log10(norm), layer) FILTER (norm > 0 AND isfinite(norm)) AS slope
            FROM whole WHERE early AND NOT readout GROUP BY trial_id, epoch
        )
        SELECT s.trial_id, s.depth, s.slope, e.grad_norm_smallest AS smallest
        FROM slopes s JOIN all_epochs e USING (trial_id, epoch)
        """,
        {"ids": chosen.ids},
    ).rows()
    found = {row["trial_id"]: row for row in rows}
    if not found:
        raise StoreError(f"no trial of {chosen.title} recorded its layers; launch it again.")
    groups = _by_depth(chosen.trials, found, space)
    scale = LogScale(least_decades=1.0)
    scale.see(row["smallest"] for row in rows)
    fig = make_subplots(1, 2, horizontal_spacing=0.12)
    for index, (name, points) in enumerate(groups.items()):
        style, depths = look(index), sorted(points)
        least = {d: [r["smallest"] for r in points[d] if r["smallest"] is not None] for d in depths}
        middle = [statistics.median(least[d]) if least[d] else None for d in depths]
        draw_series(fig, depths, middle, scale, name, style, hover=name, row=1, col=1)
        _spread(fig, depths, middle, least, style, scale)
        slopes = [[r["slope"] for r in points[d] if r["slope"] is not None] for d in depths]
        fig.add_trace(
            go.Scatter(
                x=depths, y=[statistics.median(s) if s else None for s in slopes], name=name,
                legendgroup=name, showlegend=False, mode="lines+markers",
                line={"color": style["colour"], "dash": style["dash"], "width": 2},
                marker={"symbol": style["symbol"], "size": 7, "color": style["colour"]},
                hovertemplate=f"{name}<br>%{{x}} layers: %{{y:.3f}}<extra></extra>",
            ),
            row=1, col=2,
        )  # fmt: skip
    explain_marks(fig, [scale])
    ticks = sorted({d for points in groups.values() for d in points})
    fig.update_xaxes(title="Depth (layers without the readout)", tickvals=ticks)
    fig.update_yaxes(title="Smallest tensor norm, first epoch", row=1, col=1, **scale.axis())
    fig.update_yaxes(title="Slope of log<sub>10</sub> norm (decades per layer)", row=1, col=2)
    low, high = scale.axis()["range"]
    tiny = store.rules["abs_norm"] * (space.get("chance_loss") or 1)
    if low <= math.log10(tiny) <= high:
        threshold(fig, tiny, "vanishing below", log=True, col=1)
    threshold(fig, store.rules["depth_slope"], "vanishing above", log=False, col=2)
    note = (
        "Points: median over seeds; bars: least to greatest. "
        "Layers at exactly 0 are left out of the slope."
    )
    return finish(fig, f"Gradient against depth — {chosen.title}", [*chosen.notes(), note], 430)


def _by_depth(
    trials: list[Shown], found: Mapping[str, dict[str, Any]], space: Mapping[str, Any]
) -> dict[str, dict[int, list[dict[str, Any]]]]:
    """Rows by cell without its depth, then by depth."""
    left_out = {"depth", *averaged_keys(space, default=())}
    keys = [key for key in space.get("swept") or () if key not in left_out]
    groups: dict[str, dict[int, list[dict[str, Any]]]] = {}
    kept = [trial for trial in trials if trial.id in found]
    for trial, name in zip(kept, labels([t.config for t in kept], keys), strict=True):
        row = found[trial.id]
        groups.setdefault(name or "all trials", {}).setdefault(row["depth"], []).append(row)
    return groups


def _spread(
    fig: go.Figure,
    depths: list[int],
    middle: list[float | None],
    values: Mapping[int, list[float]],
    style: dict[str, Any],
    scale: LogScale,
) -> None:
    """Bars from the least to the greatest value, where there are several."""
    for at, centre in zip(depths, middle, strict=True):
        kept = [v for v in values[at] if math.isfinite(v)]
        if centre and len(kept) > 1:
            ends = [max(end, scale.floor) for end in (min(kept), max(kept))]
            fig.add_trace(
                go.Scatter(
                    x=[at, at], y=ends, mode="lines", showlegend=False, hoverinfo="skip",
                    line={"color": style["colour"], "width": 1.2},
                ),
                row=1, col=1,
            )  # fmt: skip


def _trials(count: int) -> str:
    return f"{count} trial" if count == 1 else f"{count} trials"


FIGURES = (Figure(overview, table="layers"), Figure(depth, table="layers"))
