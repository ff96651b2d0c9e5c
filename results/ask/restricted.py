"""Some of a space's trials: those whose config has given values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from results.ask.named_queries import space_name, targets_of
from results.errors import StoreError, nearest

if TYPE_CHECKING:
    from results.store.store import Store

Where = Mapping[str, Any] | Sequence[str]
"""Keys with a value or a list of values each, or texts `key=value,value`."""


def restricted(store: Store, space: Mapping[str, Any], where: Where) -> dict[str, Any]:
    """The space with those targets only whose config has the values, and with their parents.

    A text is compared with a number by what it means, and `null` is no value.

    Raises:
      StoreError: a key that no trial here has; values that no trial of the space has.
    """
    wanted = _read(where)
    if not wanted:
        return dict(space)
    columns = store.config_columns
    for key in wanted:
        if key not in columns:
            raise StoreError(f"no trial here has the key {key!r}{nearest(key, columns)}.")
    targets = targets_of(space)
    rows = store.sql(
        "SELECT t.* FROM all_trials t WHERE trial_id IN (SELECT unnest($ids))", {"ids": targets}
    ).rows()
    kept = {row["trial_id"] for row in rows if all(
        any(_same(row[columns[key]], value) for value in values) for key, values in wanted.items()
    )}  # fmt: skip
    if not kept:
        held = " ".join(f"{k}={','.join(map(spelled, v))}" for k, v in wanted.items())
        there = "; ".join(
            f"{key} is {', '.join(sorted({spelled(row[columns[key]]) for row in rows}))}"
            for key in wanted
        )
        there = f": {there}" if rows else ""
        raise StoreError(f"no trial of {space_name(space) or 'this space'} has {held}{there}.")
    parents: dict[str, str] = space.get("parents") or {}
    own = list(kept)
    for child in own:  # grows: a parent may have a parent
        own += [parents[child]] if child in parents and parents[child] not in own else []
    return {
        **space,
        "targets": [trial for trial in targets if trial in kept],
        "trials": [trial for trial in space.get("trials") or () if trial in own],
        "parents": {child: parent for child, parent in parents.items() if child in own},
        "where": wanted,
    }


def spelled(value: Any) -> str:
    """A value of a config as it is typed."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _read(where: Where) -> dict[str, list[Any]]:
    if isinstance(where, Mapping):
        return {key: _values(value) for key, value in where.items()}
    wanted: dict[str, list[Any]] = {}
    for text in where:
        key, sign, values = text.partition("=")
        if not sign or not key.strip():
            raise StoreError(f"{text!r} is not KEY=VALUE.")
        if key.strip() in wanted:
            raise StoreError(f"{key.strip()} is given twice; give its values joined by commas.")
        wanted[key.strip()] = [part.strip() for part in values.split(",")]
    return wanted


def _values(value: Any) -> list[Any]:
    several = isinstance(value, Iterable) and not isinstance(value, str)
    return list(value) if several else [value]


def _same(own: Any, wanted: Any) -> bool:
    if not isinstance(wanted, str) or isinstance(own, str):
        return own == wanted and isinstance(own, bool) == isinstance(wanted, bool)
    if own is None:
        return wanted.lower() in ("null", "none")
    if isinstance(own, bool):
        return wanted.lower() == spelled(own)
    try:
        return float(wanted) == own
    except ValueError:
        return False
