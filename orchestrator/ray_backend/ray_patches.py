"""Every change of Ray's private parts, each with the version of Ray it was checked with."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any


def keep_from_ray() -> None:
    """Stops Tune from copying the driver's AWS credentials into its actors' runtime environment,
    which Ray writes to its logs and to its head's tables in the clear. Workers have credentials of
    their own, from their node's role or environment; those of a local Ray inherit the driver's."""
    # Checked with Ray 2.60.0.
    from ray.tune.execution import class_cache

    names = class_cache.ENV_VARS_TO_PROPAGATE
    names -= {name for name in names if name.startswith("AWS_")}


_UNASKED = ("start_monitor", "start_api_server", "start_log_monitor")


@contextlib.contextmanager
def any_worker() -> Iterator[None]:
    """Lets Tune's actors take workers that are there. Of itself Tune asks for an environment, so
    that none fits, with variables that all processes of a local Ray have from `local_ray`."""
    # Checked with Ray 2.60.0.
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
def few_processes() -> Iterator[None]:
    """Lets Ray start without autoscaler, API server and log monitor, of which a launch asks
    nothing: three Pythons beside the workers' own start, and a second to end them."""
    # Checked with Ray 2.60.0.
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
def ray_speaks_of_nothing() -> Iterator[None]:
    """Keeps Ray from printing a paragraph for each worker that dies, as it does whatever
    `log_to_driver` says. The launch prints one line instead."""
    # Checked with Ray 2.60.0.
    from ray._private import worker

    before = worker.print_to_stdstream
    worker.print_to_stdstream = lambda *_, **__: None
    try:
        yield
    finally:
        worker.print_to_stdstream = before
