"""Figures of study bar2025 from a made-up store, against numbers by hand."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from results import Store, StoreError
from results.figures.bar2025.published_lru import ABLATION, REPORTED, is_whole
from results.plotting import figure
from tests.support.made_up_rows import attempt_row, publish_trial, space_of, table

Rows = dict[str, list[dict[str, Any]]]


def put(store: Store, name: str, configs: Sequence[Mapping[str, Any]], probes: Sequence[Rows],
        swept: Sequence[str], base: str = "a") -> None:  # fmt: skip
    """Analyses and their probe rows, as a launch of the space would leave them."""
    ids = [f"{i:04x}".ljust(16, base) for i in range(len(configs))]
    keys = [{"trial_id": i, "attempt": 0, "epoch": 0} for i in ids]
    for probe in probes[0]:
        rows = [key | row for key, own in zip(keys, probes, strict=True) for row in own[probe]]
        store.publish(f"probes/{probe}", table(rows))
    ends = [attempt_row(i, config={"stage": name, **c}, rows={}, stage=name)
            for i, c in zip(ids, configs, strict=True)]  # fmt: skip
    store.publish("trials", table(ends))
    space = space_of(ids, space=name, study="bar2025", swept=list(swept), targets=ids,
                     select={"over": "seed"})  # fmt: skip
    store.write_space(f"bar2025/{name}", space)


@pytest.fixture
def store(new_store: Callable[[], Store]) -> Store:
    return new_store()


def traces(fig: Any, name: str) -> list[Any]:
    return [t for t in fig.data if t.name == name]


def said(fig: Any) -> str:
    return str(fig.layout.title.subtitle.text).replace("<br>", " ")


def drawn(store: Store, space: str, name: str) -> Any:
    return figure(store, f"bar2025/{space}", name)


def test_radii_stand_beside_table_and_law(store: Store, seed: int) -> None:
    rng, configs, probes = np.random.default_rng(seed), [], []
    for width in (64, 256):
        rows = []
        for init, draw in itertools.product(("glorot", "rescaled"), range(4)):
            if init == "glorot" or width == 256:
                rows.append({"init": init, "draw": draw, "radius": float(rng.normal(1, 0.02)),
                             "outside": 1, "table_mean": 1.0383, "table_sd": 0.02,
                             "edge_mean": math.nan if width == 64 else 1.05})  # fmt: skip
        configs.append({"matrix_width": width, "seed": 0})
        probes.append({"radii": rows})
    put(store, "radii", configs, probes, ["matrix_width"])
    fig = drawn(store, "radii", "radius_law")
    (glorot,), (rescaled,) = traces(fig, "glorot"), traces(fig, "rescaled")
    assert list(glorot.x) == ["64"] * 4 + ["256"] * 4
    want = [r["radius"] for p in probes for r in p["radii"] if r["init"] == "glorot"]
    assert sorted(glorot.y) == pytest.approx(sorted(want))
    assert set(rescaled.x) == {"256"}
    (measured,) = traces(fig, "measured mean, glorot")
    (law,) = traces(fig, "edge law, mean, glorot")
    assert (list(measured.x), list(law.x)) == (["64", "256"], ["256"])


def grown(store: Store) -> None:
    configs, probes = [], []
    for init, seed in itertools.product(("glorot", "rescaled"), range(3)):
        bad = init == "glorot" and seed < 2
        rate = (10.0 if bad else 1.1) if init == "glorot" else 1.0
        state = [rate**t if rate**t < 1e30 else math.inf for t in (0, 20, 40)]
        configs.append({"matrix_width": 256, "length": 41, "init": init, "seed": seed})
        probes.append({
            "divergence": [{"t": t, "state_norm": s, "grad_norm": 2.0 * (seed + 1)}
                           for t, s in zip((0, 20, 40), state, strict=True)],
            "overflow": [{"radius": rate, "outside": 1, "square_step": -1, "loss": 1.0,
                          "overflow_step": 35 + seed if bad else -1, "grad_a": 1.0, "grad_b": 1.0,
                          "expected_step": 40.0 if bad else math.nan, "grad_c": 1.0}],
        })  # fmt: skip
    put(store, "divergence", configs, probes, ["matrix_width", "length", "init", "seed"])


def test_growth_takes_medians_in_which_an_overflow_is_the_worst(store: Store) -> None:
    grown(store)
    fig = drawn(store, "divergence", "growth")
    state = traces(fig, "glorot")[0]
    # At t = 40 two of three seeds are infinite: no point of the line, a cross at the top.
    assert list(state.x) == [0, 20, 40]
    assert state.y[1] == pytest.approx(10.0**20)
    assert state.y[2] is None
    assert any(t.marker.symbol == "x" and list(t.x) == [40] for t in fig.data)
    gradient = traces(fig, "rescaled")[1]
    assert list(gradient.y) == [4.0] * 3
    assert "glorot 2/3, first at 35; rescaled 0/3" in said(fig)


def test_overflow_steps_against_the_radius(store: Store) -> None:
    grown(store)
    fig = drawn(store, "divergence", "overflow_steps")
    (points,) = traces(fig, "n = 256, T = 41")
    assert (list(points.x), sorted(points.y)) == ([40.0, 40.0], [35, 36])
    assert "2 trials overflowed, at 0.88 to 0.90 of it" in said(fig)


def test_nothing_overflowed_is_said(store: Store) -> None:
    row = {"radius": 0.9, "outside": 0, "square_step": -1, "overflow_step": -1, "loss": 1.0,
           "grad_a": 1.0, "grad_b": 1.0, "grad_c": 1.0, "expected_step": math.nan}  # fmt: skip
    config = {"matrix_width": 256, "length": 9, "init": "rescaled", "seed": 0}
    put(store, "divergence", [config], [{"overflow": [row]}], ["init"])
    with pytest.raises(StoreError, match="overflowed; choose the figure growth"):
        drawn(store, "divergence", "overflow_steps")


def test_memory_is_a_line_an_init(store: Store) -> None:
    configs, probes = [], []
    for width, init, seed in itertools.product((256, 384), ("halved_glorot", "rescaled"), range(3)):
        level = 0.9 if init == "rescaled" else 0.2
        configs.append({"matrix_width": width, "init": init, "seed": seed})
        probes.append({"delay_memory": [{"delay": d, "r2": level - d / 10 + seed / 100,
                                         "radius": 0.9} for d in range(3)]})  # fmt: skip
    put(store, "memory", configs, probes, ["matrix_width", "init", "seed"])
    fig = drawn(store, "memory", "delay_memory")
    lines = traces(fig, "rescaled")
    assert len(lines) == 2
    assert list(lines[0].y) == pytest.approx([0.91, 0.81, 0.71])
    assert [t.name for t in fig.data[:2]] == ["rescaled", "halved_glorot"]


def test_eigenvalues_before_and_after(store: Store) -> None:
    rows = [{"layer": layer, "unit": u, "re": 0.1 * u, "im": 1.05, "first_re": 0.2, "first_im": 0.3}
            for layer in range(2) for u in range(3)]  # fmt: skip
    put(store, "cifar", [{"seed": 0}], [{"eigenvalues": rows}], ["seed"])
    fig = drawn(store, "cifar", "eigenvalue_plane")
    before, after = traces(fig, "layer 1")
    assert list(before.x) == [0.2] * 3
    assert list(after.x) == pytest.approx([0.0, 0.1, 0.2])
    assert "0 of 6 at initialisation, 6 at the end" in said(fig)


# ---- accuracies ----------------------------------------------------------------------------------


def trained(store: Store, name: str, cells: Sequence[dict[str, Any]], swept: Sequence[str],
            **base: Any) -> dict[int, list[float]]:  # fmt: skip
    """Three seeds of each cell over two epochs, the first of which validates best."""
    ids, found = [], {}
    for at, cell in enumerate(cells):
        for seed in range(3):
            trial = f"{len(ids):04x}".ljust(16, "c")
            ids.append(trial)
            test = 0.5 + 0.1 * at + 0.02 * seed
            found.setdefault(at, []).append(test)
            extra = {0: {"val_accuracy": 0.9, "test_accuracy": test},
                     1: {"val_accuracy": 0.8, "test_accuracy": 0.1}}  # fmt: skip
            status = "diverged" if (at, seed) == (0, 2) else "done"
            publish_trial(store, trial, [1.0, 0.9], config={**base, **cell, "seed": seed},
                          extra=extra, status=status)  # fmt: skip
    select = {"metric": "val_accuracy", "mode": "max", "at": "best", "over": "seed",
              "report": "test_accuracy"}  # fmt: skip
    space = space_of(ids, space=name, study="bar2025", swept=list(swept), targets=ids,
                     select=select)  # fmt: skip
    store.write_space(f"bar2025/{name}", space)
    return found


def columns(fig: Any) -> list[list[str]]:
    return [list(column) for column in fig.data[0].cells["values"]]


def test_accuracies_stand_beside_the_lru_paper_s(store: Store) -> None:
    cells = [{"model": "deep_lru"}, {"model": "deep_diagonal_rnn"}]
    found = trained(store, "cifar", cells, ["model", "seed"], task="scifar", layout="pixels")
    fig = drawn(store, "cifar", "accuracy")
    name, task, val, test, diverged, reported = columns(fig)
    assert name == ["deep_lru", "deep_diagonal_rnn"]
    assert task == ["scifar", "scifar"]
    for at in range(2):
        mean, sd = statistics.fmean(found[at]), statistics.stdev(found[at])
        assert test[at] == f"{100 * mean:.1f} ± {100 * sd:.1f} (3)"
        assert val[at] == "90.0 ± 0.0 (3)"
    assert diverged == ["1", "0"]
    assert reported == ["LRU 89.0 (0.1)", "diagonal, unit disk 86.5 (0.1)"]
    assert "Not comparable" not in said(fig)


def test_a_subset_is_called_one_and_compared_with_nothing(store: Store) -> None:
    trained(store, "small", [{"model": "deep_lru"}], ["seed"], task="scifar_4k", layout="pixels")
    fig = drawn(store, "small", "accuracy")
    assert columns(fig)[1] == ["scifar_4k (subset or variant)"]
    assert columns(fig)[5] == ["—"]
    assert "Not comparable: scifar_4k." in said(fig)


def test_curves_are_a_line_a_trial(store: Store) -> None:
    trained(store, "cifar", [{"model": "deep_lru"}, {"model": "x"}], ["model", "seed"])
    fig = drawn(store, "cifar", "bar2025_curves")
    assert len(fig.data) == 6
    assert list(fig.data[0].y) == [0.9, 0.8]
    assert sum(t.showlegend for t in fig.data) == 2


def test_the_ablation_is_beside_its_own_cell(store: Store) -> None:
    cells = [{"lru_param": "log", "lru_gamma": "none", "r_min": 0.0, "r_max": 0.99},
             {"lru_param": "exp", "lru_gamma": "learned", "r_min": 0.89, "r_max": 0.9}]  # fmt: skip
    trained(store, "lru_ablation", cells, ["lru_param", "r_min", "r_max", "seed"], task="scifar",
            layout="pixels")  # fmt: skip
    body = columns(drawn(store, "lru_ablation", "lru_ablation"))
    assert body[2][1] == "52.0 ± 2.0 (3) | 83.8"
    assert body[4][6] == "62.0 ± 2.0 (3) | 88.3"
    assert body[3][0] == "— | 87.8"
    assert len(body[0]) == 9


def test_what_a_whole_set_is() -> None:
    assert is_whole("listops", {"n_train": 96_000, "seq_len": 2048})
    assert not is_whole("listops", {"n_train": 12_000, "seq_len": 64})
    assert is_whole("imdb", {"seq_len": 4096, "max_train": None})
    assert not is_whole("imdb", {"seq_len": 512})
    assert not is_whole("scifar", {"layout": "rows"})
    assert not is_whole("scifar_4k", {"layout": "pixels"})
    assert all(len(REPORTED[task]) == 8 for task in ("scifar", "listops", "imdb", "aan"))
    assert max(max(row) for table in ABLATION.values() for row in table) == 89.0
