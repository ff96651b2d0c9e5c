"""Small made-up tables, published through `Store.publish` as a pack would."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from results.schema import TYPES
from results.store.store import Store

START = datetime(2026, 1, 2, tzinfo=UTC)
LN10 = math.log(10)


def attempt_row(trial: str, attempt: int = 0, event: int = 1, **columns: Any) -> dict[str, Any]:
    """A row of `trials`; `config` and `rows` may be given as dicts."""
    row = {
        "trial_id": trial, "attempt": attempt, "event": event, "status": "done", "stage": "train",
        "config": {"stage": "train", "lr": 0.01, "seed": 0}, "config_id": f"c-{trial}",
        "versions": {"model:rnn": 1}, "program": "p", "first_epoch": 0, "epochs_done": 1,
        "epochs_planned": 1, "chance_loss": LN10, "parameters": 100, "rows": {},
        "started": START + timedelta(minutes=attempt), "seconds": 2.0, "compile_seconds": 0.5,
        "device": "cpu", "pack": "pack-0", "lane": 0, "space": "demo/grid",
        **columns,
    }  # fmt: skip
    for name in ("config", "versions", "rows"):
        if not isinstance(row[name], str):
            row[name] = json.dumps(row[name])
    return row


def epoch_row(
    trial: str, epoch: int, loss: float, attempt: int = 0, **columns: Any
) -> dict[str, Any]:
    """A row of `epochs` with a gradient norm of 1 unless given."""
    norm = columns.get("grad_norm", 1.0)
    return {
        "trial_id": trial, "attempt": attempt, "epoch": epoch, "steps": 10, "finite_steps": 10,
        "loss": loss, "loss_first": loss, "loss_last": loss, "grad_norm": norm,
        "grad_norm_min": norm, "grad_norm_max": norm, "grad_norm_last": norm,
        "grad_norm_clipped": norm, "grad_norm_smallest": norm, "zero_tensors": 0,
        "nonfinite_tensors": 0, "seconds": 0.1, **columns,
    }  # fmt: skip


def layer_rows(
    trial: str,
    epoch: int,
    norms: Sequence[float],
    readout: float = 0.3,
    attempt: int = 0,
    tensors: Sequence[str] = ("w_ih", "w_hh", "b_ih", "b_hh"),
) -> list[dict[str, Any]]:
    """Rows of `layers`: per layer its tensors (equal shares of the layer's norm) and '*'."""
    rows: list[dict[str, Any]] = []
    index = 0
    named = [(f"rnn.{i}", tensors, norm) for i, norm in enumerate(norms)]
    for layer, (name, own, norm) in enumerate([*named, ("fc", ("w", "b"), readout)]):
        keys = {"trial_id": trial, "attempt": attempt, "epoch": epoch, "layer": layer}
        for tensor in own:
            share = norm / math.sqrt(len(own))
            rows.append(_layer(keys, name, tensor, index, share))
            index += 1
        rows.append(_layer(keys, name, "*", -1, norm))
    return rows


def _layer(
    keys: Mapping[str, Any], name: str, tensor: str, index: int, norm: float
) -> dict[str, Any]:
    return {
        **keys, "layer_name": name, "tensor": tensor, "tensor_index": index, "grad_norm": norm,
        "grad_norm_min": norm, "grad_norm_max": norm, "grad_norm_last": norm,
        "zero_steps": 10 if norm == 0 else 0, "nonfinite_steps": 0 if math.isfinite(norm) else 1,
        "update_norm": 0.01 * norm, "param_norm": 2.0,
    }  # fmt: skip


def table(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Rows as a table; a column any row has is null in the others."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    types = {"metrics": TYPES["map"]}
    columns = {name: [row.get(name) for row in rows] for name in names}
    return pa.table({name: pa.array(values, types.get(name)) for name, values in columns.items()})


def publish_trial(store: Store, trial: str, losses: Sequence[float], **what: Any) -> None:
    """A whole trial, its end last; see `trial_rows`."""
    publish_rows(store, [trial_rows(trial, losses, **what)])


def publish_rows(store: Store, trials: Iterable[Mapping[str, Sequence[Any]]]) -> None:
    """Rows by table, of one trial or of many together, a part a table; the table `trials` last."""
    rows: dict[str, list[Any]] = {}
    for one in trials:
        for name, own in one.items():
            rows.setdefault(name, []).extend(own)
    for name in sorted(rows, key=lambda name: name == "trials"):
        store.publish(name, table(rows[name]))


def trial_rows(
    trial: str,
    losses: Sequence[float],
    *,
    layers: Sequence[Sequence[float]] | None = None,
    norms: Sequence[float] | None = None,
    config: Mapping[str, Any] | None = None,
    extra: Mapping[int, Mapping[str, Any]] | None = None,
    steps: bool = False,
    timeline: bool = False,
    activations: bool = False,
    **columns: Any,
) -> dict[str, list[dict[str, Any]]]:
    """A trial's rows by table: an epoch per loss, layers where norms are given, and its end.

    Args:
      layers: per epoch, the norm of each layer below the readout.
      norms: per epoch, the total gradient norm.
      extra: further columns of `epochs`, by epoch.
    """
    epochs, profile, kept, waves, active = [], [], [], [], []
    for epoch, loss in enumerate(losses):
        norm = norms[epoch] if norms else 1.0
        extra_columns = {"grad_norm": norm, **(extra or {}).get(epoch, {})}
        epochs.append(epoch_row(trial, epoch, loss, **extra_columns))
        if layers:
            profile += layer_rows(trial, epoch, layers[epoch])
            if timeline:
                waves += _wave(trial, epoch, layers[epoch])
            if activations:
                active += _activations(trial, epoch, len(layers[epoch]))
        if steps:
            kept += [
                {"trial_id": trial, "attempt": 0, "epoch": epoch, "step": step, "loss": loss,
                 "grad_norm": norm * (1 + step / 10)}
                for step in range(10)
            ]  # fmt: skip
    parts = {"epochs": epochs, "layers": profile, "steps": kept, "probes/timeline": waves,
             "probes/activations": active}  # fmt: skip
    written = {name: rows for name, rows in parts.items() if rows}
    row = attempt_row(
        trial,
        config={"stage": "train", "lr": 0.01, "seed": 0, **(config or {})},
        rows={name: len(rows) for name, rows in written.items()},
        epochs_done=len(losses),
        epochs_planned=len(losses),
        **columns,
    )
    return {**written, "trials": [row]}


def _wave(trial: str, epoch: int, norms: Sequence[float], times: int = 16) -> list[dict[str, Any]]:
    return [
        {"trial_id": trial, "attempt": 0, "epoch": epoch, "layer": layer, "t": t,
         "grad_norm": norm * 0.577 ** (times - 1 - t)}
        for layer, norm in enumerate(norms)
        for t in range(times)
    ]  # fmt: skip


def _activations(trial: str, epoch: int, layers: int) -> list[dict[str, Any]]:
    """Of tanh layers, and of an answer that no share is known of."""
    keys = {"trial_id": trial, "attempt": 0, "epoch": epoch}
    rows = [
        {**keys, "position": i, "layer_name": f"rnn.{i}", "function": "tanh", "mean": -0.1 * i,
         "std": 0.5 + 0.1 * epoch, "saturated": i / layers, "dead": 0.5 * i / layers}
        for i in range(layers)
    ]  # fmt: skip
    answer = {"layer_name": "fc", "function": "none", "saturated": math.nan, "dead": math.nan}
    return [*rows, {**rows[-1], **answer, "position": layers}]


def space_of(trials: Sequence[str], **changes: Any) -> dict[str, Any]:
    """The JSON a launch writes for a space of these trials."""
    return {
        "space": "grid", "study": "demo", "title": "A demonstration", "paper": "none",
        "feeds": "figure 1", "stages": ["train"], "trials": list(trials), "parents": {},
        "select": {"metric": "val_loss", "mode": "min", "choose": "lr", "over": "seed",
                   "report": "test_loss"},
        "keys": {"lr": {"type": "float", "unit": "", "doc": "Learning rate.", "kind": "traced"},
                 "seed": {"type": "int", "unit": "", "doc": "Seed.", "kind": "traced"}},
        "swept": ["lr", "seed"], "figures": [], "probes": {}, "chance_loss": LN10, "smoke": False,
        **changes,
    }  # fmt: skip
