"""Declarations of the long-sequence tasks of docs/specs/bar2025.md, 2."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

from trainables.declarations.core.keys import Key
from trainables.declarations.core.parts import Config, Metric, Sizes, Task
from trainables.declarations.tasks.base import (
    BATCH,
    OVER_TIME,
    SEQ_LEN,
    SPLIT,
    VALIDATION,
    needs_every_step,
    with_default,
)

LISTOPS_FEATURES, IMDB_FEATURES = 20, 135
"""Numbers of a token's unit vector as published; ListOps has 15 tokens and three marks."""
COPY_BITS = 7

_SPLIT = with_default(SPLIT, 42)
_VALIDATION = with_default(VALIDATION, 0.1)
_CAPS = (
    Key("max_train", "int", None, "static", "Only so many training samples; null: all.",
        unit="samples", low=1, nullable=True),
    Key("max_held", "int", None, "static", "Only so many validation and as many test samples.",
        unit="samples", low=1, nullable=True),
)  # fmt: skip
_DATA_SEED = Key("data_seed", "int", 0, "static", "Draws the data set, on the host.", low=0,
                 high=2**31 - 1)  # fmt: skip


def shares(config: Config, pool: int, n_test: int) -> tuple[int, int, int]:
    """Samples of training, validation and test: the split of `pool`, then the caps."""
    train = int(pool * (1 - config["val_fraction"]))
    most, held = config["max_train"], config["max_held"]
    parts = train, pool - train, n_test
    caps = (most or train, held or pool, held or n_test)
    train, val, test = (min(n, cap) for n, cap in zip(parts, caps, strict=True))
    return train, val, test


def whole_batches(config: Config, parts: tuple[int, int, int]) -> tuple[int, int, int]:
    """`parts` with the training samples of an epoch: those of its whole batches."""
    train, val, test = parts
    return train // config["batch_size"] * config["batch_size"], val, test


def _few(config: Config, train: int) -> list[str]:
    if train >= config["batch_size"]:
        return []
    return [f"{train} training samples are less than a batch of {config['batch_size']}"]


# ---- images --------------------------------------------------------------------------------------

IMAGE_SETS = {  # task -> (data set, training pool, test samples)
    "smnist": ("mnist", 60_000, 10_000),
    "psmnist": ("mnist", 60_000, 10_000),
    "scifar": ("cifar10", 50_000, 10_000),
    "scifar_grey": ("cifar10", 50_000, 10_000),
    "scifar_4k": ("cifar10_4k", 4_000, 1_000),
    "scifar_grey_4k": ("cifar10_4k", 4_000, 1_000),
}
_LAYOUTS = {
    "smnist": {"pixels": (784, 1), "rows": (28, 28)},
    "psmnist": {"pixels": (784, 1)},
    "scifar": {"pixels": (1024, 3), "rows": (32, 96)},
    "scifar_grey": {"pixels": (1024, 1), "rows": (32, 32)},
}


def _image_task(
    name: str, doc: str, aliases: tuple[str, ...], val_fraction: float, batch: int
) -> Task:
    dataset, pool, n_test = IMAGE_SETS[name]
    layouts = _LAYOUTS[name.removesuffix("_4k")]

    def sizes(config: Config) -> Sizes:
        parts = whole_batches(config, shares(config, pool, n_test))
        return Sizes(*layouts[config["layout"]], 10, *parts, config["batch_size"])

    layout = Key("layout", "str", "pixels", "static", "pixels: one a step, row after row; rows: "
                 "one image row a step.", choices=tuple(layouts))  # fmt: skip
    return Task(
        name=name,
        version=1,
        runtime="trainables.tasks.long_sequences:ImageTask",
        metric_columns=OVER_TIME,
        doc=doc,
        keys=(
            with_default(BATCH, batch),
            _SPLIT,
            with_default(VALIDATION, val_fraction),
            layout,
            *_CAPS,
        ),
        sizes=sizes,
        dataset=lambda config: dataset,
        chance_loss=lambda config: math.log(10),
        check=lambda config: _few(config, shares(config, pool, n_test)[0]),
        aliases=aliases,
    )


SEQUENCE_IMAGES = (
    _image_task("smnist", "MNIST pixel by pixel, divided by 255.", ("mnist-classification",),
                0.1, 64),
    _image_task("psmnist", "The same in bit-reversed order.", ("pmnist-classification",), 0.1, 64),
    _image_task("scifar", "CIFAR-10 pixel by pixel in colour, standardised by channel.",
                ("cifar-classification",), 0.01, 50),
    _image_task("scifar_grey", "CIFAR-10 pixel by pixel in grey (Image of the Long Range Arena).",
                ("lra-cifar-classification", "cifar-lra-classification"), 0.01, 50),
    _image_task("scifar_4k", "scifar on the first 4,000 images and 100 test images a class.", (),
                0.1, 50),
    _image_task("scifar_grey_4k", "scifar_grey on the same subset.", (), 0.1, 50),
)  # fmt: skip


# ---- tokens --------------------------------------------------------------------------------------


def _counts(train: int, val: int, test: int) -> tuple[Key, ...]:
    words = {"n_train": ("Training", train), "n_val": ("Validation", val), "n_test": ("Test", test)}
    return tuple(
        Key(name, "int", default, "static", f"{word} samples.", unit="samples", low=1)
        for name, (word, default) in words.items()
    )


def _own_parts(config: Config) -> tuple[int, int, int]:
    return config["n_train"], config["n_val"], config["n_test"]


def _listops_sizes(config: Config) -> Sizes:
    parts = whole_batches(config, _own_parts(config))
    shape = config["seq_len"], LISTOPS_FEATURES, 10
    return Sizes(*shape, *parts, config["batch_size"], tokens=True, padded=True)


def _listops_check(config: Config) -> list[str]:
    found = _few(config, config["n_train"])
    if config["max_length"] > config["seq_len"]:
        found.append("max_length must be at most seq_len, which has room for an end mark")
    if config["min_length"] + 1 >= config["max_length"]:
        found.append("no length lies strictly between min_length and max_length")
    if config["source"] == "canonical" and sum(_own_parts(config)) > 100_000:
        found.append("source=canonical has 96,000, 2,000 and 2,000 samples")
    return found


LISTOPS = Task(
    name="listops",
    version=1,
    runtime="trainables.tasks.long_sequences:ListOpsTask",
    metric_columns=OVER_TIME,
    doc="Value of a nested expression of MIN, MAX, MED and SM over digits.",
    keys=(
        with_default(BATCH, 32),
        replace(SEQ_LEN, default=2048, doc="Tokens a sample, end mark and padding included."),
        *_counts(96_000, 2_000, 2_000),
        Key("max_depth", "int", 10, "static", "Levels of a tree, the root's included.", low=2),
        Key("max_args", "int", 10, "static", "Most operands of an operator.", low=2),
        Key("min_length", "int", 500, "static", "Lengths are above this.", unit="tokens", low=0),
        Key("max_length", "int", 2000, "static", "Lengths are below this.", unit="tokens", low=3),
        Key("source", "str", "generated", "static",
            "generated: by the published law; canonical: the files of the Long Range Arena.",
            choices=("generated", "canonical")),
        _DATA_SEED,
    ),
    sizes=_listops_sizes,
    dataset=lambda config: "listops" if config.get("source") == "canonical" else None,
    chance_loss=lambda config: math.log(10),
    check=_listops_check,
    aliases=("listops-classification",),
)  # fmt: skip


def _imdb_sizes(config: Config) -> Sizes:
    parts = whole_batches(config, shares(config, 25_000, 25_000))
    shape = config["seq_len"], IMDB_FEATURES, 2
    return Sizes(*shape, *parts, config["batch_size"], tokens=True, padded=True)


IMDB = Task(
    name="imdb",
    version=1,
    runtime="trainables.tasks.long_sequences:ReviewTask",
    metric_columns=OVER_TIME,
    doc="Sentiment of film reviews, character by character.",
    keys=(
        with_default(BATCH, 32),
        replace(SEQ_LEN, default=4096, high=4096,
                doc="Number of characters kept, from the first, with the end mark; then padding."),
        _SPLIT,
        replace(_VALIDATION, doc="Part of the training set held out; 0: the test set validates "
                "too, as published."),
        *_CAPS,
    ),
    sizes=_imdb_sizes,
    dataset=lambda config: "imdb",
    chance_loss=lambda config: math.log(2),
    check=lambda config: _few(config, shares(config, 25_000, 25_000)[0]),
    aliases=("imdb-classification",),
)  # fmt: skip


# ---- copying -------------------------------------------------------------------------------------


def copy_length(config: Config) -> int:
    """Pattern, gap, stop mark, and as many blank steps as the pattern has."""
    return 2 * int(config["pattern"]) + int(config["gap"]) + 1


def _copy_check(config: Config) -> list[str]:
    found = _few(config, config["n_train"]) + needs_every_step(config, "copy")
    if config.get("pooling", "none") != "none":
        found.append("task copy needs an output at every step: pooling=none")
    return found


COPY = Task(
    name="copy",
    version=1,
    runtime="trainables.tasks.long_sequences:CopyTask",
    doc="Repeat a pattern of random bits after a gap; judged on the last steps alone.",
    metric_columns=(
        Metric("published_loss", "nats", "min",
               "The loss divided by the number of all time steps, 48 as published."),
    ),
    keys=(
        BATCH,
        *_counts(20_000, 1_000, 1_000),
        Key("pattern", "int", 20, "static", "Steps of the pattern.", unit="time steps", low=1),
        Key("gap", "int", 7, "static", "Blank steps after it.", unit="time steps", low=0),
        _DATA_SEED,
    ),
    sizes=lambda config: Sizes(
        copy_length(config), COPY_BITS + 1, 2 * COPY_BITS,
        *whole_batches(config, _own_parts(config)), config["batch_size"],
    ),
    chance_loss=lambda config: math.log(2),
    check=_copy_check,
    aliases=("copy-classification",),
)  # fmt: skip

SEQUENCE_TASKS = (*SEQUENCE_IMAGES, LISTOPS, IMDB, COPY)

Parts = Callable[[Config], tuple[int, int, int]]
SAMPLES: Mapping[str, Parts] = {
    **{
        name: (lambda config, pool=pool, test=test: shares(config, pool, test))
        for name, (_, pool, test) in IMAGE_SETS.items()
    },
    "listops": _own_parts,
    "copy": _own_parts,
    "imdb": lambda config: shares(config, 25_000, 25_000),
}
"""Training, validation and test samples of each task; an epoch takes whole batches of them."""
