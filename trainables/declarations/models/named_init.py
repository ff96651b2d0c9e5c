"""Names of initial matrices."""

from __future__ import annotations

from trainables.declarations.core.keys import Key

INITS = (
    "glorot_normal", "glorot_uniform", "he_normal", "he_uniform", "lecun_normal", "lecun_uniform",
    "orthogonal", "identity", "zeros",
)  # fmt: skip
RECURRENT_INITS = (
    Key("input_init", "str", None, "init",
        "How input matrices are drawn; null: glorot_uniform. Normal ones are truncated, as in "
        "Keras.", choices=INITS, nullable=True),
    Key("recurrent_init", "str", None, "init",
        "How the recurrent matrix of each gate is drawn; null: the whole of it orthogonal, or "
        "glorot_uniform for spiking nets.", choices=INITS, nullable=True),
)  # fmt: skip
