"""Keys of learning rates that change."""

from __future__ import annotations

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
NAMED_TO_THE_END = ("cosine",)
"""Values of lr_schedule that read how long a trial is."""
