"""A pack whose data stream on a worker: heard, checkpointed and resumed between two calls."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.plan.packs import Context
from orchestrator.plan.plan import plan
from orchestrator.plan.studies import catalogue
from orchestrator.worker.pack_run import PackRun
from results import Store, create_store

STUDY = """
import numpy as np
from gradsweep import Space, Study, Task

def arrays(config):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 5, 3)).astype(np.float32)
    {change}
    return {{"x": x, "y": rng.integers(0, 4, 40)}}

TASK = Task(name="files", build=arrays, batch_size=4, classes=4, stream=True, stream_steps=3,
            version=1)
GRID = {{"task": "files", "model": "vanilla_rnn", "depth": 2, "width": 4, "epochs": 2,
        "seed": {{"grid_search": [0, 1]}}}}
STUDY = Study(name="own", title="Own", parts=(TASK,),
              spaces={{"grid": Space(reproduces="tests", param_space=GRID)}})
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return create_store(tmp_path / "store")


def study(tmp_path: Path, change: str = "pass") -> str:
    file = tmp_path / "own.py"
    file.write_text(textwrap.dedent(STUDY.format(change=change)))
    return str(file)


def run_of(file: str, store: Store, checkpoint_s: float = 0.0) -> PackRun:
    (pack,) = plan("own/grid", study=file, store=store, width=2)[0].packs
    run = PackRun(pack, catalogue(file).registry, store, Context(checkpoint_s=checkpoint_s))
    run.start()
    return run


def finished(run: PackRun) -> None:
    while not run.step().done:
        pass


def rows(store: Store) -> list[Any]:
    return store.sql(
        "SELECT seed, epoch, loss, val_loss, grad_norm, steps FROM epochs JOIN trials USING "
        "(trial_id) ORDER BY ALL"
    ).fetchall()


def test_a_killed_worker_goes_on_within_the_epoch_with_the_same_bits(tmp_path: Path) -> None:
    file = study(tmp_path)
    whole = create_store(tmp_path / "whole")
    run = run_of(file, whole, checkpoint_s=1e9)
    finished(run)
    store = create_store(tmp_path / "killed")
    killed = run_of(file, store)
    seen = [killed.step() for _ in range(2)]
    assert [(one.partial, one.epoch) for one in seen] == [(True, -1)] * 2
    (saved,) = store.list_checkpoints()
    assert [(lane["epoch"], lane["step"]) for lane in saved["lanes"]] == [(0, 6)] * 2
    again = run_of(file, store)
    assert again.pack.position == 6
    finished(again)
    assert rows(store) == rows(whole)
    assert len(rows(store)) == 4


def test_a_stop_within_an_epoch_keeps_where_it_stood(tmp_path: Path, store: Store) -> None:
    file = study(tmp_path)
    run = run_of(file, store, checkpoint_s=1e9)
    while not (progress := run.step()).partial or progress.epoch < 0:
        pass
    run.interrupt()
    (saved,) = store.list_checkpoints()
    assert {(lane["epoch"], lane["step"]) for lane in saved["lanes"]} == {(1, 3)}
    (pack,) = plan("own/grid", study=file, store=store, width=2)[0].packs
    assert {lane.resumes_at for lane in pack.lanes} == {(1, 3)}


def test_a_broken_sample_fails_all_trials_by_name(tmp_path: Path, store: Store) -> None:
    run = run_of(study(tmp_path, "x[7, 1, 2] = np.inf"), store, checkpoint_s=1e9)
    with pytest.raises(ValueError, match=r"x\[7, 1, 2\] of task files is inf"):
        finished(run)
    assert run.unmakeable() == [{}]
    run.fail("", "x[7, 1, 2] of task files is inf")
    found = store.sql("SELECT status, reason FROM trials").fetchall()
    assert found == [("failed", "x[7, 1, 2] of task files is inf")] * 2


def test_seconds_of_an_epoch_are_those_of_all_its_calls(tmp_path: Path, store: Store) -> None:
    run = run_of(study(tmp_path), store, checkpoint_s=1e9)
    finished(run)
    seconds = store.sql("SELECT seconds FROM epochs").fetchall()
    assert np.isclose(sum(s for (s,) in seconds), run._seconds.sum())
