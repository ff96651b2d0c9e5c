"""Declarations of the update rules."""

from trainables.declarations.optim.adabelief import ADABELIEF, ADABELIEF_OPTAX
from trainables.declarations.optim.adam import ADAM, ADAMW, ADAMW_GROUPS, TORCH_ADAM
from trainables.declarations.optim.sgd import SGD

OPTIMIZERS = (SGD, ADAM, ADABELIEF, ADABELIEF_OPTAX, ADAMW, TORCH_ADAM, ADAMW_GROUPS)
