"""Real trials whose courses were judged by hand: `tests/results/store/judged`.

`python -m tests.support.verdicts.judged STORE...` cuts the trials that `judgements.json` names out
of stores, with the columns that the diagnosis reads.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from results import Store, open_store
from results.schema import arrow_schema
from tests.support.made_up_rows import attempt_row, table

FOLDER = Path(__file__).parents[2] / "results" / "store" / "judged"
_READ = {
    "epochs": "trial_id, epoch, steps, finite_steps, loss, loss_first, loss_last, loss_ratio, "
    "grad_norm, grad_norm_min, grad_norm_max, grad_norm_smallest, zero_tensors, "
    "nonfinite_tensors, bad_step",
    "layers": "trial_id, epoch, layer, layer_name, tensor, grad_norm",
    "trials": "trial_id, space, stage, status, config, chance_loss, loss_terms, bad_epoch",
}


@dataclass(frozen=True)
class Judgement:
    """What was said of a trial's course before its verdict was looked at.

    Attributes:
      sample: 1, by which two rules were amended; or 2, drawn and judged after that.
      differs: why the diagnosis says otherwise; empty where it agrees.
    """

    sample: int
    trial_id: str
    space: str
    verdict: str
    reason: str
    differs: str = ""


def judgements() -> list[Judgement]:
    """All that were made, in the order in which the trials were drawn."""
    text = (FOLDER / "judgements.json").read_text(encoding="utf-8")
    return [Judgement(**each) for each in json.loads(text)]


def publish_judged(store: Store) -> None:
    """The trials' rows, as an attempt each."""
    own = pq.read_table(FOLDER / "trials.parquet").to_pylist()
    for name in ("epochs", "layers"):
        rows = pq.read_table(FOLDER / f"{name}.parquet")
        rows = rows.append_column("attempt", pa.array([0] * len(rows), pa.int32()))
        schema = arrow_schema(name)
        assert schema is not None
        types = pa.schema([schema.field(column) for column in rows.column_names])
        store.publish(name, rows.cast(types))
    store.publish("trials", table([attempt_row(row.pop("trial_id"), **row) for row in own]))


def cut(stores: Sequence[Store], trials: list[str]) -> None:
    """Writes the files of `FOLDER` but for the judgements; floats as the float32 they were. Of a
    trial that several stores hold the first one's rows are taken."""
    own: list[tuple[Store, list[str]]] = []
    for store in stores:
        held = {trial for (trial,) in store.sql("SELECT trial_id FROM trials").fetchall()}
        own.append((store, [trial for trial in trials if trial in held]))
        trials = [trial for trial in trials if trial not in held]
    assert not trials, trials
    where = "WHERE trial_id IN (SELECT unnest($ids))"
    silent = "SELECT trial_id FROM layers WHERE tensor = '*' AND grad_norm = 0"
    for name, columns in _READ.items():
        left = f" AND (tensor = '*' OR trial_id IN ({silent}))" if name == "layers" else ""
        order = "trial_id" if name == "trials" else "trial_id, epoch"
        asked = f"SELECT {columns} FROM {name} {where}{left} ORDER BY {order}"
        rows = pa.concat_tables(store.sql(asked, {"ids": ids}).arrow() for store, ids in own)
        if name != "trials":
            kinds = {pa.float64(): pa.float32()}
            fields = [pa.field(f.name, kinds.get(f.type, f.type)) for f in rows.schema]
            rows = rows.cast(pa.schema(fields))
        pq.write_table(rows, FOLDER / f"{name}.parquet", compression="zstd", compression_level=19)


if __name__ == "__main__":
    given = [open_store(uri) for uri in sys.argv[1:]]
    cut(given, [each.trial_id for each in judgements()])
