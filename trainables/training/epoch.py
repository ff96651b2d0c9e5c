"""One lane's epoch as a pure function; `packs` adds the lane axis.

An epoch is one program: a scan over steps with all statistics reduced inside, then validation and
test.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from trainables.core.engine import State
from trainables.core.lanes import nothing
from trainables.core.norms import safe_norm, smallest_nonzero
from trainables.core.random_keys import trial_key
from trainables.declarations import Trial
from trainables.optim.clipping import clipped
from trainables.training import running_stats
from trainables.training.fit import require_kept
from trainables.training.network import Hparams, Network, fresh

STEP_COLUMNS = ("loss", "grad_norm", "grad_norm_clipped", "grad_norm_smallest", "update_norm")
_HELD = ("val_loss", "val_accuracy", "test_loss", "test_accuracy")
_CORRECT = ""
"""Name of the sum of correct answers; every other sum is a metric's."""
_EDGE = 10
"""Steps kept one by one: this many at the start of a trial and at the end of every epoch."""


def kept_steps(steps: int) -> np.ndarray:
    """The first and last ten of an epoch's steps, each once, ascending."""
    return np.unique([*range(min(_EDGE, steps)), *range(max(0, steps - _EDGE), steps)])


def first_shown(steps: int, epoch: int) -> int:
    """The first of `kept_steps` that belongs to this epoch's result."""
    return 0 if epoch == 0 else max(0, steps - _EDGE)


class Training(Network):
    """The epoch of all trials that share a program."""

    def loss(self, params: Any, rest: Any, batch: Any) -> tuple[jax.Array, tuple[Any, Any]]:
        """Mean loss of a batch (x, y, weight), with (new rest, sums over the batch) aside: of
        correct answers, and of the task's metrics by name."""
        x, y, weight = batch
        outputs, rest = self.apply(params, rest, x, train=True)
        losses = self.losses(batch, outputs)
        sums = {_CORRECT: jnp.sum(weight * self.task.correct(outputs, y))}
        measured = self.task.trained_metrics(outputs, y) if self.measures else {}
        for name, values in measured.items():
            sums[name] = jnp.sum(jnp.where(weight > 0, weight * values, 0))
        total = jnp.sum(jnp.where(weight > 0, weight * losses, 0))
        return total / jnp.sum(weight), (rest, sums)

    def init(self, trial: Trial, hparams: Hparams) -> State:
        state = super().init(trial, hparams)
        if self.schedule.carried:
            state[self.schedule.carried] = self.schedule.start(hparams)
        return state

    def rates(self, state: State, hparams: Hparams) -> Hparams:
        """`hparams` with the learning rate of the coming step."""
        carried = state.get(self.schedule.carried) if self.schedule.carried else None
        return self.schedule.at(hparams, carried, state["step"])

    def step(self, state: State, hparams: Hparams, batch: Any) -> tuple[State, dict[str, Any]]:
        """One update, undone where anything is not finite; and what was seen of it."""
        grad = jax.value_and_grad(self.loss, has_aux=True)
        (loss, (rest, sums)), gradients = grad(state["params"], state["rest"], batch)
        require_kept(f"variable {{}} of model {self.model.name}", state["rest"], rest)
        if self.constants.get("loss_reduction") == "sum":
            terms = jnp.sum(batch[2]) * getattr(self.task, "terms", 1)
            gradients = jax.tree.map(lambda g: g * terms, gradients)
        norms = self.layout.norms(gradients)
        tensors = norms[: self.layout.tensors]
        total = safe_norm(tensors)
        gradients, after = clipped(gradients, total, self.constants, hparams)
        optimizer = self.optimizer(self.rates(state, hparams))
        updates, moments = optimizer.update(gradients, state["optimizer"], state["params"])
        require_kept("state {} of the optimizer", state["optimizer"], moments)
        params = optax.apply_updates(state["params"], updates)
        if self.acts_after_steps:
            params, rest = self.after_step(params, rest, state["step"] + 1)
        moved = self.layout.norms(updates)
        whole = safe_norm(moved[: self.layout.tensors])
        finite = jnp.isfinite(loss) & jnp.isfinite(total) & jnp.isfinite(whole)
        for leaf in jax.tree.leaves(params):
            finite &= jnp.all(jnp.isfinite(leaf))
        new = {
            **state,
            "params": params,
            "rest": rest,
            "optimizer": moments,
            "step": state["step"] + 1,
        }
        kept = jax.tree.map(lambda a, b: jnp.where(finite, a, b), new, {**state})
        kept["alive"] = finite
        scalars = (loss, total, after, smallest_nonzero(tensors), whole)
        seen = {
            "finite": finite,
            "scalars": jnp.stack(scalars),
            "norms": norms,
            "moved": moved,
            "sums": sums,
            "weight": jnp.sum(batch[2]),
            "params": params,
        }
        return kept, seen

    def epoch(
        self, state: State, hparams: Hparams, epoch: jax.Array, data: Any
    ) -> tuple[State, Any]:
        """One pass over the training set and one evaluation, for a lane that is alive.

        Returns:
          The new state and the lane's part of `pack.EpochResult`, as a tree of arrays.
        """
        key = trial_key(hparams["seed"])
        schedule = self.task.training(key, hparams, epoch)
        rows, width = len(self.layout.rows), len(STEP_COLUMNS)
        zeros = jnp.zeros(rows, jnp.int32)
        like = {"norms": jnp.zeros(rows), "moved": jnp.zeros(rows), "scalars": jnp.zeros(width)}
        tally = {
            "zero": zeros,
            "nonfinite": zeros,
            "sums": {name: jnp.float32(0) for name in (_CORRECT, *self.measures)},
            "weight": jnp.float32(0),
        }
        if self.schedule.recorded:
            tally["clipped"] = jnp.float32(0)
        start = (state, running_stats.start(like), tally, jnp.int32(-1))

        def run(carry: Any, entry: Any) -> Any:
            state, running, tally, bad = carry
            index, entry = entry
            state = {**state, "rest": fresh(state["rest"], entry)}
            state, seen = self.step(state, hparams, self.task.batch(data, entry, hparams))
            finite = seen["finite"]
            running = running_stats.update(running, {name: seen[name] for name in like}, finite)
            if self.schedule.recorded:
                of = {name: seen["scalars"][i] for i, name in enumerate(STEP_COLUMNS)}
                clipped = of["grad_norm_clipped"] < of["grad_norm"]
                kept = {"clipped": tally["clipped"] + jnp.where(finite, clipped, 0)}
            else:
                kept = {}
            tally = {
                **kept,
                "zero": tally["zero"] + (seen["norms"] == 0),
                "nonfinite": tally["nonfinite"] + ~jnp.isfinite(seen["norms"]),
                "sums": {
                    name: total + jnp.where(finite, seen["sums"][name], 0)
                    for name, total in tally["sums"].items()
                },
                "weight": tally["weight"] + jnp.where(finite, seen["weight"], 0),
            }
            return (state, running, tally, jnp.where(finite, bad, index)), seen["scalars"]

        def skip(carry: Any, entry: Any) -> Any:
            return carry, jnp.full(width, jnp.nan)

        def step(carry: Any, entry: Any) -> Any:
            return lax.cond(carry[0]["alive"], run, skip, carry, entry)

        entries = (jnp.arange(self.steps, dtype=jnp.int32), schedule)
        (state, running, tally, bad), scalars = lax.scan(step, start, entries)
        measured = jax.jit(self.evaluate)
        unmeasured = nothing(jax.eval_shape(measured, state, hparams, data))
        held = lax.cond(state["alive"], measured, lambda *_: unmeasured, state, hparams, data)
        found = self._summary(running_stats.finished(running), tally, scalars, state["params"])
        found["epochs"] |= {name: held.pop(name) for name in _HELD}
        trained = {name: tally["sums"][name] / tally["weight"] for name in self.measures}
        found["metrics"] = trained | held
        if self.schedule.recorded:
            rates = self.rates({**state, "step": state["step"] - 1}, hparams)
            found["metrics"] |= {name: rates[name] for name in self.schedule.recorded}
            found["metrics"]["clip_fraction"] = tally["clipped"] / jnp.maximum(running.count, 1)
        carried = self.schedule.carried
        if carried:
            seen = found["epochs"]["val_loss"]
            moved = self.schedule.after_epoch(hparams, state[carried], seen)
            state = {**state, carried: moved}
            ended = self.schedule.ended(hparams, moved)
            found |= {} if ended is None else {"finished": ended}
        scale = self.task.scale(hparams)
        if scale is not None:
            found["epochs"]["loss_ratio"] = found["epochs"]["loss"] / scale
        steps = running.count + (bad >= 0)
        found["epochs"] |= {"steps": steps, "finite_steps": running.count}
        found["bad_step"] = bad
        return state, found

    def _summary(
        self, running: running_stats.Running, tally: Any, scalars: jax.Array, params: Any
    ) -> Any:
        n = self.layout.tensors
        of = {name: i for i, name in enumerate(STEP_COLUMNS)}
        mean = running.mean["scalars"]
        epochs = {name: mean[i] for name, i in of.items()}
        for name in ("grad_norm", "grad_norm_clipped"):
            epochs[f"{name}_min"] = running.least["scalars"][of[name]]
            epochs[f"{name}_max"] = running.greatest["scalars"][of[name]]
            epochs[f"{name}_last"] = running.last["scalars"][of[name]]
        sizes = self.layout.norms(params)
        epochs |= {
            "loss_first": scalars[0, of["loss"]],
            "loss_last": running.last["scalars"][of["loss"]],
            "accuracy": tally["sums"][_CORRECT] / tally["weight"],
            "zero_tensors": jnp.sum(tally["zero"][:n]),
            "nonfinite_tensors": jnp.sum(tally["nonfinite"][:n]),
            "param_norm": safe_norm(sizes[:n]),
        }
        layers = {
            "grad_norm": running.mean["norms"],
            "grad_norm_min": running.least["norms"],
            "grad_norm_max": running.greatest["norms"],
            "grad_norm_last": running.last["norms"],
            "zero_steps": tally["zero"],
            "nonfinite_steps": tally["nonfinite"],
            "update_norm": running.mean["moved"],
            "param_norm": sizes,
        }
        kept = scalars[kept_steps(self.steps)]
        steps = {name: kept[:, i] for name, i in of.items()}
        return {"epochs": epochs, "layers": layers, "steps": steps}
