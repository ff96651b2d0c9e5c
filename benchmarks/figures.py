"""Figures of docs/benchmarks.md from benchmarks/results: `python -m benchmarks.figures`."""

from __future__ import annotations

import json
import math
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from benchmarks.launching.packs import CASES
from results.figures.style import finish, look

RESULTS = Path(__file__).parent / "results"
DOCS = Path(__file__).parent.parent / "docs"


def packs() -> go.Figure:
    """Seconds of each way over those of the floor, by case and compile cache."""
    record = _record("packs")
    warm, cold = record["seconds"], record["measured"]
    cases = list(dict.fromkeys(name.partition(": ")[0] for name in warm))
    every = dict.fromkeys(name.partition(": ")[2] for name in warm)
    ways = [way for way in every if not way.startswith("floor")]
    fig = go.Figure()
    for index, way in enumerate(ways):
        for filled, which in ((True, "warm"), (False, "cold")):
            values = {
                case: (warm if filled else cold).get(f"{case}: {way}{'' if filled else ', cold'}")
                for case in cases
            }
            there = {case: value for case, value in values.items() if value is not None}
            fig.add_bar(
                name=f"{way}, cache {which}",
                x=[_label(case, cold[f"{case}: seconds of a trial"]) for case in there],
                y=[value / warm[f"{case}: floor"] for case, value in there.items()],
                text=[f"{value / warm[f'{case}: floor']:.2g}" for case, value in there.items()],
                textposition="outside",
                textfont={"size": 11},
                marker={
                    "color": look(index)["colour"] if filled else "white",
                    "line": {"color": look(index)["colour"], "width": 2},
                },
            )
    ticks = [1, 2, 5, 10]
    fig.update_yaxes(title="time from command to end / floor", type="log", tickvals=ticks)
    fig.update_yaxes(range=[0, math.log10(13)])
    fig.add_hline(1, line_color="#444444")
    note = (
        "The floor is the bare jitted epochs of all trials over both cores. All ways train by the "
        "same programs; a rival has one trial at a time in each process."
    )
    return finish(fig, "What a sweep takes beside its arithmetic", [note], 420)


def _label(case: str, seconds: float) -> str:
    kind = ", network" if "network" in case else ""
    return f"{CASES[case].trials} trials of {seconds:.2g} s{kind}"


def lanes() -> go.Figure:
    """Seconds of an epoch per lane by number of lanes, one panel a kind of program."""
    spans: dict[str, dict[str, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
    for name, value in _record("lanes_by_width")["seconds"].items():
        found = re.fullmatch(r"(.+), (\d+) lanes: (.+)", name)
        assert found, name
        spans[found[1]][found[3]][int(found[2])] = value
    fig = make_subplots(1, len(spans), subplot_titles=list(spans), horizontal_spacing=0.08)
    ways = list(dict.fromkeys(way for own in spans.values() for way in own))
    for column, own in enumerate(spans.values(), 1):
        for way, by_width in own.items():
            style = look(ways.index(way))
            fig.add_scatter(
                x=list(by_width), y=[1e3 * value for value in by_width.values()],
                name=way, legendgroup=way, showlegend=column == 1,
                line={"color": style["colour"]},
                marker={"symbol": style["symbol"], "size": 9},
                row=1, col=column,
            )  # fmt: skip
    fig.update_xaxes(title="lanes", type="log", tickvals=[1, 4, 16, 64])
    fig.update_yaxes(rangemode="tozero")
    fig.update_yaxes(title="ms of an epoch per lane", col=1)
    notes = ["A launch runs one process per core; what it chooses is in the table."]
    return finish(fig, "Lanes together, two cores", notes, 360, heads=1)


def _record(name: str) -> dict[str, Any]:
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


if __name__ == "__main__":
    for make in (packs, lanes):
        make().write_image(DOCS / f"benchmarks-{make.__name__}.png", scale=1.5)
