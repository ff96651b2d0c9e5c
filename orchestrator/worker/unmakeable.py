"""Which trials of a program cannot be made, once one could not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Literal

import numpy as np

from orchestrator.user_code import guarded
from trainables.core.hparams import init_constants, lane_values
from trainables.declarations import Scalar, Trial
from trainables.packs.programs import check_start

Making = Literal["", "program", "states", "epoch", "data"]
"""What of a pack was being made; "" where all is made."""


def unmakeable(
    trials: Sequence[Trial], arrays: Mapping[str, np.ndarray], making: Making
) -> list[dict[str, Scalar]] | None:
    """Of trials whose pack could not be made: those that cannot be, as values of init keys (an
    empty one means all trials), whatever their other values are. None where the fault may be one
    trial's alone."""
    if not making:
        return None
    if making == "data":
        return [{}]
    if making == "program":
        alone = [_fails(partial(lane_values, trial)) for trial in trials]
        if any(alone):  # a learning rate, say, that its schedule refuses
            return [{}] if all(alone) and len(alone) > 1 else None
    kinds = {repr(init_constants(trial)): trial for trial in trials}.values()
    bad = [init_constants(one) for one in kinds if _fails(partial(check_start, one, arrays))]
    # First states may also be a parent's weights, which are one trial's.
    return bad or (None if making == "states" else [{}])


def unmakeable_like(
    trial: Trial, arrays: Mapping[str, np.ndarray]
) -> list[dict[str, Scalar]] | None:
    """The init values of a trial whose first state cannot be made, whatever else it has."""
    if _fails(partial(lane_values, trial)) or not _fails(partial(check_start, trial, arrays)):
        return None
    return [init_constants(trial)]


def _fails(make: Callable[[], object]) -> bool:
    try:
        with guarded():
            make()
    except Exception:
        return True
    return False
