"""A made-up study with every difficulty a figure meets: zeros, NaN, seeds, missing trials."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from results.store.store import Store
from tests.support.made_up_rows import LN10, publish_rows, space_of, trial_rows

KINDS = ("vanishing", "healthy", "exploding", "dead layer")
FIGURES = ["training_loss", "grad_norms", "grad_per_layer", "grad_norms_last_10", "grad_heatmap",
           "overview", "depth", "timeline", "update_ratio", "activations",
           "activation_profile"]  # fmt: skip


def fill(
    store: Store, seed: int, depths: tuple[int, ...] = (5, 20), epochs: int = 8
) -> dict[str, Any]:
    """Publishes a trial per kind, depth and seed; returns the space, one of its trials missing."""
    rng = np.random.default_rng(seed)
    ids, rows = [], []
    for kind in KINDS:
        for depth in depths:
            for own_seed in (0, 1):
                trial = f"{len(ids):02d}{kind[:2]}{depth:02d}{own_seed}".ljust(16, "0")
                ids.append(trial)
                rows.append(_trial(trial, kind, depth, own_seed, epochs, rng))
    publish_rows(store, rows)
    space = space_of(
        [*ids, "ffff000000000000"], swept=["activation", "depth", "init", "seed"], figures=FIGURES,
        title="Vanishing Gradients Exploration", reproduces="the README's figure",
    )  # fmt: skip
    store.write_space("demo/grid", space)
    return space


def _trial(trial: str, kind: str, depth: int, seed: int, epochs: int, rng: Any) -> dict[str, Any]:
    def noise(size: Any) -> Any:
        return 10 ** rng.normal(0, 0.04, size)

    slope, bad = 0.02, None
    extra: dict[int, dict[str, Any]] = {}
    losses = list(np.linspace(LN10, 0.6, epochs) + rng.normal(0, 0.02, epochs))
    config = {"activation": "tanh", "init": "xavier", "depth": depth, "seed": seed}
    if kind == "vanishing":
        slope, losses = 0.16, list(LN10 * (1.003 - 0.0005 * np.arange(epochs)))
        config["init"] = "default"
    elif kind == "dead layer":
        losses = list(LN10 * (1.002 - 0.0001 * np.arange(epochs)))
        config |= {"activation": "relu", "init": "default"}
    elif kind == "exploding":
        slope, epochs, config["activation"] = -0.1, 3, "relu"
        losses = [2.5, 9.0, 4e3]
        bad = 2
        extra = {2: {"bad_step": 4, "finite_steps": 4, "nonfinite_tensors": 9}}
    layers = [
        list(10 ** (slope * (np.arange(depth) - depth + 1)) * noise(depth) * 0.9**epoch)
        for epoch in range(epochs)
    ]
    if kind == "dead layer":
        layers = [[0.0, 0.0, *row[2:]] for row in layers]
    if kind == "exploding":
        layers = [[v * 50.0**e for v in row] for e, row in enumerate(layers)]
        layers[-1] = [math.nan, math.inf, *layers[-1][2:]]
    norms = [float(np.sqrt(np.nansum(np.square(np.nan_to_num(row, posinf=0))))) for row in layers]
    for epoch, row in enumerate(layers):
        finite = [v for v in row if math.isfinite(v) and v > 0]
        extra.setdefault(epoch, {})["grad_norm_smallest"] = min(finite) / 2
        extra[epoch] |= {"val_loss": losses[epoch] * 1.05, "test_loss": losses[epoch] * 1.1}
    return trial_rows(
        trial, [float(v) for v in losses], layers=layers, norms=norms, extra=extra,
        steps=True, timeline=True, activations=True, config=config, bad_epoch=bad,
        status="diverged" if bad else "done",
    )  # fmt: skip
