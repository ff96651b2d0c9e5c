"""Launches on a real Ray: what is missing runs, once, and the store says so."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from orchestrator.debug import debug
from orchestrator.plan.plan import plan
from results import Store, open_store
from tests.fuzz.command_line import say
from tests.support.launches import SPACE, TINY, command, last, run, start, wait_for
from tests.support.stores import differing

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def launched(ray_session: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store filled without interruption."""
    store = tmp_path_factory.mktemp("launched") / "store"
    result = run(store, "epochs=3", width=3)
    assert result.exit_status == 0
    assert sum(result.counts.values()) == 8
    return store


def test_every_epoch_of_every_trial_is_there_once(launched: Path) -> None:
    store = open_store(str(launched))
    found = store.sql(
        "SELECT t.trial_id, t.status, t.epochs_done, list(e.epoch ORDER BY e.epoch) "
        "FROM trials t JOIN epochs e USING (trial_id) GROUP BY ALL"
    ).fetchall()
    assert len(found) == 8
    for _, status, done, epochs in found:
        assert status in ("done", "diverged")
        assert epochs == list(range(done))
    leftovers = [
        *launched.glob("checkpoints/*"),
        *launched.glob("fences/*"),
        launched / "lease.json",
    ]
    assert not any(path.exists() for path in leftovers)


def test_a_second_launch_runs_nothing(launched: Path) -> None:
    result = run(launched, "epochs=3", width=3)
    assert result.ran == 0
    assert result.exit_status == 0


@pytest.mark.parametrize(
    "table", ["layers", *(pytest.param(t, marks=pytest.mark.slow) for t in ("epochs", "trials"))]
)
def test_a_deleted_part_is_named_and_refilled(launched: Path, tmp_path: Path, table: str) -> None:
    store = tmp_path / "store"
    shutil.copytree(launched, store)
    opened = open_store(str(store))
    part = max((store / table).glob("*.parquet"))
    import pyarrow.parquet as pq

    lost = set(pq.read_table(part, columns=["trial_id"]).column("trial_id").to_pylist())
    assert 0 < len(lost) < 8
    part.unlink()
    opened.refresh()
    planned = plan(SPACE, store=str(store), set=[*TINY, "epochs=3"])[0]
    assert {trial.id for trial in planned.to_run} == lost
    assert run(store, "epochs=3").exit_status == 0
    assert plan(SPACE, store=str(store), set=[*TINY, "epochs=3"])[0].to_run == []
    assert differing(launched, store) == {}


def test_exact_replay_from_the_trials_table_alone(launched: Path, tmp_path: Path) -> None:
    """Every trial, those in padded packs and those that went non-finite among them."""
    bare = tmp_path / "bare"
    bare.mkdir()
    shutil.copy(launched / "store.json", bare)
    shutil.copytree(launched / "trials", bare / "trials")
    full = open_store(str(launched))
    attempts = full.attempts().to_pylist()
    widths = {json.loads(row["signature"])["width"] for row in attempts}
    assert widths == {3}
    assert {row["lane"] for row in attempts} == {0, 1, 2}
    for row in attempts:
        replayed = debug(trial=row["trial_id"], store=str(bare), exact=True).to_json()
        for table in ("epochs", "layers", "steps", "timeline"):
            assert _sorted(replayed[table]) == _rows(full, table, row["trial_id"])
    changed = debug(SPACE, store=str(bare), set=last(*TINY, "epochs=3", "seed=7")).to_json()
    assert _sorted(changed["epochs"]) != _rows(full, "epochs", attempts[0]["trial_id"])


def _sorted(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """By key, wall-clock times left out; a non-finite number as text, so that it equals itself."""
    keys = ("epoch", "layer", "tensor_index", "step", "t")
    plain = [{k: str(v) if v != v else v for k, v in row.items() if k != "seconds"} for row in rows]
    return sorted(plain, key=lambda row: [row.get(key) or 0 for key in keys])


def _rows(store: Store, table: str, trial_id: str) -> list[dict[str, Any]]:
    found = store.sql(
        f"SELECT * EXCLUDE (trial_id, attempt) FROM {table} WHERE trial_id = $id", {"id": trial_id}
    )
    return _sorted(found.rows())


@pytest.mark.slow
def test_stages_start_as_parents_pass_and_gates_block(ray_session: str, tmp_path: Path) -> None:
    store = tmp_path / "store"
    grid = ["lr=0.1,0.01", "depth=3", "epochs=2", "seed=0,1"]
    passed = run(store, *grid, space="vanishing/warmup")
    assert passed.exit_status == 0
    opened = open_store(str(store))
    started = opened.sql(
        "SELECT c.started >= p.ended FROM trials c JOIN trials p ON c.parent_id = p.trial_id"
    ).fetchall()
    assert len(started) == 4
    assert all(row[0] for row in started)
    # A warmed-up trial starts where its parent ended, not where an untrained one starts.
    parents = opened.sql("SELECT trial_id FROM trials WHERE stage = 'warmup'").fetchall()
    assert len(parents) == 2
    assert all(opened.weights(row[0])["rnn.0.w_ih"].shape == (8, 8) for row in parents)
    blocked = run(store, *grid, "warmup_gate=1e-6", "pretrain=warmup", space="vanishing/warmup")
    assert blocked.exit_status == 1
    assert blocked.counts == {"gate_failed": 2, "blocked": 4}
    assert sum("gate_failed" in reason for reason in blocked.reasons.values()) == 4
    again = run(store, *grid, "warmup_gate=1e-6", "pretrain=warmup", space="vanishing/warmup")
    assert (again.ran, again.exit_status) == (0, 1)


def test_a_store_with_a_live_driver_is_refused(ray_session: str, tmp_path: Path) -> None:
    store = tmp_path / "store"
    first = start(store, "epochs=20000", address=ray_session)
    wait_for((store / "lease.json").exists, of=first)
    second = subprocess.run(
        command("launch", SPACE, "--store", str(store)), capture_output=True, text=True, check=False
    )
    assert second.returncode == 2
    assert f"process {first.pid}" in second.stderr
    assert "since" in second.stderr


@pytest.mark.slow
def test_a_failing_model_keeps_its_traceback(ray_session: str, tmp_path: Path) -> None:
    study = tmp_path / "broken.py"
    study.write_text(
        "from search_spaces import Space, Study\n"
        "from trainables.declarations import Model\n"
        "def build(config, sizes, rngs):\n"
        "    raise ZeroDivisionError('the user divided by zero')\n"
        "STUDY = Study(name='broken', title='Broken', parts=(Model(name='bad', build=build),),\n"
        "    spaces={'one': Space(reproduces='nothing', param_space={'model': 'bad',\n"
        "        'task': 'gaussian', 'epochs': 1})})\n"
    )
    store = tmp_path / "store"
    launched = say("launch", "broken/one", "--study", str(study), "--store", str(store))
    assert launched.status == 1, launched
    assert "the user divided by zero" in launched.out
    trial = open_store(str(store)).attempts().to_pylist()[-1]
    assert trial["status"] == "failed"
    shown = say("show", trial["trial_id"][:6], "--store", str(store))
    assert shown.status == 0, shown
    assert "broken.py" in shown.out
    assert "ZeroDivisionError" in shown.out
