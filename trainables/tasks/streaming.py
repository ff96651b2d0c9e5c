"""Samples that stay on the host, or in files, until a step needs them.

A `Source` stands for a task's arrays: it knows their shapes, and reads, checks and converts the
rows that are asked for. Nothing here copies a whole array, so a memory-mapped file is held by the
page cache, once for all workers of a node.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from trainables.declarations import PartError, Trial
from trainables.declarations.core.data_tree import (
    is_random_access,
    leaves,
    named,
)
from trainables.tasks.arrays import inputs, labels
from trainables.tasks.user_arrays import (
    is_classical,
    leaf,
    require_alike,
    require_equal_lengths,
    sets_of,
    tree_like,
)

CHUNK_BYTES = 64_000_000
"""Samples of all lanes that one call of a program reads, unless a task says how many steps."""


class Table(NamedTuple):
    """Some rows of a task's arrays, on the device.

    Attributes:
      rows: which samples they are, ascending (M,).
      arrays: their tree, (M, ...).
    """

    rows: jax.Array
    arrays: Any


class Streamed:
    """The functions of a task whose data are a `Table`, or the rows of a chunk in their order."""

    def __init__(self, task: Any):
        self.task = task

    def __getattr__(self, name: str) -> Any:
        if name == "task":  # asked before it is set, by a copy
            raise AttributeError(name)
        return getattr(self.task, name)

    def batch(self, data: Any, entry: Mapping[str, jax.Array], hparams: Any) -> Any:
        """As `TaskRuntime.batch`; of a table, by the numbers that samples have in all arrays."""
        if isinstance(data, Table):
            entry = {**entry, "index": jnp.searchsorted(data.rows, entry["index"])}
            data = data.arrays
        return self.task.batch(data, entry, hparams)


class _Set(NamedTuple):
    """Samples that follow each other: a tree of arrays, or an object that gives one at a time."""

    where: str
    count: int
    arrays: Any = None
    samples: Any = None


class Source:
    """A task's samples, training pool first, then validation and test where they are given apart.

    Attributes:
      count: samples.
    """

    def __init__(self, trial: Trial, built: Any):
        """
        Args:
          built: what the task's function returned: arrays of any kind that have `shape` and can be
            indexed by an array of row numbers, by name; or an object with `__len__` and
            `__getitem__(i) -> dict of arrays`; or such a thing for each of train, val and test.

        Raises:
          PartError: they do not fit together, or not the sizes that the task declares.
        """
        self._trial = trial
        self._task = trial.task.name
        self._sets = self._taken_apart(built)
        self._starts = np.cumsum([0, *(one.count for one in self._sets)])
        self.count = int(self._starts[-1])
        self._require_count()
        self._like = [self._read(one, np.arange(1)) for one in self._sets if one.count]
        self._require_alike()

    def _taken_apart(self, built: Any) -> list[_Set]:
        self._classical = False
        if is_random_access(built):
            return [_Set("", len(built), samples=built)]
        arrays = named(self._task, built)
        self._classical = is_classical(self._trial, arrays)
        sets = sets_of(self._trial, arrays)
        return [self._set(where, own) for where, own in sets.items()]

    def _set(self, where: str, own: Any) -> _Set:
        if is_random_access(own):
            return _Set(where, len(own), samples=own)
        lengths = {}
        for path, value in leaves(own):
            shape = getattr(value, "shape", None)
            if not isinstance(shape, Sequence) or not shape or not hasattr(value, "dtype"):
                raise PartError(
                    f"{path}{where} of task {self._task} is of type {type(value).__name__}; a task "
                    "that streams gives arrays with a shape (n, ...) and a dtype, such as "
                    'np.load(file, mmap_mode="r")'
                )
            lengths[f"{path}{where}"] = int(shape[0])
        require_equal_lengths(self._trial, lengths)
        if not lengths:
            raise PartError(f"task {self._task} lacks arrays; its function returned none")
        return _Set(where, next(iter(lengths.values())), own)

    def _require_count(self) -> None:
        sizes = self._trial.sizes
        want = sizes.n_train + sizes.n_val + sizes.n_test
        if self.count != want:
            raise PartError(
                f"task {self._task} declares {want:,} samples, training, validation and test "
                f"together; it has {self.count:,}"
            )

    def _require_alike(self) -> None:
        require_alike(self._trial, self._like)
        sizes = self._trial.sizes
        declared = [sizes.seq_len, sizes.features]
        found = list(self._like[0]["x"].shape[1:]) if self._classical else declared
        if found != declared:
            raise PartError(
                f"x of task {self._task} has samples of shape {found}, and the task declares "
                f"{declared}"
            )

    @property
    def shapes(self) -> Any:
        """Shapes and types of all samples, as `take` would give them."""
        return jax.tree.map(
            lambda v: jax.ShapeDtypeStruct((self.count, *v.shape[1:]), v.dtype), self._like[0]
        )

    @property
    def sample_bytes(self) -> int:
        """What one sample takes on the device."""
        shapes = jax.tree.leaves(self.shapes)
        return sum(int(np.prod(s.shape[1:])) * s.dtype.itemsize for s in shapes)

    def take(self, index: np.ndarray) -> Any:
        """A tree of the rows `index` (n,) of all arrays, each (n, ...), as the device holds them.

        Raises:
          PartError: a number in them is not finite, or a label out of range, by the name of its
            array and its place in it; or a sample cannot be read.
        """
        which = np.searchsorted(self._starts, index, side="right") - 1
        used = np.unique(which)
        if len(used) == 1:
            one = int(used[0])
            return self._read(self._sets[one], index - self._starts[one])
        found = jax.tree.map(lambda s: np.empty((len(index), *s.shape[1:]), s.dtype), self.shapes)
        for one in used.tolist():
            own = which == one
            rows = self._read(self._sets[one], index[own] - self._starts[one])
            for path, value in leaves(rows):
                dict(leaves(found))[path][own] = value
        return found

    def _read(self, one: _Set, rows: np.ndarray) -> Any:
        if one.samples is not None:
            return self._checked(one, self._sampled(one, rows), rows)
        found = {p: self._indexed(f"{p}{one.where}", v, rows) for p, v in leaves(one.arrays)}
        return self._checked(one, tree_like(one.arrays, found), rows)

    def _indexed(self, name: str, value: Any, rows: np.ndarray) -> np.ndarray:
        try:
            if isinstance(value, np.ndarray):
                return np.asarray(value)[rows]
            # HDF5 takes ascending numbers only, each once.
            ascending, back = np.unique(rows, return_inverse=True)
            return np.asarray(value[ascending])[back]
        except (OSError, MemoryError, PartError):
            raise
        except Exception as error:
            raise PartError(
                f"rows of {name} of task {self._task} cannot be read: "
                f"{type(error).__name__}: {error}"
            ) from error

    def _sampled(self, one: _Set, rows: np.ndarray) -> Any:
        found: dict[str, np.ndarray] = {}
        sample: Any = None
        for place, row in enumerate(rows.tolist()):
            try:
                sample = one.samples[row]
            except (OSError, MemoryError, PartError):
                raise
            except Exception as error:
                raise PartError(
                    f"sample {row}{one.where} of task {self._task} cannot be read: "
                    f"{type(error).__name__}: {error}"
                ) from error
            if not isinstance(sample, Mapping):
                raise PartError(
                    f"sample {row}{one.where} of task {self._task} is of type "
                    f'{type(sample).__name__}; it must be a dict of arrays: {{"x": ..., "y": ...}}'
                )
            values = {path: np.asarray(value) for path, value in leaves(sample)}
            if not found:
                found = {p: np.empty((len(rows), *v.shape), v.dtype) for p, v in values.items()}
            for path in dict.fromkeys([*found, *values]):
                kinds = [
                    f"{v.dtype}{list(v.shape[cut:])}" if v is not None else "missing"
                    for v, cut in ((found.get(path), 1), (values.get(path), 0))
                ]
                if kinds[0] != kinds[1]:
                    raise PartError(
                        f"{path} of sample {row}{one.where} of task {self._task} is {kinds[1]} and "
                        f"that of sample {int(rows[0])} is {kinds[0]}; all samples must be alike"
                    )
                found[path][place] = values[path]
        return tree_like(sample, found)

    def _checked(self, one: _Set, found: Any, rows: np.ndarray) -> Any:
        trial, by_labels = self._trial, self._trial.task.loss is None
        if by_labels and "y" not in found:
            raise PartError(
                f"task {self._task} lacks the array y; it has {', '.join(found) or 'none'}, and "
                "without a loss of the task's the labels y are what outputs are judged by"
            )
        checked = {}
        for path, value in leaves(found):
            name = f"{path}{one.where}"
            if path == "y" and by_labels:
                checked[path] = labels(trial, name, value, rows)
            elif self._classical:
                checked[path] = inputs(trial, name, value, rows)
            else:
                checked[path] = leaf(trial, name, value, rows)
        return tree_like(found, checked)


def chunk_steps(steps: int, step_bytes: int, wanted: int | None) -> int:
    """Steps of a chunk: equal ones as far as can be, of at most CHUNK_BYTES each.

    Args:
      steps: of an epoch. step_bytes: samples of one step in all lanes.
      wanted: what the task says instead.
    """
    most = wanted or max(1, CHUNK_BYTES // max(step_bytes, 1))
    chunks = max(1, -(-steps // max(most, 1)))
    return min(most, steps) if wanted else max(1, -(-steps // chunks))
