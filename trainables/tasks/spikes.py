"""Tasks whose inputs are binary spikes, kept small and unfolded on the device batch by batch.

Sets are split in order: the first n_train samples of the pool train, the rest validates. Training
is shuffled each epoch; validation and test are read whole. (The published sl_mnist evaluation draws
samples with replacement; ours reads every sample once.)
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from trainables.core.random_keys import named_key
from trainables.declarations import PartError, Sizes, Trial
from trainables.declarations.tasks.spikes import LATENCIES, PIXELS, SHD_BINS, SHD_CHANNELS
from trainables.tasks.arrays import labels, require_shapes
from trainables.tasks.base import ArrayTask, Batch, Hparams, Schedule, TaskRuntime

NO_SPIKE = 255
"""The stored latency of a pixel too dark to spike."""
SHD_BIN_SECONDS = 0.004


class SpikeTask(ArrayTask, ABC):
    """Stored samples unfolded by `spikes`; every input step comes `repeat` times."""

    def __init__(self, sizes: Sizes, repeat: int):
        super().__init__(sizes)
        self.repeat = repeat

    @classmethod
    def of(cls, trial: Trial) -> TaskRuntime:
        return cls(trial.sizes, int(trial.config["time_repeat"] or 1))

    def _split(self, hparams: Hparams) -> tuple[jax.Array, jax.Array]:
        pool = self.sizes.n_train + self.sizes.n_val
        return jnp.arange(self.sizes.n_train), jnp.arange(self.sizes.n_train, pool)

    @abstractmethod
    def spikes(self, data: Any, index: jax.Array) -> jax.Array:
        """Spikes (B, T, F), boolean, of samples (B,), before time is repeated."""

    def batch(self, data: Any, entry: Schedule, hparams: Hparams) -> Batch:
        x = self.spikes(data, entry["index"]).astype(jnp.float32)
        return jnp.repeat(x, self.repeat, axis=1), data["y"][entry["index"]], entry["weight"]


def latencies() -> np.ndarray:
    """Time step of the spike of each grey level 0..255, uint8; `NO_SPIKE` where there is none.

    A pixel p drives a current x = 50 p / 255 into a leaky neuron of threshold 0.2, which fires
    after 500 ln(x / (x - 0.2)) steps, rounded; later than step 100 counts as never
    (docs/specs/herranz2023.md, 3).
    """
    table = np.full(256, NO_SPIKE, np.uint8)
    for level in range(256):
        current = 50 * level / 255
        if current > 0.2:
            step = round(500 * math.log(current / (current - 0.2)))
            if step < LATENCIES:  # 100 itself never occurs: 93 is followed by 114
                table[level] = step
    return table


class LatencyTask(SpikeTask):
    """MNIST as spike latencies (task `sl_mnist`); stored as uint8 latencies (N, 784)."""

    def __init__(self, sizes: Sizes, repeat: int, reshape: bool):
        super().__init__(sizes, repeat)
        self.reshape = reshape

    @classmethod
    def of(cls, trial: Trial) -> TaskRuntime:
        config = trial.config
        return cls(trial.sizes, int(config["time_repeat"] or 1), bool(config["reshape"]))

    @staticmethod
    def data(trial: Trial, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        _need(trial, arrays, "images", "labels")
        table = latencies()
        rows = _rows(trial, len(arrays["train_labels"]), len(arrays["test_labels"]))
        parts = list(zip(("train", "test"), rows, strict=True))
        x = np.concatenate([table[arrays[f"{part}_images"][take]] for part, take in parts])
        y = np.concatenate([arrays[f"{part}_labels"][take] for part, take in parts])
        x = x.reshape(len(x), -1)
        require_shapes(trial, x, y, (PIXELS,))
        return {"x": x, "y": labels(trial, "labels", y)}

    def spikes(self, data: Any, index: jax.Array) -> jax.Array:
        hot = data["x"][index][..., None] == jnp.arange(LATENCIES, dtype=jnp.uint8)
        if self.reshape:
            return hot.reshape(len(index), LATENCIES, PIXELS)
        return hot.swapaxes(1, 2)


def packed(
    times: np.ndarray,
    units: np.ndarray,
    offsets: np.ndarray,
    bins: int = SHD_BINS,
    width: float = SHD_BIN_SECONDS,
    channels: int = SHD_CHANNELS,
) -> np.ndarray:
    """Events as binary spikes, eight channels a byte: uint8 (n, bins, ceil(channels / 8)).

    Bin k holds the events of ((k - 1) width, k width]; later ones are dropped. Unit u is channel
    `channels` - u; unit 0 is dropped, so that channel 0 is silent.

    Args:
      times, units: of all events, seconds and 0..channels - 1.
      offsets: (n + 1,): sample i has the events offsets[i] to offsets[i + 1].
    """
    wide = 8 * -(-channels // 8)
    found = np.zeros((len(offsets) - 1, bins, wide // 8), np.uint8)
    for start in range(0, len(found), 256):  # a full set of booleans would be gigabytes
        stop = min(start + 256, len(found))
        events = slice(offsets[start], offsets[stop])
        sample = np.repeat(np.arange(stop - start), np.diff(offsets[start : stop + 1]))
        seconds, unit = times[events].astype(np.float64), units[events].astype(np.int64)
        step = np.ceil(seconds / width)
        # The quotient may round across an edge; the edges are k * width.
        step += seconds > step * width
        step -= seconds <= (step - 1) * width
        kept = (step < bins) & (unit > 0)
        place = (sample * bins + step.astype(np.int64)) * wide + channels - unit
        dense = np.zeros((stop - start) * bins * wide, bool)
        dense[place[kept]] = True
        found[start:stop] = np.packbits(dense).reshape(stop - start, bins, wide // 8)
    return found


class BinnedTask(SpikeTask):
    """Spiking Heidelberg Digits (task `heidelberg`); stored as `packed` bits."""

    @staticmethod
    def data(trial: Trial, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        _need(trial, arrays, "times", "units", "offsets", "labels")
        rows = _rows(trial, len(arrays["train_labels"]), len(arrays["test_labels"]))
        x, y = [], []
        for part, take in zip(("train", "test"), rows, strict=True):
            times, units, offsets = (arrays[f"{part}_{n}"] for n in ("times", "units", "offsets"))
            x.append(packed(times, units, offsets)[take])
            y.append(arrays[f"{part}_labels"][take])
        held, spoken = np.concatenate(x), np.concatenate(y)
        require_shapes(trial, held, spoken, (SHD_BINS, -(-SHD_CHANNELS // 8)))
        return {"x": held, "y": labels(trial, "labels", spoken)}

    def spikes(self, data: Any, index: jax.Array) -> jax.Array:
        return unpacked(data["x"][index], self.sizes.features)


def unpacked(bits: jax.Array, channels: int) -> jax.Array:
    """`packed` bits (..., ceil(channels / 8)) as booleans (..., channels)."""
    shifts = jnp.arange(7, -1, -1, dtype=jnp.uint8)
    spread = (bits[..., None] >> shifts) & jnp.uint8(1)
    return spread.reshape(*bits.shape[:-1], -1)[..., :channels] == 1


_BANDS = 3
"""Moving bands of firing channels that tell one class of `spikes` from another."""
_SILENT_SHARE = 0.2
"""Part of the spikes that fall anywhere, whatever the class."""


def rates(
    seed: int, classes: int, bins: int, channels: int, rate: float
) -> tuple[np.ndarray, tuple[int, int]]:
    """How often each channel fires in each bin, by class, in 1/256: uint8; and the margins.

    Each class has three bands that move in a line over channels and wax and wane over time. The
    table is larger than a sample by twice the margins in time and channels, by which samples shift.
    """
    rng = np.random.default_rng(seed)
    margins = bins // 20, channels // 50
    time = np.linspace(0, 1, bins + 2 * margins[0], dtype=np.float32)[:, None]
    place = np.linspace(0, 1, channels + 2 * margins[1], dtype=np.float32)
    width = max(0.03, 1 / channels)
    table = np.zeros((classes, len(time), len(place)), np.float32)
    for shape in table:
        for start, end, peak in rng.uniform(0, 1, (_BANDS, 3)).astype(np.float32):
            centre = start + (end - start) * time
            loudness = np.exp(-np.square((time - peak) / 0.3) / 2)
            shape += loudness * np.exp(-np.square((place - centre) / width) / 2)
        shape *= (1 - _SILENT_SHARE) * rate / shape.mean()
    table += _SILENT_SHARE * rate
    return np.clip(np.rint(256 * table), 0, 255).astype(np.uint8), margins


class DrawnTask(SpikeTask):
    """Generated spikes (task `spikes`): a sample is drawn from its number whenever it is used."""

    def __init__(self, sizes: Sizes, repeat: int, seed: int, margins: tuple[int, int]):
        super().__init__(sizes, repeat)
        self.seed, self.margins = seed, margins

    @classmethod
    def of(cls, trial: Trial) -> TaskRuntime:
        repeat, seed = (int(trial.config[name] or 0) for name in ("time_repeat", "data_seed"))
        return cls(trial.sizes, repeat, seed, _rates(trial)[1])

    @staticmethod
    def data(trial: Trial, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        sizes = trial.sizes
        samples = np.arange(sizes.n_train + sizes.n_val + sizes.n_test, dtype=np.int32)
        return {"rates": _rates(trial)[0], "y": samples % sizes.classes}

    def spikes(self, data: Any, index: jax.Array) -> jax.Array:
        steps = self.sizes.seq_len // self.repeat
        shape = steps, self.sizes.features
        words = steps, -(-shape[1] // 4)
        root = named_key(jax.random.key(self.seed), "spikes")
        most = 2 * jnp.asarray(self.margins)

        def one(sample: jax.Array) -> jax.Array:
            key = jax.random.fold_in(root, sample)
            shift = jax.random.randint(named_key(key, "shift"), (2,), 0, most + 1)
            start = data["y"][sample], shift[0], shift[1]
            chance = lax.dynamic_slice(data["rates"], start, (1, *shape))[0]
            # Four bytes of each word: drawing bytes would cost a word for each.
            drawn = lax.bitcast_convert_type(
                jax.random.bits(named_key(key, "fire"), words, jnp.uint32), jnp.uint8
            )
            return drawn.reshape(steps, -1)[:, : shape[1]] < chance

        return jax.vmap(one)(index)


def _rates(trial: Trial) -> tuple[np.ndarray, tuple[int, int]]:
    seed, classes, bins, channels = (
        int(trial.config[name] or 0) for name in ("data_seed", "classes", "bins", "channels")
    )
    return rates(seed, classes, bins, channels, float(trial.config["rate"] or 0))


def _need(trial: Trial, arrays: Mapping[str, np.ndarray], *names: str) -> None:
    wanted = [f"{part}_{name}" for part in ("train", "test") for name in names]
    missing = [name for name in wanted if name not in arrays]
    if missing:
        raise PartError(
            f"task {trial.task.name} needs the arrays {', '.join(missing)}; hand them to Pack"
        )


def _rows(trial: Trial, train: int, test: int) -> tuple[np.ndarray, np.ndarray]:
    """Which samples of the training and test files make the pool and the test set.

    Raises:
      PartError: there are fewer than the task declares.
    """
    sizes = trial.sizes
    if sizes.n_train + sizes.n_val > train or sizes.n_test > test:
        raise PartError(
            f"task {trial.task.name} declares {sizes.n_train:,} training, {sizes.n_val:,} "
            f"validation and {sizes.n_test:,} test samples; its arrays have {train:,} and {test:,}"
        )
    return np.r_[: sizes.n_train, train - sizes.n_val : train], np.arange(sizes.n_test)
