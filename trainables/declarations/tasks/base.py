"""Keys that several tasks share, and how sets are split."""

from __future__ import annotations

import math
from dataclasses import replace

from trainables.declarations.core.keys import Key
from trainables.declarations.core.parts import Config, Metric

BATCH = Key("batch_size", "int", 64, "static", "Samples per optimizer step.", unit="samples", low=1)
NOISE = Key("noise_std", "float", 0.0, "traced", "N(0, noise_std) added to training inputs.",
            low=0, aliases=("add_noise",))  # fmt: skip
SPLIT = Key("split_seed", "int", 0, "traced", "Draws the validation split.", low=0, high=2**31 - 1)
VALIDATION = Key("val_fraction", "float", 0.2, "static", "Part of the training set held out.",
                 low=0, high=1, open_high=True, aliases=("val_split",))  # fmt: skip
STANDARDISE = Key("standardise", "str", "channel", "static",
                  "channel: by the data set's known mean and standard deviation of each channel; "
                  "scalar: by one mean and one standard deviation over all pixels of the training "
                  "set, validation included; unit: divided by the greatest level, so from 0 to 1; "
                  "none: raw levels, 0 to 255 (digits 0 to 16); pca: principal components of the "
                  "training set, each of variance 1, in the place of pixels; zca: the same turned "
                  "back into images.",
                  choices=("channel", "scalar", "unit", "none", "pca", "zca"))  # fmt: skip
SEQ_LEN = Key("seq_len", "int", 64, "static", "Time steps T.", unit="time steps", low=1,
              aliases=("T", "maxlen"))  # fmt: skip
TIME_REPEAT = Key("time_repeat", "int", 1, "static",
                  "Every input step and target comes so many times along time.", low=1,
                  aliases=("timerepeat",))  # fmt: skip


LOSS = Key("loss_function", "str", "cross_entropy", "static",
           "Loss of a sample's logits, averaged over time steps. label_smoothing: cross-entropy "
           "with 0.1 of the label spread over all classes. focal: cross-entropy times (1 - p)^2, p "
           "the label's probability. squared_error: of the logits and the label as a unit vector, "
           "mean over classes. hinge: of the label's logit and the greatest other.",
           choices=("cross_entropy", "label_smoothing", "focal", "squared_error", "hinge"),
           added=True)  # fmt: skip


def guess_loss(config: Config, classes: int) -> float:
    """The loss of equal logits for all classes."""
    uniform = math.log(classes)
    return {
        "focal": (1 - 1 / classes) ** 2 * uniform,
        "squared_error": 1 / classes,
        "hinge": 1.0,
    }.get(str(config.get("loss_function")), uniform)


def unit_of_loss(config: Config) -> str | None:
    """What the named loss is in; None for nats."""
    named = str(config.get("loss_function"))
    return {"squared_error": "squared error", "hinge": "margin"}.get(named)


OVER_TIME = (
    Metric("mode_accuracy", "fraction", "max",
           "Accuracy of the mean of the logits over time, of models with an output at every step."),
    Metric("last_accuracy", "fraction", "max",
           "Accuracy of the last time step, of models with an output at every step."),
)  # fmt: skip
"""What classifying tasks measure beside loss and accuracy."""

_ONE_A_SAMPLE = ("vanilla_rnn", "residual_rnn", "ffn", "cnn", "plain_convnet", "residual_convnet",
                 "lstm_stack", "gru_stack")  # fmt: skip


def needs_every_step(config: Config, task: str) -> list[str]:
    """A problem where the model has one output a sample only."""
    model = config.get("model")
    if model in _ONE_A_SAMPLE:
        return [f"task {task} needs an output at every step; model {model} has one a sample"]
    return []


def with_default(key: Key, default: object) -> Key:
    """`key` with another default."""
    return replace(key, default=default)


def split_counts(total: int, val_fraction: float) -> tuple[int, int]:
    """(train, validation) of `total`: the first int(total * fraction) of a permutation validate."""
    n_val = int(total * val_fraction)
    return total - n_val, n_val


def counts(
    n_train: tuple[int, int], n_val: tuple[int, int], n_test: tuple[int, int]
) -> tuple[Key, ...]:
    """Keys n_train, n_val and n_test of a set split in order, each given as (default, most)."""
    words = {
        "n_train": ("Number of training samples that train, from the first.", n_train),
        "n_val": ("Number of training samples that validate, from the last.", n_val),
        "n_test": ("Number of test samples that test, from the first.", n_test),
    }
    return tuple(
        Key(name, "int", default, "static", doc, unit="samples", low=int(name == "n_train"),
            high=most)
        for name, (doc, (default, most)) in words.items()
    )  # fmt: skip
