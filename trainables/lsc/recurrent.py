"""Pretraining of recurrent networks to the Local Stability Condition.

See docs/specs/herranz2023.md, 1.4. The network walks real sequences step by step. At each step the
norms of its one-step Jacobians (`rnn_jacobians`) give a loss, whose gradient moves the weights;
then weights are permuted at random, and multiplied by what brings the norm that each is responsible
for to its target. Which that is goes by a weight's path, not by what Keras happens to call it.
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
from trainables.core.lanes import nothing
from trainables.core.norms import safe_norm, tree_norm
from trainables.core.random_keys import named_key, trial_key
from trainables.declarations import Trial
from trainables.lsc import radius_loss
from trainables.lsc.engine import agreement, chosen, summary, update_rule
from trainables.lsc.rnn_jacobians import advance, columns, jacobians, radii, transitions, walked
from trainables.lsc.weight_moves import counters, factors, multiplied, permuted
from trainables.models.rnn import RecurrentNet
from trainables.tasks.base import TaskRuntime, probe_batch
from trainables.training.network import Hparams, Network

LR, DECAY, DECAY_RELU = 7.2e-3, 1e-4, 1e-3
"""Published learning rate and weight decay, and the decay of `rsimplernn`."""
TOLERANCE, SPREAD, PATIENCE = 0.08, 0.5, 20
"""Published values of the keys that may be null."""
_WINDOW = 10.0
"""Time constant of the moving averages, in iterations."""
_SHUFFLED = 0.34
"""Probability that an iteration permutes weights."""
_SETTLING = 0.5
"""Share of an epoch, its end, without permutations: they undo what gradient steps found. With it a
GRU of 32 units passed the gate in 400 to 500 iterations, else in 400 to 700 (one seed never)."""
_POINTS = 8
"""Time steps at which weights are measured afresh."""
_AGREED = 0.02
"""How near to its target the mean of fresh radii must be for a run to end early."""


class LscRecurrent(Network):
    """Epochs of `lsc_steps` iterations, each one time step of a batch of training sequences.

    State: `params`, the weights handed on, their `radii`, and their `distance` from the target;
    `work`, the weights in progress; `best`, those of them that were nearest in passing in this
    epoch, by the `record` of its iterations (see `radius_loss.new_record`); `states`, the hidden
    states of the walk, which are never reset.

    Each iteration's update rule starts from averages of 0, and only its count of steps runs on. So
    it is in the published program, which builds its model anew in every iteration, and weights that
    are permuted have no use for averages of earlier gradients. (Kept averages took up to twice as
    many iterations, and more than 1,000 where LSTM and sigmoid units reach .5 in 700.)

    Each epoch ends with a measurement of `work` and `best` on the task's probe batch; what is
    handed on is what measured best so far. Where `lsc_compat` is "published", it is what was
    nearest in passing in all epochs, unmeasured, the stop rule is not checked by a measurement, and
    every iteration may permute weights.
    """

    def __init__(self, trial: Trial, task: TaskRuntime, traced: Mapping[str, np.ndarray]):
        super().__init__(trial, task, traced)
        static: Any = self.constants
        self.samples, self.steps = int(static["lsc_batch"]), int(static["lsc_steps"])
        self.norm, self.estimate = str(static["lsc_norm"]), str(static["lsc_estimate"])
        self.published = static["lsc_compat"] == "published"
        kinds = str(static["lsc_kinds"])
        self.transitions = transitions(len(self.cells), self.sizes.classes, kinds)
        if not self.transitions:
            raise ValueError(
                f"lsc_kinds={kinds} leaves nothing to measure: there are too many logits"
            )
        # The readout has a target of its own, so its radius is reported and not judged.
        self.judged = np.array([kind != "dec" or kinds == "dec" for kind, _ in self.transitions])
        self.shared_columns: Mapping[str, SharedColumns] = {
            "lsc": columns(self.transitions, self.steps)
        }

    def optimizer(self, hparams: Hparams) -> optax.GradientTransformationExtraArgs:
        """The rule of the gradient steps."""
        usual = DECAY_RELU if self.constants["model"] == "rsimplernn" else DECAY
        lr, decay = chosen(hparams, "lsc_lr", LR), chosen(hparams, "lsc_weight_decay", usual)
        return update_rule(self.constants, lr, decay)

    def targets(self, values: Hparams) -> jax.Array:
        """Target of each transition; 1 for the readout, always."""
        balance, target = str(self.constants["lsc_balance"]), values["lsc_target"]
        time, depth = radius_loss.targets(balance, target, self.sizes.seq_len, len(self.cells))
        of = {"rec": time, "enc": depth, "depth": depth, "dec": 1.0}
        return jnp.stack([jnp.asarray(of[kind], jnp.float32) for kind, _ in self.transitions])

    def init(self, trial: Trial, hparams: Hparams) -> State:
        """A lane's first state."""
        _, params, rest = nnx.split(self._module(trial, hparams), nnx.Param, ...)
        return self.restart({"rest": rest, "alive": jnp.bool_(True)}, params, hparams)

    def restart(self, state: State, params: Any, hparams: Hparams) -> State:
        """The first state from these weights."""
        # Copies, since a buffer cannot be donated twice.
        work, best = (jax.tree.map(jnp.array, params) for _ in range(2))
        shapes = [(self.samples, cell.state_size) for cell in self.cells]
        return {
            **state,
            "params": params,
            "distance": jnp.float32(jnp.inf),
            "radii": jnp.full(len(self.transitions), jnp.nan),
            "work": work,
            "best": best,
            "optimizer": self.optimizer(hparams).init(work),
            "record": radius_loss.new_record(),
            "states": tuple(jnp.zeros(shape) for shape in shapes),
            "step": jnp.int32(0),
        }

    def net(self, params: Any, rest: Any) -> RecurrentNet:
        """The module at some weights, without dropout."""
        module = nnx.merge(self.graph, params, rest, copy=True)
        module.eval()
        return module

    def inputs(self, values: Hparams, epoch: jax.Array, data: Any) -> jax.Array:
        """What the lowest layer reads in each iteration, (steps, B, ...).

        Batches follow each other as in the first epoch of training, whatever an epoch is here.
        """
        length, done = self.sizes.seq_len, epoch * self.steps
        schedule = self.task.training(trial_key(values["seed"]), values, jnp.int32(0))
        batches = jax.tree.leaves(schedule)[0].shape[0]
        aligned = length % self.steps == 0 or self.steps % length == 0
        count = -(-self.steps // length) + (not aligned)

        def one(at: jax.Array) -> jax.Array:
            entry = jax.tree.map(lambda leaf: leaf[(done // length + at) % batches], schedule)
            x = self.task.batch(data, entry, values)[0][: self.samples]
            return jnp.swapaxes(x, 0, 1)

        x = lax.map(one, jnp.arange(count))
        x = x.reshape(-1, *x.shape[2:])
        return lax.dynamic_slice_in_dim(x, done % length, self.steps)

    def _iterate(
        self, state: State, values: Hparams, at: jax.Array, x: jax.Array
    ) -> tuple[State, Any]:
        key = named_key(trial_key(values["seed"]), "lsc", state["step"])
        targets, work = self.targets(values), state["work"]

        def loss(work: Any) -> tuple[jax.Array, Any]:
            net = self.net(work, state["rest"])
            below = net.embed(x)
            new = advance(net, state["states"], below)
            found = jacobians(net, state["states"], new, below, self.transitions)
            draw = named_key(key, "norms")
            losses, norms = radii(found, targets, draw, self.norm, self.estimate)
            # As published, by how many kinds and layers there can be.
            return jnp.sum(losses) / (2 * len(self.cells) + 1), (new, jnp.mean(norms, axis=1))

        value, gradients = jax.value_and_grad(loss, has_aux=True)(work)
        total, (states, found) = value
        record, better = self._remembered(state["record"], values, found, targets)
        best = _where(better, work, state["best"])

        optimizer = self.optimizer(values)
        rule = jax.tree.map(counters, state["optimizer"], optimizer.init(work))
        updates, rule = optimizer.update(gradients, rule, work)
        moved = jax.tree.map(jnp.add, work, updates)
        if self.constants["lsc_shuffle"]:
            drawn = jax.random.bernoulli(named_key(key, "shuffle"), _SHUFFLED)
            early = at < self.steps * (1 - _SETTLING)
            order = named_key(key, "order")
            when = drawn & (early | self.published)
            moved = lax.cond(when, permuted, lambda tree, _: tree, moved, order)
        if self.constants["lsc_multiplier"]:
            norms = {t: (targets[i], found[i]) for i, t in enumerate(self.transitions)}
            moved = multiplied(moved, factors(self.cells, moved, norms))
        if self.layout.frozen:
            trained = self.layout.trained(work)
            moved = jax.tree.map(lambda t, new, old: new if t else old, trained, moved, work)
        # Equal eigenvalues have no derivative; such a step is left out and counted.
        fine = jnp.isfinite(total) & radius_loss.all_finite((gradients, moved))
        work, rule = _where(fine, (moved, rule), (work, state["optimizer"]))
        walks = radius_loss.all_finite(states)
        new = {
            "work": work,
            "best": best,
            "optimizer": rule,
            "record": {**record, "skipped": record["skipped"] + ~fine},
            "states": jax.tree.map(lambda s: jnp.where(walks, s, 0), states),
            "step": state["step"] + 1,
        }
        seen = {
            "radii": found,
            "loss": total,
            "grad_norm": tree_norm(gradients),
            "update_norm": tree_norm(updates),
            "finite": fine,
            "shown": jnp.bool_(True),
        }
        return {**state, **new}, seen

    def _remembered(
        self, record: radius_loss.Record, values: Hparams, found: jax.Array, targets: jax.Array
    ) -> tuple[radius_loss.Record, jax.Array]:
        """Running averages after a measurement, and whether its weights are the best in passing."""
        found, targets = found[self.judged], targets[self.judged]
        spread = chosen(values, "lsc_spread", SPREAD)
        record = radius_loss.averaged(record, jnp.mean(found), jnp.var(found), _WINDOW)
        near = jnp.abs(found - targets) < chosen(values, "lsc_tolerance", TOLERANCE)
        record = radius_loss.count_inside(record, jnp.all(near), spread)
        return radius_loss.save_best(record, agreement(found, targets)["radius_gap"], spread)

    def epoch(
        self, state: State, values: Hparams, epoch: jax.Array, data: Any
    ) -> tuple[State, dict[str, Any]]:
        """`lsc_steps` iterations, or fewer once the stop rule has spoken, and a measurement."""
        patience = chosen(values, "lsc_patience", PATIENCE)

        @jax.jit  # traced once, for its shapes and for the scan
        def run(state: State, entry: Any) -> Any:
            return self._iterate(state, values, *entry)

        def skip(state: State, entry: Any) -> Any:
            unseen = nothing(jax.eval_shape(run, state, entry)[1])
            return state, {**unseen, "finite": jnp.bool_(False), "shown": jnp.bool_(False)}

        def step(state: State, entry: Any) -> Any:
            return lax.cond(state["record"]["inside"] > patience, skip, run, state, entry)

        began, targets = state["step"], self.targets(values)
        if not self.published:  # each epoch has its own
            state = {**state, "record": {**state["record"], "best": jnp.float32(jnp.inf)}}
        entries = (jnp.arange(self.steps), self.inputs(values, epoch, data))
        state, seen = lax.scan(step, state, entries)
        state, finished = self._judged(state, values, data)
        shape = (self.steps, len(self.transitions))
        iteration = began + jnp.arange(self.steps, dtype=jnp.int32)
        rows = {
            "iteration": jnp.broadcast_to(iteration[:, None], shape),
            "radius": seen.pop("radii"),
            "target": jnp.broadcast_to(targets, shape),
            "shown": jnp.broadcast_to(seen["shown"][:, None], shape),
        }
        metrics = agreement(state["radii"][self.judged], targets[self.judged])
        metrics |= {n: state["record"][n].astype(jnp.float32) for n in ("skipped", "saves")}
        if not self.judged[-1]:
            metrics["radius_dec"] = state["radii"][-1]
        sizes = self.layout.norms(state["params"])
        whole = safe_norm(sizes[: self.layout.tensors])
        return state, {
            "epochs": {**summary(seen), "param_norm": whole},
            "layers": {"param_norm": sizes},
            "metrics": metrics,
            "probes": {"lsc": {name: column.reshape(-1) for name, column in rows.items()}},
            "bad_step": jnp.int32(-1),
            "finished": finished,
        }

    def _judged(self, state: State, values: Hparams, data: Any) -> tuple[State, jax.Array]:
        """The state with the best weights to hand on, and whether the run is over."""
        x = probe_batch(self.task, values, data)[0][: self.samples]
        key = named_key(trial_key(values["seed"]), "lsc measure")
        targets = self.targets(values)[self.judged]

        def measured(params: Any) -> dict[str, Any]:
            net = self.net(params, state["rest"])
            norms = walked(net, x, self.transitions, key, _POINTS, self.norm, self.estimate)
            found = jnp.mean(norms, axis=(0, 2))
            agreed = agreement(found[self.judged], targets)
            # In the proportion in which the published acceptance weighs them.
            distance = agreed["radius_gap"] + agreed["radius_std"] / 10
            return {"params": params, "radii": found, "distance": distance}

        now = {name: state[name] for name in ("params", "radii", "distance")}
        for name in ("best",) if self.published else ("best", "work"):
            new = measured(state[name])
            better = (new["distance"] < now["distance"]) | self.published
            now = _where(better, new, now)
        gap = agreement(now["radii"][self.judged], targets)["radius_gap"]
        record = state["record"]
        ended = record["inside"] > chosen(values, "lsc_patience", PATIENCE)
        ended &= (gap < _AGREED) | self.published
        # If the measurement does not agree that it is over, the count begins anew.
        record = {**record, "inside": jnp.where(ended, record["inside"], 0)}
        return {**state, **now, "record": record}, ended


def _where(condition: Any, yes: Any, no: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes, no)
