"""Fixtures of the tests of trainables."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture(scope="session")
def digits() -> dict[str, np.ndarray]:
    """scikit-learn's bundled digits as a pack expects them; skipped where it is not installed."""
    datasets = pytest.importorskip("sklearn.datasets")
    found = datasets.load_digits()
    return {"train_images": found.images.astype(np.float32), "train_labels": found.target}
