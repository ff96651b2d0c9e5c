"""Pretraining a feed-forward network to the Local Stability Condition.

See docs/specs/herranz2023.md, 1.3. Each iteration draws one block of the network (see
`ffn_jacobians`) and brings the radius of its Jacobian closer to the target, without labels: a
gradient step on the block's weights, now and then a permutation of the entries of every tensor, and
now and then a factor on the block's matrix.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax import lax

from trainables.core.engine import SharedColumns, State
from trainables.core.layout import by_path
from trainables.core.norms import safe_norm, tree_norm
from trainables.core.random_keys import named_key, trial_key
from trainables.declarations import Trial
from trainables.lsc import ffn_jacobians, radius_loss
from trainables.lsc.engine import agreement, chosen, summary, update_rule
from trainables.lsc.ffn_jacobians import Block, Norm, Weights
from trainables.optim.lookahead import on_slow_weights
from trainables.tasks.base import TaskRuntime, probe_batch
from trainables.training.network import Hparams, Network

LR = WEIGHT_DECAY = 1e-4
TOLERANCE, SPREAD, PATIENCE = 0.02, 0.4, 10
"""Published values of the keys that may be null."""
_SHUFFLED, _RESCALED = 0.2, 0.34
"""Probabilities, per iteration, of a permutation and of a rescaling."""
_EVEN = 0.045
"""Standard deviation of the radii over layers of 128 units below which a run may end early; that of
random matrices grows as 1 / sqrt(units). The published stop rule asks for none, and can end with
layers that were never drawn."""


class LscFeedForward(Network):
    """The stage's epoch for model `ffn`: `lsc_steps` iterations, then all blocks measured afresh.

    State: `params` are the weights handed on, those whose fresh measurement was best so far, with
    their `radii` by layer and `distance` from the target; `work` the weights in progress.

    Attributes:
      blocks: what is asked of the network's blocks; the functions of `ffn_jacobians`.
      square: layers whose radii are judged.

    Radii of hidden layers 1..L-1 are judged. The first and last layer are not square; as published
    they are rescaled by the spread of their entries, which leaves the radius of a random square
    subset where it may be (.28 for ten logits of 128 units), so it is reported and not judged.

    Permutations end once the running average of the radii has been near the target: each draws all
    radii anew, with a spread that no factor could then mend.

    Where `lsc_compat` is "published" they do not end, leave Lookahead's slow weights where they
    were (as factors do), and running averages over all blocks, unchecked, choose what is handed on
    and end the run. Elsewhere these are over hidden layers, and the run ends after an epoch in
    which the fresh measurement agrees with them.
    """

    def __init__(self, trial: Trial, task: TaskRuntime, traced: Mapping[str, np.ndarray]):
        super().__init__(trial, task, traced)
        static: dict[str, Any] = dict(self.constants)
        self._batches = self.steps
        self.steps = int(static["lsc_steps"])
        self.samples = int(static["lsc_batch"])
        self.blocks: Any = ffn_jacobians
        self.hidden = int(static["depth"])
        self.square = slice(1, self.hidden)
        self.activation = str(static["activation"])
        self.even = _EVEN * max(1.0, (128 / int(static["width"])) ** 0.5)
        self.norm = Norm(static["lsc_norm"], static["lsc_estimate"])
        self.published = static["lsc_compat"] == "published"
        self.shared_columns: Mapping[str, SharedColumns] = {
            "lsc": {"kind": np.full(self.steps, "block")}
        }

    def optimizer(self, hparams: Hparams) -> optax.GradientTransformationExtraArgs:
        """The rule of the gradient steps, on weights by name."""
        lr, decay = chosen(hparams, "lsc_lr", LR), chosen(hparams, "lsc_weight_decay", WEIGHT_DECAY)
        return update_rule(self.constants, lr, decay)

    def init(self, trial: Trial, hparams: Hparams) -> State:
        """A lane's first state."""
        _, params, rest = nnx.split(self._module(trial, hparams), nnx.Param, ...)
        return self.restart({"rest": rest, "alive": jnp.bool_(True)}, params, hparams)

    def restart(self, state: State, params: Any, hparams: Hparams) -> State:
        """The first state from these weights."""
        weights = {path: jnp.array(leaf) for path, leaf in by_path(params).items()}
        return {
            **state,
            "params": params,
            "work": weights,
            "optimizer": self.optimizer(hparams).init(weights),
            "record": radius_loss.new_record(),
            "settled": jnp.bool_(False),
            "radii": jnp.full(self.hidden + 1, jnp.nan),
            "distance": jnp.float32(jnp.inf),
            "step": jnp.int32(0),
        }

    def _params(self, weights: Weights, like: Any) -> Any:
        """Weights by name as the model's parameters."""
        return jax.tree.unflatten(jax.tree.structure(like), [weights[p] for p in by_path(like)])

    def preactivations(self, params: Any, rest: Any, x: jax.Array) -> Any:
        """z of every hidden layer, (L, B, H)."""
        module: Any = nnx.merge(self.graph, params, rest, copy=True)
        return module.preactivations(x)

    def _inputs(self, schedule: Any, values: Hparams, index: jax.Array, data: Any) -> jax.Array:
        """Inputs of one iteration: part of a batch, another part in every round of batches."""
        at, turn = index % self._batches, index // self._batches
        entry = jax.tree.map(lambda leaf: leaf[at], schedule)
        x, _, _ = self.task.batch(data, entry, values)
        first = (turn * self.samples) % (len(x) - self.samples + 1)
        return lax.dynamic_slice_in_dim(x, first, self.samples)

    def _iterate(self, state: State, values: Hparams, x: jax.Array) -> tuple[State, Any]:
        key = named_key(trial_key(values["seed"]), "lsc", state["step"])
        weights, target = state["work"], values["lsc_target"]
        number = jax.random.randint(named_key(key, "block"), (), 0, 2 * self.hidden + 1)
        block = self.blocks.block_of(number, self.hidden)
        z = self.preactivations(self._params(weights, state["params"]), state["rest"], x)
        directions = named_key(key, "directions")
        loss, norm, gradients = self.blocks.descent(
            self.activation, weights, x, z, block, target, directions, self.norm
        )
        record, params = self._remembered(state, values, block, norm)

        updates, rule = self.optimizer(values).update(
            gradients, state["optimizer"], weights, mask=self.blocks.moved_by(block, self.hidden)
        )
        moved = jax.tree.map(jnp.add, weights, updates)
        # Equal eigenvalues have no derivative; such a step is left out and counted.
        fine = radius_loss.all_finite((loss, norm, gradients, moved))
        old = weights, state["optimizer"]
        weights, rule = jax.tree.map(lambda a, b: jnp.where(fine, a, b), (moved, rule), old)
        record = {**record, "skipped": record["skipped"] + ~fine}
        settled = state["settled"] | ((record["inside"] > 0) & (not self.published))
        if self.constants["lsc_shuffle"]:
            order = named_key(key, "order")
            when = jax.random.bernoulli(named_key(key, "shuffle"), _SHUFFLED) & ~settled
            weights, rule = self._changed(
                weights, rule, when, lambda w: self.blocks.shuffled(w, order)
            )
        if self.constants["lsc_multiplier"]:
            when = jax.random.bernoulli(named_key(key, "rescale"), _RESCALED)
            drawn = named_key(key, "bias")
            change = self.blocks.rescaling(self.activation, weights, block, norm, target, drawn)
            weights, rule = self._changed(weights, rule, when, change)
        new = {
            "params": params,
            "work": weights,
            "optimizer": rule,
            "record": record,
            "settled": settled,
            "step": state["step"] + 1,
        }
        seen = {
            "layer": block.layer,
            "radius": norm,
            "loss": loss,
            "grad_norm": tree_norm(gradients),
            "update_norm": tree_norm(updates),
            "finite": fine,
            "shown": jnp.bool_(True),
        }
        return {**state, **new}, seen

    def _changed(self, weights: Weights, rule: Any, when: jax.Array, change: Any) -> Any:
        """Weights, and the slow weights that belong to them, changed where `when` says so."""

        def yes() -> Any:
            return change(weights), rule if self.published else on_slow_weights(rule, change)

        return lax.cond(when, yes, lambda: (weights, rule))

    def _remembered(
        self, state: State, values: Hparams, block: Block, norm: jax.Array
    ) -> tuple[radius_loss.Record, Any]:
        """Running averages after a measurement; and the weights handed on, if these choose them."""
        target, spread = values["lsc_target"], chosen(values, "lsc_spread", SPREAD)
        judged = jnp.bool_(self.published) | ((block.layer > 0) & (block.layer < self.square.stop))
        counted = jnp.where(judged, norm, jnp.nan)
        # Half the number of tensors.
        window = float(self.hidden + 1)
        record = radius_loss.averaged(
            state["record"], counted, jnp.square(counted - target), window
        )
        gap = jnp.abs(record["mean"] - target)
        near = gap < chosen(values, "lsc_tolerance", TOLERANCE)
        record = radius_loss.count_inside(record, near, spread)
        if not self.published:
            return record, state["params"]
        record, better = radius_loss.save_best(record, gap, spread)
        better |= record["saves"] == 0
        own = self._params(state["work"], state["params"])
        return record, jax.tree.map(lambda a, b: jnp.where(better, a, b), own, state["params"])

    def epoch(
        self, state: State, values: Hparams, epoch: jax.Array, data: Any
    ) -> tuple[State, dict[str, Any]]:
        """`lsc_steps` iterations (as published, until the stop rule speaks) and a measurement."""
        root = named_key(trial_key(values["seed"]), "lsc")
        schedule = self.task.training(root, values, epoch)
        patience = chosen(values, "lsc_patience", PATIENCE)

        @jax.jit  # traced once, for its shapes and for the scan
        def run(state: State, index: jax.Array) -> Any:
            return self._iterate(state, values, self._inputs(schedule, values, index, data))

        _, like = jax.eval_shape(run, state, jnp.int32(0))
        nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), like)

        def step(state: State, index: jax.Array) -> Any:
            done = self.published & (state["record"]["inside"] > patience)
            return lax.cond(done, lambda state, _: (state, nothing), run, state, index)

        began = state["step"]
        state, seen = lax.scan(step, state, jnp.arange(self.steps, dtype=jnp.int32))
        state, finished = self._judged(state, values, data)
        found = agreement(state["radii"][self.square], values["lsc_target"])
        metrics = {
            **found,
            "radius_enc": state["radii"][0],
            "radius_dec": state["radii"][-1],
            "radius_mean": state["record"]["mean"],
            "skipped": state["record"]["skipped"].astype(jnp.float32),
            "saves": state["record"]["saves"].astype(jnp.float32),
        }
        rows = {
            "iteration": began + jnp.arange(self.steps, dtype=jnp.int32),
            "layer": seen["layer"],
            "radius": seen["radius"],
            "target": jnp.full(self.steps, values["lsc_target"]),
            "shown": seen["shown"],
        }
        sizes = self.layout.norms(state["params"])
        whole = safe_norm(sizes[: self.layout.tensors])
        return state, {
            "epochs": {**summary(seen), "param_norm": whole},
            "layers": {"param_norm": sizes},
            "metrics": metrics,
            "probes": {"lsc": rows},
            "bad_step": jnp.int32(-1),
            "finished": finished,
        }

    def _judged(self, state: State, values: Hparams, data: Any) -> tuple[State, jax.Array]:
        """The state with the better weights to hand on, and whether the run is over."""
        target, record = values["lsc_target"], state["record"]
        x = probe_batch(self.task, values, data)[0][: self.samples]
        key = named_key(trial_key(values["seed"]), "lsc measure")
        weights = by_path(state["params"]) if self.published else state["work"]
        params = self._params(weights, state["params"])
        z = self.preactivations(params, state["rest"], x)
        norms = self.blocks.layer_norms(self.activation, weights, x, z, key, self.norm)
        radii = jnp.mean(norms, axis=1)
        distance = jnp.sqrt(jnp.mean(jnp.square(radii[self.square] - target)))
        measured = {"params": params, "radii": radii, "distance": distance}
        ended = record["inside"] > chosen(values, "lsc_patience", PATIENCE)
        if not self.published:
            better = distance < state["distance"]
            kept = {name: state[name] for name in measured}
            measured = jax.tree.map(lambda new, old: jnp.where(better, new, old), measured, kept)
            record = {**record, "saves": record["saves"] + better}
            found = agreement(measured["radii"][self.square], target)
            near = found["radius_gap"] < chosen(values, "lsc_tolerance", TOLERANCE)
            ended &= near & (found["radius_std"] < self.even)
        return {**state, **measured, "record": record}, ended
