"""Study bar2025 from plan to figure; and its learning results through `launch` and SQL alone
(docs/specs/bar2025.md, checks 12 to 14 and 16)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.datasets import loader
from orchestrator.datasets.loader import DataError
from results import Store, create_store, open_store
from results.plotting import figure
from tests.support.data_files import list_sums
from tests.support.launches import run, run_here
from tests.support.pathfinder_files import write_pathfinder

DIVERGENCE = ("matrix_width=256", "length=4096", "sequences=1")


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    uri = str(tmp_path_factory.mktemp("bar2025") / "store")
    store = create_store(uri)
    for name in ("radii", "divergence", "memory"):
        run_here(store, uri, f"bar2025/{name}")
    run_here(store, uri, "bar2025/copy", "r_min=0.9", "r_max=0.999")
    return uri


@pytest.mark.slow
@pytest.mark.parametrize(
    ("space", "name"),
    [
        ("radii", "radius_law"),
        ("divergence", "growth"),
        ("memory", "delay_memory"),
        ("copy", "accuracy"),
        ("copy", "bar2025_curves"),
        ("copy", "eigenvalue_plane"),
    ],
)
def test_figures_are_drawn_from_the_store_alone(uri: str, space: str, name: str) -> None:
    fig: Any = figure(create_store(uri), f"bar2025/{space}", name)
    assert len(fig.data) >= 1
    assert space in str(fig.layout.title.text)


@pytest.mark.slow
def test_every_epoch_s_numbers_are_columns(uri: str) -> None:
    store = create_store(uri)
    (row,) = store.sql(
        "SELECT count(*) AS n, count(loss) AS loss, count(val_accuracy) AS val, "
        "count(test_accuracy) AS test, count(grad_norm) AS norm, count(seconds) AS seconds, "
        "count(metrics['lr']) AS lr, count(metrics['lr_recurrent']) AS slow "
        "FROM epochs"
    ).rows()
    assert set(row.values()) == {1}
    (ends,) = store.sql("SELECT metrics['lr'], metrics['lr_recurrent'] FROM epochs").fetchall()
    assert ends == pytest.approx((1e-7, 1e-7), rel=0.02)
    tensors = {r["tensor"] for r in store.sql("SELECT DISTINCT tensor FROM layers").rows()}
    assert {"nu", "theta", "gamma", "b_re", "b_im", "c_re", "c_im", "d", "*"} <= tensors
    layers = store.sql("SELECT * FROM spectrum ORDER BY layer").rows()
    assert [r["layer"] for r in layers] == [0, 1]
    for r in layers:
        assert 0.85 < r["mean_modulus"] <= r["radius"] < 1
        assert r["outside"] == 0
        assert r["state_norm"] > 0
    first = store.sql("SELECT first_re, first_im, re FROM eigenvalues").rows()
    moduli = np.array([math.hypot(r["first_re"], r["first_im"]) for r in first])
    assert ((moduli > 0.89) & (moduli < 0.9991)).all()
    assert any(r["re"] != r["first_re"] for r in first)


@pytest.fixture(scope="module")
def learned(ray_session: str, tmp_path_factory: pytest.TempPathFactory) -> Store:
    path = tmp_path_factory.mktemp("bar2025_learned") / "store"
    launches: dict[str, tuple[str, ...]] = {
        "divergence": DIVERGENCE,
        "copy": ("seed=0",),
        "mini_listops": ("seed=0",),
    }
    for name, sets in launches.items():
        result = run(path, *sets, space=f"bar2025/{name}", tiny=())
        assert result.exit_status == 0, result.reasons
    return open_store(str(path))


def _overflowing_glorots(store: Store, trials: int) -> int:
    """How many do, each of them where its radius says, and none of another init."""
    rows = store.sql(
        "SELECT t.init, o.radius, o.overflow_step, t.status FROM overflow o "
        "JOIN trials t USING (trial_id)"
    ).rows()
    assert len(rows) == trials
    bad = {init: [r for r in rows if r["init"] == init and r["overflow_step"] >= 0]
           for init in ("glorot", "rescaled", "halved_glorot")}  # fmt: skip
    print({init: len(found) for init, found in bad.items()})
    assert not bad["rescaled"]
    assert not bad["halved_glorot"]
    for row in bad["glorot"]:
        assert row["status"] == "diverged"
        assert row["overflow_step"] == pytest.approx(88.7 / math.log(row["radius"]), rel=0.15)
    return len(bad["glorot"])


@pytest.mark.ray
@pytest.mark.slow
def test_glorot_overflows_where_its_radius_says(ray_session: str, tmp_path: Path) -> None:
    """Four seeds of the twenty, of which one overflows."""
    path = tmp_path / "store"
    result = run(path, *DIVERGENCE, "seed=range(4)", space="bar2025/divergence", tiny=())
    assert result.exit_status == 0, result.reasons
    assert _overflowing_glorots(open_store(str(path)), trials=12) == 1


@pytest.mark.ray
@pytest.mark.study
def test_most_glorots_overflow_and_the_others_never(learned: Store) -> None:
    assert _overflowing_glorots(learned, trials=60) >= 12
    (counts,) = learned.sql(
        "SELECT count(*) AS n, count(DISTINCT d.trial_id) AS trials, "
        "count(DISTINCT t.program) AS programs FROM divergence d JOIN trials t USING (trial_id)"
    ).rows()
    assert counts == {"n": 60 * 120, "trials": 60, "programs": 1}


@pytest.mark.ray
@pytest.mark.study
def test_copying_needs_a_ring_near_one(learned: Store) -> None:
    best = {
        row["r_min"]: row["best"]
        for row in learned.sql(
            "SELECT r_min, max(val_accuracy) AS best FROM runs WHERE task = 'copy' GROUP BY r_min"
        ).rows()
    }
    print(best)
    assert best[0.9] >= 0.999
    assert best[0.9] - best[0.0] >= 0.1


@pytest.mark.ray
@pytest.mark.study
def test_small_expressions_are_composed(learned: Store) -> None:
    """Root operator alone: .2545; majority: .125 (section 2.1)."""
    rows = learned.sql(
        "SELECT epoch, val_accuracy FROM runs WHERE task = 'listops' ORDER BY epoch"
    ).rows()
    print([round(r["val_accuracy"], 3) for r in rows])
    assert len(rows) == 6
    assert rows[-1]["val_accuracy"] >= 0.42


@pytest.mark.slow
def test_files_of_the_arena_s_form_are_trained_on(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Generated ones: a second text is the first or its reverse; noise with labels."""
    monkeypatch.setenv("GRADSWEEP_DATA", str(tmp_path))
    rng = np.random.default_rng(seed)
    _, _, folder = write_pathfinder(tmp_path, seed, count=32)
    with pytest.raises(DataError) as error:
        loader.load("pathfinder32")
    line = str(error.value).split("`")[1]
    (folder.parent / "SHA256SUMS").write_text(line + "\n")
    (tmp_path / "aan").mkdir()
    paths = [tmp_path / f"aan/new_aan_pairs.{part}.tsv" for part in ("train", "eval", "test")]
    for path in paths:
        texts = ["".join(rng.choice(list("abcd"), 20)) for _ in range(16)]
        rows = [f"{i % 2}.0\t1\t2\t{t}\t{t if i % 2 else t[::-1]}" for i, t in enumerate(texts)]
        path.write_text("\n".join(rows))
    list_sums(tmp_path / "aan", *paths)
    uri = str(tmp_path / "store")
    store = create_store(uri)
    for space in ("aan", "pathfinder"):
        run_here(store, uri, f"bar2025/{space}", "spectrum_every=1")
        fig: Any = figure(store, f"bar2025/{space}", "accuracy")
        assert space in str(fig.layout.title.text)
    rows = store.sql("SELECT task, val_loss, status FROM runs").rows()
    assert {row["task"] for row in rows} == {"aan", "pathfinder"}
    assert all(math.isfinite(row["val_loss"]) for row in rows)


@pytest.mark.slow
def test_real_digits_row_by_row(real_data: Path, tmp_path: Path) -> None:
    """One epoch of 120 batches: an accuracy that no constant answer has. With layer norm, since a
    batch norm's running averages are still near their start then (.99^120 is .3)."""
    if not loader.available("mnist", real_data):
        pytest.skip(loader.missing_message("mnist", real_data))
    uri = str(tmp_path / "store")
    store = create_store(uri)
    run_here(store, uri, "bar2025/smnist_rows", "max_train=7680", "max_held=500", "epochs=1",
             "seed=0", "lr_end=null", "norm=layer", smoke=False)  # fmt: skip
    (row,) = store.sql("SELECT val_accuracy, test_accuracy FROM epochs").rows()
    print(row)
    assert min(row.values()) > 0.4
