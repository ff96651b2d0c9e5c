"""A few random kills; `make chaos` does a hundred."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.ray.chaos import Chaos
from tests.support.ray.clusters import RayCluster


@pytest.mark.ray
@pytest.mark.slow
def test_random_kills_change_nothing(ray_cluster: RayCluster, tmp_path: Path, seed: int) -> None:
    report = Chaos(seed, tmp_path, print).run(4, ray_cluster)
    print(report)
    assert sum(report.kills.values()) >= 4
    assert report.differing == 0
