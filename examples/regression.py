"""Regression with its own loss: a net that predicts mean and variance of noisy data.

Does weighing each sample by its predicted variance to the power beta (Seitzer et al., arXiv
2203.09168, equation 5) save the mean that the plain likelihood (beta = 0) neglects?
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from gradsweep import Metric, Model, Space, Study, Task


class Net(nnx.Module):
    """x (batch, 1) -> mean and logarithm of the variance, (batch, 2)."""

    def __init__(self, width, rngs):
        self.layers = nnx.List([nnx.Linear(n, width, rngs=rngs) for n in (1, width)])
        self.readout = nnx.Linear(width, 2, rngs=rngs)

    def __call__(self, x):
        for layer in self.layers:
            x = jnp.tanh(layer(x))
        return self.readout(x)


def noisy_sine(config):
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (1000, 1))
    noise = 0.05 + 0.3 * (x[:, 0] > 0)
    return {"x": x, "y": np.sin(8 * x[:, 0]) + noise * rng.normal(size=1000)}


def likelihood(outputs, batch, config):  # a number for each sample, in nats
    mean, log_variance = outputs[:, 0], outputs[:, 1]
    error = (batch["y"] - mean) ** 2
    weight = jax.lax.stop_gradient(jnp.exp(config["beta"] * log_variance))
    return weight * (error * jnp.exp(-log_variance) + log_variance) / 2


def metrics(outputs, batch, config):
    return {"squared_error": (batch["y"] - outputs[:, 0]) ** 2}


CURVE = Task(
    name="noisy_sine",
    build=noisy_sine,
    loss=likelihood,
    metrics=metrics,
    metric_columns=(Metric("squared_error", mode="min", doc="Of the predicted mean."),),
    batch_size=50,
    split={"val": 0.2, "test": 0.1},
    loss_unit="weighted nats",
)  # fmt: skip
NET = Model(name="mean_and_variance", build=lambda c, sizes, rngs: Net(c["width"], rngs))
GRID = {
    "model": "mean_and_variance", "task": "noisy_sine", "optimizer": "adam", "epochs": 100,
    "width": 32, "lr": {"grid_search": [0.01, 0.003]},
    "beta": {"grid_search": [0.0, 0.5, 1.0]}, "seed": {"grid_search": [0, 1, 2]},
}  # fmt: skip
SPACE = Space(
    param_space=GRID,
    reproduces="a question of mine",
    select={"choose": "lr", "metric": "val_squared_error", "report": "test_squared_error",
            "over": "seed"},
    smoke={"epochs": 3, "seed": 0},
)  # fmt: skip
STUDY = Study(name="regression", title="Mean and variance", parts=(NET, CURVE),
              spaces={"beta": SPACE})  # fmt: skip
