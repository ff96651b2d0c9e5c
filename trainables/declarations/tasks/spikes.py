"""Declarations of the tasks whose inputs are spikes: sl_mnist, heidelberg, spikes."""

from __future__ import annotations

from collections.abc import Callable

from trainables.declarations.core.keys import Key
from trainables.declarations.core.parts import Config, Sizes, Task
from trainables.declarations.tasks.base import (
    BATCH,
    LOSS,
    OVER_TIME,
    TIME_REPEAT,
    counts,
    guess_loss,
    unit_of_loss,
    with_default,
)

LATENCIES, PIXELS = 100, 784
"""Time steps of sl_mnist, and its channels: MNIST's pixels."""
SHD_BINS, SHD_CHANNELS, SHD_CLASSES = 250, 700, 20
_MNIST_TRAIN = 60_000
_SHD_TRAIN, _SHD_TEST = 8_156, 2_264


def _overlap(total: int) -> Callable[[Config], list[str]]:
    def check(config: Config) -> list[str]:
        train, val = config["n_train"], config["n_val"]
        if train + val <= total:
            return []
        return [f"n_train={train} and n_val={val} overlap: there are {total:,} training samples"]

    return check


def _sizes(config: Config, bins: int, channels: int, classes: int) -> Sizes:
    split = config["n_train"], config["n_val"], config["n_test"]
    return Sizes(bins * config["time_repeat"], channels, classes, *split, config["batch_size"])


SL_MNIST = Task(
    name="sl_mnist",
    version=1,
    runtime="trainables.tasks.spikes:LatencyTask",
    metric_columns=OVER_TIME,
    doc="MNIST as spike latencies: one spike a bright pixel, the brighter the earlier.",
    keys=(
        with_default(BATCH, 256),
        LOSS,
        TIME_REPEAT,
        Key("reshape", "bool", True, "static",
            "true: the (784, 100) array of pixels and latencies is read row by row as (100, 784), "
            "as published, which scatters a pixel's spike over channels and time; false: it is "
            "transposed, so that channel is pixel and time is latency."),
        *counts((48_000, _MNIST_TRAIN), (12_000, _MNIST_TRAIN), (10_000, 10_000)),
    ),
    sizes=lambda config: _sizes(config, LATENCIES, PIXELS, 10),
    dataset=lambda config: "mnist",
    chance_loss=lambda config: guess_loss(config, 10),
    loss_unit=unit_of_loss,
    check=_overlap(_MNIST_TRAIN),
)  # fmt: skip

HEIDELBERG = Task(
    name="heidelberg",
    version=1,
    runtime="trainables.tasks.spikes:BinnedTask",
    metric_columns=OVER_TIME,
    doc="Spiking Heidelberg Digits in 250 bins of 4 ms: spoken digits as binary spikes.",
    keys=(
        with_default(BATCH, 100),
        LOSS,
        TIME_REPEAT,
        # The published split leaves one training sample out, and the end of the test file.
        *counts((7_747, _SHD_TRAIN), (408, _SHD_TRAIN), (2_088, _SHD_TEST)),
    ),
    sizes=lambda config: _sizes(config, SHD_BINS, SHD_CHANNELS, SHD_CLASSES),
    dataset=lambda config: "heidelberg",
    chance_loss=lambda config: guess_loss(config, SHD_CLASSES),
    loss_unit=unit_of_loss,
    check=_overlap(_SHD_TRAIN),
    aliases=("shd",),
)

_MANY = 10_000_000
SPIKES = Task(
    name="spikes",
    version=1,
    runtime="trainables.tasks.spikes:DrawnTask",
    metric_columns=OVER_TIME,
    doc="Generated spikes of heidelberg's shape: each class is moving bands of firing channels.",
    keys=(
        with_default(BATCH, 100),
        LOSS,
        TIME_REPEAT,
        Key("bins", "int", SHD_BINS, "static", "Time bins.", unit="time steps", low=2),
        Key("channels", "int", SHD_CHANNELS, "static", "Input channels.", low=2),
        Key("classes", "int", SHD_CLASSES, "static", "Labels.", low=2),
        Key("rate", "float", 0.044, "static", "Mean share of bins with a spike.", open_low=True,
            low=0, high=0.25),
        Key("data_seed", "int", 0, "static", "Draws the classes and all samples.", low=0,
            high=2**31 - 1),
        *counts((7_747, _MANY), (408, _MANY), (2_088, _MANY)),
    ),
    sizes=lambda config: _sizes(config, config["bins"], config["channels"], config["classes"]),
    chance_loss=lambda config: guess_loss(config, config["classes"]),
    loss_unit=unit_of_loss,
)  # fmt: skip

SPIKE_TASKS = (SL_MNIST, HEIDELBERG, SPIKES)
