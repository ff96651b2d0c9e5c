"""Config keys as typed columns, and which trials are stale."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from results.schema import EPOCHS, TRIALS

_DECLARED = {"int": pa.int64(), "float": pa.float64(), "bool": pa.bool_(), "str": pa.string()}
_RESERVED = {column.name.lower() for column in (*TRIALS, *EPOCHS)} | {"stale"}
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


def config_table(
    trials: Iterable[Mapping[str, Any]], declared: Mapping[str, str]
) -> tuple[pa.Table, dict[str, str]]:
    """One row per trial: trial_id, stale, and a typed column per config key.

    Args:
      trials: rows with trial_id, config (JSON), config_id, versions (JSON), first_started, and
        perhaps labels (JSON), which become columns like keys.
      declared: type of each key as the spaces declare it ("int", "float", "bool", "str"). A key
        not declared gets its type from its values; integers beside floats become floats.

    Returns:
      The table, and the column name of each key: its own, or one with `cfg_` in front where the
      name is taken by a column of `trials` or `epochs` (DuckDB's names ignore case).
    """
    rows = list(trials)
    configs = [{**json_object(row.get("labels")), **json_object(row["config"])} for row in rows]
    stale = stale_trials(rows)
    arrays: dict[str, pa.Array] = {
        "trial_id": pa.array([row["trial_id"] for row in rows], pa.string()),
        "stale": pa.array([row["trial_id"] in stale for row in rows], pa.bool_()),
    }
    taken = set(_RESERVED)
    names: dict[str, str] = {}
    keys = {key for config in configs for key in config if key and "\0" not in key}
    for key in sorted(keys, key=lambda key: (key.lower(), key.swapcase())):
        values = [config.get(key) for config in configs]
        if key == "stage":  # the same thing as the column of that name
            names[key] = key
            continue
        name = key
        while name.lower() in taken:
            name = f"cfg_{name}"
        taken.add(name.lower())
        names[key] = name
        arrays[name] = _typed(values, declared.get(key))
    return pa.table(arrays), names


def json_object(text: str | None) -> dict[str, Any]:
    """A JSON object from a column of `trials`; an empty one where that holds anything else."""
    try:
        value = json.loads(text or "{}")
        if text and "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()  # half characters cannot be stored
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _typed(values: list[Any], declared: str | None) -> pa.Array:
    kinds = {_kind(value) for value in values if value is not None}
    fits = {"int": {int}, "float": {int, float}, "bool": {bool}, "str": {str}}
    if declared in fits and kinds <= fits[declared]:
        return pa.array(_as_float(values) if declared == "float" else values, _DECLARED[declared])
    for kind in ("bool", "int", "float", "str"):
        if kinds and kinds <= fits[kind]:
            return pa.array(_as_float(values) if kind == "float" else values, _DECLARED[kind])
    text = [v if v is None or isinstance(v, str) else json.dumps(v) for v in values]
    return pa.array(text, pa.string())


def _kind(value: Any) -> type:
    # Beyond 64 bits there is no column of integers; Python's floats end much later.
    big = type(value) is int and not -(2**63) <= value < 2**63
    return float if big and abs(value) < 1e300 else dict if big else type(value)


def _as_float(values: list[Any]) -> list[float | None]:
    return [None if value is None else float(value) for value in values]


def stale_trials(rows: Iterable[Mapping[str, Any]]) -> set[str]:
    """Ids of the trials whose config was also run under newer versions of its parts.

    Newer: greater version numbers; where those are equal (a user's file is versioned by its
    content), started later.
    """
    groups: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        if row["config_id"] is not None:
            groups[row["config_id"]].append(row)
    stale: set[str] = set()
    for group in groups.values():
        if len(group) > 1:
            newest = max(group, key=_age)
            stale |= {row["trial_id"] for row in group if row is not newest}
    return stale


def _age(row: Mapping[str, Any]) -> tuple[Any, ...]:
    versions = sorted(json_object(row["versions"]).items())
    numbers = tuple(v if isinstance(v, int) else 0 for _, v in versions)
    return numbers, row["first_started"] or _LONG_AGO, row["trial_id"]
