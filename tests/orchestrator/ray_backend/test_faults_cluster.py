"""A launch on several real nodes, some of which are killed, cut off, told to leave or damaged."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import duckdb
import pytest

from tests.support.launches import EPOCHS, SPACE, Begun, command, wait_for
from tests.support.processes import stopped, those, trains
from tests.support.ray.clusters import RayCluster
from tests.support.stores import (
    attempts,
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


@pytest.fixture
def cluster(ray_cluster: RayCluster) -> RayCluster:
    """The head and the nodes n1 and n2."""
    ray_cluster.ensure("n1", "n2")
    return ray_cluster


def widths(store: Path) -> set[int]:
    return {json.loads(row["signature"])["width"] for row in attempts(store)}


def test_from_ray_start_to_query(cluster: RayCluster, uninterrupted: Path, tmp_path: Path) -> None:
    """Both nodes train, what has travelled is our code, and the rows are those of a local Ray."""
    store = tmp_path / "store"
    launch = cluster.launch(store, LONG)
    idle = {"n1", "n2"}

    def both_have_trained() -> bool:
        idle.difference_update([name for name in idle if cluster.nodes[name].workers()])
        return not idle

    wait_for(both_have_trained, of=launch)
    launch.ended()
    assert differing(uninterrupted, store) == {}
    asked = cluster.start("query", "SELECT count(*) AS n FROM epochs", "--store", str(store))
    assert str(rows(uninterrupted)) in asked.ended()
    (commit,) = {str(row["git_commit"]) for row in attempts(store)}
    assert len(commit.rstrip("+")) == 40  # of the code that travelled, which is in no git there


def test_a_killed_node_and_a_new_one(
    ray_cluster: RayCluster, uninterrupted: Path, tmp_path: Path
) -> None:
    """The only node goes, so that what is left can be trained on the new one alone."""
    ray_cluster.ensure("n1")
    store = tmp_path / "store"
    launch = ray_cluster.launch(store, LONG, words=("--width", "1"))
    wait_for(lambda: bool(ray_cluster.nodes["n1"].workers()) and published(store) > 40, of=launch)
    ray_cluster.nodes.pop("n1").kill()
    new = ray_cluster.add("n3")
    wait_for(lambda: bool(new.workers()), of=launch)
    output = launch.ended()
    assert "its node is gone" in output
    whole(store)
    assert differing(uninterrupted, store) == {}
    print(f"a killed node: {redone(store)}")


def test_a_notice_before_a_node_goes(
    cluster: RayCluster, uninterrupted: Path, tmp_path: Path
) -> None:
    """SIGTERM, then nothing as soon as the worker has left: all is kept, no death is counted."""
    store = tmp_path / "store"
    launch = cluster.launch(store, LONG, words=("--checkpoint-seconds", "600"))
    node = cluster.nodes["n2"]
    # All eight have rows once both nodes' packs train.
    wait_for(
        lambda: bool(node.workers()) and len({*seen(store, "epochs", "trial_id")}) == 8, of=launch
    )
    (worker,) = node.workers()
    worker.send_signal(signal.SIGTERM)
    wait_for(lambda: "told to leave" in launch.said(), of=launch)
    assert ("interrupted",) in seen(store, "trials", "status"), "kept before it is said"
    cluster.nodes.pop("n2").kill()
    output = launch.ended()
    assert "died" not in output
    assert redone(store).epochs == 0
    whole(store)
    assert differing(uninterrupted, store) == {}


def test_a_killed_driver_and_a_smaller_cluster(
    cluster: RayCluster, uninterrupted: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    launch = cluster.launch(store, LONG, words=("--width", "3"))

    def both_programs_have_begun() -> bool:  # else the width of one is not recorded
        begun = seen(store, "trials", "program", "signature")
        return len({program for program, signature in begun if signature}) == 2

    wait_for(both_programs_have_begun, of=launch)
    wait_for(lambda: bool(resume_points(store)), of=launch)
    launch.killed()
    before = rows(store)
    assert 0 < before < rows(uninterrupted)
    cluster.nodes.pop("n2").kill()
    cluster.launch(store, LONG).ended()
    assert widths(store) == {3}  # the recorded one, on one node as on two
    assert any(row["first_epoch"] > 0 for row in attempts(store))
    whole(store)
    assert differing(uninterrupted, store) == {}
    print(f"a killed driver: {before} rows were there, {redone(store)}")


def test_a_node_that_was_cut_off_comes_back(
    cluster: RayCluster, uninterrupted: Path, tmp_path: Path
) -> None:
    """Its pack runs elsewhere by then: what it still publishes is nothing."""
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
        "SELECT count(*) FROM read_parquet($parts) WHERE attempt = 0 AND trial_id IN $moved",
        {"parts": [str(path) for path in late], "moved": sorted(moved)},
    ).fetchall()
    assert old == [(0,)]
    whole(store)
    assert differing(uninterrupted, store) == {}
    cluster.nodes.pop("n1").kill()


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
    ray_cluster.ensure("good")
    ray_cluster.add("bad", GRADSWEEP_DATA=str(damaged))
    store = tmp_path / "store"
    small = ("task=cifar10_4k", "layout=rows", "batch_size=1000", "epochs=1")
    output = ray_cluster.launch(store, *small, words=("--width", "1")).ended()
    assert "data_batch_1.first4000.bin.xz is corrupt" in output
    assert "gets no more packs" in output
    node = output.split("gets no more packs")[0].split()[-1]
    assert f"node {node}" in output.split("is corrupt")[1]
    assert {row["status"] for row in attempts(store)} <= {"done", "diverged"}
    assert len(attempts(store)) == 8
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


def test_without_the_token_nothing_answers(cluster: RayCluster, tmp_path: Path) -> None:
    environment = {**cluster.environment, "RAY_AUTH_TOKEN": "0" * 64}
    words = [*("launch", SPACE, "--store", str(tmp_path / "s"), "--address", cluster.address)]
    output = Begun(command(*words), environment).ended(status=2)
    assert "no Ray cluster answers" in output
    assert "RAY_AUTH_MODE=token" in output


def test_a_killed_head(ray_cluster: RayCluster, uninterrupted: Path, tmp_path: Path) -> None:
    """With the driver on it, as a job's is. Another cluster, of another size, finishes; workers of
    the old one that live on publish nothing into it."""
    store = tmp_path / "store"
    ray_cluster.ensure("n1")
    with RayCluster() as doomed:
        doomed.add("d1")
        doomed.add("d2")
        launch = doomed.launch(store, LONG)
        wait_for(lambda: published(store) > 40, of=launch)
        doomed.nodes.pop("head").kill()
        launch.killed()
        before = rows(store)
        ray_cluster.launch(store, LONG).ended()
    whole(store)
    assert differing(uninterrupted, store) == {}
    print(f"a killed head: {before} rows were there, {redone(store)}")
