"""What runs a stage: the seam between `packs` and training, pretraining and analyses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from trainables.core.layout import Layout
from trainables.declarations import Trial

State = dict[str, Any]
SharedColumns = Mapping[str, np.ndarray]
"""Columns of a probe's rows that are the same for every lane, each of shape (rows,)."""

Measure = Callable[[State, Mapping[str, jax.Array], Any], dict[str, jax.Array]]
"""(state, values, data) of one lane -> columns (rows,) of a probe."""


@dataclass(frozen=True)
class OnHost:
    """A measure that runs outside any compiled program, lane after lane, on NumPy arrays: for
    float64, and for work whose length depends on what it finds. Its columns are NumPy arrays."""

    measure: Callable[[State, Mapping[str, Any], Any], Mapping[str, Any]]


class Engine(Protocol):
    """A stage of one lane as pure functions; `packs` adds the lane axis.

    Attributes:
      layout: tensors and rows of `layers`; None for an analysis without a model.
      steps: optimizer steps, or iterations, of an epoch.
      shared_columns: probes whose rows every epoch brings, with the columns all lanes share.
    """

    layout: Layout | None
    steps: int
    shared_columns: Mapping[str, SharedColumns]

    def init(self, trial: Trial, values: Mapping[str, jax.Array]) -> State:
        """A lane's first state: `params`, which is what `weights` shows and a child starts from,
        `alive`, and whatever else the stage carries. `trial` gives the init constants only."""
        ...

    def restart(self, state: State, params: Any, values: Mapping[str, jax.Array]) -> State:
        """The first state with a parent's `params` in place of the drawn ones."""
        ...

    def epoch(
        self, state: State, values: Mapping[str, jax.Array], epoch: jax.Array, data: Any
    ) -> tuple[State, dict[str, Any]]:
        """One epoch of a lane that is alive.

        Returns:
          The new state, and any of: `epochs` {column: scalar}, `layers` {column: (rows,)}, `steps`
          {column: (K,)} (see `epoch.kept_steps`), `metrics` {name: scalar}, `probes`
          {probe: {column: (rows,)}} beside the `shared_columns` (a bool column `shown` leaves rows
          out), `bad_step` (-1: all finite) and `finished` (the stage's own stop rule ended the
          lane).
        """
        ...


class Analysis:
    """Base of engines that train nothing: one epoch whose rows are probes."""

    layout: Layout | None = None
    steps = 1
    shared_columns: Mapping[str, SharedColumns] = {}

    def init(self, trial: Trial, values: Mapping[str, jax.Array]) -> State:
        return {"params": {}, "alive": jnp.bool_(True)}

    def restart(self, state: State, params: Any, values: Mapping[str, jax.Array]) -> State:
        raise ValueError("an analysis starts from no weights")
