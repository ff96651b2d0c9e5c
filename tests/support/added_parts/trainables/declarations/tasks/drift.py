"""Declaration of the task of telling a drift's sign."""

import math

from trainables.declarations.core.parts import Sizes, Task
from trainables.declarations.tasks.base import BATCH, SEQ_LEN

DRIFT = Task(
    name="drift",
    version=1,
    build="trainables.tasks.drift:drift",
    doc="Which way a noisy sequence drifts.",
    keys=(BATCH, SEQ_LEN),
    sizes=lambda config: Sizes(config["seq_len"], 1, 2, 60, 20, 10, config["batch_size"]),
    chance_loss=lambda config: math.log(2),
)
