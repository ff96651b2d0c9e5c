"""Orders of pixels, smaller images, crops and flips, against NumPy; grey levels as tokens."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trainables.core.hparams import lane_values
from trainables.declarations import ConfigError, builtin_registry
from trainables.tasks.base import make_data, make_task
from trainables.tasks.pixels import hilbert, moved, order_of, shrunk


@pytest.mark.parametrize("side", [7, 28, 32])
def test_orders_are_what_their_names_say(side: int) -> None:
    for name in ("raster", "snake", "transposed", "hilbert", "bit_reversed"):
        assert sorted(order_of(name, side, side).tolist()) == list(range(side**2)), name
    steps = np.arange(side**2)
    row, place = np.divmod(steps, side)
    assert order_of("raster", side, side).tolist() == steps.tolist()
    column = np.where(row % 2, side - 1 - place, place)
    assert order_of("snake", side, side).tolist() == (row * side + column).tolist()
    assert order_of("transposed", side, side).tolist() == (place * side + row).tolist()


def curve(level: int) -> list[tuple[int, int]]:
    """Hilbert's curve as (x, y) by its own recursion: four smaller ones, the outer two turned."""
    if level == 0:
        return [(0, 0)]
    half, small = 2 ** (level - 1), curve(level - 1)
    return [
        *((y, x) for x, y in small),
        *((x, y + half) for x, y in small),
        *((x + half, y + half) for x, y in small),
        *((2 * half - 1 - y, half - 1 - x) for x, y in small),
    ]


@pytest.mark.parametrize("level", [1, 2, 3, 5])
def test_a_hilbert_curve_is_the_recursive_one(level: int) -> None:
    side = 2**level
    found = hilbert(side, side)
    assert found.tolist() == [y * side + x for x, y in curve(level)]
    assert (found[0], found[-1]) == (0, side - 1)
    part = hilbert(side - 1, side - 1)
    inside = [p for p in found if p // side < side - 1 and p % side < side - 1]
    assert part.tolist() == [p // side * (side - 1) + p % side for p in inside]


def test_smaller_images_are_means_of_squares(seed: int) -> None:
    images = np.random.default_rng(seed).integers(0, 256, (3, 2, 28, 28), np.uint8)
    for side in (14, 7, 4, 1):
        k = 28 // side
        squares = [
            [images[..., r : r + k, c : c + k].mean((-1, -2)) for c in range(0, 28, k)]
            for r in range(0, 28, k)
        ]
        mean = np.moveaxis(np.array(squares), (0, 1), (-2, -1))
        np.testing.assert_array_equal(shrunk(images, side), np.floor(mean + 0.5))
    assert shrunk(images, None) is images


@pytest.mark.parametrize("order", ["raster", "hilbert"])
def test_crops_and_flips_are_those_of_padded_images(order: str, seed: int) -> None:
    """Every result is a window of the image mirrored at its edges, or that window flipped."""
    images = np.random.default_rng(seed).integers(0, 256, (24, 12, 12, 3), np.uint8)
    at = order_of(order, 12, 12)
    pixels = images.reshape(24, 144, 3)[:, at]
    found: Any = moved(jax.random.key(seed), jnp.asarray(pixels), at, 12, "crop_flip")
    shown = np.empty((24, 144, 3), np.uint8)
    shown[:, at] = found
    wide = np.pad(images, ((0, 0), (4, 4), (4, 4), (0, 0)), mode="symmetric")
    found_moves = []
    for i, image in enumerate(shown.reshape(24, 12, 12, 3)):
        fits = [
            (dy, dx, flip)
            for dy in range(9)
            for dx in range(9)
            for flip in (1, -1)
            if (wide[i, dy : dy + 12, dx : dx + 12][:, ::flip] == image).all()
        ]
        assert len(fits) == 1
        found_moves.append(fits[0])
    assert {flip for *_, flip in found_moves} == {1, -1}
    assert len({(dy, dx) for dy, dx, _ in found_moves}) > 12
    flipped = np.asarray(moved(jax.random.key(seed), jnp.asarray(pixels), at, 12, "flip"))
    moves = [(flipped[i] == pixels[i]).all() for i in range(24)]
    assert 0 < sum(moves) < 24


def _task(**config: Any) -> tuple[Any, Any, Any]:
    base = {"model": "deep_lru", "max_train": 64, "max_held": 8, "batch_size": 32}
    one = builtin_registry().resolve(base | config)
    values = {n: jnp.asarray(v) for n, v in lane_values(one).items()}
    return one, make_task(one), values


def test_a_task_shows_grey_tokens_and_moves_training_images_alone(seed: int) -> None:
    rng = np.random.default_rng(seed)
    arrays = {
        "train_images": rng.integers(0, 256, (4000, 3, 32, 32), np.uint8),
        "train_labels": rng.integers(0, 10, 4000),
        "test_images": rng.integers(0, 256, (1000, 3, 32, 32), np.uint8),
        "test_labels": rng.integers(0, 10, 1000),
    }
    one, task, values = _task(
        task="scifar_grey_4k", grey_tokens=True, resolution=8, pixel_order="snake", augment="crop"
    )
    assert (one.sizes.tokens, one.sizes.features, one.sizes.seq_len) == (True, 256, 64)
    data = jax.tree.map(jnp.asarray, make_data(one, arrays))
    schedule = task.training(jax.random.key(0), values, jnp.int32(0))
    first = jax.tree.map(lambda leaf: leaf[0], schedule)
    x, _, _ = task.batch(data, first, values)
    still = {name: leaf for name, leaf in first.items() if name != "augment"}
    stored, _, _ = task.batch(data, still, values)
    assert x.dtype == jnp.int32
    np.testing.assert_array_equal(stored, data["x"][first["index"]][..., 0])
    levels = data["x"][first["index"]]
    for how, want in (("none", levels), ("unit", levels / np.float32(255))):
        _, raw, _ = _task(task="scifar_grey_4k", resolution=8, standardise=how)
        np.testing.assert_allclose(raw.read(levels), want, rtol=1e-6)
    assert 0 < float((x != stored).mean()) < 1
    assert "augment" not in task.evaluation(jax.random.key(0), values)


def test_both_orders_are_shown_side_by_side(seed: int) -> None:
    rng = np.random.default_rng(seed)
    arrays = {f"{part}_images": rng.integers(0, 256, (n, 3, 32, 32), np.uint8)
              for part, n in (("train", 4000), ("test", 1000))}  # fmt: skip
    arrays |= {f"{part}_labels": np.zeros(n, int) for part, n in (("train", 4000), ("test", 1000))}
    one, task, values = _task(task="scifar_4k", pixel_order="both")
    assert (one.sizes.seq_len, one.sizes.features) == (1024, 6)
    data = make_data(one, arrays)
    held = jax.tree.map(lambda leaf: leaf[0], task.evaluation(jax.random.key(0), values))
    x = np.asarray(task.batch(jax.tree.map(jnp.asarray, data), held, values)[0])
    images = np.concatenate([arrays["train_images"], arrays["test_images"]])[held["index"]] / 255
    mean, std = np.array([0.4914, 0.4822, 0.4465]), np.array([0.247, 0.243, 0.261])
    shown = (images - mean[:, None, None]) / std[:, None, None]
    np.testing.assert_allclose(
        x[:, 5 * 32 + 2], np.concatenate([shown[:, :, 5, 2], shown[:, :, 2, 5]], 1), atol=1e-5
    )


def test_keys_that_do_not_go_together_are_refused() -> None:
    for config, said in (
        ({"task": "smnist", "pixel_order": "both", "grey_tokens": True}, "grey_tokens must be"),
        ({"task": "smnist", "resolution": 13}, "resolution=13 does not divide 28"),
        ({"task": "smnist", "layout": "rows", "pixel_order": "snake"}, "layout=rows shows rows"),
        ({"task": "pathfinder", "resolution": 48}, "resolution=48 is not published"),
        ({"task": "smnist", "augment": "flip"}, "augment must be one of none, crop"),
        ({"task": "smnist", "grey_tokens": True, "standardise": "none"}, "must be published"),
    ):
        with pytest.raises(ConfigError, match=said):
            builtin_registry().resolve({"model": "deep_lru", **config})


def test_pathfinder_is_divided_by_its_seed(seed: int) -> None:
    rng = np.random.default_rng(seed)
    arrays = {"images": rng.integers(0, 256, (50, 32, 32), np.uint8),
              "labels": rng.integers(0, 2, 50)}  # fmt: skip
    own = {"model": "deep_lru", "task": "pathfinder", "n_val": 10, "n_test": 8, "batch_size": 8}
    one = builtin_registry().resolve({**own, "n_train": 30})
    task: Any = make_task(one)
    values = {n: jnp.asarray(v) for n, v in lane_values(one).items()}
    data = jax.tree.map(jnp.asarray, make_data(one, arrays))
    key = jax.random.key(0)
    epochs = [np.asarray(task.training(key, values, jnp.int32(e))["index"]) for e in range(8)]
    trained = {*np.concatenate(epochs).ravel().tolist()}
    held = task.evaluation(key, values)
    segments, index = np.asarray(held["segments"]), np.asarray(held["index"])
    val, test = ({*index[segments[i] > 0].tolist()} for i in (0, 1))
    assert (len(val), len(test)) == (10, 8)
    assert not (val | test) & trained
    assert len(trained | val | test) == 48
    x, y, _ = task.batch(data, jax.tree.map(lambda leaf: leaf[0], held), values)
    chosen = index[0]
    np.testing.assert_allclose(
        x[..., 0], arrays["images"][chosen].reshape(-1, 1024) / 127.5 - 1, atol=1e-6
    )
    np.testing.assert_array_equal(y, arrays["labels"][chosen])
    assert one.chance_loss == pytest.approx(math.log(2))
    with pytest.raises(ValueError, match=r"reads 58 images; there are 50"):
        make_data(builtin_registry().resolve({**own, "n_train": 40}), arrays)
