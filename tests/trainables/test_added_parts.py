"""A new cell, model, task, optimizer with a schedule and probe are two files each and a line below;
a new study and a new figure are one file each. No other file changes (CONTRIBUTING.md).

The files of `tests/support/added_parts` are laid into a copy of the packages, which is then used as
a developer would use it: the contract of `test_contract.py`, `plan`, `launch`, `debug`, `plot`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from results import open_store

ROOT = Path(__file__).parents[2]
ADDED = ROOT / "tests" / "support" / "added_parts"
LINES = """
from tests.trainables import test_contract as contract

contract.MODELS["minimal_gated"] = {**contract.GAUSSIAN, "widths": "4:3"}
contract.MODELS["pooled"] = {**contract.GAUSSIAN, "width": 4}
contract.TASKS["drift"] = {"seq_len": 6, "batch_size": 20}
contract.OPTIMIZERS["sign_descent"] = {"lr": 0.01}
contract.PROBES["weight_scale"] = contract.RNN
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of our packages with the added files."""
    found = tmp_path_factory.mktemp("tree")
    for package in ("gradsweep", "orchestrator", "results", "search_spaces", "trainables"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, found / package, ignore=ignored)
    shutil.copytree(ADDED, found, dirs_exist_ok=True)
    return found


def python(tree: Path, *words: str) -> str:
    """What Python says of these words, with the tree's packages."""
    done = subprocess.run(
        [sys.executable, *words],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": f"{tree}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def gradsweep(tree: Path, *words: str) -> str:
    return python(tree, "-m", "orchestrator", *words, "--store", "store")


def test_each_is_two_files_at_most() -> None:
    files = {path.relative_to(ADDED).as_posix() for path in ADDED.rglob("*.py")}
    for code, declaration in (
        ("layers/minimal_gated", "models/minimal_gated"),
        ("models/pooled", "models/pooled"),
        ("tasks/drift", "tasks/drift"),
        ("optim/sign_descent", "optim/sign_descent"),
        ("probes/weight_scale", "probes/weight_scale"),
    ):
        files -= {f"trainables/{code}.py", f"trainables/declarations/{declaration}.py"}
    figure = {f"results/figures/added/{name}.py" for name in ("__init__", "last_losses")}
    assert files == {"search_spaces/added.py", *figure}


def test_contributing_names_every_file_of_them() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    for path in ADDED.rglob("*.py"):
        assert path.name == "__init__.py" or f"`{path.relative_to(ADDED)}`" in text
    _, *parts = text[text.index("## How to add a part") : text.index("## Rules")].split("\n**A")
    assert [len(re.findall(r"^\d\.", part, re.MULTILINE)) for part in parts] == [
        4,
        5,
        4,
        4,
        4,
        4,
        4,
    ]


def test_each_keeps_to_the_contract_by_a_line(tree: Path) -> None:
    checks = """
contract.test_every_part_has_its_line()
contract.test_a_model_is_what_it_declares_and_its_lanes_do_not_see_each_other("minimal_gated")
contract.test_a_model_is_what_it_declares_and_its_lanes_do_not_see_each_other("pooled")
contract.test_a_task_gives_the_batches_that_its_sizes_declare("drift")
contract.test_an_optimizer_moves_and_its_schedule_is_finite("sign_descent")
contract.test_a_probe_fills_its_columns("weight_scale")
print("kept")
"""
    assert python(tree, "-c", LINES + checks).strip() == "kept"


@pytest.mark.slow
@pytest.mark.ray
def test_plan_launch_and_debug_know_them(tree: Path) -> None:
    planned = json.loads(gradsweep(tree, "plan", "added/all", "--json"))
    assert (planned["trials"], planned["programs"]) == (2, 1)
    gradsweep(tree, "launch", "added/all")
    store = open_store(str(tree / "store"))
    assert store.sql("SELECT count(*) FROM epochs").fetchall() == [(6,)]
    rates = store.sql("SELECT DISTINCT epoch, metrics['lr'] FROM epochs ORDER BY 1").fetchall()
    assert [rate for _, rate in rates] == pytest.approx([1e-3 / (1 + k / 4) for k in (1, 3, 5)])
    tensors = 2 * 3 + 2
    scales = store.sql("SELECT count(*), min(scale) FROM weight_scale").fetchall()
    assert scales[0][0] == 2 * 3 * tensors
    assert scales[0][1] >= 0
    assert store.sql("SELECT DISTINCT epoch FROM radius ORDER BY 1").fetchall() == [(0,), (2,)]
    one = planned["trial_ids"][0]
    again = json.loads(gradsweep(tree, "debug", "--trial", one, "--exact", "--json"))
    recorded = store.sql(f"SELECT loss FROM runs WHERE trial_id = '{one}' ORDER BY epoch")
    assert [row["loss"] for row in again["epochs"]] == [loss for (loss,) in recorded.fetchall()]
    gradsweep(tree, "plot", "added/all", "-o", "drawn.html")
    assert '"text":"seed"' in (tree / "drawn.html").read_text()
