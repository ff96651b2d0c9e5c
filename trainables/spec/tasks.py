"""Declarations of the built-in tasks: what they read, and their shapes without the data."""

from __future__ import annotations

import math

from trainables.spec.keys import Key
from trainables.spec.parts import Config, Sizes, Task

_BATCH = Key(
    "batch_size", "int", 64, "static", "Samples per optimizer step.", unit="samples", low=1
)
_NOISE = Key("noise_std", "float", 0.0, "traced", "N(0, noise_std) added to training inputs.",
             low=0, aliases=("add_noise",))  # fmt: skip
_SPLIT = Key("split_seed", "int", 0, "traced", "Draws the validation split.", low=0, high=2**31 - 1)
_VALIDATION = Key("val_fraction", "float", 0.2, "static", "Part of the training set held out.",
                  low=0, high=1, open_high=True, aliases=("val_split",))  # fmt: skip

IMAGE_LAYOUTS = {  # data set -> layout -> (time steps, features)
    "digits": {"pixels": (64, 1), "rows": (8, 8)},
    "mnist": {"pixels": (784, 1), "rows": (28, 28)},
    "cifar10": {"pixels": (3072, 1), "rows": (32, 96), "grey": (1024, 1)},
}
_COUNTS = {  # data set -> (training samples, test samples)
    "mnist": (60_000, 10_000),
    "cifar10": (50_000, 10_000),
    "cifar10_4k": (4_000, 1_000),
}
DIGITS_SPLIT = (1437, 180, 180)
"""Train, validation, test of scikit-learn's 1,797 digits; 1,437 is its usual 80 %."""


def split_counts(total: int, val_fraction: float) -> tuple[int, int]:
    """(train, validation) of `total`: the first int(total * fraction) of a permutation validate."""
    n_val = int(total * val_fraction)
    return total - n_val, n_val


def _layout(choices: tuple[str, ...], default: str) -> Key:
    return Key("layout", "str", default, "static",
               "pixels: one scalar a step, channel-major; rows: one image row a step; grey: one "
               "luminance a step.", choices=choices)  # fmt: skip


def _image_task(name: str, shapes: str, default: str, doc: str) -> Task:
    layouts = IMAGE_LAYOUTS[shapes]

    def sizes(config: Config) -> Sizes:
        total, n_test = _COUNTS[name]
        n_train, n_val = split_counts(total, config["val_fraction"])
        return Sizes(*layouts[config["layout"]], 10, n_train, n_val, n_test, config["batch_size"])

    return Task(
        name=name,
        version=1,
        doc=doc,
        keys=(_BATCH, _NOISE, _SPLIT, _VALIDATION, _layout(tuple(layouts), default)),
        sizes=sizes,
        dataset=lambda config: name,
        chance_loss=lambda config: math.log(10),
        check=lambda config: (
            [] if sizes(config).n_train >= 1 else ["val_fraction leaves no training sample"]
        ),
    )


def _digits_sizes(config: Config) -> Sizes:
    return Sizes(
        *IMAGE_LAYOUTS["digits"][config["layout"]], 10, *DIGITS_SPLIT, config["batch_size"]
    )


DIGITS = Task(
    name="digits",
    version=1,
    doc="scikit-learn's 8x8 digits, 1437 / 180 / 180 of 1,797, pixels standardised.",
    keys=(_BATCH, _NOISE, _SPLIT, _layout(tuple(IMAGE_LAYOUTS["digits"]), "pixels")),
    sizes=_digits_sizes,
    dataset=lambda config: "digits",
    chance_loss=lambda config: math.log(10),
)

MNIST = _image_task("mnist", "mnist", "rows", "MNIST, pixels divided by 255 and standardised.")
CIFAR10 = _image_task("cifar10", "cifar10", "pixels", "CIFAR-10, standardised by channel.")
CIFAR10_4K = _image_task(
    "cifar10_4k", "cifar10", "rows", "The first 4,000 CIFAR-10 images and 100 test images a class."
)

GAUSSIAN = Task(
    name="gaussian",
    version=1,
    doc="N(0,1) input and random labels, drawn on the device: for measurements at initialisation.",
    keys=(
        _BATCH,
        Key("seq_len", "int", 64, "static", "Time steps T.", unit="time steps", low=1,
            aliases=("T",)),
        Key("features", "int", 1, "static", "Input features a step.", low=1),
        Key("classes", "int", 10, "static", "Labels.", low=2),
        Key("steps_per_epoch", "int", 1, "static", "Batches drawn for each epoch.", low=1),
    ),
    sizes=lambda config: Sizes(
        config["seq_len"], config["features"], config["classes"],
        config["steps_per_epoch"] * config["batch_size"], config["batch_size"],
        config["batch_size"], config["batch_size"],
    ),
    chance_loss=lambda config: math.log(config["classes"]),
)  # fmt: skip

TASKS = (DIGITS, MNIST, CIFAR10, CIFAR10_4K, GAUSSIAN)
