"""What a task's `build` may return, and the sizes that follow from it. Plain Python."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from trainables.declarations.core.parts import Config, PartError, Sizes, Split, Task

SPLITS = ("train", "val", "test")
_TEST = "_test"
_VALIDATION = 0.2
"""Share of the samples that validates where a task says nothing."""
_known: dict[Any, Sizes] = {}
_MOST_KNOWN = 256


class Statics(dict[str, Any]):
    """What a task's `build` may read of a config: its static keys."""

    def __init__(self, task: str, statics: Config):
        super().__init__(statics)
        self._task = task

    def __missing__(self, key: str) -> Any:
        raise PartError(
            f"building task {self._task} reads {key!r}, which is not one of its static keys; all "
            "lanes of a pack share their data, so declare that key static"
        )


def named(task: str, found: Any) -> dict[str, Any]:
    """The arrays of a task by name: those given, without names that are None.

    Raises:
      PartError: they have no names.
    """
    if not isinstance(found, Mapping):
        raise PartError(
            f"the arrays of task {task} are of type {type(found).__name__}; its function must "
            'return them by name: {"x": ..., "y": ...}'
        )
    return {name: value for name, value in found.items() if value is not None}


def is_random_access(found: Any) -> bool:
    """Whether this gives samples one at a time, as a data source of Grain does: `len(found)`, and
    `found[i]`, a dict of arrays."""
    kind = type(found)
    own = hasattr(kind, "__len__") and hasattr(kind, "__getitem__")
    return own and not isinstance(found, Mapping) and not hasattr(found, "dtype")


def given_apart(arrays: Mapping[str, Any]) -> dict[str, Any] | None:
    """Training, validation and test arrays that are given apart, each by name; None where they are
    not: `{"train": {"x": ..., "y": ...}, "val": ...}`."""
    own = arrays.get("train")
    apart = isinstance(own, Mapping) or is_random_access(own)
    if not apart or not set(arrays) <= set(SPLITS):
        return None
    return {split: arrays[split] for split in SPLITS if split in arrays}


def with_test(arrays: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(pool, test) of arrays whose test set has the same names with "_test" behind them."""
    test = {name: arrays[f"{name}{_TEST}"] for name in arrays if f"{name}{_TEST}" in arrays}
    tests = {f"{name}{_TEST}" for name in test}
    return {name: value for name, value in arrays.items() if name not in tests}, test


def leaves(tree: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Arrays of a tree of dicts, each with its path: ("x.nodes", array)."""
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from leaves(value, f"{name}.{key}" if name else str(key))
    else:
        yield name, tree


def derived_sizes(task: Task, statics: Config) -> Sizes:
    """The sizes of a task that declares none. Its data are built for it once in a process.

    Raises:
      PartError: the task does not say how its data are made, or they have no length.
    """
    batch = _batch_size(task, statics)
    mark = (task.build, batch, tuple((task.split or {}).items()), task.steps, task.classes)
    mark = (*mark, str(statics))
    if mark not in _known:
        if len(_known) >= _MOST_KNOWN:
            _known.clear()
        _known[mark] = _derived(task, statics, batch)
    return _known[mark]


def _batch_size(task: Task, statics: Config) -> int:
    if not callable(task.batch_size):
        return task.batch_size
    return task.batch_size(Statics(task.name, statics))


def _derived(task: Task, statics: Config, batch: int) -> Sizes:
    if task.steps is not None:  # its batches are drawn
        steps = task.steps(Statics(task.name, statics)) if callable(task.steps) else task.steps
        return Sizes(n_train=steps * batch, n_val=batch, batch_size=batch, split="drawn")
    if task.build is None or task.dataset(statics) is not None:
        raise PartError(
            f"task {task.name} declares no sizes, and they cannot be known without its data set; "
            "give it sizes=Sizes(n_train=..., n_val=..., n_test=..., batch_size=...)"
        )
    built = task.builder()(Statics(task.name, statics))
    pool, test, apart = built, None, None
    if not (task.stream and is_random_access(built)):
        arrays = named(task.name, built)
        apart = given_apart(arrays)
        pool, test = with_test(arrays)
    if apart is not None:
        counts = [_length(task, apart[split]) if split in apart else 0 for split in SPLITS]
        return _sizes(task, apart["train"], counts, batch, "apart")
    count = _length(task, pool)
    shares = _shares(task)
    held = round(shares.get("val", 0) * count)
    if test:
        return _sizes(task, pool, [count - held, held, _length(task, test)], batch, "pool")
    tested = round(shares.get("test", 0) * count)
    return _sizes(task, pool, [count - held - tested, held, tested], batch, "shares")


def _shares(task: Task) -> Mapping[str, float]:
    shares = {"val": _VALIDATION} if task.split is None else task.split
    known = isinstance(shares, Mapping) and set(shares) <= {"val", "test"}
    if not known or not all(_is_share(v) for v in shares.values()) or sum(shares.values()) >= 1:
        raise PartError(
            f"split of task {task.name} must give the shares of the samples that validate and "
            f'test, such as {{"val": 0.2, "test": 0.1}}, less than 1 together; got {task.split!r}'
        )
    return shares


def _is_share(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1


def _length(task: Task, arrays: Any) -> int:
    """Samples of arrays, as the first of them has it; that all agree is checked with the values."""
    for name, value in leaves(arrays):
        try:
            return len(value)
        except TypeError:
            raise PartError(
                f"{name} of task {task.name} is of type {type(value).__name__}, which has no "
                "length; give arrays whose first axis is the sample"
            ) from None
    raise PartError(f"task {task.name} lacks arrays; its function returned none")


def _sizes(task: Task, pool: Any, counts: list[int], batch: int, split: Split) -> Sizes:
    arrays = pool if isinstance(pool, Mapping) else {}
    shape = getattr(arrays.get("x"), "shape", ())[1:]
    steps, features = (shape[0], shape[-1]) if len(shape) > 1 else (1, shape[0] if shape else 1)
    train, val, test = counts
    classes = max(_classes(task, arrays.get("y")), 1)
    return Sizes(int(steps), int(features), classes, train, val, test, batch, split=split)


def _classes(task: Task, y: Any) -> int:
    """Those that the task declares, or one more than the greatest label; 0 where `y` holds other
    than whole numbers.

    Raises:
      PartError: the task streams, so that its labels are not read here, and does not declare them.
    """
    if task.classes is not None:
        return task.classes
    if task.stream:
        if task.loss is None:
            raise PartError(
                f"task {task.name} streams, so its labels are not read before it trains; say how "
                "many classes they have: Task(classes=...), or give it a loss"
            )
        return 0
    whole = getattr(getattr(y, "dtype", None), "kind", "-") in "iub"
    return int(y.max()) + 1 if whole and len(y) else 0
