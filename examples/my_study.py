"""A study of one's own: does a deep sigmoid network learn two spirals? `docs/your-study.md`."""

import jax
import numpy as np
from flax import nnx

from gradsweep import Model, Sizes, Space, Study, Task


class DeepNet(nnx.Module):
    """Layers of one width; the names of the attributes are the names of the layers in the store."""

    def __init__(self, depth, width, activation, sizes, rngs):
        fan_in = [sizes.seq_len * sizes.features] + [width] * (depth - 1)
        self.layers = nnx.List([nnx.Linear(n, width, rngs=rngs) for n in fan_in])
        self.readout = nnx.Linear(width, sizes.classes, rngs=rngs)
        self.activation = {"sigmoid": jax.nn.sigmoid, "relu": jax.nn.relu}[activation]

    def __call__(self, x):  # x (batch, seq_len, features) -> logits (batch, classes)
        h = x.reshape(len(x), -1)
        for layer in self.layers:
            h = self.activation(layer(h))
        return self.readout(h)


def build(c, sizes, rngs):
    return DeepNet(c["depth"], c["width"], c["activation"], sizes, rngs)


def spirals(config):  # the two arrays: x (n, seq_len, features) and y (n,)
    turn = np.random.default_rng(0).uniform(0.5, 6, 500)
    y = np.arange(500) % 2
    x = np.stack([turn * np.cos(turn + np.pi * y), turn * np.sin(turn + np.pi * y)], -1)
    return {"x": x[:, None, :] / 6, "y": y}


DEEP_NET = Model(name="deep_net", build=build)
SPIRALS = Task(
    name="spirals",
    build=spirals,
    sizes=lambda config: Sizes(seq_len=1, features=2, classes=2, n_train=400, n_val=100, n_test=0,
                               batch_size=20),
    chance_loss=lambda config: np.log(2),
)  # fmt: skip

GRID = {"model": "deep_net", "task": "spirals", "optimizer": "adam", "epochs": 24, "width": 32,
        "activation": {"grid_search": ["sigmoid", "relu"]}, "depth": {"grid_search": [2, 12]},
        "lr": {"grid_search": [0.003, 0.001]}, "seed": {"grid_search": [0, 1]}}  # fmt: skip
SMALL = {"depth": 3, "width": 8, "epochs": 6}
SELECT = {"choose": "lr", "metric": "val_loss", "mode": "min", "report": "val_loss", "over": "seed"}
SPACE = Space(reproduces="a question of mine", param_space=GRID, select=SELECT, smoke=SMALL)
STUDY = Study(name="mine", title="Two spirals", parts=(DEEP_NET, SPIRALS), spaces={"depth": SPACE})
