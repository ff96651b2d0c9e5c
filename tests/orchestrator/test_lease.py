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


@pytest.mark.usefixtures("quick")
def test_of_two_that_take_it_at_once_the_later_one_wins(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases.time, "sleep", lambda seconds: write(store, pid=4711))
    with pytest.raises(RequestError, match="by process 4711 on elsewhere"):
        Lease(store).__enter__()
    assert read(store)["id"] == "other"


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
