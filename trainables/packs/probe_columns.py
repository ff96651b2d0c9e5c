"""Whether what a probe measures fits the columns that it declares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from trainables.declarations import PartError, Probe, Trial

_KINDS = {
    "int32": "iu", "int64": "iu", "float32": "f", "float64": "f", "bool": "b", "string": "UO",
}  # fmt: skip
"""NumPy's kinds of arrays that a column of an Arrow type may hold."""
SHOWN = "shown"


def require_columns(probe: Probe, columns: Mapping[str, Any]) -> None:
    """Raises PartError, in one sentence, where measured columns are not those of the probe.

    Args:
      columns: arrays, or what has their `shape` and `dtype`, of one lane: each (rows,).
    """
    declared = {column.name: column.type for column in probe.columns}
    kinds = {**declared, **({SHOWN: "bool"} if SHOWN in columns else {})}
    lacking = [name for name in declared if name not in columns]
    strange = [name for name in columns if name not in kinds]
    if lacking or strange:
        fault = f"lacks column {lacking[0]}" if lacking else f"has no column {strange[0]}"
        names = ", ".join(map(str, columns)) or "nothing"
        raise PartError(
            f"probe {probe.name} {fault}: it declares {', '.join(declared)} and measured {names}"
        )
    rows: dict[int, str] = {}
    for name, kind in kinds.items():
        found = columns[name]
        what = f"column {name} of probe {probe.name}"
        if len(found.shape) != 1:
            raise PartError(f"{what} has the shape {found.shape}; it must be (rows,)")
        rows.setdefault(found.shape[0], name)
        _require_type(what, kind, found)
    if len(rows) > 1:
        several = ", ".join(f"{count} of {name}" for count, name in rows.items())
        raise PartError(
            f"the columns of probe {probe.name} have different numbers of rows: {several}"
        )


def require_brought(
    trial: Trial, shared: Mapping[str, Any], brought: Mapping[str, Mapping[str, Any]]
) -> None:
    """Raises PartError where the probes that an epoch brings are not those of the trial.

    Args:
      shared: columns that all lanes share, (rows,), by probe. brought: the others, (width, rows).
    """
    for name, columns in brought.items():
        if name not in trial.probes:
            raise PartError(
                f"an epoch of stage {trial.stage.name} brings rows of {name}, which it does not "
                "declare; name that probe in its probes"
            )
        own = {column: values[0] for column, values in columns.items()}
        require_columns(trial.probes[name], {**shared.get(name, {}), **own})


def require_equal_rows(
    probe: Probe, one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]
) -> None:
    """Raises PartError where two trials of a pack have different numbers of rows."""
    counts = {len(next(iter(columns.values()))) for columns in (one, other)}
    if len(counts) > 1:
        raise PartError(
            f"probe {probe.name} measured {' and '.join(map(str, sorted(counts)))} rows of two "
            "trials of one program; give all the same number, and leave rows out by a column "
            f"{SHOWN} of bools"
        )


def _require_type(what: str, kind: str, found: Any) -> None:
    dtype = np.dtype(found.dtype) if isinstance(found.dtype, str) else found.dtype
    actual = getattr(dtype, "kind", "V")
    if actual == "c":
        raise PartError(f"{what} is complex; give its real and imaginary parts as two columns")
    wanted = _KINDS[kind]
    if actual in wanted:
        if kind.startswith("int") and dtype.itemsize > np.dtype(kind).itemsize:
            _require_range(what, kind, found)
        if kind == "string" and isinstance(found, np.ndarray) and actual == "O":
            odd = next((v for v in found if not isinstance(v, str)), None)
            if odd is not None:
                raise PartError(f"{what} holds a {type(odd).__name__}; it is declared as string")
        return
    if kind.startswith("float") and actual in "iu":
        return
    raise PartError(f"{what} is declared as {kind}, but measured as {dtype}")


def _require_range(what: str, kind: str, found: Any) -> None:
    limits = np.iinfo(kind)
    fits = isinstance(found, np.ndarray) and (
        not found.size or (found.min() >= limits.min and found.max() <= limits.max)
    )
    if not fits:
        raise PartError(f"{what} is declared as {kind}, but measured as {found.dtype}")
