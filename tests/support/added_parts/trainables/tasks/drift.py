"""Which way a noisy sequence drifts: a task that `test_added_parts` adds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def drift(config: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Sequences x (90, T, 1) of noise with a slope of either sign, and y (90,), its sign."""
    rng, steps = np.random.default_rng(0), int(config["seq_len"])
    y = np.arange(90) % 2
    slopes = np.where(y, 1.0, -1.0)[:, None] * np.linspace(0, 1, steps)
    return {"x": (slopes + 0.1 * rng.normal(size=slopes.shape))[..., None], "y": y}
