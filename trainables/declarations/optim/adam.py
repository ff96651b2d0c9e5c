"""Declarations of Adam and its kin."""

from dataclasses import replace

from trainables.declarations.core.keys import Key
from trainables.declarations.core.parts import Config, Optimizer
from trainables.declarations.core.rate_keys import LR_GAMMA, LR_MILESTONES, milestone_problems
from trainables.declarations.optim.base import DECAY, DECAY_ON, DECOUPLED, LR, SMALL_LR
from trainables.declarations.optim.clipping import CLIPPING
from trainables.declarations.optim.schedules import SCHEDULE
from trainables.declarations.probes.effective_lr import EFFECTIVE_LR, WEIGHT_RATES

ADAM = Optimizer(
    name="adam",
    version=1,
    build="trainables.optim.adam:adam",
    reads_length=False,
    schedule="trainables.optim.schedules:HalfCosine",
    doc="Adam with optax's constants (b1 .9, b2 .999, eps 1e-8).",
    keys=(LR, DECAY, *CLIPPING, *SCHEDULE),
    aliases=("Adam",),
    probes=(EFFECTIVE_LR, WEIGHT_RATES),
)


ADAMW = Optimizer(
    name="adamw",
    version=1,
    build="trainables.optim.adam:adamw",
    reads_length=False,
    schedule="trainables.optim.schedules:HalfCosine",
    doc="Adam with decoupled weight decay, optax's constants.",
    keys=(SMALL_LR, DECOUPLED, DECAY_ON, *CLIPPING, *SCHEDULE),
    aliases=("AdamW",),
    probes=(EFFECTIVE_LR, WEIGHT_RATES),
)


def _torch_check(config: Config) -> list[str]:
    if config["lr_schedule"] != "auto":
        return []
    found = milestone_problems(config["lr_milestones"])
    if config["lr_milestones"] and config["lr_patience"] is not None:
        found.append("lr_milestones and lr_patience are two schedules; choose one")
    return found


TORCH_ADAM = Optimizer(
    name="torch_adam",
    version=1,
    build="trainables.optim.adam:adam",
    reads_length=False,
    schedule="trainables.optim.reduce_on_plateau:torch_schedule",
    doc="Adam with torch's schedules; clipped by default (docs/specs/ribeiro2020.md, 3).",
    keys=(
        SMALL_LR,
        DECAY,
        replace(CLIPPING[0], default=0.25, aliases=(*CLIPPING[0].aliases, "clip_value")),
        *CLIPPING[1:],
        replace(LR_MILESTONES, doc=f"{LR_MILESTONES.doc} Read with lr_schedule=auto too."),
        replace(LR_GAMMA, doc=f"{LR_GAMMA.doc} Read with lr_schedule=auto too."),
        Key("lr_patience", "int", None, "static",
            "The learning rate falls after more than this number of epochs in a row without a "
            "val_loss lower than the best by 1e-4 of it; null: it never falls so.",
            unit="epochs", low=0, nullable=True),
        Key("min_lr", "float", 1e-7, "traced",
            "A trial with lr_patience ends once its learning rate is below this.", low=0),
    ),
    check=_torch_check,
)  # fmt: skip


def _groups_check(config: Config) -> list[str]:
    if config["lr_schedule"] != "auto" or config["lr_warmup"] < config.get("epochs", float("inf")):
        return []
    return ["lr_warmup must be below epochs: the cosine needs some of them"]


ADAMW_GROUPS = Optimizer(
    name="adamw_groups",
    version=1,
    build="trainables.optim.adam:adamw_groups",
    reads_length=False,
    schedule="trainables.optim.schedules:WarmedCosine",
    doc="Adam in two groups: a linear recurrence's eigenvalues or A, B and gamma at lr_factor lr "
    "and without decay, all else at lr with decoupled decay.",
    keys=(
        SMALL_LR,
        replace(DECOUPLED, default=0.05),
        DECAY_ON,
        *CLIPPING,
        Key("lr_factor", "float", 0.25, "traced", "Of the recurrent group's learning rate.", low=0),
        Key("lr_warmup", "float", 0.0, "traced", "Both rates first rise linearly from lr_end.",
            unit="epochs", low=0, aliases=("warmup", "warmup_end")),
        replace(SCHEDULE[0], default=1e-7,
                doc="Learning rate of both groups after the last step, reached along half a cosine "
                "from the end of the warm-up; null: constant."),
        Key("compat_schedule", "bool", False, "traced",
            "The published schedule: the first step at full rate, the cosine begun late and ended "
            "early, lr_end for the last lr_warmup epochs."),
    ),
    groups=(("lr_recurrent", "lr_factor"),),
    check=_groups_check,
    probes=(EFFECTIVE_LR, WEIGHT_RATES),
)  # fmt: skip
