"""One pack measured: time, compile, memory, floor, whether its lanes' bits hold, single runs.

Needs JAX, Flax, Optax, NumPy and `trainables` alone. Data are random arrays of the data sets'
shapes.
"""

from __future__ import annotations

import hashlib
import statistics
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from benchmarks.gpu import bare_step
from trainables.core.lanes import Strategy
from trainables.declarations import Trial, builtin_registry
from trainables.packs.pack import EpochResult, Pack

NETWORKS: dict[str, dict[str, Any]] = {
    # herranz2023/figure2 on MNIST: 106 steps of 512, then 16,000 samples of evaluation.
    "ffn": {
        "model": "ffn", "task": "mnist", "layout": "flat", "standardise": "scalar", "lr": 1e-4,
        "depth": 30, "width": 128, "val_fraction": 0.1, "batch_size": 512,
        "optimizer": "adabelief", "weight_decay": 1e-4, "activation": "relu",
    },
    # vanishing/quickstart's vanilla network: 23 steps of 64, then 360 samples of evaluation.
    "rnn": {
        "model": "vanilla_rnn", "task": "digits", "layout": "rows", "lr": 0.01,
        "depth": 20, "width": 64,
    },
}  # fmt: skip
SMALL: dict[str, dict[str, Any]] = {
    "ffn": {"task": "digits", "depth": 3, "width": 16, "batch_size": 256, "val_fraction": ...},
    "rnn": {"depth": 3, "width": 8, "batch_size": 256},
}
JUDGED = ("first_steps", "epoch")
"""Which differences from single runs are rounding alone, if all is well."""
_SHAPES = {"mnist": (60_000, 10_000, 28, 255), "digits": (1797, 0, 8, 16)}
"""Training and test images, their height, their brightest grey."""


def trial_of(network: str, small: bool, seed: int) -> Trial:
    """Trial `seed` of a network; the lanes of a pack are trials 0, 1, ..."""
    config = {**NETWORKS[network], **(SMALL[network] if small else {}), "seed": seed}
    return builtin_registry().resolve({k: v for k, v in config.items() if v is not ...})


def images(task: str) -> dict[str, np.ndarray]:
    """Random images and labels, as many and as large as the data set's."""
    train, test, side, white = _SHAPES[task]
    rng, found = np.random.default_rng(0), {}
    for name, count in (("train", train), ("test", test)):
        if count:
            found[f"{name}_images"] = rng.integers(0, white + 1, (count, side, side), np.uint8)
            found[f"{name}_labels"] = rng.integers(0, 10, count)
    return found


class Cases:
    """All packs of one network and strategy, measured in ascending width.

    Attributes:
      trials: as many as the widest pack has lanes.
      arrays: their data set.
    """

    def __init__(self, network: str, strategy: Strategy, small: bool, most: int):
        self.network = network
        self.strategy: Strategy = strategy
        self.trials = [trial_of(network, small, seed) for seed in range(most)]
        self.arrays = images(str(self.trials[0].task.name))
        self._single: dict[int, dict[str, np.ndarray]] = {}

    def _started(self, trials: Sequence[Trial], width: int) -> Pack:
        pack = Pack(trials, self.arrays, width=width, lanes=self.strategy)
        pack.init()
        return pack

    def fingerprint(self, width: int) -> str:
        """Of every bit of a pack's first epoch: what another process must find as well."""
        pack = self._started(self.trials[:width], width)
        lanes = bits(pack, pack.epoch(0), width)
        return hashlib.sha256(repr([sorted(lane.items()) for lane in lanes]).encode()).hexdigest()

    def measure(
        self, width: int, rates: dict[str, float], repeats: int, limit: float
    ) -> dict[str, Any]:
        """One width's record.

        Args:
          rates: as of `roofline.measured`.
          repeats: epochs to time, unless they exceed `limit` seconds together; two at least.

        Returns:
          lane_step_s: median seconds of an epoch (with its evaluation, until its results are on the
            host) over lanes and steps.
          of_peak: operations of the epoch's matrix products over its time, as a part of the peak.
          over_bare, bare_over_floor: lane_step_s over the bare step's, and that over its floor.
          compile_s: of tracing and compiling the epoch.
          model_bytes: `Pack.memory_bytes()`.
          peak_bytes_compile, peak_bytes_init, peak_bytes: the most that this process has had on the
            device after the compile (autotuning allocates, too), after init (which stacks the
            lanes' states) and after an epoch. Null where the device does not tell.
          unequal: what is not equal to the bit, in words.
          apart, tolerance, agrees: relative differences from single runs, of the first ten steps'
            loss and norms, the epoch's losses, the last ten steps and all weights after the epoch.
            The first two (`JUDGED`) should be below the tolerance, a hundred times the rounding;
            later ones also show how training enlarges rounding.
          ...: what `bare_step.measure` returns.
        """
        trials = self.trials[:width]
        begun = time.perf_counter()
        pack = Pack(trials, self.arrays, width=width, lanes=self.strategy)
        pack.compile()
        record: dict[str, Any] = {
            "network": self.network, "strategy": self.strategy, "lanes": width,
            "steps": pack.steps, "parameters": pack.parameter_count,
            "compile_s": time.perf_counter() - begun, "model_bytes": pack.memory_bytes(),
        }  # fmt: skip
        record["peak_bytes_compile"] = _peak(pack.device)
        pack.init()
        record["peak_bytes_init"] = _peak(pack.device)
        result = pack.epoch(0)
        record["peak_bytes"] = _peak(pack.device)
        record["diverged"] = int((result.bad_step >= 0).sum())
        reference = bits(pack, result, width)
        some = sorted({0, width // 2, width - 1})
        kept = {lane: numbers(pack, result, lane) for lane in some}
        del pack
        unequal, seconds = self._repeated(reference, repeats, limit)
        record |= {
            "unequal": unequal,
            "epoch_s": statistics.median(seconds),
            "epochs_timed": len(seconds),
            **self._against_single(kept, 100 * rates["rounding"]),
            **bare_step.measure(trials, self.arrays, self.strategy, rates, repeats, limit),
        }
        lane_step = record["epoch_s"] / width / record["steps"]
        return record | {
            "lane_step_s": lane_step,
            "of_peak": record["epoch_flops"] / record["steps"] / lane_step / rates["flops_per_s"],
            "over_bare": lane_step / record["bare_s"],
            "bare_over_floor": record["bare_s"] / record["floor_s"],
        }

    def _repeated(
        self, reference: Sequence[dict[str, str]], repeats: int, limit: float
    ) -> tuple[list[str], list[float]]:
        """The first epoch again: lanes in reverse, half of them beside padding, and as they were;
        then further epochs of the last pack, to time them.

        Returns:
          What differs from the `reference`, in words, and the seconds of every full epoch.
        """
        width = len(reference)
        every = list(range(width))
        orders = {"permuted": every[::-1], "padded": every[: (width + 1) // 2], "rerun": every}
        unequal: list[str] = []
        seconds: list[float] = []
        pack = None
        for name, order in orders.items() if width > 1 else [("rerun", every)]:
            pack = None  # the one before leaves the device first
            pack = self._started([self.trials[lane] for lane in order], width)
            begun = time.perf_counter()
            result = pack.epoch(0)
            if len(order) == width:
                seconds.append(time.perf_counter() - begun)
            for lane, found in zip(order, bits(pack, result, len(order)), strict=True):
                differing = [n for n, value in reference[lane].items() if found[n] != value]
                if differing:
                    unequal.append(f"{name}: trial {lane} differs in {', '.join(differing[:4])}")
        epoch = 0
        while pack is not None and len(seconds) < repeats and sum(seconds) < limit:
            begun, epoch = time.perf_counter(), epoch + 1
            pack.epoch(epoch)
            seconds.append(time.perf_counter() - begun)
        return unequal, seconds

    def _against_single(
        self, kept: dict[int, dict[str, np.ndarray]], tolerance: float
    ) -> dict[str, Any]:
        """Largest relative differences of some lanes from packs of one, of vectors in 2-norm."""
        largest: dict[str, float] = dict.fromkeys(
            ("first_steps", "epoch", "last_steps", "weights"), 0.0
        )
        for i, lane in kept.items():
            if i not in self._single:
                pack = self._started([self.trials[i]], 1)
                self._single[i] = numbers(pack, pack.epoch(0), 0)
            for name, single in self._single[i].items():
                kind, scale = name.partition("/")[0], np.linalg.norm(single)
                apart = float(np.linalg.norm(lane[name] - single) / (scale or 1.0))
                largest[kind] = float(np.maximum(largest[kind], apart))  # NaN stays
        agrees = all(largest[kind] <= tolerance for kind in JUDGED)
        return {"apart": largest, "tolerance": tolerance, "agrees": agrees}


def columns(result: EpochResult) -> Iterator[tuple[str, np.ndarray]]:
    """Every measured column of an epoch, leading axis the lane, by name."""
    for group in ("epochs", "layers", "steps", "metrics"):
        for name, column in getattr(result, group).items():
            yield f"{group}/{name}", column
    yield "bad_step", result.bad_step


def bits(pack: Pack, result: EpochResult, count: int) -> list[dict[str, str]]:
    """Of each of the first lanes: a hash of every leaf of state and every column of the result."""
    leaves = [*((f"state/{path}", leaf) for path, leaf in pack.state().items()), *columns(result)]
    return [
        {name: hashlib.sha256(leaf[lane].tobytes()).hexdigest() for name, leaf in leaves}
        for lane in range(count)
    ]


def numbers(pack: Pack, result: EpochResult, lane: int) -> dict[str, np.ndarray]:
    """A lane's numbers to hold against a single run's, named by the keys of `apart`."""
    first = result.step_index < 10
    found = {}
    for name in ("loss", "grad_norm", "update_norm"):
        found[f"first_steps/{name}"] = result.steps[name][lane, first]
        found[f"last_steps/{name}"] = result.steps[name][lane, -10:]
    for name in ("loss", "val_loss", "test_loss"):
        found[f"epoch/{name}"] = result.epochs[name][lane]
    tensors = pack.weights(lane).values()
    return found | {"weights": np.concatenate([tensor.ravel() for tensor in tensors])}


def _peak(device: Any) -> int | None:
    """Most bytes this process has had in use on the device so far, where the device tells."""
    stats = device.memory_stats()
    return stats.get("peak_bytes_in_use") if stats else None
