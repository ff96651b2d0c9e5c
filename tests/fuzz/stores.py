"""A filled store to damage, made without training: real trials of the tiny study, made-up rows."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.plan.plan import SpacePlan, plan
from orchestrator.plan.space_record import space_json
from orchestrator.plan.studies import catalogue
from results import Store, create_store
from tests.support.made_up_rows import START, attempt_row, epoch_row, publish_trial, table
from trainables.declarations import Trial

STUDY = str(Path(__file__).parents[1] / "support" / "tiny_study.py")
GRID = "tiny/grid"
STAGED = "tiny/staged"
SIGNATURE = {"strategy": "sequential", "width": 2, "device": "cpu", "threads": 1}


def fill(path: Path) -> Store:
    """Two spaces: a grid of a diverged, an interrupted and two finished trials, one of them
    compacted; and stages whose parent has weights and whose children have not run."""
    store = create_store(path)
    found = catalogue(STUDY)
    (grid,), (staged,) = (plan(name, store=None, study=STUDY) for name in (GRID, STAGED))
    for one in (grid, staged):
        figures = ["overview", "training_loss", "grad_heatmap", "timeline"]
        store.write_space(one.name, {**space_json(one, found), "figures": figures})
    first, second, third, fourth = grid.trials
    publish(store, first, grid, [2.3, 1.0])
    publish(store, second, grid, [2.2, 1.1])
    store.compact(grace_s=0.0)
    publish(store, third, grid, [2.4, float("nan")], status="diverged", bad_epoch=1, bad_step=2)
    row = attempt_row(fourth.id, event=0, status="running", **columns(fourth, grid), rows={})
    store.publish("trials", table([{**row, "signature": json.dumps(SIGNATURE)}]))
    store.publish("epochs", table([epoch_row(fourth.id, 0, 2.5)]))
    lane = {"trial_id": fourth.id, "attempt": 0, "epoch": 1, "rows": {"epochs": 1}, "best": None}
    store.save_weights("checkpoints", "p0-0-000001", {"w": np.ones((1, 3))}, {"lanes": [lane]})
    rows = [
        {"space": GRID, "rule": "asha", "trial_id": trial.id, "rung": 0, "epoch": 1,
         "metric": "val_loss", "value": 2.0, "against": json.dumps({first.id: 1.0}),
         "verdict": "go", "launch_id": "x", "decided": START}
        for trial in (first, fourth)
    ]  # fmt: skip
    store.publish("decisions", table(rows))
    parent = next(trial for trial in staged.trials if trial.parent is None)
    publish(store, parent, staged, [2.3])
    lane = {"trial_id": parent.id, "attempt": 0, "epoch": 0}
    store.save_weights("artifacts", "p1-0-000000-0", {"w": np.ones((1, 3))}, {"lanes": [lane]})
    lease = {"id": "x", "host": socket.gethostname(), "pid": 2**22 + 1, "pid_started": 0.0,
             "since": 1e9, "heartbeat": 1e9}  # fmt: skip
    folder = Path(store.root)
    (folder / "lease.json").write_text(json.dumps(lease))
    (folder / "fences").mkdir()
    (folder / "fences" / "p0.json").write_text('{"generation": "x:0"}')
    for file in folder.rglob("*"):
        os.utime(file, ns=(0, 0))
    return store


def publish(
    store: Store, trial: Trial, one: SpacePlan, losses: list[float], **changes: Any
) -> None:
    """A trial that has ended, with rows in every table."""
    fields = {name: value for name, value in columns(trial, one).items() if name != "config"}
    publish_trial(
        store,
        trial.id,
        losses,
        layers=[[1e-3, 1.0]] * len(losses),
        steps=True,
        timeline=True,
        config=trial.config,
        signature=json.dumps(SIGNATURE),
        **fields,
        **changes,
    )


def columns(trial: Trial, one: SpacePlan) -> dict[str, Any]:
    """What an attempt's row says of the trial itself."""
    return {
        "config": trial.config, "config_id": trial.config_id, "versions": trial.versions,
        "program": trial.program, "stage": trial.stage.name, "space": one.name,
    }  # fmt: skip
