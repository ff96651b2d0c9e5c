"""A worker's memory: whether it stays flat over many epochs, and whether an epoch takes what
`Pack.rise_bytes` says."""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

SMALL = {
    "model": "vanilla_rnn", "task": "gaussian", "depth": 2, "width": 8, "batch_size": 8,
    "steps_per_epoch": 4,
}  # fmt: skip
LANES, MARKS = 4, (100, 500, 1000)
KNOWN = {"model": "vanilla_rnn", "task": "digits", "layout": "rows", "depth": 2, "width": 128}
WIDTHS = (1, 8, 32, 128)
MB = 1e6
# Large buffers come from the system one by one and go back when freed: resident is what is held.
MALLOC = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}


def run() -> tuple[dict[str, float], dict[str, float]]:
    """Seconds of an epoch of a pack of 4 lanes with store and checkpoints, early and late in 1,000.

    Measured beside: resident MB after 100, 500 and 1,000 epochs, rows published; and for
    packs of 1 to 128 lanes what an epoch adds to resident memory at its peak, against what
    `Pack.rise_bytes` says: temporaries and results of the compiled program."""
    seconds, facts = _in_a_process(_thousand_epochs)
    for lanes in ("sequential", "vmap"):
        for width in WIDTHS:
            found = _in_a_process(_rise, lanes, width)
            facts |= {f"{lanes}, {width} lanes, {what}": value for what, value in found.items()}
    return seconds, facts


def _in_a_process(work: Callable[..., Any], *arguments: Any) -> Any:
    """The result of `work` in a process of its own."""
    before = dict(os.environ)
    os.environ.update(MALLOC)
    try:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            return pool.submit(work, *arguments).result()
    finally:
        os.environ.clear()
        os.environ.update(before)


def _thousand_epochs() -> tuple[dict[str, float], dict[str, float]]:
    from orchestrator.plan.packs import Context, Lane, PackSpec
    from orchestrator.worker.pack_run import PackRun
    from results import create_store
    from trainables.declarations import builtin_registry

    registry = builtin_registry()
    config = {**SMALL, "epochs": MARKS[-1] + 1}  # so that no trial ends within
    trials = [registry.resolve({**config, "seed": seed}) for seed in range(LANES)]
    lanes = [Lane(trial.id, trial.config) for trial in trials]
    spec = PackSpec("steady", trials[0].program, lanes, LANES, "sequential")
    facts, times = {}, {0: 0.0}
    with tempfile.TemporaryDirectory() as folder:
        run = PackRun(spec, registry, create_store(folder), Context(checkpoint_s=5.0))
        run.start()
        begun = time.perf_counter()
        for epoch in range(1, MARKS[-1] + 1):
            run.step()
            if epoch in MARKS:
                times[epoch] = time.perf_counter() - begun
                # Rows wait for a flush by time: published here, so that they count at no mark.
                run.recorder.flush()
                facts[f"resident after {epoch} epochs, MB"] = _resident() / MB
    pairs = list(zip(times, list(times)[1:], strict=False))
    seconds = {f"epochs {a} to {b}": (times[b] - times[a]) / (b - a) for a, b in pairs}
    return seconds, facts


def _rise(lanes: Any, width: int) -> dict[str, float]:
    """MB that an epoch adds at its peak, measured and as the compiled program says."""
    from orchestrator.datasets import loader
    from trainables.declarations import builtin_registry
    from trainables.packs.pack import Pack

    registry = builtin_registry()
    trials = [registry.resolve({**KNOWN, "seed": seed}) for seed in range(width)]
    pack = Pack(trials, dict(loader.load("digits").arrays), lanes=lanes)
    pack.init()
    pack.epoch(0)
    before = _resident()
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    pack.epoch(1)
    return {
        "resident before, MB": before / MB,
        "arguments, MB": (pack.memory_bytes() - pack.rise_bytes()) / MB,
        "rise measured, MB": (_status("VmHWM") - before) / MB,
        "rise said, MB": pack.rise_bytes() / MB,
    }


def _resident() -> float:
    """Bytes of resident memory, garbage and the allocator's free blocks given back."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return _status("VmRSS")


def _status(name: str) -> float:
    """Bytes of a line of /proc/self/status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024.0 * next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
