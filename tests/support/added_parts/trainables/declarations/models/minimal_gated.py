"""Declaration of the minimal gated unit."""

from trainables.declarations.models.rnn import recurrent_model

MINIMAL_GATED = recurrent_model(
    "minimal_gated",
    "trainables.layers.minimal_gated:minimal_gated",
    3,
    "Stacked minimal gated units (arXiv 1603.09420)",
)
