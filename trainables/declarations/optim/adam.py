"""Declarations of the built-in optimizers, gradient clipping included."""

import re
from dataclasses import replace

from trainables.declarations.core.keys import Key
from trainables.declarations.core.parts import Config, Optimizer

_CLIPPING = (
    Key("clip_norm", "float", None, "traced", "Scale the gradient down to at most this norm.",
        low=0, open_low=True, nullable=True, aliases=("gradient_clip", "max_norm")),
    Key("min_norm", "float", 0.0, "traced",
        "Scale the gradient up to at least this norm, tested before clipping; 0: off.", low=0,
        aliases=("gradient_clip_min",)),
    Key("min_norm_rule", "str", "exact", "static",
        "exact: g m / max(|g|, tiny); published: g m / (|g| + 1e-8), which leaves norms far below "
        "1e-8 short of m. A gradient of exactly 0 stays 0 in both.",
        choices=("exact", "published")),
)  # fmt: skip
_LR = Key(
    "lr", "float", 0.01, "traced", "Learning rate.", low=0, aliases=("learning_rate", "lr_base")
)
_DECAY = Key("weight_decay", "float", 0.0, "traced", "L2 penalty added to the gradient.", low=0)
_SCHEDULE = (
    Key("lr_end", "float", None, "traced",
        "Learning rate after the last step, reached along half a cosine; null: constant.", low=0,
        nullable=True, aliases=("lr_min",)),
    Key("effective_lr_every", "int", None, "observation",
        "Record effective learning rates every k-th epoch; 0: at the first and last epoch only; "
        "null: never.", unit="epochs", low=0, nullable=True),
)  # fmt: skip

SGD = Optimizer(
    name="sgd",
    version=1,
    doc="Plain stochastic gradient descent.",
    keys=(_LR, _DECAY, *_CLIPPING),
    aliases=("SGD",),
)
ADAM = Optimizer(
    name="adam",
    version=1,
    doc="Adam with optax's constants (b1 .9, b2 .999, eps 1e-8).",
    keys=(_LR, _DECAY, *_CLIPPING, *_SCHEDULE),
    aliases=("Adam",),
    probes=("effective_lr",),
)

_DECOUPLED = replace(_DECAY, doc="Decoupled decay: w -= lr * weight_decay * w.")
_SMALL_LR = replace(_LR, default=1e-3)

ADABELIEF = Optimizer(
    name="adabelief",
    version=1,
    doc="Rectified AdaBelief (b1 .9, b2 .999, eps 1e-14) within Lookahead(6, .5).",
    keys=(
        _SMALL_LR,
        _DECOUPLED,
        *_CLIPPING,
        Key("lookahead", "bool", True, "static",
            "Every 6 steps go back half way to where the weights were 6 steps ago."),
    ),
    aliases=("AdaBelief", "AdaBeliefLA"),
)  # fmt: skip
ADABELIEF_OPTAX = Optimizer(
    name="adabelief_optax",
    version=1,
    doc="optax's AdaBelief: not rectified, so its learning rates are not those of adabelief.",
    keys=(_SMALL_LR, _DECOUPLED, *_CLIPPING),
)
ADAMW = Optimizer(
    name="adamw",
    version=1,
    doc="Adam with decoupled weight decay, optax's constants.",
    keys=(_SMALL_LR, _DECOUPLED, *_CLIPPING, *_SCHEDULE),
    aliases=("AdamW",),
    probes=("effective_lr",),
)

_MILESTONES = re.compile(r"([1-9][0-9]*(:[1-9][0-9]*)*)?")
MOST_MILESTONES = 8


def milestone_epochs(text: str) -> tuple[int, ...]:
    """Epochs at which the learning rate falls, of 500:1000:2000."""
    return tuple(int(word) for word in text.split(":") if word)


def _torch_check(config: Config) -> list[str]:
    text = config["lr_milestones"]
    if not _MILESTONES.fullmatch(text):
        return [f"lr_milestones must be epochs such as 500:1000:2000, or empty; got {text!r}"]
    if len(milestone_epochs(text)) > MOST_MILESTONES:
        return [f"lr_milestones has more than {MOST_MILESTONES} epochs"]
    if text and config["lr_patience"] is not None:
        return ["lr_milestones and lr_patience are two schedules; choose one"]
    return []


TORCH_ADAM = Optimizer(
    name="torch_adam",
    version=1,
    doc="Adam with torch's schedules; clipped by default (study ribeiro2020, section 3).",
    keys=(
        _SMALL_LR,
        _DECAY,
        replace(_CLIPPING[0], default=0.25, aliases=(*_CLIPPING[0].aliases, "clip_value")),
        *_CLIPPING[1:],
        Key("lr_milestones", "str", "", "host",
            "Epochs at whose start the learning rate is multiplied by lr_gamma, as 500:1000:2000.",
            aliases=("milestones",)),
        Key("lr_gamma", "float", 0.1, "traced", "Factor of each fall of the learning rate.", low=0),
        Key("lr_patience", "int", None, "static",
            "The learning rate falls after more than so many epochs in a row without a val_loss "
            "lower by 1e-4 of the best; null: not so.", unit="epochs", low=0, nullable=True),
        Key("min_lr", "float", 1e-7, "traced",
            "A trial with lr_patience ends once its learning rate is below this.", low=0),
    ),
    check=_torch_check,
)  # fmt: skip


def _groups_check(config: Config) -> list[str]:
    if config["lr_warmup"] < config.get("epochs", float("inf")):
        return []
    return ["lr_warmup must be below epochs: the cosine needs some of them"]


ADAMW_GROUPS = Optimizer(
    name="adamw_groups",
    version=1,
    doc="Adam in two groups: a linear recurrence's eigenvalues or A, B and gamma at lr_factor lr "
    "and without decay, all else at lr with decoupled decay.",
    keys=(
        _SMALL_LR,
        replace(_DECOUPLED, default=0.05),
        *_CLIPPING,
        Key("lr_factor", "float", 0.25, "traced", "Of the recurrent group's learning rate.", low=0),
        Key("lr_warmup", "float", 0.0, "traced", "Both rates first rise linearly from lr_end.",
            unit="epochs", low=0, aliases=("warmup", "warmup_end")),
        replace(_SCHEDULE[0], default=1e-7,
                doc="Learning rate of both groups after the last step, reached along half a cosine "
                "from the end of the warm-up; null: constant."),
        Key("compat_schedule", "bool", False, "traced",
            "The published schedule: the first step at full rate, the cosine begun late and ended "
            "early, lr_end for the last lr_warmup epochs."),
        _SCHEDULE[1],
    ),
    check=_groups_check,
    probes=("effective_lr",),
)  # fmt: skip

OPTIMIZERS = (SGD, ADAM, ADABELIEF, ADABELIEF_OPTAX, ADAMW, TORCH_ADAM, ADAMW_GROUPS)
