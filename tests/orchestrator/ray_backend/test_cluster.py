"""Launches on several real nodes, some of which are killed, cut off, told to leave or damaged; and
as jobs, which are left alone, looked at, stopped and finished.

One file, so that one process starts the cluster once. The order lets most find the nodes they need.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
from pathlib import Path

import duckdb
import psutil
import pytest

from orchestrator.queue.lease import STOP
from tests.fuzz.command_line import told
from tests.support import pruned_sweeps
from tests.support.launches import EPOCHS, SPACE, Begun, command, run, wait_for
from tests.support.processes import stopped, those, trains
from tests.support.ray.chaos import Chaos
from tests.support.ray.clusters import Node, RayCluster
from tests.support.stores import (
    attempts,
    count,
    differing,
    published,
    redone,
    resume_points,
    rows,
    seen,
    whole,
)

pytestmark = [pytest.mark.ray, pytest.mark.slow]

LONG = f"epochs={EPOCHS}"
STUDY = Path(__file__).parents[2] / "support" / "tiny_study.py"


@pytest.fixture
def cluster(ray_cluster: RayCluster) -> RayCluster:
    """The head and the nodes n1 and n2."""
    ray_cluster.ensure("n1", "n2")
    return ray_cluster


def widths(store: Path) -> set[int]:
    return {json.loads(row["signature"])["width"] for row in attempts(store)}


def test_a_node_that_was_cut_off_comes_back(
    cluster: RayCluster, uninterrupted: Path, tmp_path: Path
) -> None:
    """Its pack runs elsewhere by then: it publishes nothing, but for a file that was under way."""
    store = tmp_path / "store"
    launch = cluster.launch(store, LONG)
    node = cluster.nodes["n1"]
    wait_for(lambda: bool(node.workers()) and published(store) > 40, of=launch)
    (worker,) = node.workers()
    with stopped(*node.raylets()):
        with stopped(worker):
            wait_for(lambda: (1,) in seen(store, "trials", "attempt"), of=launch)
            before = {path.name for path in store.glob("*/*.parquet")}
        # The worker goes on while its raylet, and so its node, is still out of reach.
        wait_for(lambda: not those([worker], trains), of=launch)
        output = launch.ended()
    assert "its node is gone" in output
    moved = {str(row["trial_id"]) for row in attempts(store) if row["attempt"]}
    late = [path for path in store.glob("epochs/*.parquet") if path.name not in before]
    old = duckdb.execute(
        "SELECT count(DISTINCT filename) FROM read_parquet($parts, filename = true) "
        "WHERE attempt = 0 AND trial_id IN $moved",
        {"parts": [str(path) for path in late], "moved": sorted(moved)},
    ).fetchall()
    assert old in ([(0,)], [(1,)])
    whole(store)
    assert differing(uninterrupted, store) == {}
    cluster.nodes.pop("n1").kill()


def test_a_killed_driver_and_a_smaller_cluster(
    cluster: RayCluster, uninterrupted: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    launch = cluster.launch(store, LONG, words=("--width", "3"))

    def both_programs_have_begun() -> bool:  # else the width of one is not recorded
        begun = seen(store, "trials", "program", "signature")
        return len({program for program, signature in begun if signature}) == 2

    def killed_beside_a_resume_point() -> bool:
        """Kills the driver if a trial would go on from a resume point, and says whether it was."""
        workers = [worker for node in cluster.nodes.values() for worker in node.workers()]
        with contextlib.suppress(psutil.NoSuchProcess), stopped(*workers):
            if resume_points(store):
                launch.killed()
                return True
        return False

    wait_for(both_programs_have_begun, of=launch)
    wait_for(killed_beside_a_resume_point, of=launch)
    before = rows(store)
    assert 0 < before < rows(uninterrupted)
    cluster.nodes.pop("n2").kill()
    cluster.launch(store, LONG).ended()
    assert widths(store) == {3}  # the recorded one, on one node as on two
    assert any(row["first_epoch"] > 0 for row in attempts(store))
    whole(store)
    assert differing(uninterrupted, store) == {}
    print(f"a killed driver: {before} rows were there, {redone(store)}")


def killed_in_a_pack(node: Node, store: Path) -> bool:
    """Kills a node if one of its trials is half-way, and says whether it was."""
    with contextlib.suppress(psutil.NoSuchProcess), stopped(*node.workers()):
        found = seen(store, "trials", "trial_id", "attempt", "status")
        ended = {(trial, attempt) for trial, attempt, status in found if status != "running"}
        if all((trial, attempt) in ended for trial, attempt, _ in found):
            return False
        node.kill()
        return True
    return False


def test_a_killed_node_and_a_new_one(
    ray_cluster: RayCluster, uninterrupted: Path, tmp_path: Path
) -> None:
    """The only node goes, so that what is left can be trained on the new one alone."""
    ray_cluster.ensure("n1")
    store = tmp_path / "store"
    launch = ray_cluster.launch(store, LONG, words=("--width", "1"))
    wait_for(lambda: killed_in_a_pack(ray_cluster.nodes["n1"], store), of=launch)
    del ray_cluster.nodes["n1"]
    new = ray_cluster.add("n2")
    wait_for(lambda: bool(new.workers()), of=launch)
    output = launch.ended()
    assert "its node is gone" in output
    whole(store)
    assert differing(uninterrupted, store) == {}
    print(f"a killed node: {redone(store)}")


def test_a_notice_before_a_node_goes(
    ray_cluster: RayCluster, uninterrupted: Path, tmp_path: Path
) -> None:
    """SIGTERM, then nothing as soon as the worker has left: all is kept, no death is counted. What
    has travelled is our code, and the rows are those of a local Ray."""
    ray_cluster.ensure("n2")
    store = tmp_path / "store"
    launch = ray_cluster.launch(store, LONG, words=("--checkpoint-seconds", "600"))
    node = ray_cluster.nodes["n2"]
    wait_for(lambda: bool(node.workers()) and published(store) > 0, of=launch)
    (worker,) = node.workers()
    with stopped(worker):  # however long a new node takes
        ray_cluster.add("n1")
        worker.send_signal(signal.SIGTERM)
    wait_for(lambda: "told to leave" in launch.said(), of=launch)
    assert ("interrupted",) in seen(store, "trials", "status"), "kept before it is said"
    ray_cluster.nodes.pop("n2").kill()
    output = launch.ended()
    assert "died" not in output
    assert redone(store).epochs == 0
    whole(store)
    assert differing(uninterrupted, store) == {}
    asked = ray_cluster.start("query", "SELECT count(*) AS n FROM epochs", "--store", str(store))
    assert str(rows(uninterrupted)) in asked.ended()
    (commit,) = {str(row["git_commit"]) for row in attempts(store)}
    assert len(commit.rstrip("+")) == 40  # of the code that travelled, which is in no git there


@pytest.fixture
def damaged(real_data: Path, tmp_path: Path) -> Path:
    """A data root with one byte changed."""
    root = tmp_path / "data"
    root.mkdir()
    shutil.copytree(real_data / "cifar10", root / "cifar10")
    shutil.copy(real_data / "SHA256SUMS", root)
    file = root / "cifar10" / "data_batch_1.first4000.bin.xz"
    file.chmod(0o644)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    return root


def test_a_damaged_data_file_on_one_node(
    ray_cluster: RayCluster, damaged: Path, tmp_path: Path
) -> None:
    ray_cluster.ensure("n1")
    ray_cluster.add("bad", GRADSWEEP_DATA=str(damaged))
    store = tmp_path / "store"
    small = ("task=cifar10_4k", "layout=rows", "batch_size=1000", "epochs=1", "seed=0")
    output = ray_cluster.launch(store, *small, words=("--width", "1")).ended()
    assert "data_batch_1.first4000.bin.xz is corrupt" in output
    assert "gets no more packs" in output
    node = output.split("gets no more packs")[0].split()[-1]
    assert f"node {node}" in output.split("is corrupt")[1]
    assert {row["status"] for row in attempts(store)} <= {"done", "diverged"}
    assert len(attempts(store)) == 4
    ray_cluster.nodes.pop("bad").kill()


def test_a_node_of_other_versions_is_refused_by_name(
    ray_cluster: RayCluster, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    info = other / "optax-0.0.1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: optax\nVersion: 0.0.1\n")
    ray_cluster.ensure("n1")
    ray_cluster.add("old", PYTHONPATH=str(other))
    store = tmp_path / "store"
    output = ray_cluster.launch(store, "epochs=1").ended(status=2)
    assert "has optax 0.0.1, this launch" in output
    assert output.count("error:") == 1
    assert not store.exists()
    ray_cluster.nodes.pop("old").kill()


def test_without_the_token_nothing_answers(ray_cluster: RayCluster, tmp_path: Path) -> None:
    environment = {**ray_cluster.environment, "RAY_AUTH_TOKEN": "0" * 64}
    words = [*("launch", SPACE, "--store", str(tmp_path / "s"), "--address", ray_cluster.address)]
    output = Begun(command(*words), environment).ended(status=2)
    assert "no Ray cluster answers" in output
    assert "RAY_AUTH_MODE=token" in output


# ---- jobs ----------------------------------------------------------------------------------------


def gradsweep(cluster: RayCluster, *words: str, status: int = 0) -> str:
    """Output of a command that a laptop gives, in a folder with nothing of ours."""
    return cluster.start(*words).ended(status)


def test_a_detached_launch_is_stopped_and_finished_by_another(
    ray_cluster: RayCluster, tmp_path: Path
) -> None:
    """With a user's study file and a module beside it, which travel, and a store that all nodes see
    at one path."""
    ray_cluster.ensure("n1")
    (tmp_path / "mine.py").write_text(f"from beside_mine import *\n{STUDY.read_text()}")
    (tmp_path / "beside_mine.py").write_text("")
    store, jobs = tmp_path / "store", ("--address", ray_cluster.jobs)
    launch = [
        *("launch", "tiny/grid", "--study", str(tmp_path / "mine.py"), "--store", str(store)),
        *("--set", "epochs=2000", "--set", "seed=0", "--set", "lr=0.1"),
        *("--checkpoint-seconds", "1", *jobs),
    ]
    job = gradsweep(ray_cluster, *launch, "--detach").strip()
    assert job.startswith("raysubmit_")
    working: list[psutil.Process] = []

    def works_and_publishes() -> bool:
        working[:] = ray_cluster.nodes["n1"].workers()
        return bool(working) and published(store) > 0

    wait_for(works_and_publishes)
    with stopped(*working):  # however long the commands take
        (listed,) = json.loads(gradsweep(ray_cluster, "status", *jobs, "--json"))["jobs"]
        assert (listed["job"], listed["status"], listed["space"]) == (job, "running", "tiny/grid")
        assert "connecting to Ray at auto" in gradsweep(ray_cluster, "logs", job, *jobs)
        assert job in gradsweep(ray_cluster, "stop", job[:-3], *jobs)
        wait_for((store / STOP).exists)
    gradsweep(ray_cluster, "logs", *jobs, "--follow", status=143)
    statuses = "SELECT count(*) FROM attempts WHERE status = "
    assert count(store, f"{statuses} 'interrupted'") == 1
    assert count(store, f"{statuses} 'running'") == 0
    assert not (store / "lease.json").exists()
    # The same again, waited for this time; its exit status is the launch's.
    left = gradsweep(ray_cluster, *launch)
    assert "1 done" in left
    assert count(store, "SELECT count(DISTINCT epoch) FROM epochs") == 2_000
    assert count(store, "SELECT max(first_epoch) FROM attempts") > 0


def test_wrong_requests_end_before_a_job_starts(ray_cluster: RayCluster) -> None:
    jobs = ("--address", ray_cluster.jobs)
    before = gradsweep(ray_cluster, "status", *jobs, "--json")
    for words, error in (
        (("launch", "tiny/gird", "--study", str(STUDY)), "unknown space 'tiny/gird'"),
        (("launch", "vanishing/depth"), "--store ./store is a folder of this machine"),
    ):
        said = told(*words, *jobs)
        assert said.status == 2
        assert error in said.err
    text = gradsweep(ray_cluster, "logs", "raysubmit_none", *jobs, status=2)
    assert "there is no job raysubmit_none" in text
    assert "Traceback" not in text
    assert gradsweep(ray_cluster, "status", *jobs, "--json") == before


# ---- and then ------------------------------------------------------------------------------------


def test_random_kills_change_nothing(
    ray_cluster: RayCluster, uninterrupted: Path, tmp_path: Path, seed: int
) -> None:
    """A few; `make chaos` does a hundred."""
    report = Chaos(seed, tmp_path, print, EPOCHS, uninterrupted).run(4, ray_cluster)
    print(report)
    assert sum(report.kills.values()) >= 4
    assert report.differing == 0


def test_random_kills_of_a_pruned_sweep_change_nothing(
    ray_session: str, ray_cluster: RayCluster, tmp_path: Path, seed: int
) -> None:
    """By `halving`, against a launch on another Ray; `make chaos PRUNE=asha` does the other."""
    reference = tmp_path / "reference"
    assert run(reference, *pruned_sweeps.CHANGES, **pruned_sweeps.OPTIONS).exit_status == 0
    chaos = Chaos(seed, tmp_path, print, reference=reference, rule="halving")
    report = chaos.run(2, ray_cluster)
    print(report)
    assert sum(report.kills.values()) >= 2
    assert report.differing == 0


def test_a_killed_head(
    ray_session: str, ray_cluster: RayCluster, uninterrupted: Path, tmp_path: Path
) -> None:
    """With the driver on it, as a job's is. Another Ray finishes; workers of the old one that live
    on publish nothing into its store. The last test here: all others need the head."""
    store = tmp_path / "store"
    ray_cluster.ensure("n1")
    launch = ray_cluster.launch(store, LONG)
    wait_for(lambda: published(store) > 40, of=launch)
    ray_cluster.nodes.pop("head").kill()
    launch.killed()
    before = rows(store)
    assert run(store, LONG).exit_status == 0
    whole(store)
    assert differing(uninterrupted, store) == {}
    print(f"a killed head: {before} rows were there, {redone(store)}")
