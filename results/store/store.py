"""A store: ask it anything, and publish to it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import fs as pafs

from results.errors import StoreError
from results.schema import is_view, table_name
from results.store import files
from results.store.compaction import compact
from results.store.merging.copying import merge
from results.store.parquet_parts import conform, encode
from results.store.reader import Reader, not_a_file
from results.store.views import view_name
from results.store.weights import Kind, Weights, of_former_layout


class Store(Reader):
    """Results of any number of launches. `results.open_store` gives one.

    Queries are those of `Reader`; here is what publishes, and weights.
    """

    def __init__(
        self,
        uri: str,
        filesystem: pafs.FileSystem,
        root: str,
        rules: Mapping[str, float] | None = None,
    ):
        super().__init__(uri, filesystem, root, rules)
        self._weights = Weights(filesystem, self.paths)

    @property
    def warnings(self) -> list[str]:
        """As `Reader.warnings`, and weights that were listed and passed over."""
        said = super().warnings
        for kind in ("artifacts", "checkpoints"):
            odd = sorted(self._weights.odd[kind].items())
            said += [not_a_file(*one) for one in odd if one[0] not in self.index.odd]
            said += [
                f"{path} is left out ({reason}); delete it, launching again makes it anew."
                for path, reason in self._weights.bad[kind].items()
            ]
        return said

    def write_space(self, name: str, space: Mapping[str, Any]) -> None:
        """Writes what results must know of the space `study/space`, replacing an older version."""
        text = json.dumps(space, indent=1, sort_keys=True, allow_nan=False)
        files.publish(self.fs, self.paths.space(name), text.encode())
        self.refresh()

    def publish(self, table: str, data: pa.Table) -> str:
        """Adds rows as one new part; readers see all of them or none.

        Args:
          table: a key of `schema.TABLES`, or `probes/<name>`.
          data: columns in any order; absent ones become null.

        Returns:
          The part's path.

        Raises:
          StoreError: unknown column, values that do not fit, disk full.
        """
        table = table_name(table)
        if table.startswith("probes/") and is_view(view_name(table)):
            raise StoreError(f"a probe cannot be called {view_name(table)}: a view has that name.")
        self.paths.table(table)  # before all else: a name that is none
        content = encode(conform(table, data))
        path = self.paths.new_part(table, content)
        files.publish(self.fs, path, content)
        self.refresh()
        return path

    def save_weights(
        self, kind: Kind, name: str, leaves: Mapping[str, np.ndarray], index: Mapping[str, Any]
    ) -> str:
        """Publishes a pack's tensors and their index; see `weights.Weights.save`."""
        return self._weights.save(kind, name, leaves, index)

    def load_lane(self, path: str, lane: int) -> dict[str, np.ndarray]:
        """One lane of a save, by the path `save_weights` returned."""
        return self._weights.lane(path, lane)

    def list_checkpoints(self) -> list[dict[str, Any]]:
        """Index of every resume point, oldest first, with its `path` and `bytes`."""
        return self._weights.list("checkpoints")

    def list_artifacts(self) -> list[dict[str, Any]]:
        """Index of every kept set of weights, oldest first, with its `path` and `bytes`."""
        return self._weights.list("artifacts")

    def saves(self, kind: Kind) -> list[dict[str, Any]]:
        """Index of every readable save of a kind, oldest first, with its `path` and `bytes`."""
        return self._weights.list(kind)

    def kept_states(self, trial_ids: Iterable[str]) -> dict[str, dict[int, int]]:
        """The states that these trials can go on from: count of done epochs -> bytes, by trial."""
        wanted = set(trial_ids)
        found: dict[str, dict[int, int]] = {}
        for index in self.list_checkpoints() if wanted else ():
            for entry in index["lanes"]:
                trial_id, epoch = entry["trial_id"], entry.get("epoch")
                if trial_id in wanted and type(epoch) is int and self.stands(entry):
                    size = index["bytes"] // len(index["lanes"])
                    found.setdefault(trial_id, {})[epoch] = size
        return found

    def launches_of(self) -> dict[tuple[str, int], set[str | None]]:
        """(trial, attempt) -> the launches that ran an attempt of that number; several where
        another store was copied into this one."""
        found: dict[tuple[str, int], set[str | None]] = {}
        for row in self.attempts().select(["trial_id", "attempt", "launch_id"]).to_pylist():
            found.setdefault((row["trial_id"], row["attempt"]), set()).add(row["launch_id"])
        return found

    def merge(self, source: Store) -> dict[str, int]:
        """Copies what `source` holds and this store does not; see `merging.copying.merge`."""
        return merge(source, self)

    def weights_intact(self, path: str) -> bool:
        """Whether a listed save can be read; one that cannot is named in `warnings`."""
        return self._weights.intact(path)

    def drop(self, path: str) -> None:
        """Deletes a save."""
        self._weights.drop(path)

    def weights(self, trial_id: str, epoch: int | None = None) -> dict[str, np.ndarray]:
        """Kept weights of one trial, by tensor name, laid out as today whenever they were kept.

        Args:
          trial_id: or any unique prefix.
          epoch: after which epoch; the last kept one if None.

        Raises:
          StoreError: none were kept.
        """
        trial = self.resolve(trial_id)
        found = self._weights.find(trial, epoch, self.shows)
        if found is None:
            when = "" if epoch is None else f" at epoch {epoch}"
            raise StoreError(f"{trial} kept no weights{when}; launch with --keep-weights last.")
        tensors = self.load_lane(*found)
        if not self._weights.is_former(found[0]):
            return tensors
        row = next(r for r in self.attempts().to_pylist() if r["trial_id"] == trial)
        return of_former_layout(tensors, json.loads(row["config"]).get("model"))

    def compact(self, grace_s: float = 60.0) -> dict[str, int]:
        """Merges small parts and drops superseded rows; see `compaction.compact`."""
        return compact(self, grace_s)
