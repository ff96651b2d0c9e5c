"""A task one of whose keys has a prefix in the config, because its model declares another key of
that name: the task's functions are given its values by the names that it declares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax

Hparams = Mapping[str, jax.Array]


class RenamedKeys:
    """The functions of a task, with traced values under the task's own names."""

    task: Any
    names: Mapping[str, str]

    def __init__(self, task: Any, names: Mapping[str, str]):
        """`names` are the task's own -> those in the config."""
        self.__dict__.update(task=task, names=dict(names))

    def __getattr__(self, name: str) -> Any:
        if name == "task":  # asked before it is set, by a copy
            raise AttributeError(name)
        return getattr(self.task, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.task, name, value)

    def _own(self, hparams: Hparams) -> dict[str, jax.Array]:
        own = {name: hparams[given] for name, given in self.names.items() if given in hparams}
        return {**hparams, **own}

    def training(self, key: jax.Array, hparams: Hparams, epoch: jax.Array) -> Any:
        """As `TaskRuntime.training`, and so are the others."""
        return self.task.training(key, self._own(hparams), epoch)

    def evaluation(self, key: jax.Array, hparams: Hparams) -> Any:
        return self.task.evaluation(key, self._own(hparams))

    def probe(self, key: jax.Array, hparams: Hparams) -> Any:
        return self.task.probe(key, self._own(hparams))

    def batch(self, data: Any, entry: Any, hparams: Hparams) -> Any:
        return self.task.batch(data, entry, self._own(hparams))

    def scale(self, hparams: Hparams) -> Any:
        return self.task.scale(self._own(hparams))
