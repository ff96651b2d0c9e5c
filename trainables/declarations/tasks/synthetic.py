"""Declarations of the synthetic sequence tasks of docs/specs/ribeiro2020.md, 2.1 and 2.2."""

from __future__ import annotations

import math
from dataclasses import replace

from trainables.declarations.core.keys import Key
from trainables.declarations.core.parts import Config, Sizes, Task
from trainables.declarations.tasks.base import BATCH, SEQ_LEN, needs_every_step, with_default

REDUCTION = Key(
    "loss_reduction", "str", "sum", "static",
    "What gradients are taken, and clipped, of. sum: of the batch's losses, over its samples and "
    "time steps, as published; mean: of their mean. The column loss is the mean in both.",
    choices=("sum", "mean"),
)  # fmt: skip


_VALIDATION_LENGTH = Key(
    "val_seq_len", "int", None, "static",
    "Time steps of validation sequences; null: as many as of those that train, and none of sine.",
    unit="time steps", low=1, nullable=True, added=True,
)  # fmt: skip


def summed_terms(config: Config, of_a_sample: int = 1) -> int:
    """Losses that a step's gradient sums: all of a full batch, or 1 of a mean (`REDUCTION`)."""
    whole = config["batch_size"] * of_a_sample
    return whole if config["loss_reduction"] == "sum" else 1


def _sine_check(config: Config) -> list[str]:
    found = needs_every_step(config, "sine")
    if config["min_freq"] > config["max_freq"]:
        found.append("min_freq must be at most max_freq")
    return found


SINE = Task(
    name="sine",
    version=1,
    runtime="trainables.tasks.synthetic:SineTask",
    doc="Turn a constant input omega into sin(omega t); no noise, and validation only on sequences "
    "of another length.",
    keys=(
        with_default(BATCH, 10),
        replace(SEQ_LEN, default=400, doc="Time steps T; t runs from 1 to T."),
        Key("n_sequences", "int", 100, "static", "Frequencies, evenly spaced, read in order.",
            low=1),
        Key("min_freq", "float", math.pi / 16, "static", "Lowest frequency.", unit="rad/step",
            low=0),
        Key("max_freq", "float", math.pi / 8, "static", "Highest frequency.", unit="rad/step",
            low=0),
        _VALIDATION_LENGTH,
        REDUCTION,
    ),
    sizes=lambda config: Sizes(
        config["seq_len"], 1, 1, config["n_sequences"],
        0 if config["val_seq_len"] is None else config["n_sequences"], 0, config["batch_size"],
    ),
    chance_loss=lambda config: 0.5,  # of answering 0: the mean square of a sine
    loss_terms=lambda config: summed_terms(config, config["seq_len"]),
    loss_unit="squared error",
    check=_sine_check,
    aliases=("sine-generator",),
)  # fmt: skip


def window_starts(config: Config) -> tuple[int, ...]:
    """First time step of each window in which a relevant symbol stands."""
    return tuple(int(text) for text in str(config["position_symbols_start"]).split(":"))


def classes(config: Config) -> int:
    """Orders of the relevant symbols, n_symbols for each window."""
    return int(config["n_symbols"]) ** len(window_starts(config))


def _order_sizes(config: Config) -> Sizes:
    return Sizes(
        config["seq_len"], config["n_symbols"] + config["n_distractors"], classes(config),
        config["n_sequences"], config["n_sequences_val"], 0, config["batch_size"],
    )  # fmt: skip


def _order_check(config: Config) -> list[str]:
    found = needs_every_step(config, "temporal_order")
    try:
        starts = window_starts(config)
    except ValueError:
        text = config["position_symbols_start"]
        return [*found, f"position_symbols_start must be numbers such as 9:39; got {text!r}"]
    last = max(starts) + config["position_symbols_len"]
    for name in ("seq_len", "val_seq_len"):
        if min(starts) < 0 or last > (config[name] or last):
            found.append(
                f"windows of position_symbols_start and position_symbols_len end at step {last}; "
                f"{name} is {config[name]}"
            )
    return found


TEMPORAL_ORDER = Task(
    name="temporal_order",
    version=1,
    runtime="trainables.tasks.synthetic:TemporalOrderTask",
    doc="In which order did two relevant symbols come among distractors? Answered at the last "
    "step (Hochreiter and Schmidhuber 1997).",
    keys=(
        with_default(BATCH, 100),
        replace(SEQ_LEN, default=200, doc="Time steps T."),
        Key("n_sequences", "int", 1000, "static", "Training sequences, read in order.", low=1),
        Key("n_sequences_val", "int", 1000, "static", "Validation sequences.", low=0),
        Key("n_symbols", "int", 2, "static", "Relevant symbols.", low=1),
        Key("n_distractors", "int", 4, "static", "Other symbols.", low=1),
        Key("position_symbols_start", "str", "9:39", "static",
            "First step of each window that holds one relevant symbol."),
        Key("position_symbols_len", "int", 10, "static", "Steps of a window.", unit="time steps",
            low=1),
        Key("data_seed", "int", 2, "static",
            "Draws training sequences by NumPy's legacy generator as published; validation ones "
            "have this plus 1.", low=0, high=2**32 - 2),
        _VALIDATION_LENGTH,
        REDUCTION,
    ),
    sizes=_order_sizes,
    chance_loss=lambda config: math.log(classes(config)),
    loss_terms=summed_terms,
    check=_order_check,
    aliases=("temporal-order",),
)  # fmt: skip

SYNTHETIC_TASKS = (SINE, TEMPORAL_ORDER)
