"""Faults of a launch on a local Ray of its own, as a user without a cluster has it."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest

from orchestrator.machine.resources import cpus_here
from orchestrator.plan.plan import plan
from orchestrator.ray_backend import tune_run
from results import open_store
from tests.fuzz.command_line import say
from tests.support.launches import (
    EPOCHS,
    OFTEN,
    SPACE,
    TINY,
    Begun,
    command,
    run,
    sets,
    start,
    wait_for,
)
from tests.support.processes import below, is_raylet, those
from tests.support.stores import attempts, differing, parts

pytestmark = [pytest.mark.ray]

STUDY = str(Path(__file__).parents[2] / "support" / "faulty_study.py")
EIGHT: dict[str, Any] = {"study": STUDY, "tiny": (), "width": 8}


def launch(store: Path, *words: str, status: int = 0) -> str:
    """What a launch on a Ray of its own says."""
    return Begun(command("launch", *words, "--store", str(store))).ended(status)


@pytest.fixture(scope="module")
def harmless(ray_session: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The seven trials that have no fault, without the eighth."""
    store = tmp_path_factory.mktemp("harmless") / "store"
    run(store, "seed=0,1,2,3,4,6,7", "fault=none", space="faulty/raise", **EIGHT)
    return store


@pytest.mark.slow
def test_a_trial_that_raises_is_isolated(ray_session: str, harmless: Path, tmp_path: Path) -> None:
    """One failed row, with the traceback; the others have the numbers that they have without it, as
    wide as before."""
    store = tmp_path / "store"
    result = run(store, space="faulty/raise", **EIGHT)
    assert result.exit_status == 1
    assert result.counts == {"done": 7, "failed": 1}
    found = attempts(store)
    (failed,) = [row for row in found if row["status"] == "failed"]
    assert json.loads(str(failed["config"]))["seed"] == 5
    assert "faulty_study.py" in str(failed["error"])
    assert "ZeroDivisionError: the user divided by zero" in str(failed["error"])
    assert {json.loads(str(r["signature"]))["width"] for r in found if r["signature"]} == {8}
    assert differing(store, harmless) == {"trials": 1}, "the failed one, and nothing else"
    print(f"isolated after {max(int(str(r['attempt'])) for r in found) + 1} packs with it")


def starts(said: str) -> list[int]:
    """Trials of the packs that failed, as a launch names them."""
    return [int(n) for n in re.findall(r"^pack \w+ of (\d+) trials?: ", said, re.MULTILINE)]


@pytest.mark.slow
def test_a_program_that_cannot_be_made_fails_at_once(ray_session: str, tmp_path: Path) -> None:
    """A KeyError in `build` of one program of two: no pack of it starts again, and those that wait
    do not start at all; the other program's trials finish."""
    store = tmp_path / "store"
    said = say("launch", "faulty/bug", "--study", STUDY, "--width", "4", "--store", str(store))
    assert said.status == 1
    assert "16 done, 16 failed" in said.out
    assert len(starts(said.out)) <= 2, "as many as packs at once"
    assert set(starts(said.out)) == {4}
    failed = [row for row in attempts(store) if row["status"] == "failed"]
    (line,) = {str(row["reason"]) for row in failed}
    at = 1 + Path(STUDY).read_text().splitlines().index('        config["ballsat"]')
    assert line == f"KeyError: 'ballsat' ({STUDY}:{at})"
    assert {row["attempt"] for row in failed} == {0}
    assert {json.loads(str(row["config"]))["bug"] for row in failed} == {"build"}


@pytest.mark.slow
def test_a_trial_at_fault_by_its_values_is_found_by_halving(
    ray_session: str, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    said = say(
        "launch", "faulty/refuse", "--study", STUDY, "--width", "8", "--store", str(store)
    )  # fmt: skip
    assert said.status == 1
    assert "7 done, 1 failed" in said.out
    assert starts(said.out) == [8, 4, 2, 1]
    (failed,) = [row for row in attempts(store) if row["status"] == "failed"]
    assert "ValueError: this learning rate is too high" in str(failed["reason"])


@pytest.mark.slow
def test_a_trial_that_calls_sys_exit_fails_alone(
    ray_session: str, harmless: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    said = say(
        "launch", "faulty/exit", "--study", STUDY, "--width", "8", "--store", str(store)
    )  # fmt: skip
    assert said.status == 1
    assert "7 done, 1 failed" in said.out
    assert starts(said.out) == [8]
    (failed,) = [row for row in attempts(store) if row["status"] == "failed"]
    assert json.loads(str(failed["config"]))["seed"] == 5
    called = f"it called sys.exit('a guard left in the model') at {STUDY}:"
    assert str(failed["reason"]).startswith(called)
    assert differing(store, harmless) == {"trials": 1}, "the failed one, and nothing else"


@pytest.mark.slow
def test_a_trial_that_hangs_is_ended_and_named(ray_session: str, tmp_path: Path) -> None:
    """The other is done before: how long it takes depends on the machine."""
    store = tmp_path / "store"
    words = ("launch", "faulty/hang", "--study", STUDY, "--store", str(store))
    assert say(*words, "--set", "bug=none").status == 0
    said = say(*words, "--trial-timeout", "1s")
    assert said.status == 1
    assert "1 done, 1 failed" in said.out
    at = 1 + Path(STUDY).read_text().splitlines().index("        HANG.wait()")
    why = f"still building model and data after 1 s, the --trial-timeout ({STUDY}:{at})"
    assert said.out.count(why) == 2, "as it happens, and at the end"
    (failed,) = [row for row in attempts(store) if row["status"] == "failed"]
    assert (failed["reason"], failed["attempt"]) == (why, 0)
    assert "HANG.wait()" in str(failed["error"])
    for command_ in (("status",), ("show", str(failed["trial_id"]))):
        assert why in say(*command_, "--store", str(store)).out


@pytest.mark.slow
def test_a_trial_whose_worker_crashes_says_where(ray_session: str, tmp_path: Path) -> None:
    store = tmp_path / "store"
    said = say("launch", "faulty/crash", "--study", STUDY, "--store", str(store))
    assert said.status == 1
    at = 1 + Path(STUDY).read_text().splitlines().index("        ctypes.string_at(0)")
    where = f"Segmentation fault at {STUDY}:{at}"
    (failed,) = [row for row in attempts(store) if row["status"] == "failed"]
    assert failed["reason"] == f"its worker died 5 times or more ({where}); launch again"
    assert f"its worker died ({where}; 1 of 5 times)" in said.out
    assert "string_at" in str(failed["error"])


@pytest.mark.slow
def test_a_launch_whose_time_is_up_stops_and_goes_on(
    ray_session: str, uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once some epochs are stored, whenever that is."""
    store = tmp_path / "store"
    with monkeypatch.context() as patched:
        patched.setattr(tune_run, "_is_past", lambda moment: bool(parts(store, "epochs")))
        words = ("launch", SPACE, "--store", str(store), *sets(*TINY, f"epochs={EPOCHS}"))
        said = say(*words, "--time-budget", "2h", "--checkpoint-seconds", OFTEN)
    assert said.status == 124
    assert "the time is up, stopping after the epoch under way" in said.out
    assert said.out.splitlines()[-1].startswith("the time budget is used up; go on: gradsweep ")
    assert "interrupted" in {row["status"] for row in attempts(store)}
    assert run(store, f"epochs={EPOCHS}").exit_status == 0
    assert differing(store, uninterrupted) == {}


@pytest.mark.slow
def test_a_trial_that_kills_its_worker_is_isolated(
    ray_session: str, harmless: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "store"
    words = ("launch", "faulty/kill", "--study", STUDY, "--width", "8", "--store", str(store))
    said = say(*words)
    assert said.status == 1
    assert "7 done, 1 failed" in said.out
    (failed,) = [row for row in attempts(store) if row["status"] == "failed"]
    assert json.loads(str(failed["config"]))["seed"] == 5
    assert "died" in str(failed["reason"])
    assert "(raylet)" not in "".join((said.out, said.err, *capfd.readouterr()))
    assert differing(store, harmless) == {"trials": 1}, "the failed one, and nothing else"


@pytest.mark.slow
def test_a_pack_that_does_not_fit_is_split(ray_session: str, tmp_path: Path) -> None:
    """A worker may take 500 MiB more than it has; eight lanes of this model need more."""
    store, roomy = tmp_path / "store", tmp_path / "roomy"
    words = ("faulty/memory", "--study", STUDY, "--lanes", "vmap")
    assert "8 done" in launch(store, *words, "--width", "8")
    found = attempts(store)
    ended = [row for row in found if row["status"] == "done"]
    worked = {json.loads(str(row["signature"]))["width"] for row in ended}
    assert max(worked) < 8
    assert len({row["trial_id"] for row in ended}) == 8
    # The width that worked is what the next launch of this program takes.
    (new,) = plan("faulty/memory", study=STUDY, store=str(store), set=["seed=8,9"], lanes="vmap")
    assert {pack.width for pack in new.packs} <= worked
    assert len(new.to_run) == 2
    # Values to rounding: another width is another program.
    run(roomy, "spare=0", space="faulty/memory", lanes="vmap", **EIGHT)
    query = (
        "SELECT r.seed, e.epoch, e.loss FROM epochs e JOIN trials r USING (trial_id) "
        "WHERE r.seed < 8 ORDER BY ALL"
    )
    split, whole = (open_store(str(s)).sql(query).fetchall() for s in (store, roomy))
    assert [row[:2] for row in split] == [row[:2] for row in whole]
    assert [row[2] for row in split] == pytest.approx([row[2] for row in whole], rel=1e-4)
    print(f"widths tried: {sorted({json.loads(str(r['signature']))['width'] for r in found})}")


@pytest.mark.slow
def test_a_local_ray_is_lean_and_listens_on_loopback_only(tmp_path: Path) -> None:
    """Packs train in the workers that Ray starts with; it starts no others."""
    store = tmp_path / "store"
    launched = start(store, "epochs=20000", address=None)
    wait_for(lambda: bool(parts(store, "epochs")), of=launched)
    driver = psutil.Process(launched.pid)
    (raylet,) = those(below(driver), is_raylet)
    (folder,) = [word for word in raylet.cmdline() if word.startswith("--log_dir=")]
    log = Path(folder.partition("=")[2]) / "raylet.out"
    (planned,) = plan(SPACE, store=None, set=TINY, devices=cpus_here())
    workers = min(len(planned.packs), cpus_here())
    assert log.read_text().count("Started worker process") == workers
    words: set[str] = set()
    ports: set[tuple[str, str]] = set()

    def look(process: psutil.Process) -> bool:
        words.update(Path(word).name for word in process.cmdline())
        for one in process.net_connections(kind="inet"):
            if one.status == psutil.CONN_LISTEN:
                ports.add((process.name(), one.laddr.ip))
        return True

    those(below(driver), look)
    assert words.isdisjoint({"dashboard.py", "monitor.py", "log_monitor.py"})
    assert len(ports) > 3
    assert {ip.removeprefix("::ffff:") for _, ip in ports} == {"127.0.0.1"}, ports
    os.killpg(launched.pid, signal.SIGTERM)
    assert "run what is left: gradsweep launch" in launched.ended(status=143)
    statuses = {row["status"] for row in attempts(store)}
    assert "interrupted" in statuses
    assert "running" not in statuses
