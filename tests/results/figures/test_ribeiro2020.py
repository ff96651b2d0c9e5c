"""Figures of study ribeiro2020 from a made-up store, against numbers by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from results import Store, StoreError
from results.figures.ribeiro2020.orbits import EVENTS
from results.plotting import figure as drawn
from tests.support.made_up_rows import attempt_row, epoch_row, space_of, table

TRIAL, BARE = "a" * 16, "b" * 16
SCAN, COST, LENGTH, PLANE = (c * 16 for c in "1234")
EPOCHS = (0, 20, 40, 60)
ENDS = {0: ("fixed_point", 1), 20: ("quasi_periodic", 1), 40: ("fixed_point", 1),
        60: ("fixed_point", 2)}  # fmt: skip
"""Kinds and number of attractors at each snapshot."""


def attractor_rows() -> list[dict[str, Any]]:
    return [
        {"trial_id": TRIAL, "attempt": 0, "epoch": epoch, "input": value,
         "input_value": 0.2 + 0.2 * value, "start": start, "std": 1.0, "kind": kind,
         "period": 1, "amplitude": 0.0, "omega": 0.2, "lyapunov": -0.1,
         "attractor": start % count, "residual": 0.0, "steps": 2048}
        for epoch, (kind, count) in ENDS.items() for value in (0, 1) for start in (0, 1)
    ]  # fmt: skip


def orbit_rows() -> list[dict[str, Any]]:
    return [
        {"trial_id": TRIAL, "attempt": 0, "epoch": epoch, "input": value,
         "input_value": 0.2 + 0.2 * value, "start": start, "std": 1.0, "t": t, "output": 0,
         "y": epoch / 100 + math.sin(t) + 5 * start}
        for epoch in EPOCHS for value in (0, 1) for start in (0, 1) for t in range(10, 15)
    ]  # fmt: skip


def chaos_rows() -> dict[str, list[dict[str, Any]]]:
    keys = {"attempt": 0, "epoch": 0}
    scan, diagram = [], []
    for s, kind, period, modulus in (
        (0.70, "fixed_point", 1, 0.9), (0.78, "fixed_point", 1, 0.99),
        (0.79, "period", 3, 1.01), (0.90, "chaotic", 0, 1.1),
    ):  # fmt: skip
        for start in ("standard", "origin"):
            scan.append(
                {"trial_id": SCAN, **keys, "s": s, "start": start, "kind": kind, "period": period,
                 **{f"lyapunov{k}": -0.1 * k for k in range(1, 5)}, "amplitude": 0.1,
                 "attractor": 0, "residual": 0.0, "steps": 2048, "origin_modulus": modulus}
            )  # fmt: skip
            diagram += [
                {"trial_id": SCAN, **keys, "s": s, "start": start, "t": t, "h1": s + t, "h2": 0.0}
                for t in range(3)
            ]
    sizes = {"grad_norm": 1.0, "hvp_norm": 1.0}
    s = np.linspace(0.9, 1.1, 41)
    cost = [
        {"trial_id": COST, **keys, "s": float(a), "cost": float(1 + math.cos(60 * math.pi * a)),
         "slope": 0.0 if k == 3 else -2.0, "bend": 4.0, **sizes} for k, a in enumerate(s)
    ]  # fmt: skip
    length = [
        {"trial_id": LENGTH, **keys, "length": n, "s": a, "cost": 1.0,
         "slope": -math.exp(rate * n), "bend": math.exp(2 * rate * n), **sizes}
        for n in (20, 40, 60) for a, rate in ((0.6, 0.0), (0.95, 0.2))
    ]  # fmt: skip
    plane = [
        {"trial_id": PLANE, **keys, "s1": a, "s2": b,
         "cost": 0.0 if (a, b) == (1, 0) else a + b + 1}
        for a in (0.0, 1.0, 2.0) for b in (0.0, 0.5)
    ]  # fmt: skip
    return {"chaos_scan": scan, "orbit_diagram": diagram, "chaos_cost": cost,
            "chaos_length": length, "chaos_plane": plane}  # fmt: skip


@pytest.fixture(scope="module")
def store(new_store: Callable[[], Store]) -> Store:
    made = new_store()
    epochs = [
        epoch_row(trial, e, 1 / (e + 1), grad_norm=1e5 if e == 20 else 10.0)
        for trial in (TRIAL, BARE) for e in range(61)
    ]  # fmt: skip
    made.publish("epochs", table(epochs))
    made.publish("probes/attractors", table(attractor_rows()))
    made.publish("probes/orbits", table(orbit_rows()))
    for name, rows in chaos_rows().items():
        made.publish(f"probes/{name}", table(rows))
    trained = [
        attempt_row(trial, config={"stage": "train", "model": "torch_lstm", "seed": seed},
                    epochs_done=61, epochs_planned=61)
        for seed, trial in enumerate((TRIAL, BARE))
    ]  # fmt: skip
    analysed = [
        attempt_row(trial, config={"stage": stage}, stage=stage)
        for trial, stage in zip(
            (SCAN, COST, LENGTH, PLANE),
            ("chaos_scan", "chaos_cost", "chaos_length", "chaos_plane"),
            strict=True,
        )
    ]
    made.publish("trials", table([*trained, *analysed]))
    for name, ids, swept in (
        ("sine", [TRIAL, BARE], ["seed"]), ("chaos", [SCAN, COST, LENGTH, PLANE], ["stage"]),
    ):  # fmt: skip
        space = space_of(ids, space=name, study="ribeiro2020", swept=swept, targets=ids)
        made.write_space(f"ribeiro2020/{name}", space)
    return made


def figure(store: Store, space: str, name: str, trial: str | None = None, **options: Any) -> Any:
    return drawn(store, f"ribeiro2020/{space}", name, trial, options=options)


def notes(fig: Any) -> str:
    return str(fig.layout.title.subtitle.text).replace("<br>", " ")


def test_bifurcations_are_changes_of_kind_or_count(store: Store) -> None:
    rows = store.sql(f"SELECT * FROM ({EVENTS}) ORDER BY input, epoch").rows()
    assert [(r["input"], r["epoch"]) for r in rows] == [
        (i, e) for i in (0, 1) for e in (20, 40, 60)
    ]
    first, _, last = rows[:3]
    assert (first["kinds_before"], first["kinds"]) == ("fixed_point", "quasi_periodic")
    assert (last["attractors_before"], last["attractors"]) == (1, 2)


def test_attractors_stand_beside_the_loss_of_the_same_epochs(store: Store) -> None:
    fig = figure(store, "sine", "attractors")
    loss, norm = (t for t in fig.data if t.type == "scatter" and t.mode == "lines")
    assert list(loss.x) == list(range(61))
    assert max(norm.y) == 1e5
    bars = {t.name: t for t in fig.data if t.type == "bar"}
    assert list(bars["fixed point"].x) == list(EPOCHS)
    assert list(bars["fixed point"].y) == [1, 0, 1, 1]
    assert list(bars["closed curve"].y) == [0, 1, 0, 0]
    (count,) = (t for t in fig.data if t.type == "scatter" and t.mode == "lines+markers")
    assert list(count.y) == [1, 1, 1, 2]
    assert sorted({shape.x0 for shape in fig.layout.shapes}) == [20, 40, 60]
    assert "3 snapshots with a bifurcation" in notes(fig)
    with pytest.raises(StoreError):
        figure(store, "sine", "attractors", BARE)


def test_orbit_diagrams_have_epochs_for_an_axis(store: Store) -> None:
    flat = figure(store, "sine", "orbit1d")
    assert [len(t.x) for t in flat.data] == [20, 20]
    assert sorted(set(flat.data[0].x)) == list(EPOCHS)
    at = [y for x, y in zip(flat.data[0].x, flat.data[0].y, strict=True) if x == 40]
    assert at == pytest.approx([0.4 + math.sin(t) for t in range(10, 15)])
    deep = figure(store, "sine", "orbit2d").data[0]
    assert len(deep.x) == 4 * 4
    want = [math.sin(t + 1) - math.sin(t) for t in range(10, 14)]
    assert list(deep.z[:4]) == pytest.approx(want)
    brief = figure(store, "sine", "transient")
    assert [t.name for t in brief.data] == ["input 0.2", "input 0.4"]
    assert list(brief.data[0].y) == pytest.approx([0.6 + math.sin(t) for t in range(10, 15)])
    assert "Epoch 60" in notes(brief)


def test_a_reader_chooses_the_orbit(store: Store) -> None:
    flat = figure(store, "sine", "orbit1d", input=1, start=1, from_epoch=40, burn_in=12)
    (points,) = flat.data
    assert sorted(set(points.x)) == [40, 60]
    want = [0.4 + math.sin(t) + 5 for t in range(12, 15)]
    assert list(points.y[:3]) == pytest.approx(want)
    assert "First state 1, output 0; time steps from 12." in notes(flat)
    brief = figure(store, "sine", "transient", input="1,0", epoch=20)
    assert [t.name for t in brief.data] == ["input 0.4", "input 0.2"]
    assert "Epoch 20" in notes(brief)
    late = figure(store, "sine", "attractors", from_epoch=30)
    assert sorted({shape.x0 for shape in late.layout.shapes}) == [40, 60]
    wrong: tuple[tuple[dict[str, Any], str], ...] = (
        ({"input": 7}, "no orbits of input 7; it has inputs 0 to 1"),
        ({"output": 3}, "starts 0 to 1, outputs 0 to 0, time steps 10 to 14 and epochs up to 60"),
        ({"std": 2.0}, "has no orbits of std 2; it has 1"),
        ({"stat": 2}, r"no option --stat \(did you mean --start"),
    )
    for options, sentence in wrong:
        with pytest.raises(StoreError, match=sentence):
            figure(store, "sine", "orbit1d", **options)


def test_a_bifurcation_diagram_names_its_changes(store: Store) -> None:
    fig = figure(store, "chaos", "bifurcation")
    dots = {t.name: t for t in fig.data if t.mode == "markers"}
    assert list(dots["fixed point"].x) == [0.7] * 3 + [0.78] * 3
    assert list(dots["chaotic"].y) == pytest.approx([0.9, 1.9, 2.9])
    text = notes(fig)
    assert "fixed point → period 3 at 0.785; period 3 → chaotic at 0.845" in text
    assert "s = 0.78500" in text


def test_an_attractor_is_shown_in_the_plane_of_its_states(store: Store) -> None:
    fig = figure(store, "chaos", "attractor_plane", s=0.905)
    (dots,) = fig.data
    assert dots.name == "chaotic"
    assert list(dots.x) == pytest.approx([0.9, 1.9, 2.9])
    assert list(dots.y) == [0, 0, 0]
    assert "s = 0.9, 3 states from the standard start; their mean is (1.9000, 0.0000)" in notes(fig)
    with pytest.raises(StoreError, match="known starts: origin, standard"):
        figure(store, "chaos", "attractor_plane", from_start="here")


def test_a_cost_profile_counts_its_minima(store: Store) -> None:
    fig = figure(store, "chaos", "cost_profile")
    assert "Local minima: 6 in (.9, 1.1), 0 in (1.5, 2)." in notes(fig)
    slopes = next(t for t in fig.data if t.name == "|dV/ds|")
    assert (slopes.y[0], slopes.y[3]) == (2, 1e-12)


def test_growth_is_the_fitted_rate(store: Store) -> None:
    fig = figure(store, "chaos", "cost_growth")
    texts = [a.text for a in fig.layout.annotations]
    assert sorted(texts) == sorted(["+0.000", "+0.200", "+0.000", "+0.400"])


def test_a_plane_is_drawn_over_both_factors(store: Store) -> None:
    grid = figure(store, "chaos", "cost_plane").data[0]
    assert (list(grid.x), list(grid.y)) == ([0, 1, 2], [0, 0.5])
    assert grid.z[1][2] == pytest.approx(math.log10(3.5))
    assert grid.z[0][1] == pytest.approx(0)  # the zero, at the least value above it
