"""Faults of a launch on a local Ray of its own, as a user without a cluster has it."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from orchestrator.planning import plan
from orchestrator.room import cpus_here
from results import open_store
from tests.orchestrator.launches import SPACE, TINY, command, except_counts, run, wait_for

pytestmark = [pytest.mark.ray]

STUDY = str(Path(__file__).with_name("faulty_study.py"))
SAME = {"epochs": 0, "layers": 0, "steps": 0}


def launch(store: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command("launch", *words, "--store", str(store)),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def attempts(store: Path) -> list[dict[str, object]]:
    return open_store(str(store)).attempts().to_pylist()


@pytest.mark.slow
def test_a_trial_that_raises_is_isolated(ray_session: str, tmp_path: Path) -> None:
    """Its pack is halved, as wide as before: one failed row, with the traceback; the others have
    the numbers that they have without it."""
    store, alone = tmp_path / "store", tmp_path / "alone"
    options = {"study": STUDY, "tiny": (), "width": 8}
    result = run(store, space="faulty/raise", **options)
    assert result.exit_status == 1
    assert result.counts == {"done": 7, "failed": 1}
    found = attempts(store)
    (failed,) = [row for row in found if row["status"] == "failed"]
    assert json.loads(str(failed["config"]))["seed"] == 5
    assert "faulty_study.py" in str(failed["error"])
    assert "ZeroDivisionError: the user divided by zero" in str(failed["error"])
    assert {json.loads(str(r["signature"]))["width"] for r in found if r["signature"]} == {8}
    run(alone, "seed=0,1,2,3,4,6,7", "fault=none", space="faulty/raise", **options)
    assert except_counts(store, alone, tuple(SAME)) == SAME
    print(f"isolated after {max(int(str(r['attempt'])) for r in found) + 1} packs with it")


@pytest.mark.slow
def test_a_trial_that_kills_its_worker_is_isolated(tmp_path: Path) -> None:
    store = tmp_path / "store"
    done = launch(store, "faulty/kill", "--study", STUDY, "--width", "8")
    assert done.returncode == 1, done.stderr
    assert "7 done, 1 failed" in done.stdout
    (failed,) = [row for row in attempts(store) if row["status"] == "failed"]
    assert json.loads(str(failed["config"]))["seed"] == 5
    assert "died" in str(failed["reason"])
    assert "(raylet)" not in done.stdout + done.stderr


@pytest.mark.slow
def test_a_pack_that_does_not_fit_is_split(tmp_path: Path) -> None:
    """A worker may take 500 MiB more than it has; eight lanes of this model need more."""
    store, roomy = tmp_path / "store", tmp_path / "roomy"
    words = ("faulty/memory", "--study", STUDY, "--lanes", "vmap")
    done = launch(store, *words, "--width", "8")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "8 done" in done.stdout
    found = attempts(store)
    ended = [row for row in found if row["status"] == "done"]
    worked = {json.loads(str(row["signature"]))["width"] for row in ended}
    assert max(worked) < 8
    assert len({row["trial_id"] for row in ended}) == 8
    # The width that worked is what the next launch of this program takes.
    again = launch(store, *words, "--set", "seed=8,9")
    assert again.returncode == 0, again.stdout
    new = [row for row in attempts(store) if json.loads(str(row["config"]))["seed"] in (8, 9)]
    assert {json.loads(str(row["signature"]))["width"] for row in new} <= worked
    # Values to rounding: another width is another program.
    assert launch(roomy, *words, "--width", "8", "--set", "spare=0").returncode == 0
    query = (
        "SELECT r.seed, e.epoch, e.loss FROM epochs e JOIN trials r USING (trial_id) "
        "WHERE r.seed < 8 ORDER BY ALL"
    )
    split, whole = (open_store(str(s)).sql(query).fetchall() for s in (store, roomy))
    assert [row[:2] for row in split] == [row[:2] for row in whole]
    assert [row[2] for row in split] == pytest.approx([row[2] for row in whole], rel=1e-4)
    print(f"widths tried: {sorted({json.loads(str(r['signature']))['width'] for r in found})}")


@contextlib.contextmanager
def launching(store: Path) -> Iterator[psutil.Process]:
    sets = [word for text in (*TINY, "epochs=2000") for word in ("--set", text)]
    process = subprocess.Popen(
        command("launch", SPACE, "--store", str(store), *sets),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(120)


@pytest.mark.slow
def test_a_local_ray_is_lean_and_listens_on_loopback_only(tmp_path: Path) -> None:
    """Packs train in the workers that Ray starts with; it starts no others."""
    store = tmp_path / "store"
    with launching(store) as driver:
        wait_for(lambda: any(store.glob("epochs/*.parquet")))
        (raylet,) = [p for p in driver.children(recursive=True) if p.name() == "raylet"]
        (folder,) = [word for word in raylet.cmdline() if word.startswith("--log_dir=")]
        log = Path(folder.partition("=")[2]) / "raylet.out"
        (planned,) = plan(SPACE, set=TINY, devices=cpus_here())
        workers = min(len(planned.packs), cpus_here())
        assert log.read_text().count("Started worker process") == workers
        words = [word for p in driver.children(recursive=True) for word in p.cmdline()]
        run = {Path(word).name for word in words}
        assert run.isdisjoint({"dashboard.py", "monitor.py", "log_monitor.py"})
        ports = set()
        for process in (driver, *driver.children(recursive=True)):
            for one in process.net_connections(kind="inet"):
                if one.status == psutil.CONN_LISTEN:
                    ports.add((process.name(), one.laddr.ip))
    assert len(ports) > 3
    assert {ip.removeprefix("::ffff:") for _, ip in ports} == {"127.0.0.1"}, ports
