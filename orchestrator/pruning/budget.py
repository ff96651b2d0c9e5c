"""How many epochs a rule saves."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.pruning.asynchronous import bracket_of, bracket_shares
from orchestrator.pruning.judged import Judged


@dataclass(frozen=True)
class Budget:
    """Lane-epochs, which are epochs summed over trials.

    Attributes:
      full: of the whole grid.
      most: that a pruned launch can take.
      about: what it takes if each rung lets one in `factor` go on; None where nobody can say.
    """

    full: int
    most: int
    about: int | None


def budget_of(judged: Judged) -> Budget:
    """What a rule makes of a grid from its beginning."""
    full, pruning = sum(judged.epochs.values()), judged.pruning
    if pruning.rule == "median":
        return Budget(full, full, None)
    shares = bracket_shares(pruning, max(judged.epochs.values(), default=1))
    about = 0
    for group in judged.groups():
        for bracket in range(len(shares)):
            cells = [c for c in group.cells if bracket_of(c, shares) == bracket]
            about += _halved(group, cells, bracket)
    return Budget(full, about if pruning.rule == "halving" else full, about)


def _halved(judged: Judged, cells: list[str], first: int) -> int:
    """Epochs if each rung from number `first` on keeps the longest of these cells."""
    total, begun, keep = 0, 0, len(cells)
    rungs = judged.rungs[first:]
    for until in [*rungs, max(judged.epochs.values(), default=0)]:
        spent = [
            sum(max(0, min(judged.epochs[i], until) - begun) for i in judged.cells[cell])
            for cell in cells
        ]
        total += sum(sorted(spent, reverse=True)[:keep])
        begun, keep = until, max(1, keep // judged.pruning.factor)
    return total
