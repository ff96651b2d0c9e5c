"""Figures of study ribeiro2020: orbits under constant input while a net trains, and their ends.

Epoch axes are in epochs, not in snapshots.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from results.config_values import value_text
from results.errors import StoreError
from results.figures.declaration import EPOCH, FROM_EPOCH, Figure, FigureOption
from results.figures.selection import Selection, Shown, select_trials, series
from results.figures.style import COLOURS, LogScale, draw_series, explain_marks, finish, look

if TYPE_CHECKING:
    from results.store.store import Store

Row = dict[str, Any]

KINDS = {
    "fixed_point": ("fixed point", COLOURS[0]),
    "period": ("cycle of whole steps", COLOURS[2]),
    "quasi_periodic": ("closed curve", COLOURS[1]),
    "chaotic": ("chaotic", COLOURS[3]),
    "slow": ("not settled", COLOURS[5]),
    "unbounded": ("unbounded", COLOURS[6]),
}
"""Kinds of attractors, what figures call them, and their colours."""

SNAPSHOTS = """
    SELECT trial_id, epoch, std, input, any_value(input_value) AS input_value,
        string_agg(DISTINCT kind, ', ' ORDER BY kind) AS kinds,
        count(DISTINCT attractor) FILTER (attractor >= 0) AS attractors
    FROM all_attractors GROUP BY trial_id, epoch, std, input
"""
"""A row for each snapshot, spread of first states and input."""

EVENTS = f"""
    SELECT *, lag(kinds) OVER own AS kinds_before, lag(attractors) OVER own AS attractors_before
    FROM ({SNAPSHOTS})
    WINDOW own AS (PARTITION BY trial_id, std, input ORDER BY epoch)
    QUALIFY kinds_before <> kinds OR attractors_before <> attractors
"""
"""Bifurcations: snapshots at which kinds or number of an input's attractors have changed."""


def _one(
    store: Store, space: Mapping[str, Any], trial: str | None, table: str
) -> tuple[Selection, Shown]:
    """The trial asked for, or the first that has rows."""
    if not store.has(table):
        select_trials(store, space, trial)  # which says so where no trial has come so far
        raise StoreError(f"no trial here recorded {table}; launch with {table}_every=10.")
    chosen = select_trials(store, space, trial, table)
    return chosen, chosen.trials[0]


def _notes(chosen: Selection, shown: Shown, *more: str) -> list[str]:
    others = len(chosen.trials) - 1
    text = f"Shown: {shown.name}."
    return [text + (f" --trial ID shows any of {others} others." if others else ""), *more]


def _by_epoch(rows: Sequence[Row], key: str) -> tuple[list[int], list[Any]]:
    return [row["epoch"] for row in rows], [row[key] for row in rows]


def attractors(
    store: Store, space: Mapping[str, Any], trial: str | None = None, *, from_epoch: int = 0,
    std: float | None = None,
) -> go.Figure:  # fmt: skip
    """Training loss, kinds and number of attractors, and gradient norm over the same epochs, with
    bifurcations marked; the first spread of first states where there are several."""
    chosen, shown = _one(store, space, trial, "attractors")
    mine = {"id": shown.id}
    rows = store.sql(
        "SELECT epoch, std, kind, count(*) AS n FROM all_attractors WHERE trial_id = $id "
        "AND epoch >= $from_epoch GROUP BY ALL ORDER BY epoch, std",
        {**mine, "from_epoch": from_epoch},
    ).rows()  # fmt: skip
    known = list(dict.fromkeys(row["std"] for row in rows))
    if not known or std not in (None, *known):
        there = f"spreads {', '.join(map(value_text, known))}" if known else "none so late"
        raise StoreError(f"trial {shown.id[:8]} has no such attractors; it has {there}.")
    std = known[0] if std is None else std
    rows = [row for row in rows if row["std"] == std]
    counts = store.sql(
        f"SELECT epoch, avg(attractors) AS n FROM ({SNAPSHOTS}) "
        "WHERE trial_id = $id AND std = $std AND epoch >= $from_epoch GROUP BY epoch "
        "ORDER BY epoch",
        {**mine, "std": std, "from_epoch": from_epoch},
    ).rows()  # fmt: skip
    events = store.sql(
        f"SELECT epoch, count(*) AS n FROM ({EVENTS}) WHERE trial_id = $id AND std = $std "
        "AND epoch >= $from_epoch GROUP BY epoch ORDER BY epoch",
        {**mine, "std": std, "from_epoch": from_epoch},
    ).rows()  # fmt: skip
    losses = series(
        store, "epochs", "epoch, loss, grad_norm_max", [shown.id], f"epoch >= {int(from_epoch)}",
        "epoch",
    )  # fmt: skip
    fig: Any = make_subplots(4, 1, shared_xaxes=True, vertical_spacing=0.05)
    epochs, scales = losses.get(shown.id, []), []
    for line, (key, title) in {
        1: ("loss", chosen.loss("Training loss")), 4: ("grad_norm_max", "Largest<br>gradient norm"),
    }.items():  # fmt: skip
        scale = LogScale(least_decades=1.0)
        scale.see(row[key] for row in epochs)
        x, y = _by_epoch(epochs, key)
        draw_series(fig, x, y, scale, title, look(6), legend=False, row=line, col=1)
        fig.update_traces(mode="lines", row=line, col=1)
        fig.update_yaxes(title=title, row=line, col=1, **scale.axis())
        scales.append(scale)
    total = {row["epoch"]: 0 for row in rows}
    for row in rows:
        total[row["epoch"]] += row["n"]
    snapshots = sorted(total)
    for kind, (name, colour) in KINDS.items():
        n = {row["epoch"]: row["n"] for row in rows if row["kind"] == kind}
        if n:
            fig.add_trace(
                go.Bar(
                    x=snapshots, y=[n.get(e, 0) / total[e] for e in snapshots], name=name,
                    marker={"color": colour, "line": {"width": 0}}, opacity=0.75,
                ),
                row=2, col=1,
            )  # fmt: skip
    x, y = _by_epoch(counts, "n")
    fig.add_trace(
        go.Scatter(
            x=x, y=y, showlegend=False, mode="lines+markers", line={"color": "#000000", "width": 2},
            marker={"size": 5},
        ),
        row=3, col=1,
    )  # fmt: skip
    fig.update_yaxes(title="Attractors<br>an input", rangemode="tozero", row=3, col=1)
    fig.update_layout(barmode="stack", bargap=0)
    fig.update_yaxes(title="Share of orbits", range=[0, 1], row=2, col=1)
    for row in events:
        style = {"color": "#555555", "dash": "dot", "width": 1}
        for line in (1, 2, 3, 4):
            fig.add_vline(x=row["epoch"], row=line, col=1, line=style)
    fig.update_xaxes(title="Epoch", row=4, col=1)
    explain_marks(fig, scales)
    more = (
        f"Orbits start from N(0, {value_text(std)}²). Dotted: {len(events)} snapshots with a "
        "bifurcation."
    )
    title = f"Attractors while it trains — {chosen.title}"
    return finish(fig, title, _notes(chosen, shown, more), 820)


_MOST_POINTS = 12_000
_MOST_STEPS = 400

_STD = FigureOption(
    "std", "float", "Standard deviation that first states were drawn with; the least if left out."
)
_OUTPUT = FigureOption(
    "output", "int",
    "Output that is shown: of many 0 is their mean, 1 and 2 are projections.", 0,
)  # fmt: skip
_START = FigureOption("start", "int", "Number of the random first state.", 0)
_BURN_IN = FigureOption("burn_in", "int", "Time steps left out, of those recorded.", 0)
_ORBIT = (_OUTPUT, _START, _STD, _BURN_IN)


def _orbit_rows(
    store: Store, shown: Shown, columns: str, where: str, *, input: int, output: int, start: int,
    std: float | None, burn_in: int, from_epoch: int = 0,
) -> list[Row]:  # fmt: skip
    """Rows of one orbit at every epoch, further chosen and ordered by `where`.

    Raises:
      StoreError: there are none, with what there is.
    """
    rows = store.sql(
        f"SELECT {columns} FROM all_orbits WHERE trial_id = $id AND input = $input AND "
        "output = $output AND start = $start AND std = $std AND t >= $burn_in AND "
        f"epoch >= $from_epoch {where}",
        {"id": shown.id, "input": input, "output": output, "start": start,
         "std": _std_of(store, shown, std), "burn_in": burn_in, "from_epoch": from_epoch},
    ).rows()  # fmt: skip
    if rows:
        return rows
    (there,) = store.sql(
        "SELECT max(input) AS input, max(start) AS start, min(output) AS output, max(output) AS "
        "outputs, min(t) AS t, max(t) AS last, max(epoch) AS epoch FROM all_orbits "
        "WHERE trial_id = $id", {"id": shown.id},
    ).rows()  # fmt: skip
    raise StoreError(
        f"trial {shown.id[:8]} recorded no such orbit; it has inputs 0 to {there['input']}, starts "
        f"0 to {there['start']}, outputs {there['output']} to {there['outputs']}, time steps "
        f"{there['t']} to {there['last']} and epochs up to {there['epoch']}."
    )


def _std_of(store: Store, shown: Shown, asked: float | None) -> float:
    rows = store.sql(
        "SELECT DISTINCT std FROM all_orbits WHERE trial_id = $id ORDER BY std", {"id": shown.id}
    ).rows()
    known = [row["std"] for row in rows]
    if asked is not None and asked not in known:
        texts = ", ".join(value_text(std) for std in known)
        raise StoreError(f"trial {shown.id[:8]} has no orbits of std {asked:g}; it has {texts}.")
    return known[0] if asked is None else asked


def _inputs(store: Store, shown: Shown, asked: Sequence[int] | None = None) -> list[Row]:
    """Inputs by number with what they stand for: those asked for, else the lowest, the middle and
    the highest."""
    rows = store.sql(
        "SELECT input, any_value(input_value) AS value FROM all_orbits WHERE trial_id = $id "
        "GROUP BY input ORDER BY input", {"id": shown.id},
    ).rows()  # fmt: skip
    if asked is None:
        return [rows[i] for i in sorted({0, len(rows) // 2, len(rows) - 1})]
    known = {row["input"]: row for row in rows}
    for number in asked:
        if number not in known:
            raise StoreError(
                f"trial {shown.id[:8]} recorded no orbits of input {number}; it has inputs 0 to "
                f"{max(known)}."
            )
    return [known[number] for number in asked]


def _what(options: Mapping[str, Any]) -> str:
    """Which orbit is shown, as a sentence."""
    left = f"; time steps from {options['burn_in']}" if options["burn_in"] else ""
    return f"First state {options['start']}, output {options['output']}{left}."


def orbit1d(
    store: Store, space: Mapping[str, Any], trial: str | None = None, *,
    input: Sequence[int] | None = None, **options: Any,
) -> go.Figure:  # fmt: skip
    """Orbit diagram: all outputs recorded at an epoch, above that epoch, for three inputs."""
    chosen, shown = _one(store, space, trial, "orbits")
    inputs = _inputs(store, shown, input)
    heads = [f"<b>input {row['value']:.4g}</b>" for row in inputs]
    fig = make_subplots(1, len(inputs), shared_yaxes=True, subplot_titles=heads,
                        horizontal_spacing=0.04)  # fmt: skip
    thinned = False
    for col, one in enumerate(inputs, 1):
        rows = _orbit_rows(store, shown, "epoch, y", "ORDER BY epoch, t", input=one["input"],
                           **options)  # fmt: skip
        every = -(-len(rows) * len(inputs) // _MOST_POINTS)
        thinned |= every > 1
        kept = rows[::every]
        x, y = _by_epoch(kept, "y")
        fig.add_trace(
            go.Scatter(
                x=x, y=y, mode="markers", showlegend=False,
                marker={"size": 3, "color": x, "colorscale": "Viridis", "opacity": 0.5},
            ),
            row=1, col=col,
        )  # fmt: skip
        fig.update_xaxes(title="Epoch", row=1, col=col)
    fig.update_yaxes(title="Output", row=1, col=1)
    more = _what(options) + (" Some of the points." if thinned else "")
    return finish(fig, f"Orbit diagram — {chosen.title}", _notes(chosen, shown, more), 430, heads=1)


def orbit2d(
    store: Store, space: Mapping[str, Any], trial: str | None = None, *, input: int, **options: Any
) -> go.Figure:
    """Figure 4: the same in three dimensions, outputs against their change in a step."""
    chosen, shown = _one(store, space, trial, "orbits")
    (one,) = _inputs(store, shown, [input])
    rows = _orbit_rows(
        store, shown, "epoch, y, lead(y) OVER (PARTITION BY epoch ORDER BY t) - y AS change",
        "QUALIFY change IS NOT NULL ORDER BY epoch, t", input=input, **options,
    )  # fmt: skip
    kept = rows[:: -(-len(rows) // _MOST_POINTS)]
    x, y = _by_epoch(kept, "y")
    fig = go.Figure(
        go.Scatter3d(
            x=x, y=y, z=[row["change"] for row in kept], mode="markers", showlegend=False,
            marker={"size": 2, "color": x, "colorscale": "Viridis", "opacity": 0.6},
        )
    )  # fmt: skip
    fig.update_layout(
        scene={"xaxis": {"title": "Epoch"}, "yaxis": {"title": "y<sub>t</sub>"},
               "zaxis": {"title": "y<sub>t+1</sub> − y<sub>t</sub>"},
               "camera": {"eye": {"x": 1.7, "y": -1.7, "z": 0.7}, "center": {"z": -0.15}}}
    )  # fmt: skip
    more = f"Input {one['value']:.4g}. {_what(options)}"
    return finish(fig, f"Orbits while it trains — {chosen.title}", _notes(chosen, shown, more), 620)


def transient(
    store: Store, space: Mapping[str, Any], trial: str | None = None, *,
    input: Sequence[int] | None = None, epoch: int | None = None, **options: Any,
) -> go.Figure:  # fmt: skip
    """Outputs over time at one epoch with orbits, for three inputs."""
    chosen, shown = _one(store, space, trial, "orbits")
    last = "(SELECT max(epoch) FROM all_orbits WHERE trial_id = $id)"
    fig, at = go.Figure(), last if epoch is None else str(int(epoch))
    for index, one in enumerate(_inputs(store, shown, input)):
        rows = _orbit_rows(
            store, shown, "epoch, t, y", f"AND epoch = {at} ORDER BY t", input=one["input"],
            **options,
        )[:_MOST_STEPS]  # fmt: skip
        epoch = rows[0]["epoch"]
        fig.add_trace(
            go.Scatter(
                x=[row["t"] for row in rows], y=[row["y"] for row in rows], mode="lines",
                name=f"input {one['value']:.4g}",
                line={"color": COLOURS[index % len(COLOURS)], "width": 1.6},
            )
        )  # fmt: skip
    fig.update_xaxes(title="Time step t")
    fig.update_yaxes(title="Output")
    notes = _notes(chosen, shown, f"Epoch {epoch}. {_what(options)}")
    return finish(fig, f"Orbits over time — {chosen.title}", notes, 380)


_INPUTS = FigureOption(
    "input", "ints", "Constant inputs by number; the lowest, middle and highest if left out."
)

FIGURES = (
    Figure(attractors, table="attractors", options=(FROM_EPOCH, _STD)),
    Figure(orbit1d, table="orbits", options=(_INPUTS, *_ORBIT, FROM_EPOCH)),
    Figure(
        orbit2d, table="orbits",
        options=(FigureOption("input", "int", "Constant input by number.", 0), *_ORBIT, FROM_EPOCH),
    ),
    Figure(
        transient, table="orbits",
        options=(_INPUTS, EPOCH, *_ORBIT),
    ),
)  # fmt: skip
