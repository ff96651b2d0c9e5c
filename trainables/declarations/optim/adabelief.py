"""Declarations of AdaBelief."""

from __future__ import annotations

from trainables.declarations.core.keys import Key
from trainables.declarations.core.parts import Optimizer
from trainables.declarations.optim.base import DECAY_ON, DECOUPLED, SMALL_LR
from trainables.declarations.optim.clipping import CLIPPING

ADABELIEF = Optimizer(
    name="adabelief",
    version=1,
    build="trainables.optim.adabelief:adabelief",
    reads_length=False,
    doc="Rectified AdaBelief (b1 .9, b2 .999, eps 1e-14) within Lookahead(6, .5).",
    keys=(
        SMALL_LR,
        DECOUPLED,
        DECAY_ON,
        *CLIPPING,
        Key("lookahead", "bool", True, "static",
            "Every 6 steps go back half way to where the weights were 6 steps ago."),
    ),
    aliases=("AdaBelief", "AdaBeliefLA"),
)  # fmt: skip
ADABELIEF_OPTAX = Optimizer(
    name="adabelief_optax",
    version=1,
    build="trainables.optim.adabelief:adabelief_optax",
    reads_length=False,
    doc="optax's AdaBelief: not rectified, so its learning rates are not those of adabelief.",
    keys=(SMALL_LR, DECOUPLED, DECAY_ON, *CLIPPING),
)
