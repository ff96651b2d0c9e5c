"""Launches as jobs of a real cluster: started, left alone, looked at, stopped, finished."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from orchestrator.ray_backend.cluster import baggage
from orchestrator.ray_backend.code_bundle import PACKAGES
from tests.support.launches import command, wait_for
from tests.support.ray.clusters import RayCluster
from tests.support.stores import count, published

STUDY = Path(__file__).parents[2] / "support" / "tiny_study.py"


def gradsweep(cluster: RayCluster, *words: str, status: int = 0) -> str:
    """Output of a command that a laptop gives, in a folder with nothing of ours."""
    return cluster.start(*words).ended(status)


@pytest.mark.ray
@pytest.mark.slow
def test_a_detached_launch_is_stopped_and_finished_by_another(
    ray_cluster: RayCluster, tmp_path: Path
) -> None:
    """With a user's study file, which travels, and a store that all nodes see at one path."""
    ray_cluster.ensure("n1")
    shutil.copy(STUDY, tmp_path / "mine.py")
    store, jobs = tmp_path / "store", ("--address", ray_cluster.jobs)
    launch = [
        *("launch", "tiny/grid", "--study", str(tmp_path / "mine.py"), "--store", str(store)),
        *("--set", "epochs=20000", "--set", "seed=0", "--set", "lr=0.1"),
        *("--checkpoint-seconds", "1", *jobs),
    ]
    job = gradsweep(ray_cluster, *launch, "--detach").strip()
    assert job.startswith("raysubmit_")
    wait_for(lambda: published(store) > 0)
    (listed,) = json.loads(gradsweep(ray_cluster, "status", *jobs, "--json"))["jobs"]
    assert (listed["job"], listed["status"], listed["space"]) == (job, "running", "tiny/grid")
    assert "starting" in gradsweep(ray_cluster, "logs", job, *jobs)
    assert job in gradsweep(ray_cluster, "stop", job[:-3], *jobs)
    gradsweep(ray_cluster, "logs", *jobs, "--follow", status=1)
    statuses = "SELECT count(*) FROM attempts WHERE status = "
    assert count(store, f"{statuses} 'interrupted'") == 1
    assert count(store, f"{statuses} 'running'") == 0
    assert not (store / "lease.json").exists()
    # The same again, waited for this time; its exit status is the launch's.
    left = gradsweep(ray_cluster, *launch)
    assert "1 done" in left
    assert count(store, "SELECT count(DISTINCT epoch) FROM epochs") == 20_000
    assert count(store, "SELECT max(first_epoch) FROM attempts") > 0


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("launch", "tiny/gird", "--study", str(STUDY)), "unknown space 'tiny/gird'"),
        (("launch", "vanishing/depth"), "--store ./store is a folder of this machine"),
        (("logs", "raysubmit_none"), "there is no job raysubmit_none"),
    ],
)
def test_wrong_requests_end_before_a_job_starts(
    ray_cluster: RayCluster, words: tuple[str, ...], error: str
) -> None:
    before = gradsweep(ray_cluster, "status", "--address", ray_cluster.jobs, "--json")
    text = gradsweep(ray_cluster, *words, "--address", ray_cluster.jobs, status=2)
    assert error in text
    assert "Traceback" not in text
    assert gradsweep(ray_cluster, "status", "--address", ray_cluster.jobs, "--json") == before


@pytest.mark.parametrize(
    "words",
    [
        ("status", "--address", "http://127.0.0.1:9"),
        ("logs", "--address", "http://127.0.0.1:9"),
        ("stop", "--address", "http://127.0.0.1:9"),
    ],
)
def test_an_address_where_nothing_answers_is_one_sentence(words: tuple[str, ...]) -> None:
    done = subprocess.run(command(*words), capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: the job server at http://127.0.0.1:9 says: ")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("address", ["127.0.0.1:9", "127.0.0.1:port", "nowhere.invalid:6379"])
def test_a_cluster_that_is_not_there_is_one_sentence(address: str, tmp_path: Path) -> None:
    words = ("launch", "vanishing/quickstart", "--store", str(tmp_path / "s"), "--address", address)
    done = subprocess.run(command(*words), capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: no Ray cluster answers at {address} (")
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "s").exists()


def test_to_detach_needs_a_job_server() -> None:
    for where in ((), ("--address", "127.0.0.1:6379")):
        words = ["launch", "vanishing/quickstart", "--detach", *where]
        done = subprocess.run(command(*words), capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert "--detach starts a job on a cluster; name its job server" in done.stderr


def test_the_code_that_travels_is_the_code_that_runs(tmp_path: Path) -> None:
    study = tmp_path / "own.py"
    study.write_text("STUDY = None\n")
    carried = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        carried.append(Path(baggage(tmp_path / name, str(study))["working_dir"]))
        assert (carried[-1] / "own.py").read_text() == study.read_text()
    assert len({(folder / "launch.txt").read_text() for folder in carried}) == 2
    root = Path(__file__).parents[3]
    expected = {Path("own.py"), Path("launch.txt")}
    for package in PACKAGES:
        for path in (root / package).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                expected.add(path.relative_to(root))
                assert (carried[0] / path.relative_to(root)).read_bytes() == path.read_bytes()
    (about,) = importlib.metadata.distributions(path=[str(carried[0])])
    assert about.version == importlib.metadata.version("gradsweep")
    expected.add(Path(f"gradsweep-{about.version}.dist-info", "METADATA"))
    files = {path.relative_to(carried[0]) for path in carried[0].rglob("*") if path.is_file()}
    assert files == expected
