"""`examples/my_study.py`, copied elsewhere, goes through everything a built-in study does."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.debug import debug
from orchestrator.launch import launch
from orchestrator.plan.plan import plan
from results import Store, open_store

EXAMPLE = Path(__file__).parents[1] / "examples" / "my_study.py"
DEEP = {"depth": 12, "lr": 0.003, "seed": 0}


@pytest.fixture
def study(tmp_path: Path) -> str:
    """The file, outside the repository."""
    return str(shutil.copy(EXAMPLE, tmp_path / "my_study.py"))


def gradsweep(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "orchestrator", *words],
        cwd=cwd,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        check=False,
    )


def verdicts(store: Store) -> dict[str, str]:
    """activation -> verdict."""
    found = store.sql("SELECT activation, verdict FROM diagnosis JOIN trials USING (trial_id)")
    return dict(found.fetchall())


def test_it_is_short() -> None:
    assert len(EXAMPLE.read_text().splitlines()) < 60


def test_it_is_planned_from_anywhere(study: str, tmp_path: Path) -> None:
    done = gradsweep("plan", "mine", "--study", "my_study.py", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    one = json.loads(done.stdout)
    assert (one["space"], one["trials"], one["programs"], one["widths"]) == (
        "mine/depth", 16, 4, [4]
    )  # fmt: skip
    (again,) = plan("mine/depth", study=study)
    assert [trial.id for trial in again.trials] == one["trial_ids"]
    assert [p.name for p in tmp_path.iterdir() if p.suffix == ".py"] == ["my_study.py"]


@pytest.mark.slow
def test_a_fresh_process_debugs_it_though_it_imports_jax_itself(study: str, tmp_path: Path) -> None:
    done = gradsweep(
        "debug", "mine", "--study", study, "--smoke", "--epochs", "1", "--check-nans", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    for layer in ("layers.0", "layers.1", "layers.2", "readout"):
        assert f"\n  {layer}" in done.stdout
    assert "every step was finite" in done.stdout


@pytest.mark.slow
def test_its_rows_and_verdicts_are_a_study_s(study: str, tmp_path: Path) -> None:
    store = str(tmp_path / "store")
    for activation in ("sigmoid", "relu"):
        debug(
            "mine/depth", study=study, store=store, record=True,
            set={**DEEP, "activation": activation},
        )  # fmt: skip
    opened = open_store(store)
    assert verdicts(opened) == {"sigmoid": "vanishing", "relu": "healthy"}
    names = opened.sql("SELECT DISTINCT layer_name, layer FROM layers ORDER BY layer").fetchall()
    assert names == [*((f"layers.{i}", i) for i in range(12)), ("readout", 12)]
    (one,) = plan("mine/depth", study=study, store=store, set=DEEP)
    assert (len(one.done), one.to_run) == (2, [])
    assert opened.sql("SELECT count(*) FROM epochs WHERE isnan(test_loss)").fetchall() == [(48,)]


def test_an_error_in_its_model_shows_its_own_lines(study: str, tmp_path: Path) -> None:
    path = Path(study)
    path.write_text(path.read_text().replace("self.readout(x)", "self.readout(x[:, 1:])"))
    done = gradsweep("debug", "mine", "--study", study, "--smoke", cwd=tmp_path)
    assert done.returncode == 1
    assert "return self.readout(x[:, 1:])" in done.stderr
    assert "orchestrator/" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: TypeError: dot_general requires")


@pytest.mark.ray
@pytest.mark.usefixtures("ray_session")
def test_it_launches_on_workers(study: str, tmp_path: Path) -> None:
    store = str(tmp_path / "store")

    result = launch(
        "mine", study=study, store=store, smoke=True, progress="none", say=lambda text: None
    )
    assert result.exit_status == 0, result.reasons
    assert (result.ran, dict(result.counts)) == (8, {"done": 8})
    opened = open_store(store)
    assert opened.sql("SELECT count(*) FROM epochs").fetchall() == [(48,)]
    assert len(verdicts(opened)) == 2
    chosen = opened.sql("SELECT count(DISTINCT (activation, lr, seed)) FROM trials").fetchall()
    assert chosen == [(8,)]
    again = plan("mine", study=study, store=store, smoke=True)
    assert [one.to_run for one in again] == [[]]
    assert opened.spaces()["mine/depth"]["select"]["choose"] == "lr"
