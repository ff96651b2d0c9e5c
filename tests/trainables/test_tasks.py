"""Splits, batches, layouts and normalisation."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trainables import images
from trainables.packs import Pack
from trainables.spec import Sizes, builtin_registry
from trainables.tasks import ArrayTask, GaussianTask, make_data

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


def test_digits_split_as_declared(digits):
    one = builtin_registry().resolve({"model": "vanilla_rnn", "task": "digits"})
    data = make_data(one, digits)
    assert data["x"].shape == (1797, 64, 1)
    assert abs(data["x"].mean()) < 1e-3
    assert data["x"].std() == pytest.approx(1, abs=1e-3)
    assert np.array_equal(data["y"], digits["train_labels"])


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
