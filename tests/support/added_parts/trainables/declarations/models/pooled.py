"""Declaration of a dense layer on the mean over time."""

from trainables.declarations.core.keys import Key
from trainables.declarations.core.parts import Model

POOLED = Model(
    name="pooled",
    version=1,
    build="trainables.models.pooled:pooled",
    doc="A dense layer on the mean over time.",
    keys=(Key("width", "int", 8, "static", "Units of the layer.", low=1),),
    rows=lambda config, sizes: (4, 2),
)
