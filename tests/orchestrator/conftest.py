"""Fixtures of the tests that launch: an uninterrupted store, and a cluster of real nodes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.local_ray import local_ray
from orchestrator.room import Room
from tests.orchestrator import launches


@pytest.fixture(autouse=True)
def ended_with_the_test() -> Iterator[None]:
    """No `launches.Begun` outlives its test, though the test may fail."""
    yield
    while launches.STARTED:
        launches.STARTED.pop().killed()


@pytest.fixture(scope="session")
def ray_session() -> Iterator[str]:
    """One Ray for all tests that need none of their own; its address. It is what a launch without
    `--address` starts: `launch` in this process uses it as it is, another by `--address`."""
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


@pytest.fixture(scope="session")
def uninterrupted(ray_session: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What every store of these trials must show in the end, whatever happens to its launch."""
    store = tmp_path_factory.mktemp("uninterrupted") / "store"
    result = launches.run(store, f"epochs={launches.EPOCHS}", checkpoint_s=0.5)
    assert result.exit_status == 0
    return store


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[object]:
    """A head and nodes; see `clusters.RayCluster`."""
    from tests.orchestrator.clusters import RayCluster

    with RayCluster() as cluster:
        yield cluster
