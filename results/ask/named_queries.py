"""Named queries: SQL files to read and copy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from results.errors import StoreError, nearest
from results.schema import FINISHED
from results.store.views import strings

if TYPE_CHECKING:
    from results.result import Result
    from results.store.store import Store


@dataclass(frozen=True)
class NamedQuery:
    """A query by name: what it answers, and its SQL."""

    name: str
    doc: str
    sql: str


def named_queries() -> dict[str, NamedQuery]:
    """Every named query, by name."""
    found: dict[str, NamedQuery] = {}
    folder = files("results.ask").joinpath("queries")
    for entry in sorted(folder.iterdir(), key=lambda e: e.name):
        if entry.name.endswith(".sql"):
            name, text = entry.name.removesuffix(".sql"), entry.read_text(encoding="utf-8")
            first, _, sql = text.partition("\n")
            found[name] = NamedQuery(name, first.removeprefix("--").strip(), sql.strip())
    return found


def run_named(store: Store, name: str, space: str | None = None) -> Result:
    """Runs a named query, over the trials of one space or over the whole store.

    Raises:
      StoreError: no such query, or no such space.
    """
    return store.sql(sql_named(store, name, space))


def sql_named(store: Store, name: str, space: str | None = None) -> str:
    """The SQL of a named query, of the trials of one space if one is given.

    Raises:
      StoreError: as `run_named`.
    """
    known = named_queries()
    if name not in known:
        raise StoreError(f"no query is called {name!r}{nearest(name, known)}: see `query --list`.")
    sql = known[name].sql
    if space is None:
        return sql
    space_of(store, space)
    columns = store.sql(f"SELECT * FROM ({sql.rstrip(';')}) LIMIT 0").columns
    if "trial_id" not in columns:
        raise StoreError(f"the query {name} sums over the whole store; leave out the space.")
    return (
        f"SELECT * FROM ({sql.rstrip(';')}) WHERE trial_id IN "
        f"(SELECT trial_id FROM space_trials WHERE list_contains({strings([space])}, space))"
    )


def space_of(store: Store, name: str) -> dict:
    """The JSON of `study/space`. Raises StoreError if it was never launched into this store."""
    spaces = store.spaces()
    if name not in spaces:
        known = ", ".join(spaces) or "none yet"
        raise StoreError(
            f"{store.uri} holds no space {name!r}{nearest(name, spaces)}; launched here: {known}."
        )
    return spaces[name]


def nothing_yet(store: Store, name: str, trials: Sequence[str], what: str) -> str:
    """Why none of the trials of a space has `what`, and what to do about it."""
    found = store.sql(
        "SELECT coalesce(t.status, 'not started') AS status, count(*) AS trials, "
        "min(t.trial_id) AS one FROM (SELECT unnest($ids) AS trial_id) asked "
        "LEFT JOIN all_trials t USING (trial_id) GROUP BY ALL ORDER BY trials DESC, status",
        {"ids": list(trials)},
    ).rows()
    space = name or "this space"
    begun = [row for row in found if row["one"] is not None]
    if not begun:
        return f"no trial of {space} has {what} yet; launch it first."
    counts = ", ".join(f"{row['trials']} {row['status'].replace('_', ' ')}" for row in found)
    if all(row["status"] in FINISHED for row in found):
        return f"no trial of {space} has {what} ({counts}); its trials record none."
    return (
        f"no trial of {space} has {what}: {counts}; `gradsweep show {begun[0]['one']}` says why "
        "of one, `gradsweep status` of all."
    )


def targets_of(space: Mapping[str, Any]) -> list[str]:
    """Ids of the trials that a space is about: all but those that are only parents."""
    parents = set((space.get("parents") or {}).values())
    own = space.get("targets") or [t for t in space.get("trials") or () if t not in parents]
    return list(dict.fromkeys(own))


def space_name(space: Mapping[str, Any]) -> str:
    """`study/space` from a space's JSON, whose `space` may hold the study already."""
    name, study = str(space.get("space") or ""), str(space.get("study") or "")
    return name if not study or name.startswith(f"{study}/") else f"{study}/{name}".strip("/")
