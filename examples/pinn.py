"""A physics-informed net in plain JAX: a loss with derivatives, without a class or a data set.

Solves u'' = -(k pi)^2 sin(k pi x) on [0, 1] with u(0) = u(1) = 0, whose solution is sin(k pi x), at
points drawn anew in every step. How much must the boundary weigh, and how fast may u oscillate?
"""

import jax
import jax.numpy as jnp

from gradsweep import Metric, Objective, Space, Study


def init(key, config):
    sizes = [1, *[config["width"]] * config["depth"], 1]
    keys = jax.random.split(key, len(sizes) - 1)
    return {
        f"layer{i}": {"w": jax.random.normal(k, (a, b)) * jnp.sqrt(2 / (a + b)), "b": jnp.zeros(b)}
        for i, (k, a, b) in enumerate(zip(keys, sizes[:-1], sizes[1:], strict=True))
    }


def net(tree, x):  # one number in, one number out
    h = x[None]
    for i in range(len(tree)):
        h = h @ tree[f"layer{i}"]["w"] + tree[f"layer{i}"]["b"]
        h = jnp.tanh(h) if i + 1 < len(tree) else h
    return h[0]


def loss(tree, batch, key, config):
    rate = config["oscillations"] * jnp.pi
    x = jax.random.uniform(key, (128,))
    bend = jax.vmap(jax.grad(jax.grad(net, 1), 1), (None, 0))(tree, x)
    residual = jnp.mean((bend / rate**2 + jnp.sin(rate * x)) ** 2)
    ends = net(tree, jnp.array(0.0)) ** 2 + net(tree, jnp.array(1.0)) ** 2
    error = jnp.mean((jax.vmap(net, (None, 0))(tree, x) - jnp.sin(rate * x)) ** 2)
    return residual + config["boundary"] * ends, {"residual": residual, "error": error}


POISSON = Objective(
    name="poisson",
    init=init,
    loss=loss,
    steps=200,
    loss_unit="squared residual",
    metric_columns=(Metric("error", doc="Mean squared distance from the solution."),
                    Metric("residual", doc="Mean squared residual of the equation.")),
)  # fmt: skip
GRID = {
    "objective": "poisson", "optimizer": "adam", "epochs": 20, "depth": 2, "width": 32, "lr": 0.005,
    "boundary": {"grid_search": [0.1, 1.0, 10.0]}, "oscillations": {"grid_search": [1.0, 4.0]},
    "seed": {"grid_search": [0, 1]},
}  # fmt: skip
SELECT = {"choose": "boundary", "metric": "val_error", "report": "val_error", "over": "seed"}
SPACE = Space(param_space=GRID, select=SELECT, reproduces="a question of mine",
              smoke={"epochs": 2, "width": 8, "seed": 0})  # fmt: skip
STUDY = Study(name="pinn", title="A physics-informed net", parts=(POISSON,),
              spaces={"poisson": SPACE})  # fmt: skip
