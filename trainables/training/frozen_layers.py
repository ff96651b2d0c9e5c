"""Which parameters a model does not train: `Model(frozen=...)`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from trainables.core.layout import Slot
from trainables.declarations import Model, PartError


def frozen_leaves(
    model: Model, slots: Sequence[Slot], constants: Mapping[str, Any]
) -> frozenset[str]:
    """Paths of the leaves that stay as they are.

    Args:
      slots: the model's tensors.
      constants: static values by key, which a function reads.

    Raises:
      PartError: a pattern matches no layer and no tensor, or part of a leaf, or nothing is left
        to train.
    """
    patterns = _patterns(model, constants)
    frozen: set[str] = set()
    for pattern in patterns:
        found = {slot.name for slot in slots if _matches(pattern, slot)}
        if not found:
            layers = ", ".join(dict.fromkeys(slot.layer_name for slot in slots if slot.layer_name))
            raise PartError(
                f"model {model.name} freezes {pattern!r}, which is none of its layers "
                f"({layers or 'it has none'}) and none of its tensors"
            )
        frozen |= found
    leaves = {slot.path for slot in slots if slot.name in frozen}
    for slot in slots:
        if slot.path in leaves and slot.name not in frozen:
            raise PartError(
                f"model {model.name} freezes layer {_other(slot, slots, frozen)} but not "
                f"{slot.layer_name}, which share one array; freeze both or neither"
            )
    if slots and len(frozen) == len({slot.name for slot in slots}):
        raise PartError(f"model {model.name} freezes all its layers, so nothing is left to train")
    return frozenset(leaves)


def _patterns(model: Model, constants: Mapping[str, Any]) -> tuple[str, ...]:
    given: Any = model.frozen
    if callable(given):
        try:
            given = given(constants)
        except KeyError as error:
            raise PartError(
                f"frozen of model {model.name} reads {error}, which is not one of its static keys; "
                "all lanes of a program freeze the same layers, so declare that key static"
            ) from error
    several = isinstance(given, (tuple, list, set, frozenset))
    patterns = tuple(given) if several else () if given is None else (given,)
    for pattern in patterns:
        if not isinstance(pattern, str):
            raise PartError(
                f"frozen of model {model.name} holds {pattern!r}; it must hold names or patterns "
                'of layers, such as "features" or "features.*"'
            )
    return patterns


def _matches(pattern: str, slot: Slot) -> bool:
    """Whether it names the tensor, its layer, or what its layer is in."""
    return fnmatchcase(slot.name, pattern) or fnmatchcase(slot.name, f"{pattern}.*")


def _other(slot: Slot, slots: Sequence[Slot], frozen: Collection[str]) -> str:
    return next(s.layer_name for s in slots if s.path == slot.path and s.name in frozen)
