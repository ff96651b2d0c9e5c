"""Colours of figures on a light and on a dark page."""

from __future__ import annotations

import html

import plotly.graph_objects as go

from results.board.address import Address

# Okabe and Ito's palette, as in results/figures/style.py; each is seen on both grounds.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#8C8C8C")

VERDICTS = {
    "healthy": "#009E73", "converged": "#009E73", "vanishing": "#0072B2",
    "vanishing_mild": "#56B4E9", "dead": "#4D4D4D", "exploding": "#D55E00", "diverged": "#A33B00",
    "rising": "#E69F00", "plateau": "#CC79A7", "open": "#B8B8B8", "undetermined": "#8C8C8C",
}  # fmt: skip
"""Colour of each verdict."""


def dark(at: Address) -> bool:
    return at.first("theme") == "dark"


def plain(text: object) -> str:
    """Text from a store as Plotly shows it letter by letter; it would read tags."""
    return html.escape(str(text), quote=False)


def faint(colour: str, share: float) -> str:
    """A colour `#rrggbb` seen through."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{share:g})"


def dressed(figure: go.Figure, at: Address) -> go.Figure:
    """The figure in the page's colours."""
    ink, ground, lines = (
        ("#e6e6e6", "#16191d", "rgba(255,255,255,0.16)")
        if dark(at)
        else ("#1c1f23", "#ffffff", "rgba(0,0,0,0.12)")
    )
    figure.update_layout(
        template="none",
        paper_bgcolor=ground,
        plot_bgcolor=ground,
        font={"color": ink, "size": 13, "family": "system-ui, Helvetica, Arial, sans-serif"},
        margin={"l": 80, "r": 20, "t": 20, "b": 60},
        hovermode="closest",
        hoverlabel={"namelength": -1},
    )
    axis = {
        "gridcolor": lines, "linecolor": ink, "tickcolor": ink, "showline": True,
        "ticks": "outside", "zeroline": False, "automargin": True,
        "title_standoff": 14,
    }  # fmt: skip
    figure.update_xaxes(axis)
    figure.update_yaxes(axis)
    return figure
