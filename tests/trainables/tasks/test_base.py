"""Splits, batches, layouts and normalisation."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.support.user_parts import user_registry
from trainables.core.hparams import lane_values
from trainables.declarations import Sizes, builtin_registry
from trainables.packs.pack import Pack
from trainables.tasks import images
from trainables.tasks.base import (
    ArrayTask,
    GaussianTask,
    Question,
    make_data,
    make_task,
    probe_batch,
)

SIZES = Sizes(3, 2, 4, 21, 6, 5, 8)


def test_splits_are_disjoint_and_every_training_sample_is_seen_once(seed):
    task, key = ArrayTask(SIZES), jax.random.key(seed)
    hparams = {"split_seed": jnp.int32(seed)}
    held = task.evaluation(key, hparams)
    val, test = (np.asarray(held["index"])[np.asarray(s) > 0] for s in held["segments"])
    assert sorted(test) == list(range(27, 32))
    orders = []
    for epoch in range(3):
        found = task.training(key, hparams, jnp.int32(epoch))
        assert found["index"].shape == (3, 8)
        seen = np.asarray(found["index"])[np.asarray(found["weight"]) > 0]
        assert len(seen) == 21
        assert sorted([*seen, *val]) == list(range(27))
        orders.append(tuple(seen))
    assert len(set(orders)) == 3
    probe = np.asarray(task.probe(key, hparams)["index"])
    assert probe.shape == (1, 8)
    assert set(probe[0]) <= set(orders[0])
    other = task.evaluation(key, {"split_seed": jnp.int32(seed + 1)})
    assert not np.array_equal(other["index"], held["index"])


@pytest.mark.parametrize("sizes", [(3, 2, 4, 5, 0, 0, 8), (3, 2, 4, 8, 0, 4, 8)])
def test_small_and_empty_sets(sizes):
    task = ArrayTask(Sizes(*sizes))
    schedule = task.training(jax.random.key(0), {}, jnp.int32(0))
    assert float(schedule["weight"].sum()) == sizes[3]
    held = task.evaluation(jax.random.key(0), {})
    assert held["segments"].sum((1, 2)).tolist() == [sizes[4], sizes[5]]


SMALL_SETS = {
    "arrays": {"task": "blobs", "batch_size": 64},
    "a sequence task": {"task": "sine", "n_sequences": 6, "seq_len": 4, "batch_size": 10},
}


@pytest.mark.parametrize("case", SMALL_SETS)
def test_probes_see_each_sample_of_a_small_set_once(case):
    """Most probes average over their batch whatever its weights, so none may come twice."""
    registry, config = user_registry(), SMALL_SETS[case]
    one = registry.resolve({"model": "torch_rnn", **config})
    task, data = make_task(one), jax.tree.map(jnp.asarray, make_data(one, {}))
    assert task is not None
    values = {name: jnp.asarray(value) for name, value in lane_values(one).items()}
    count = one.sizes.n_train
    assert count < one.sizes.batch_size
    index = np.asarray(task.probe(jax.random.key(0), values)["index"])
    assert index.shape == (1, count)
    assert len(set(index[0].tolist())) == count
    x, y, weight = probe_batch(task, values, data)
    labels = y.batch["y"] if isinstance(y, Question) else y
    assert (len(x), len(labels), weight.tolist()) == (count, count, [1] * count)


def test_noise_is_fresh_and_scaled():
    task = ArrayTask(Sizes(10, 10, 4, 64, 0, 0, 32))
    data = {"x": jnp.ones((64, 10, 10)), "y": jnp.zeros(64, jnp.int32)}
    found = []
    for noise in (0.0, 0.5):
        hparams = {"noise_std": jnp.float32(noise)}
        schedule = task.training(jax.random.key(1), hparams, jnp.int32(0))
        entries = [jax.tree.map(lambda leaf, i=i: leaf[i], schedule) for i in range(2)]
        found.append([task.batch(data, entry, hparams)[0] for entry in entries])
    assert np.array_equal(found[0][0], np.ones((32, 10, 10)))
    assert float(found[1][0].std()) == pytest.approx(0.5, rel=0.05)
    assert not np.array_equal(found[1][0], found[1][1])


def test_gaussian_batches():
    task, key = GaussianTask(Sizes(50, 2, 5, 128, 64, 64, 64)), jax.random.key(0)

    def first(epoch: int) -> tuple[jax.Array, jax.Array]:
        schedule = task.training(key, {}, jnp.int32(epoch))
        assert schedule["weight"].shape == (2, 64)
        return task.batch({}, jax.tree.map(lambda leaf: leaf[0], schedule), {})[:2]

    x, y = first(0)
    assert x.shape == (64, 50, 2)
    assert abs(float(x.mean())) < 0.05
    assert float(x.std()) == pytest.approx(1, rel=0.05)
    assert set(np.asarray(y).tolist()) == set(range(5))
    assert not np.array_equal(x, first(1)[0])
    probe = jax.tree.map(lambda leaf: leaf[0], task.probe(key, {}))
    assert np.array_equal(task.batch({}, probe, {})[0], x)


def test_layouts_of_images(seed):
    rng = np.random.default_rng(seed)
    eight = rng.integers(0, 17, (4, 8, 8)).astype(np.float32)
    scaled = (eight / 16 - images.DIGITS_MEAN) / images.DIGITS_STD
    np.testing.assert_allclose(images.digits(eight, "rows"), scaled, rtol=1e-5)
    np.testing.assert_allclose(images.digits(eight, "pixels")[:, 9, 0], scaled[:, 1, 1], rtol=1e-5)
    hand = rng.integers(0, 256, (4, 28, 28)).astype(np.uint8)
    want = (hand / 255 - 0.1307) / 0.3081
    np.testing.assert_allclose(images.mnist(hand, "rows"), want, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(
        images.mnist(hand, "pixels")[:, 29, 0], want[:, 1, 1], rtol=1e-4, atol=1e-6
    )
    colour = rng.integers(0, 256, (4, 3, 32, 32)).astype(np.uint8)
    mean, std = (np.reshape(v, (3, 1, 1)) for v in (images.CIFAR_MEAN, images.CIFAR_STD))
    want = (colour / 255 - mean) / std
    pixels, rows = images.cifar(colour, "pixels"), images.cifar(colour, "rows")
    np.testing.assert_allclose(pixels[..., 0], want.reshape(4, -1), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(rows[:, 5, 32:64], want[:, 1, 5], rtol=1e-4, atol=1e-6)
    grey = images.cifar(colour, "grey")
    light = 0.299 * colour[:, 0] + 0.587 * colour[:, 1] + 0.114 * colour[:, 2]
    want = (light / 255 - images.GREY_MEAN) / images.GREY_STD
    np.testing.assert_allclose(grey[..., 0], want.reshape(4, -1), rtol=1e-4, atol=1e-5)


def test_flat_layouts_are_the_pixels_in_one_step(seed):
    rng = np.random.default_rng(seed)
    eight = rng.integers(0, 17, (3, 8, 8)).astype(np.float32)
    hand = rng.integers(0, 256, (3, 28, 28), np.uint8)
    colour = rng.integers(0, 256, (3, 3, 32, 32), np.uint8)
    for convert, drawn in (
        *((images.digits, eight), (images.mnist, hand)),
        *((images.cifar, colour), (images.cifar100, colour)),
    ):
        flat = convert(drawn, "flat")
        assert flat.shape == (3, 1, drawn[0].size)
        np.testing.assert_array_equal(flat[:, 0], convert(drawn, "pixels")[..., 0])
    mean, std = (np.reshape(v, (3, 1, 1)) for v in (images.CIFAR100_MEAN, images.CIFAR100_STD))
    want = ((colour / 255 - mean) / std).reshape(3, 1, -1)
    np.testing.assert_allclose(images.cifar100(colour, "flat"), want, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("layout", ["pixels", "rows", "grey", "flat"])
def test_scalar_standardisation_is_of_the_training_pool(seed, layout):
    rng = np.random.default_rng(seed)
    arrays = {
        "train_images": rng.integers(0, 200, (2100, 3, 32, 32), np.uint8),
        "train_labels": rng.integers(0, 10, 2100),
        "test_images": rng.integers(100, 256, (30, 3, 32, 32), np.uint8),
        "test_labels": rng.integers(0, 10, 30),
    }
    found = images.sequences("cifar10", layout, arrays, "scalar")
    light = np.asarray([0.299, 0.587, 0.114])[:, None, None]

    def pixels(part: str) -> np.ndarray:
        whole = arrays[part].astype(np.float64)
        return (whole * light).sum(1) if layout == "grey" else whole

    mean, std = pixels("train_images").mean(), pixels("train_images").std()
    for name, part in (("x", "train_images"), ("x_test", "test_images")):
        want = (pixels(part)[7] - mean) / std
        want = want.transpose(1, 0, 2) if layout == "rows" else want
        np.testing.assert_allclose(found[name][7].ravel(), want.ravel(), rtol=1e-3, atol=1e-5)
    assert abs(found["x"].mean(dtype=np.float64)) < 1e-5
    assert found["x"].std(dtype=np.float64) == pytest.approx(1, abs=1e-5)
    assert found["x"].dtype == np.float32


@pytest.mark.parametrize("standardise", ["pca", "zca"])
def test_whitened_pixels_are_uncorrelated_over_the_training_pool(digits, standardise):
    """Against the singular values of the centred pool: component i keeps the share
    s^2 / (s^2 + e) of variance 1, and the test set is turned by the pool's own matrix."""
    found = images.sequences("digits", "pixels", digits, standardise, 1617)["x"]
    flat = digits["train_images"].reshape(1797, 64).astype(float)
    centred = flat - flat[:1617].mean(0)
    _, s, vt = np.linalg.svd(centred[:1617], full_matrices=False)
    variance = s**2 / 1617
    scaled = centred @ vt.T / np.sqrt(variance + 1e-5 * variance[0])
    got = found.reshape(1797, 64)
    if standardise == "zca":
        np.testing.assert_allclose(got, scaled @ vt, atol=2e-3)
        return
    np.testing.assert_allclose(np.abs(got[:, :60]), np.abs(scaled[:, :60]), atol=2e-3)
    kept = variance / (variance + 1e-5 * variance[0])
    np.testing.assert_allclose(np.cov(got[:1617].T, bias=True), np.diag(kept), atol=1e-3)


def test_raw_pixels_are_the_levels_of_the_file(digits):
    raw, unit = (images.sequences("digits", "rows", digits, name)["x"] for name in ("none", "unit"))
    assert np.array_equal(raw, digits["train_images"])
    assert raw.max() == 16
    assert np.array_equal(unit, raw / 16)
    colours = np.arange(2 * 3072, dtype=np.uint8).reshape(2, 3, 32, 32)
    arrays = {"train_images": colours, "train_labels": np.zeros(2, int)}
    found = images.sequences("cifar10", "pixels", arrays, "none")["x"]
    assert np.array_equal(found[..., 0], colours.reshape(2, 3072))


def test_scalar_standardisation_of_digits_leaves_the_test_set_out(digits):
    config = {"model": "vanilla_rnn", "task": "digits", "layout": "flat", "standardise": "scalar"}
    one = builtin_registry().resolve(config)
    data = make_data(one, digits)
    assert data["x"].shape == (1797, 1, 64)
    pool = digits["train_images"][:1617].astype(np.float64)
    want = (digits["train_images"].reshape(-1, 1, 64) - pool.mean()) / pool.std()
    np.testing.assert_allclose(data["x"], want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("task", "classes", "train"), [("cifar100", 100, 45_000), ("cifar100_2k", 100, 1_800)]
)
def test_sizes_of_cifar100(task, classes, train):
    one = builtin_registry().resolve({"model": "vanilla_rnn", "task": task, "val_fraction": 0.1})
    assert (one.sizes.seq_len, one.sizes.features) == (1, 3072)
    assert (one.sizes.classes, one.sizes.n_train) == (classes, train)
    assert one.task.chance_loss(one.config) == pytest.approx(np.log(classes))


def test_real_cifar100_2k_is_standardised(real_data):
    from orchestrator.datasets import loader

    if not loader.available("cifar100_2k", real_data):
        pytest.skip(loader.missing_message("cifar100_2k", real_data))
    one = builtin_registry().resolve({"model": "vanilla_rnn", "task": "cifar100_2k"})
    x = make_data(one, loader.load("cifar100_2k", real_data).arrays)["x"]
    assert x.shape == (3000, 1, 3072)
    channels = x.reshape(3000, 3, 1024)
    np.testing.assert_allclose(channels.mean((0, 2)), 0, atol=0.05)
    np.testing.assert_allclose(channels.std((0, 2)), 1, atol=0.03)


def test_accuracies_of_outputs_over_time(seed):
    """Mode accuracy is of the mean logits over time, not the mode of the answers."""
    task = ArrayTask(SIZES)
    outputs = jnp.asarray([[[3.0, 0], [0, 1], [0, 1]], [[0, 1], [0, 1], [1, 0]]])
    y = jnp.asarray([0, 1])
    found = task.metrics(outputs, y)
    assert found["mode_accuracy"].tolist() == [1, 1]
    assert found["last_accuracy"].tolist() == [0, 0]
    np.testing.assert_allclose(task.correct(outputs, y), [1 / 3, 2 / 3], rtol=1e-6)
    assert task.metrics(outputs[:, 0], y) == {}
    rng = np.random.default_rng(seed)
    outputs, y = rng.normal(size=(50, 6, 4)), rng.integers(0, 4, 50)
    found = task.metrics(jnp.asarray(outputs, jnp.float32), jnp.asarray(y))
    np.testing.assert_array_equal(found["mode_accuracy"], outputs.mean(1).argmax(-1) == y)
    np.testing.assert_array_equal(found["last_accuracy"], outputs[:, -1].argmax(-1) == y)


def test_digits_split_as_declared(digits):
    one = builtin_registry().resolve({"model": "vanilla_rnn", "task": "digits"})
    data = make_data(one, digits)
    assert data["x"].shape == (1797, 64, 1)
    assert abs(data["x"].mean()) < 1e-3
    assert data["x"].std() == pytest.approx(1, abs=1e-3)
    assert np.array_equal(data["y"], digits["train_labels"])


def test_a_drawn_test_set_of_digits_is_of_the_whole_file(digits):
    """By default the last 180 images test, as a trial's id always meant."""
    config = {"model": "vanilla_rnn", "task": "digits"}
    registry = builtin_registry()
    usual, one, two = (registry.resolve({**config, "test_seed": seed}) for seed in (None, 0, 1))
    assert usual.id == registry.resolve(config).id
    assert len({usual.id, one.id, two.id}) == 3
    sets = []
    for drawn in (one, two):
        data = make_data(drawn, digits)
        want = images.digits(digits["train_images"], "pixels")
        shown = np.concatenate([data["x"][..., 0], data["y"][:, None]], 1)
        known = np.concatenate([want[..., 0], digits["train_labels"][:, None]], 1)
        order = np.lexsort(shown.T), np.lexsort(known.T)
        np.testing.assert_array_equal(shown[order[0]], known[order[1]])  # each image with its label
        places = {row.tobytes(): place for place, row in enumerate(known)}
        tested = np.array([places[row.tobytes()] for row in shown[-180:]])
        sets.append({*tested.tolist()})
        assert tested.mean() == pytest.approx(898, abs=120)  # 180 draws: a deviation of 39
    assert sets[0] != sets[1]


def test_arrays_that_do_not_fit_are_refused(digits):
    one = builtin_registry().resolve({"model": "vanilla_rnn", "task": "digits"})
    with pytest.raises(ValueError, match="train_images"):
        Pack([one], {})
    short = {name: array[:100] for name, array in digits.items()}
    with pytest.raises(ValueError, match=r"declares x of shape \(1797, 64, 1\)"):
        Pack([one], short)
    wrong = {**digits, "train_labels": digits["train_labels"] + 5}
    with pytest.raises(ValueError, match=r"0\.\.9"):
        Pack([one], wrong)
