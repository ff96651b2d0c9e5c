"""How often a probe measures: the key that each probe declares, and what its values mean.

null: never; 0: at the first and last epoch; k: also every k-th.
"""

from __future__ import annotations

from typing import Any

from trainables.declarations.core.keys import cadence

__all__ = ["cadence", "covers", "is_due", "times_due"]


def is_due(every: Any, epoch: int, last: bool) -> bool:
    """Whether a probe of this cadence measures after an epoch, which may be the last."""
    if every is None:
        return False
    return epoch == 0 or last or (int(every) > 0 and epoch % int(every) == 0)


def times_due(every: Any, epochs: int) -> int:
    """After how many of a trial's epochs a probe of this cadence measures."""
    if every is None or epochs < 1:
        return 0
    last = epochs - 1
    regular = last // int(every) + 1 if int(every) > 0 else 1
    return regular + (not is_due(every, last, False))


def covers(recorded: Any, every: Any) -> bool:
    """Whether what one cadence has recorded holds all that another asks for. A cadence that is no
    integer, such as that of a probe that was not there yet, stands for never."""
    if every is None or every == recorded:
        return True
    if not isinstance(recorded, int):
        return False
    return every == 0 or (recorded != 0 and every % recorded == 0)
