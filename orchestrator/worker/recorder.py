"""A pack's rows: gathered epoch by epoch, published as closed Parquet parts."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from results import Store
from results.schema import arrow_schema, probe_schema, table_name

if TYPE_CHECKING:
    from trainables.packs.pack import EpochResult, LayerRow

Columns = Mapping[str, Any]

FLUSH_S = 10.0
FLUSH_ROWS = 50_000
ENDS_S = 1.0
"""Ends of trials that come one by one share their parts: each part costs some milliseconds."""


class Recorder:
    """Buffers rows of one pack and publishes them in order: data first, ends of trials last.

    A lane is a slot's trial: its rows go by its id, attempt and epoch, which differ from lane to
    lane, and `place` puts another trial there.

    `guard` runs before each publish and may raise to stop it. With no store the rows stay in
    `kept`, as a debug run wants them.
    """

    def __init__(
        self,
        store: Store | None,
        trial_ids: Sequence[str],
        attempts: Sequence[int],
        guard: Callable[[], None] = lambda: None,
        probes: Mapping[str, Sequence[Mapping[str, str]]] | None = None,
        launch_id: str = "",
    ):
        self.store = store
        self.guard = guard
        self.trial_ids = np.asarray(trial_ids, object)
        self.attempts = np.asarray(attempts, np.int32)
        self.counts: list[dict[str, int]] = [defaultdict(int) for _ in trial_ids]
        self.published = 0
        self._probes = probes or {}
        self.kept: dict[str, list[pa.Table]] = defaultdict(list)
        self._gathered: dict[str, list[tuple[int, Columns]]] = defaultdict(list)
        self._ends: list[dict[str, Any]] = []
        self._launch_id = launch_id or None
        self._words: dict[tuple[Any, ...], Any] = {}
        self._rows = 0
        self._flushed_at = 0.0

    def place(self, lane: int, trial_id: str, attempt: int) -> None:
        """Rows of this lane are another trial's from now on; there may be one lane more."""
        if lane == len(self.trial_ids):
            self.trial_ids = np.append(self.trial_ids, trial_id)
            self.attempts = np.append(self.attempts, np.int32(attempt))
            self.counts.append(defaultdict(int))
        self.trial_ids[lane], self.attempts[lane] = trial_id, attempt
        self.counts[lane] = defaultdict(int)
        self._words = {key: words for key, words in self._words.items() if key[0] == "layers"}

    def add(
        self,
        table: str,
        lanes: np.ndarray,
        columns: Mapping[str, Any],
        per_lane: int,
        shown: np.ndarray | None = None,
    ) -> None:
        """Rows of several lanes, `per_lane` each, lane by lane.

        Args:
          columns: by name; one that the table has and this lacks is null.
          shown: bool (lanes * per_lane,), False for rows to leave out.
        """
        key = "trial_id", lanes.tobytes(), per_lane
        if key not in self._words:
            ids = np.repeat(self.trial_ids[lanes], per_lane)
            launch = pa.array([self._launch_id] * len(ids), pa.string())
            self._words[key] = pa.array(ids, pa.string()), launch
        ids, launch = self._words[key]
        data = {
            "trial_id": ids,
            "attempt": np.repeat(self.attempts[lanes], per_lane),
            "launch_id": launch,
            **columns,
        }
        counts = np.full(len(lanes), per_lane)
        if shown is not None:
            mask = pa.array(shown)
            data = {
                name: values.filter(mask) if isinstance(values, pa.Array) else values[shown]
                for name, values in data.items()
            }
            counts = shown.reshape(len(lanes), per_lane).sum(1)
        count = int(counts.sum())
        self._gathered[table].append((count, data))
        self._rows += count
        for lane, count in zip(lanes, counts, strict=True):
            self.counts[lane][table] += int(count)

    def add_epoch(
        self,
        epochs: int | np.ndarray,
        result: EpochResult,
        rows: Sequence[LayerRow],
        lanes: np.ndarray,
        steps: int,
        seconds: float,
    ) -> None:
        """One epoch of `lanes`: rows of `epochs`, `layers` and `steps`, as far as there are any.

        Args:
          epochs: which one it is, of all or of each of them.
        """
        if not result.epochs:
            return
        bad = result.bad_step[lanes]
        extra = [
            [(name, float(values[lane])) for name, values in result.metrics.items()]
            for lane in lanes
        ]
        measured = {name: values[lanes] for name, values in result.epochs.items()}
        epochs = np.broadcast_to(np.asarray(epochs, np.int32), len(lanes))
        self.add(
            "epochs",
            lanes,
            {
                **measured,
                "epoch": epochs,
                "steps": np.full(len(lanes), steps, np.int32),
                "bad_step": pa.array(bad, type=pa.int32(), mask=bad < 0),
                "seconds": np.full(len(lanes), seconds / len(lanes)),
                "metrics": pa.array(extra, type=pa.map_(pa.string(), pa.float64())),
            },
            1,
        )
        if result.layers:
            self._add_layers(epochs, result, rows, lanes)
        kept = len(result.step_index)
        if result.steps:
            shown = result.step_index >= result.first_step[lanes][:, None]
            self.add(
                "steps",
                lanes,
                {
                    **{name: values[lanes].reshape(-1) for name, values in result.steps.items()},
                    "epoch": np.repeat(epochs, kept),
                    "step": np.tile(np.asarray(result.step_index, np.int32), len(lanes)),
                },
                kept,
                None if shown.all() else shown.reshape(-1),
            )

    def _add_layers(
        self, epochs: np.ndarray, result: EpochResult, rows: Sequence[LayerRow], lanes: np.ndarray
    ) -> None:
        count = len(rows)
        key = "layers", len(lanes)
        if key not in self._words:
            every = [row for _ in lanes for row in rows]
            self._words[key] = {
                "layer": pa.array([row.layer for row in every], pa.int32()),
                "layer_name": pa.array([row.layer_name for row in every], pa.string()),
                "tensor": pa.array([row.tensor for row in every], pa.string()),
                "tensor_index": pa.array([row.tensor_index for row in every], pa.int32()),
                "frozen": pa.array([row.frozen for row in every], pa.bool_()),
            }
        self.add(
            "layers",
            lanes,
            {
                **self._words[key],
                **{name: values[lanes].reshape(-1) for name, values in result.layers.items()},
                "epoch": np.repeat(epochs, count),
            },
            count,
        )

    def add_probe(
        self,
        name: str,
        epochs: int | np.ndarray,
        lanes: np.ndarray,
        columns: Mapping[str, np.ndarray],
    ) -> None:
        """Rows of one probe, after which epoch of all lanes or of each. A 1-d column is shared by
        the lanes, a 2-d one has a row per lane; rows whose column `shown` is False are left out."""
        count = max(values.shape[-1] for values in columns.values())
        flat = {
            key: values[lanes].reshape(-1) if values.ndim == 2 else np.tile(values, len(lanes))
            for key, values in columns.items()
        }
        shown = flat.pop("shown", None)
        after = np.repeat(np.broadcast_to(np.asarray(epochs, np.int32), len(lanes)), count)
        self.add(name, lanes, {**flat, "epoch": after}, count, shown)

    def add_trials(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Rows of `trials`, published after all data gathered so far."""
        self._ends += [dict(row) for row in rows]

    @property
    def ends_waiting(self) -> bool:
        """Whether rows of `trials` are gathered and not published yet."""
        return bool(self._ends)

    def due(self) -> bool:
        """Whether to flush now: after the first epoch, every 10 s or 50,000 rows, and a second
        after the last time when a trial has ended."""
        if not self.published:
            return self._rows > 0 or bool(self._ends)
        waits = ENDS_S if self._ends else FLUSH_S
        return self._rows >= FLUSH_ROWS or time.monotonic() - self._flushed_at >= waits

    def flush(self) -> None:
        """Publishes all that is gathered.

        Raises:
          StoreError: the disk is full or the store unwritable; what is published stays.
        """
        for table in list(self._gathered):
            self._publish(table)
        if self.store is not None and self._ends:
            self.guard()
            self.store.publish("trials", pa.Table.from_pylist(self._ends, arrow_schema("trials")))
        self.published += self._rows
        self._ends.clear()
        self._rows = 0
        self._flushed_at = time.monotonic()

    def _publish(self, table: str) -> None:
        schema = arrow_schema(table_name(table)) or probe_schema(self._probes[table])
        rows = _joined(self._gathered[table], schema)
        if self.store is None:
            self.kept[table].append(rows)
        else:
            self.guard()
            self.store.publish(table_name(table), rows)
        del self._gathered[table]  # published once only, though the next table's may fail


def _joined(parts: Sequence[tuple[int, Columns]], schema: pa.Schema) -> pa.Table:
    """Rows gathered as (count, columns), in NumPy or Arrow; joined first, as converting many short
    arrays takes most of the time of writing them."""
    found = []
    for field in schema:
        own: list[Any] = [columns.get(field.name) for _, columns in parts]
        if all(isinstance(values, np.ndarray) for values in own):
            masked = any(isinstance(values, np.ma.MaskedArray) for values in own)
            joined = np.ma.concatenate(own) if masked else np.concatenate(own)
            found.append(pa.array(joined, type=field.type))
            continue
        chunks = [
            pa.nulls(count, field.type)
            if values is None
            else values
            if isinstance(values, pa.Array)
            else pa.array(values, type=field.type)
            for (count, _), values in zip(parts, own, strict=True)
        ]
        found.append(pa.chunked_array(chunks, type=field.type))
    return pa.Table.from_arrays(found, schema=schema)
