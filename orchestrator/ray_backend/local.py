"""A Ray of a launch's own for the time being, on loopback and with as few processes as it needs."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from orchestrator.errors import RequestError
from orchestrator.machine.environment import ray_environment, worker_environment
from orchestrator.machine.processes import end_marked
from orchestrator.machine.resources import Room
from orchestrator.machine.scratch import MARK, launch_folder
from orchestrator.ray_backend.cluster import connect, connected
from orchestrator.ray_backend.ray_patches import (
    any_worker,
    end_with,
    few_processes,
    own_sessions,
    own_token,
)
from orchestrator.ray_backend.watch import RECONNECT, RayWatch

_CLUSTERS = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"


@contextlib.contextmanager
def local_ray(
    room: Room, threads: int, say: Callable[[str], None] = lambda line: None
) -> Iterator[RayWatch]:
    """A Ray of this process's own, which listens on loopback only, and a watch of it; one that runs
    in this process already (a notebook's, or the one a test session shares) is used as it is.

    Raises:
      RequestError: it does not start, not even the second time.
    """
    os.environ.update(ray_environment())
    if "ray" in sys.modules and sys.modules["ray"].is_initialized():
        yield RayWatch()
        return
    # Ray takes 127.0.0.1 for its address only where it thinks no cluster can be, which it decides
    # as it is imported (by `few_processes` here), in this process and in those it starts. Checked,
    # as are the undocumented settings below, with Ray 2.60.0.
    variables = {_CLUSTERS: os.environ.get(_CLUSTERS, "0"), **worker_environment(threads, room.gpu)}
    # A watch finds out that Ray is dead; its C++ would end this process after a minute.
    variables[RECONNECT] = str(10**6)
    options: dict[str, Any] = {"address": "local", "include_dashboard": False}
    if not room.gpu:
        # Ray starts a worker per CPU at once. These take packs, if they are still there when Tune
        # asks for workers, and import what they need while this process imports Tune.
        options["num_cpus"] = room.packs * threads
        variables["RAY_preload_python_modules"] = "ray.tune,orchestrator.worker.pack_run"
        variables["RAY_idle_worker_killing_time_threshold_ms"] = "60000"
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(launch_folder())
        end = partial(end_marked, MARK, str(folder))
        stack.callback(end)
        # Ray opens its folders to everybody, so they lie in one that is closed.
        options["_temp_dir"] = str(folder / "ray")
        # Without this process they end soon. SPT_NOENV: they keep their mark when they name
        # themselves.
        theirs = {MARK: str(folder), "SPT_NOENV": "1", RECONNECT: "10"}
        with _variables(variables), few_processes():
            stack.enter_context(own_token(folder / "token"))
            _start(options, theirs, end, say)
        end_with(end)
        watch = stack.enter_context(connected())
        if not room.gpu:
            stack.enter_context(any_worker())
        yield watch


def _start(
    options: dict[str, Any],
    theirs: Mapping[str, str],
    end: Callable[[], None],
    say: Callable[[str], None],
) -> None:
    """Starts Ray; on a busy machine it may be too slow for its own deadlines, so it has two tries.

    Args:
      theirs: variables of its processes. end: ends those that are there.

    Raises:
      RequestError: says why, and what to do.
    """
    import ray

    for last in (False, True):
        try:
            with own_sessions(theirs):
                connect(None, **options)
            return
        except Exception as error:
            end()
            ray.shutdown()
            why = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
            if last:
                raise RequestError(
                    f"Ray does not start on this machine ({why}); end what else uses its "
                    "processors and memory, or start fewer workers with --cpus, and launch again"
                ) from error
            say(f"Ray did not start ({why}); trying once more")


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
