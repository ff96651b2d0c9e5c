"""Fixtures of the tests that launch: an uninterrupted store, and a cluster of real nodes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import launches


@pytest.fixture(autouse=True)
def ended_with_the_test() -> Iterator[None]:
    """No `launches.Begun` outlives its test, though the test may fail."""
    yield
    while launches.STARTED:
        launches.STARTED.pop().killed()


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
    from tests.support.ray.clusters import RayCluster

    with RayCluster() as cluster:
        yield cluster
