"""Long-sequence tasks: ListOps' law and values, bit reversal, constants, splits, masks
(docs/specs/bar2025.md, checks 7, 9 to 11)."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trainables.core.hparams import lane_values
from trainables.declarations import ConfigError, Trial, builtin_registry
from trainables.tasks.base import TaskRuntime, make_data, make_task
from trainables.tasks.listops import END, OPERATORS, PAD, WORDS, expressions, operate
from trainables.tasks.long_sequences import CopyTask, SequenceTask, padded
from trainables.tasks.pixel_sequences import arranged, grey
from trainables.tasks.pixels import bit_reversed

TEXT = ("<pad>", "<unk>", "<eos>", *WORDS)


def trial(task: str, **config: Any) -> Any:
    model = {"model": "deep_lru", "task": task}
    if task == "copy":
        model["pooling"] = "none"
    return builtin_registry().resolve({**model, **config})


def task_of(one: Trial) -> TaskRuntime:
    """The functions of its task, which it has."""
    task = make_task(one)
    assert task is not None
    return task


# ---- ListOps -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operator", "operands", "value"),
    [
        ("[MED", (4, 5), 4),
        ("[MED", (1, 2, 3, 9), 2),
        ("[SM", (9, 9, 1), 9),
        ("[MIN", (3, 0, 7), 0),
        ("[MAX", (3, 0, 7), 7),
        ("[MED", (9, 1, 4), 4),
    ],
)
def test_operators_on_fixed_operands(operator, operands, value):
    padded_row = np.array([[*operands, *[5] * (6 - len(operands))]])
    index = np.array([OPERATORS.index(operator)])
    assert operate(index, padded_row, np.array([len(operands)])) == [value]


def read(words: list[str]) -> int:
    """An evaluator of its own: a stack of open operators."""
    stack: list[tuple[str, list[int]]] = []
    for word in words:
        if word in OPERATORS:
            stack.append((word, []))
            continue
        if word != "]":
            value = int(word)
        else:
            operator, found = stack.pop()
            found.sort()
            middle = found[(len(found) - 1) // 2] + found[len(found) // 2]
            value = {"[MIN": found[0], "[MAX": found[-1], "[MED": middle // 2,
                     "[SM": sum(found) % 10}[operator]  # fmt: skip
        if not stack:
            return value
        stack[-1][1].append(value)
    raise AssertionError("an operator was never closed")


def test_the_evaluator_itself():
    assert read(["[MAX", "2", "9", "[MIN", "4", "7", "]", "0", "]"]) == 9
    assert read(["[SM", "9", "[MED", "1", "2", "3", "9", "]", "[MAX", "4", "5", "]", "]"]) == 6


@pytest.fixture(scope="module")
def drawn(seed) -> tuple[np.ndarray, np.ndarray]:
    return expressions(2000, seed)


def test_labels_are_the_values(drawn, seed):
    tokens, values = drawn
    for i in np.random.default_rng(seed).integers(0, 2000, 60):
        words = [TEXT[token] for token in tokens[i]]
        end = words.index("<eos>")
        assert set(words[end + 1 :]) <= {"<pad>"}
        assert read(words[:end]) == values[i]


def test_the_published_law(drawn):
    """Mean length: 1,044 (standard error 7) over 3,000 trees of a recursive reference."""
    tokens, values = drawn
    lengths = (tokens > END).sum(1)
    assert 500 < lengths.min() <= lengths.max() < 2000
    assert lengths.mean() == pytest.approx(1044, abs=40)
    assert (values == 0).mean() == pytest.approx(0.166, abs=0.03)
    roots = tokens[:, 0]
    best = sum(np.bincount(values[roots == root]).max() for root in np.unique(roots))
    assert best / 2000 == pytest.approx(0.37, abs=0.03)
    assert set(np.unique(tokens)) == {PAD, END, *range(3, 18)}
    assert len(np.unique(tokens, axis=0)) == 2000


def test_small_trees_are_distinct_and_their_own_seed_s():
    own: Any = {"max_depth": 3, "max_args": 3, "bounds": (3, 12), "columns": 12}
    tokens, values = expressions(3000, 1, **own)
    assert len(np.unique(tokens, axis=0)) == 3000
    assert values.dtype == np.int32
    again, _ = expressions(2000, 1, **own)
    np.testing.assert_array_equal(again, tokens[:2000])
    other, _ = expressions(2000, 2, **own)
    assert (other != again).any()
    with pytest.raises(ValueError, match="distinct expressions found"):
        expressions(100_000, 1, 2, 2, (3, 5), 8)


def test_listops_sets_do_not_overlap_and_fit_the_model():
    config = {"max_depth": 4, "max_args": 5, "min_length": 10, "max_length": 64, "seq_len": 64,
              "n_train": 500, "n_val": 100, "n_test": 100, "batch_size": 64}  # fmt: skip
    one = trial("listops", **config)
    sizes = one.sizes
    assert (sizes.n_train, sizes.steps, sizes.tokens, sizes.padded) == (448, 7, True, True)
    data, task = make_data(one, {}), task_of(one)
    assert data["x"].shape == (700, 64)
    assert data["x"].dtype == np.uint8
    assert len(np.unique(data["x"], axis=0)) == 700
    held = np.asarray(task.evaluation(jax.random.key(0), {})["segments"]).reshape(2, -1)
    assert held.sum(1).tolist() == [100, 100]
    assert (held[0] * held[1]).sum() == 0
    with pytest.raises(ConfigError, match="room for an end mark"):
        trial("listops", seq_len=64)


def test_only_canonical_listops_is_of_a_fixed_size():
    sizes = {"n_train": 96_000, "n_val": 2_000, "n_test": 2_000}
    trial("listops", source="canonical", **sizes)
    trial("listops", source="generated", **{**sizes, "n_test": 2_001})
    with pytest.raises(ConfigError, match="source=canonical has 96,000, 2,000 and 2,000 samples"):
        trial("listops", source="canonical", **{**sizes, "n_test": 2_001})


# ---- images --------------------------------------------------------------------------------------


def test_bit_reversal():
    order = bit_reversed(784)
    assert order[:12].tolist() == [0, 512, 256, 768, 128, 640, 384, 64, 576, 320, 192, 704]
    assert order[-3:].tolist() == [255, 767, 511]
    assert sorted(order.tolist()) == list(range(784))


def test_constants_of_black_and_white():
    for name, black, white in (
        ("scifar_grey", -2.0098, 2.1705),
        ("scifar", (-1.9895, -1.9844, -1.7107), None),
        ("smnist", 0.0, 1.0),
    ):
        task = make_task(trial(name))
        assert isinstance(task, SequenceTask)
        shape = (1, 4, 3 if name == "scifar" else 1)
        pixels = np.asarray(task.read(jnp.zeros(shape, jnp.uint8)))
        np.testing.assert_allclose(pixels[0, 0], black, atol=1e-4)
        if white is not None:
            pixels = np.asarray(task.read(jnp.full(shape, 255, jnp.uint8)))
            np.testing.assert_allclose(pixels[0, 0, 0], white, atol=1e-4)


def test_pixels_keep_their_order(seed):
    rng = np.random.default_rng(seed)
    digits = rng.integers(0, 256, (2, 28, 28), np.uint8)
    images = rng.integers(0, 256, (2, 3, 32, 32), np.uint8)
    i, j = (int(v) for v in rng.integers(0, 28, 2))
    assert arranged("smnist", "pixels", digits)[1, 28 * i + j, 0] == digits[1, i, j]
    assert arranged("smnist", "rows", digits)[1, i, j] == digits[1, i, j]
    place = int(np.flatnonzero(bit_reversed(784) == 28 * i + j)[0])
    assert arranged("psmnist", "pixels", digits)[1, place, 0] == digits[1, i, j]
    colour = arranged("scifar", "pixels", images)
    assert colour[1, 32 * i + j].tolist() == images[1, :, i, j].tolist()
    luma = images[1, :, i, j].astype(float) @ (0.299, 0.587, 0.114)
    assert abs(float(grey(images)[1, i, j]) - luma) <= 0.51
    rows = arranged("scifar", "rows", images)
    assert rows[1, i, 3 * j : 3 * j + 3].tolist() == images[1, :, i, j].tolist()


@pytest.mark.parametrize(
    ("task", "parts", "steps"),
    [
        ("smnist", (54_000, 6_000, 10_000), 843),
        ("scifar", (49_500, 500, 10_000), 990),
        ("listops", (96_000, 2_000, 2_000), 3000),
        ("imdb", (22_500, 2_500, 25_000), 703),
        ("scifar_4k", (3_600, 400, 1_000), 72),
    ],
)
def test_sizes_are_published(task, parts, steps):
    sizes = trial(task).sizes
    assert sizes.steps == steps
    assert (steps * sizes.batch_size, sizes.n_val, sizes.n_test) == (sizes.n_train, *parts[1:])
    assert parts[0] - sizes.n_train < sizes.batch_size
    assert trial("imdb", val_fraction=0.0).sizes.steps == 781


def test_epochs_are_whole_batches_in_an_order_of_their_own():
    one = trial("scifar_4k", max_train=130, max_held=40)
    task, hparams = task_of(one), {"split_seed": jnp.int32(42)}
    key = jax.random.key(1)
    epochs = [np.asarray(task.training(key, hparams, jnp.int32(e))["index"]) for e in (0, 0, 1)]
    assert epochs[0].shape == (2, 50)
    np.testing.assert_array_equal(epochs[0], epochs[1])
    assert (epochs[0] != epochs[2]).any()
    held = task.evaluation(key, hparams)
    segments, index = np.asarray(held["segments"]), np.asarray(held["index"])
    val, test = ({*index[segments[i] > 0].tolist()} for i in (0, 1))
    assert (len(val), len(test)) == (40, 40)
    assert min(test) == 4000
    assert not val & {*np.concatenate(epochs).ravel().tolist()}
    other = np.asarray(task.training(key, {"split_seed": jnp.int32(7)}, jnp.int32(0))["index"])
    assert {*other.ravel().tolist()} != {*epochs[0].ravel().tolist()}


# ---- text, copying -------------------------------------------------------------------------------


def test_reviews_are_cut_ended_and_padded():
    tokens = np.arange(3, 13, dtype=np.uint8)
    found = padded(tokens, np.array([0, 3, 10]), 6)
    assert found.tolist() == [[3, 4, 5, 2, 0, 0], [6, 7, 8, 9, 10, 2]]
    one = trial("imdb", seq_len=6, val_fraction=0.0)
    task = make_task(one)
    assert task is not None
    held = task.evaluation(jax.random.key(0), {"split_seed": jnp.int32(0)})
    segments = np.asarray(held["segments"])
    np.testing.assert_array_equal(segments[0], segments[1])  # the test set validates too
    assert segments[0].sum() == 25_000


def test_copy_is_judged_on_its_last_steps(seed):
    one = trial("copy", data_seed=seed, n_train=640)
    assert (one.sizes.seq_len, one.sizes.features, one.sizes.classes) == (48, 8, 14)
    task, data = make_task(one), jax.tree.map(jnp.asarray, make_data(one, {}))
    assert isinstance(task, CopyTask)
    values = {n: jnp.asarray(v) for n, v in lane_values(one).items()}
    schedule = task.training(jax.random.key(seed), values, jnp.int32(0))
    x, y, weight = task.batch(data, jax.tree.map(lambda leaf: leaf[0], schedule), values)
    assert x.shape == (64, 48, 8)
    assert float(weight.sum()) == 64
    np.testing.assert_array_equal(x[:, :20, :7], y)
    assert np.flatnonzero(np.asarray(x[0, :, 7])).tolist() == [27]
    assert float(jnp.abs(x[:, 28:]).max()) == 0
    cheat = jnp.zeros((64, 48, 7, 2)).at[:, 28:].set(jax.nn.one_hot(y, 2)).reshape(64, 48, 14)
    assert float(task.correct(cheat, y).min()) == 1.0
    constant = jnp.zeros((64, 48, 14))
    every = data["y"]
    share = float(task.correct(jnp.zeros((len(every), 48, 14)), every).mean())
    assert share == pytest.approx(0.5, abs=0.01)
    np.testing.assert_allclose(task.losses(constant, y), np.log(2), rtol=1e-6)
    published = task.metrics(constant, y)["published_loss"]
    np.testing.assert_allclose(published, 0.0144406, rtol=1e-5)  # ln 2 / 48
    noise = jax.random.normal(jax.random.key(seed), (64, 48, 14))
    changed = noise.at[:, :28].set(9.0)
    np.testing.assert_array_equal(task.losses(noise, y), task.losses(changed, y))
    with pytest.raises(ConfigError, match="an output at every step"):
        builtin_registry().resolve({"model": "deep_lru", "task": "copy"})
