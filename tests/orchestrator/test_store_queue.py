"""What a launch finds out about a worker that is dead."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from orchestrator.plan.packs import Context, Lane, PackSpec
from orchestrator.queue.losses import Death
from orchestrator.store_queue import _post_mortem, _publish_pruned
from results import create_store
from tests.support.made_up_rows import attempt_row, epoch_row, table

PACK = PackSpec("pack", "p", [Lane("a", {}, attempt=1), Lane("b", {}, attempt=0)], 2, "default")


def store(*rows: dict[str, Any]) -> Any:
    """One with these rows of attempts."""
    given = {"trial_id": "a", "attempt": 1, "launch_id": "here", "status": "running", "reason": ""}
    table = pa.Table.from_pylist([{**given, **row} for row in rows or ({},)])
    return SimpleNamespace(attempts=lambda: table)


def context(folder: Path | None = None, **more: Any) -> Context:
    return Context(launch_id="here", words=str(folder) if folder else None, **more)


def test_a_worker_that_has_said_why_is_believed() -> None:
    """But none of another attempt or launch, and no trial that is not of the pack."""
    others = [
        {"status": "failed", "reason": "old", "attempt": 0},
        {"status": "failed", "reason": "elsewhere", "launch_id": "there"},
        {"status": "failed", "reason": "not its own", "trial_id": "c"},
    ]
    ours = {"status": "failed", "reason": "late", "trial_id": "b", "attempt": 0}
    assert _post_mortem(store(*others), PACK, context(), memory=False) == Death()
    found = _post_mortem(store(*others, ours), PACK, context(), memory=False)
    assert found == Death("late", final=True, said=True, of=frozenset("b"))


def test_a_worker_that_could_not_say_why_has_left_it(tmp_path: Path) -> None:
    study = tmp_path / "study.py"
    study.write_text("x = 1\n")
    stacks = (
        "Timeout (0:10:10)!\nThread 0x1 (most recent call first):\n"
        '  File "/usr/lib/python3/ctypes/__init__.py", line 1 in call\n'
        f'  File "{study}", line 7 in data\n'
    )
    (tmp_path / "pack").write_text(f"training epoch 3\n{stacks}")
    found = _post_mortem(store(), PACK, context(tmp_path, trial_seconds=600.0), memory=False)
    why = f"still training epoch 3 after 10 min, the --trial-timeout ({study}:7)"
    assert found == Death(why, final=True, stacks=stacks)


@pytest.mark.parametrize(
    ("left", "memory", "why"),
    [
        ("", False, "killed, or out of memory"),
        ("training epoch 3\n", False, "killed, or out of memory"),
        ("", True, "killed while the system was out of memory"),
        ("compiling\nFatal Python error: Segmentation fault\n\n", True, "Segmentation fault"),
        ("Fatal Python error: Aborted\n\n", False, "Aborted"),
    ],
)
def test_other_deaths_count_and_come_again(
    left: str, memory: bool, why: str, tmp_path: Path
) -> None:
    (tmp_path / "pack").write_text(left)
    found = _post_mortem(store(), PACK, context(tmp_path), memory=memory)
    assert (found.why, found.final, found.said) == (why, False, False)


@pytest.mark.parametrize("left", [None, "interrupted"])
def test_a_trial_whose_worker_ended_at_its_rung_is_pruned_as_if_it_had_said_so(
    tmp_path: Path, left: str | None
) -> None:
    """Its resume point is there, and its attempt says no more than that it started."""
    made = create_store(str(tmp_path))
    attempt = {"status": "running", "epochs_done": 0, "reason": None, "rows": "{}"}
    rows = [attempt_row("a", 0, 0, **attempt)]
    if left:
        rows.append(attempt_row("a", 0, 1, **attempt | {"status": left, "reason": "stopped"}))
    made.publish("trials", table(rows))
    made.publish("epochs", table([epoch_row("a", e, 0.5, val_loss=0.25 * e) for e in range(3)]))
    at = Lane("a", {}, attempt=1, first_epoch=3, memo={"rows": {"epochs": 3}}, metric="val_loss")
    _publish_pruned(made, [at])
    made.refresh()
    (row,) = made.attempts().to_pylist()
    assert (row["status"], row["epochs_done"]) == ("pruned", 3)
    assert row["reason"] == "val_loss is 0.5 after 3 epochs"
    assert made.completeness(["a"])["a"]["rows"] == {"epochs": (3, 3)}
