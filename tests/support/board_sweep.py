"""A made-up sweep for the board: two learning rates, three seeds, one trial that diverged."""

from __future__ import annotations

import math
from datetime import timedelta

from results import Store
from tests.support.made_up_rows import START, publish_rows, space_of, trial_rows

SPACE = "demo/grid"
LOSSES = {
    (lr, seed): [4.0 - lr * epoch * (seed + 1) for epoch in range(6)]
    for lr in (0.1, 0.5)
    for seed in range(3)
}
LOSSES[0.5, 2] = [4.0, math.inf]


def trial_id(lr: float, seed: int) -> str:
    return f"{int(lr * 10)}{seed}".ljust(16, "a")


def fill(made: Store) -> Store:
    """Publishes the sweep; one more trial of the space has not started."""
    rows = []
    for (lr, seed), losses in LOSSES.items():
        diverged = math.inf in losses
        rows.append(
            trial_rows(
                trial_id(lr, seed), losses,
                layers=[[10.0**-layer for layer in range(3)] for _ in losses],
                config={"lr": lr, "seed": seed, "it's": "x"},
                status="diverged" if diverged else "done",
                bad_epoch=1 if diverged else None,
                launch_id="l", host="h", started=START,
                ended=START + timedelta(seconds=10 * (1 + seed)),
            )
        )  # fmt: skip
    publish_rows(made, rows)
    made.write_space(SPACE, space_of([*(trial_id(*key) for key in LOSSES), "f" * 16]))
    return made
