"""One lane's epoch as a pure function; `packs` adds the lane axis.

An epoch is one program: a scan over steps with all statistics reduced inside, then validation and
test. It is made of `begin`, `advance`, `evaluate` and `finish`; an epoch of streamed data runs them
in programs that are called one after another, with the data of some steps at a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from trainables.core.engine import State
from trainables.core.lanes import if_active
from trainables.core.layout import Layout
from trainables.core.norms import safe_norm, smallest_nonzero
from trainables.core.numbers import ascent
from trainables.core.random_keys import trial_key
from trainables.core.stepwise import stepwise
from trainables.declarations import PartError, Trial
from trainables.optim.clipping import clipped
from trainables.tasks.base import TaskRuntime, example_batch
from trainables.training import loss_scale, running_stats, weight_average
from trainables.training.accumulation import Found, accumulated, divided
from trainables.training.fit import require_kept
from trainables.training.network import Hparams, Network, fresh
from trainables.training.unreached import unreached

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


class UnderWay(NamedTuple):
    """An epoch under way.

    Attributes:
      state: the lane's.
      running: statistics of the steps so far.
      tally: counts of them.
      bad: the first step that was not finite, or -1.
    """

    state: State
    running: running_stats.Running
    tally: dict[str, Any]
    bad: jax.Array


class Training(Network):
    """The epoch of all trials that share a program.

    Attributes:
      parts: of a batch, whose gradients are computed one after another.
      averages: what is averaged along the way: ema, swa, or "".
    """

    def __init__(self, trial: Trial, task: TaskRuntime, traced: Mapping[str, np.ndarray]):
        super().__init__(trial, task, traced)
        self.parts = int(self.constants.get("accumulate") or 1)
        average = str(self.constants.get("average_weights", "none"))
        self.averages = "" if average == "none" else average
        if trial.misfits:
            raise PartError(trial.misfits[0])
        self._mark_unreached(trial, traced)

    def _mark_unreached(self, trial: Trial, traced: Mapping[str, np.ndarray]) -> None:
        """Marks the layers of a user's model that no gradient reaches."""
        known = getattr(self.task, "data_shapes", None) is not None
        if self.own_layers or not known or stepwise():
            return
        values = dict(traced)
        first = jax.eval_shape(partial(self.init, trial), values)
        batch = example_batch(self.task, values)
        gradient = jax.grad(lambda *given: self.loss(*given)[0])
        try:
            found = unreached(gradient, first["params"], first["rest"], batch)
        except Exception:  # what the user's code raises is said where the epoch is compiled
            return
        if found:
            old = self.layout
            self.layout = Layout(old.slots, first["params"], old.frozen, old.state, found)

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
        if self.precision.scales:
            state["loss_scale"] = loss_scale.first()
        if self.averages:
            state[weight_average.STATE] = weight_average.start(state["params"])
        return state

    def restart(self, state: State, params: Any, hparams: Hparams) -> State:
        state = super().restart(state, params, hparams)
        if self.averages:
            state[weight_average.STATE] = weight_average.start(params)
        return state

    def judge(
        self,
        state: State,
        hparams: Hparams,
        entries: tuple[jax.Array, Any],
        data: Any,
        before: tuple[jax.Array, Any] | None = None,
    ) -> tuple[tuple[str, ...], tuple[jax.Array, Any]]:
        state = {**state, "params": weight_average.judged(state)}
        return super().judge(state, hparams, entries, data, before)

    def rates(self, state: State, hparams: Hparams) -> Hparams:
        """`hparams` with the learning rate of the coming step."""
        carried = state.get(self.schedule.carried) if self.schedule.carried else None
        return self.schedule.at(hparams, carried, state["step"])

    def gradients(self, state: State, batch: Any) -> Found:
        """(mean loss, new rest, sums over samples, gradients of the loss) of a batch, from its
        parts where `accumulate` says so."""
        scales = self.precision.scales
        scale = state["loss_scale"].scale if scales else jnp.float32(1)

        def scaled(params: Any, rest: Any, batch: Any) -> Any:
            loss, aside = self.loss(params, rest, batch)
            return loss * scale if scales else loss, (loss, *aside)

        def of_part(rest: Any, batch: Any) -> Found:
            grad = jax.value_and_grad(scaled, has_aux=True)
            (_, (loss, rest, sums)), gradients = grad(state["params"], rest, batch)
            gradients = ascent(gradients)  # before they are added, since it makes them float32
            if scales:
                gradients = jax.tree.map(lambda g: g / scale.astype(g.dtype), gradients)
            return loss, rest, sums, gradients

        if self.parts == 1:
            return of_part(state["rest"], batch)
        divide = getattr(self.task, "divided", divided)
        return accumulated(of_part, state["rest"], batch, self.parts, divide)

    def step(self, state: State, hparams: Hparams, batch: Any) -> tuple[State, dict[str, Any]]:
        """One update, undone where anything is not finite; and what was seen of it."""
        loss, rest, sums, gradients = self.gradients(state, batch)
        require_kept(f"variable {{}} of model {self.model.name}", state["rest"], rest)
        if self.constants.get("loss_reduction") == "sum":
            terms = jnp.sum(batch[2]) * getattr(self.task, "terms", 1)
            gradients = jax.tree.map(lambda g: g * terms, gradients)
        norms = self.layout.norms(gradients)
        tensors = norms[: self.layout.tensors]
        total = safe_norm(tensors)
        gradients, after = clipped(gradients, total, self.constants, hparams)
        optimizer = self.optimizer(self.rates(state, hparams))
        updates, moments = optimizer.update(
            gradients,
            state["optimizer"],
            state["params"],
            value=loss,
            grad=gradients,
            value_fn=partial(self.value, state["rest"], batch),
        )
        require_kept("state {} of the optimizer", state["optimizer"], moments)
        params = optax.apply_updates(state["params"], updates)
        forward = rest
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
        if self.averages:
            new[weight_average.STATE] = weight_average.after_step(
                self.averages,
                state[weight_average.STATE],
                params,
                new["step"],
                self.steps,
                hparams,
            )
        kept = jax.tree.map(lambda a, b: jnp.where(finite, a, b), new, {**state})
        kept["alive"] = finite
        scalars = jnp.stack((loss, total, after, smallest_nonzero(tensors), whole))
        if self.precision.scales:
            overflowed = jnp.isfinite(loss) & ~jnp.isfinite(total)
            overflowed &= state["loss_scale"].scale > 1
            kept = self._left_out(state, kept, forward, overflowed)
            scalars = jnp.where(overflowed & (jnp.arange(len(scalars)) > 0), jnp.nan, scalars)
            norms = jnp.where(overflowed, 1, norms)  # neither 0 nor infinite: no one's gradient
        seen = {
            "finite": finite,
            "left_out": kept["alive"] & ~finite,
            "bad": ~kept["alive"],
            "scalars": scalars,
            "norms": norms,
            "moved": moved,
            "sums": sums,
            "weight": jnp.sum(batch[2]),
            "params": params,
        }
        return kept, seen

    def value(self, rest: Any, batch: Any, params: Any) -> jax.Array:
        """Mean loss of a batch, for rules that search along a line."""
        if self.parts == 1:
            return self.loss(params, rest, batch)[0]

        def of_part(rest: Any, batch: Any) -> Found:
            loss, (rest, sums) = self.loss(params, rest, batch)
            return loss, rest, sums, ()

        divide = getattr(self.task, "divided", divided)
        return accumulated(of_part, rest, batch, self.parts, divide)[0]

    def _left_out(self, state: State, kept: State, rest: Any, overflowed: jax.Array) -> State:
        """`kept` where gradients overflowed: the step is left out, with half the scale next time;
        what the module carries goes on."""
        sound = overflowed
        for leaf in jax.tree.leaves(rest):
            if jnp.issubdtype(leaf.dtype, jnp.inexact):
                sound &= jnp.all(jnp.isfinite(leaf))
        rest = jax.tree.map(lambda a, b: jnp.where(sound, a, b), rest, kept["rest"])
        alive = kept["alive"] | overflowed
        scale = loss_scale.after(state["loss_scale"], overflowed)
        scale = jax.tree.map(lambda a, b: jnp.where(alive, a, b), scale, state["loss_scale"])
        step = kept["step"] + overflowed
        return {**kept, "rest": rest, "step": step, "loss_scale": scale, "alive": alive}

    def epoch(
        self, state: State, hparams: Hparams, epoch: jax.Array, data: Any
    ) -> tuple[State, Any]:
        """One pass over the training set and one evaluation, for a lane that is alive.

        Returns:
          The new state and the lane's part of `pack.EpochResult`, as a tree of arrays.
        """
        schedule = self.task.training(trial_key(hparams["seed"]), hparams, epoch)
        entries = (jnp.arange(self.steps, dtype=jnp.int32), schedule)
        part, scalars = self.advance(self.begin(state), hparams, entries, data)
        held = if_active(part.state["alive"], self.evaluate, part.state, hparams, data)
        return self.finish(part, hparams, scalars[kept_steps(self.steps)], held)

    def begin(self, state: State) -> UnderWay:
        """An epoch of which no step is done yet."""
        rows = len(self.layout.rows)
        zeros = jnp.zeros(rows, jnp.int32)
        like = {
            "norms": jnp.zeros(rows),
            "moved": jnp.zeros(rows),
            "scalars": jnp.zeros(len(STEP_COLUMNS)),
        }
        tally = {
            "zero": zeros,
            "nonfinite": zeros,
            "sums": {name: jnp.float32(0) for name in (_CORRECT, *self.measures)},
            "weight": jnp.float32(0),
        }
        if self.schedule.recorded:
            tally["clipped"] = jnp.float32(0)
        if self.precision.scales:
            tally["left_out"] = jnp.int32(0)
        return UnderWay(state, running_stats.start(like), tally, jnp.int32(-1))

    def advance(
        self,
        part: UnderWay,
        hparams: Hparams,
        entries: tuple[jax.Array, Any],
        data: Any,
        filled: bool = False,
    ) -> tuple[UnderWay, jax.Array]:
        """Some steps of an epoch, one after another; those of a lane that is not alive are skipped.

        Args:
          part: what the steps before them left.
          entries: numbers of the steps within the epoch (n,), and their schedule.
          filled: whether there may be entries beyond the last step, which are skipped.

        Returns:
          What the steps left, and `STEP_COLUMNS` of each, (n, columns), NaN where skipped.
        """

        def run(part: UnderWay, entry: Any) -> Any:
            index, entry = entry
            state = {**part.state, "rest": fresh(part.state["rest"], entry)}
            state, seen = self.step(state, hparams, self.task.batch(data, entry, hparams))
            finite = seen["finite"]
            values = {name: seen[name] for name in part.running.mean}
            running = running_stats.update(part.running, values, finite)
            tally = self._counted(part.tally, seen)
            return UnderWay(state, running, tally, jnp.where(seen["bad"], index, part.bad)), seen[
                "scalars"
            ]

        def skip(part: UnderWay, entry: Any) -> Any:
            return part, jnp.full(len(STEP_COLUMNS), jnp.nan)

        def step(part: UnderWay, entry: Any) -> Any:
            due = part.state["alive"]
            if filled:
                due &= entry[0] < self.steps
            return lax.cond(due, run, skip, part, entry)

        return lax.scan(step, part, entries)

    def _counted(self, tally: dict[str, Any], seen: dict[str, Any]) -> dict[str, Any]:
        finite = seen["finite"]
        if self.schedule.recorded:
            of = {name: seen["scalars"][i] for i, name in enumerate(STEP_COLUMNS)}
            clipped = of["grad_norm_clipped"] < of["grad_norm"]
            kept = {"clipped": tally["clipped"] + jnp.where(finite, clipped, 0)}
        else:
            kept = {}
        if self.precision.scales:
            kept["left_out"] = tally["left_out"] + seen["left_out"]
        return {
            **kept,
            "zero": tally["zero"] + self.layout.zeros(seen["norms"]),
            "nonfinite": tally["nonfinite"] + ~jnp.isfinite(seen["norms"]),
            "sums": {
                name: total + jnp.where(finite, seen["sums"][name], 0)
                for name, total in tally["sums"].items()
            },
            "weight": tally["weight"] + jnp.where(finite, seen["weight"], 0),
        }

    def finish(
        self, part: UnderWay, hparams: Hparams, kept: jax.Array, held: dict[str, jax.Array]
    ) -> tuple[State, Any]:
        """The end of an epoch, once all its steps are done and its weights are evaluated.

        Args:
          kept: `STEP_COLUMNS` of the steps that `kept_steps` names, (K, columns).
          held: what `evaluate` gave.

        Returns:
          What `epoch` returns.
        """
        state, running, tally, bad = part
        found = self._summary(running_stats.finished(running), tally, kept, state["params"])
        found["epochs"] |= {name: held[name] for name in _HELD}
        trained = {name: tally["sums"][name] / tally["weight"] for name in self.measures}
        found["metrics"] = trained | {n: value for n, value in held.items() if n not in _HELD}
        if self.schedule.recorded:
            rates = self.rates({**state, "step": state["step"] - 1}, hparams)
            found["metrics"] |= {name: rates[name] for name in self.schedule.recorded}
            found["metrics"]["clip_fraction"] = tally["clipped"] / jnp.maximum(running.count, 1)
        steps = running.count
        if self.precision.scales:
            steps += tally["left_out"]
            found["metrics"]["loss_scale"] = state["loss_scale"].scale
            found["metrics"]["skipped_steps"] = tally["left_out"].astype(jnp.float32)
        carried = self.schedule.carried
        if carried:
            seen = found["epochs"][self.schedule.watched]
            moved = self.schedule.after_epoch(hparams, state[carried], seen)
            state = {**state, carried: moved}
            ended = self.schedule.ended(hparams, moved)
            found |= {} if ended is None else {"finished": ended}
        scale = self.task.scale(hparams)
        if scale is not None:
            found["epochs"]["loss_ratio"] = found["epochs"]["loss"] / scale
        found["epochs"] |= {"steps": steps + (bad >= 0), "finite_steps": steps}
        found["bad_step"] = bad
        return state, found

    def _summary(
        self, running: running_stats.Running, tally: Any, kept: jax.Array, params: Any
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
            "loss_first": kept[0, of["loss"]],
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
        steps = {name: kept[:, i] for name, i in of.items()}
        return {"epochs": epochs, "layers": layers, "steps": steps}
