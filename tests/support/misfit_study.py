"""A study whose model and task do not fit each other, in the way that key `fault` says."""

import jax.numpy as jnp
import numpy as np
from flax import nnx

from gradsweep import Key, Model, Sizes, Space, Study, Task


class Net(nnx.Module):
    def __init__(self, fault, sizes, rngs):
        self.readout = nnx.Linear(sizes.features, sizes.classes, rngs=rngs)
        self.fault = fault
        if fault == "parameter":
            self.table = nnx.Param(jnp.ones(4, jnp.float8_e4m3fn))

    def __call__(self, x):
        logits = self.readout(x)
        return logits if self.fault == "steps" else logits[:, -1]


def arrays(config):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 3, 2)), np.arange(40) % 2
    if config["fault"] == "input":
        x[7, 2, 1] = np.nan
    return {"x": x, "y": y + 0.7 if config["fault"] == "labels" else y}


FAULTS = ("none", "labels", "input", "steps", "parameter", "sizes")
FAULT = Key("fault", "str", "none", "static", "What does not fit.", choices=FAULTS)
NET = Model(
    name="misfit", version=1, keys=(FAULT,), build=lambda c, s, rngs: Net(c["fault"], s, rngs)
)
TASK = Task(
    name="misfit",
    version=1,
    keys=(FAULT,),
    build=arrays,
    sizes=lambda config: Sizes(3, 2, 2 * (config["fault"] != "sizes"), 30, 10, 0, 10),
)
CONFIG = {"model": "misfit", "task": "misfit", "epochs": 1}
STUDY = Study(
    name="misfit",
    title="Parts that do not fit",
    parts=(NET, TASK),
    spaces={"one": Space(reproduces="tests of refusals", param_space=CONFIG)},
)
