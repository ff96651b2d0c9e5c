"""What all tests share: the seed, the compile cache, the folder of real data.

Needs nothing but pytest, so that tests/trainables runs where only JAX's libraries are installed.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.machine import environment

pytest_plugins = ["tests.support.object_store"]

# What packs run in, here and in every process that a test starts. They share one compile cache,
# kept from run to run. It holds every program, since most of a test's time is compiling small ones,
# and has no size limit, since JAX would then read its whole folder at each new entry;
# `pytest_sessionstart` removes old entries.
os.environ.setdefault("GRADSWEEP_CACHE", str(environment.cache_dir() / "tests"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_COMPILATION_CACHE_MAX_SIZE", "-1")
environment.prepare()
KEPT_DAYS = 30


def _seed(text: str) -> int:
    if text != "random":
        return int(text)
    # Through the environment, so that xdist's workers, which parse again, have the same.
    return int(os.environ.setdefault("GRADSWEEP_TEST_SEED", str(secrets.randbelow(2**31))))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--seed",
        type=_seed,
        default=0,
        help="Seed of everything that tests draw, Hypothesis included; 'random' draws one. "
        "Default: 0.",
    )
    parser.addoption(
        "--fuzz-cases",
        type=int,
        default=250,
        help="About how many wrong requests and damaged stores tests/fuzz draws. Default: 250.",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    if config.pluginmanager.hasplugin("hypothesispytest"):
        from hypothesis import HealthCheck, settings

        # The first example of a test may compile a program or open a store.
        settings.register_profile(
            "gradsweep",
            deadline=None,
            derandomize=False,
            print_blob=True,
            suppress_health_check=[HealthCheck.too_slow],
        )
        settings.load_profile("gradsweep")
        if config.option.hypothesis_seed is None:
            config.option.hypothesis_seed = str(config.option.seed)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Removes entries of the compile cache that are a month old."""
    if hasattr(session.config, "workerinput"):  # xdist's workers leave it to their parent
        return
    oldest = time.time() - KEPT_DAYS * 24 * 3600
    for entry in Path(os.environ["JAX_COMPILATION_CACHE_DIR"]).glob("*-cache"):
        with contextlib.suppress(FileNotFoundError):  # another run may remove it too
            if entry.stat().st_mtime < oldest:
                entry.unlink()


def pytest_report_header(config: pytest.Config) -> list[str]:
    data = os.environ.get("GRADSWEEP_DATA") or "not set: tests of real data sets are skipped"
    return [
        f"seed: {config.option.seed} (repeat with --seed)",
        f"GRADSWEEP_DATA: {data}",
        f"compile cache: {os.environ['JAX_COMPILATION_CACHE_DIR']}",
    ]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How many cases tests/fuzz ran, by test and in total."""
    counts: dict[str, int] = {}
    for report in (*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")):
        for name, count in report.user_properties:
            if name == "fuzz cases":
                test = report.nodeid.rpartition("::")[2]
                counts[test] = counts.get(test, 0) + int(str(count))
    if counts:
        terminalreporter.write_sep("-", f"{sum(counts.values())} fuzz cases")
        for test, count in counts.items():
            terminalreporter.write_line(f"{count:6} {test}")


@pytest.fixture(scope="session")
def seed(pytestconfig: pytest.Config) -> int:
    """The seed of this run, for whatever a test draws."""
    return pytestconfig.option.seed


@pytest.fixture(scope="session")
def compile_cache() -> Path:
    """Folder of JAX's compile cache, shared by all tests and the processes they start."""
    return Path(os.environ["JAX_COMPILATION_CACHE_DIR"])


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Root of the real data sets; skips the test where there are none."""
    root = os.environ.get("GRADSWEEP_DATA")
    if not root:
        pytest.skip("GRADSWEEP_DATA is not set")
    return Path(root)


@pytest.fixture(scope="session")
def ray_session() -> Iterator[str]:
    """Starts one Ray that all tests may share, and yields its address. It is what a launch without
    `--address` starts. `launch` in this process uses it; another process needs `--address`."""
    from orchestrator.machine.resources import Room
    from orchestrator.ray_backend.local import local_ray
    from tests.support import launches

    with contextlib.ExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("RAY_worker_niceness", launches.ALWAYS["RAY_worker_niceness"])
            # Other processes find it at the machine's address, not on loopback alone.
            patch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "1")
            # As without the extra [default]: its agent takes seconds of CPU to start.
            none = ImportError("no extra [default]")
            patch.setattr("ray._private.utils.get_dashboard_dependency_error", lambda: none)
            stack.enter_context(local_ray(Room(packs=2, resources={"CPU": 1.0}), threads=1))
        import ray

        yield ray.get_runtime_context().gcs_address
