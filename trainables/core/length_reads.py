"""Which functions of a user's read how long a trial is: a longer trial then has other numbers from
its first step on, and cannot go on from a shorter one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import jax

from trainables.declarations import Part, Probe, Trial
from trainables.declarations.training.length_readers import declared_readers, is_users

LENGTH = frozenset(("epochs", "total_steps"))
"""Names of the whole length. `steps_per_epoch` is the same however long a trial is."""


class LengthReads:
    """What has been read of a trial's length while its programs were traced.

    Attributes:
      names: of what counts as the length, in a config.
      readers: whoever read it, as "optimizer adam".
    """

    def __init__(self, trial: Trial):
        self.names = LENGTH | {trial.stage.epochs_key}
        self.readers: set[str] = set()

    def watched(self, part: Part | Probe, config: Mapping[str, Any]) -> dict[str, Any]:
        """`config` as a part's functions get it. None of our own reads a length there, and they may
        go through all of it."""
        return Watched(config, self, part) if is_users(part) else dict(config)


def length_readers(trial: Trial, engine: Any) -> list[str]:
    """Whoever reads the trial's length, in words, as far as its programs have been traced."""
    holders = (engine, getattr(engine, "task", None))
    found: list[LengthReads | None] = [getattr(one, "length_reads", None) for one in holders]
    traced = set().union(*(reads.readers for reads in found if reads))
    return declared_readers(trial) + sorted(traced)


class Watched(dict[str, Any]):
    """A config that notes in `reads` whether the trial's length is read. Whatever goes through all
    of it has read it."""

    def __init__(self, config: Mapping[str, Any], reads: LengthReads | None, part: Part | Probe):
        super().__init__(config)
        self._names = reads.names.intersection(config) if reads else frozenset()
        self._readers = reads.readers if reads else set()
        self._who = f"{getattr(part, 'role', 'probe')} {part.name}"

    def _note(self, name: Any = None) -> None:
        if name in self._names or (name is None and self._names):
            self._readers.add(self._who)

    def __getitem__(self, name: str) -> Any:
        self._note(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        self._note(name)
        return super().get(name, default)

    def __iter__(self) -> Iterator[str]:
        self._note()
        return super().__iter__()

    def __reversed__(self) -> Iterator[str]:
        self._note()
        return super().__reversed__()

    def __repr__(self) -> str:
        self._note()
        return super().__repr__()

    def keys(self) -> Any:
        self._note()
        return super().keys()

    def values(self) -> Any:
        self._note()
        return super().values()

    def items(self) -> Any:
        self._note()
        return super().items()

    def copy(self) -> dict[str, Any]:
        self._note()
        return super().copy()

    def pop(self, name: str, *default: Any) -> Any:
        self._note(name)
        return super().pop(name, *default)

    def popitem(self) -> tuple[str, Any]:
        self._note()
        return super().popitem()

    def setdefault(self, name: str, default: Any = None) -> Any:
        self._note(name)
        return super().setdefault(name, default)

    def __or__(self, other: Any) -> Any:
        self._note()
        return super().__or__(other)

    def __ror__(self, other: Any) -> Any:
        self._note()
        return super().__ror__(other)

    def __eq__(self, other: object) -> bool:
        self._note()
        return super().__eq__(other)

    __hash__ = None


def _like_a_dict(names: tuple[str, ...], leaves: Any) -> Any:
    return dict(zip(names, leaves, strict=True))


def _flat(config: Watched) -> tuple[list[Any], tuple[str, ...]]:
    names = tuple(sorted(config))
    return [config[name] for name in names], names


jax.tree_util.register_pytree_node(Watched, _flat, _like_a_dict)
