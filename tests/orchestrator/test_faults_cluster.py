"""A launch on several real nodes, some of which are killed, cut off, told to leave or damaged."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from pathlib import Path

import duckdb
import psutil
import pytest

from results import open_store
from tests.orchestrator.clusters import RayCluster, stopped
from tests.orchestrator.launches import (
    EPOCHS,
    SPACE,
    TABLES,
    count,
    except_counts,
    redone,
    rows,
    wait_for,
    whole,
)

pytestmark = [pytest.mark.ray, pytest.mark.slow]

SAME = dict.fromkeys(TABLES, 0)
LONG = f"epochs={EPOCHS}"


@pytest.fixture
def cluster(ray_cluster: RayCluster) -> RayCluster:
    """The head and the nodes n1 and n2."""
    ray_cluster.ensure("n1", "n2")
    return ray_cluster


def ended(process: subprocess.Popen[str], status: int = 0, seconds: float = 240) -> str:
    output, _ = process.communicate(timeout=seconds)
    assert process.returncode == status, output
    return output


def attempts(store: Path) -> list[dict[str, object]]:
    return open_store(str(store)).attempts().to_pylist()


def widths(store: Path) -> set[int]:
    return {json.loads(str(row["signature"]))["width"] for row in attempts(store)}


def test_from_ray_start_to_query(cluster: RayCluster, uninterrupted: Path, tmp_path: Path) -> None:
    """Both nodes train, what has travelled is our wheel, and the rows are those of a local Ray."""
    store = tmp_path / "store"
    launch = cluster.launch(store, LONG)
    seen: set[str] = set()
    while launch.poll() is None:
        seen |= {name for name in ("n1", "n2") if cluster.nodes[name].workers()}
        time.sleep(0.2)
    ended(launch)
    assert seen == {"n1", "n2"}
    assert except_counts(uninterrupted, store) == SAME
    asked = cluster.start("query", "SELECT count(*) AS n FROM epochs", "--store", str(store))
    assert str(rows(uninterrupted)) in ended(asked)
    (commit,) = {str(row["git_commit"]) for row in attempts(store)}
    assert len(commit.rstrip("+")) == 40  # of the code that travelled, which is in no git there


def test_a_killed_node_and_a_new_one(
    ray_cluster: RayCluster, uninterrupted: Path, tmp_path: Path
) -> None:
    """The only node goes, so that what is left can be trained on the new one alone."""
    ray_cluster.ensure("n1")
    store = tmp_path / "store"
    launch = ray_cluster.launch(store, LONG, words=("--width", "1"))
    wait_for(lambda: bool(ray_cluster.nodes["n1"].workers()) and rows(store) > 40, of=launch)
    ray_cluster.nodes.pop("n1").kill()
    new = ray_cluster.add("n3")
    wait_for(lambda: bool(new.workers()), of=launch)
    output = ended(launch)
    assert "its node is gone" in output
    whole(store)
    assert except_counts(uninterrupted, store) == SAME
    print(f"a killed node: {redone(store)}")


def test_a_notice_before_a_node_goes(
    cluster: RayCluster, uninterrupted: Path, tmp_path: Path
) -> None:
    """SIGTERM, five seconds, then nothing: all is kept, and no death is counted."""
    store = tmp_path / "store"
    launch = cluster.launch(store, LONG, words=("--checkpoint-seconds", "600"))
    node = cluster.nodes["n2"]
    seen = "SELECT count(DISTINCT trial_id) FROM epochs"  # all eight once both nodes' packs train
    wait_for(lambda: bool(node.workers()) and count(store, seen) == 8, of=launch)
    (worker,) = node.workers()
    told = time.monotonic()
    worker.send_signal(signal.SIGTERM)
    kept = "SELECT count(*) FROM attempts WHERE status = 'interrupted'"
    wait_for(lambda: count(store, kept) > 0, 30)
    print(f"all kept {time.monotonic() - told:.2f} s after the notice")
    time.sleep(max(0.0, told + 5 - time.monotonic()))
    cluster.nodes.pop("n2").kill()
    output = ended(launch)
    assert "told to leave" in output
    assert "died" not in output
    assert redone(store).epochs == 0
    whole(store)
    assert except_counts(uninterrupted, store) == SAME


def test_a_killed_driver_and_a_smaller_cluster(
    cluster: RayCluster, uninterrupted: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    launch = cluster.launch(store, LONG, words=("--width", "3"))
    begun = "SELECT count(DISTINCT program) FROM attempts WHERE signature IS NOT NULL"
    wait_for(lambda: count(store, begun) == 2, of=launch)  # else the width of one is not recorded
    wait_for(lambda: rows(store) > rows(uninterrupted) // 3, of=launch)
    launch.kill()
    launch.communicate()
    published = rows(store)
    assert published < rows(uninterrupted)
    cluster.nodes.pop("n2").kill()
    output = ended(cluster.launch(store, LONG))
    assert "8 trials" in output or "trials to run" in output
    assert widths(store) == {3}  # the recorded one, on one node as on two
    assert any(int(str(row["first_epoch"])) > 0 for row in attempts(store))
    whole(store)
    assert except_counts(uninterrupted, store) == SAME
    print(f"a killed driver: {published} rows were there, {redone(store)}")


def test_a_node_that_was_cut_off_comes_back(
    cluster: RayCluster, uninterrupted: Path, tmp_path: Path
) -> None:
    """Its pack runs elsewhere by then: what it still publishes is nothing."""
    store = tmp_path / "store"
    launch = cluster.launch(store, LONG)
    node = cluster.nodes["n1"]
    wait_for(lambda: bool(node.workers()) and rows(store) > 40, of=launch)
    (worker,) = node.workers()
    with stopped(*node.raylets()):
        with stopped(worker):
            wait_for(lambda: count(store, "SELECT max(attempt) FROM attempts") > 0, of=launch)
            before = {path.name for path in store.glob("*/*.parquet")}
        # The worker goes on while its raylet, and so its node, is still out of reach.
        gone = time.monotonic()
        wait_for(lambda: not psutil.pid_exists(worker.pid) or not _trains(worker))
        print(f"the worker that came back stopped after {time.monotonic() - gone:.1f} s")
        output = ended(launch)
    assert "its node is gone" in output
    moved = {str(row["trial_id"]) for row in attempts(store) if row["attempt"]}
    late = [path for path in store.glob("epochs/*.parquet") if path.name not in before]
    old = duckdb.execute(
        "SELECT count(*) FROM read_parquet($parts) WHERE attempt = 0 AND trial_id IN $moved",
        {"parts": [str(path) for path in late], "moved": sorted(moved)},
    ).fetchall()
    assert old == [(0,)]
    whole(store)
    assert except_counts(uninterrupted, store) == SAME
    cluster.nodes.pop("n1").kill()


def _trains(process: psutil.Process) -> bool:
    try:
        return "Trainable.train" in " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return False


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
    output = ended(ray_cluster.launch(store, *small, words=("--width", "1")))
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
    output = ended(ray_cluster.launch(store, "epochs=1"), status=2)
    assert "has optax 0.0.1, this launch" in output
    assert output.count("error:") == 1
    assert not store.exists()
    ray_cluster.nodes.pop("old").kill()


def test_without_the_token_nothing_answers(cluster: RayCluster, tmp_path: Path) -> None:
    environment = {**cluster.environment, "RAY_AUTH_TOKEN": "0" * 64}
    words = [*("launch", SPACE, "--store", str(tmp_path / "s"), "--address", cluster.address)]
    from tests.orchestrator.launches import command

    done = subprocess.run(
        command(*words), env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 2, done.stdout + done.stderr
    assert "no Ray cluster answers" in done.stderr
    assert "RAY_AUTH_MODE=token" in done.stderr


def test_a_killed_head(ray_cluster: RayCluster, uninterrupted: Path, tmp_path: Path) -> None:
    """With the driver on it, as a job's is. Another cluster, of another size, finishes; workers of
    the old one that live on publish nothing into it."""
    store = tmp_path / "store"
    ray_cluster.ensure("n1")
    with RayCluster() as doomed:
        doomed.add("d1")
        doomed.add("d2")
        launch = doomed.launch(store, LONG)
        wait_for(lambda: rows(store) > 40, of=launch)
        doomed.nodes.pop("head").kill()
        launch.kill()
        launch.communicate()
        published = rows(store)
        ended(ray_cluster.launch(store, LONG))
    whole(store)
    assert except_counts(uninterrupted, store) == SAME
    print(f"a killed head: {published} rows were there, {redone(store)}")
