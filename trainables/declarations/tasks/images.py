"""Declarations of the tasks on images, and of drawn input: what they read, and their shapes."""

from __future__ import annotations

from trainables.declarations.core.keys import Key
from trainables.declarations.core.parts import Config, Sizes, Task
from trainables.declarations.tasks.base import (
    BATCH,
    LOSS,
    NOISE,
    OVER_TIME,
    SEQ_LEN,
    SPLIT,
    STANDARDISE,
    VALIDATION,
    guess_loss,
    split_counts,
    unit_of_loss,
)

IMAGE_LAYOUTS = {  # data set -> layout -> (time steps, features)
    "digits": {"pixels": (64, 1), "rows": (8, 8), "flat": (1, 64)},
    "mnist": {"pixels": (784, 1), "rows": (28, 28), "flat": (1, 784)},
    "cifar10": {"pixels": (3072, 1), "rows": (32, 96), "grey": (1024, 1), "flat": (1, 3072)},
    "cifar100": {"pixels": (3072, 1), "rows": (32, 96), "flat": (1, 3072)},
}
_COUNTS = {  # data set -> (training samples, test samples)
    "mnist": (60_000, 10_000),
    "cifar10": (50_000, 10_000),
    "cifar10_4k": (4_000, 1_000),
    "cifar100": (50_000, 10_000),
    "cifar100_2k": (2_000, 1_000),
}
DIGITS_SPLIT = (1437, 180, 180)
"""Train, validation, test of scikit-learn's 1,797 digits; 1,437 is its usual 80 %."""


def _layout(choices: tuple[str, ...], default: str) -> Key:
    return Key(
        "layout", "str", default, "static",
        "pixels: one scalar a step, channel-major; rows: one image row a step; grey: one luminance "
        "a step; flat: all pixels at once, one step.", choices=choices,
    )  # fmt: skip


def _image_task(name: str, shapes: str, default: str, doc: str, classes: int = 10) -> Task:
    layouts = IMAGE_LAYOUTS[shapes]

    def sizes(config: Config) -> Sizes:
        total, n_test = _COUNTS[name]
        n_train, n_val = split_counts(total, config["val_fraction"])
        shape = layouts[config["layout"]]
        return Sizes(*shape, classes, n_train, n_val, n_test, config["batch_size"])

    return Task(
        name=name,
        version=1,
        runtime="trainables.tasks.images:ImageSet",
        metric_columns=OVER_TIME,
        doc=doc,
        keys=(LOSS, BATCH, NOISE, SPLIT, VALIDATION, _layout(tuple(layouts), default), STANDARDISE),
        sizes=sizes,
        dataset=lambda config: name,
        chance_loss=lambda config: guess_loss(config, classes),
        loss_unit=unit_of_loss,
        check=lambda config: (
            [] if sizes(config).n_train >= 1 else ["val_fraction leaves no training sample"]
        ),
    )


def _digits_sizes(config: Config) -> Sizes:
    return Sizes(
        *IMAGE_LAYOUTS["digits"][config["layout"]], 10, *DIGITS_SPLIT, config["batch_size"]
    )


_TEST_SEED = Key(
    "test_seed", "int", None, "static",
    "The 180 test images are drawn from all 1,797 by this seed; null: they are the last 180 of the "
    "file, by other writers than the others.", low=0, high=2**31 - 1, nullable=True, added=True,
)  # fmt: skip

DIGITS = Task(
    name="digits",
    version=1,
    runtime="trainables.tasks.images:ImageSet",
    metric_columns=OVER_TIME,
    doc="scikit-learn's 8x8 digits, 1437 / 180 / 180 of 1,797, pixels standardised.",
    keys=(
        LOSS,
        BATCH,
        NOISE,
        SPLIT,
        _layout(tuple(IMAGE_LAYOUTS["digits"]), "pixels"),
        STANDARDISE,
        _TEST_SEED,
    ),
    sizes=_digits_sizes,
    dataset=lambda config: "digits",
    chance_loss=lambda config: guess_loss(config, 10),
    loss_unit=unit_of_loss,
)

MNIST = _image_task("mnist", "mnist", "rows", "MNIST, pixels divided by 255 and standardised.")
CIFAR10 = _image_task("cifar10", "cifar10", "pixels", "CIFAR-10, standardised by channel.")
CIFAR10_4K = _image_task(
    "cifar10_4k", "cifar10", "rows", "The first 4,000 CIFAR-10 images and 100 test images a class."
)
CIFAR100 = _image_task(
    "cifar100", "cifar100", "flat", "CIFAR-100, fine labels, standardised by channel.", 100
)
CIFAR100_2K = _image_task(
    "cifar100_2k", "cifar100", "flat", "20 training and 10 test images of each CIFAR-100 class.",
    100,
)  # fmt: skip

GAUSSIAN = Task(
    name="gaussian",
    version=1,
    runtime="trainables.tasks.base:GaussianTask",
    metric_columns=OVER_TIME,
    doc="N(0,1) input and random labels, drawn on the device: for measurements at initialisation.",
    keys=(
        LOSS,
        BATCH,
        SEQ_LEN,
        Key("features", "int", 1, "static", "Input features a step.", low=1),
        Key("classes", "int", 10, "static", "Labels.", low=2),
        Key("steps_per_epoch", "int", 1, "static", "Batches drawn for each epoch.", low=1),
    ),
    sizes=lambda config: Sizes(
        config["seq_len"], config["features"], config["classes"],
        config["steps_per_epoch"] * config["batch_size"], config["batch_size"],
        config["batch_size"], config["batch_size"],
    ),
    chance_loss=lambda config: guess_loss(config, config["classes"]),
    loss_unit=unit_of_loss,
)  # fmt: skip

IMAGE_TASKS = (DIGITS, MNIST, CIFAR10, CIFAR10_4K, CIFAR100, CIFAR100_2K)
