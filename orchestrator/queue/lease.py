"""One driver per store, and fences that stop workers it has replaced."""

from __future__ import annotations

import json
import os
import threading
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from orchestrator.errors import RequestError
from orchestrator.machine.processes import here, lives, this_process
from results import Store, StoreError
from results.store import files

HEARTBEAT_S = 5.0
EXPIRY_S = 30.0
LEASE = "lease.json"
CLAIMS = "claims"
STOP = "fences/stop.json"

_POLL_S = 0.05
_LAST_S = 2.5e11
"""Seconds from 1970 to the year 9892, which is nearly the last that a date can have."""
_ours: set[str] = set()
"""Ids this process claims with or holds; another of its pid is what a launch before left behind."""


def _read(store: Store, name: str) -> dict[str, Any] | None:
    """A JSON object of the store; None if there is none, or something else.

    Raises:
      StoreError: it cannot be read, which says nothing about what is there.
    """
    path = store.paths.under(name)
    try:
        value = files.read_json(store.fs, path)
    except (FileNotFoundError, ValueError):
        return None
    except files.NotAFileError as error:
        raise StoreError(f"cannot read {path} ({error}); remove it.") from error
    except OSError as error:
        raise StoreError(f"cannot read {path} ({error}); check its permissions.") from error
    return value if isinstance(value, dict) else None


def _read_lease(store: Store, name: str = LEASE) -> dict[str, Any] | None:
    """A lease or claim; None if there is none, or what is there is none of ours."""
    found = _read(store, name)
    return None if found is None or _odd_field(found) else found


def _odd_field(lease: dict[str, Any]) -> str | None:
    """The field of a lease that cannot be what a driver wrote; None if all can."""
    for field in ("id", "host"):
        if not isinstance(lease.get(field), str):
            return field
    if type(lease.get("pid")) is not int or not 0 < lease["pid"] < 2**31:
        return "pid"
    for field in ("pid_started", "since", "heartbeat"):
        value: Any = lease.get(field)
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not 0 <= value < _LAST_S:  # NaN compares as false
            return field
    return None


def fault(store: Store) -> str | None:
    """One sentence on a `lease.json` that is none, which a launch passes over; None if all is well.

    Raises:
      StoreError: it cannot be read.
    """
    path = store.paths.under(LEASE)
    try:
        found = files.read_json(store.fs, path)
    except FileNotFoundError:
        return None
    except ValueError as error:
        return f"{path} is no lease ({error}); the next launch replaces it."
    except OSError as error:
        raise StoreError(f"cannot read {path} ({error}); remove it.") from error
    odd = _odd_field(found) if isinstance(found, dict) else "content"
    what = f"{path} is no lease (its {odd} cannot be that of one); the next launch replaces it."
    return what if odd else None


def _write(store: Store, name: str, value: dict[str, Any], durable: bool = True) -> None:
    files.publish(store.fs, store.paths.under(name), json.dumps(value).encode(), durable)


class SupersededError(Exception):
    """Another driver or attempt has taken over; this worker must publish nothing more."""


def _holder() -> dict[str, Any]:
    return {
        "id": uuid.uuid4().hex,
        **this_process(),
        "since": time.time(),
        "heartbeat": time.time(),
    }


def _alive_here(lease: dict[str, Any]) -> bool:
    if lease["pid"] == os.getpid():
        return lease["id"] in _ours
    return lives(lease)


def check_free(store: Store) -> None:
    """Fails early, before Ray starts, when a live driver on this host holds the store.

    Raises:
      RequestError: names the holder and since when.
    """
    lease = _read_lease(store)
    if lease and here(lease) and _alive_here(lease):
        raise RequestError(_held(store, lease))


def holder(store: Store) -> dict[str, Any] | None:
    """The driver that holds the store, as far as can be told from here; None if there is none."""
    lease = _read_lease(store)
    if not lease:
        return None
    if here(lease):
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
        if (odd := fault(self.store)) is not None:
            self.say(f"warning: {odd}")
        gone = self._wait_for_another_host()
        self._mine = _holder()
        _ours.add(self.id)
        try:
            self._claim(gone)
            # Whatever an earlier driver left running stops at its next publish.
            self._clear_fences()
        except BaseException:
            _ours.discard(self.id)
            raise
        self._thread = threading.Thread(target=self._beat, name="lease", daemon=True)
        self._thread.start()
        return self

    def _clear_fences(self) -> None:
        for info in files.listing(self.store.fs, self.store.paths.under("fences")):
            files.delete(self.store.fs, info.path)

    def _claim(self, gone: dict[str, Any] | None) -> None:
        """Writes the lease so that of any number of drivers exactly one has it, however slow the
        store: an object store has no "write unless it is there" that pyarrow would know of.

        Each driver writes a claim under a name of its own before it looks at all of them, so of
        two the later one sees the earlier's. Alone, it takes the lease, and only then its claim
        goes: who finds no other claim finds the lease instead. Of several the smallest waits for
        the others to withdraw.

        Args:
          gone: the lease of a driver that is no more.

        Raises:
          RequestError: another driver took the lease.
        """
        own = self.store.paths.under(f"{CLAIMS}/{self.id}.json")
        since: dict[str, float] = {}
        claimed = False
        try:
            while True:
                if not claimed and not since:
                    files.publish(self.store.fs, own, json.dumps(self._mine).encode())
                    claimed = True
                rivals = self._rivals(since)
                self._refuse_if_held(gone)
                if claimed and not rivals:
                    self._mine |= {"since": time.time(), "heartbeat": time.time()}
                    _write(self.store, LEASE, self._mine)
                    return
                if claimed and min(rivals) < self.id:
                    files.delete(self.store.fs, own)
                    claimed = False
                time.sleep(_POLL_S if rivals else 0)
        finally:
            if claimed:
                files.delete(self.store.fs, own)

    def _rivals(self, since: dict[str, float]) -> list[str]:
        """Ids of other drivers' claims. Those of dead drivers go; `since` is when each was seen
        first, as a driver elsewhere is dead when its claim has been there longer than a lease
        lasts."""
        found = []
        known = bool(since)
        for info in files.listing(self.store.fs, self.store.paths.under(CLAIMS)):
            name = info.base_name.removesuffix(".json")
            if name == self.id:
                continue
            first = since.setdefault(name, time.monotonic())
            claim = _read_lease(self.store, f"{CLAIMS}/{info.base_name}")
            dead = claim is not None and here(claim) and not _alive_here(claim)
            if dead or time.monotonic() - first > EXPIRY_S:
                files.delete(self.store.fs, info.path)
            else:
                found.append(name)
                if not known and claim is not None and not here(claim):
                    known = True
                    self.say(
                        f"{claim['host']} is about to take {self.store.uri}; waiting up to "
                        f"{EXPIRY_S:.0f} s to see whether that driver lives"
                    )
        for name in since.keys() - set(found):
            del since[name]
        return found

    def _refuse_if_held(self, gone: dict[str, Any] | None) -> None:
        lease = _read_lease(self.store)
        if lease is None or lease == gone or (here(lease) and not _alive_here(lease)):
            return
        raise RequestError(_held(self.store, lease))

    def _wait_for_another_host(self) -> dict[str, Any] | None:
        """The lease of a driver that is no more, if there is one.

        Raises:
          RequestError: it lives.
        """
        lease = _read_lease(self.store)
        said, begun = False, time.time()
        while lease:
            if here(lease):
                if _alive_here(lease):
                    raise RequestError(_held(self.store, lease))
                return lease
            # At most that long, also if the other's clock is ahead of ours.
            age = max(time.time() - lease["heartbeat"], time.time() - begun)
            if age >= EXPIRY_S:
                return lease
            if not said:
                self.say(
                    f"{self.store.uri} was held by {lease['host']}; waiting up to "
                    f"{EXPIRY_S - age:.0f} s to see whether that driver still lives"
                )
                said = True
            time.sleep(min(HEARTBEAT_S, EXPIRY_S - age) + 0.1)
            newer = _read_lease(self.store)
            if newer and newer["heartbeat"] > lease["heartbeat"]:
                raise RequestError(_held(self.store, newer))
            lease = newer
        return None

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT_S):
            try:
                current = _read_lease(self.store)
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
        try:
            current = _read_lease(self.store)
            if current and current["id"] == self.id:  # else they belong to a driver that took over
                self._clear_fences()
                files.delete(self.store.fs, self.store.paths.under(LEASE))
        except (OSError, StoreError) as error:  # the next driver finds that this one is dead
            self.say(f"the lease stays behind in {self.store.uri} ({error})")
        finally:
            _ours.discard(self.id)

    def ask_to_stop(self) -> None:
        """Asks every worker to stop after the epoch under way."""
        _write(self.store, STOP, {"launch": self.id})

    def raise_fence(self, pack_id: str, generation: str) -> None:
        """Lets only the worker of `generation` publish for that pack from now on."""
        # A power cut may take it, which stops the worker and is safe; there is one for each pack.
        _write(self.store, f"fences/{pack_id}.json", {"generation": generation}, durable=False)

    def drop_fence(self, pack_id: str) -> None:
        """Lets no worker publish for that pack any more."""
        files.delete(self.store.fs, self.store.paths.under(f"fences/{pack_id}.json"))


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
