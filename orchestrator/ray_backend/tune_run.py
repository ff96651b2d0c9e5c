"""Driving a queue of packs through Ray Tune: where packs run, signals, the display."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import threading
import time
from collections.abc import Callable, Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

from orchestrator.machine.scratch import launch_folder
from orchestrator.queue.lease import Lease
from orchestrator.queue.progress import Display
from orchestrator.queue.queue import PackQueue
from orchestrator.ray_backend.cluster import RayMachines
from orchestrator.ray_backend.ray_patches import keep_from_ray
from orchestrator.ray_backend.watch import RayWatch
from orchestrator.stopping import Stopping
from results import StoreError

if TYPE_CHECKING:
    from ray.tune import Tuner

POLL_S = 0.2
STOP_S = 8.0
"""How long an epoch under way may take after a signal, where the workers are ours to end."""
DEAD_S = 3.0
"""How long workers of a dead Ray may take to keep what they have."""
LEAVE_TRIES = 3


def drive(
    queue: PackQueue,
    job: dict[str, Any],
    lease: Lease,
    resources: dict[str, float],
    devices: int,
    progress: str,
    say: Callable[[str], None],
    stop: Stopping,
    watch: RayWatch,
    patient: bool,
    until: float | None = None,
) -> bool:
    """Runs the queue to its end on the Ray this process is connected to, or until a signal has
    come. A Ray that dies is the queue's `fatal`.

    Args:
      job: what every worker is told beside its pack.
      resources: granted to each pack. devices: packs at once.
      patient: after a signal, epochs under way are waited for as long as they take.
      until: when the launch stops as after a signal, by the monotonic clock.

    Returns:
      Whether it was stopped at that time.
    """
    from ray import tune
    from ray.tune import CheckpointConfig, FailureConfig, RunConfig

    from orchestrator.ray_backend.pack_searcher import Answers, PackSearcher
    from orchestrator.ray_backend.tune_trainable import PackTrainable

    keep_from_ray()
    machines = RayMachines(resources)
    queue.machines, queue.tell, queue.workers = machines, say, devices

    def placed(config: dict[str, Any]) -> tune.PlacementGroupFactory:
        return _placement(tuple(resources.items()), tuple(config["avoid"]))

    with launch_folder() as scratch:
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
                storage_path=str(scratch),
                verbose=0,
                callbacks=[Answers(queue, machines)],
                failure_config=FailureConfig(max_failures=0),
                # Left open, Tune saves at the end of each: one more call to the worker.
                checkpoint_config=CheckpointConfig(checkpoint_at_end=False),
            ),
        )
        fit = Fit(tuner)
        with Display(queue, progress, say), _quiet():
            fit.start()
            late = _wait(fit, queue, lease, say, stop, watch, patient, until)
            watch.stuck = not fit.left()
    if fit.error is not None and queue.fatal is None and stop.number is None and not late:
        raise fit.error
    return late


def _wait(
    fit: Fit,
    queue: PackQueue,
    lease: Lease,
    say: Callable[[str], None],
    stop: Stopping,
    watch: RayWatch,
    patient: bool,
    until: float | None,
) -> bool:
    """Returns when the fit has ended, or when it is time to leave it: whether its time was up."""
    end, late = float("inf"), False
    limit = "" if patient else f", or in {STOP_S:g} s"
    while fit.is_alive() and time.monotonic() < end:
        fit.join(POLL_S)
        if queue.fatal is None and (trouble := watch.trouble()):
            queue.fatal = trouble
            _ask_to_stop(queue, lease)
            end = min(end, time.monotonic() + DEAD_S)
        late = late or (_is_past(until) and not queue.stopping)
        if (late or stop.number is not None) and not queue.stopping:
            _ask_to_stop(queue, lease)
            end = min(end, float("inf") if patient else time.monotonic() + STOP_S)
            why, again = ("the time is up, ", "") if late else ("", " again")
            say(f"{why}stopping after the epoch under way{limit}; Ctrl-C{again} stops at once")
        if stop.at_once or (late and stop.number is not None):
            say("stopping at once; published rows are kept")
            end = 0.0
    return late


def _is_past(moment: float | None) -> bool:
    return moment is not None and time.monotonic() >= moment


def _ask_to_stop(queue: PackQueue, lease: Lease) -> None:
    queue.stop()
    with contextlib.suppress(OSError, StoreError):  # then their workers are ended
        lease.ask_to_stop()


class Fit(threading.Thread):
    """Tune's own loop. In a thread, since it may wait for ever in Ray's C++, where no signal is
    heard; the main thread hears them."""

    def __init__(self, tuner: Tuner):
        super().__init__(name="tune", daemon=True)
        self._tuner = tuner
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            self._tuner.fit()
        except Exception as error:
            self.error = error

    def left(self) -> bool:
        """Whether the loop has ended, or ends when it is asked to. It cannot be while it waits in
        C++."""
        for _ in range(LEAVE_TRIES):
            if not self.is_alive():
                return True
            number = ctypes.c_ulong(self.ident or 0)
            ctypes.pythonapi.PyThreadState_SetAsyncExc(number, ctypes.py_object(SystemExit))
            self.join(1.0)
        return not self.is_alive()


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
