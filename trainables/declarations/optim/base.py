"""Keys that several update rules share."""

from __future__ import annotations

from dataclasses import replace

from trainables.declarations.core.keys import Key

LR = Key(
    "lr", "float", 0.01, "traced", "Learning rate.", low=0, aliases=("learning_rate", "lr_base")
)
DECAY = Key("weight_decay", "float", 0.0, "traced", "L2 penalty added to the gradient.", low=0)
DECOUPLED = replace(DECAY, doc="Decoupled decay: w -= lr * weight_decay * w.")
SMALL_LR = replace(LR, default=1e-3)
DECAY_ON = Key(
    "decay_on", "str", "all", "static",
    "What decays. matrices: neither biases, gains of norms, embeddings nor what a layer has one of "
    "for each unit.", choices=("all", "matrices"), added=True,
)  # fmt: skip
