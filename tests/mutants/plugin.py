"""A pytest plugin for the processes that `make mutants` starts; needs nothing of this repository.

Told by the environment: MUTANTS_REPORT, where to write what ran, and MUTANTS_PLAN, a file with the
tests to run, in order, and each one's limit in seconds. With coverage running, every test is a
separate context.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

LEFT_OUT = ("slow", "ray", "study")
"""Marks of tests that are not quick."""

HUNG = 97
"""Exit status of a process in which a test went beyond its limit."""


class _Recorder:
    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.outcomes: dict[str, str] = {}
        self.reasons: dict[str, str] = {}
        self.plan: dict[str, float] = {}
        if os.environ.get("MUTANTS_PLAN"):
            self.plan = json.loads(Path(os.environ["MUTANTS_PLAN"]).read_text())
        self._running: tuple[str, float] | None = None
        self._changed = threading.Condition()
        if self.plan:
            threading.Thread(target=self._watch, daemon=True).start()

    def write(self, hung: str | None = None) -> None:
        root = Path.cwd()
        loaded = {
            Path(file).relative_to(root).as_posix()
            for module in list(sys.modules.values())
            if (file := getattr(module, "__file__", None)) and Path(file).is_relative_to(root)
        }
        found = {
            "seconds": self.seconds,
            "outcomes": self.outcomes,
            "reasons": self.reasons,
            "loaded": sorted(loaded),
            "hung": hung,
        }
        path = Path(os.environ["MUTANTS_REPORT"])
        path.with_suffix(".part").write_text(json.dumps(found))
        path.with_suffix(".part").replace(path)

    def _watch(self) -> None:
        """Ends the process when a test takes longer than its limit."""
        with self._changed:
            while True:
                running = self._running
                left = None if running is None else running[1] - time.monotonic()
                if running and left is not None and left <= 0:
                    self.write(hung=running[0])
                    os._exit(HUNG)
                self._changed.wait(left)

    def running(self, test: str | None) -> None:
        with self._changed:
            limit = self.plan.get(test, max(self.plan.values(), default=60.0)) if test else 0.0
            self._running = (test, time.monotonic() + limit) if test else None
            self._changed.notify()

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        # Not by -m, which refuses a mark that an older checkout does not know.
        items[:] = [item for item in items if not any(map(item.get_closest_marker, LEFT_OUT))]
        place = {name: n for n, name in enumerate(self.plan)}
        chosen = [item for item in items if item.nodeid in place]
        # A mutant that renames every chosen test (a parameter's id) is tested by all of the file.
        if self.plan and chosen:
            items[:] = sorted(chosen, key=lambda item: place[item.nodeid])

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        coverage = _coverage()
        # Processes that the test starts take its name from here: see `context` in contexts.py.
        os.environ["MUTANTS_TEST"] = item.nodeid
        if coverage:
            coverage.switch_context(item.nodeid)
        self.running(item.nodeid)
        start = time.monotonic()
        try:
            return (yield)
        finally:
            self.seconds[item.nodeid] = time.monotonic() - start
            self.running(None)
            if coverage:
                coverage.switch_context("")
            os.environ.pop("MUTANTS_TEST", None)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed or report.skipped:
            self.outcomes[report.nodeid] = report.outcome
            if report.failed:
                self.reasons[report.nodeid] = str(report.longrepr)[-500:]
        else:
            self.outcomes.setdefault(report.nodeid, report.outcome)

    def pytest_unconfigure(self) -> None:
        self.write()


def _coverage() -> Any:
    if "COVERAGE_PROCESS_START" not in os.environ:
        return None
    return importlib.import_module("coverage").Coverage.current()


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(_Recorder(), "mutants")
