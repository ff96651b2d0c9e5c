"""Stores filled with made-up numbers of real trials: a grid of vanishing/warmup, 20 layers deep."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.flat import flat_epoch
from orchestrator.plan.packs import PackSpec
from orchestrator.plan.plan import SpacePlan, plan
from orchestrator.plan.space_record import space_json
from orchestrator.plan.studies import catalogue
from orchestrator.worker.provenance import trial_columns
from orchestrator.worker.recorder import Recorder
from results import Store
from results.schema import arrow_schema
from results.store.compaction import in_order
from trainables.core.hparams import lane_values
from trainables.core.layout import LayerRow
from trainables.declarations import Trial
from trainables.packs.pack import EpochResult
from trainables.tasks.base import make_task
from trainables.training.network import Network

SPACE = "vanishing/warmup"
_GRID = ("depth=20", "activation=tanh,relu", "lr=0.1,0.03,0.01,0.003,0.001")
_STEPS, _KEPT = 23, 10
_STARTED = datetime(2026, 1, 2, tzinfo=UTC)
_MERGED_ROWS = 6_000_000
"""Rows of `layers` in a part of about the size `compact` makes."""


def planned(seeds: int, epochs: int) -> SpacePlan:
    """20 trainings a seed (two starts, two activations, five learning rates) and two warm-ups of
    two epochs, whose weights half of the trainings start from. An epoch has 103 rows of layers."""
    (found,) = plan(SPACE, store=None, set=[*_GRID, f"seed=range({seeds})", f"epochs={epochs}"])
    return found


def fill(store: Store, grid: SpacePlan) -> None:
    """Publishes what its packs would, in their parts: the first epoch, then every 50,000 rows."""
    store.write_space(grid.name, space_json(grid, catalogue()))
    for number, spec in enumerate(grid.packs):
        pack = _Pack(grid, spec, number)
        recorder = Recorder(store, spec.trial_ids, [0] * len(spec.lanes))
        recorder.add_trials(pack.attempts(None))
        recorder.flush()
        for epoch, result in pack.epochs():
            pack.record(recorder, epoch, result)
            if recorder.due():
                recorder.flush()
        recorder.add_trials(pack.attempts(recorder.counts))
        recorder.flush()


def fill_merged(store: Store, grid: SpacePlan) -> None:
    """Publishes the same rows, without those of single steps, in parts as `compact` leaves them:
    the packs in turn, about 6 M rows of layers a part, in its order."""
    store.write_space(grid.name, space_json(grid, catalogue()))
    gathered: dict[str, list[pa.Table]] = {}
    ends: list[dict[str, Any]] = []
    for number, spec in enumerate(grid.packs):
        pack = _Pack(grid, spec, number)
        recorder = Recorder(None, spec.trial_ids, [0] * len(spec.lanes))
        for epoch, result in pack.epochs(steps=False):
            pack.record(recorder, epoch, result)
        recorder.flush()
        ends += pack.attempts(recorder.counts)
        for table, parts in recorder.kept.items():
            gathered.setdefault(table, []).extend(parts)
        rows = sum(part.num_rows for part in gathered.get("layers", ()))
        if rows >= _MERGED_ROWS or number == len(grid.packs) - 1:
            for table, parts in gathered.items():
                store.publish(table, in_order(pa.concat_tables(parts)))
            gathered.clear()
    store.publish("trials", pa.Table.from_pylist(ends, arrow_schema("trials")))
    store.compact(grace_s=0)


def flat(grid: SpacePlan) -> Iterator[tuple[Trial, list[dict[str, Any]]]]:
    """Every trial with an epoch a dict, as Tune's loggers get it: the numbers that `fill`
    publishes, beside the config."""
    for number, spec in enumerate(grid.packs):
        pack = _Pack(grid, spec, number)
        results = [result for _, result in pack.epochs()]
        for lane, trial in enumerate(pack.trials):
            last = pack.last_epoch[lane]
            shown = results[: last + 1]
            yield (
                trial,
                [
                    {
                        "training_iteration": epoch,
                        **flat_epoch(one, pack.rows, lane),
                        "config": trial.config,
                    }
                    for epoch, one in enumerate(shown)
                ],
            )


class _Pack:
    """A pack's made-up course: gradients that fade with depth, losses that fall or stay, and every
    twentieth lane that turns non-finite half-way."""

    def __init__(self, grid: SpacePlan, spec: PackSpec, number: int):
        trials = {trial.id: trial for trial in grid.trials}
        self.spec, self.number = spec, number
        self.trials = [trials[own] for own in spec.trial_ids]
        self.rows = _layer_rows(self.trials[0])
        self.count = self.trials[0].epochs
        self.lanes = np.arange(len(self.trials))
        self._draw = np.random.default_rng(number)
        self.bad = self._draw.random(len(self.trials)) < 0.05
        self.last_epoch = np.where(self.bad, self.count // 2, self.count - 1)

    def epochs(self, steps: bool = True) -> Iterator[tuple[int, EpochResult]]:
        draw, width = self._draw, len(self.lanes)
        depth = self.rows[-1].layer
        fade = draw.uniform(0.0, 0.4, (width, 1))
        speed = draw.uniform(0.0, 0.6, (width, 1)) * (draw.random((width, 1)) < 0.6)
        layer = np.array([row.layer for row in self.rows])
        whole = np.array([row.tensor == "*" for row in self.rows])
        profile = 10 ** (-fade * (depth - layer)) * np.where(whole, 1.0, 0.5)
        for epoch in range(self.count):
            broken = self.bad & (epoch == self.last_epoch)
            norms = profile * draw.lognormal(0, 0.1, (width, len(self.rows)))
            loss = (np.log(10) * np.exp(-speed * epoch) * draw.lognormal(0, 0.01, speed.shape))[
                :, 0
            ]
            total = np.sqrt((norms[:, whole] ** 2).sum(1))
            yield (
                epoch,
                EpochResult(
                    epochs=_epoch_columns(draw, loss, total, norms.min(1), broken),
                    layers=_layer_columns(draw, norms, broken),
                    steps=_step_columns(draw, loss, total) if steps else {},
                    step_index=np.arange(_STEPS - _KEPT, _STEPS),
                    first_step=np.zeros(width, int),
                    bad_step=np.where(broken, 7, -1),
                    finished=np.zeros(width, bool),
                    metrics={},
                    probes={},
                ),
            )

    def record(self, recorder: Recorder, epoch: int, result: EpochResult) -> None:
        active = self.lanes[epoch <= self.last_epoch]
        recorder.add_epoch(epoch, result, self.rows, active, _STEPS, 0.5)

    def attempts(self, counts: Sequence[Mapping[str, int]] | None) -> list[dict[str, Any]]:
        """Rows of `trials`: ends with the rows each lane recorded, starts without."""
        if counts is None:
            return [self._row(lane, 0, None) for lane in range(len(self.lanes))]
        return [self._row(lane, 1, json.dumps(count)) for lane, count in enumerate(counts)]

    def _row(self, lane: int, event: int, rows: str | None) -> dict[str, Any]:
        bad = bool(event and self.bad[lane])
        done = int(self.last_epoch[lane]) + 1
        return {
            **trial_columns(self.trials[lane], self.spec, lane),
            "event": event,
            "status": "running" if not event else "diverged" if bad else "done",
            "epochs_done": done if event else 0,
            "bad_epoch": done - 1 if bad else None,
            "bad_step": 7 if bad else None,
            "parameters": 164_000,
            "rows": rows,
            "started": _STARTED + timedelta(seconds=self.number),
            "ended": _STARTED + timedelta(seconds=self.number + done) if event else None,
            "seconds": 0.5 * done,
            "compile_seconds": 0.2,
            "device": "cpu:cpu",
            "signature": json.dumps({"strategy": "sequential", "width": len(self.lanes)}),
            "launch_id": "made-up",
            "space": SPACE,
        }


def _layer_rows(trial: Trial) -> list[LayerRow]:
    """Of the model as it would be built; nothing is drawn or compiled."""
    task: Any = make_task(trial)
    return list(Network(trial, task, lane_values(trial)).layout.rows)


def _epoch_columns(
    draw: np.random.Generator,
    loss: np.ndarray,
    total: np.ndarray,
    smallest: np.ndarray,
    broken: np.ndarray,
) -> dict[str, np.ndarray]:
    def near(values: np.ndarray) -> np.ndarray:
        return values * draw.lognormal(0, 0.02, values.shape)

    norms = {
        f"grad_norm{kind}{end}": near(total) * factor
        for kind in ("", "_clipped")
        for end, factor in {"": 1.0, "_min": 0.5, "_max": 2.0, "_last": 1.0}.items()
    }
    losses = {name: near(loss) for name in ("loss", "loss_last", "val_loss", "test_loss")}
    chances = {name: np.exp(-near(loss)) for name in ("accuracy", "val_accuracy", "test_accuracy")}
    columns = {
        **losses,
        **chances,
        **norms,
        "loss_first": near(loss),
        "grad_norm_smallest": smallest,
        "update_norm": 0.01 * near(total),
        "param_norm": 10 + near(total),
        "finite_steps": np.where(broken, 7, _STEPS).astype(np.int32),
        "zero_tensors": np.zeros(len(loss), np.int32),
        "nonfinite_tensors": np.where(broken, 3, 0).astype(np.int32),
    }
    for name in ("val_loss", "test_loss", "val_accuracy", "test_accuracy", "grad_norm_last"):
        columns[name] = np.where(broken, np.nan, columns[name])
    return columns


def _layer_columns(
    draw: np.random.Generator, norms: np.ndarray, broken: np.ndarray
) -> dict[str, np.ndarray]:
    def near(factor: float) -> np.ndarray:
        return (norms * factor * draw.lognormal(0, 0.1, norms.shape)).astype(np.float32)

    return {
        "grad_norm": norms.astype(np.float32),
        "grad_norm_min": near(0.5),
        "grad_norm_max": near(2.0),
        "grad_norm_last": near(1.0),
        "update_norm": near(0.01),
        "param_norm": (3 + near(1.0)).astype(np.float32),
        "zero_steps": np.zeros(norms.shape, np.int32),
        "nonfinite_steps": np.repeat(broken[:, None].astype(np.int32), norms.shape[1], 1),
    }


def _step_columns(
    draw: np.random.Generator, loss: np.ndarray, total: np.ndarray
) -> dict[str, np.ndarray]:
    shape = len(loss), _KEPT
    of = {"loss": loss, "grad_norm": total, "grad_norm_clipped": total, "update_norm": total}
    return {
        name: (values[:, None] * draw.lognormal(0, 0.1, shape)).astype(np.float32)
        for name, values in {**of, "grad_norm_smallest": 0.1 * total}.items()
    }
