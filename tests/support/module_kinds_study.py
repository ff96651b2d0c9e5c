"""One classifier in Flax NNX, Flax Linen and Equinox, as key `kind` says."""

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from gradsweep import Key, Model, Sizes, Space, Study, Task


class Nnx(nnx.Module):
    def __init__(self, rngs):
        self.inner = nnx.Linear(4, 8, rngs=rngs)
        self.norm = nnx.BatchNorm(8, rngs=rngs)
        self.drop = nnx.Dropout(0.5, rngs=rngs)
        self.readout = nnx.Linear(8, 2, rngs=rngs)

    def __call__(self, x):
        return self.readout(self.drop(self.norm(self.inner(x[:, 0]))))


class Linen(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        h = nn.BatchNorm(use_running_average=not train)(nn.Dense(8, name="inner")(x[:, 0]))
        return nn.Dense(2)(nn.Dropout(0.5, deterministic=not train)(h))


class Equinox(eqx.Module):
    layers: list
    drop: eqx.nn.Dropout
    shift: jax.Array

    def __init__(self, key, shift):
        first, last = jax.random.split(key)
        self.layers = [eqx.nn.Linear(4, 8, key=first), eqx.nn.Linear(8, 2, key=last)]
        self.drop = eqx.nn.Dropout(0.5)
        self.shift = shift

    def __call__(self, x, *, key=None):
        h = self.drop(jnp.tanh(self.layers[0](x[0] + self.shift)), key=key)
        return self.layers[1](h)


def build(config, sizes, rngs):
    kinds = {"nnx": Nnx, "linen": lambda rngs: Linen()}
    if config["kind"] in kinds:
        return kinds[config["kind"]](rngs)
    return Equinox(rngs.params(), config["shift"])


KEYS = (
    Key("kind", "str", "nnx", "static", choices=("nnx", "linen", "equinox")),
    Key("shift", "float", 0.5, "traced"),
)
NET = Model(name="kinds_net", version=1, keys=KEYS, build=build)


def arrays(config):
    x = np.random.default_rng(0).normal(size=(70, 1, 4)).astype(np.float32)
    y = (x[:, 0, 0] > 0).astype(np.int64)
    return {"x": x[:50], "y": y[:50], "x_test": x[50:], "y_test": y[50:]}


TASK = Task(
    name="halves",
    version=1,
    build=arrays,
    sizes=lambda c: Sizes(
        seq_len=1, features=4, classes=2, n_train=40, n_val=10, n_test=20, batch_size=10
    ),
)
CONFIG = {"model": "kinds_net", "task": "halves", "optimizer": "adam", "epochs": 2, "lr": 0.01}
STUDY = Study(
    name="kinds",
    title="Tests of modules of several libraries",
    parts=(NET, TASK),
    spaces={
        "all": Space(param_space={**CONFIG, "kind": {"grid_search": ["nnx", "linen", "equinox"]}})
    },
)
