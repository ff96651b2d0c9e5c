"""Keys every trial has: its seed, and what is recorded along the way."""

import re

from trainables.declarations.core.keys import Key, shown
from trainables.declarations.core.parts import Config, Part
from trainables.declarations.probes.timeline import TIMELINE

_KEEP = re.compile(r"none|last|best|state|every:[1-9][0-9]{0,8}")


def kept_every(keep_weights: str) -> int:
    """K of "every:K", else 0."""
    return int(keep_weights[6:]) if keep_weights.startswith("every:") else 0


def _check(config: Config) -> list[str]:
    keep = config["keep_weights"]
    if _KEEP.fullmatch(keep):
        return []
    accepted = "none, last, best, state or every:K with K from 1 to 999999999"
    return [f"keep_weights must be {accepted}; got {shown(keep)}"]


BASE = Part(
    name="trial",
    version=1,
    check=_check,
    keys=(
        Key(
            "seed",
            "int",
            0,
            "traced",
            "All randomness of the trial.",
            low=0,
            high=2**31 - 1,
            aliases=("jax_seed",),
        ),
        *TIMELINE.keys,
        Key(
            "keep_weights",
            "str",
            "none",
            "recording",
            "Weights kept in the store: none, last, best (of the epoch of the best `monitor`; the "
            "lowest val_loss unless that says otherwise), every:K epochs, or state: the last ones "
            "and all else that a longer trial goes on from.",
        ),
    ),
)
