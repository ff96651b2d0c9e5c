"""Declarations of the models."""

from trainables.declarations.models.elman_stack import RESIDUAL_RNN, VANILLA_RNN
from trainables.declarations.models.feedforward import FFN
from trainables.declarations.models.linear_rnn import LINEAR
from trainables.declarations.models.residual import DEEP_RECURRENT, LRU_STACK, SEQUENCE
from trainables.declarations.models.rnn import RECURRENT
from trainables.declarations.models.rnn_torch_init import TORCH_MODELS

MODELS = (
    VANILLA_RNN, RESIDUAL_RNN, FFN, *RECURRENT, LRU_STACK, *LINEAR, DEEP_RECURRENT, *TORCH_MODELS,
    *SEQUENCE,
)  # fmt: skip
