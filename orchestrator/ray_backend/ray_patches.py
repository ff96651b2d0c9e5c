"""Every change of Ray's private parts, each with the version of Ray it was checked with."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, wait
from pathlib import Path
from typing import Any

from orchestrator.stopping import handle_again


def keep_from_ray() -> None:
    """Stops Tune from copying the driver's AWS credentials into its actors' runtime environment,
    which Ray writes to its logs and to its head's tables in the clear. Workers have credentials of
    their own, from their node's role or environment; those of a local Ray inherit the driver's."""
    # Checked with Ray 2.60.0.
    from ray.tune.execution import class_cache

    names = class_cache.ENV_VARS_TO_PROPAGATE
    names -= {name for name in names if name.startswith("AWS_")}


_MODE = "RAY_AUTH_MODE"
_TOKEN_FILE = "RAY_AUTH_TOKEN_PATH"
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


class StartError(Exception):
    """A process of Ray's ended while Ray started."""


@contextlib.contextmanager
def own_sessions(variables: Mapping[str, str]) -> Iterator[None]:
    """Starts Ray's processes in separate sessions, so that a signal to a group, terminal or service
    does not end them: a launch ends them itself, when all is kept. Each also has the `variables`.

    Raises:
      StartError: meanwhile, as soon as one of them has ended.
    """
    # Checked with Ray 2.60.0.
    from ray._private import services, utils

    started: list[tuple[str, Any]] = []
    popen, get_node = services.ConsolePopen, services.get_node
    # Linux ends them with this process. Elsewhere a first one, Ray's reaper, ends its group.
    linux = bool(utils.detect_fate_sharing_support())

    def start(command: list[str], preexec_fn: Callable[[], None], **options: Any) -> Any:
        def before() -> None:
            preexec_fn()
            if linux:
                signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGHUP})

        group = None if linux else (started[0][1].pid if started else 0)
        options |= {"start_new_session": linux, "process_group": group}
        options["env"] = {**options["env"], **variables}
        process = popen(command, preexec_fn=before, **options)
        started.append((Path(command[0]).name, process))
        return process

    def get(*given: Any) -> Any:
        # In a thread: this waits in C++, where nobody looks whether the processes live.
        found: Future[Any] = Future()

        def ask() -> None:
            try:
                found.set_result(get_node(*given))
            except Exception as error:
                found.set_exception(error)

        threading.Thread(target=ask, daemon=True).start()
        while not wait([found], 0.1).done:
            for name, process in started:
                if process.poll() is not None:
                    raise StartError(f"its process {name} ended with status {process.returncode}")
        return found.result()

    services.ConsolePopen, services.get_node = start, get
    try:
        yield
    finally:
        services.ConsolePopen, services.get_node = popen, get_node


def end_with(end: Callable[[], None]) -> None:
    """Lets `ray.shutdown` end Ray's processes by this. By default it asks them first, and they are
    deaf to that."""
    # Checked with Ray 2.60.0.
    from ray._private import worker

    node: Any = worker._global_node

    def kill_all_processes(*_: Any, **__: Any) -> None:
        end()
        for infos in node.all_processes.values():
            for info in infos:
                info.process.poll()  # else it counts as running still

    node.kill_all_processes = kill_all_processes


@contextlib.contextmanager
def signals_are_ours() -> Iterator[None]:
    """Keeps Ray from handling signals in this process. Its C++ takes them as it connects, which no
    option forbids; they are taken back at once."""
    # Checked with Ray 2.60.0.
    from ray import _raylet
    from ray._private import utils

    raylet: Any = _raylet
    before, connect = utils.set_sigterm_handler, raylet.CoreWorker

    def connected(*given: Any, **named: Any) -> Any:
        core = connect(*given, **named)
        if threading.current_thread() is threading.main_thread():
            handle_again()
        return core

    utils.set_sigterm_handler, raylet.CoreWorker = lambda *_: None, connected
    try:
        yield
    finally:
        utils.set_sigterm_handler, raylet.CoreWorker = before, connect


@contextlib.contextmanager
def own_token(file: Path) -> Iterator[None]:
    """Lets Ray's processes know each other by a token in `file`, which this user alone can read.
    By default Ray writes one to the home folder, which everybody can read. What a user has set
    stays."""
    # Checked with Ray 2.60.0.
    mode = os.environ.get(_MODE)
    given = "RAY_AUTH_TOKEN" in os.environ or _TOKEN_FILE in os.environ
    if given or (mode or "token") != "token":
        yield
        return
    from ray import _raylet

    raylet: Any = _raylet
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
        opened.write(secrets.token_hex(32))
    os.environ[_TOKEN_FILE] = str(file)
    raylet.AuthenticationTokenLoader.instance().reset_cache()
    try:
        yield
    finally:
        del os.environ[_TOKEN_FILE]
        if mode is None:  # Ray has set it
            os.environ.pop(_MODE, None)
        raylet.AuthenticationTokenLoader.instance().reset_cache()
        raylet.Config.initialize("")
