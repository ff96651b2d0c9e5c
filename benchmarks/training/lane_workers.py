"""Processes that train packs on request, each with its own threads and XLA devices.

Both are fixed when JAX starts, so ways that differ in them can alternate only between processes.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import Any

from orchestrator.machine.environment import process_environment

HOST_DEVICES = "--xla_force_host_platform_device_count"
Config = Mapping[str, Any]


class Worker:
    """A process with `threads` CPU threads for XLA, so many host devices, and these variables."""

    def __init__(self, threads: int, devices: int = 1, places: Mapping[str, str] | None = None):
        variables = {**process_environment(threads), **(places or {})}
        variables["XLA_FLAGS"] += f" {HOST_DEVICES}={devices}"
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        before = dict(os.environ)
        os.environ.update(variables)
        try:
            self._process.start()
        finally:
            os.environ.clear()
            os.environ.update(before)

    def send(self, what: str, *arguments: Any) -> None:
        """Asks for `what`, the name of a public method of `Packs`, without waiting."""
        self._pipe.send((what, *arguments))

    def receive(self) -> Any:
        """The answer to the oldest request; raises what it raised."""
        answer = self._pipe.recv()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def ask(self, what: str, *arguments: Any) -> Any:
        """Sends, and waits for the answer."""
        self.send(what, *arguments)
        return self.receive()

    def close(self) -> None:
        """Ends the process."""
        self._pipe.close()
        self._process.join(10)
        self._process.kill()


class Packs:
    """A worker's side: packs by the name of their way."""

    def __init__(self) -> None:
        self._groups: dict[str, list[Any]] = {}

    def build(self, way: str, config: Config, lanes: Any, packs: Sequence[range]) -> float:
        """One pack for each range of seeds, on JAX's devices in turn; seconds to compile."""
        import jax

        from trainables.packs.pack import Pack

        begun, devices, group = time.perf_counter(), jax.devices(), []
        for index, seeds in enumerate(packs):
            trials, arrays = _trials(config, seeds)
            device = devices[index % len(devices)]
            pack = Pack(trials, arrays, lanes=lanes, device=device)
            pack.init()
            pack.compile()
            group.append(pack)
        self._groups[way] = group
        return time.perf_counter() - begun

    def epoch(self, way: str) -> float:
        """An epoch of each of the way's packs, a thread each; seconds of CPU."""
        group, begun = self._groups[way], time.process_time()
        if len(group) == 1:
            group[0].epoch(1)
        else:
            with ThreadPoolExecutor(len(group)) as pool:
                list(pool.map(lambda pack: pack.epoch(1), group))
        return time.process_time() - begun

    def drop(self) -> None:
        """Forgets all packs."""
        self._groups.clear()


def _trials(config: Config, seeds: range) -> tuple[list[Any], dict[str, Any]]:
    from orchestrator.worker.pack_run import load_arrays
    from trainables.declarations import builtin_registry

    registry = builtin_registry()
    trials = [registry.resolve({**config, "seed": seed}) for seed in seeds]
    return trials, load_arrays(trials[0])[0]


def _serve(pipe: Connection) -> None:
    packs = Packs()
    while True:
        try:
            what, *arguments = pipe.recv()
        except (EOFError, KeyboardInterrupt):
            return
        try:
            pipe.send(getattr(packs, what)(*arguments))
        except Exception as error:
            pipe.send(error)
