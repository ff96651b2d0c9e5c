"""Whether a model can be trained and its task can judge it, asked while programs are traced."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from trainables.core.layout import by_path
from trainables.core.numbers import TRAINED
from trainables.declarations import Model, PartError
from trainables.tasks.base import TaskRuntime


@dataclass(frozen=True)
class Judge:
    """A task by name, with its functions."""

    name: str
    runtime: TaskRuntime


def require_module(model: Model, built: Any) -> None:
    """Raises PartError where a model's function returned something else than a callable module."""
    if isinstance(built, nnx.Module) and callable(built):
        return
    kind = type(built).__name__
    if built is None:
        remedy = "nothing; return the module"
    elif isinstance(built, nnx.Module):
        remedy = f"a {kind}, which cannot be called; give it __call__(self, x)"
    else:
        remedy = f"a {kind}; it must be a module of Flax (nnx or linen) or of Equinox"
    raise PartError(f"the function of model {model.name} returned {remedy}")


def require_trainable(model: Model, params: Any) -> None:
    """Raises PartError where there are no parameters, or one is of a type that is not trained."""
    leaves = by_path(params)
    if not leaves:
        raise PartError(
            f"model {model.name} has no nnx.Param of floating-point numbers, so nothing to train"
        )
    for path, leaf in leaves.items():
        if leaf.dtype not in TRAINED:
            raise PartError(
                f"parameter {path.replace('/', '.')} of model {model.name} is {leaf.dtype}, and "
                f"only {', '.join(jnp.dtype(t).name for t in TRAINED)} can be trained; give its "
                "layer param_dtype=jnp.float32"
            )


def require_answer(model: Model, task: Judge, x: Any, y: Any, outputs: Any) -> None:
    """Raises PartError where a task cannot judge what a model returned.

    Args:
      x, y, outputs: of a batch; only their shapes and types are read.
    """
    if getattr(task.runtime, "any_outputs", False):
        return
    if not isinstance(outputs, jax.Array):
        kind = type(outputs).__name__
        inside = f" of {', '.join(map(str, outputs))}" if isinstance(outputs, dict) else ""
        raise PartError(
            f"model {model.name} returned a {kind}{inside}; it must return one array, its logits, "
            f"or task {task.name} needs a loss that takes what it returns: Task(loss=...)"
        )
    if not jnp.issubdtype(outputs.dtype, jnp.floating):
        raise PartError(
            f"model {model.name} returned an array of {outputs.dtype}; its outputs must be real "
            "numbers of floating point"
        )
    answers = getattr(task.runtime, "answers", None)
    if answers is None:  # a user's own runtime; its losses are looked at
        return
    fitting = answers(x, y, model.every_step)
    if outputs.shape in fitting:
        return
    found = f"model {model.name} returned the shape {outputs.shape} for {_shapes(x)}"
    judged = y.batch["y"] if hasattr(y, "batch") else y
    labels = ", ".join(str(leaf.shape) for leaf in jax.tree.leaves(judged))
    wanted = f"task {task.name}, whose y has the shape {labels}, needs {fitting[0]}"
    if outputs.shape in answers(x, y, True):
        wanted += (
            "; return the logits of one time step or of their mean, or declare every_step=True in "
            "the Model, so that every time step is judged by its sample's label"
        )
    raise PartError(f"{found}; {wanted}")


def _shapes(x: Any) -> str:
    if hasattr(x, "shape"):
        return f"x of shape {x.shape}"
    return ", ".join(f"{path} of shape {leaf.shape}" for path, leaf in by_path(x).items())


def require_losses(task: Judge, losses: jax.Array, samples: int) -> None:
    """Raises PartError where a task gives another number of losses than one for each sample."""
    if losses.shape != (samples,):
        raise PartError(
            f"the losses of task {task.name} have the shape {losses.shape} for {samples} samples; "
            f"it must give one for each, ({samples},)"
        )


def require_kept(whose: str, before: Any, after: Any) -> None:
    """Raises PartError where a step changes the type, shape or number of what it carries on.

    Args:
      whose: of what, as "variable {} of model net".
    """
    old, new = ({p: _type(leaf) for p, leaf in by_path(t).items()} for t in (before, after))
    for path in dict.fromkeys([*old, *new]):
        if old.get(path) == new.get(path):
            continue
        what = " ".join(whose.format(path.replace("/", ".")).split())
        if path not in old:
            raise PartError(f"{what} is made by a training step; make it before the first one")
        there = f"is {new[path]} after it" if path in new else "is gone after it"
        raise PartError(
            f"{what} is {old[path]} before a training step and {there}; it must stay the same"
        )


def _type(leaf: Any) -> str:
    return f"{leaf.dtype}{list(leaf.shape)}"
