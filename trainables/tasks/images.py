"""Images into sequences (N, T, F), normalised as in docs/specs/vanishing.md, 2, or as they are."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from trainables.declarations import PartError, Trial
from trainables.tasks.arrays import joined
from trainables.tasks.base import ArrayTask

CIFAR_MEAN = (0.4914, 0.4822, 0.4465)
CIFAR_STD = (0.2470, 0.2435, 0.2616)
CIFAR100_MEAN = (0.5071, 0.4867, 0.4408)
CIFAR100_STD = (0.2675, 0.2565, 0.2761)
LUMINANCE = (0.299, 0.587, 0.114)
"""Weights of red, green, blue (ITU-R BT.601)."""
GREY_MEAN, GREY_STD = 0.4809, 0.2392
"""Mean and standard deviation of CIFAR-10's training luminance (x / 255)."""
MNIST_MEAN, MNIST_STD = 0.1307, 0.3081
DIGITS_MEAN, DIGITS_STD = 0.3053, 0.3760
"""Of all 1,797 images' pixels / 16. Unstandardised, the study's Glorot run learns far slower than
it reports (loss 1.2 to 2.0 after three epochs instead of 0.8)."""


Arrange = Callable[[np.ndarray, str], np.ndarray]


def _grid(values: np.ndarray, layout: str) -> np.ndarray:
    """(N, H, W) -> pixels (N, H W, 1), rows (N, H, W) or flat (N, 1, H W)."""
    if layout == "rows":
        return values
    count = math.prod(values.shape[1:])
    return values.reshape(len(values), *((count, 1) if layout == "pixels" else (1, count)))


def _colour(values: np.ndarray, layout: str) -> np.ndarray:
    """(N, 3, 32, 32), channel first.

    Returns:
      pixels: (N, 3072, 1), all red, then green, then blue; flat: (N, 1, 3072), the same. rows:
      (N, 32, 96), image row t with its red, green and blue pixels. grey: (N, 1024, 1) luminance.
    """
    if layout == "grey":
        grey = np.einsum("nchw,c->nhw", values, np.asarray(LUMINANCE, np.float32))
        return _grid(grey, "pixels")
    if layout == "rows":
        return np.ascontiguousarray(values.transpose(0, 2, 1, 3)).reshape(len(values), 32, 96)
    return _grid(values, layout)


def digits(images: np.ndarray, layout: str) -> np.ndarray:
    """(N, 8, 8) grey levels 0..16 in a layout of `_grid`, standardised."""
    scaled = images.astype(np.float32)
    scaled /= np.float32(16)
    scaled -= np.float32(DIGITS_MEAN)
    scaled /= np.float32(DIGITS_STD)
    return _grid(scaled, layout)


def mnist(images: np.ndarray, layout: str) -> np.ndarray:
    """(N, 28, 28) bytes in a layout of `_grid`, standardised."""
    scaled = images.astype(np.float32)
    scaled /= np.float32(255)
    scaled -= np.float32(MNIST_MEAN)
    scaled /= np.float32(MNIST_STD)
    return _grid(scaled, layout)


def _cifar(
    images: np.ndarray, layout: str, mean: tuple[float, ...], std: tuple[float, ...]
) -> np.ndarray:
    """(N, 3, 32, 32) bytes in a layout of `_colour`, standardised by channel (or as luminance)."""
    scaled = images.astype(np.float32)
    scaled /= np.float32(255)
    if layout == "grey":
        return (_colour(scaled, layout) - np.float32(GREY_MEAN)) / np.float32(GREY_STD)
    scaled -= np.asarray(mean, np.float32)[:, None, None]
    scaled /= np.asarray(std, np.float32)[:, None, None]
    return _colour(scaled, layout)


cifar = partial(_cifar, mean=CIFAR_MEAN, std=CIFAR_STD)
cifar100 = partial(_cifar, mean=CIFAR100_MEAN, std=CIFAR100_STD)


def scalar(arrange: Arrange, images: np.ndarray, layout: str, pool: int) -> np.ndarray:
    """Any images in a layout, standardised by one mean and standard deviation.

    Args:
      pool: number of images, from the first, whose mean and deviation over all numbers are taken.
    """
    arranged = arrange(images.astype(np.float32), layout)
    total = squares = 0.0
    for part in np.array_split(arranged[:pool], -(-pool // 1024)):
        values = part.astype(np.float64)
        total += values.sum()
        squares += np.square(values).sum()
    count = arranged[:pool].size
    mean = total / count
    arranged -= np.float32(mean)
    arranged /= np.float32(np.sqrt(squares / count - mean**2))
    return arranged


_LEAST_VARIANCE = 1e-5
"""Added to the variances of principal components before they are divided by, as a share of the
greatest: pixels that never change have none."""


def whitened(arranged: np.ndarray, pool: int, turned_back: bool) -> np.ndarray:
    """Sequences whose numbers over all time steps and features are uncorrelated over samples.

    x -> (x - mean) V / sqrt(lambda + e), where V and lambda are the eigenvectors and eigenvalues of
    the covariance over the pool, the greatest first, and e is 1e-5 of the greatest. So component i
    has the variance lambda_i / (lambda_i + e).

    Args:
      arranged: (N, T, F).
      pool: number of samples, from the first, whose mean and covariance are taken.
      turned_back: times V' (ZCA), so that each number stays at its pixel.
    """
    flat = arranged.reshape(len(arranged), -1).astype(np.float32)
    mean = np.mean(flat[:pool], 0, np.float64)
    covariance = np.zeros((flat.shape[1],) * 2)
    for part in np.array_split(flat[:pool], -(-pool // 4096)):
        centred = part - mean
        covariance += centred.T @ centred
    values, vectors = np.linalg.eigh(covariance / pool)
    values, vectors = np.maximum(values[::-1], 0), vectors[:, ::-1]
    matrix = vectors / np.sqrt(values + _LEAST_VARIANCE * values[0])
    matrix = (matrix @ vectors.T if turned_back else matrix).astype(np.float32)
    flat -= mean.astype(np.float32)
    return (flat @ matrix).reshape(arranged.shape)


def _greatest(task: str) -> int:
    """The highest level of a pixel."""
    return 16 if task == "digits" else 255


_CONVERT: dict[str, tuple[Arrange, Arrange]] = {  # standardised by channel; only arranged
    "digits": (digits, _grid),
    "mnist": (mnist, _grid),
    "cifar10": (cifar, _colour),
    "cifar10_4k": (cifar, _colour),
    "cifar100": (cifar100, _colour),
    "cifar100_2k": (cifar100, _colour),
}


def sequences(
    task: str,
    layout: str,
    arrays: Mapping[str, np.ndarray],
    standardise: str = "channel",
    pool: int = 0,
) -> dict[str, Any]:
    """x, y and, where there is a test set of its own, x_test and y_test of an image task.

    Args:
      task: name of an image task.
      arrays: train_images, train_labels, test_images, test_labels.
      standardise: as the key of that name says.
      pool: how many of train_images are no test images, for `scalar`, `pca`, `zca`; 0: all.

    Raises:
      PartError: an array is missing.
    """
    missing = [n for n in ("train_images", "train_labels") if n not in arrays]
    if missing:
        raise PartError(f"task {task} needs the arrays {', '.join(missing)}; hand them to Pack")
    convert, arrange = _CONVERT[task]
    train, test = arrays["train_images"], arrays.get("test_images")
    if test is None or not len(test):
        test = train[:0]
    if standardise == "channel":
        x, x_test = convert(train, layout), convert(test, layout)
    else:
        images, pool = np.concatenate([train, test]), pool or len(train)
        if standardise == "scalar":
            both = scalar(arrange, images, layout, pool)
        else:
            both = arrange(images.astype(np.float32), layout)
            if standardise == "unit":
                both = both / np.float32(_greatest(task))
            elif standardise in ("pca", "zca"):
                both = whitened(both, pool, standardise == "zca")
        x, x_test = both[: len(train)], both[len(train) :]
    found = {"x": x, "y": arrays["train_labels"]}
    if len(test):
        found |= {"x_test": x_test, "y_test": arrays["test_labels"]}
    return found


def drawn_last(arrays: Mapping[str, np.ndarray], seed: int) -> dict[str, np.ndarray]:
    """Training images and labels in an order that `seed` draws, so that the last of them, which a
    set without test images tests on, are a random part."""
    if "train_labels" not in arrays:
        return dict(arrays)
    order = np.random.default_rng([seed, 1]).permutation(len(arrays["train_labels"]))
    own = ("train_images", "train_labels")
    return {**arrays, **{name: arrays[name][order] for name in own if name in arrays}}


class ImageSet(ArrayTask):
    """A data set of images as sequences."""

    @staticmethod
    def data(trial: Trial, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The images of a trial's task in its layout; see `make_data`."""
        config: Any = trial.config
        pool = trial.sizes.n_train + trial.sizes.n_val
        layout, standardise = str(config["layout"]), str(config["standardise"])
        if config.get("test_seed") is not None:
            arrays = drawn_last(arrays, int(config["test_seed"]))
        return joined(trial, sequences(trial.task.name, layout, arrays, standardise, pool))
