"""The stores that a board shows: each under a name, asked at most once for the same thing."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from results.board.address import Address
from results.errors import StoreError, nearest

if TYPE_CHECKING:
    from results.result import Result
    from results.store.store import Store

LISTED_S = 4.0
"""Seconds for which a listing of a store's files is not made again."""

QUERY_S = 60.0
"""Seconds after which a page's query is stopped."""

_KEPT = 128
_QUICK_ROWS = 5_000_000


class Shown:
    """A store of the board. Answers are kept until the store's files change."""

    def __init__(self, name: str, store: Store):
        self.name = name
        self.store = store
        self._lock = threading.Lock()
        self._listed = 0.0
        self._version = ""
        self._spaces: dict[str, dict] = {}
        self._answers: OrderedDict[str, Result] = OrderedDict()

    def version(self) -> str:
        """A text that changes whenever the store's files do; they are listed every few seconds."""
        with self._lock:
            now = time.monotonic()
            if self._version and now - self._listed < LISTED_S:
                return self._version
            known = self.store.spaces()  # lists the files; what follows goes by that listing
            parts = sorted(part.path for _, part in self.store.index.live())
            spaces = sorted((name, repr(space)) for name, space in known.items())
            version = f"{hash((tuple(parts), tuple(spaces))):x}"
            if version != self._version:
                self._answers.clear()
                self._spaces = known
            self._version, self._listed = version, now
            return version

    def ask(self, sql: str) -> Result:
        """The rows of one SELECT, as `gradsweep query` gives them.

        Raises:
          StoreError: wrong SQL, more than it may take, or anything but one SELECT.
        """
        self.version()
        with self._lock:
            if sql in self._answers:
                self._answers.move_to_end(sql)
                return self._answers[sql]
            version = self._version
        found = self.store.query_user(sql, timeout=QUERY_S)
        with self._lock:
            if version == self._version:
                self._answers[sql] = found
                while len(self._answers) > _KEPT:
                    self._answers.popitem(last=False)
        return found

    def spaces(self) -> dict[str, dict]:
        """Every space launched into the store, by `study/space`."""
        self.version()
        return self._spaces

    def columns(self) -> dict[str, str]:
        """Column of each config key."""
        return self.store.config_columns

    def quick(self) -> bool:
        """Whether verdicts, which read the rows of all layers, come within about a second."""
        live = self.store.index.live()
        return sum(part.rows for table, part in live if table == "layers") <= _QUICK_ROWS


def short_names(uris: Sequence[str]) -> list[str]:
    """The last part of each URI, or as many parts as tell it from the others; of equal URIs the
    later get a number."""
    parts = [uri.rstrip("/").split("/") for uri in uris]
    found: list[str] = []
    for uri, own in zip(uris, parts, strict=True):
        others = [other for other, text in zip(parts, uris, strict=True) if text != uri]
        count = next(
            (n for n in range(1, len(own)) if all(own[-n:] != other[-n:] for other in others)),
            len(own),
        )
        name, number = "/".join(own[-count:]), 1
        while name in found:
            number += 1
            name = f"{'/'.join(own[-count:])}-{number}"
        found.append(name)
    return found


class Stores:
    """The stores of a board, by name."""

    def __init__(self, stores: Iterable[Store]):
        known = list(stores)
        names = short_names([store.uri for store in known])
        self.all = {name: Shown(name, store) for name, store in zip(names, known, strict=True)}
        if not self.all:
            raise StoreError("a board needs at least one store; give --store.")

    def chosen(self, at: Address) -> list[Shown]:
        """The stores that an address names; the first if it names none.

        Raises:
          StoreError: a name that no store has.
        """
        names = at.several("store") or list(self.all)[:1]
        for name in names:
            if name not in self.all:
                raise StoreError(
                    f"no store here is called {name!r}{nearest(name, self.all)}; "
                    f"there are {', '.join(self.all)}."
                )
        return [self.all[name] for name in dict.fromkeys(names)]

    def space(self, at: Address) -> str:
        """The space that an address names; the newest of the chosen stores if it names none.

        Raises:
          StoreError: none of the stores has it, or none has any.
        """
        known = self.spaces(at)
        if not known:
            raise StoreError("no space has been launched into this store yet; launch one.")
        name = at.first("space") or next(iter(known))
        if name not in known:
            raise StoreError(f"no store here has the space {name!r}{nearest(name, known)}.")
        return name

    def spaces(self, at: Address) -> dict[str, Mapping]:
        """Spaces of the chosen stores, the newest launched first."""
        found: dict[str, Mapping] = {}
        for shown in self.chosen(at):
            for name, space in shown.spaces().items():
                found.setdefault(name, space)
        return dict(
            sorted(found.items(), key=lambda item: str(item[1].get("launched")), reverse=True)
        )

    def version(self) -> str:
        """A text that changes whenever one of the stores does."""
        return " ".join(shown.version() for shown in self.all.values())
