"""The arrays of a task, held against what it declares. A refusal names array, place and value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from trainables.declarations import PartError, Trial


def array(trial: Trial, name: str, value: Any) -> np.ndarray:
    """`value` as an array of numbers.

    Raises:
      PartError: it is ragged, masked, or of text, objects or the like.
    """
    task = trial.task.name
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise PartError(
            f"{name} of task {task} has masked values ({np.ma.count_masked(value):,} of "
            f"{value.size:,}), which would be read as if they were not; fill them or leave them out"
        )
    try:
        found = np.asarray(value)
    except ValueError as error:
        raise PartError(f"{name} of task {task} is no array: {error}") from error
    if not any(jnp.issubdtype(found.dtype, kind) for kind in (np.bool_, np.number)):
        raise PartError(f"{name} of task {task} has the dtype {found.dtype}; it must hold numbers")
    return found


def numbers(trial: Trial, name: str, value: Any) -> np.ndarray:
    """`value` as an array of real numbers.

    Raises:
      PartError: as for `array`, or it holds complex numbers.
    """
    found = array(trial, name, value)
    if jnp.issubdtype(found.dtype, jnp.complexfloating):
        raise PartError(
            f"{name} of task {trial.task.name} has the dtype {found.dtype}; it must hold real "
            "numbers"
        )
    return found


def inputs(trial: Trial, name: str, value: Any, rows: np.ndarray | None = None) -> np.ndarray:
    """`value` as float32, all of it finite.

    Args:
      rows: which rows of array `name` these are; None: all, in order.

    Raises:
      PartError: it is not an array of real numbers, or holds NaN, infinity, or a number that
        float32 cannot hold.
    """
    given = numbers(trial, name, value)
    with np.errstate(over="ignore"):
        found = given.astype(np.float32, copy=False)
    require_finite(trial, name, found, given, rows)
    return found


def require_finite(
    trial: Trial,
    name: str,
    found: np.ndarray,
    given: np.ndarray | None = None,
    rows: np.ndarray | None = None,
) -> None:
    """Raises PartError for the first value that is not finite; `given` is the array before it was
    made float32, `rows` as for `inputs`."""
    finite = np.isfinite(found)
    if finite.all():
        return
    place = np.unravel_index(int(np.argmin(finite)), found.shape)
    value = (found if given is None else given)[place]
    why = "its arrays must be finite" if not np.isfinite(value) else "float32 cannot hold it"
    count = found.size - int(np.sum(finite))
    raise PartError(
        f"{at(name, place, rows)} of task {trial.task.name} is {value}; {why}, and {count:,} of "
        f"{found.size:,} numbers fail"
    )


def labels(trial: Trial, name: str, value: Any, rows: np.ndarray | None = None) -> np.ndarray:
    """`value` as int32, all of it classes that the task declares.

    Args:
      rows: which rows of array `name` these are; None: all, in order.

    Raises:
      PartError: it is not an array of real numbers, or one of them is not a whole number of
        0..classes - 1, or it is of bools and the task does not declare two classes.
    """
    given, task, classes = numbers(trial, name, value), trial.task.name, trial.sizes.classes
    if given.dtype == bool and classes != 2 and given.size:
        raise PartError(
            f"{name} of task {task} is an array of bools, which tell two classes apart, but the "
            f"task declares {classes}; give the classes as whole numbers from 0 to {classes - 1}"
        )
    # Compared before they are made int32, which would wrap large numbers and cut fractions.
    with np.errstate(invalid="ignore"):
        fits = (given >= 0) & (given < classes) & (given == np.floor(given))
    if fits.all():
        return given.astype(np.int32)
    place = np.unravel_index(int(np.argmin(fits)), given.shape)
    value, bad = given[place], given.size - int(np.sum(fits))
    real = np.any(np.isfinite(given) & (given != np.floor(given)))
    raise PartError(
        f"{at(name, place, rows)} of task {task} is {value}; its labels must be whole numbers in "
        f"0..{classes - 1}, since it declares classes={classes}, and {bad:,} of {given.size:,} are "
        "not" + ("; a task of real numbers needs a loss: Task(loss=...)" if real else "")
    )


def joined(trial: Trial, found: Any) -> dict[str, np.ndarray]:
    """x (N, T, F) float32 and y (N,) int32 of x, y and perhaps x_test, y_test.

    Raises:
      PartError: they are not what the task declares.
    """
    task = trial.task.name
    if not isinstance(found, Mapping):
        raise PartError(
            f"the arrays of task {task} are of type {type(found).__name__}; its function must "
            'return them by name: {"x": ..., "y": ...}'
        )
    given = {name: array for name, array in found.items() if array is not None}
    names = ["x", "y"] + (["x_test", "y_test"] if {"x_test", "y_test"} & set(given) else [])
    missing = [name for name in names if name not in given]
    if missing:
        raise PartError(
            f"task {task} lacks the array {' and '.join(missing)}; its function returned "
            f"{', '.join(map(str, given)) or 'none'}"
        )
    shapes = {name: numbers(trial, name, given[name]).shape for name in names}
    for part in ("", "_test"):
        x, y = shapes.get(f"x{part}"), shapes.get(f"y{part}")
        if x is not None and (len(x) != 3 or y != x[:1]):
            raise PartError(
                f"x{part} of task {task} has the shape {x} and y{part} has {y}; they must be "
                "(n, seq_len, features) and (n,), one label for each sample"
            )
    xs = [inputs(trial, name, given[name]) for name in names if name.startswith("x")]
    ys = [labels(trial, name, given[name]) for name in names if name.startswith("y")]
    if len({x.shape[1:] for x in xs}) > 1:
        raise PartError(
            f"x of task {task} has the shape {shapes['x']} and x_test has {shapes['x_test']}; only "
            "their first numbers may differ"
        )
    x, y = (parts[0] if len(parts) == 1 else np.concatenate(parts) for parts in (xs, ys))
    require_shapes(trial, x, y, (trial.sizes.seq_len, trial.sizes.features))
    return {"x": x, "y": y}


def require_shapes(trial: Trial, x: np.ndarray, y: np.ndarray, sample: tuple[int, ...]) -> None:
    """Refuses samples and labels of other shapes than the task declares.

    Args:
      x: the training pool, then the test set, as it is stored.
      sample: shape of one stored sample.

    Raises:
      PartError: with the shapes declared and found.
    """
    sizes = trial.sizes
    want = (sizes.n_train + sizes.n_val + sizes.n_test, *sample)
    if x.shape != want or y.shape != want[:1]:
        raise PartError(
            f"task {trial.task.name} declares x of shape {want}, training, validation and test "
            f"together, and as many labels; its arrays have {x.shape} and {y.shape}"
        )


def at(name: str, place: tuple[Any, ...], rows: np.ndarray | None = None) -> str:
    """The place of a value as it is written in Python: x[3, 0]; `rows` as for `inputs`."""
    first, *others = map(int, place)
    row = first if rows is None else int(rows[first])
    return f"{name}[{', '.join(map(str, (row, *others)))}]"
