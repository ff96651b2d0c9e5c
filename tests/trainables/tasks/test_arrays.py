"""What a task's arrays may hold: each refusal names the array, the place and the value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from trainables.declarations import Key, PartError, Sizes, Task, Trial, builtin_registry
from trainables.tasks.base import GaussianTask, make_data

SIZES = Sizes(2, 3, 4, 6, 2, 3, 4)
Arrays = dict[str, Any]


def trial_of(build: Callable[[Any], Any], sizes: Sizes = SIZES) -> Trial:
    keys = (Key("scale", "float", 1.0, "traced"), Key("rows", "int", 2, "static"))
    registry = builtin_registry()
    registry.add(Task(name="mine", build=build, sizes=lambda config: sizes, keys=keys))
    return registry.resolve({"model": "ffn", "task": "mine"})


def good() -> Arrays:
    """Eight samples and three of a test set, of four classes."""
    rng = np.random.default_rng(0)
    x, x_test = rng.normal(size=(8, 2, 3)), rng.normal(size=(3, 2, 3))
    return {"x": x, "y": np.arange(8) % 4, "x_test": x_test, "y_test": np.arange(3)}


def data_of(arrays: Any, sizes: Sizes = SIZES) -> dict[str, np.ndarray]:
    return make_data(trial_of(lambda config: arrays, sizes), {})


def refused(arrays: Any, sizes: Sizes = SIZES) -> str:
    with pytest.raises(PartError) as caught:
        data_of(arrays, sizes)
    return str(caught.value)


def put(name: str, place: Any, value: Any, dtype: Any = None) -> Arrays:
    """The good arrays with one value changed."""
    arrays = good()
    arrays[name] = np.array(arrays[name], dtype)
    arrays[name][place] = value
    return arrays


def whole(y: np.ndarray) -> np.ndarray:
    return y.astype(np.float64)


@pytest.mark.parametrize(
    "cast",
    [np.int64, np.uint8, np.uint64, np.float32, np.float64, list],
    ids=["int64", "uint8", "uint64", "float32", "float64", "list"],
)
def test_whole_numbers_of_any_type_are_labels(cast: Any) -> None:
    arrays = good()
    for name in ("y", "y_test"):
        arrays[name] = list(arrays[name]) if cast is list else arrays[name].astype(cast)
    found = data_of(arrays)
    assert found["y"].dtype == np.int32
    assert found["y"].tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2]
    assert found["x"].dtype == np.float32
    want = np.concatenate([good()["x"], good()["x_test"]]).astype(np.float32)
    np.testing.assert_array_equal(found["x"], want)


LABELS: dict[str, tuple[Arrays, str]] = {
    "a part": ({**good(), "y": good()["y"] + 0.7}, "y[0] of task mine is 0.7"),
    "one part": (put("y", 5, 0.5, float), "y[5] of task mine is 0.5"),
    "NaN": (put("y", 2, np.nan, float), "y[2] of task mine is nan"),
    "infinite": (put("y_test", 1, -np.inf, float), "y_test[1] of task mine is -inf"),
    "negative": (put("y", 3, -1), "y[3] of task mine is -1"),
    "too large": (put("y_test", 2, 4), "y_test[2] of task mine is 4"),
    "2**32 + 1, which int32 makes 1": (
        put("y", 7, 2**32 + 1, np.uint64),
        "y[7] of task mine is 4294967297",
    ),
    "1e300": (put("y", 0, 1e300, float), "y[0] of task mine is 1e+300"),
}


@pytest.mark.parametrize("case", LABELS)
def test_a_label_that_is_no_declared_class_is_named(case: str) -> None:
    arrays, said = LABELS[case]
    found = refused(arrays)
    assert found.startswith(said + "; its labels must be whole numbers in 0..3")
    assert "classes=4" in found


def test_real_targets_are_called_so_and_counted() -> None:
    found = refused({**good(), "y": np.linspace(-1, 1, 8)})
    assert "y[0] of task mine is -1.0" in found
    assert "7 of 8 are not" in found
    assert found.endswith("; a task of real numbers needs a loss: Task(loss=...)")


def test_bools_are_labels_of_two_classes_only() -> None:
    arrays = {**good(), "y": np.arange(8) % 2 > 0, "y_test": np.arange(3) > 1}
    assert data_of(arrays, replace(SIZES, classes=2))["y"].tolist() == [0, 1] * 4 + [0, 0, 1]
    assert "two classes apart, but the task declares 4" in refused(arrays)


INPUTS: dict[str, tuple[Arrays, str]] = {
    "NaN": (put("x", (4, 1, 2), np.nan), "x[4, 1, 2] of task mine is nan; its arrays must be"),
    "infinite": (put("x_test", (0, 1, 0), np.inf), "x_test[0, 1, 0] of task mine is inf; its"),
    "beyond float32": (
        put("x", (7, 0, 0), 1e39),
        "x[7, 0, 0] of task mine is 1e+39; float32 cannot hold it",
    ),
}


@pytest.mark.parametrize("case", INPUTS)
def test_an_input_that_is_not_finite_is_named(case: str) -> None:
    arrays, said = INPUTS[case]
    assert refused(arrays).startswith(said)
    assert "1 of " in refused(arrays)


def test_a_task_with_a_runtime_of_its_own_must_give_finite_arrays_too() -> None:
    class Mine(GaussianTask):
        @staticmethod
        def data(trial: Trial, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
            return {"count": np.arange(3), "signal": np.array([0.0, 1.0, np.nan])}

    registry = builtin_registry()
    registry.add(Task(name="mine", runtime=Mine, sizes=lambda config: SIZES))
    with pytest.raises(PartError, match=r"^signal\[2\] of task mine is nan"):
        make_data(registry.resolve({"model": "ffn", "task": "mine"}), {})


masked = np.ma.masked_array(np.arange(8) % 4, np.arange(8) == 3)
OTHERS: dict[str, tuple[Any, str]] = {
    "objects": ({**good(), "y": np.array([None] * 8)}, "y of task mine has the dtype object"),
    "text": ({**good(), "y": ["a"] * 8}, "y of task mine has the dtype <U1"),
    "dates": (
        {**good(), "y": np.arange(8).astype("datetime64[s]")},
        "y of task mine has the dtype datetime64[s]",
    ),
    "complex": ({**good(), "x": good()["x"] * 1j}, "x of task mine has the dtype complex128"),
    "ragged": ({**good(), "x": [[1.0], [1.0, 2.0]]}, "x of task mine is no array: "),
    "masked": ({**good(), "y": masked}, "y of task mine has masked values (1 of 8)"),
    "a tuple": ((good()["x"], good()["y"]), "the arrays of task mine are of type tuple"),
    "nothing": (None, "the arrays of task mine are of type NoneType"),
    "no y": ({"x": good()["x"], "Y": good()["y"]}, "task mine lacks the array y; its function ret"),
    "a test set without labels": (
        {**good(), "y_test": None},
        "task mine lacks the array y_test; its function returned x, y, x_test",
    ),
}


@pytest.mark.parametrize("case", OTHERS)
def test_what_is_no_array_of_numbers_is_refused(case: str) -> None:
    arrays, said = OTHERS[case]
    assert refused(arrays).startswith(said)


SHAPES: dict[str, tuple[Arrays, tuple[str, str]]] = {
    "fewer labels": ({**good(), "y": np.zeros(7)}, ("(8, 2, 3)", "(7,)")),
    "fewer test labels": ({**good(), "y_test": np.zeros(2)}, ("(3, 2, 3)", "(2,)")),
    "a column of labels": ({**good(), "y": np.zeros((8, 1))}, ("(8, 2, 3)", "(8, 1)")),
    "unit vectors": ({**good(), "y": np.zeros((8, 4))}, ("(8, 2, 3)", "(8, 4)")),
    "no time axis": ({**good(), "x": np.zeros((8, 6))}, ("(8, 6)", "(8,)")),
    "other features": (
        {**good(), "x": np.zeros((8, 2, 5)), "x_test": np.zeros((3, 2, 5))},
        ("(11, 2, 3)", "(11, 2, 5)"),
    ),
    "other features of the test set": (
        {**good(), "x_test": np.zeros((3, 2, 5))},
        ("(8, 2, 3)", "(3, 2, 5)"),
    ),
    "more samples than declared": (
        {**good(), "x": np.zeros((9, 2, 3)), "y": np.zeros(9)},
        ("(11, 2, 3)", "(12, 2, 3)"),
    ),
    "empty": ({"x": np.zeros((0, 2, 3)), "y": np.zeros(0)}, ("(11, 2, 3)", "(0, 2, 3)")),
    "a number": ({**good(), "x": 3.0}, ("()", "(8,)")),
}


@pytest.mark.parametrize("case", SHAPES)
def test_arrays_of_other_shapes_are_refused_with_both(case: str) -> None:
    arrays, shapes = SHAPES[case]
    found = refused(arrays)
    assert all(shape in found for shape in shapes)


@pytest.mark.parametrize("name", ["scale", "lr", "mode"])
def test_a_key_that_lanes_do_not_share_cannot_shape_their_arrays(name: str) -> None:
    with pytest.raises(PartError, match=f"reads '{name}', which is not one of its static keys"):
        make_data(trial_of(lambda config: config[name]), {})


def test_a_key_error_of_the_users_own_stays_one() -> None:
    """It says nothing of a config."""
    with pytest.raises(KeyError, match="elsewhere"):
        make_data(trial_of(lambda config: {"rows": config["rows"]}["elsewhere"]), {})


@pytest.mark.parametrize(
    ("name", "value"),
    [("classes", 0), ("n_train", 0), ("n_train", 6.0), ("n_val", -1), ("batch_size", 0),
     ("seq_len", 0), ("features", "3"), ("n_test", True)],
)  # fmt: skip
def test_sizes_are_whole_numbers_and_not_too_small(name: str, value: Any) -> None:
    one = trial_of(lambda config: good(), replace(SIZES, **{name: value}))
    with pytest.raises(PartError) as caught:
        _ = one.sizes
    assert str(caught.value).startswith(f"the sizes of task mine have {name}={value!r}; it must be")


def test_sizes_that_are_none_are_refused() -> None:
    sizes: Any = {"seq_len": 2}
    with pytest.raises(PartError, match="sizes of task mine are of type dict"):
        _ = trial_of(lambda config: good(), sizes).sizes
