"""`debug` of host trainables: the function runs in this process."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from orchestrator.debug import debug
from orchestrator.user_code import described
from orchestrator.worker.host.report import ReportError

STUDY = str(Path(__file__).parents[1] / "support" / "host_study.py")
BAD = """
import os
from gradsweep import HostTrainable, Space, Study
def train(config, report):
    report(loss=os.getpid())
    report(loss="low")
ARM = HostTrainable(name="bad_arm", run=train)
SPACE = Space(reproduces="tests", param_space={"stage": "bad_arm"})
STUDY = Study(name="bad", title="Bad", parts=(ARM,), spaces={"space": SPACE})
"""


def test_the_function_runs_in_this_process_and_its_epochs_are_shown() -> None:
    seen = []
    found = debug("host/grid", study=STUDY, set={"how": "say", "fails_at": 0},
                  watch=lambda run, epoch: seen.append((epoch, os.getpid())))  # fmt: skip
    assert (found.status, found.reason) == ("done", None)
    assert [row["loss"] for row in found.rows["epochs"]] == [0.5 * 4.0**-e for e in range(4)]
    assert len(found.rows["layers"]) == 8
    assert seen == [(epoch, os.getpid()) for epoch in range(4)]


def test_a_wrong_report_raises_at_its_line(tmp_path: Path) -> None:
    file = tmp_path / "bad.py"
    file.write_text(BAD)
    seen = []
    with pytest.raises(ReportError) as raised:
        debug("bad/space", study=str(file), watch=lambda run, epoch: seen.append(
            run.last.epochs["loss"][0] if run.last else None))  # fmt: skip
    assert described(raised.value) == (
        f"ReportError: loss must be a number; got 'low' of type str ({file}:6)"
    )
    assert seen == [os.getpid()]


def test_epochs_end_it_and_what_ends_a_trial_ends_it_too() -> None:
    found = debug("host/grid", study=STUDY, epochs=2)
    assert (found.status, len(found.rows["epochs"])) == ("stopped here", 2)
    nan = debug("host/grid", study=STUDY, set={"how": "nan", "fails_at": 1}, check_nans=True)
    assert (nan.status, nan.culprit) == ("diverged", "loss is nan at epoch 1")
    left = debug("host/grid", study=STUDY, set={"how": "exit", "fails_at": 1})
    assert left.status == "failed"
    assert str(left.reason).startswith(f"it called sys.exit(3) at {STUDY}:")
    with pytest.raises(ModuleNotFoundError, match="theirs; pip install no_such_module_of_theirs"):
        debug("host/grid", study=STUDY, set={"how": "import", "fails_at": 1})


def test_a_function_that_reports_nothing_has_failed() -> None:
    found = debug("host/silent", study=STUDY)
    assert found.status == "failed"
    assert "silent reported nothing" in str(found.reason)


def test_an_exact_replay_says_what_it_cannot_promise(tmp_path: Path) -> None:
    store = str(tmp_path / "store")
    first = debug("host/grid", study=STUDY, store=store, record=True)
    again = debug("host/grid", study=STUDY, store=store, exact=True)
    (note,) = again.notes
    assert note == (
        "descend is a host trainable, of which no bits are promised: it is replayed from epoch 0 "
        "in this process with the recorded config"
    )
    assert first.notes == []
    losses = [row["loss"] for row in again.rows["epochs"]]
    assert losses == [0.5 * 4.0**-epoch for epoch in range(4)]


def test_gradients_by_hand_and_by_jax_are_one_table() -> None:
    """`examples/numpy_trainable.py`: float64 by hand against float32 in JAX."""
    file = str(Path(__file__).parents[2] / "examples" / "numpy_trainable.py")
    by_hand, jax = (
        debug("by_hand/arms", study=file, set={"depth": 2, "lr": 0.1, **arm}, smoke=True)
        for arm in ({"stage": "numpy_net"}, {"stage": "train", "model": "jax_net", "task": "moons"})
    )
    compared = {
        "epochs": ("loss", "val_loss", "accuracy", "val_accuracy", "grad_norm"),
        "layers": ("grad_norm",),
    }

    def placed(row: dict[str, Any]) -> tuple[Any, ...]:
        return row["epoch"], row.get("layer_name"), row.get("tensor")

    for table, columns in compared.items():
        ours = {placed(row): row for row in by_hand.rows[table]}
        theirs = {placed(row): row for row in jax.rows[table]}
        assert ours.keys() == theirs.keys()
        for place, row in theirs.items():
            wanted = {column: ours[place][column] for column in columns}
            assert {column: row[column] for column in columns} == pytest.approx(wanted, rel=1e-5)
