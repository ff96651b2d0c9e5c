"""A study of parts whose numbers, or state, could depend on how long a trial is."""

from __future__ import annotations

from typing import Any

import optax

from search_spaces import Space, Study
from tests.support.streamed_tasks import CLASSES, Net, Samples, arrays
from trainables.declarations import Key, Model, Optimizer, Task

RATE = Key("lr", "float", 0.05, "traced", "Learning rate.", low=0)


def cosine(config: Any, hparams: Any) -> optax.GradientTransformation:
    """To the end of training."""
    schedule = optax.cosine_decay_schedule(0.05, config["total_steps"])
    return optax.chain(optax.trace(0.9), optax.scale_by_learning_rate(schedule))


def momentum(config: Any, hparams: Any) -> optax.GradientTransformation:
    """Warm over two epochs, however many there are."""
    rise = optax.linear_schedule(0.0, 1.0, 2 * config["steps_per_epoch"])
    rate = hparams["lr"]
    return optax.chain(optax.trace(0.9), optax.scale_by_schedule(lambda step: -rate * rise(step)))


SHARED: dict[str, Any] = {
    "batch_size": 8, "split": {"val": 0.2, "test": 0.2}, "classes": CLASSES, "version": 1,
}  # fmt: skip
BASE = {"model": "net", "task": "resident", "optimizer": "adam", "epochs": 3, "stop_patience": 4}
KINDS = {
    **BASE,
    "optimizer": {"grid_search": ["sgd", "adam", "momentum"]},
    # Those that stop do so in their fourth epoch, if they remember the three before it.
    "stop_below": {"grid_search": [None, 1e9]},
}
DEEP = {
    "task": "gaussian", "model": "vanilla_rnn", "seq_len": 6, "batch_size": 4,
    "steps_per_epoch": 3, "depth": 2, "width": 4, "epochs": 2,
}  # fmt: skip
SPACES = {
    "kinds": KINDS,
    "streamed": {**BASE, "task": "streamed"},
    "cosine": {**BASE, "optimizer": "cosine"},
    "one": {**BASE, "optimizer": "sgd"},
    "adam": BASE,
    "deep": DEEP,
}

STUDY = Study(
    name="longer",
    title="Tests",
    parts=(
        Model(name="net", build=Net, version=1),
        Task(name="resident", build=lambda config: arrays(), **SHARED),
        Task(name="streamed", build=lambda config: Samples(arrays()), stream=True, **SHARED),
        Optimizer(name="cosine", build=cosine, version=1),
        Optimizer(name="momentum", build=momentum, keys=(RATE,), version=1),
    ),
    spaces={name: Space(reproduces="tests", param_space=one) for name, one in SPACES.items()},
)
