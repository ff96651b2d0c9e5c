"""REINFORCE on a cart-pole written in JAX, as a loop without a task: what does a baseline buy?
Each step plays `games` games at once, each of at most 500 moves, and climbs the policy gradient."""

import jax
import jax.numpy as jnp
import optax
import plotly.express as px
from flax import nnx

from gradsweep import Figure, Key, Loop, Metric, Space, Study

MOVES = 500


def moved(place, push):
    """Barto, Sutton and Anderson's cart-pole after 0.02 s; a push is -1 or 1."""
    _, speed, angle, turn = place
    sine, cosine = jnp.sin(angle), jnp.cos(angle)
    force = (10 * push + 0.05 * turn**2 * sine) / 1.1
    twist = (9.8 * sine - cosine * force) / (0.5 * (4 / 3 - 0.1 * cosine**2 / 1.1))
    thrust = force - 0.05 * twist * cosine / 1.1
    return place + 0.02 * jnp.stack([speed, thrust, turn, twist])


def played(policy, key, config, greedy=False):
    """Places (MOVES, games, 4), pushes to the right, and whether each game was still on."""
    start = jax.random.uniform(key, (config["games"], 4), minval=-0.05, maxval=0.05)

    def move(carry, key):
        place, on = carry
        logits = policy(place)
        drawn = jax.random.categorical(key, logits)
        right = jnp.argmax(logits, -1) if greedy else drawn
        after = jax.vmap(moved)(place, 2.0 * right - 1)
        fell = (jnp.abs(after[:, 0]) > 2.4) | (jnp.abs(after[:, 2]) > 0.2095)
        return (jnp.where(on[:, None], after, place), on & ~fell), (place, right, on)

    keys = jax.random.split(jax.random.fold_in(key, 1), MOVES)
    return jax.lax.scan(move, (start, jnp.ones(config["games"], bool)), keys)[1]


def init(key, config):
    rngs = nnx.Rngs(key)
    policy = nnx.Sequential(nnx.Linear(4, 32, rngs=rngs), nnx.tanh, nnx.Linear(32, 2, rngs=rngs))
    return {"params": policy, "adam": optax.adam(config["lr"]).init(policy)}


def step(state, batch, key, config):
    places, right, on = played(state["params"], key, config)

    def earned(rest, reward):
        return (rest := reward + config["discount"] * rest), rest

    gains = jax.lax.scan(earned, jnp.zeros(config["games"]), on * 1.0, reverse=True)[1]
    known = jnp.sum(gains * on, 1, keepdims=True) / jnp.maximum(jnp.sum(on, 1, keepdims=True), 1)
    gains = gains - config["baseline"] * known

    def regret(policy):
        chosen = -optax.softmax_cross_entropy_with_integer_labels(policy(places), right)
        return -jnp.sum(chosen * gains * on) / jnp.sum(on)

    gradients = jax.grad(regret)(state["params"])
    moves, adam = optax.adam(config["lr"]).update(gradients, state["adam"])
    state = {"params": optax.apply_updates(state["params"], moves), "adam": adam}
    return state, {"return": jnp.mean(jnp.sum(on, 0))}, gradients


def evaluate(state, batch, key, config):
    return {"return": jnp.mean(jnp.sum(played(state["params"], key, config, greedy=True)[2], 0))}


def returns(store, space, trial):
    """Mean length of a game while training, the median over seeds."""
    rows = store.sql(
        f"""SELECT baseline, lr, epoch, median(metrics['return']) AS "return" FROM runs
        WHERE list_contains({space["trials"]}, trial_id) GROUP BY ALL ORDER BY ALL"""
    ).df()
    return px.line(rows, "epoch", "return", color="baseline", facet_col="lr", height=400)


REINFORCE = Loop(
    name="reinforce", init=init, step=step, evaluate=evaluate, reads=(),
    metric_columns=(Metric("return", unit="moves", mode="max", doc="Length of a game."),),
    keys=(
        Key("lr", "float", 0.01, "traced", "Adam's learning rate.", low=0),
        Key("baseline", "float", 1.0, "traced", "Share of the games' mean gain taken off.", low=0),
        Key("discount", "float", 0.99, "traced", "Of later rewards.", low=0, high=1),
        Key("games", "int", 8, "static", "Games played in a step.", unit="games", low=1),
        Key("steps_per_epoch", "int", 5, "static", "Updates in an epoch.", unit="steps", low=1),
    ),
)  # fmt: skip
GRID = {"stage": "reinforce", "epochs": 30, "baseline": {"grid_search": [0.0, 1.0]},
        "lr": {"grid_search": [0.01, 0.003]}, "seed": {"grid_search": [0, 1, 2]}}  # fmt: skip
SMALL = {"epochs": 2, "games": 4, "steps_per_epoch": 2, "seed": 0}
SELECT = {"metric": "return", "mode": "max", "over": "seed"}
BASELINE = Space(param_space=GRID, smoke=SMALL, select=SELECT, figures=("returns",))
FIGURES = {"returns": Figure(returns, by=("baseline", "lr"))}
STUDY = Study(name="reinforce", title="REINFORCE on a cart-pole", parts=(REINFORCE,),
              spaces={"baseline": BASELINE}, figures=FIGURES)  # fmt: skip
