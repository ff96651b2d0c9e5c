"""A worker's rows into the store, against Ray Tune's JSON and CSV loggers of the same numbers."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.flat import flat_epoch
from benchmarks.timing import alternate
from orchestrator.worker.recorder import Recorder
from results import create_store
from trainables.declarations import builtin_registry
from trainables.packs.pack import EpochResult, Pack

CONFIG = {"model": "vanilla_rnn", "task": "gaussian", "depth": 20, "width": 8, "batch_size": 32}
LANES, EPOCHS = 16, 100


def run() -> tuple[dict[str, float], dict[str, float]]:
    """Seconds to write 100 epochs of a pack of 16 lanes, 20 layers: 1,600 rows of epochs, and of
    each the gradient norms by layer and tensor and the ten last steps. The loggers get an epoch of
    a trial as one flat dict of the same numbers."""
    registry = builtin_registry()
    trials = [registry.resolve({**CONFIG, "seed": seed}) for seed in range(LANES)]
    pack = Pack(trials, {}, lanes="sequential")
    pack.init()
    first, rng = pack.epoch(0), np.random.default_rng(0)
    results = [_noisy(first, rng) for _ in range(EPOCHS)]
    lanes = np.arange(LANES)
    flat = [
        [flat_epoch(result, pack.layer_rows, lane) for lane in range(LANES)] for result in results
    ]

    def ours(folder: Path) -> None:
        recorder = Recorder(create_store(folder), [trial.id for trial in trials], [0] * LANES)
        for epoch, result in enumerate(results):
            recorder.add_epoch(epoch, result, pack.layer_rows, lanes, pack.steps, 1.0)
            if recorder.due():
                recorder.flush()
        recorder.flush()

    ways: dict[str, Callable[[Path], None]] = {
        "store": ours,
        "JsonLoggerCallback": lambda folder: _logged("Json", folder, flat),
        "CSVLoggerCallback": lambda folder: _logged("CSV", folder, flat),
    }
    rows = LANES * EPOCHS * (1 + len(pack.layer_rows) + len(first.step_index))
    facts: dict[str, float] = {"rows": rows}
    with tempfile.TemporaryDirectory() as root:

        def timed(name: str) -> None:
            folder = Path(root) / f"{name}-{time.monotonic_ns()}"
            ways[name](folder)
            files = [path for path in folder.rglob("*") if path.is_file()]
            facts[f"{name}, bytes a row"] = sum(path.stat().st_size for path in files) / rows
            facts[f"{name}, files"] = len(files)

        seconds = alternate({name: lambda name=name: timed(name) for name in ways}, rounds=3)
    facts |= {f"{name}, rows/s": rows / value for name, value in seconds.items()}
    return seconds, facts


def _noisy(result: EpochResult, rng: np.random.Generator) -> EpochResult:
    """`result` with other digits, as every epoch has."""

    def other(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {
            name: (c * rng.lognormal(0, 0.1, c.shape)).astype(c.dtype) if c.dtype.kind == "f" else c
            for name, c in columns.items()
        }

    tables = {name: other(getattr(result, name)) for name in ("epochs", "layers", "steps")}
    return replace(result, **tables)


def _logged(kind: str, folder: Path, flat: list[list[dict[str, float]]]) -> None:
    from ray.train._internal.storage import StorageContext
    from ray.tune import logger
    from ray.tune.experiment import Trial

    class Here(StorageContext):
        """Where Tune has files before it uploads them, without a Ray session's folder."""

        @property
        def experiment_driver_staging_path(self) -> str:
            return str(folder)

    callback = getattr(logger, f"{kind}LoggerCallback")()
    trials = []
    for lane in range(LANES):
        storage = Here(str(folder), "experiment", trial_dir_name=str(lane))
        trials.append(Trial("stub", trial_id=str(lane), storage=storage, stub=True))
        trials[-1].init_local_path()
    for epoch, own in enumerate(flat):
        for trial, numbers in zip(trials, own, strict=True):
            callback.log_trial_result(epoch, trial, {"training_iteration": epoch, **numbers})
    for trial in trials:
        callback.log_trial_end(trial)
