"""Keys of learning rates that change, and what their texts mean."""

from __future__ import annotations

import re

from trainables.declarations.core.keys import Key

SCHEDULE = (
    Key("lr_end", "float", None, "traced",
        "Learning rate after the last step, reached along half a cosine; null: constant.", low=0,
        nullable=True, aliases=("lr_min",)),
)  # fmt: skip
TO_THE_END: dict[str, str | None] = {
    "trainables.optim.schedules:Constant": None,
    "trainables.optim.schedules:HalfCosine": "lr_end",
    "trainables.optim.schedules:WarmedCosine": "lr_end",
    "trainables.optim.reduce_on_plateau:torch_schedule": None,
}
"""Our schedules -> the key that makes them read how long a trial is, where it is not null."""
MILESTONES = re.compile(r"([1-9][0-9]*(:[1-9][0-9]*)*)?")
MOST_MILESTONES = 8


def milestone_epochs(text: str) -> tuple[int, ...]:
    """Epochs at which the learning rate falls, of 500:1000:2000."""
    return tuple(int(word) for word in text.split(":") if word)
