"""Declarations of the built-in optimizers, gradient clipping included."""

from trainables.spec.keys import Key
from trainables.spec.parts import Optimizer

_CLIPPING = (
    Key("clip_norm", "float", None, "traced", "Scale the gradient down to at most this norm.",
        low=0, open_low=True, nullable=True, aliases=("gradient_clip", "max_norm")),
    Key("min_norm", "float", 0.0, "traced",
        "Scale the gradient up to at least this norm, tested before clipping; 0: off.", low=0,
        aliases=("gradient_clip_min",)),
    Key("min_norm_rule", "str", "exact", "static",
        "exact: g m / max(|g|, tiny); published: g m / (|g| + 1e-8), which leaves norms far below "
        "1e-8 short of m. A gradient of exactly 0 stays 0 in both.",
        choices=("exact", "published")),
)  # fmt: skip
_LR = Key("lr", "float", 0.01, "traced", "Learning rate.", low=0, aliases=("learning_rate",))
_DECAY = Key("weight_decay", "float", 0.0, "traced", "L2 penalty added to the gradient.", low=0)

SGD = Optimizer(
    name="sgd",
    version=1,
    doc="Plain stochastic gradient descent.",
    keys=(_LR, _DECAY, *_CLIPPING),
    aliases=("SGD",),
)
ADAM = Optimizer(
    name="adam",
    version=1,
    doc="Adam with optax's constants (b1 .9, b2 .999, eps 1e-8).",
    keys=(_LR, _DECAY, *_CLIPPING),
    aliases=("Adam",),
)

OPTIMIZERS = (SGD, ADAM)
