"""A GAN on eight Gaussians, as a loop of one's own: at which rates does it find every mode?
A probe of one's own records samples, and a figure of one's own draws them against the data."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import plotly.express as px
from flax import nnx

from gradsweep import Column, Figure, Key, Loop, Metric, Probe, Space, Study, Task

MODES = np.stack([np.cos(np.arange(8) * np.pi / 4), np.sin(np.arange(8) * np.pi / 4)], -1)


def network(fan_in, width, out, rngs):
    first, second = nnx.Linear(fan_in, width, rngs=rngs), nnx.Linear(width, width, rngs=rngs)
    return nnx.Sequential(first, nnx.relu, second, nnx.relu, nnx.Linear(width, out, rngs=rngs))


def rules(config):
    rates = {"generator": config["lr"], "critic": config["critic_lr"]}
    return {name: optax.adam(rate, b1=0.5) for name, rate in rates.items()}


def init(key, config):  # modules are trees of arrays, so they may lie in the state as they are
    rngs, width = nnx.Rngs(key), config["width"]
    nets = {"generator": network(8, width, 2, rngs), "critic": network(2, width, 1, rngs)}
    return {"params": nets, "rules": {n: rule.init(nets[n]) for n, rule in rules(config).items()}}


def step(state, batch, key, config):
    nets, real = state["params"], batch["x"]
    noise = jax.random.normal(key, (len(real), 8))

    def critic_loss(critic):
        slope = jax.vmap(jax.grad(lambda x: critic(x)[0]))(real)
        fake = jnp.mean(nnx.softplus(critic(nets["generator"](noise))))
        return jnp.mean(nnx.softplus(-critic(real))) + fake + 0.2 * jnp.mean(slope**2)

    def generator_loss(generator):
        return jnp.mean(nnx.softplus(-nets["critic"](generator(noise))))

    losses = {"generator": generator_loss, "critic": critic_loss}
    new, moments, metrics, gradients = {}, {}, {}, {}
    for name, rule in rules(config).items():
        metrics[f"{name}_loss"], gradients[name] = jax.value_and_grad(losses[name])(nets[name])
        moves, moments[name] = rule.update(gradients[name], state["rules"][name], nets[name])
        new[name] = optax.apply_updates(nets[name], moves)
    return {"params": new, "rules": moments}, metrics, gradients


def evaluate(state, batch, key, config):  # validation batches are whole, so none has a weight of 0
    fake = state["params"]["generator"](jax.random.normal(key, (len(batch["x"]), 8)))
    turns = jnp.arange(16) * jnp.pi / 16
    lines = jnp.stack([jnp.cos(turns), jnp.sin(turns)])
    apart = jnp.sort(fake @ lines, 0) - jnp.sort(batch["x"] @ lines, 0)
    near = jnp.linalg.norm(fake[:, None] - MODES, axis=-1) < 0.15
    return {"distance": jnp.mean(jnp.abs(apart)), "modes": jnp.sum(jnp.mean(near, 0) > 0.03)}


def samples(state, batch, config):
    x = state["params"]["generator"](jax.random.normal(jax.random.key(0), (400, 8)))
    return {"x": x[:, 0], "y": x[:, 1]}


def mixture(config):
    noise = 0.05 * np.random.default_rng(0).normal(size=(6000, 2))
    return {"x": MODES[np.arange(6000) % 8] + noise}


def figure(store, space, trial):
    rows = store.sql(
        f"""SELECT s.x, s.y, lr, critic_lr FROM samples s JOIN trials USING (trial_id)
        WHERE list_contains({space["trials"]}, trial_id) AND seed = 0
        QUALIFY s.epoch = max(s.epoch) OVER (PARTITION BY trial_id)"""
    ).df()
    box = {"range_x": [-1.7, 1.7], "range_y": [-1.7, 1.7], "width": 700, "height": 700}
    drawn = px.scatter(rows, "x", "y", facet_col="lr", facet_row="critic_lr", opacity=0.4, **box)
    crosses = {"marker": {"symbol": "x", "color": "black"}, "mode": "markers", "row": "all"}
    return drawn.add_scatter(x=MODES[:, 0], y=MODES[:, 1], col="all", showlegend=False, **crosses)


KEYS = (Key("lr", "float", 1e-3, "traced", "Adam's rate of the generator.", low=0),
        Key("critic_lr", "float", 1e-3, "traced", "Adam's rate of the critic.", low=0),
        Key("width", "int", 64, "static", "Units of a hidden layer.", low=1))  # fmt: skip
GAN = Loop(name="gan", init=init, step=step, evaluate=evaluate, keys=KEYS,
           metric_columns=(Metric("distance"), Metric("modes", mode="max")))  # fmt: skip
POINT = (Column("x", "float32", "First coordinate."), Column("y", "float32", "Second coordinate."))
GRID = {"stage": "gan", "task": "mixture", "epochs": 80, "samples_every": 0,
        "lr": {"grid_search": [1e-3, 1e-4]}, "critic_lr": {"grid_search": [1e-3, 1e-4]},
        "seed": {"grid_search": [0, 1]}}  # fmt: skip
SELECT = {"metric": "val_modes", "mode": "max", "over": "seed"}
SMALL = {"epochs": 2, "width": 8, "seed": 0}
RATES = Space(param_space=GRID, smoke=SMALL, select=SELECT, figures=("samples",))
STUDY = Study(name="gan", title="A GAN on eight Gaussians", spaces={"rates": RATES},
              parts=(GAN, Task(name="mixture", build=mixture, batch_size=100)),
              probes=(Probe("samples", POINT, measure=samples, rows=400),),
              figures={"samples": Figure(figure, by=("lr", "critic_lr", "seed"))})  # fmt: skip
