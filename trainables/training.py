"""One lane's life as pure functions: initialise, train an epoch, read the timeline.

Arrays here have no lane axis; `packs` adds it. An epoch is one program: a scan over steps with all
statistics reduced inside, then validation and test.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax import lax

from trainables import metrics
from trainables.builtin import build_of
from trainables.clipping import rescale
from trainables.layout import Layout, slots_of
from trainables.models import RecurrentStack
from trainables.norms import safe_norm, smallest_nonzero
from trainables.randomness import named_key, trial_key
from trainables.settings import build_config, constants, optimizer_of
from trainables.spec import Trial
from trainables.tasks import TaskRuntime

State = dict[str, Any]
Hparams = Mapping[str, jax.Array]

STEP_COLUMNS = ("loss", "grad_norm", "grad_norm_clipped", "grad_norm_smallest", "update_norm")
_EDGE = 10
"""Steps kept one by one: this many at the start of a trial and at the end of every epoch."""


def kept_steps(steps: int) -> np.ndarray:
    """The first and last ten of an epoch's steps, each once, ascending."""
    return np.unique([*range(min(_EDGE, steps)), *range(max(0, steps - _EDGE), steps)])


class Program:
    """The computation shared by all trials with one `trial.program`.

    Attributes:
      layout: tensors and layers of the model.
      depth: recurrent layers of a built-in stack; None for other models, which have no timeline.
    """

    def __init__(self, trial: Trial, task: TaskRuntime, traced: Mapping[str, np.ndarray]):
        """`traced` are one lane's values, read for their types only."""
        self.trial, self.task = trial, task
        self.steps = trial.sizes.steps
        self._constants = constants(trial)
        self._build_model = build_of(trial.model)
        self._build_optimizer = build_of(optimizer_of(trial))
        module = nnx.eval_shape(lambda: self._module(trial, jax.tree.map(jnp.asarray, dict(traced))))
        self._graph, params, _ = nnx.split(module, nnx.Param, ...)
        if not jax.tree.leaves(params):
            raise ValueError(f"model {trial.model.name} has no nnx.Param, so nothing to train")
        stack = module if isinstance(module, RecurrentStack) else None
        self.layout = Layout(stack.slots() if stack else slots_of(module, params), params)
        self.depth = stack.depth if stack else None

    def _module(self, trial: Trial, hparams: Hparams) -> nnx.Module:
        key = named_key(trial_key(hparams["seed"]), "init")
        return self._build_model(build_config(trial, hparams), trial.sizes, nnx.Rngs(key))

    def _optimizer(self, hparams: Hparams) -> optax.GradientTransformation:
        return self._build_optimizer(self._constants, hparams)

    def init(self, trial: Trial, hparams: Hparams) -> State:
        """A lane's first state; `trial` gives the init constants only."""
        _, params, rest = nnx.split(self._module(trial, hparams), nnx.Param, ...)
        return {
            "params": params,
            "rest": rest,
            "optimizer": self._optimizer(hparams).init(params),
            "step": jnp.int32(0),
            "alive": jnp.bool_(True),
        }

    def _apply(self, params: Any, rest: Any, x: jax.Array, train: bool) -> tuple[jax.Array, Any]:
        module = nnx.merge(self._graph, params, rest)
        module.train() if train else module.eval()
        logits = module(x)
        return logits, nnx.split(module, nnx.Param, ...)[2]

    def _loss(self, params: Any, rest: Any, batch: Any) -> tuple[jax.Array, tuple[Any, jax.Array]]:
        x, y, weight = batch
        logits, rest = self._apply(params, rest, x, train=True)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, y)
        correct = jnp.sum(weight * (jnp.argmax(logits, -1) == y))
        total = jnp.sum(jnp.where(weight > 0, weight * losses, 0))
        return total / jnp.sum(weight), (rest, correct)

    def _step(self, state: State, hparams: Hparams, batch: Any) -> tuple[State, dict[str, Any]]:
        """One update, undone where anything is not finite."""
        grad = jax.value_and_grad(self._loss, has_aux=True)
        (loss, (rest, correct)), gradients = grad(state["params"], state["rest"], batch)
        norms = self.layout.norms(gradients)
        tensors = norms[: self.layout.tensors]
        total = safe_norm(tensors)
        rule = str(self._constants.get("min_norm_rule", "exact"))
        ceiling, floor = hparams.get("clip_norm"), hparams.get("min_norm")
        gradients, clipped = rescale(gradients, total, ceiling, floor, rule)
        optimizer = self._optimizer(hparams)
        updates, moments = optimizer.update(gradients, state["optimizer"], state["params"])
        params = optax.apply_updates(state["params"], updates)
        moved = self.layout.norms(updates)
        whole = safe_norm(moved[: self.layout.tensors])
        finite = jnp.isfinite(loss) & jnp.isfinite(total) & jnp.isfinite(whole)
        for leaf in jax.tree.leaves(params):
            finite &= jnp.all(jnp.isfinite(leaf))
        new = {**state, "params": params, "rest": rest, "optimizer": moments, "step": state["step"] + 1}
        kept = jax.tree.map(lambda a, b: jnp.where(finite, a, b), new, {**state})
        kept["alive"] = finite
        scalars = (loss, total, clipped, smallest_nonzero(tensors), whole)
        seen = {
            "finite": finite,
            "scalars": jnp.stack(scalars),
            "norms": norms,
            "moved": moved,
            "correct": correct,
            "weight": jnp.sum(batch[2]),
        }
        return kept, seen

    def epoch(self, state: State, hparams: Hparams, epoch: jax.Array, data: Any) -> tuple[State, Any]:
        """One pass over the training set and one evaluation, for a lane that is alive.

        Returns:
          The new state and the lane's part of `packs.EpochResult`, as a tree of arrays.
        """
        key = trial_key(hparams["seed"])
        schedule = self.task.training(key, hparams, epoch)
        rows, width = len(self.layout.rows), len(STEP_COLUMNS)
        zeros = jnp.zeros(rows, jnp.int32)
        like = {"norms": jnp.zeros(rows), "moved": jnp.zeros(rows), "scalars": jnp.zeros(width)}
        tally = {"zero": zeros, "nonfinite": zeros, "correct": jnp.float32(0), "weight": jnp.float32(0)}
        start = (state, metrics.start(like), tally, jnp.int32(-1))

        def run(carry: Any, entry: Any) -> Any:
            state, running, tally, bad = carry
            index, entry = entry
            state, seen = self._step(state, hparams, self.task.batch(data, entry, hparams))
            finite = seen["finite"]
            running = metrics.update(running, {name: seen[name] for name in like}, finite)
            tally = {
                "zero": tally["zero"] + (seen["norms"] == 0),
                "nonfinite": tally["nonfinite"] + ~jnp.isfinite(seen["norms"]),
                "correct": tally["correct"] + jnp.where(finite, seen["correct"], 0),
                "weight": tally["weight"] + jnp.where(finite, seen["weight"], 0),
            }
            return (state, running, tally, jnp.where(finite, bad, index)), seen["scalars"]

        def skip(carry: Any, entry: Any) -> Any:
            return carry, jnp.full(width, jnp.nan)

        def step(carry: Any, entry: Any) -> Any:
            return lax.cond(carry[0]["alive"], run, skip, carry, entry)

        entries = (jnp.arange(self.steps, dtype=jnp.int32), schedule)
        (state, running, tally, bad), scalars = lax.scan(step, start, entries)
        held = lax.cond(
            state["alive"],
            lambda: self._evaluate(state, hparams, key, data),
            lambda: jnp.full((2, 2), jnp.nan),
        )
        found = self._summary(metrics.finished(running), tally, scalars, state["params"])
        (val_loss, test_loss), (val_accuracy, test_accuracy) = held
        found["epochs"] |= {"val_loss": val_loss, "val_accuracy": val_accuracy}
        found["epochs"] |= {"test_loss": test_loss, "test_accuracy": test_accuracy}
        steps = running.count + (bad >= 0)
        found["epochs"] |= {"steps": steps, "finite_steps": running.count}
        found["bad_step"] = bad
        return state, found

    def _summary(self, running: metrics.Running, tally: Any, scalars: jax.Array, params: Any) -> Any:
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
            "accuracy": tally["correct"] / tally["weight"],
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

    def _evaluate(self, state: State, hparams: Hparams, key: jax.Array, data: Any) -> jax.Array:
        """((val loss, test loss), (val accuracy, test accuracy)); NaN for an empty set."""
        schedule = dict(self.task.evaluation(key, hparams))
        segments = jnp.moveaxis(schedule.pop("segments"), 0, 1)
        if not len(segments):
            return jnp.full((2, 2), jnp.nan)

        def step(sums: jax.Array, entry: Any) -> tuple[jax.Array, None]:
            segment, entry = entry
            x, y, _ = self.task.batch(data, entry, hparams)
            logits, _ = self._apply(state["params"], state["rest"], x, train=False)
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, y)
            correct = (jnp.argmax(logits, -1) == y).astype(jnp.float32)
            # A sample of weight 0 must not spoil the sum with a loss that is not finite.
            values = jnp.stack([losses, correct])[:, None] * jnp.ones_like(segment)
            return sums + jnp.sum(jnp.where(segment > 0, values, 0), -1), None

        sums, _ = lax.scan(step, jnp.zeros((2, 2)), (segments, schedule))
        return sums / jnp.sum(segments, (0, 2))

    def timeline(self, points: int) -> tuple[np.ndarray, Callable[..., jax.Array]]:
        """Time steps kept (evenly spaced, the last included), and the function that measures there.

        The function maps (state, hparams, data) to |dL/dh^l_t| over batch and units, shape
        (L, points), for the loss of the task's fixed probe batch.
        """
        length = self.trial.sizes.seq_len
        times = np.unique(np.rint(np.linspace(0, length - 1, min(points, length))).astype(int))

        def measure(state: State, hparams: Hparams, data: Any) -> jax.Array:
            schedule = self.task.probe(trial_key(hparams["seed"]), hparams)
            entry = jax.tree.map(lambda leaf: leaf[0], schedule)
            x, y, _ = self.task.batch(data, entry, hparams)

            def loss(gauges: jax.Array) -> jax.Array:
                module: Any = nnx.merge(self._graph, state["params"], state["rest"])
                module.eval()
                logits = module.tapped(x, gauges)
                return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, y))

            return jax.grad(loss)(jnp.zeros((self.depth or 0, length)))[:, times]

        return times, measure
