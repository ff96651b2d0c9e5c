"""Real Ray clusters of several nodes on this machine, each node a `ray start` of its own."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shlex
import shutil
import socket
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from tests.support.launches import OFTEN, SPACE, TINY, Begun, command, sets, wait_for
from tests.support.processes import below, is_raylet, those, trains

BIN = Path(sys.executable).parent
QUICK_TO_NOTICE = {
    "health_check_period_ms": 1000,
    "health_check_timeout_ms": 3000,
    "health_check_failure_threshold": 3,
}
"""Ray's checks of nodes, so that a test need not wait for one to be found dead."""


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def here() -> str:
    """This machine's address as Ray sees it."""
    from ray.util import get_node_ip_address

    return get_node_ip_address()


class Node:
    """One `ray start --block` and everything it has started."""

    def __init__(self, words: Sequence[str], environment: Mapping[str, str], own: Path | None):
        """`own`: a folder that every machine has for itself, and nodes of one machine would share;
        root can give each node its own."""
        start = [str(BIN / "ray"), "start", "--block", "--disable-usage-stats", *words]
        if own is not None and os.geteuid() == 0:
            mount = f"mount -t tmpfs tmpfs {own} && exec {shlex.join(start)}"
            start = ["unshare", "--mount", "sh", "-c", mount]
        self.process = Begun(start, environment, lasting=True)

    def processes(self) -> list[psutil.Process]:
        """Every process of the node, the raylet's workers among them."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return below(psutil.Process(self.process.pid))
        return []

    def raylets(self) -> list[psutil.Process]:
        """One, but on a head whose autoscaler has started others."""
        return those(self.processes(), is_raylet)

    def workers(self) -> list[psutil.Process]:
        """Processes of this node that run a pack at this moment."""
        return those(self.processes(), trains)

    def kill(self) -> None:
        """As a power cut does."""
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait()


class RayCluster:
    """A head that trains nothing, and nodes that do. Use as a context manager."""

    def __init__(self, autoscaling: Mapping[str, Any] | None = None) -> None:
        """`autoscaling`: a cluster file's content, for Ray's autoscaler on the head. Its nodes are
        processes of the head's, since the `fake_multinode` provider starts them."""
        self._autoscaling = autoscaling
        # Ray's sockets lie below it, and their paths must be short.
        self.folder = Path(tempfile.mkdtemp(prefix="gs-"))
        self.port, self.dashboard = free_port(), free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.jobs = f"http://127.0.0.1:{self.dashboard}"
        self.token = secrets.token_hex(32)
        self.environment = {
            **os.environ,
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": self.token,
        }
        self.nodes: dict[str, Node] = {}

    def __enter__(self) -> RayCluster:
        try:
            self.start_head()
        except BaseException:
            self.__exit__()
            raise
        return self

    def start_head(self) -> Node:
        words = [
            *("--head", f"--port={self.port}", "--num-cpus=0", "--include-dashboard=true"),
            *("--dashboard-host=127.0.0.1", f"--dashboard-port={self.dashboard}"),
            *(f"--temp-dir={self.folder}", f"--system-config={json.dumps(QUICK_TO_NOTICE)}"),
            f"--dashboard-agent-listen-port={free_port()}",  # another cluster's may be here too
        ]
        special: dict[str, str] = {}
        if self._autoscaling is not None:
            file = self.folder / "cluster.yaml"
            provider = {**self._autoscaling["provider"], "gcs_address": f"{here()}:{self.port}"}
            file.write_text(json.dumps({**self._autoscaling, "provider": provider}))
            words.append(f"--autoscaling-config={file}")
            special = {"RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1"}
        return self._start("head", words, special)

    def add(self, name: str, cpus: int = 1, **environment: str) -> Node:
        """Starts a node; `environment` is what is special about it."""
        words = [
            *(f"--address={self.address}", f"--num-cpus={cpus}", f"--labels=name={name}"),
            *("--dashboard-agent-listen-port=0", "--dashboard-agent-grpc-port=0"),
        ]
        return self._start(name, words, environment)

    def _start(self, name: str, words: list[str], special: dict[str, str]) -> Node:
        # Where Ray unpacks what travels.
        own = None if name == "head" else self.folder / "session_latest" / "runtime_resources"
        node = Node(words, {**self.environment, **special}, own and own.resolve())
        self.nodes[name] = node
        wait_for(lambda: "--block" in node.process.said(), of=node.process)
        if name == "head":
            wait_for(self._answers, of=node.process)
        return node

    def _answers(self) -> bool:
        asked = urllib.request.Request(
            f"{self.jobs}/api/version", headers={"Authorization": f"Bearer {self.token}"}
        )
        try:
            with urllib.request.urlopen(asked, timeout=5) as reply:
                return reply.status == 200
        except (urllib.error.URLError, OSError):
            return False

    def start(self, *words: str) -> Begun:
        """A gradsweep command as a process of its own, with the cluster's token."""
        return Begun(command(*words), self.environment)

    def launch(self, store: Path, *extra: str, words: Sequence[str] = ()) -> Begun:
        return self.start(
            *("launch", SPACE, "--store", str(store), "--address", self.address),
            *("--checkpoint-seconds", OFTEN, *sets(*TINY, *extra), *words),
        )

    def ensure(self, *names: str) -> None:
        """Exactly these nodes beside the head, as they come; others are killed."""
        for name in {*self.nodes} - {*names, "head"}:
            self.nodes.pop(name).kill()
        for name in names:
            if name not in self.nodes or self.nodes[name].process.poll() is not None:
                self.add(name)

    def __exit__(self, *_: object) -> None:
        for node in self.nodes.values():
            node.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
