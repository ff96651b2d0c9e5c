"""An epoch of a trial as one flat dict, as Ray Tune's loggers get it."""

from __future__ import annotations

from collections.abc import Sequence

from trainables.core.layout import LayerRow
from trainables.packs.pack import EpochResult


def flat_epoch(result: EpochResult, rows: Sequence[LayerRow], lane: int) -> dict[str, float]:
    """A lane's columns of `epochs`, `layers` and `steps` by name, layer and tensor, or step."""
    found = {name: float(column[lane]) for name, column in result.epochs.items()}
    for index, row in enumerate(rows):
        for name, column in result.layers.items():
            found[f"{row.layer_name}/{row.tensor}/{name}"] = float(column[lane, index])
    for index, step in enumerate(result.step_index):
        for name, column in result.steps.items() if step >= result.first_step[lane] else ():
            found[f"step{step}/{name}"] = float(column[lane, index])
    return found
