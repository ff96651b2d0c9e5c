"""Trials that several stores have run with other results, in words."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from results.store.config_columns import json_object

_NAMED = 5
"""Trials named one by one; the view `conflicts` has all."""


def conflicts(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A sentence for each of the first rows of the view `conflicts`, and one for the rest."""
    said = [_sentence(row) for row in rows[:_NAMED]]
    more = len({row["trial_id"] for row in rows[_NAMED:]})
    if more:
        said.append(
            f"{more} more trial{'s differ' if more > 1 else ' differs'} like this; "
            'gradsweep query "SELECT * FROM conflicts" lists them all.'
        )
    return said


def _sentence(row: Mapping[str, Any]) -> str:
    ours, theirs = (json_object(row[name]) for name in ("signature", "other_signature"))
    names = [n for n in sorted({*ours, *theirs}) if ours.get(n) != theirs.get(n)]
    ran = [_text({n: one.get(n) for n in names} if names else one) for one in (ours, theirs)]
    how = f"signatures {ran[0]} and {ran[1]}" if names else f"one signature, {ran[0]}"
    return (
        f"trial {row['trial_id']} differs from epoch {row['epoch']} on between two launches, "
        f"{row['launch_id']} (shown) and {row['other_launch_id']}, which ran under {how}."
    )


def _text(signature: Mapping[str, Any]) -> str:
    return json.dumps(signature, sort_keys=True)
