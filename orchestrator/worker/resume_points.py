"""The resume points of one run: when the next is due, and which of them stay in the store."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from results import Store


class ResumePoints:
    """Resume points that a run publishes. The newest takes the place of those before it.

    Args:
      store: without one nothing is written.
      prefix: of their names. every_s: seconds between two.
      guard: raises where another run has taken the trials over.
    """

    def __init__(self, store: Store | None, prefix: str, every_s: float, guard: Callable[[], None]):
        self._store, self._prefix, self._every_s, self._guard = store, prefix, every_s, guard
        self._paths: list[str] = []
        self.restart()

    def restart(self) -> None:
        """The time to the next one begins now."""
        self._at = time.monotonic()

    @property
    def due(self) -> bool:
        return time.monotonic() - self._at >= self._every_s

    def publish(self, name: str, leaves: Mapping[str, np.ndarray], index: Mapping[str, Any]) -> str:
        """Writes one that outlives this run, unless `keep_newest` is given its path; returns that.

        Args:
          leaves: arrays whose first axis is that of `index["lanes"]`.
        """
        assert self._store is not None
        self._guard()
        return self._store.save_weights("checkpoints", f"{self._prefix}-{name}", leaves, index)

    def keep_newest(self, path: str) -> None:
        """Drops those before this one."""
        if path not in self._paths:  # an interrupt may follow a resume point at once
            self._paths.append(path)
        self._drop(keep=1)
        self.restart()

    def drop(self) -> None:
        """Nothing goes on from any of them."""
        self._drop(keep=0)

    def _drop(self, keep: int) -> None:
        while self._store is not None and len(self._paths) > keep:
            self._store.drop(self._paths.pop(0))
