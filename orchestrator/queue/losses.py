"""Packs whose workers or machines were lost: how often they come again, and what is known of it."""

from __future__ import annotations

from dataclasses import dataclass

MAX_ERRORS = 2
MAX_DEATHS = 5
MAX_MOVES = 5


class Machines:
    """What a queue asks about the machines of a launch; here a single one, which lasts."""

    def others(self, avoided: set[str]) -> bool:
        """Whether a machine is there that can run a pack and is none of these."""
        return False


@dataclass(frozen=True)
class Death:
    """What is known of how a pack's worker died.

    Attributes:
      why: what ended it; if it is `final`, the whole reason why its trials have failed, and they do
        not come back. said: the worker has published that itself, of the trials in `of`; the others
        come again. stacks: where its threads were.
    """

    why: str = "killed, or out of memory"
    final: bool = False
    said: bool = False
    stacks: str | None = None
    of: frozenset[str] = frozenset()
