"""Declaration of the task of identifying a linear system (docs/specs/zucchet2024.md, 2)."""

from __future__ import annotations

from dataclasses import replace

from trainables.declarations.core.keys import Key
from trainables.declarations.core.parts import Config, Sizes, Task
from trainables.declarations.models.linear_rnn import MAX_PHASE, MIN_NU, SCALAR_TASK
from trainables.declarations.tasks.base import BATCH, SEQ_LEN, needs_every_step, with_default


def _sizes(config: Config) -> Sizes:
    batch = config["batch_size"]
    held = config["eval_batches"] * batch
    return Sizes(config["seq_len"], 1, 1, config["steps_per_epoch"] * batch, held, held, batch)


TEACHER_STUDENT = Task(
    name=SCALAR_TASK,
    version=1,
    runtime="trainables.tasks.teacher_student:TeacherStudent",
    doc="Identify a random linear system from white noise: the squared error of every output.",
    keys=(
        with_default(BATCH, 128),
        replace(SEQ_LEN, default=300, doc="Time steps T."),
        Key("steps_per_epoch", "int", 100, "static", "Batches drawn for each epoch.", low=1),
        Key("eval_batches", "int", 2, "static",
            "Batches of validation and as many of test, fixed; their loss is the training loss's, "
            "as every training batch is new.", low=0),
        Key("teacher_seed", "int", 42, "traced", "Draws the teacher; 42 as published, whatever the "
            "trial's seed.", low=0, high=2**31 - 1),
        Key("teacher_order", "int", 10, "static", "Units of the teacher.", low=1),
        Key("prng", "str", "partitionable", "static",
            "How JAX draws the teacher. partitionable: as today; original: as at the paper's time "
            "(jax_threefry_partitionable=False), which gives another teacher of the same seed.",
            choices=("partitionable", "original")),
        MIN_NU,
        MAX_PHASE,
    ),
    sizes=_sizes,
    loss_unit="half squared error",
    check=lambda config: needs_every_step(config, SCALAR_TASK),
    aliases=("lsi",),
)  # fmt: skip
