"""Histograms of weights against NumPy's."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.small_trials import trial
from trainables.packs.pack import Pack
from trainables.probes.weight_histogram import BINS


def test_every_tensor_has_numpy_s_histogram() -> None:
    """Up to entries that rounding puts into the next bin; all of a bias of 0 are in the first."""
    pack = Pack([trial(depth=2, width=40)], {})
    pack.init()
    rows = pack.probe("weight_histogram")
    assert rows is not None
    names = [
        f"{n}.{t}" if n else t for n, t in zip(rows["layer_name"], rows["tensor"], strict=True)
    ]
    weights = pack.weights(0)
    assert dict.fromkeys(names).keys() == weights.keys()
    for name, w in weights.items():
        here = [i for i, row in enumerate(names) if row == name]
        low, high, share = (rows[column][0][here] for column in ("low", "high", "share"))
        assert len(here) == BINS
        if w.min() == w.max():
            assert share.tolist() == [1, *[0] * (BINS - 1)]
            continue
        want, edges = np.histogram(w, BINS)
        assert low == pytest.approx(edges[:-1], abs=1e-6)
        assert high == pytest.approx(edges[1:], abs=1e-6)
        assert np.abs(share * w.size - want).sum() <= 2
