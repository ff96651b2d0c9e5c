"""One driver per store: real processes hold it, die and are taken over."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from orchestrator.errors import RequestError
from orchestrator.queue import lease as leases
from orchestrator.queue.lease import Lease, SupersededError, check_free, holder, passes, stop_wanted
from results import Store, StoreError, create_store, open_store
from results.store import files
from tests.support.object_store import ObjectStore

HOLD = """
import sys
from orchestrator.queue.lease import Lease
from results import open_store
with Lease(open_store(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""
HERE = leases._holder()["host"]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return create_store(tmp_path / "store")


def lease_file(store: Store) -> Path:
    return Path(store.root) / "lease.json"


def read(store: Store) -> dict[str, Any]:
    return json.loads(lease_file(store).read_text())


class Clock:
    """Time that passes only where the code under test sleeps; what it slept is in `slept`.

    `at_sleep` is called at the end of each sleep: what others do in the meantime.
    """

    def __init__(self) -> None:
        self.now = time.time()
        self.slept: list[float] = []
        self.at_sleep: Callable[[], object] = lambda: None

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        self.at_sleep()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(leases, "time", found)
    return found


def write(store: Store, **changes: Any) -> dict[str, Any]:
    """A lease as another driver would have left it."""
    now = leases.time.time()
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
        [sys.executable, "-c", HOLD, store.uri],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


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
    store: Store, driver: subprocess.Popen[str], clock: Clock
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
    with Lease(store, said.append) as mine:
        assert mine.id != held["id"]
    assert (said, clock.slept) == ([], [])


@pytest.mark.parametrize(("off", "alive"), [(0.0, True), (0.9, True), (-0.9, True), (1.1, False),
                                            (-1.1, False), (-9e4, False)])  # fmt: skip
def test_a_pid_is_a_live_driver_only_if_its_process_started_then(
    store: Store, clock: Clock, off: float, alive: bool
) -> None:
    """It may have been given to another process since. The test's parent stands for the driver."""
    born = psutil.Process(os.getppid()).create_time()
    lease = write(store, host=HERE, pid=os.getppid(), pid_started=born + off)
    assert holder(store) == (lease if alive else None)
    if alive:
        for take in (lambda: check_free(store), lambda: Lease(store).__enter__()):
            with pytest.raises(RequestError, match=f"by process {os.getppid()} on "):
                take()
        assert read(store) == lease
    else:
        check_free(store)
        with Lease(store) as mine:
            assert read(store)["id"] == mine.id
    assert clock.slept == []


def test_a_pid_of_another_host_says_nothing_here(store: Store, clock: Clock) -> None:
    parent = psutil.Process(os.getppid())
    write(store, pid=parent.pid, pid_started=parent.create_time(), heartbeat=clock.now - 60)
    check_free(store)
    assert holder(store) is None
    with Lease(store):
        assert clock.slept == []


@pytest.mark.parametrize("pid", [2**40, -1])
def test_what_cannot_be_a_pid_is_no_live_driver(store: Store, pid: int) -> None:
    write(store, host=HERE, pid=pid)
    assert holder(store) is None


def test_two_in_one_process_are_two_drivers(store: Store) -> None:
    """As in a notebook. What a launch before left behind in this process is held by nobody."""
    with Lease(store) as mine:
        with pytest.raises(RequestError, match=f"by process {os.getpid()} on "):
            Lease(store).__enter__()
        assert read(store)["id"] == mine.id
    write(store, host=HERE, pid=os.getpid(), pid_started=psutil.Process().create_time())
    assert holder(store) is None
    with Lease(store):
        pass


def test_who_was_refused_leaves_no_trace(store: Store) -> None:
    with Lease(store):
        before = set(leases._ours)
        late = Lease(store)
        late._wait_for_another_host = lambda: None  # as if the lease came after it had looked
        with pytest.raises(RequestError):
            late.__enter__()
        assert leases._ours == before
        assert list(Path(store.root, leases.CLAIMS).iterdir()) == []
    assert leases._ours == set()


def test_another_host_that_is_silent_is_waited_out_with_a_line(store: Store, clock: Clock) -> None:
    lease = write(store, heartbeat=clock.now - 12)
    assert holder(store) == lease
    check_free(store)
    said: list[str] = []
    with Lease(store, said.append) as mine:
        assert clock.slept == pytest.approx([5.1, 5.1, 5.1, 2.8])
        assert read(store)["id"] == mine.id
    (line,) = said
    assert line == (
        f"{store.uri} was held by elsewhere; waiting up to 18 s to see whether that driver still "
        "lives"
    )


def test_another_host_whose_clock_is_ahead_is_waited_out_too(store: Store, clock: Clock) -> None:
    write(store, heartbeat=clock.now + 1e6)
    said: list[str] = []
    with Lease(store, said.append):
        assert 30 <= sum(clock.slept) < 31
    assert "waiting up to 30 s" in said[0]


def test_a_lease_that_goes_while_it_is_waited_for_is_free(store: Store, clock: Clock) -> None:
    write(store)
    clock.at_sleep = lambda: lease_file(store).unlink(missing_ok=True)
    with Lease(store):
        assert clock.slept == [5.1]


@pytest.mark.parametrize(("silent", "waits"), [(29.9, True), (30.0, False), (5e3, False)])
def test_another_host_that_was_silent_for_long_is_taken_over_at_once(
    store: Store, clock: Clock, silent: float, waits: bool
) -> None:
    write(store, heartbeat=clock.now - silent)
    assert (holder(store) is not None) == waits
    said: list[str] = []
    with Lease(store, said.append):
        assert clock.slept == (pytest.approx([0.2]) if waits else [])
    assert len(said) == waits


def test_another_host_that_beats_is_refused(store: Store, clock: Clock) -> None:
    lease = write(store, pid=4711)
    clock.at_sleep = lambda: leases._write(
        store, leases.LEASE, {**lease, "heartbeat": lease["heartbeat"] + 0.01}
    )
    with pytest.raises(RequestError, match="by process 4711 on elsewhere since"):
        Lease(store).__enter__()
    assert clock.slept == [5.1]
    assert read(store)["id"] == "other"


WHOLE = {"id": "x", "host": "elsewhere", "pid": 1, "pid_started": 0.5, "since": 1.5,
         "heartbeat": 2.5}  # fmt: skip


@pytest.mark.parametrize("field", WHOLE)
@pytest.mark.parametrize("value", [None, [], {}])
def test_a_lease_with_a_field_of_another_type_is_none_of_ours(
    store: Store, field: str, value: Any
) -> None:
    write(store, **{**WHOLE, "heartbeat": time.time()})
    assert holder(store) is not None
    write(store, **{**WHOLE, "heartbeat": time.time(), field: value})
    assert holder(store) is None
    found = read(store)
    del found[field]
    lease_file(store).write_text(json.dumps(found))
    assert holder(store) is None


@pytest.mark.parametrize("field", ["pid", "pid_started", "since", "heartbeat"])
@pytest.mark.parametrize(
    "value", [1e300, -1.0, float("nan"), float("inf"), "now", 10**400, True, 2**63]
)
def test_a_lease_with_a_number_that_no_clock_shows_is_named_and_replaced(
    store: Store, field: str, value: Any
) -> None:
    host = WHOLE["host"]
    for there in (host, HERE):
        write(store, **{**WHOLE, "host": there, "heartbeat": time.time(), field: value})
        assert holder(store) is None
        check_free(store)
        said: list[str] = []
        with Lease(store, said.append) as mine:
            assert read(store)["id"] == mine.id
        assert said == [
            (
                f"warning: {lease_file(store)} is no lease (its {field} cannot be that of one); "
                "the next launch replaces it."
            )
        ]


@pytest.mark.parametrize("name", ["lease.json", "fences/stop.json", "fences/p.json"])
def test_a_pipe_in_place_of_a_file_is_named_at_once(store: Store, name: str) -> None:
    path = Path(store.root, name)
    path.parent.mkdir(exist_ok=True)
    os.mkfifo(path)
    ask = {"lease.json": holder, "fences/stop.json": stop_wanted}
    with pytest.raises(StoreError) as caught:
        ask.get(name, lambda store: passes(store, "p", "1"))(store)
    assert str(caught.value) == f"cannot read {path} (it is a named pipe and no file); remove it."


def test_whole_seconds_are_times_too_and_a_fraction_is_no_pid(store: Store) -> None:
    write(store, since=1, heartbeat=round(time.time()), pid_started=3)
    assert holder(store) is not None
    write(store, pid=1.5)
    assert holder(store) is None


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff", b"[]", b"3", b"{}", b'{"id": 7}', b'{"host": "x"}', b"[" * 10_000,
     b'{"id": 1, "host": []}'],
)  # fmt: skip
def test_a_lease_that_is_none_is_written_anew(store: Store, content: bytes) -> None:
    lease_file(store).write_bytes(content)
    check_free(store)
    assert holder(store) is None
    with Lease(store) as mine:
        assert read(store)["id"] == mine.id


# ---- what cannot be read -------------------------------------------------------------------------


def asked(store: Store) -> list[Callable[[], object]]:
    """All that asks for the lease, the fence of pack p or the wish to stop."""
    return [
        lambda: check_free(store), lambda: holder(store), lambda: Lease(store).__enter__(),
        lambda: passes(store, "p", "1"), lambda: stop_wanted(store),
    ]  # fmt: skip


def test_a_lease_that_cannot_be_read_is_not_taken_as_free(store: Store, clock: Clock) -> None:
    """A folder stands for a file without permission, which root could read, and is named as one."""
    for name in (leases.LEASE, leases.STOP, "fences/p.json"):
        Path(store.root, name).mkdir(parents=True)
    for ask in asked(store):
        with pytest.raises(StoreError, match=r"cannot read .*a folder and no file\); remove it"):
            ask()
    assert lease_file(store).is_dir()
    assert not Path(store.root, leases.CLAIMS).exists()
    assert clock.slept == []


def test_an_object_store_that_gives_no_answer_is_not_taken_as_free(
    object_store: ObjectStore,
) -> None:
    store = open_store(create_store("s3://bucket/no-answer").uri)
    for name in ("lease.json", "fences"):
        object_store.trouble(status=403, only=name)
        asks = asked(store)[:3] if name == "lease.json" else asked(store)[3:]
        for ask in asks:
            with pytest.raises(StoreError, match="access denied"):
                ask()
    object_store.trouble()
    assert [ask() for ask in asked(store)[:2]] == [None, None]


def test_a_claim_that_gives_no_answer_is_not_taken_as_none(object_store: ObjectStore) -> None:
    store = create_store("s3://bucket/no-claim")
    claim(store, "0")
    object_store.trouble(status=403, only="claims/0.json")
    with pytest.raises(StoreError):
        Lease(store).__enter__()
    object_store.trouble()
    assert holder(store) is None
    names = [info.base_name for info in files.listing(store.fs, store.paths.under(leases.CLAIMS))]
    assert names == ["0.json"]


# ---- several at once -----------------------------------------------------------------------------


def claim(store: Store, id: str, **changes: Any) -> Path:
    """The claim of another driver."""
    now = leases.time.time()
    value = {
        "id": id, "host": "elsewhere", "pid": 4711, "pid_started": 0.0, "since": now,
        "heartbeat": now, **changes,
    }  # fmt: skip
    leases._write(store, f"{leases.CLAIMS}/{id}.json", value)
    return Path(store.root, leases.CLAIMS, f"{id}.json")


def claims(store: Store) -> list[str]:
    return sorted(path.stem for path in Path(store.root, leases.CLAIMS).glob("*.json"))


def test_of_two_that_claim_at_once_the_smaller_waits_for_the_other(
    store: Store, clock: Clock
) -> None:
    """Ids are hexadecimal, so any is smaller than z."""
    other = claim(store, "z")
    seen: list[list[str]] = []

    def later() -> None:
        seen.append(claims(store))
        if len(seen) == 3:
            other.unlink()

    clock.at_sleep = later
    with Lease(store) as mine:
        assert seen == [[mine.id, "z"]] * 3
        assert claims(store) == []
    assert clock.slept == [leases._POLL_S] * 3


@pytest.mark.parametrize("wins", [True, False])
def test_of_two_that_claim_at_once_the_larger_withdraws(
    store: Store, clock: Clock, wins: bool
) -> None:
    """Any id is larger than 0. It claims again if the other has not taken the lease in the end."""
    other = claim(store, "0")
    seen: list[list[str]] = []

    def later() -> None:
        seen.append(claims(store))
        if len(seen) == 3:
            if wins:
                write(store, pid=4711)
            other.unlink()

    clock.at_sleep = later
    lease = Lease(store)
    if wins:
        with pytest.raises(RequestError, match="by process 4711 on elsewhere"):
            lease.__enter__()
        assert read(store)["id"] == "other"
    else:
        with lease:
            assert read(store)["id"] == lease.id
    assert seen[:3] == [["0"]] * 3
    assert claims(store) == []


def test_claims_of_the_dead_on_this_host_go_at_once(store: Store, clock: Clock) -> None:
    here = claim(store, "0", host=HERE, pid=os.getpid())
    with Lease(store):
        assert not here.exists()
    assert clock.slept == []


def test_a_living_claim_on_this_host_is_waited_for_without_a_line(
    store: Store, clock: Clock
) -> None:
    parent = psutil.Process(os.getppid())
    other = claim(store, "0", host=HERE, pid=parent.pid, pid_started=parent.create_time())
    clock.at_sleep = lambda: other.unlink(missing_ok=True)
    said: list[str] = []
    with Lease(store, said.append):
        pass
    assert len(clock.slept) >= 1
    assert said == []


@pytest.mark.parametrize("text", [None, "{"])
def test_claims_of_another_host_go_when_a_lease_would_have_expired(
    store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch, text: str | None
) -> None:
    monkeypatch.setattr(leases, "_POLL_S", 1.0)
    other = claim(store, "0")
    if text is not None:
        other.write_text(text)
    said: list[str] = []
    with Lease(store, said.append):
        assert sum(clock.slept) == 31, "longer than 30 s, asked once a second"
        assert claims(store) == []
    assert [line.split(";")[0] for line in said] == (
        [f"elsewhere is about to take {store.uri}"] if text is None else []
    )


def test_each_claim_s_time_counts_from_when_it_was_first_seen(
    store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A driver that withdraws and claims again is a living one."""
    monkeypatch.setattr(leases, "_POLL_S", 10.0)
    other = claim(store, "z")
    third: list[Path] = []

    def later() -> None:
        if len(clock.slept) == 3:
            other.unlink()
            third.append(claim(store, "y"))
        if len(clock.slept) == 6:
            assert third[0].exists()
            third[0].unlink()

    clock.at_sleep = later
    said: list[str] = []
    with Lease(store, said.append):
        assert len(clock.slept) == 6
    assert len(said) == 1, "one line is enough"


TAKE = """
import sys
from orchestrator.errors import RequestError
from orchestrator.queue.lease import Lease
from results import open_store
store = open_store(sys.argv[1])
print("ready", flush=True)
while sys.stdin.readline():
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
    """Processes that are told to take the lease one right after the other, when all of them wait
    for that; how many had it in each round."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", TAKE, uri],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **options,
        )
        for _ in range(drivers)
    ]  # fmt: skip

    def tell(process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        process.stdin.write("go on\n")
        process.stdin.flush()

    def hear(process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        return process.stdout.readline().strip()

    won = []
    try:
        assert [hear(process) for process in processes] == ["ready"] * drivers
        for _ in range(rounds):
            for process in processes:
                tell(process)
            said = [hear(process) for process in processes]
            assert set(said) <= {"won", "refused"}, said
            winners = [p for p, text in zip(processes, said, strict=True) if text == "won"]
            won.append(len(winners))
            for process in winners:
                tell(process)
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
    assert race(store.uri, rounds=15, drivers=3) == [1] * 15
    assert not lease_file(store).exists()


@pytest.mark.parametrize(
    "delay", [0.0, pytest.param(0.7, marks=pytest.mark.slow)], ids=["quick", "slow"]
)
def test_of_drivers_that_race_for_an_object_store_exactly_one_wins(
    object_store: ObjectStore, delay: float
) -> None:
    store = create_store(f"s3://bucket/race-{delay}")
    object_store.trouble(delay=delay)
    rounds = 4 if delay else 8
    won = race(store.uri, rounds, drivers=2, env=object_store.environment)
    object_store.trouble()
    assert won == [1] * rounds


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A heartbeat that need not be waited for."""
    monkeypatch.setattr(leases, "HEARTBEAT_S", 0.01)


def wait_until(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.002)


@pytest.mark.usefixtures("quick")
def test_a_held_lease_beats_and_notices_when_it_is_lost(store: Store) -> None:
    with Lease(store) as mine:
        first = read(store)
        wait_until(lambda: read(store)["heartbeat"] > first["heartbeat"])
        assert {**read(store), "heartbeat": 0} == {**first, "heartbeat": 0}
        assert not mine.lost.is_set()
        mine.raise_fence("pack", "1")
        write(store)
        mine.lost.wait()
    # What belongs to the driver that took over stays.
    assert read(store)["id"] == "other"
    passes(store, "pack", "1")


@pytest.mark.usefixtures("quick")
def test_a_lease_that_somebody_deleted_is_written_again(store: Store) -> None:
    with Lease(store) as mine:
        lease_file(store).unlink()
        wait_until(lease_file(store).exists)
        assert read(store)["id"] == mine.id
        assert not mine.lost.is_set()


@pytest.mark.usefixtures("quick")
def test_a_store_out_of_reach_for_a_while_does_not_end_the_heartbeat(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures: list[Exception] = []
    twice = threading.Event()
    read_lease = leases._read_lease

    def noted(*given: Any) -> dict[str, Any] | None:
        try:
            return read_lease(*given)
        except StoreError as error:
            failures.append(error)
            if len(failures) == 2:
                twice.set()
            raise

    with Lease(store) as mine:
        monkeypatch.setattr(leases, "_read_lease", noted)
        root = Path(store.root)
        hidden = root.with_name("hidden")
        root.rename(hidden)
        root.symlink_to(root.name)  # a link to itself: nothing can be read or written below it
        twice.wait()
        root.unlink()
        hidden.rename(root)
        before = read(store)["heartbeat"]
        wait_until(lambda: read(store)["heartbeat"] > before)
        assert not mine.lost.is_set()


def test_a_lease_that_cannot_be_given_back_is_told(store: Store) -> None:
    said: list[str] = []
    with Lease(store, said.append) as mine:
        lease_file(store).unlink()
        lease_file(store).mkdir()
    (line,) = said
    assert line.startswith(f"the lease stays behind in {store.uri} (cannot read ")
    assert mine.id not in leases._ours


def test_a_lease_and_the_wish_to_stop_are_synced_and_a_fence_is_not(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut that takes a fence stops its worker, and there is one for each pack."""
    sync, synced = os.fsync, list[int]()

    def noted(descriptor: int) -> None:
        synced.append(descriptor)
        sync(descriptor)

    lease = Lease(store)
    lease._mine = leases._holder()
    monkeypatch.setattr(os, "fsync", noted)
    leases._write(store, leases.LEASE, lease._mine)
    assert len(synced) == 2, "the file, then its name in the folder"
    lease.raise_fence("p", "1")
    assert len(synced) == 2
    lease.ask_to_stop()
    assert len(synced) == 4


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
