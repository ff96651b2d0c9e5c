"""A real launch whose compile cache was empty at first: what it compiles, and how long it takes by
its own replay."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from orchestrator.machine.resources import cpus_here
from orchestrator.plan.plan import plan
from orchestrator.simulate.cluster import Cluster
from orchestrator.simulate.simulate import simulate
from tests.support.launches import ALWAYS, SPACE, command, sets
from tests.support.stores import attempts

pytestmark = [pytest.mark.ray, pytest.mark.slow]

TRIALS = ["depth=3", "width=8", "batch_size=256", "lr=0.001"]
"""Trials of `SPACE` of which none diverges; sixty epochs of a pack of two take some seconds."""

SHARE = 0.3
"""Of a real makespan, by which a replay of the same launch may be off."""


def launch(folder: Path, store: str, *changes: str) -> dict[str, Any]:
    """What a launch says that starts its own Ray, with its compile cache in the folder."""
    environment = {
        **os.environ,
        **ALWAYS,
        # Both: what has been compiled on this machine is noted beside the compile cache.
        "GRADSWEEP_CACHE": str(folder),
        "JAX_COMPILATION_CACHE_DIR": str(folder / "jax"),
        "XLA_FLAGS": "--xla_backend_optimization_level=1 --xla_cpu_use_fusion_emitters=false",
    }
    words = ["launch", SPACE, "--store", str(folder / store), "--width", "2", "--json"]
    words += sets(*TRIALS, *changes)
    done = subprocess.run(
        command(*words), env=environment, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cold")


@pytest.fixture(scope="module")
def cold(folder: Path) -> dict[str, Any]:
    """Eight packs, in the store `cold`."""
    return launch(folder, "cold", "epochs=60", "seed=range(4)")


def test_as_many_programs_are_compiled_as_were_planned(folder: Path, cold: dict[str, Any]) -> None:
    changes = [*TRIALS, "epochs=60", "seed=range(4)"]
    (planned,) = plan(SPACE, store=None, set=changes, width=2)
    assert cold["programs_compiled"] == len(planned.programs) == 2
    assert cold["ran"] == 16
    warm = launch(folder, "warm", "epochs=1", "seed=0")
    assert warm["programs_compiled"] == 0
    assert warm["programs_cached"] >= 2
    assert warm["ran"] == 4


def test_makespan_is_that_of_a_real_launch(folder: Path, cold: dict[str, Any]) -> None:
    """Eight packs were launched, and eight others of their programs are replayed at the pace that
    these had: so the machine was as fast and as busy for the one as for the other."""
    store = folder / "cold"
    rows = attempts(store)
    real = max(row["ended"] for row in rows) - min(row["started"] for row in rows)
    cluster = Cluster(slots=cpus_here(), startup_s=0.0)
    changes = [*TRIALS, "epochs=60", "seed=range(4,8)"]
    found = simulate(SPACE, cluster, store=str(store), width=2, set=changes)
    assert found.measured == len(found.paces) == 2
    # Trials take slots as these become free, so packs are fewer than cut beforehand.
    for packs in (found.tally.attempts, len({row["pack"] for row in rows})):
        assert len(found.paces) <= packs <= 8
    print(f"simulated {found.tally.makespan_s:.1f} s, launched {real.total_seconds():.1f} s")
    assert found.tally.makespan_s == pytest.approx(real.total_seconds(), rel=SHARE)
