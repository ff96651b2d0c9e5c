"""Queries: the same million layer rows in 400 parts, and compacted."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.timing import alternate
from results import Store, create_store, open_store
from results.schema import arrow_schema

PARTS, ROWS = 400, 2_500
_SQL = "SELECT layer, avg(grad_norm) FROM layers WHERE tensor = '*' GROUP BY layer ORDER BY layer"


def run() -> dict[str, float]:
    """Seconds to open each store and average gradient norms by layer."""
    with tempfile.TemporaryDirectory() as folder:
        small, merged = Path(folder) / "small", Path(folder) / "merged"
        for path in (small, merged):
            _fill(create_store(path))
        open_store(merged).compact(grace_s=0)
        return alternate(
            {
                "compacted": lambda: open_store(merged).sql(_SQL).fetchall(),
                f"{PARTS} parts": lambda: open_store(small).sql(_SQL).fetchall(),
            }
        )


def _fill(store: Store) -> None:
    draw = np.random.default_rng(0)
    schema = arrow_schema("layers")
    assert schema is not None
    for part in range(PARTS):
        columns = {
            name: pa.array(np.zeros(ROWS), type=schema.field(name).type)
            for name in schema.names
            if pa.types.is_integer(schema.field(name).type)
        }
        for name in schema.names:
            if pa.types.is_floating(schema.field(name).type):
                columns[name] = pa.array(draw.lognormal(size=ROWS).astype(np.float32))
        columns["layer"] = pa.array(np.arange(ROWS) % 25, type=pa.int32())
        columns["epoch"] = pa.array(np.arange(ROWS) // 25, type=pa.int32())
        columns["trial_id"] = pa.array([f"{part:016x}"] * ROWS)
        columns["layer_name"] = pa.array([f"rnn.{i % 25}" for i in range(ROWS)])
        columns["tensor"] = pa.array(["*"] * ROWS)
        store.publish("layers", pa.table({n: columns[n] for n in schema.names}, schema=schema))
    trial = {
        "trial_id": [f"{part:016x}" for part in range(PARTS)],
        "attempt": [0] * PARTS,
        "event": [1] * PARTS,
        "status": ["done"] * PARTS,
        "config": ["{}"] * PARTS,
        "config_id": [f"{part:016x}" for part in range(PARTS)],
        "versions": ["{}"] * PARTS,
        "first_epoch": [0] * PARTS,
        "rows": ["{}"] * PARTS,
        "started": [datetime.now(UTC)] * PARTS,
    }
    store.publish("trials", pa.table(trial))
