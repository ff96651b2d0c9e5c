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

_CLUSTERS = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
_UNASKED = ("start_monitor", "start_api_server", "start_log_monitor")


@contextlib.contextmanager
def local_ray(room: Room, threads: int) -> Iterator[None]:
    """A Ray of this process's own, which listens on loopback only; one that runs in this process
    already (a notebook's, or the one a test session shares) is used as it is."""
    os.environ.update(ray_environment())
    if "ray" in sys.modules and sys.modules["ray"].is_initialized():
        yield
        return
    # Ray takes 127.0.0.1 for its address only where it thinks no cluster can be, which it decides
    # as it is imported (by `_few_processes` here), in this process and in those it starts.
    variables = {_CLUSTERS: os.environ.get(_CLUSTERS, "0"), **worker_environment(threads, room.gpu)}
    options: dict[str, Any] = {"address": "local", "include_dashboard": False}
    if not room.gpu:
        # Ray starts a worker per CPU at once. These take packs, if they are still there when Tune
        # asks for workers, and import what they need while this process imports Tune.
        options["num_cpus"] = room.packs * threads
        variables["RAY_preload_python_modules"] = "ray.tune,orchestrator.worker.pack_run"
        variables["RAY_idle_worker_killing_time_threshold_ms"] = "60000"
    with contextlib.ExitStack() as stack:
        with _variables(variables), _few_processes():
            stack.enter_context(started(None, **options))
        if not room.gpu:
            stack.enter_context(_any_worker())
        yield


@contextlib.contextmanager
def _any_worker() -> Iterator[None]:
    """Lets Tune's actors take workers that are there. Of itself Tune asks for an environment, so
    that none fits, with variables that all processes of a local Ray have from `local_ray`."""
    import ray
    from ray.tune.execution.class_cache import _ActorClassCache

    def get(self: _ActorClassCache, trainable_cls: type) -> Any:
        return self._cache.setdefault(trainable_cls, ray.remote(trainable_cls))

    before = _ActorClassCache.get
    _ActorClassCache.get = get
    try:
        yield
    finally:
        _ActorClassCache.get = before


@contextlib.contextmanager
def _few_processes() -> Iterator[None]:
    """Lets Ray start without autoscaler, API server and log monitor, of which a launch asks
    nothing: three Pythons beside the workers' own start, and a second to end them."""
    from ray._private.node import Node

    before = {name: getattr(Node, name) for name in _UNASKED if hasattr(Node, name)}
    for name in before:
        setattr(Node, name, lambda *_, **__: None)
    try:
        yield
    finally:
        for name, method in before.items():
            setattr(Node, name, method)


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
