"""A Ray of a launch's own for the time being, on loopback and with as few processes as it needs."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.machine.environment import ray_environment, worker_environment
from orchestrator.machine.resources import Room
from orchestrator.ray_backend.cluster import started
from orchestrator.ray_backend.ray_patches import any_worker, few_processes

_CLUSTERS = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"


@contextlib.contextmanager
def local_ray(room: Room, threads: int) -> Iterator[None]:
    """A Ray of this process's own, which listens on loopback only; one that runs in this process
    already (a notebook's, or the one a test session shares) is used as it is."""
    os.environ.update(ray_environment())
    if "ray" in sys.modules and sys.modules["ray"].is_initialized():
        yield
        return
    # Ray takes 127.0.0.1 for its address only where it thinks no cluster can be, which it decides
    # as it is imported (by `few_processes` here), in this process and in those it starts. Checked,
    # as are the two undocumented settings below, with Ray 2.60.0.
    variables = {_CLUSTERS: os.environ.get(_CLUSTERS, "0"), **worker_environment(threads, room.gpu)}
    options: dict[str, Any] = {"address": "local", "include_dashboard": False}
    if not room.gpu:
        # Ray starts a worker per CPU at once. These take packs, if they are still there when Tune
        # asks for workers, and import what they need while this process imports Tune.
        options["num_cpus"] = room.packs * threads
        variables["RAY_preload_python_modules"] = "ray.tune,orchestrator.worker.pack_run"
        variables["RAY_idle_worker_killing_time_threshold_ms"] = "60000"
    with contextlib.ExitStack() as stack:
        with _variables(variables), few_processes():
            stack.enter_context(started(None, **options))
        if not room.gpu:
            stack.enter_context(any_worker())
        yield


@contextlib.contextmanager
def _variables(wanted: Mapping[str, str]) -> Iterator[None]:
    """These in the environment, for processes started meanwhile."""
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
