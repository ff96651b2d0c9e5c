"""The arrays that a user's task builds, checked, and joined as they lie on the device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from trainables.declarations import PartError, Trial
from trainables.declarations.core.data_tree import SPLITS, given_apart, leaves, named, with_test
from trainables.tasks.arrays import array, at, inputs, joined, labels, require_finite

Arrays = dict[str, Any]
_MOST = np.iinfo(np.int32).max


def gathered(trial: Trial, found: Any) -> Arrays:
    """Arrays (N, ...) by name: the training pool, then validation and test where they are given
    apart. Numbers of 64 bits become 32.

    Raises:
      PartError: names, lengths or values are not what the task declares; it names the array, the
        place and the value.
    """
    arrays = named(trial.task.name, found)
    if is_classical(trial, arrays):
        return dict(joined(trial, arrays))
    checked = [_set(trial, own, where) for where, own in sets_of(trial, arrays).items()]
    require_alike(trial, checked)
    joint = jax.tree.map(lambda *parts: np.concatenate(parts), *checked)
    _require_count(trial, joint)
    return joint


def sets_of(trial: Trial, arrays: Mapping[str, Any]) -> dict[str, Any]:
    """The sets of samples that a task gives, in the order in which they follow each other, each by
    what stands behind the names of its arrays in a message.

    Raises:
      PartError: they are given apart, and the task's declared sizes say otherwise.
    """
    apart = given_apart(arrays)
    if apart is None:
        pool, test = with_test(arrays)
        return {"": pool, "_test": test} if test else {"": pool}
    if trial.sizes.split != "apart":
        raise PartError(
            f"task {trial.task.name} gives training, validation and test samples apart, but "
            'declares sizes without split="apart"; leave sizes out, or add it'
        )
    return {f" of {split}": apart[split] for split in SPLITS if split in apart}


def require_equal_lengths(trial: Trial, lengths: Mapping[str, int]) -> None:
    """Refuses arrays of one set of samples that have other lengths, by name."""
    if len(set(lengths.values())) < 2:
        return
    first, *others = lengths
    other = next(name for name in others if lengths[name] != lengths[first])
    raise PartError(
        f"{other} of task {trial.task.name} has {lengths[other]:,} samples and {first} has "
        f"{lengths[first]:,}; each array must have one entry for each sample"
    )


def is_classical(trial: Trial, arrays: Mapping[str, Any]) -> bool:
    """Whether the task declares inputs (n, seq_len, features) with labels (n,)."""
    task, sizes = trial.task, trial.sizes
    plain = _labelled(trial) and task.sizes is not None and sizes.split == "pool"
    if not plain or not {"x"} <= set(arrays) <= {"x", "y", "x_test", "y_test"}:
        return False
    sample = np.shape(arrays["x"])[1:] if hasattr(arrays["x"], "shape") else (1, 1)
    declared = sizes.seq_len, sizes.features
    return (declared != (1, 1) and sample != (sizes.features,)) or len(sample) == 2


def _labelled(trial: Trial) -> bool:
    """Whether outputs are judged by labels: without a loss of the task's or of the stage's."""
    return trial.task.loss is None and not trial.stage.own_weights


def _set(trial: Trial, own: Mapping[str, Any], where: str) -> Arrays:
    """One set of samples, checked and converted."""
    task = trial.task
    labelled = _labelled(trial)
    if labelled and "y" not in own:
        raise PartError(
            f"task {task.name} lacks the array y; its function returned {', '.join(own) or 'none'}"
            ", and without a loss of the task's the labels y are what outputs are judged by"
        )
    found, lengths = {}, {}
    for path, value in leaves(own):
        name = f"{path}{where}"
        if path == "y" and labelled:
            found[path] = labels(trial, name, value)
        else:
            found[path] = leaf(trial, name, value)
        if not found[path].ndim:
            raise PartError(
                f"{name} of task {task.name} is one number; an array needs a first axis, the sample"
            )
        lengths[name] = len(found[path])
    require_equal_lengths(trial, lengths)
    return tree_like(own, found)


def tree_like(like: Mapping[str, Any], found: Mapping[str, np.ndarray], above: str = "") -> Arrays:
    """Arrays by path as a tree with the names of another."""
    return {
        name: tree_like(value, found, f"{above}{name}.")
        if isinstance(value, Mapping)
        else found[f"{above}{name}"]
        for name, value in like.items()
    }


def leaf(trial: Trial, name: str, value: Any, rows: np.ndarray | None = None) -> np.ndarray:
    """An array of numbers as the device holds it: 32 bits where it has 64, all of it finite.

    Args:
      rows: which rows of array `name` these are; None: all, in order.
    """
    found = array(trial, name, value)
    if found.dtype == np.float64 or (found.dtype.kind == "f" and found.dtype.itemsize > 8):
        return inputs(trial, name, value, rows)
    if found.dtype == np.complex128:
        found = found.astype(np.complex64)
    if found.dtype.kind in "iu" and found.dtype.itemsize == 8:
        beyond = (found > _MOST) | (found < -_MOST - 1)
        if beyond.any():
            place = np.unravel_index(int(np.argmax(beyond)), found.shape)
            raise PartError(
                f"{at(name, place, rows)} of task {trial.task.name} is {found[place]}; whole "
                "numbers are held in 32 bits, which cannot hold it"
            )
        return found.astype(np.int32)
    if jnp.issubdtype(found.dtype, jnp.inexact):
        require_finite(trial, name, found, rows=rows)
    return found


def require_alike(trial: Trial, sets: list[Arrays]) -> None:
    """Refuses sets whose names, types or shapes of a sample differ."""

    def kinds(arrays: Arrays) -> dict[str, str]:
        return {path: f"{v.dtype}{list(v.shape[1:])}" for path, v in leaves(arrays)}

    first = kinds(sets[0])
    for other in map(kinds, sets[1:]):
        for path in dict.fromkeys([*first, *other]):
            if first.get(path) != other.get(path):
                raise PartError(
                    f"{path} of task {trial.task.name} is {first.get(path, 'missing')} for a "
                    f"training sample and {other.get(path, 'missing')} for a validation or test "
                    "sample; they must be the same"
                )


def _require_count(trial: Trial, arrays: Arrays) -> None:
    sizes = trial.sizes
    want = sizes.n_train + sizes.n_val + sizes.n_test
    path, value = next(leaves(arrays))
    if len(value) != want:
        raise PartError(
            f"task {trial.task.name} declares {want:,} samples, training, validation and test "
            f"together; its array {path} has {len(value):,}"
        )
