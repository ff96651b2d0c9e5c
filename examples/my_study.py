"""A study of one's own: does a deep sigmoid network learn two spirals? `docs/your-study.md`."""

import jax
import numpy as np
from flax import nnx

from gradsweep import Model, Space, Study, Task

ACTIVATIONS = {"sigmoid": jax.nn.sigmoid, "relu": jax.nn.relu}


class DeepNet(nnx.Module):
    """Layers of one width; the names of the attributes are the names of the layers in the store."""

    def __init__(self, config, sizes, rngs):
        width, depth = config["width"], config["depth"]
        sizes_in = [sizes.features] + [width] * (depth - 1)
        self.layers = nnx.List([nnx.Linear(n, width, rngs=rngs) for n in sizes_in])
        self.readout = nnx.Linear(width, sizes.classes, rngs=rngs)
        self.activation = ACTIVATIONS[config["activation"]]

    def __call__(self, x):  # (batch, 2) -> logits (batch, 2)
        for layer in self.layers:
            x = self.activation(layer(x))
        return self.readout(x)


def spirals(config):  # x (n, 2), and labels y (n,)
    turn = np.random.default_rng(0).uniform(0.5, 6, 500)
    y = np.arange(500) % 2
    x = np.stack([turn * np.cos(turn + np.pi * y), turn * np.sin(turn + np.pi * y)], -1)
    return {"x": x / 6, "y": y}


DEEP_NET = Model(name="deep_net", build=DeepNet)
SPIRALS = Task(name="spirals", build=spirals, batch_size=20, chance_loss=lambda c: np.log(2))

GRID = {"model": "deep_net", "task": "spirals", "optimizer": "adam", "epochs": 24, "width": 32,
        "activation": {"grid_search": ["sigmoid", "relu"]}, "depth": {"grid_search": [2, 12]},
        "lr": {"grid_search": [0.003, 0.001]}, "seed": {"grid_search": [0, 1]}}  # fmt: skip
SMALL = {"depth": 3, "width": 8, "epochs": 6}
SELECT = {"choose": "lr", "metric": "val_loss", "mode": "min", "report": "val_loss", "over": "seed"}
SPACE = Space(reproduces="a question of mine", param_space=GRID, select=SELECT, smoke=SMALL)
STUDY = Study(name="mine", title="Two spirals", parts=(DEEP_NET, SPIRALS), spaces={"depth": SPACE})
