"""Figures of study zucchet2024 on signals and Hessians, from made-up stores, against numbers by
hand; and that no figure is without a test."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from results import Store, StoreError
from results.figures.style import ZERO_NAME
from results.plotting import FIGURES, GENERAL
from results.plotting import figure as drawn
from tests.results.figures.test_bar2025 import put, said, traces

STUDY = "bar2025"  # what `put` writes spaces under; a figure reads the space and no study's name
RHOS, LAMBDAS = (0.0, 0.9), (0.0, 0.5, 0.9)
TARGETS = (0.5, 0.9)
SEEDS = (0, 1, 2)
MEMORIES = (2.0, 10.0)


def energies(rho: float, lam: float) -> dict[str, Any]:
    """Closed forms of each panel, and simulated values that settle below a memory of 10."""
    closed = {"energy": 1 + rho + lam, "sensitivity": 10 * (1 + rho) * (1 + lam),
              "normalised_energy": 1 + rho, "normalised_sensitivity": 2 + rho}  # fmt: skip
    settled = lam < 0.9
    seen = {f"measured_{name}": 1.1 * v if settled else math.nan for name, v in closed.items()}
    return {"rho": rho, "lambda": lam, **closed, **seen}


@pytest.fixture(scope="module")
def store(new_store: Callable[[], Store]) -> Store:
    made = new_store()
    put(made, "energies", [{"seed": 0}],
        [{"scalar_signals": [energies(r, lam) for r in RHOS for lam in LAMBDAS]}], ["seed"],
        "1")  # fmt: skip
    losses = [
        {"target": t, "student": s, "loss": (t - s) ** 2, "normalised_loss": 2 * (t - s) ** 2}
        for t in TARGETS
        for s in (0.9, 0.1, 0.5)
    ]
    bends = [
        {"target": t, "form": form, "curvature": 1 / (1 - t) ** power}
        for t in reversed(TARGETS)
        for form, power in (("plain", 2), ("lru", 1))
    ]
    put(made, "units", [{"seed": 0}], [{"unit_loss": losses, "unit_curvature": bends}], ["seed"],
        "2")  # fmt: skip
    descents = [("sign", "polar", 1), ("sign", "lru", -1), ("adam", "polar", 2)]
    put(made, "phases", [{"landscape_rule": r, "phase_form": f} for r, f, _ in descents],
        [{"landscape": [{"step": s, "loss": 0.1**s if s < 3 else 0.0, "first_below": below}
                        for s in (3, 1, 0, 2)]} for _, _, below in descents],
        ["landscape_rule", "phase_form"], "3")  # fmt: skip
    put(made, "couplings", [{"seed": 0}],
        [{"coupling": [{"rho": rho, "phase": p, "modulus": 1 - 10.0**-m,
                        "size": 0.0 if p == 0 else 10.0**m}
                       for rho in RHOS for p in (-1.0, 0.0, 1.0) for m in (1, 2)]}],
        ["seed"], "4")  # fmt: skip
    put(made, "sectors", [{"sector": a, "seed": s} for a in (0.5, 3.0) for s in SEEDS],
        [{"diagonal_hessian": [{"top": 10.0 * a + s, "condition": 10.0 ** (s + a),
                                "off_diagonal": 0.0}]} for a in (0.5, 3.0) for s in SEEDS],
        ["sector", "seed"], "5")  # fmt: skip
    forms = ("lru", "rnn")
    put(made, "optima", [{"coordinates": form} for form in forms],
        [{"optimal_hessian": [
            {"draw": draw, "rank": rank, "participation": 10 * draw + rank,
             "eigenvalue": (-1) ** draw * (draw + 1) * 10.0 ** (at - rank)}
            for draw in range(3) for rank in range(6)]} for at in range(2)],
        ["coordinates"], "6")  # fmt: skip
    kinds = [("gru", "none"), ("lru", "layer")]
    stacks = list(itertools.product(kinds, SEEDS, reversed(MEMORIES)))
    put(made, "stacks",
        [{"deep_cell": c, "norm": n, "seed": s, "memory": t} for (c, n), s, t in stacks],
        [{"deep_signals": [
            {"layer": layer, "energy": (1 + s) * t * 10.0**layer,
             "eigenvalue_gradient": math.nan if c == "gru" else (1 + s) / t,
             "other_gradient": 0.0 if t == 2.0 else 5.0 + s}
            for layer in range(3)]} for (c, _), s, t in stacks],
        ["deep_cell", "norm", "seed", "memory"], "7")  # fmt: skip
    cells = list(itertools.product((1.0, 10.0), (0.1, 1.0), SEEDS))
    put(made, "jacobians",
        [{"memory_max": m, "scale_h": scale, "seed": s} for m, scale, s in cells],
        [{"gated_jacobian": [
            {"t": t, "diagonal": -(0.5**t) * (1 + s), "off_diagonal": m * scale * t}
            for t in (1, 2, 3)]} for m, scale, s in cells],
        ["memory_max", "scale_h", "seed"], "8")  # fmt: skip
    put(made, "gates", [{"seed": s} for s in SEEDS],
        [{"gated_signals": [{"memory": t, "energy": t, "sensitivity": t**2,
                             "measured_energy": t + s, "measured_sensitivity": t**2 - s / 10}
                            for t in MEMORIES]} for s in SEEDS],
        ["seed"], "9")  # fmt: skip
    put(made, "noises", [{"signal_batch": b} for b in (1, 2)],
        [{"autocorrelation": [{"lag": d, "measured": 0.5**d, "fitted": 0.4**d, "slow": 0.04,
                               "rho": 0.9, "white": 0.3} for d in range(3)]} for _ in (1, 2)],
        ["signal_batch"], "b")  # fmt: skip
    grus = list(itertools.product(((0.0, 0.0), (1.0, 0.5)), MEMORIES, SEEDS))
    put(made, "networks",
        [{"scale_x": x, "scale_h": h, "gate_memory": t, "seed": s} for (x, h), t, s in grus],
        [{"gated_network": [{"memory": t, "energy": t, "sensitivity": t**2,
                             "measured_energy": t + x + s, "measured_sensitivity": t**2 + h}]}
         for (x, h), t, s in grus],
        ["scale_x", "scale_h", "gate_memory", "seed"], "c")  # fmt: skip
    return made


SPACES = {
    "signal_energy": "energies", "unit_loss": "units", "landscape": "phases",
    "coupling": "couplings", "sector_hessian": "sectors", "optimal_hessian": "optima",
    "deep_signals": "stacks", "gru_jacobian": "jacobians", "gru_theory": "gates",
    "autocorrelation": "noises", "gated_theory": "networks",
}  # fmt: skip


def figure(store: Store, name: str) -> Any:
    return drawn(store, f"{STUDY}/{SPACES[name]}", name)


def heads(fig: Any) -> list[str]:
    return [a.text.removeprefix("<b>").removesuffix("</b>") for a in fig.layout.annotations]


def points(trace: Any) -> dict[Any, Any]:
    return dict(zip(trace.x, trace.y, strict=True))


def test_energies_against_memory(store: Store) -> None:
    fig = figure(store, "signal_energy")
    assert heads(fig)[:2] == ["E[h²]", "E[(∂h/∂λ)²]"]
    for rho in RHOS:
        lines = traces(fig, f"ρ = {rho:g}")
        assert len(lines) == 4
        assert sum(bool(line.showlegend) for line in lines) == 1
        assert {line.mode for line in lines} == {"lines"}
        assert list(lines[0].x) == pytest.approx([2, 10]), "λ = 0 is left out"
        assert list(lines[0].y) == pytest.approx([1.5 + rho, 1.9 + rho])
        assert list(lines[1].y) == pytest.approx([15 * (1 + rho), 19 * (1 + rho)])
        assert list(lines[3].y) == pytest.approx([2 + rho] * 2)
    circles = [t for t in fig.data if t.marker.symbol == "circle-open"]
    assert len(circles) == 8
    assert list(circles[0].x) == pytest.approx([2]), "where it has not settled there is none"
    assert list(circles[0].y) == pytest.approx([1.65])
    assert "Circles: simulated" in said(fig)


def test_losses_of_a_unit_and_their_curvature(store: Store) -> None:
    fig = figure(store, "unit_loss")
    loss, normalised = traces(fig, "λ* = 0.50")
    assert points(loss) == pytest.approx({0.1: 0.16, 0.9: 0.16}), "the optimum itself has no log"
    assert list(loss.x) == [0.1, 0.9], "in order"
    assert points(normalised) == pytest.approx({0.1: 0.32, 0.9: 0.32})
    (plain,), (lru,) = traces(fig, "plain"), traces(fig, "lru")
    assert list(plain.x) == list(lru.x) == pytest.approx([2.0, 10.0])
    assert list(plain.y) == pytest.approx([4.0, 100.0])
    assert list(lru.y) == pytest.approx([2.0, 10.0])
    assert (plain.xaxis, fig.layout.xaxis3.type, fig.layout.xaxis.type) == ("x3", "log", None)


def test_descents_with_the_first_step_below(store: Store) -> None:
    fig = figure(store, "landscape")
    assert heads(fig) == ["sign descent, as published", "Adam"]
    polar = traces(fig, "polar")
    assert [trace.xaxis for trace in polar] == ["x", "x2"]
    assert list(polar[0].x) == [1, 2, 3, 4]
    assert list(polar[0].y) == pytest.approx([1.0, 0.1, 0.01, 1e-15])
    assert "sign polar 1, sign lru never, adam polar 2" in said(fig)


def test_couplings_are_a_map_for_each_correlation(store: Store) -> None:
    fig = figure(store, "coupling")
    assert heads(fig) == ["ρ = 0", "ρ = 0.9"]
    assert [trace.showscale for trace in fig.data] == [False, True]
    for trace in fig.data:
        cells = zip(trace.x, trace.y, trace.z, strict=True)
        for phase, decades, size in cells:
            assert size == pytest.approx(-30 if phase == 0 else decades)
        assert sorted(set(trace.x)) == pytest.approx([-1 / math.pi, 0, 1 / math.pi])
        assert (trace.zmin, trace.zmax) == (1, 2), "of the sizes that are not 0"


def test_spectra_are_a_box_for_each_sector(store: Store) -> None:
    fig = figure(store, "sector_hessian")
    assert heads(fig) == ["largest eigenvalue", "condition number", "share off the diagonal"]
    assert [trace.name for trace in fig.data[:2]] == ["0.159 π", "0.955 π"]
    assert len(fig.data) == 6
    assert sorted(fig.data[0].y) == [5.0, 6.0, 7.0]
    assert sorted(fig.data[1].y) == [30.0, 31.0, 32.0]
    assert sorted(fig.data[3].y) == pytest.approx([1e3, 1e4, 1e5])
    assert set(fig.data[5].y) == {1e-8}, "0 has no logarithm"
    assert fig.layout.yaxis2.type == "log"
    assert list(fig.layout.yaxis2.tickvals) == pytest.approx([1.0, 1e2, 1e4])


def test_hessians_at_the_optimum_by_coordinates(store: Store) -> None:
    fig = figure(store, "optimal_hessian")
    lines = [t for t in fig.data if t.type == "scatter" and t.x != (None,)]
    assert [line.name for line in lines] == ["rnn", "lru"], "in the paper's order"
    assert points(lines[0]) == pytest.approx({k + 1: 2 * 10.0 ** (1 - k) for k in range(6)})
    boxes = [t for t in fig.data if t.type == "box"]
    assert [box.name for box in boxes] == ["rnn", "lru"]
    assert sorted(boxes[0].y) == [1.5, 11.5, 21.5], "the mean over the first four ranks of a draw"


def test_signals_of_deep_networks(store: Store) -> None:
    fig = figure(store, "deep_signals")
    assert heads(fig) == ["E[y²], first block", "E[y²], last block", "gradient², eigenvalues",
                          "gradient², other parameters"]  # fmt: skip
    lru, gru = traces(fig, "lru, layer norm"), traces(fig, "gru")
    lines = [t for t in lru if t.mode == "lines+markers"]
    assert [points(line) for line in lines] == [
        pytest.approx({2.0: 4.0, 10.0: 20.0}),
        pytest.approx({2.0: 400.0, 10.0: 2000.0}),
        pytest.approx({2.0: 1.0, 10.0: 0.2}),
        {2.0: None, 10.0: 6.0},
    ]
    assert {t.xaxis for t in gru} == {"x", "x2", "x4"}, "a GRU has no eigenvalues"
    assert any(ZERO_NAME in (t.name or "") for t in fig.data)


def test_a_jacobian_on_and_off_its_diagonal(store: Store) -> None:
    fig = figure(store, "gru_jacobian")
    assert heads(fig) == ["T in [1, 1]", "T in [1, 10]"]
    on, off = traces(fig, "on the diagonal, scale 0.1"), traces(fig, "off it, scale 0.1")
    assert [t.xaxis for t in on] == ["x", "x2"]
    assert points(on[0]) == pytest.approx({1: 1.0, 2: 0.5, 3: 0.25}), "the mean, without its sign"
    assert points(off[0]) == pytest.approx({1: 0.1, 2: 0.2, 3: 0.3})
    assert points(off[1]) == pytest.approx({1: 1.0, 2: 2.0, 3: 3.0})
    assert sum(bool(t.showlegend) for t in fig.data) == 4


def test_gates_beside_theory(store: Store) -> None:
    fig = figure(store, "gru_theory")
    energy, sensitivity = traces(fig, "simulated")
    assert points(energy) == pytest.approx({2.0: 3.0, 10.0: 11.0})
    assert points(sensitivity) == pytest.approx({2.0: 3.9, 10.0: 99.9})
    energy, sensitivity = traces(fig, "closed form")
    assert points(energy) == pytest.approx({2.0: 2.0, 10.0: 10.0})
    assert points(sensitivity) == pytest.approx({2.0: 4.0, 10.0: 100.0})


def test_autocorrelation_beside_its_fit(store: Store) -> None:
    fig = figure(store, "autocorrelation")
    assert heads(fig)[0] == "signal_batch 1<br>0.04 × 0.9<sup>d</sup>, and 0.3 at lag 0"
    measured, fitted = traces(fig, "measured"), traces(fig, "fitted")
    assert points(measured[0]) == pytest.approx({1: 0.5, 2: 0.25}), "lag 0 has the white noise"
    assert points(fitted[1]) == pytest.approx({1: 0.4, 2: 0.16})
    assert {t.mode for t in measured} == {"markers"}


def test_gates_that_read_inputs_beside_theory(store: Store) -> None:
    fig = figure(store, "gated_theory")
    energy, sensitivity = traces(fig, "inputs 1, states 0.5")
    assert points(energy) == pytest.approx({2.0: 4.0, 10.0: 12.0})
    assert points(sensitivity) == pytest.approx({2.0: 4.5, 10.0: 100.5})
    energy, _ = traces(fig, "closed form")
    assert points(energy) == pytest.approx({2.0: 2.0, 10.0: 10.0})


@pytest.mark.parametrize("name", SPACES)
def test_they_say_what_is_shown_and_need_their_rows(store: Store, name: str) -> None:
    count = len(store.spaces()[f"{STUDY}/{SPACES[name]}"]["trials"])
    assert (f"{count} of {count} trials" if count > 1 else "verdict") in said(figure(store, name))
    other = "gates" if name != "gru_theory" else "units"
    with pytest.raises(StoreError, match="has rows of"):
        drawn(store, f"{STUDY}/{other}", name)


def test_no_figure_is_without_a_quick_test() -> None:
    """Each is drawn, by its name, in a file of these; those of any training all are by one test."""
    text = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    assert [name for name in FIGURES if name not in GENERAL and f'"{name}"' not in text] == []
