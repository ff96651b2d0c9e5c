"""One driver per store, and fences that stop workers it has replaced."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import psutil

from orchestrator.errors import RequestError
from results import Store, StoreError, files

HEARTBEAT_S = 5.0
EXPIRY_S = 30.0
LEASE = "lease.json"
STOP = "fences/stop.json"


def _read(store: Store, name: str) -> dict[str, Any] | None:
    try:
        found = files.read_json(store.fs, store.paths.under(name))
    except (FileNotFoundError, IsADirectoryError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _lease(store: Store) -> dict[str, Any] | None:
    """The lease, if there is one and it says what a lease says."""
    found = _read(store, LEASE) or {}
    words = all(isinstance(found.get(name), str) for name in ("id", "host"))
    times = (found.get(name) for name in ("pid_started", "since", "heartbeat"))
    right = words and all(isinstance(t, (int, float)) and 0 <= t < 2**33 for t in times)
    return found if right and type(found.get("pid")) is int and 0 < found["pid"] < 2**31 else None


def _write(store: Store, name: str, value: dict[str, Any]) -> None:
    files.publish(store.fs, store.paths.under(name), json.dumps(value).encode())


class SupersededError(Exception):
    """Another driver or attempt has taken over; this worker must publish nothing more."""


def _holder() -> dict[str, Any]:
    me = psutil.Process()
    return {
        "id": uuid.uuid4().hex,
        "host": socket.gethostname(),
        "pid": me.pid,
        # A pid is reused; with its start time it names one process.
        "pid_started": me.create_time(),
        "since": time.time(),
        "heartbeat": time.time(),
    }


def _alive_here(lease: dict[str, Any]) -> bool:
    try:
        return abs(psutil.Process(lease["pid"]).create_time() - lease["pid_started"]) < 1
    except psutil.Error:
        return False


def check_free(store: Store) -> None:
    """Fails early, before Ray starts, when a live driver on this host holds the store.

    Raises:
      RequestError: names the holder and since when.
    """
    lease = _lease(store)
    if lease and lease["host"] == socket.gethostname() and _alive_here(lease):
        raise RequestError(_held(store, lease))


def holder(store: Store) -> dict[str, Any] | None:
    """The driver that holds the store, as far as can be told from here; None if there is none."""
    lease = _lease(store)
    if not lease:
        return None
    if lease["host"] == socket.gethostname():
        return lease if _alive_here(lease) else None
    return lease if time.time() - lease["heartbeat"] < EXPIRY_S else None


def _held(store: Store, lease: dict[str, Any]) -> str:
    since = datetime.fromtimestamp(lease["since"], UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return (
        f"{store.uri} is being written by process {lease['pid']} on {lease['host']} since {since}; "
        "wait for it, or stop it with Ctrl-C there"
    )


class Lease:
    """Held while a driver writes to a store; a context manager. Its id names the launch."""

    def __init__(self, store: Store, say: Callable[[str], None] = lambda line: None):
        self.store = store
        self.say = say
        self.lost = threading.Event()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._mine: dict[str, Any] = {}

    @property
    def id(self) -> str:
        return self._mine["id"]

    def __enter__(self) -> Lease:
        self._wait_for_another_host()
        self._mine = _holder()
        _write(self.store, LEASE, self._mine)
        time.sleep(0.1)  # of two that write at once, the later one wins and the other sees it
        current = _lease(self.store)
        if not current or current["id"] != self.id:
            raise RequestError(_held(self.store, current or self._mine))
        # Whatever an earlier driver left running stops at its next publish.
        self._clear_fences()
        self._thread = threading.Thread(target=self._beat, name="lease", daemon=True)
        self._thread.start()
        return self

    def _clear_fences(self) -> None:
        for info in files.listing(self.store.fs, self.store.paths.under("fences")):
            files.delete(self.store.fs, info.path)

    def _wait_for_another_host(self) -> None:
        lease = _lease(self.store)
        said, begun = False, time.time()
        while lease:
            if lease["host"] == socket.gethostname():
                if _alive_here(lease) and lease["pid"] != os.getpid():
                    raise RequestError(_held(self.store, lease))
                return
            # At most that long, also if the other's clock is ahead of ours.
            age = max(time.time() - lease["heartbeat"], time.time() - begun)
            if age >= EXPIRY_S:
                return
            if not said:
                self.say(
                    f"{self.store.uri} was held by {lease['host']}; waiting up to "
                    f"{EXPIRY_S - age:.0f} s to see whether that driver still lives"
                )
                said = True
            time.sleep(min(HEARTBEAT_S, EXPIRY_S - age) + 0.1)
            newer = _lease(self.store)
            if newer and newer["heartbeat"] > lease["heartbeat"]:
                raise RequestError(_held(self.store, newer))
            lease = newer

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT_S):
            try:
                current = _lease(self.store)
                if current and current["id"] != self.id:
                    self.lost.set()
                    return
                _write(self.store, LEASE, {**self._mine, "heartbeat": time.time()})
            except (OSError, StoreError):
                continue  # a full disk must not end the driver; the next beat tries again

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread:
            self._thread.join()
        current = _lease(self.store)
        if current and current["id"] == self.id:  # else they belong to the driver that took over
            self._clear_fences()
            files.delete(self.store.fs, self.store.paths.under(LEASE))

    def ask_to_stop(self) -> None:
        """Asks every worker to stop after the epoch under way."""
        _write(self.store, STOP, {"launch": self.id})

    def raise_fence(self, pack_id: str, generation: str) -> None:
        """Lets only the worker of `generation` publish for that pack from now on."""
        _write(self.store, f"fences/{pack_id}.json", {"generation": generation})


def passes(store: Store, pack_id: str, generation: str) -> None:
    """Read before each publish.

    Raises:
      SupersededError: the fence is gone or names another generation.
    """
    fence = _read(store, f"fences/{pack_id}.json")
    if not fence or fence.get("generation") != generation:
        raise SupersededError(f"pack {pack_id} was taken over by another attempt")


def stop_wanted(store: Store) -> bool:
    """Whether the driver has asked its workers to stop."""
    return _read(store, STOP) is not None
