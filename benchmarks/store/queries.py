"""Queries: raw parts against compacted ones, and against pandas over Tune's result.json."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.store import filling
from benchmarks.timing import Work, alternate
from orchestrator.plan.plan import SpacePlan
from results import Store, create_store, open_store
from results.ask.best import best
from results.ask.named_queries import named_queries, run_named

SEEDS, EPOCHS = 95, 8
_BY_LAYER = (
    "SELECT layer_name, avg(grad_norm) FROM layers WHERE tensor = '*' GROUP BY ALL ORDER BY ALL"
)
_BY_LR = (
    "SELECT lr, median(val_loss) FROM runs WHERE stage = 'train' AND status = 'done' "
    f"AND epoch = {EPOCHS - 1} GROUP BY lr ORDER BY lr"
)
_WHOLE = "/*/grad_norm"
Answer = list[list[tuple[Any, ...]]]


def run() -> tuple[dict[str, float], dict[str, float]]:
    """Median seconds of every named query and three more on an open store of 1.6 M rows of layers:
    2,090 trials of vanishing/warmup, 20 layers, 103 rows an epoch. The same rows compacted and raw,
    as 132 packs leave them (264 parts a table). "open" is a store opened up to its first SELECT.
    Then two questions, with opening it and without, against pandas over a result.json a trial."""
    grid = filling.planned(SEEDS, EPOCHS)
    with tempfile.TemporaryDirectory() as root:
        raw, merged, logs = (Path(root) / name for name in ("raw", "merged", "logs"))
        filling.fill(create_store(raw), grid)
        shutil.copytree(raw, merged)
        open_store(merged).compact(grace_s=0)
        facts = {"rows of layers": float(_count(open_store(merged)))}
        works = {"compacted": questions(merged), "raw": questions(raw)}
        seconds: dict[str, float] = {}
        for question in works["compacted"]:
            ways = {f"{question}: {kind}": works[kind][question] for kind in works}
            seconds |= alternate(ways, rounds=3)
        facts["result.json, MB"] = _log(grid, logs) / 1e6
        answers: dict[str, Answer] = {}
        opened = open_store(merged)
        ways: dict[str, Work] = {
            "open and two questions": lambda: answers.update(store=_asked(open_store(merged))),
            "two questions": lambda: _asked(opened),
            "pandas, the same": lambda: answers.update(pandas=_from_logs(logs)),
        }
        seconds |= alternate(ways, rounds=1)
    _check(answers["store"], answers["pandas"])
    for way in ("open and two questions", "two questions"):
        facts[f"pandas / {way}"] = seconds["pandas, the same"] / seconds[way]
    return seconds, facts


def questions(path: Path) -> dict[str, Work]:
    """What is asked of a store, by name: opening it, then each question of one that is open."""
    store = open_store(path)
    (one,) = store.sql("SELECT min(trial_id) FROM attempts").fetchall()[0]
    of_one = (
        "SELECT epoch, layer, grad_norm FROM layers "
        f"WHERE tensor = '*' AND trial_id = '{one}' ORDER BY ALL"
    )
    return {
        "open": lambda: open_store(path).sql("SELECT 1"),
        **{name: lambda name=name: run_named(store, name) for name in named_queries()},
        "norm by layer": lambda: store.sql(_BY_LAYER),
        "layers of a trial": lambda: store.sql(of_one),
        "best": lambda: best(store, filling.SPACE),
    }


def _count(store: Store) -> int:
    return store.sql("SELECT count(*) FROM layers").fetchall()[0][0]


def _log(grid: SpacePlan, folder: Path) -> int:
    """A result.json for each trial, a line an epoch, as Tune's logger has them. Their bytes."""
    size = 0
    for trial, lines in filling.flat(grid):
        path = folder / trial.id / "result.json"
        path.parent.mkdir(parents=True)
        size += path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return size


def _asked(store: Store) -> Answer:
    return [store.sql(_BY_LAYER).fetchall(), store.sql(_BY_LR).fetchall()]


def _from_logs(folder: Path) -> Answer:
    """One frame of the keys that are asked for, picked from each line as it is read: a frame of all
    keys takes several times as long."""
    rows = []
    for path in sorted(folder.glob("*/result.json")):
        with path.open() as lines:
            rows += [_picked(json.loads(line)) for line in lines]
    frame = pd.DataFrame(rows)
    norms = [str(name) for name in frame.columns if str(name).endswith(_WHOLE)]
    by_layer = sorted((name.removesuffix(_WHOLE), frame[name].mean()) for name in norms)
    ended = frame.query(f"stage == 'train' and training_iteration == {EPOCHS - 1}")
    by_lr = ended.groupby("lr")["val_loss"].median()
    return [by_layer, sorted(by_lr.items())]


def _picked(line: dict[str, Any]) -> dict[str, Any]:
    config = line["config"]
    return {
        **{name: value for name, value in line.items() if name.endswith(_WHOLE)},
        "training_iteration": line["training_iteration"],
        "val_loss": line["val_loss"],
        "lr": config.get("lr"),
        "stage": config["stage"],
    }


def _check(ours: Answer, theirs: Answer) -> None:
    """Raises AssertionError unless both answer the same."""
    for one, other in zip(ours, theirs, strict=True):
        assert [key for key, _ in one] == [key for key, _ in other]
        np.testing.assert_allclose([v for _, v in one], [v for _, v in other], rtol=1e-6)
