"""The trials that `launching.packs` runs by each way: a study for `launch`, configs for rivals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from search_spaces import Space, Study

LRS = (0.1, 0.03, 0.01, 0.003)

VANISHING = {
    "task": "digits", "layout": "rows", "model": "residual_rnn", "depth": 20, "width": 64,
    "activation": "tanh", "init": "xavier", "residual_scale": "1/sqrt(L)",
}  # fmt: skip
NETWORK = {
    "model": "ffn", "task": "mnist", "layout": "flat", "standardise": "scalar",
    "val_fraction": 0.1, "batch_size": 512, "optimizer": "adabelief", "activation": "relu",
    "depth": 30, "width": 128,
}  # fmt: skip


def _space(base: dict[str, Any], lrs: Sequence[float]) -> Space:
    return Space(
        reproduces="python -m benchmarks packs",
        param_space={**base, "lr": {"grid_search": list(lrs)}, "seed": 0},
        select={"metric": "val_loss", "mode": "min", "choose": "lr", "report": "val_loss"},
        smoke={"epochs": 1},
        extension=True,
    )


STUDY = Study(
    name="packs",
    title="Packs against one trial at a time",
    doc="Trials of one program; `--set seed=range(N) epochs=K` makes them many and long.",
    spaces={
        "vanishing": _space(VANISHING, LRS),
        "network": _space(NETWORK, [lr / 100 for lr in LRS]),
    },
)
