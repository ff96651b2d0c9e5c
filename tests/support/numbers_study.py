"""A study whose model can be called with numbers alone, so that it fails where it is compiled."""

import numpy as np
from flax import nnx

from search_spaces import Space, Study
from trainables.declarations import Key, Model, Sizes, Task

SEEN = []
"""A sum of each batch that the model was called with."""


class Net(nnx.Module):
    def __init__(self, config, sizes, rngs):
        self.readout = nnx.Linear(3, 2, rngs=rngs)
        self.number, self.slip = config["number"], config["slip"]
        if self.number:
            float(self.readout.kernel[...][0, 0])

    def __call__(self, x):
        if self.number:
            SEEN.append(float(x.sum()))
        if self.slip:
            return self.raedout(x)  # type: ignore[reportAttributeAccessIssue]
        return self.readout(x[:, 0])


def build(config):
    x = np.arange(36, dtype=np.float32).reshape(12, 1, 3) / 36
    return {"x": x, "y": np.arange(12) % 2}


def sizes(config):
    return Sizes(seq_len=1, features=3, classes=2, n_train=8, n_val=4, n_test=0, batch_size=4)


STUDY = Study(
    name="numbers",
    title="Numbers",
    parts=(
        Model(
            name="numbers_net",
            keys=(Key("number", "bool", True, "static"), Key("slip", "bool", False, "static")),
            build=Net,
        ),
        Task(name="thirds", build=build, sizes=sizes, chance_loss=lambda config: 0.69),
    ),
    spaces={
        "a": Space(
            reproduces="tests of --no-jit",
            param_space={"model": "numbers_net", "task": "thirds", "epochs": 1, "lr": 0.1},
        )
    },
)
