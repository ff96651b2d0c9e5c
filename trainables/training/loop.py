"""The engine of a `Loop`: a user's init, step and evaluate, run as an epoch of one lane.

What a step is, the user's functions say. This module scans them over an epoch and adds what every
stage has: means and norms, rows, the last finite state, keys, weights by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from trainables.core.engine import SharedColumns, State
from trainables.core.hparams import init_constants
from trainables.core.lanes import if_active
from trainables.core.layout import Layout, by_path, slots_of, variable_order
from trainables.core.length_reads import LengthReads
from trainables.core.norms import safe_norm, smallest_nonzero
from trainables.core.random_keys import named_key, trial_key
from trainables.declarations import PartError, Trial
from trainables.declarations.core.parts import loaded
from trainables.declarations.training.loop import Loop
from trainables.tasks.base import TaskRuntime, named_batch
from trainables.training import running_stats
from trainables.training.epoch import kept_steps
from trainables.training.fit import require_kept
from trainables.training.held_means import held_means
from trainables.training.loop_checks import (
    require_gradients,
    require_metrics,
    require_names,
    require_state,
    require_step,
)

Values = Mapping[str, jax.Array]
_COLUMNS = ("loss", "accuracy")
"""Metrics that have columns in `epochs`, as means, and with val_ and test_ in front."""


class LoopEngine:
    """The epoch of all trials of a `Loop` that share a program.

    State: `params` and `rest`, which together are the user's; `alive`.
    """

    shared_columns: Mapping[str, SharedColumns] = {}

    def __init__(self, trial: Trial, task: TaskRuntime | None, values: Mapping[str, np.ndarray]):
        """
        Raises:
          PartError: init gives no state that can be trained.
        """
        stage = trial.stage
        assert isinstance(stage, Loop)
        self.name, self.task = stage.name, task
        self._stage, self.length_reads = stage, LengthReads(trial)
        self.steps = (
            int(trial.config["steps_per_epoch"] or 1) if task is None else trial.sizes.steps
        )
        self._init, self._step = loaded(stage.init), loaded(stage.step)
        self._evaluate = loaded(stage.evaluate) if stage.evaluate else None
        self._restart = loaded(stage.restart) if stage.restart else None
        self._constants = {**trial.statics, **trial.length}
        self._own = trial.structure.own
        order: dict[str, str] = {}

        def first(values: Values) -> Any:
            made = self._init(*self._start(trial, values))
            require_state(self.name, made)
            # Two names of one array are two arrays as soon as JAX has taken the tree apart.
            order.update({path: path for path in variable_order(made["params"])})
            return made["params"]

        params = jax.eval_shape(first, dict(values))
        slots = slots_of(params, order)
        require_names(self.name, params, slots)
        self.layout = Layout(slots, params)

    def _config(
        self, values: Values, start: Mapping[str, Any] = MappingProxyType({})
    ) -> dict[str, Any]:
        """What the user's functions read of a trial: its static and traced keys, its length."""
        own = {n: v for n, v in values.items() if n in self._own}
        return self.length_reads.watched(self._stage, {**own, **self._constants, **start})

    def _start(self, trial: Trial, values: Values) -> tuple[jax.Array, dict[str, Any]]:
        key = named_key(trial_key(values["seed"]), "init")
        return key, self._config(values, init_constants(trial))

    def init(self, trial: Trial, values: Values) -> State:
        made = dict(jax.tree.map(_strong, self._init(*self._start(trial, values))))
        return {"params": made.pop("params"), "rest": made, "alive": jnp.bool_(True)}

    def restart(self, state: State, params: Any, values: Values) -> State:
        if self._restart is None:
            return {**state, "params": params}
        before = self.whole(state)
        after = self._restart(before, params, self._config(values))
        return {**state, **self._apart(before, after, "restart")}

    @staticmethod
    def whole(state: State) -> dict[str, Any]:
        """The user's state: what `step` gets, and probes as `model`."""
        return {"params": state["params"], **state["rest"]}

    def _apart(self, before: dict[str, Any], after: Any, function: str) -> State:
        require_state(self.name, after, function)
        after = dict(jax.tree.map(_strong, after))
        require_kept(f"{{}} in the state of loop {self.name}", before, after)
        if jax.tree.structure(before) != jax.tree.structure(after):
            raise PartError(
                f"{function} of loop {self.name} returned a state of another structure: the types "
                "of its containers, or settings of its modules such as train and eval, must stay"
            )
        return {"params": after.pop("params"), "rest": after}

    def batch(self, data: Any, entry: Any, values: Values) -> dict[str, Any] | None:
        """A step's batch, by the names of its arrays; None without a task."""
        if self.task is None:
            return None
        return named_batch(self.task, self.task.batch(data, entry, values))

    def _stepped(self, state: State, values: Values, batch: Any, key: jax.Array) -> Any:
        """(new state, metrics, gradients or None), as the user's step gives them."""
        before = self.whole(state)
        found = self._step(before, batch, key, self._config(values))
        require_step(self.name, found)
        after, metrics, gradients = (*found, None) if len(found) == 2 else found
        new = self._apart(before, after, "step")
        if gradients is not None:
            require_gradients(self.name, state["params"], gradients)
        return new, require_metrics(self.name, "step", metrics), gradients

    def step(
        self, state: State, values: Values, batch: Any, key: jax.Array
    ) -> tuple[State, dict[str, Any]]:
        """One step, undone where its loss, gradients or weights are not finite; and what was
        seen of it: `metrics`, and norms of every row of the layout."""
        new, metrics, gradients = self._stepped(state, values, batch, key)
        moves = jax.tree.map(_difference, new["params"], state["params"])
        seen = {"moved": self.layout.norms(moves)}
        if gradients is not None:
            seen["norms"] = self.layout.norms(jax.tree.map(_number, gradients))
        tensors = {name: norms[: self.layout.tensors] for name, norms in seen.items()}
        scalars = {"update_norm": safe_norm(tensors["moved"])}
        if gradients is not None:
            scalars["grad_norm"] = safe_norm(tensors["norms"])
            scalars["grad_norm_smallest"] = smallest_nonzero(tensors["norms"])
        if "loss" in metrics:
            scalars["loss"] = metrics["loss"]
        finite = jnp.all(jnp.isfinite(jnp.stack(list(scalars.values()))))
        for leaf in jax.tree.leaves(new["params"]):
            finite &= jnp.all(jnp.isfinite(_number(leaf)))
        kept = jax.tree.map(lambda a, b: jnp.where(finite, a, b), new, {n: state[n] for n in new})
        seen |= {"finite": finite, "scalars": scalars, "metrics": metrics}
        return {**state, **kept, "alive": finite}, seen

    def _entries(self, values: Values, epoch: jax.Array) -> tuple[jax.Array, jax.Array, Any]:
        """(number, key, schedule's entry) of each step of an epoch."""
        key = trial_key(values["seed"])
        index = jnp.arange(self.steps, dtype=jnp.int32)
        keys = jax.vmap(lambda step: named_key(key, "step", epoch, step))(index)
        schedule = {} if self.task is None else self.task.training(key, values, epoch)
        return index, keys, schedule

    def epoch(
        self, state: State, values: Values, epoch: jax.Array, data: Any
    ) -> tuple[State, dict[str, Any]]:
        entries = self._entries(values, epoch)

        @jax.jit  # traced once, for its shapes and for the scan
        def one(state: State, key: jax.Array, entry: Any) -> tuple[State, dict[str, Any]]:
            return self.step(state, values, self.batch(data, entry, values), key)

        first = jax.tree.map(lambda leaf: leaf[0], entries)
        _, like = jax.eval_shape(one, state, *first[1:])
        measured = {name: like[name] for name in ("moved", "norms") if name in like}
        rows = jnp.zeros(len(self.layout.rows), jnp.int32)
        start = (
            state,
            running_stats.start({**measured, **like["scalars"]}),
            {name: (jnp.float32(0), jnp.float32(0)) for name in like["metrics"]},
            {"zero": rows, "nonfinite": rows},
            jnp.int32(-1),
        )

        def run(carry: Any, entry: Any) -> Any:
            state, running, means, tally, bad = carry
            index, key, entry = entry
            state, seen = one(state, key, entry)
            finite = seen["finite"]
            values = {**{name: seen[name] for name in measured}, **seen["scalars"]}
            running = running_stats.update(running, values, finite)
            means = {n: _counted(m, seen["metrics"][n], finite) for n, m in means.items()}
            if "norms" in seen:
                tally = {
                    "zero": tally["zero"] + (seen["norms"] == 0),
                    "nonfinite": tally["nonfinite"] + ~jnp.isfinite(seen["norms"]),
                }
            bad = jnp.where(finite, bad, index)
            return (state, running, means, tally, bad), seen["scalars"]

        def skip(carry: Any, entry: Any) -> Any:
            return carry, jax.tree.map(lambda leaf: jnp.full(leaf.shape, jnp.nan), like["scalars"])

        def step(carry: Any, entry: Any) -> Any:
            return lax.cond(carry[0]["alive"], run, skip, carry, entry)

        (state, running, means, tally, bad), scalars = lax.scan(step, start, entries)
        found = self._summary(running_stats.finished(running), tally, scalars, state["params"])
        found["epochs"] |= {"steps": running.count + (bad >= 0), "finite_steps": running.count}
        found["bad_step"] = bad
        metrics = {n: jnp.where(count > 0, mean, jnp.nan) for n, (count, mean) in means.items()}
        metrics.pop("loss", None)  # which has its own columns, over the same steps
        metrics |= self._held(state, values, epoch, data)
        for name in [f"{held}{name}" for held in ("", "val_", "test_") for name in _COLUMNS]:
            if name in metrics:
                found["epochs"][name] = metrics.pop(name)
        return state, {**found, "metrics": metrics}

    def _summary(
        self, running: running_stats.Running, tally: Any, scalars: Any, params: Any
    ) -> dict[str, Any]:
        n = self.layout.tensors
        sizes = self.layout.norms(jax.tree.map(_number, params))
        epochs = {name: running.mean[name] for name in scalars}
        epochs["param_norm"] = safe_norm(sizes[:n])
        layers = {"update_norm": running.mean["moved"], "param_norm": sizes}
        if "loss" in scalars:
            epochs |= {"loss_first": scalars["loss"][0], "loss_last": running.last["loss"]}
        if "grad_norm" in scalars:
            ends = {"min": running.least, "max": running.greatest, "last": running.last}
            epochs |= {f"grad_norm_{end}": of["grad_norm"] for end, of in ends.items()}
            epochs["zero_tensors"] = jnp.sum(tally["zero"][:n])
            epochs["nonfinite_tensors"] = jnp.sum(tally["nonfinite"][:n])
            layers["grad_norm"] = running.mean["norms"]
            layers |= {f"grad_norm_{end}": of["norms"] for end, of in ends.items()}
            layers |= {f"{name}_steps": count for name, count in tally.items()}
        kept = kept_steps(self.steps)
        steps = {name: column[kept] for name, column in scalars.items()}
        return {"epochs": epochs, "layers": layers, "steps": steps}

    def _held(
        self, state: State, values: Values, epoch: jax.Array, data: Any
    ) -> dict[str, jax.Array]:
        """What evaluate measures after an epoch, as val_ and test_; NaN of a lane that is not
        finite any more."""
        if self._evaluate is None:
            return {}
        return if_active(state["alive"], self._evaluated, state, values, epoch, data)

    def _evaluated(
        self, state: State, values: Values, epoch: jax.Array, data: Any
    ) -> dict[str, jax.Array]:
        key, whole, config = trial_key(values["seed"]), self.whole(state), self._config(values)
        evaluate: Any = self._evaluate

        def measured(batch: Any, key: jax.Array) -> dict[str, jax.Array]:
            samples = None if batch is None else len(batch["weight"])
            found = evaluate(whole, batch, key, config)
            return require_metrics(self.name, "evaluate", found, samples)

        if self.task is None:
            found = measured(None, named_key(key, "evaluate", epoch, 0))
            return {f"val_{name}": value for name, value in found.items()}
        return held_means(
            self.task.evaluation(key, values),
            lambda entry: self.batch(data, entry, values),
            lambda index: named_key(key, "evaluate", epoch, index),
            measured,
        )

    def culprit(self, state: State, values: Values, data: Any, epoch: int, step: int) -> str:
        """Repeats a lane's bad step from its last finite state: which of its results, in words, is
        not finite."""
        entries = self._entries(values, jnp.int32(epoch))
        _, key, entry = jax.tree.map(lambda leaf: leaf[step], entries)
        batch = self.batch(data, entry, values)
        new, metrics, gradients = jax.jit(self._stepped)(state, values, batch, key)
        if "loss" in metrics and not jnp.isfinite(metrics["loss"]):
            return "the loss is not finite"
        trees = {"gradient": gradients, "weight": new["params"]}
        for what, tree in trees.items():
            for path, leaf in by_path(tree).items():
                if not jnp.all(jnp.isfinite(_number(leaf))):
                    return f"the {what} of {path.replace('/', '.')} is not finite"
        return f"an update of loop {self.name} is not finite"


def _strong(leaf: Any) -> Any:
    """A leaf as an array of a type that does not give way to others'."""
    if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return leaf
    return jnp.asarray(leaf, jnp.result_type(leaf))


def _number(leaf: Any) -> jax.Array:
    """A leaf that norms can be taken of."""
    return leaf if jnp.issubdtype(leaf.dtype, jnp.inexact) else leaf.astype(jnp.float32)


def _difference(new: Any, old: Any) -> jax.Array:
    return _number(new) - _number(old)


def _counted(so_far: Any, value: jax.Array, finite: jax.Array) -> Any:
    """(count, mean) with one more value; one that is NaN, or of a bad step, is left out."""
    count, mean = so_far
    counts = finite & ~jnp.isnan(value)
    more = count + counts
    moved = mean + (value - mean) / jnp.maximum(more, 1)
    return more, jnp.where(counts, moved, mean)
