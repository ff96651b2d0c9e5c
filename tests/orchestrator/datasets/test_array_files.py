"""Sequences in a `.npy` file of the user's: known by content, kept, and trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.datasets import loader
from orchestrator.datasets.array_files import register
from orchestrator.errors import RequestError
from orchestrator.plan.studies import Catalogue, catalogue
from orchestrator.plan.trials import trials_of
from search_spaces import Space
from trainables.packs.pack import Pack
from trainables.tasks.base import make_data
from trainables.tasks.sequence_file import windows

SPACE = {"task": "sequence_file", "model": "lru", "width": 4, "seq_len": 10, "batch_size": 4,
         "optimizer": "adam", "epochs": 1}  # fmt: skip


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GRADSWEEP_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def trial(found: Catalogue, file: Path, **more: Any) -> Any:
    return trials_of(found, Space(param_space={**SPACE, **more, "input_file": str(file)}))[0]


def test_a_file_is_known_by_its_numbers(tmp_path: Path, root: Path, seed: int) -> None:
    x = np.random.default_rng(seed).normal(size=(5, 31, 2)).astype(np.float32)
    for name, array in (("a", x), ("b", x.astype(np.float64)), ("c", x + 1)):
        np.save(tmp_path / f"{name}.npy", array)
    found = catalogue()
    a, b, c = (trial(found, tmp_path / f"{name}.npy") for name in "abc")
    assert a.id == b.id != c.id
    assert a.program != c.program
    # The file itself is no longer needed.
    (tmp_path / "a.npy").unlink()
    assert loader.load(a.dataset).arrays["sequences"] == pytest.approx(x)
    kept = root / "arrays" / a.dataset / "inputs.npy"
    kept.write_bytes(kept.read_bytes()[:-4] + b"1234")
    loader._load.cache_clear()
    with pytest.raises(loader.DataError, match=r"is corrupt.*--set input_file=FILE\.npy"):
        loader.load(a.dataset)


def test_it_is_predicted_some_steps_ahead(tmp_path: Path, seed: int) -> None:
    x = np.random.default_rng(seed).normal(size=(5, 31, 2)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    one = trial(catalogue(), tmp_path / "x.npy", val_fraction=0.2, lead=3)
    arrays = loader.load(one.dataset).arrays
    data = make_data(one, arrays)
    starts = [(n, 10 * k) for n in range(5) for k in range(2)]
    assert data["x"] == pytest.approx(np.stack([x[n, t : t + 10] for n, t in starts]))
    assert data["y"] == pytest.approx(np.stack([x[n, t + 3 : t + 13] for n, t in starts]))
    assert (one.sizes.n_train, one.sizes.n_val, one.sizes.n_test) == (6, 2, 2)
    pack = Pack([one], arrays)
    pack.init()
    found = pack.epoch(0).epochs
    assert 0 < found["loss"][0] < 10
    assert np.isfinite(found["val_loss"][0])
    inputs, _ = windows(x, 31, 0)
    assert np.array_equal(inputs, x)


def test_an_analysis_is_driven_by_it(tmp_path: Path, seed: int) -> None:
    x = np.random.default_rng(seed).normal(size=(200, 2)).cumsum(0)
    np.save(tmp_path / "walk.npy", x)
    space = Space(
        param_space={"stage": "autocorrelation", "input_file": str(tmp_path / "walk.npy")}
    )
    (one,) = trials_of(catalogue(), space)
    assert one.dataset
    pack = Pack([one], loader.load(one.dataset).arrays)
    pack.init()
    found = pack.epoch(0).probes["autocorrelation"]
    want = [np.mean(x[: 200 - d].astype(np.float32) * x[d:]) for d in (0, 5)]
    measured = np.asarray(found["measured"]).reshape(-1)
    assert measured[[0, 5]] == pytest.approx(want, rel=1e-4)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            np.ones((2, 3, 4, 5)),
            r"holds float64 \(2, 3, 4, 5\); it must hold real numbers of shape",
        ),
        (np.array(["a"]), "it must hold real numbers"),
        (np.array([1.0, np.nan]), "numbers that are not finite"),
        (b"text", "is no .npy file of numbers"),
    ],
)
def test_files_that_hold_no_sequences(tmp_path: Path, content: Any, said: str) -> None:
    file = tmp_path / "x.npy"
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        np.save(file, content)
    with pytest.raises(RequestError, match=said):
        register(file, tmp_path / "data")
    with pytest.raises(RequestError, match="cannot be read"):
        register(tmp_path / "absent.npy", tmp_path / "data")
