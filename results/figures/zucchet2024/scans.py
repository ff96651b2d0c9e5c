"""Figures of study zucchet2024 over its scans: what memory costs whom, and why (figures 3, 10, 11).

A scan's learning rate is chosen by `best.best`; a figure reads all scans it needs that were
launched into the store, whichever of them it is asked for, and says which are missing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from results.ask.best import best
from results.ask.named_queries import space_name
from results.ask.trial_values import sortable
from results.config_values import value_text, value_texts
from results.errors import StoreError
from results.figures.declaration import Figure
from results.figures.selection import known, medians, select_trials, series
from results.figures.style import LogScale, draw_series, explain_marks, finish, look

if TYPE_CHECKING:
    from results.store.store import Store

Row = dict[str, Any]
_RATIO = "Loss / teacher's energy"


def _chosen(
    store: Store, space: Mapping[str, Any], scan: str, by: Sequence[str]
) -> tuple[list[Row], str]:
    """A scan's cells at their best learning rate, and what to say of it; none where it is not in
    the store."""
    study = space_name(space).partition("/")[0]
    name = f"{study}/{scan}"
    own = store.spaces().get(name)
    if own is None:
        return [], f"{scan} is missing: it was not launched into this store."
    try:
        frame = best(store, own, by=by, confidence=None)
    except StoreError as error:
        return [], f"{scan} is missing: {error}"
    rows = [{str(k): v for k, v in row.items()} for row in frame.to_dict("records")]
    rows.sort(key=lambda row: tuple(sortable(row[key]) for key in by))
    for row in rows:
        if row["n_diverged"] and math.isnan(row["median"]):
            row["median"] = math.inf  # is drawn at the edge
    columns = ("n_missing", "n_diverged", "cell_pruned")
    lost, bad, early = (sum(int(row.get(name, 0)) for row in rows) for name in columns)
    said = [f"{bad} chosen seeds diverged" if bad else "", f"{lost} trials missing" if lost else "",
            f"{early} pruned, left out" if early else ""]  # fmt: skip
    said = [text for text in said if text]
    rows = [row for row in rows if row["n"] or row["n_diverged"]]  # others have no value to draw
    return rows, f"{scan}: {', '.join(said)}." if said else ""


def _centre(fig: go.Figure, rows: Sequence[Row], key: str, scale: LogScale, name: str,
            style: dict[str, Any]) -> None:  # fmt: skip
    """Medians over seeds as a line, means with their standard errors as hollow markers."""
    draw_series(fig, [r[key] for r in rows], [r["median"] for r in rows], scale, name, style)
    means = [r for r in rows if math.isfinite(r["mean"])]
    fig.add_trace(
        go.Scatter(
            x=[r[key] for r in means], y=[r["mean"] for r in means], mode="markers",
            name=f"{name}, mean", legendgroup=name, showlegend=False,
            marker={"symbol": f"{style['symbol']}-open", "size": 11, "color": style["colour"]},
            error_y={
                "type": "data", "array": [_finite(r["stderr"]) for r in means], "thickness": 1.2,
                "arrayminus": [min(_finite(r["stderr"]), 0.9 * r["mean"]) for r in means],
            },
            customdata=[[text, r["n"], r["n_diverged"]] for r, text in
                        zip(means, value_texts([r["lr"] for r in means]), strict=True)],
            hovertemplate=f"{name}, mean %{{y:.3g}}, lr %{{customdata[0]}}, %{{customdata[1]}} "
            "seeds, %{customdata[2]} diverged<extra></extra>",
        )
    )  # fmt: skip


def _finite(value: float) -> float:
    return value if math.isfinite(value) else 0.0


_LINES = "Line: median over seeds, a diverged one the worst. Hollow: mean ± standard error without."


def _by_key(
    store: Store,
    space: Mapping[str, Any],
    scans: Mapping[str, str],
    key: str,
    axis: str,
    title: str,
) -> go.Figure:
    """Best ratios against a key, a line for each scan {its space: its name}."""
    found = {scan: _chosen(store, space, scan, [key]) for scan in scans}
    if not any(rows for rows, _ in found.values()):
        raise StoreError(" ".join(note for _, note in found.values()))
    scale = LogScale(least_decades=1.0)
    for rows, _ in found.values():
        scale.see(row[c] for row in rows for c in ("median", "mean") if row[c] == row[c])
    fig = go.Figure()
    for index, (scan, (rows, _)) in enumerate(found.items()):
        if rows:
            _centre(fig, rows, key, scale, scans[scan], look(index))
    explain_marks(fig, [scale])
    fig.update_xaxes(title=axis)
    fig.update_yaxes(title=_RATIO, **scale.axis())
    study = space_name(space).partition("/")[0]
    notes = [note for _, note in found.values()]
    return finish(fig, f"{title} — {study}", [_LINES, *notes], 430)


def curse_of_memory(store: Store, space: Mapping[str, Any], trial: str | None = None) -> go.Figure:
    """Figure 3A: best loss against the teacher's memory, LRU and dense RNN."""
    scans = {"comparison_rnn": "dense RNN", "comparison_lru": "LRU"}
    fig = _by_key(store, space, scans, "min_nu", "Smallest modulus ν₀", "The curse of memory")
    memories = [0.36, 0.68, 0.84, 0.92, 0.96, 0.98, 0.99]
    return fig.update_xaxes(type="category", categoryorder="array", categoryarray=memories)


def concentration(store: Store, space: Mapping[str, Any], trial: str | None = None) -> go.Figure:
    """Figure 10: best loss against the largest phase of eigenvalues."""
    scans = {"shrink_p3": "dense RNN", "shrink_p2": "complex diagonal", "shrink_p1": "LRU"}
    fig = _by_key(store, space, scans, "max_phase", "Largest phase θ₀", "Concentrated eigenvalues")
    return fig.update_xaxes(type="log", tickvals=[0.0314, 0.0993, 0.314, 0.993, 3.14],
                            ticktext=["π/100", ".0993", "π/10", ".993", "π"])  # fmt: skip


_BARS = (  # name, scan, keys of a cell, the cell
    ("dense RNN", "comparison_rnn", {"min_nu": 0.99}),
    ("2×2 blocks", "ablation_p2", {"heads": 32}),
    ("2×2, 128 units", "ablation_p3", {"heads": 64}),
    ("complex diagonal", "ablation_p1", {"lru_param": "default", "lru_gamma": "none"}),
    ("complex + γ", "ablation_p1", {"lru_param": "default", "lru_gamma": "learned"}),
    ("LRU", "ablation_p1", {"lru_param": "exp", "lru_gamma": "learned"}),
    ("LRU without γ", "ablation_p1", {"lru_param": "exp", "lru_gamma": "none"}),
)


def ablation(store: Store, space: Mapping[str, Any], trial: str | None = None) -> go.Figure:
    """Figure 3B: best loss at the longest memory, from the dense RNN to the LRU."""
    rows, notes = [], []
    for name, scan, cell in _BARS:
        found, note = _chosen(store, space, scan, list(cell))
        notes.append(note)
        own = [row for row in found if all(row[k] == v for k, v in cell.items())]
        rows += [{**row, "name": name} for row in own]
    if not rows:
        raise StoreError(" ".join(dict.fromkeys(notes)))
    scale = LogScale(least_decades=1.0)
    scale.see(row[c] for row in rows for c in ("median", "mean") if row[c] == row[c])
    fig = go.Figure()
    _centre(fig, rows, "name", scale, "ν₀ .99", look(0))
    fig.data[0].update(mode="markers", showlegend=False)
    explain_marks(fig, [scale])
    fig.update_xaxes(type="category")
    fig.update_yaxes(title=_RATIO, **scale.axis())
    study = space_name(space).partition("/")[0]
    lines = "Filled: median over seeds, a diverged one the worst. Hollow: mean ± standard error."
    return finish(fig, f"What the LRU adds — {study}", [lines, *dict.fromkeys(notes)], 430)


def heads(store: Store, space: Mapping[str, Any], trial: str | None = None) -> go.Figure:
    """Figure 11: loss and effective learning rate of the recurrent matrix by epoch and heads."""
    chosen = select_trials(store, space, trial).ended()
    rates = {
        row["heads"]: row["lr"]
        for row in best(store, space, by=["heads"], confidence=None).to_dict("records")
    }
    kept = [t for t in chosen.trials if t.config["lr"] == rates.get(t.config["heads"])]
    losses = series(store, "epochs", "epoch, loss_ratio AS y", [t.id for t in kept], order="epoch")
    steps = (
        series(store, "effective_lr", "epoch, lr_mean AS y", [t.id for t in kept],
               where="tensor = 'a'", order="epoch")
        if store.has("effective_lr")
        else {}
    )  # fmt: skip
    fig = make_subplots(1, 2, horizontal_spacing=0.12)
    panels = ((losses, _RATIO), (steps, "Effective learning rate of A"))
    scales = []
    for col, (rows, axis) in enumerate(panels, 1):
        scale = LogScale(least_decades=1.0)
        scale.see(row["y"] for own in rows.values() for row in own)
        for index, count in enumerate(sorted(rates)):
            own = [row for t in kept if t.config["heads"] == count for row in rows.get(t.id, ())]
            x, y = medians([row for row in own if known(row["y"])], "epoch", "y")
            name = f"{count} heads, lr {value_text(rates[count])}"
            draw_series(fig, x, y, scale, name, look(index), legend=col == 1, row=1, col=col)
        fig.update_yaxes(title=axis, row=1, col=col, **scale.axis())
        scales.append(scale)
    fig.update_traces(mode="lines")
    fig.update_xaxes(title="Epoch")
    explain_marks(fig, scales)
    note = "Median over the seeds that have the epoch; the learning rate is the best of each."
    return finish(fig, f"Blocks of the state matrix — {chosen.title}", [*chosen.notes(), note], 400)


def effective_lr(store: Store, space: Mapping[str, Any], trial: str | None = None) -> go.Figure:
    """Figures 4 and 9: Adam's effective learning rate of each tensor by epoch."""
    if not store.has("effective_lr"):
        select_trials(store, space, trial)  # which says so where no trial has come so far
        raise StoreError("no trial here recorded effective_lr; launch with effective_lr_every=1.")
    chosen = select_trials(store, space, trial, "effective_lr")
    shown = chosen.trials[0]
    rows = store.sql(
        "SELECT epoch, tensor, lr, lr_mean, lr_min, lr_max, lr_probe FROM all_effective_lr "
        "WHERE trial_id = $id ORDER BY tensor, epoch",
        {"id": shown.id},
    ).rows()
    scale = LogScale(least_decades=1.0)
    scale.see(row[c] for row in rows for c in ("lr_mean", "lr_probe"))
    fig = go.Figure()
    for index, tensor in enumerate(dict.fromkeys(row["tensor"] for row in rows)):
        own = [row for row in rows if row["tensor"] == tensor]
        style, x = look(index), [row["epoch"] for row in own]
        draw_series(fig, x, [row["lr_mean"] for row in own], scale, tensor, style)
        fig.add_trace(
            go.Scatter(
                x=x, y=[row["lr_probe"] for row in own], mode="lines", legendgroup=tensor,
                showlegend=False, line={"color": style["colour"], "dash": "dot", "width": 1.5},
                hovertemplate=f"{tensor}, published probe: %{{y:.3g}}<extra></extra>",
            )
        )  # fmt: skip
    line = {"color": "#444444", "dash": "dash", "width": 1.5}
    own = [row for row in rows if row["tensor"] == rows[0]["tensor"]]
    fig.add_trace(go.Scatter(x=[r["epoch"] for r in own], y=[r["lr"] for r in own], mode="lines",
                             name="lr", line=line))  # fmt: skip
    fig.update_xaxes(title="Epoch")
    fig.update_yaxes(title="Effective learning rate", **scale.axis())
    note = "Geometric mean over entries of lr/(√v̂ + ε). Dotted: the published probe."
    return finish(fig, f"Effective learning rates — {shown.name}", [note], 430)


FIGURES = (
    Figure(curse_of_memory, reads=dict.fromkeys(("comparison_rnn", "comparison_lru"), ("min_nu",))),
    Figure(ablation, reads={scan: tuple(cell) for _, scan, cell in _BARS}),
    Figure(
        concentration,
        reads=dict.fromkeys(("shrink_p1", "shrink_p2", "shrink_p3"), ("max_phase",)),
    ),
    Figure(heads, metrics=("loss_ratio",), by=("heads", "lr")),
    Figure(effective_lr, table="effective_lr"),
)
