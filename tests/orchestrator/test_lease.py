"""One driver per store: real processes hold it, die and are taken over."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from orchestrator import lease as leases
from orchestrator.errors import RequestError
from orchestrator.lease import Lease, SupersededError, check_free, holder, passes, stop_wanted
from results import Store, create_store, open_store
from tests.object_store import ObjectStore

HOLD = """
import sys, time
from orchestrator.lease import Lease
from results import open_store
with Lease(open_store(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return create_store(tmp_path / "store")


def lease_file(store: Store) -> Path:
    return Path(store.root) / "lease.json"


def read(store: Store) -> dict[str, Any]:
    return json.loads(lease_file(store).read_text())


def write(store: Store, **changes: Any) -> dict[str, Any]:
    """A lease as another driver would have left it."""
    now = time.time()
    lease = {
        "id": "other", "host": "elsewhere", "pid": 1, "pid_started": 0.0, "since": now - 60,
        "heartbeat": now, **changes,
    }  # fmt: skip
    leases._write(store, leases.LEASE, lease)
    return lease


@pytest.fixture
def driver(store: Store) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the store."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, store.uri], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_lease_is_there_while_held_and_gone_afterwards(store: Store) -> None:
    check_free(store)
    with Lease(store) as mine:
        found = read(store)
        assert (found["id"], found["pid"]) == (mine.id, os.getpid())
        assert found["pid_started"] == psutil.Process().create_time()
        assert holder(store) == found
    assert not lease_file(store).exists()
    assert holder(store) is None


def test_a_live_driver_on_this_host_is_refused_and_a_dead_one_taken_over_at_once(
    store: Store, driver: subprocess.Popen[str]
) -> None:
    held = read(store)
    for attempt in (lambda: check_free(store), lambda: Lease(store).__enter__()):
        with pytest.raises(RequestError) as caught:
            attempt()
        text = str(caught.value)
        since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(held["since"]))
        assert f"by process {driver.pid} on {held['host']} since {since}" in text
        assert "stop it with Ctrl-C" in text
    assert read(store)["id"] == held["id"]
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    assert lease_file(store).exists()
    assert holder(store) is None
    said: list[str] = []
    begun = time.monotonic()
    with Lease(store, said.append) as mine:
        assert mine.id != held["id"]
    assert time.monotonic() - begun < 2
    assert said == []


def test_a_reused_pid_is_no_live_driver(store: Store) -> None:
    me = psutil.Process()
    write(
        store, host=leases._holder()["host"], pid=os.getppid(), pid_started=me.create_time() - 9e4
    )
    assert holder(store) is None
    check_free(store)
    with Lease(store):
        pass


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "HEARTBEAT_S", 0.2)
    monkeypatch.setattr(leases, "EXPIRY_S", 1.0)


@pytest.mark.usefixtures("quick")
def test_another_host_that_is_silent_is_waited_out_with_a_line(store: Store) -> None:
    write(store)
    assert holder(store) is not None
    said: list[str] = []
    begun = time.monotonic()
    with Lease(store, said.append):
        assert time.monotonic() - begun > 0.9
    (line,) = said
    assert line.startswith(f"{store.uri} was held by elsewhere; waiting up to 1 s")


@pytest.mark.usefixtures("quick")
def test_another_host_whose_clock_is_ahead_is_waited_out_too(store: Store) -> None:
    write(store, heartbeat=time.time() + 1e6)
    begun = time.monotonic()
    with Lease(store):
        assert time.monotonic() - begun < 10


@pytest.mark.parametrize("text", ["[]", "3", "{}", '{"id": 1, "host": []}', "[" * 10_000])
def test_a_lease_that_is_none_counts_for_nothing(store: Store, text: str) -> None:
    lease_file(store).write_text(text)
    assert holder(store) is None
    check_free(store)
    with Lease(store) as mine:
        assert read(store)["id"] == mine.id


@pytest.mark.usefixtures("quick")
def test_another_host_that_was_silent_for_long_is_taken_over_at_once(store: Store) -> None:
    write(store, heartbeat=time.time() - 5)
    assert holder(store) is None
    said: list[str] = []
    with Lease(store, said.append):
        pass
    assert said == []


@pytest.mark.usefixtures("quick")
def test_another_host_that_beats_is_refused(store: Store) -> None:
    lease = write(store, pid=4711)
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(0.1):
            leases._write(store, leases.LEASE, {**lease, "heartbeat": time.time()})

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        with pytest.raises(RequestError, match="by process 4711 on elsewhere since"):
            Lease(store).__enter__()
    finally:
        stop.set()
        thread.join()
    assert read(store)["id"] == "other"


def claim(store: Store, id: str, **changes: Any) -> Path:
    """The claim of another driver."""
    now = time.time()
    value = {
        "id": id, "host": "elsewhere", "pid": 4711, "pid_started": 0.0, "since": now,
        "heartbeat": now, **changes,
    }  # fmt: skip
    leases._write(store, f"{leases.CLAIMS}/{id}.json", value)
    return Path(store.root, leases.CLAIMS, f"{id}.json")


@pytest.mark.parametrize("id", ["0", "z"])
def test_of_two_that_claim_at_once_the_smaller_goes_first(store: Store, id: str) -> None:
    """Ids are hexadecimal: any is larger than 0 and smaller than z."""
    other = claim(store, id)
    outcome: list[object] = []

    def take() -> None:
        try:
            with Lease(store):
                outcome.append(read(store)["id"])
        except RequestError as error:
            outcome.append(error)

    taking = threading.Thread(target=take)
    taking.start()
    time.sleep(0.5)
    mine = [path.stem for path in other.parent.glob("*.json") if path != other]
    assert bool(mine) == (id == "z"), "the larger one has withdrawn"
    assert outcome == []
    if id == "0":
        write(store, pid=4711)
    other.unlink()
    taking.join()
    if id == "0":
        assert "by process 4711 on elsewhere" in str(outcome[0])
        assert read(store)["id"] == "other"
    else:
        assert outcome == mine
    assert list(other.parent.iterdir()) == []


@pytest.mark.usefixtures("quick")
def test_claims_of_the_dead_are_taken_away(store: Store) -> None:
    begun = time.monotonic()
    here = claim(store, "0", host=leases._holder()["host"], pid=os.getpid())
    with Lease(store):
        assert time.monotonic() - begun < 0.9
        assert not here.exists()
    elsewhere = claim(store, "0")
    garbage = claim(store, "1")
    garbage.write_text("{")
    said: list[str] = []
    with Lease(store, said.append):
        assert time.monotonic() - begun > 0.9
        assert not elsewhere.exists()
        assert not garbage.exists()
    assert len(said) == 1
    assert "about to take" in said[0]


@pytest.mark.parametrize("content", [b"", b"\xff", b"[]", b"{}", b'{"id": 7}', b'{"host": "x"}'])
def test_a_lease_that_is_none_is_written_anew(store: Store, content: bytes) -> None:
    lease_file(store).write_bytes(content)
    check_free(store)
    assert holder(store) is None
    with Lease(store) as mine:
        assert read(store)["id"] == mine.id


TAKE = """
import os, sys, time
from orchestrator.errors import RequestError
from orchestrator.lease import Lease
from results import open_store
store = open_store(sys.argv[1])
for line in sys.stdin:
    time.sleep(max(0, float(line) - time.time()))
    try:
        lease = Lease(store).__enter__()
    except RequestError as error:
        assert "is being written by process" in str(error)
        print("refused", flush=True)
        continue
    print("won", flush=True)
    sys.stdin.readline()
    assert not lease.lost.is_set()
    lease.__exit__()
    print("left", flush=True)
"""


def race(uri: str, rounds: int, drivers: int, **options: Any) -> list[int]:
    """Starts processes that take the lease at the same moment; how many had it in each round."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", TAKE, uri],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **options,
        )
        for _ in range(drivers)
    ]  # fmt: skip

    def tell(process: subprocess.Popen[str], line: str) -> None:
        assert process.stdin is not None
        process.stdin.write(f"{line}\n")
        process.stdin.flush()

    def hear(process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        return process.stdout.readline().strip()

    won = []
    try:
        for _ in range(rounds):
            start = time.time() + (0.05 if won else 3.0)
            for process in processes:
                tell(process, f"{start}")
            said = [hear(process) for process in processes]
            assert set(said) <= {"won", "refused"}, said
            winners = [p for p, text in zip(processes, said, strict=True) if text == "won"]
            won.append(len(winners))
            for process in winners:
                tell(process, "leave")
                assert hear(process) == "left"
        for process in processes:
            process.communicate()
            assert process.returncode == 0
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    return won


def test_of_drivers_that_race_exactly_one_wins(store: Store) -> None:
    assert race(store.uri, rounds=30, drivers=3) == [1] * 30
    assert not lease_file(store).exists()


@pytest.mark.parametrize(
    "delay", [0.0, pytest.param(0.7, marks=pytest.mark.slow)], ids=["quick", "slow"]
)
def test_of_drivers_that_race_for_an_object_store_exactly_one_wins(
    object_store: ObjectStore, delay: float
) -> None:
    store = create_store(f"s3://bucket/race-{delay}")
    object_store.trouble(delay=delay)
    rounds = 4 if delay else 12
    won = race(store.uri, rounds, drivers=2, env=object_store.environment)
    object_store.trouble()
    assert won == [1] * rounds


def wait_for(event: threading.Event) -> bool:
    return event.wait(10)


@pytest.mark.usefixtures("quick")
def test_a_held_lease_beats_and_notices_when_it_is_lost(store: Store) -> None:
    with Lease(store) as mine:
        first = read(store)["heartbeat"]
        end = time.monotonic() + 10
        while read(store)["heartbeat"] == first:
            assert time.monotonic() < end
            time.sleep(0.05)
        assert not mine.lost.is_set()
        mine.raise_fence("pack", "1")
        write(store)
        assert wait_for(mine.lost)
    # What belongs to the driver that took over stays.
    assert read(store)["id"] == "other"
    passes(store, "pack", "1")


@pytest.mark.usefixtures("quick")
def test_a_store_out_of_reach_for_a_while_does_not_end_the_heartbeat(store: Store) -> None:
    with Lease(store) as mine:
        root = Path(store.root)
        hidden = root.with_name("hidden")
        root.rename(hidden)
        root.write_text("in the way: nothing can be written below a file")
        time.sleep(0.5)
        root.unlink()
        hidden.rename(root)
        before = read(store)["heartbeat"]
        end = time.monotonic() + 10
        while read(store)["heartbeat"] == before:
            assert time.monotonic() < end
            time.sleep(0.05)
        assert not mine.lost.is_set()


def test_fences_let_one_generation_publish(store: Store) -> None:
    worker = open_store(store.uri)
    with pytest.raises(SupersededError, match="pack p was taken over"):
        passes(worker, "p", "1")
    with Lease(store) as mine:
        mine.raise_fence("p", "1")
        mine.raise_fence("q", "1")
        passes(worker, "p", "1")
        mine.raise_fence("p", "2")
        with pytest.raises(SupersededError):
            passes(worker, "p", "1")
        passes(worker, "p", "2")
        passes(worker, "q", "1")
        assert not stop_wanted(worker)
        mine.ask_to_stop()
        assert stop_wanted(worker)
    with pytest.raises(SupersededError):
        passes(worker, "q", "1")
    with Lease(store):
        assert not stop_wanted(worker)


def test_a_new_driver_stops_workers_of_a_dead_one(
    store: Store, driver: subprocess.Popen[str]
) -> None:
    leases._write(store, "fences/p.json", {"generation": "old:0"})
    passes(store, "p", "old:0")
    driver.kill()
    driver.wait()
    with Lease(store), pytest.raises(SupersededError):
        passes(store, "p", "old:0")
