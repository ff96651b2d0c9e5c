"""Named queries, SQL files to read and copy, and the explanation of every column."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from results.errors import StoreError, nearest
from results.schema import DIAGNOSIS, FINISHED, LOSS_UNIT, TABLES, Column
from results.store.views import strings, view_name

if TYPE_CHECKING:
    from results.result import Result
    from results.store.store import Store

_VIEWS = {
    "trials": "One row per trial, its newest attempt: config keys as typed columns, then these.",
    "runs": "epochs joined with each trial's status, stage and config keys.",
    "epochs": "One row per (trial, epoch).",
    "layers": "One row per (trial, epoch, tensor), and tensor '*' for each whole layer.",
    "steps": "The steps kept one by one: the first ten of a trial, the last ten of each epoch.",
    "diagnosis": "One row per trial: verdict, first bad epoch, every rule, evidence as JSON.",
    "spaces": "One row per space launched into this store.",
    "space_trials": "Which trials each space asks for.",
    "attempts": "One row per (trial, attempt), superseded ones too.",
}


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


def describe(store: Store | None = None) -> str:
    """Every view and column with type, unit and meaning; config keys and probes of `store` too."""
    lines: list[str] = []
    losses = _loss_units(store) if store else LOSS_UNIT
    for view, doc in _VIEWS.items():
        lines += [f"{view}: {doc}"]
        own = DIAGNOSIS if view == "diagnosis" else TABLES.get(view, ())
        lines += list(_explained(own, losses))
        lines += [""]
    lines += ["all_trials, all_epochs, all_layers, all_steps: the same, stale trials included"]
    lines += ["(those whose config also ran under newer versions).", ""]
    probes: dict[str, tuple[str, tuple[Column, ...]]] = {
        view_name(name): ("Norm of dL/dh over layers and time steps.", columns)
        for name, columns in TABLES.items()
        if name.startswith("probes/")
    }
    keys: dict[str, dict] = {}
    for space in store.spaces().values() if store else ():
        keys |= space.get("keys") or {}
        for name, probe in (space.get("probes") or {}).items():
            own = [
                Column(c["name"], c["type"], c.get("doc", ""), c.get("unit", ""))
                for c in probe.get("columns", ())
            ]
            probes[name] = (probe.get("doc", "Probe."), tuple(own))
    for name, (doc, columns) in sorted(probes.items()):
        lines += [f"{name}: {doc}", *_explained(columns), ""]
    if keys and store:
        named = store.config_columns
        types = {"int": "int64", "float": "float64", "bool": "bool", "str": "string"}
        columns = [
            Column(named[key], types.get(own.get("type", ""), "string"), own.get("doc", ""),
                   own.get("unit", ""))
            for key, own in sorted(keys.items())
            if key in named
        ]  # fmt: skip
        lines += ["config keys (columns of trials and runs):", *_explained(tuple(columns)), ""]
    return "\n".join(lines)


def _loss_units(store: Store) -> str:
    """What all losses of the store are in; the column that says it where they differ."""
    units = store.sql("SELECT DISTINCT loss_unit FROM all_trials WHERE loss_unit IS NOT NULL")
    found = [unit for (unit,) in units.fetchall()]
    return found[0] if len(found) == 1 else LOSS_UNIT


def _explained(columns: tuple[Column, ...], losses: str = LOSS_UNIT) -> Iterator[str]:
    for column in columns:
        unit = losses if column.unit == LOSS_UNIT else column.unit
        unit = f" [{unit}]" if unit else ""
        yield f"  {column.name:24}{column.type:10} {column.doc}{unit}"
