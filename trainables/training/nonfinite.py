"""Finding what went non-finite first: an input, a layer's output, the loss, a gradient or an
update."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from trainables.core.engine import State
from trainables.core.layout import LayerRow, by_path
from trainables.core.random_keys import trial_key
from trainables.tasks.base import TaskRuntime, named_batch
from trainables.training.epoch import STEP_COLUMNS, Training
from trainables.training.layer_signals import Place, signals
from trainables.training.network import Hparams, fresh


class _Step(NamedTuple):
    """What a repeated step brought; of tensors, whether each is finite.

    Attributes:
      outputs, reached: (place, finite) of layers' outputs, and of the gradients that reached them,
        each in the order in which the forward pass makes them.
    """

    loss: bool
    outputs: list[tuple[Place, np.ndarray]]
    gradients: np.ndarray
    all_gradients: bool
    reached: list[tuple[Place, np.ndarray]]
    updates: np.ndarray
    weights: np.ndarray


def culprit(
    training: Training, state: State, hparams: Hparams, data: Any, epoch: int, step: int
) -> str:
    """Repeats the bad step from the lane's last finite state, pass by pass.

    Args:
      state: one lane's state, frozen before the step. data: the task's, on the device.

    Returns:
      A phrase that names the pass and the first layer at fault, in the order in which values are
      computed, and the time step where what was looked at has one.
    """
    found = _repeated(training, state, hparams, data, epoch, step)
    rows = training.layout.rows[: training.layout.tensors]
    return _forward(rows, found) or _backward(rows, found) or _update(rows, found)


def broken_input(
    task: TaskRuntime, hparams: Hparams, data: Any, epoch: int, step: int
) -> str | None:
    """Draws the batch of a step again and looks at it alone.

    Returns:
      The name of the first array of it that is not finite in a sample that counts; None where all
      are, so that the model or the loss is at fault.
    """
    program, names = _batch_program(task)
    finite = jax.device_get(program(hparams, data, jnp.int32(epoch), jnp.int32(step)))
    return next((name for name, sound in zip(names, finite, strict=True) if not sound), None)


@lru_cache(maxsize=4)
def _batch_program(task: TaskRuntime) -> tuple[Any, list[str]]:
    """The batch of a step as a compiled program that gives whether each array is finite; and their
    names, which are known once it is traced."""
    names: list[str] = []

    @jax.jit
    def measured(hparams: Hparams, data: Any, epoch: Any, step: Any) -> list[jax.Array]:
        schedule = task.training(trial_key(hparams["seed"]), hparams, epoch)
        entry = jax.tree.map(lambda leaf: leaf[step], schedule)
        batch = task.batch(data, entry, hparams)
        weight, found = batch[2], {}
        for path, leaf in by_path(named_batch(task, batch)).items():
            if not jnp.issubdtype(leaf.dtype, jnp.inexact):
                continue
            broken = ~jnp.isfinite(leaf)
            if leaf.shape[:1] == weight.shape:
                counts = weight.reshape(-1, *[1] * (leaf.ndim - 1)) > 0
                broken &= counts
            found[path.replace("/", ".")] = ~jnp.any(broken)
        names[:] = found
        return list(found.values())

    return measured, names


def _repeated(
    training: Training, state: State, hparams: Hparams, data: Any, epoch: int, step: int
) -> _Step:
    program, places = _program(training)
    found = program(state, hparams, data, jnp.int32(epoch), jnp.int32(step))
    (loss, total), (gradients, updates, weights), flags = jax.device_get(found)
    outputs, reached = (list(zip(*pair, strict=True)) for pair in zip(places, flags, strict=True))
    return _Step(bool(loss), outputs, gradients, bool(total), reached, updates, weights)


@lru_cache(maxsize=4)
def _program(training: Training) -> tuple[Any, tuple[list[Place], list[Place]]]:
    """The step as one compiled program, where pass by pass would be hundreds of small ones; and
    whose its flags are, which is known once it is traced."""
    places: tuple[list[Place], list[Place]] = [], []
    tensors = training.layout.tensors

    @jax.jit
    def measured(state: State, hparams: Hparams, data: Any, epoch: Any, step: Any) -> Any:
        schedule = training.task.training(trial_key(hparams["seed"]), hparams, epoch)
        entry = jax.tree.map(lambda leaf: leaf[step], schedule)
        batch = training.task.batch(data, entry, hparams)
        state = {**state, "rest": fresh(state["rest"], entry)}
        _, seen = training.step(state, hparams, batch)
        of = dict(zip(STEP_COLUMNS, seen["scalars"], strict=True))
        found = signals(training, state, batch)
        for kept, side in zip(places, found, strict=True):
            kept[:] = [place for place, _ in side]
        # A weight may be finite where the norm of its tensor is not; a step minds the weight.
        broken = jax.tree.map(lambda w: 1.0 - jnp.isfinite(w), seen["params"])
        norms = seen["norms"], seen["moved"]
        return (
            (jnp.isfinite(of["loss"]), jnp.isfinite(of["grad_norm"])),
            [
                *(jnp.isfinite(values[:tensors]) for values in norms),
                training.layout.norms(broken)[:tensors] == 0,
            ],
            [[finite for _, finite in side] for side in found],
        )

    return measured, places


def _forward(rows: Sequence[LayerRow], found: _Step) -> str | None:
    """What is said of the forward pass; None where it was finite."""
    looked = dict.fromkeys(place.layer_name for place, _ in found.outputs)
    unseen = dict.fromkeys(row.layer_name for row in rows if row.layer_name not in looked)
    one = len(unseen) == 1
    others = f"; {'that' if one else 'those'} of {_layers(unseen)} {'was' if one else 'were'} not "
    others = f"{others}looked at" if unseen else ""
    for place, finite in found.outputs:
        if not np.all(finite):
            step = np.argmin(finite) if finite.ndim else place.step
            layer = _layers([place.layer_name])
            what = f"the {place.what} of {layer}{_at(step)}, in the forward pass"
            return f"{what}{', while the loss is finite' if found.loss else ''}{others}"
    if found.loss:
        return None
    if not unseen:
        return "the loss, in the forward pass, while the outputs of all layers are finite"
    many = "s" if len(looked) > 1 else ""
    are = "are" if many else "is"
    seen = f", while the output{many} of {_layers(looked)} {are} finite" if looked else ""
    return f"the loss, in the forward pass{seen}{others}"


def _backward(rows: Sequence[LayerRow], found: _Step) -> str | None:
    """What is said of the backward pass; None where it was finite."""
    # It meets the last layer first.
    for row, finite in zip(reversed(rows), found.gradients[::-1], strict=True):
        if not finite:
            return (
                f"the gradient of {_tensor(row)}{_at(_reached(row, found))}, in the backward pass"
            )
    if found.all_gradients:
        return None
    return "the norm of all gradients together, while each tensor's is finite, in the backward pass"


def _reached(row: LayerRow, found: _Step) -> int | None:
    """The first time step, from the end, at which the gradient that reached a layer was not finite;
    None where that is not known."""
    for place, finite in reversed(found.reached):
        if place.layer_name == row.layer_name and not np.all(finite):
            return int(np.flatnonzero(~finite)[-1]) if finite.ndim else place.step
    return None


def _update(rows: Sequence[LayerRow], found: _Step) -> str:
    for row, update, weight in zip(rows, found.updates, found.weights, strict=True):
        if not update:
            return f"the update of {_tensor(row)}, while loss and gradients are finite"
        if not weight:
            return f"{_tensor(row)} after its update, while loss, gradients and update are finite"
    return (
        "nothing that a repetition shows: outside its pack the step is finite, so what went wrong "
        "was a rounding away from the largest number"
    )


def _layers(names: Collection[str]) -> str:
    """Layers by name; "" is the model as a whole."""
    named = [name for name in names if name]
    text = f"layer{'s' if len(named) > 1 else ''} {', '.join(named)}"
    if "" not in names:
        return text
    return f"{text} and of the model" if named else "the model"


def _tensor(row: LayerRow) -> str:
    return f"{row.layer_name}.{row.tensor}" if row.layer_name else row.tensor


def _at(step: Any) -> str:
    return "" if step is None else f" at time step {int(step)}"
