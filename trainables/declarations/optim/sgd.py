"""Declaration of gradient descent."""

from __future__ import annotations

from trainables.declarations.core.keys import Key
from trainables.declarations.core.parts import Config, Optimizer
from trainables.declarations.optim.base import DECAY, LR
from trainables.declarations.optim.clipping import CLIPPING


def _check(config: Config) -> list[str]:
    if config["nesterov"] and config["momentum"] is None:
        return ["nesterov is a kind of momentum; set momentum, such as 0.9, too"]
    return []


SGD = Optimizer(
    name="sgd",
    version=1,
    build="trainables.optim.sgd:sgd",
    reads_length=False,
    doc="Stochastic gradient descent, plain or with momentum.",
    keys=(
        LR,
        DECAY,
        *CLIPPING,
        Key("momentum", "float", None, "traced",
            "Share of the last step's direction that is kept: v = g + momentum v, w -= lr v, as "
            "torch has it; null: plain descent.", low=0, high=1, open_high=True, nullable=True,
            null_is_static=True, added=True),
        Key("nesterov", "bool", False, "static", "Nesterov's momentum: w -= lr (g + momentum v).",
            added=True),
    ),
    check=_check,
    aliases=("SGD",),
)  # fmt: skip
