"""A network whose gradients are written by hand in NumPy, beside the same network in JAX.

Both start from the same weights, so that one table shows the same losses and norms twice."""

from itertools import pairwise

import numpy as np
from flax import nnx

from gradsweep import HostTrainable, Key, Model, Space, Study, Task

KEYS = (
    Key("depth", "int", 3, "static", "Hidden layers.", low=1),
    Key("width", "int", 16, "static", "Units of each.", low=1),
)
RATE = Key("lr", "float", 0.1, "host", "Step size.", low=0)


def drawn(config):  # pairs of a matrix and a bias, one for each layer
    rng, sizes = np.random.default_rng(1), [2, *[config["width"]] * config["depth"], 2]
    return [(rng.normal(0, 0.6 * n**-0.5, (n, m)), np.zeros(m)) for n, m in pairwise(sizes)]


def moons(config):
    def part(rng, n):
        y = rng.integers(2, size=n)
        turn = rng.uniform(0, np.pi, n) + np.pi * y
        x = np.stack([np.cos(turn) + y - 0.5, np.sin(turn) + 0.5 * y - 0.25], -1)
        return {"x": (x + rng.normal(0, 0.15, x.shape)).astype("f4"), "y": y}

    rng = np.random.default_rng(0)
    return {"train": part(rng, 200), "val": part(rng, 100)}


def forward(weights, x):  # the input of each layer, and the probabilities of the classes
    inputs = [x]
    for w, b in weights[:-1]:
        inputs.append(np.tanh(inputs[-1] @ w + b))
    z = inputs[-1] @ weights[-1][0] + weights[-1][1]
    p = np.exp(z - z.max(1, keepdims=True))
    return inputs, p / p.sum(1, keepdims=True)


def scores(p, y):
    return -np.log(p[np.arange(len(y)), y]).mean(), (p.argmax(1) == y).mean()


def train(config, report):
    data, norm = moons(config), np.linalg.norm
    (x, y), (x_val, y_val) = data["train"].values(), data["val"].values()
    weights = report.restored or drawn(config)  # where a fault ended it, or anew
    names = [*(f"layers.{i}" for i in range(config["depth"])), "readout"]
    while report.epoch < config["epochs"]:
        inputs, p = forward(weights, x)
        loss, accuracy = scores(p, y)
        delta, layers = (p - np.eye(2)[y]) / len(y), {}
        for i in reversed(range(len(weights))):
            (w, b), h = weights[i], inputs[i]
            dw, db = h.T @ delta, delta.sum(0)
            delta = delta @ w.T * (1 - h**2)  # that of the layer below, whose output is h
            weights[i] = w - config["lr"] * dw, b - config["lr"] * db
            layers[names[i]] = {"kernel": norm(dw), "bias": norm(db)}
        val_loss, val_accuracy = scores(forward(weights, x_val)[1], y_val)
        report(
            loss=loss, accuracy=accuracy, val_loss=val_loss, val_accuracy=val_accuracy,
            layers={name: layers[name] for name in names}, state=weights,
        )  # fmt: skip


class Net(nnx.Module):
    def __init__(self, config, rngs):
        def layer(w):
            made = nnx.Linear(*w.shape, rngs=rngs)
            made.kernel[...] = w.astype("f4")
            return made

        *hidden, last = [layer(w) for w, _ in drawn(config)]  # biases are 0 in both
        self.layers, self.readout = nnx.List(hidden), last

    def __call__(self, x):
        for layer in self.layers:
            x = nnx.tanh(layer(x))
        return self.readout(x)


PARTS = (
    HostTrainable(name="numpy_net", run=train, keys=(*KEYS, RATE), loss_unit="nats",
                  chance_loss=lambda config: np.log(2)),
    Model(name="jax_net", keys=KEYS, build=lambda config, sizes, rngs: Net(config, rngs)),
    Task(name="moons", build=moons, batch_size=200, chance_loss=lambda config: np.log(2)),
)  # fmt: skip
ARMS = {"stage": ["numpy_net", "train"], "model": [..., "jax_net"], "task": [..., "moons"]}
GRID = {"arm": {"zip": ARMS}, "epochs": 150, "depth": {"grid_search": [2, 12]},
        "lr": {"grid_search": [0.1, 0.05]}}  # fmt: skip
SELECT = {"choose": "lr", "metric": "val_loss", "mode": "min", "report": "val_loss"}
SPACE = Space(reproduces="", param_space=GRID, select=SELECT, smoke={"epochs": 3, "depth": 2},
              figures=("training_loss", "grad_per_layer"))  # fmt: skip
STUDY = Study(name="by_hand", title="By hand and by JAX", parts=PARTS, spaces={"arms": SPACE})
