"""Copies of a checkout in a temporary folder, and the test processes that run in them."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.mutants import contexts, plugin
from tests.mutants import server as server_module

MEMORY = 12 * 2**30
"""Bytes of data that a test process may have: a mutant may ask for all there are."""


class StoppedError(Exception):
    """Ctrl-C was pressed; what is done is kept."""


@dataclass
class Ran:
    """What a test process did."""

    status: int | None  # None: it took too long as a whole
    report: dict[str, Any]
    output: str


@dataclass
class Copy:
    """One copy of the checkout; one test process at a time runs in it."""

    folder: Path
    compiled: Path
    stop: threading.Event
    mutations: int = 0
    _server: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    _run: int | None = field(default=None, repr=False)  # process id of the run

    @property
    def root(self) -> Path:
        return self.folder / "code"

    def measure(self, path: str, modules: Sequence[str], limit: float) -> contexts.Measured:
        """One test file with coverage."""
        data = self.folder / "coverage"
        shutil.rmtree(data, ignore_errors=True)
        data.mkdir()
        config = contexts.write_config(data, self.root, modules)
        ran = self._pytest([path], limit, {"COVERAGE_PROCESS_START": str(config)}, [])
        if ran.status is None or not ran.report or ran.status not in (0, 1, 5):
            raise RuntimeError(f"{path} does not run without a mutant:\n{ran.output[-3000:]}")
        return contexts.read(data, self.root, path, ran.report)

    def run(self, limits: dict[str, float]) -> Ran:
        """These tests in this order, each with its limit in seconds, until one fails."""
        plan = self.folder / "plan.json"
        plan.write_text(json.dumps(limits))
        files = dict.fromkeys(test.partition("::")[0] for test in limits)
        # Each test has its limit, so this one is for what is imported before.
        limit = 120 + sum(limits.values())
        return self._pytest(list(files), limit, {"MUTANTS_PLAN": str(plan)}, ["-x"])

    @contextlib.contextmanager
    def mutated(self, path: str, source: str) -> Iterator[None]:
        """The module changed, in this copy, for a while."""
        file = self.root / path
        before, stat = file.read_bytes(), file.stat()
        file.write_text(source)
        # Python tells a stale .pyc by size and whole seconds, which two mutants can share.
        self.mutations += 1
        later = stat.st_mtime + 10 * self.mutations
        os.utime(file, (later, later))
        try:
            yield
        finally:
            file.write_bytes(before)
            os.utime(file, (stat.st_atime, stat.st_mtime))

    def kill(self) -> None:
        """Ends the run in this copy, with its children."""
        if self._run is not None:
            for end in (os.killpg, os.kill):  # the second for a run that leads no group yet
                with contextlib.suppress(ProcessLookupError):
                    end(self._run, signal.SIGKILL)

    def end(self) -> None:
        """Ends the copy's processes, for good."""
        self.kill()
        if self._server is not None:
            self._server.kill()
            self._server.wait()
            self._server = None

    def _environment(self) -> dict[str, str]:
        ours = ("MUTANTS", "COVERAGE")
        return {k: v for k, v in os.environ.items() if not k.startswith(ours)} | {
            "PYTHONPATH": os.pathsep.join([str(self.root), str(self.folder / "plugins")]),
            "GRADSWEEP_CACHE": str(self.compiled),
            "MUTANTS_REPORT": str(self.folder / "report.json"),
            "TMPDIR": str(self.folder / "scratch"),
        }

    def _start(self) -> subprocess.Popen[bytes]:
        """The process that forks the runs, with the environment that the tests' conftest sets."""
        given = "import json, os, tests.conftest; print(json.dumps(dict(os.environ)))"
        told = subprocess.run(
            [sys.executable, "-c", given],
            cwd=self.root,
            env=self._environment(),
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        server = subprocess.Popen(
            [sys.executable, server_module.__file__],
            cwd=self.root,
            env=json.loads(told.stdout.splitlines()[-1]),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,  # so that `select` below sees all that was not read
            start_new_session=True,  # Ctrl-C is this process's to handle
            preexec_fn=_limit_memory,  # noqa: PLW1509  this process runs no JAX
        )
        assert server.stdout is not None
        if server.stdout.readline() != b"ready\n":
            raise RuntimeError("the process that starts the tests ended at once")
        return server

    def _pytest(
        self, files: Sequence[str], limit: float, variables: dict[str, str], extra: Sequence[str]
    ) -> Ran:
        if self.stop.is_set():
            raise StoppedError
        report, base, log = (self.folder / name for name in ("report.json", "tmp", "output"))
        report.unlink(missing_ok=True)
        words = [
            *("-q", "--tb=short", "-p", "no:cacheprovider", "-p", "no:randomly", "-p", "no:xdist"),
            # Of plugins that server.py has imported: their asserts are not shown in full.
            *("-W", "ignore:Module already imported so cannot be rewritten"),
            *("-p", "mutants_plugin", f"--basetemp={base}", *extra, *files),
        ]
        server = self._server = self._server or self._start()
        assert server.stdin is not None
        assert server.stdout is not None
        asked = {"words": words, "variables": variables, "log": str(log)}
        server.stdin.write(json.dumps(asked).encode() + b"\n")
        self._run = int(server.stdout.readline() or 0) or None
        in_time = bool(select.select([server.stdout], [], [], limit)[0])
        self.kill()  # the run, or what it left behind
        answer = server.stdout.readline()
        self._run = None
        if self.stop.is_set():
            raise StoppedError
        for folder in (base, self.folder / "scratch"):
            shutil.rmtree(folder, ignore_errors=True)
        (self.folder / "scratch").mkdir()
        found = json.loads(report.read_text()) if report.is_file() else {}
        output = log.read_text(errors="replace") if log.is_file() else ""
        return Ran(int(answer) if in_time and answer else None, found, output)


def _limit_memory() -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))


def make(root: Path, folder: Path, compiled: Path, stop: threading.Event) -> Copy:
    """Copies what git tracks or would track in `root`, as it lies there, to `folder`."""
    copy = Copy(folder, compiled, stop)
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (root / name).is_file():
            (copy.root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, copy.root / name)
    who = ("-c", "user.name=mutants", "-c", "user.email=mutants@localhost")
    for words in (("init", "-q"), ("add", "-A"), (*who, "commit", "-q", "-m", "unmutated")):
        subprocess.run(["git", *words], cwd=copy.root, check=True, capture_output=True)
    for name in ("plugins", "scratch"):
        (folder / name).mkdir()
    shutil.copy(plugin.__file__, folder / "plugins" / "mutants_plugin.py")
    return copy
