"""Declarations of the tasks on images pixel by pixel (docs/specs/bar2025.md, 2)."""

from __future__ import annotations

import math
from dataclasses import replace

from trainables.declarations.core.keys import Key
from trainables.declarations.core.parts import Config, Sizes, Task
from trainables.declarations.tasks.base import BATCH, OVER_TIME, VALIDATION, with_default
from trainables.declarations.tasks.sample_counts import (
    CAPS,
    SPLIT_42,
    own_counts,
    own_parts,
    shares,
    too_few,
    whole_batches,
)

IMAGE_SETS = {  # task -> (data set, training pool, test samples)
    "smnist": ("mnist", 60_000, 10_000),
    "psmnist": ("mnist", 60_000, 10_000),
    "scifar": ("cifar10", 50_000, 10_000),
    "scifar_grey": ("cifar10", 50_000, 10_000),
    "scifar_4k": ("cifar10_4k", 4_000, 1_000),
    "scifar_grey_4k": ("cifar10_4k", 4_000, 1_000),
}
ROWS = {"smnist": 28, "scifar": 32, "scifar_grey": 32}
"""Side of the images of a task that can also be read row by row."""
SIDES = {"smnist": 28, "psmnist": 28, "scifar": 32, "scifar_grey": 32, "pathfinder": 32,
         "pathx": 128}  # fmt: skip
PUBLISHED_SIDES = (32, 64, 128, 256)
"""Sides of the images of Pathfinder in the files of the Long Range Arena."""

PIXEL_ORDER = Key(
    "pixel_order", "str", "raster", "static",
    "In which order pixels come. raster: row after row; snake: every other row backwards; "
    "transposed: column after column; both: a pixel in raster order beside the one in transposed "
    "order, twice as many numbers a step; hilbert: along a Hilbert curve; bit_reversed: by their "
    "reversed number, as in task psmnist.",
    choices=("raster", "snake", "transposed", "both", "hilbert", "bit_reversed"), added=True,
)  # fmt: skip
GREY_TOKENS = Key(
    "grey_tokens", "bool", False, "static",
    "A pixel is one of 256 tokens, its grey level, and no number.", added=True,
)  # fmt: skip

STANDARDISE = Key(
    "standardise", "str", "published", "static",
    "What grey levels become. published: as the task says; unit: divided by 255, so from 0 to 1; "
    "none: raw levels, 0 to 255.",
    choices=("published", "unit", "none"), added=True,
)  # fmt: skip


def _resolution(side: int) -> Key:
    return Key(
        "resolution", "int", None, "static",
        f"Side of the images, to which squares of pixels are averaged; null: {side}.",
        unit="pixels", low=1, high=side, nullable=True, added=True,
    )  # fmt: skip


def _augment(*choices: str) -> Key:
    return Key(
        "augment", "str", "none", "static",
        "Of training images. crop: moved by up to 4 pixels, mirrored at the edge; flip: left and "
        "right exchanged in half of them; crop_flip: both.", choices=("none", *choices),
        added=True,
    )  # fmt: skip


def _kin(name: str) -> str:
    return name.removesuffix("_4k")


def side_of(name: str, config: Config) -> int:
    """Side of the images that a task shows, in pixels."""
    return int(config.get("resolution") or SIDES[_kin(name)])


def shape_of(name: str, config: Config) -> tuple[int, int]:
    """Time steps and features of a task; of tokens the size of the vocabulary."""
    side, channels = side_of(name, config), 3 if _kin(name) == "scifar" else 1
    if config.get("layout") == "rows":
        return side, side * channels
    if config.get("pixel_order") == "both":
        channels *= 2
    return side * side, 256 if config.get("grey_tokens") else channels


def _problems(name: str, config: Config) -> list[str]:
    """What a task's keys cannot be together."""
    found, whole, side = [], SIDES[_kin(name)], side_of(name, config)
    if name not in ("pathfinder", "pathx") and whole % side:
        divisors = [str(d) for d in range(1, whole + 1) if whole % d == 0]
        found.append(
            f"resolution={side} does not divide {whole}, the side of the images of {name}; choose "
            f"one of {', '.join(divisors)}"
        )
    if config.get("pixel_order") == "both" and config.get("grey_tokens"):
        found.append("pixel_order=both shows two numbers a step, so grey_tokens must be false")
    if config["standardise"] != "published" and config.get("grey_tokens"):
        found.append("grey_tokens shows levels as tokens, so standardise must be published")
    if config.get("layout") == "rows":
        found += [
            f"layout=rows shows rows of pixels, so {key} must be {usual}"
            for key, usual in (("pixel_order", "raster"), ("grey_tokens", "false"))
            if config.get(key) not in (None, False, "raster")
        ]
    return found


def _image_task(
    name: str, doc: str, aliases: tuple[str, ...], val_fraction: float, batch: int
) -> Task:
    dataset, pool, n_test = IMAGE_SETS[name]
    kin = _kin(name)
    layouts = ("pixels", "rows") if kin in ROWS else ("pixels",)

    def sizes(config: Config) -> Sizes:
        parts = whole_batches(config, shares(config, pool, n_test))
        tokens = bool(config.get("grey_tokens"))
        shape = shape_of(name, config)
        return Sizes(*shape, 10, *parts, config["batch_size"], tokens=tokens)

    layout = Key("layout", "str", "pixels", "static", "pixels: one a step, row after row; rows: "
                 "one image row a step.", choices=layouts)  # fmt: skip
    offered = ("crop", "flip", "crop_flip") if kin.startswith("scifar") else ("crop",)
    return Task(
        name=name,
        version=1,
        runtime="trainables.tasks.pixel_sequences:ImageTask",
        metric_columns=OVER_TIME,
        doc=doc,
        keys=(
            with_default(BATCH, batch),
            SPLIT_42,
            with_default(VALIDATION, val_fraction),
            layout,
            *CAPS,
            *(() if name == "psmnist" else (PIXEL_ORDER,)),
            *(() if kin == "scifar" else (GREY_TOKENS,)),
            _resolution(SIDES[kin]),
            _augment(*offered),
            STANDARDISE,
        ),
        sizes=sizes,
        dataset=lambda config: dataset,
        chance_loss=lambda config: math.log(10),
        check=lambda config: [
            *too_few(config, shares(config, pool, n_test)[0]),
            *_problems(name, config),
        ],
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


# ---- Pathfinder ----------------------------------------------------------------------------------


def _pathfinder(name: str, doc: str, batch: int) -> Task:
    whole = SIDES[name]

    def sizes(config: Config) -> Sizes:
        parts = whole_batches(config, own_parts(config))
        tokens = bool(config["grey_tokens"])
        return Sizes(*shape_of(name, config), 2, *parts, config["batch_size"], tokens=tokens)

    def check(config: Config) -> list[str]:
        found, side = too_few(config, config["n_train"]), side_of(name, config)
        if side not in PUBLISHED_SIDES:
            known = ", ".join(map(str, PUBLISHED_SIDES))
            found.append(f"resolution={side} is not published; the files have {known}")
        return found + _problems(name, config)

    return Task(
        name=name,
        version=1,
        runtime="trainables.tasks.pixel_sequences:PathTask",
        metric_columns=OVER_TIME,
        doc=doc,
        keys=(
            with_default(BATCH, batch),
            replace(SPLIT_42, doc="Divides the images among training, validation and test."),
            *own_counts(160_000, 20_000, 20_000),
            PIXEL_ORDER,
            GREY_TOKENS,
            Key("resolution", "int", whole, "static", "Side of the images, which is that of the "
                "published files: 32, 64, 128 or 256.", unit="pixels", low=1),
            _augment("crop", "flip", "crop_flip"),
            STANDARDISE,
        ),
        sizes=sizes,
        dataset=lambda config: f"pathfinder{side_of(name, config)}",
        chance_loss=lambda config: math.log(2),
        check=check,
        aliases=(f"{name}-classification",),
    )  # fmt: skip


PATHFINDER = _pathfinder(
    "pathfinder", "Whether a dashed path joins two dots, pixel by pixel (Long Range Arena).", 64
)
PATHX = _pathfinder("pathx", "The same in images of 128 x 128: 16,384 steps.", 32)

PIXEL_TASKS = (*SEQUENCE_IMAGES, PATHFINDER, PATHX)
