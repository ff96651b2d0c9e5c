"""Images pixel by pixel, of study `bar2025`: bytes on the device; a batch is moved (crops, flips)
and read (standardised, or as tokens) inside the compiled epoch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from trainables.core.random_keys import named_key
from trainables.declarations import PartError, Sizes, Trial
from trainables.declarations.tasks.pixel_sequences import side_of
from trainables.tasks.arrays import labels
from trainables.tasks.base import Batch, Hparams, Schedule
from trainables.tasks.images import CIFAR_MEAN
from trainables.tasks.long_sequences import SequenceTask
from trainables.tasks.pixels import moved, order_of, shrunk

COLOUR_STD = (0.247, 0.243, 0.261)
GREY_MEAN, GREY_STD = 122.6 / 255, 61.0 / 255


def grey(images: np.ndarray) -> np.ndarray:
    """uint8 luminance (N, H, W) of uint8 (N, 3, H, W), rounded as imaging libraries do: ITU-R
    BT.601 weights in 16 bits."""
    weights = np.array([19595, 38470, 7471], np.uint32)
    found = np.empty((len(images), *images.shape[2:]), np.uint8)
    for at in range(0, len(images), 4096):
        part = np.einsum("nchw,c->nhw", images[at : at + 4096].astype(np.uint32), weights)
        found[at : at + 4096] = (part + 0x8000) >> 16
    return found


def arranged(
    task: str, layout: str, images: np.ndarray, order: str = "raster", side: int | None = None
) -> np.ndarray:
    """uint8 images as sequences (N, T, F) of a task and layout, pixels in an order of
    `pixels.order_of`, averaged to `side`; a pixel's channels are together in both layouts."""
    if task.startswith("scifar"):
        images = grey(images) if "grey" in task else images
    small = shrunk(images, side)
    shown = small[..., None] if small.ndim == 3 else small.transpose(0, 2, 3, 1)
    n, rows, columns, channels = shown.shape
    if layout == "rows":
        return np.ascontiguousarray(shown.reshape(n, rows, columns * channels))
    pixels = np.ascontiguousarray(shown.reshape(n, rows * columns, channels))
    order = "bit_reversed" if task == "psmnist" else order
    return pixels if order == "raster" else pixels[:, order_of(order, rows, columns)]


class ImageTask(SequenceTask):
    """Tasks smnist, psmnist, scifar and their kin.

    Attributes:
      layout, side, augment, standardise, tokens: the task's keys.
      order: of the stored pixels, (side^2,).
      both: whether the transposed sequence is shown beside them.
    """

    def __init__(self, sizes: Sizes, name: str, pool: int, n_train: int, config: Mapping[str, Any]):
        super().__init__(sizes, name, pool, n_train)
        self.side, self.tokens = side_of(name, config), bool(config.get("grey_tokens"))
        self.layout, self.augment = config.get("layout", "pixels"), str(config["augment"])
        self.standardise = str(config["standardise"])
        order = "bit_reversed" if name == "psmnist" else str(config["pixel_order"])
        self.both = order == "both"
        self.order = order_of(order, self.side, self.side)

    @classmethod
    def of(cls, trial: Trial) -> ImageTask:
        base = SequenceTask.of(trial)
        return cls(base.sizes, base.name, base.pool, base.n_train, trial.config)

    @staticmethod
    def data(trial: Trial, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        name, config = trial.task.name, trial.config
        needed = [f"{part}_{what}" for part in ("train", "test") for what in ("images", "labels")]
        missing = [array for array in needed if array not in arrays]
        if missing:
            raise PartError(f"task {name} needs the arrays {', '.join(missing)}")
        how = str(config["layout"]), str(config.get("pixel_order", "raster")), side_of(name, config)
        x = [
            arranged(name, how[0], arrays[f"{part}_images"], *how[1:]) for part in ("train", "test")
        ]
        y = np.concatenate([arrays["train_labels"], arrays["test_labels"]])
        return {"x": np.concatenate(x), "y": labels(trial, "labels", y)}

    def training(self, key: jax.Array, hparams: Hparams, epoch: jax.Array) -> Schedule:
        schedule = super().training(key, hparams, epoch)
        if self.augment != "none":
            keys = jax.random.split(named_key(key, "augment", epoch), self.sizes.steps)
            schedule["augment"] = keys
        return schedule

    def batch(self, data: Any, entry: Schedule, hparams: Hparams) -> Batch:
        at = entry["index"]
        stored = data["x"][at]
        if "augment" in entry:
            pixels = stored.reshape(len(at), self.side**2, -1)
            pixels = moved(entry["augment"], pixels, self.order, self.side, self.augment)
            stored = pixels.reshape(stored.shape)
        return self.read(stored), data["y"][at], entry["weight"]

    def read(self, stored: jax.Array) -> jax.Array:
        """Numbers (B, T, F): of MNIST in [0, 1], of CIFAR-10 standardised, of Pathfinder in [-1,
        1], unless `standardise` says otherwise; or grey levels as tokens (B, T). Of order `both`
        the transposed sequence's numbers come after the raster one's, (B, T, 2 F)."""
        if self.tokens:
            return stored[..., 0].astype(jnp.int32)
        x = self._standardised(stored)
        if not self.both:
            return x
        transposed = order_of("transposed", self.side, self.side)
        return jnp.concatenate([x, x[:, transposed]], -1)

    def _standardised(self, stored: jax.Array) -> jax.Array:
        if self.standardise == "none":
            return stored.astype(jnp.float32)
        x = stored.astype(jnp.float32) / 255
        if self.standardise == "unit":
            return x
        if self.name.startswith("path"):
            return (x - 0.5) / 0.5
        if not self.name.startswith("scifar"):
            return x
        if "grey" in self.name:
            return (x - GREY_MEAN) / GREY_STD
        channels = (*x.shape[:2], x.shape[2] // 3, 3)
        mean, std = jnp.array(CIFAR_MEAN), jnp.array(COLOUR_STD)
        return ((x.reshape(channels) - mean) / std).reshape(x.shape)


class PathTask(ImageTask):
    """Tasks pathfinder and pathx: all images are one set, which `split_seed` divides."""

    @staticmethod
    def data(trial: Trial, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        name, config, sizes = trial.task.name, trial.config, trial.sizes
        if "images" not in arrays:
            raise PartError(f"task {name} needs the arrays images, labels; hand them to Pack")
        images, y = arrays["images"], arrays["labels"]
        wanted = int(config["n_train"] or 0) + sizes.n_val + sizes.n_test
        if len(images) < wanted:
            raise PartError(
                f"task {name} reads {wanted:,} images; there are {len(images):,}: set n_train, "
                "n_val and n_test"
            )
        x = arranged(name, "pixels", images[:wanted], str(config["pixel_order"]))
        return {"x": x, "y": labels(trial, "labels", y[:wanted])}

    def _split(self, hparams: Hparams) -> tuple[jax.Array, jax.Array, jax.Array]:
        order = self._order(hparams, self.pool + self.sizes.n_test)
        return order[: self.n_train], order[self.n_train : self.pool], order[self.pool :]
