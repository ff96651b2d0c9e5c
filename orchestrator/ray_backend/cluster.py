"""The Ray cluster a launch runs on; its nodes, and which of them have died."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import uuid
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from orchestrator.errors import RequestError
from orchestrator.machine.environment import ray_environment, worker_environment
from orchestrator.machine.scratch import launch_folder
from orchestrator.queue.losses import Machines
from orchestrator.ray_backend.code_bundle import copy_code, copy_study
from orchestrator.ray_backend.ray_patches import ray_speaks_of_nothing, signals_are_ours
from orchestrator.ray_backend.watch import RayWatch
from orchestrator.worker.provenance import COMMIT, git_commit, versions

ANSWER_S = 120.0
"""How long a node may take to say which versions it has; it fetches our code first."""


@contextlib.contextmanager
def cluster_ray(address: str, threads: int, study: str | None) -> Iterator[RayWatch]:
    """A connection to the cluster at `address`, and a watch of it. Our code and the user's study
    file travel with it, unless this process is a job there, whose they have come with already.

    Raises:
      RequestError: nothing answers at the address, or its nodes have other versions.
    """
    _require_answer(address)
    os.environ.update(ray_environment())
    import ray

    if ray.is_initialized():
        yield RayWatch()
        return
    variables = worker_environment(threads, here=False)
    with launch_folder() as folder:
        ships: dict[str, Any] = {}
        if not in_job():
            ships = baggage(folder, study)
            variables |= ships.pop("env_vars")
        try:
            connect({**ships, "env_vars": variables}, address=address)
        except Exception as error:
            raise RequestError(_no_answer(address, error)) from error
        with connected() as watch:
            _check_nodes()
            yield watch


def _require_answer(address: str) -> None:
    """Raises RequestError where nothing listens: Ray would try for ever."""
    host, colon, port = address.rpartition(":")
    if address in ("auto", "local") or "://" in address or not colon:
        return
    try:
        with socket.create_connection((host.strip("[]"), int(port)), ANSWER_S / 12):
            pass
    except (OSError, ValueError, OverflowError) as error:
        raise RequestError(_no_answer(address, error)) from error


def _no_answer(address: str, error: Exception) -> str:
    return (
        f"no Ray cluster answers at {address} ({str(error).splitlines()[0]}); check the address, "
        "and that this shell has the cluster's token (RAY_AUTH_MODE=token)"
    )


def in_job() -> bool:
    """Whether this process was started as a job on a Ray cluster."""
    return "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ


def baggage(folder: Path, study: str | None) -> dict[str, Any]:
    """The runtime environment that carries this code and a user's study file to a cluster.

    A plain folder and no wheel: Ray installs one that is a `py_module` once for each runtime
    environment that names it (a launch has two: the job's and its packs'), at once on a node that
    joins, and the second installation there removes the first.

    Args:
      folder: empty; holds what travels, so it must last until Ray has taken it.
    """
    carried = folder / "carried"
    copy_code(carried)
    if study is not None:
        copy_study(study, carried)
    # One of a kind: a cluster knows a folder by its content, and drops one with the driver that
    # brought it, though another driver may just have found it there.
    (carried / "launch.txt").write_text(uuid.uuid4().hex)
    return {"working_dir": str(carried), "env_vars": {COMMIT: git_commit() or ""}}


def connect(environment: dict[str, Any] | None, **options: Any) -> None:
    """`ray.init`, which says nothing and leaves signals to us."""
    import ray

    with warnings.catch_warnings(), signals_are_ours():
        # A debug run before in this process has started JAX; Ray's children do not use it.
        warnings.filterwarnings("ignore", "os.fork", RuntimeWarning)
        ray.init(
            runtime_env=environment, log_to_driver=False, logging_level=logging.ERROR, **options
        )


@contextlib.contextmanager
def connected() -> Iterator[RayWatch]:
    """A watch of the Ray this process is connected to; the connection ends with it."""
    import ray

    watch = None
    try:
        with ray_speaks_of_nothing():
            watch = RayWatch()
            yield watch
    finally:
        # Its C++ does not survive this while a call is under way.
        if watch is None or not watch.stuck:
            ray.shutdown()


def cluster_resources() -> Mapping[str, float]:
    """CPUs, GPUs and the like of the cluster as it is now."""
    import ray

    return ray.cluster_resources()


def node_name(node: Mapping[str, Any]) -> str:
    """A node as a user can find it."""
    return f"{node['NodeManagerHostname']}, node {node['NodeID'][:12]}"


def _check_nodes() -> None:
    """Refuses a cluster with a node that would compute with other versions.

    Raises:
      RequestError: names each such node, and each that gives no answer.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    ask = ray.remote(num_cpus=0, max_retries=0)(versions)
    nodes = [node for node in ray.nodes() if _lives(node)]
    answers = [
        ask.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        ).remote()
        for node in nodes
    ]
    ready, _ = ray.wait(answers, num_returns=len(answers), timeout=ANSWER_S)
    problems = []
    wanted = versions()
    for node, answer in zip(nodes, answers, strict=True):
        if answer not in ready:
            problems.append(f"{node_name(node)} does not answer within {ANSWER_S:g} s")
            continue
        try:
            found = ray.get(answer)
        except Exception as error:
            if not _lives(node):  # it went in the meantime
                continue
            last = str(error).strip().splitlines()[-1]
            problems.append(f"{node_name(node)} cannot run gradsweep: {last}")
            continue
        other = [f"{name} {found[name]}" for name in wanted if found[name] != wanted[name]]
        if other:
            ours = ", ".join(f"{name} {wanted[name]}" for name in wanted)
            problems.append(
                f"{node_name(node)} has {', '.join(other)}, this launch {ours}; install the same "
                "lock file on every node"
            )
    if problems:
        raise RequestError(problems)


class RayMachines(Machines):
    """The nodes of the Ray that this process is connected to.

    Args:
      needs: resources of one pack.
    """

    def __init__(self, needs: Mapping[str, float]):
        self._needs = needs
        self._node: dict[str, str] = {}
        self._dead_before: dict[str, set[str]] = {}

    def others(self, avoided: set[str]) -> bool:
        return any(
            node["Alive"]
            and node["NodeID"] not in avoided
            and all(node["Resources"].get(name, 0) >= n for name, n in self._needs.items())
            for node in _nodes()
        )

    def handed_out(self, runner: str) -> None:
        """Remembers which nodes are dead already as a pack goes out."""
        self._dead_before[runner] = _dead()

    def seen(self, runner: str, node: str | None) -> None:
        """The runner's worker says on which node it is."""
        if node:
            self._node[runner] = node

    def took(self, runner: str) -> bool:
        """Whether the runner's worker died with its node. Before its first report nobody knows
        where it was; then any node that has died since counts."""
        before = self._dead_before.pop(runner, set())
        node = self._node.pop(runner, None)
        nodes = [one for one in _nodes() if one["NodeID"] == (node or one["NodeID"])]
        return any(not _lives(one) for one in nodes if one["NodeID"] not in before)


def _nodes() -> list[dict[str, Any]]:
    import ray

    return ray.nodes()


def _dead() -> set[str]:
    return {node["NodeID"] for node in _nodes() if not node["Alive"]}


def _lives(node: Mapping[str, Any]) -> bool:
    """Whether a node's raylet answers. Ray takes a while to find a node dead, and hears of its
    workers' deaths before."""
    if not node["Alive"]:
        return False
    try:
        with socket.create_connection((node["NodeManagerAddress"], node["NodeManagerPort"]), 2):
            return True
    except OSError:
        return False
