"""Declaration of descent by the gradient's sign."""

from trainables.declarations.core.keys import Key
from trainables.declarations.core.parts import Optimizer
from trainables.declarations.optim.base import SMALL_LR

SIGN_DESCENT = Optimizer(
    name="sign_descent",
    version=1,
    build="trainables.optim.sign_descent:sign_descent",
    schedule="trainables.optim.sign_descent:Falling",
    doc="Descent by the gradient's sign.",
    keys=(
        SMALL_LR,
        Key("lr_steps", "float", 4.0, "traced", "Steps to half the learning rate.", unit="steps",
            low=0, open_low=True),
    ),
)  # fmt: skip
