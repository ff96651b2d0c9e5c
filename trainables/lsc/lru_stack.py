"""Pretraining of the residual LRU stack to the Local Stability Condition.

docs/specs/herranz2023.md, 1.5: no gradient and no data. An iteration draws two layers, measures
how their states carry a change on, for Gaussian inputs and states, and rescales weights towards the
targets; then it permutes the entries of every tensor of the two, and swaps the first half of each
between them. (The published code copied one half over the other; `lsc_compat` "published" does.)
The study's gradient version (its flag `ffnlsc`) feeds no published grid and does not exist here.

Shapes: B samples, H units, S = 4 H real numbers of state, L layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

from trainables.core.engine import SharedColumns, State
from trainables.core.layout import by_path
from trainables.core.norms import safe_norm
from trainables.core.random_keys import named_key, trial_key
from trainables.declarations import Trial
from trainables.layers.lru import Params
from trainables.lsc import radius_loss
from trainables.lsc.engine import agreement
from trainables.lsc.lru_jacobians import gaussian_radii, time_radius
from trainables.models.residual import lru_block
from trainables.tasks.base import TaskRuntime
from trainables.training.network import Hparams, Network

_LOW, _HIGH = 0.95, 1.05
"""Factors of an iteration lie between these."""
_BLOCKS = "blocks/"
_JUDGED = ("radius", "radius_std", "radius_gap", "radius_rec", "radius_depth")


def rescaled_nu(nu: jax.Array, factor: jax.Array) -> jax.Array:
    """nu times `factor`, which moves |lambda| = exp(-exp nu) the way a factor of |lambda| would.

    nu > 0, below a modulus of 1/e, needs the inverse; no published initialisation has any.
    """
    return jnp.where(nu < 0, nu * factor, nu / factor)


def swapped(first: jax.Array, second: jax.Array, published: bool) -> tuple[jax.Array, jax.Array]:
    """Two tensors of one shape with the first half of their entries exchanged.

    `published`: only the first gets the other's half; the second keeps its own.
    """
    head = (jnp.arange(first.size) < first.size // 2).reshape(first.shape)
    return (
        jnp.where(head, second, first),
        second if published else jnp.where(head, first, second),
    )


def _permuted(key: jax.Array, tensors: Params) -> Params:
    """Tensors with a leading axis of layers, the entries of each layer's own in random order.

    Those of one size are ordered together, which compiles to four sorts in place of 28.
    """
    sizes: dict[int, list[str]] = {}
    for name, leaf in tensors.items():
        sizes.setdefault(leaf[0].size, []).append(name)
    found = {}
    for size, names in sizes.items():
        rows = jnp.stack([tensors[name].reshape(-1, size) for name in names])
        rows = radius_loss.permuted(named_key(key, str(size)), rows, stacked=2)
        found |= {n: row.reshape(tensors[n].shape) for n, row in zip(names, rows, strict=True)}
    return {name: found[name] for name in tensors}


class LscLru(Network):
    """Epochs of `lsc_steps` iterations, then all layers and neighbouring pairs measured afresh.

    State: `params`, what is handed on: the weights whose fresh measurement was best so far, or the
    last ones where `lsc_compat` is "published"; `score` and what the gate reads of them; `work`,
    the tensors of the blocks in progress, with a leading axis of L; counts.
    """

    def __init__(self, trial: Trial, task: TaskRuntime, traced: Mapping[str, np.ndarray]):
        super().__init__(trial, task, traced)
        config: Any = self.constants
        self.block = lru_block(config["width"])
        self.layers = int(config["depth"])
        self.steps, self.samples = int(config["lsc_steps"]), int(config["lsc_batch"])
        self.estimate = str(config["lsc_estimate"])
        self.published = config["lsc_compat"] == "published"
        self.shared_columns: Mapping[str, SharedColumns] = {
            "lsc": {"kind": np.tile(np.array(["rec", "depth"], object), self.steps)}
        }

    def init(self, trial: Trial, hparams: Hparams) -> State:
        _, params, rest = nnx.split(self._module(trial, hparams), nnx.Param, ...)
        return self.restart({"rest": rest, "alive": jnp.bool_(True)}, params, hparams)

    def restart(self, state: State, params: Any, hparams: Hparams) -> State:
        return {
            **state,
            "params": params,
            "work": {k: jnp.array(v) for k, v in blocks_of(params).items()},
            **{name: jnp.float32(jnp.inf) for name in ("score", *_JUDGED)},
            "step": jnp.int32(0),
            "saves": jnp.int32(0),
            "skipped": jnp.int32(0),
        }

    def targets(self, hparams: Hparams) -> tuple[Any, Any]:
        """Targets of the radii through time and over depth."""
        balance, target = str(self.constants["lsc_balance"]), hparams["lsc_target"]
        return radius_loss.targets(balance, target, self.sizes.seq_len, self.layers)

    def _iterate(self, state: State, hparams: Hparams) -> tuple[State, dict[str, jax.Array]]:
        key = named_key(trial_key(hparams["seed"]), "lsc", state["step"])
        work = state["work"]
        pair = jax.random.permutation(named_key(key, "layers"), self.layers)[:2]
        lower, upper = ({k: v[layer] for k, v in work.items()} for layer in pair)
        radii = gaussian_radii(self.block, lower, upper, self.samples, key, self.estimate)
        found = jnp.stack([time_radius(self.block.cell, lower), jnp.mean(radii)])
        targets = jnp.stack([jnp.asarray(t, jnp.float32) for t in self.targets(hparams)])
        if self.constants["lsc_multiplier"]:
            time, depth = radius_loss.multiplier(targets, found, _LOW, _HIGH)
            for w in (lower, upper):
                w["nu"] = rescaled_nu(w["nu"], time)
            for name in ("b_re", "b_im", "c_re", "c_im"):
                upper[name] = upper[name] * depth
        layers = jax.tree.map(lambda *both: jnp.stack(both), lower, upper)
        if self.constants["lsc_shuffle"]:
            layers = _permuted(named_key(key, "shuffle"), layers)
        new = {
            name: work[name].at[pair].set(jnp.stack(swapped(both[0], both[1], self.published)))
            for name, both in layers.items()
        }
        fine = radius_loss.all_finite((found, new))
        state = {
            **state,
            "work": jax.tree.map(lambda a, b: jnp.where(fine, a, b), new, work),
            "step": state["step"] + 1,
            "skipped": state["skipped"] + ~fine,
        }
        return state, {"layer": pair, "radius": found, "target": targets, "finite": fine}

    def epoch(
        self, state: State, values: Hparams, epoch: jax.Array, data: Any
    ) -> tuple[State, dict[str, Any]]:
        """`lsc_steps` iterations, and a measurement; reads no data."""
        began = state["step"]
        state, seen = lax.scan(
            lambda state, _: self._iterate(state, values), state, length=self.steps
        )
        state, metrics = self._judged(state, values)
        iteration = began + jnp.arange(self.steps, dtype=jnp.int32)
        rows = {
            "iteration": jnp.repeat(iteration, 2),
            **{name: seen[name].reshape(-1) for name in ("layer", "radius", "target")},
        }
        squares = jnp.square(seen["radius"] - seen["target"])
        epochs = {
            "loss": jnp.nanmean(squares),
            "steps": jnp.int32(self.steps),
            "finite_steps": jnp.sum(seen["finite"]).astype(jnp.int32),
            "param_norm": safe_norm(self.layout.norms(state["params"])[: self.layout.tensors]),
        }
        return state, {
            "epochs": epochs,
            "layers": {"param_norm": self.layout.norms(state["params"])},
            "metrics": metrics,
            "probes": {"lsc": rows},
            "bad_step": jnp.int32(-1),
        }

    def measured(self, blocks: Params, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Radii through time (L,), and over depth for each layer and the next (L - 1,)."""

        def pair(_: None, layer: jax.Array) -> tuple[None, jax.Array]:
            lower, upper = ({k: v[i] for k, v in blocks.items()} for i in (layer, layer + 1))
            own = named_key(key, "pair", layer)
            found = gaussian_radii(self.block, lower, upper, self.samples, own, self.estimate)
            return None, jnp.mean(found)

        time = jax.vmap(lambda w: time_radius(self.block.cell, w))(blocks)
        return time, lax.scan(pair, None, jnp.arange(self.layers - 1))[1]

    def _judged(self, state: State, hparams: Hparams) -> tuple[State, dict[str, jax.Array]]:
        """The state with the better weights to hand on, and what the gate reads of them."""
        kinds = self.measured(state["work"], named_key(trial_key(hparams["seed"]), "lsc measure"))
        targets = self.targets(hparams)
        each = jnp.concatenate(
            [jnp.full_like(radii, t) for radii, t in zip(kinds, targets, strict=True)]
        )
        # Kinds one by one: radii too large through time must not make up for others too small.
        gaps = [agreement(radii, t)["radius_gap"] for radii, t in zip(kinds, targets, strict=True)]
        found = {
            **agreement(jnp.concatenate(kinds), each),
            "radius_gap": (gaps[0] + gaps[1]) / 2,
            "radius_rec": jnp.mean(kinds[0]),
            "radius_depth": jnp.mean(kinds[1]),
        }
        score = found["radius_gap"] + found["radius_std"]
        better = jnp.bool_(True) if self.published else score < state["score"]
        new = {"params": _with_blocks(state["params"], state["work"]), "score": score, **found}
        kept = jax.tree.map(
            lambda a, b: jnp.where(better, a, b), new, {name: state[name] for name in new}
        )
        state = {**state, **kept, "saves": state["saves"] + better}
        counts = {name: state[name].astype(jnp.float32) for name in ("skipped", "saves")}
        return state, {**{name: kept[name] for name in found}, **counts}


def blocks_of(params: Any) -> Params:
    """The blocks' tensors by name, each with its leading axis of layers."""
    return {
        path.removeprefix(_BLOCKS): leaf
        for path, leaf in by_path(params).items()
        if path.startswith(_BLOCKS)
    }


def _with_blocks(params: Any, blocks: Params) -> Any:
    leaves = [blocks.get(path.removeprefix(_BLOCKS), v) for path, v in by_path(params).items()]
    return jax.tree.unflatten(jax.tree.structure(params), leaves)
