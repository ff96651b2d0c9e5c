"""Declaration of plain gradient descent."""

from __future__ import annotations

from trainables.declarations.core.parts import Optimizer
from trainables.declarations.optim.base import DECAY, LR
from trainables.declarations.optim.clipping import CLIPPING

SGD = Optimizer(
    name="sgd",
    version=1,
    build="trainables.optim.sgd:sgd",
    reads_length=False,
    doc="Plain stochastic gradient descent.",
    keys=(LR, DECAY, *CLIPPING),
    aliases=("SGD",),
)
