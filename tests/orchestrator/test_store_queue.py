"""What a launch reads of its store, and writes for workers that no longer can."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from orchestrator.plan.packs import Context, Lane, PackSpec
from orchestrator.pruning.judge import AWAITS
from orchestrator.queue.losses import Death
from orchestrator.store_queue import _post_mortem, _publish_pruned, _reached
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


def test_trials_that_stand_at_a_rung_are_found_with_their_values(tmp_path: Path) -> None:
    """By where they go on, or by where they were pruned and nothing was kept."""
    made = create_store(str(tmp_path / "store"))
    statuses = {"a": "paused", "b": "pruned", "c": "interrupted", "d": "interrupted"}
    ends = [attempt_row(name, status=status, epochs_done=3) for name, status in statuses.items()]
    made.publish("trials", table(ends))
    rows = [
        epoch_row(name, epoch, 0, val_loss=epoch + number / 8)
        for number, name in enumerate(statuses)
        for epoch in range(3)
    ]
    made.publish("epochs", table(rows))
    lanes = [Lane(name, {}, attempt=1, metric="val_loss") for name in statuses]
    lanes[0].first_epoch = lanes[2].first_epoch = 3
    found = _reached(made, lanes, {name: [3, 9] for name in statuses})
    assert sorted((one.trial_id, one.epochs, one.value) for one in found) == [
        ("a", 3, 2.0), ("b", 3, 2.125), ("c", 3, 2.25)
    ]  # fmt: skip


@pytest.mark.parametrize("told", [True, False])
def test_a_trial_that_waited_without_a_slot_ends_as_pruned(tmp_path: Path, told: bool) -> None:
    made = create_store(str(tmp_path / "store"))
    why, when = "val_loss is 2 after 3 epochs", datetime(2026, 1, 2, tzinfo=UTC)
    rows = [
        attempt_row("a", status="paused", reason=why + AWAITS, ended=when, epochs_done=3),
        attempt_row("b", status="pruned", reason="before", epochs_done=3),
    ]
    made.publish("trials", table(rows))
    known = {"a": rows[0]} if told else {}
    _publish_pruned(made, [Lane("a", {}, attempt=1), Lane("b", {}, attempt=1)], known)
    made.refresh()
    found = {row["trial_id"]: row for row in made.attempts().to_pylist()}
    assert {i: (row["status"], row["reason"], row["event"]) for i, row in found.items()} == {
        "a": ("pruned", why, 2), "b": ("pruned", "before", 1)
    }  # fmt: skip
    assert found["a"]["ended"] == when


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
    _publish_pruned(made, [at], {})
    made.refresh()
    (row,) = made.attempts().to_pylist()
    assert (row["status"], row["epochs_done"]) == ("pruned", 3)
    assert row["reason"] == "val_loss is 0.5 after 3 epochs"
    assert made.completeness(["a"])["a"]["rows"] == {"epochs": (3, 3)}
