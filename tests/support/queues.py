"""Queues of made-up trials, and what is asked of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from orchestrator.plan.packs import Lane, PackSpec
from orchestrator.plan.paused import PausedTrial
from orchestrator.queue.queue import PackQueue

SIGNATURE = {"strategy": "vmap"}
END: dict[str, Any] = dict.fromkeys(("started", "ended"), datetime(2026, 1, 1, tzinfo=UTC))
"""Row of an attempt that has paused."""


def lane(name: str, parent: str | None = None, **more: Any) -> Lane:
    return Lane(name, {}, parent, **more)


def pack(*lanes: Lane, program: str = "p", width: int = 0, strategy: str = "default") -> PackSpec:
    name = "+".join(f"{one.trial_id}.{one.attempt}" for one in lanes)
    return PackSpec(name, program, list(lanes), width or len(lanes), strategy)


def queue_of(
    *packs: PackSpec,
    refresh: Any = None,
    epochs: dict[str, int] | None = None,
    passed: set[str] | None = None,
    **options: Any,
) -> PackQueue:
    def again(lost: PackSpec) -> tuple[list[Lane], dict[str, str]]:
        return [replace(one, attempt=one.attempt + 1) for one in lost.lanes], {}

    all_epochs = {one.trial_id: 4 for p in packs for one in p.lanes} | (epochs or {})
    return PackQueue(
        list(packs), all_epochs, passed or set(), "launch", refresh or again, **options
    )


def paused(*names: str, first_epoch: int = 2) -> dict[str, str]:
    """What a worker says of first attempts that have paused."""
    return {
        name: PausedTrial(lane(name, attempt=1, first_epoch=first_epoch, rungs=[4]), END).to_text()
        for name in names
    }


def handed(queue: PackQueue, runner: str = "r") -> PackSpec:
    """A pack that must be there."""
    found = queue.next(runner)
    assert found is not None
    return found


def names(queue: PackQueue) -> list[list[str]]:
    """Trials that wait, as the packs in which they would go out; last those held for a parent."""
    return [one.trial_ids for one in packs_of(queue)]


def packs_of(queue: PackQueue) -> list[PackSpec]:
    """Packs of the trials that wait."""
    found = list(queue.waiting.apart)
    for group in queue.waiting.groups.values():
        lanes, width = list(group.ready), group.like.width
        found += [group.pack(lanes[first : first + width]) for first in range(0, len(lanes), width)]
    for held in queue.waiting._children.values():
        found += [group.pack([lane]) for group, lane in held]
    return found
