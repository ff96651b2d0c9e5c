"""Keys of how the learning rate changes, the same for every optimizer that has one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from trainables.declarations.core.keys import Key

MILESTONES = re.compile(r"([1-9][0-9]*(:[1-9][0-9]*)*)?")
MOST_MILESTONES = 8

LR_WARMUP = Key(
    "lr_warmup", "float", None, "traced",
    "The rate first rises linearly from lr_start, and what lr_schedule says begins after it; null: "
    "no warm-up.", unit="epochs", low=0, nullable=True, aliases=("warmup", "warmup_end"),
    null_is_static=True,
)  # fmt: skip
LR_END = Key(
    "lr_end", "float", None, "traced",
    "Lowest rate of cosine, restarts, exponential and plateau; null: 0.", low=0, nullable=True,
    aliases=("lr_min",),
)  # fmt: skip
LR_GAMMA = Key(
    "lr_gamma", "float", 0.1, "traced", "Factor of each fall of the learning rate.", low=0
)
LR_MILESTONES = Key(
    "lr_milestones", "str", "", "host",
    "Epochs at whose start the learning rate is multiplied by lr_gamma, as 500:1000:2000.",
    aliases=("milestones",),
)  # fmt: skip
LR_PATIENCE = Key(
    "lr_patience", "int", 10, "static",
    "Epochs in a row without a better lr_monitor after which plateau lets the rate fall; it falls "
    "after one more.", unit="epochs", low=0,
)  # fmt: skip
_KEYS = (
    Key("lr_schedule", "str", "auto", "static",
        "How the learning rate changes. auto: as the optimizer's other keys say. cosine: half a "
        "cosine from lr to lr_end. restarts: half cosines of lr_every epochs, each lr_growth times "
        "as long as the one before. exponential: times lr_gamma in lr_every epochs, a bit in each "
        "step. step: times lr_gamma at lr_milestones, or every lr_every epochs. plateau: times "
        "lr_gamma when lr_monitor no longer improves.",
        choices=("auto", "constant", "cosine", "restarts", "exponential", "step", "plateau")),
    LR_WARMUP,
    Key("lr_start", "float", 0.0, "traced", "Learning rate of the first step of a warm-up.", low=0),
    LR_END,
    LR_GAMMA,
    LR_MILESTONES,
    Key("lr_every", "float", 1.0, "traced",
        "Epochs of the first cycle of restarts, of a fall by lr_gamma of exponential, and between "
        "two falls of step.", unit="epochs", low=0, open_low=True),
    Key("lr_growth", "int", 1, "traced",
        "Each cycle of restarts is this many times as long as the one before.", low=1, high=100),
    LR_PATIENCE,
    Key("lr_monitor", "str", "val_loss", "static",
        "What plateau watches: it improves when it is lower (val_loss) or higher (val_accuracy) "
        "than the best by 1e-4 of it.", choices=("val_loss", "val_accuracy")),
)  # fmt: skip
RATE_KEYS = tuple(replace(key, added=True) for key in _KEYS)
"""Keys of every optimizer that has the traced key `lr` and no schedule of a user's; one that the
optimizer declares itself takes the place of the key here."""

READ_BY = {
    "constant": (),
    "cosine": ("lr_end",),
    "restarts": ("lr_end", "lr_every", "lr_growth"),
    "exponential": ("lr_end", "lr_gamma", "lr_every"),
    "step": ("lr_gamma", "lr_milestones", "lr_every"),
    "plateau": ("lr_end", "lr_gamma", "lr_patience", "lr_monitor"),
}
"""Schedules -> the keys that they read beside lr, lr_warmup and lr_start."""
_ALWAYS = ("lr_schedule", "lr_warmup", "lr_start")
_BASE = {key.name: key for key in RATE_KEYS}


def rate_keys(keys: Sequence[Any], ours: bool) -> tuple[Key, ...]:
    """The rate keys that an optimizer with these keys has beside them.

    Args:
      ours: whether it is built in. An optimizer of a user's that declares one of the names means
        something else by it, and has none of the keys here.
    """
    own = {getattr(key, "name", None): getattr(key, "kind", None) for key in keys}
    if own.get("lr") != "traced" or (not ours and not own.keys().isdisjoint(_BASE)):
        return ()
    return tuple(key for key in RATE_KEYS if key.name not in own)


def milestone_epochs(text: str) -> tuple[int, ...]:
    """Epochs at which the learning rate falls, of 500:1000:2000."""
    return tuple(int(word) for word in text.split(":") if word)


def milestone_problems(text: str) -> list[str]:
    """Why `lr_milestones` cannot be read; nothing where it can."""
    if not MILESTONES.fullmatch(text):
        return [f"lr_milestones must be epochs such as 500:1000:2000, or empty; got {text!r}"]
    if len(milestone_epochs(text)) > MOST_MILESTONES:
        return [f"lr_milestones has more than {MOST_MILESTONES} epochs"]
    return []


def rate_problems(keys: Sequence[Key], config: Mapping[str, Any]) -> list[str]:
    """What an optimizer's rate keys cannot be together, as sentences.

    Args:
      keys: of the optimizer.
    """
    schedule = config.get("lr_schedule")
    own = {key.name: key for key in keys if key.name in _BASE}
    if schedule is None or "lr_schedule" not in own:
        return []
    if schedule == "auto":  # an optimizer reads the keys that it declares itself
        read = {name for name, key in own.items() if key != _BASE[name]}
    else:
        read = set(READ_BY[schedule])
    found = [
        f"{name} is not read with lr_schedule={schedule}; leave it out, or choose {_readers(name)}"
        for name, key in own.items()
        if name not in read and name not in _ALWAYS and config[name] != key.default
    ]
    if schedule == "plateau" and config["lr_patience"] is None:
        found.append("lr_schedule=plateau needs lr_patience, a number of epochs such as 10")
    if schedule == "step":
        found += milestone_problems(config["lr_milestones"])
        if config["lr_milestones"] and config["lr_every"] != own["lr_every"].default:
            found.append("lr_milestones and lr_every are two ways to say when; leave one out")
    warmup = config["lr_warmup"]
    if not warmup and config["lr_start"] != own["lr_start"].default:
        found.append("lr_start is where a warm-up starts; set lr_warmup, its epochs, too")
    # Optimizers that declare a warm-up themselves say this where they read it.
    if (warmup or 0) >= config.get("epochs", float("inf")) and "lr_warmup" not in read:
        found.append(f"lr_warmup={warmup:g} must be below epochs={config['epochs']}")
    return found


def _readers(name: str) -> str:
    return " or ".join(schedule for schedule, names in READ_BY.items() if name in names)
