"""Driving a queue of packs through Ray Tune: where packs run, signals, the display."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from orchestrator.queue.lease import Lease
from orchestrator.queue.progress import Display
from orchestrator.queue.queue import PackQueue
from orchestrator.ray_backend.cluster import RayMachines
from orchestrator.ray_backend.ray_patches import keep_from_ray


def drive(
    queue: PackQueue,
    job: dict[str, Any],
    lease: Lease,
    resources: dict[str, float],
    devices: int,
    progress: str,
    say: Callable[[str], None],
) -> bool:
    """Runs the queue to its end on the Ray this process is connected to; True if Ctrl-C or SIGTERM
    stopped it.

    Args:
      job: what every worker is told beside its pack.
      resources: granted to each pack. devices: packs at once.
    """
    # Ray installs handlers of its own when it starts, so ours come after.
    with _interruptible(queue, lease, say) as interrupted:
        from ray import tune
        from ray.tune import CheckpointConfig, FailureConfig, RunConfig

        from orchestrator.ray_backend.tune_trainable import PackSearcher, PackTrainable

        keep_from_ray()
        machines = RayMachines(resources)
        queue.machines, queue.tell = machines, say

        def placed(config: dict[str, Any]) -> tune.PlacementGroupFactory:
            return _placement(tuple(resources.items()), tuple(config["avoid"]))

        with tempfile.TemporaryDirectory(prefix="gradsweep-tune-") as scratch:
            tuner = tune.Tuner(
                tune.with_resources(PackTrainable, placed),
                tune_config=tune.TuneConfig(
                    search_alg=PackSearcher(queue, job, machines),
                    num_samples=-1,
                    max_concurrent_trials=devices,
                    reuse_actors=True,
                ),
                run_config=RunConfig(
                    name="launch",
                    storage_path=scratch,
                    verbose=0,
                    failure_config=FailureConfig(max_failures=0),
                    # Left open, Tune saves at the end of each: one more call to the worker.
                    checkpoint_config=CheckpointConfig(checkpoint_at_end=False),
                ),
            )
            with Display(queue, progress, say), _quiet():
                tuner.fit()
    queue.block_the_rest()
    return bool(interrupted)


@cache
def _placement(resources: tuple[tuple[str, float], ...], avoid: tuple[str, ...]) -> Any:
    """Where a pack may go. One object for all that are alike: Tune looks each up among the others',
    and comparing them is slow."""
    from ray.tune import PlacementGroupFactory

    if not avoid:
        return PlacementGroupFactory([dict(resources)])
    elsewhere = {"ray.io/node-id": f"!in({','.join(avoid)})"}
    return PlacementGroupFactory([dict(resources)], bundle_label_selector=[elsewhere])


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Tune's own notices name options this project does not use."""
    names = ("ray.tune", "ray.air", "ray.train")
    before = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


@contextlib.contextmanager
def _interruptible(
    queue: PackQueue, lease: Lease, say: Callable[[str], None]
) -> Iterator[list[float]]:
    """Ctrl-C (or SIGTERM) stops after the epoch under way; a second one at once."""
    pressed: list[float] = []

    def on_signal(*_: object) -> None:
        if pressed:
            say("stopping at once; published rows are kept")
            os._exit(130)
        pressed.append(time.monotonic())
        queue.stop()
        lease.ask_to_stop()
        say("stopping after the epoch under way; Ctrl-C again stops at once")

    try:
        before = {s: signal.signal(s, on_signal) for s in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not the main thread (a notebook's executor): the caller's handlers stay
        yield pressed
        return
    try:
        yield pressed
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
