"""Declarations of the tasks of tokens, and of copying (docs/specs/bar2025.md, 2).

Those on images: `pixel_sequences`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from trainables.declarations.core.keys import Key
from trainables.declarations.core.parts import Config, Metric, Sizes, Task
from trainables.declarations.tasks.base import (
    BATCH,
    OVER_TIME,
    SEQ_LEN,
    VALIDATION,
    needs_every_step,
    with_default,
)
from trainables.declarations.tasks.pixel_sequences import IMAGE_SETS
from trainables.declarations.tasks.sample_counts import (
    CAPS,
    SPLIT_42,
    own_counts,
    own_parts,
    shares,
    too_few,
    whole_batches,
)

LISTOPS_FEATURES, IMDB_FEATURES, AAN_FEATURES = 20, 135, 98
"""Numbers of a token's unit vector as published; ListOps has 15 tokens and three marks, AAN the 95
characters of ASCII that are printed."""
MARKS = 3
"""Padding, the unknown word, the end of a sample."""
COPY_BITS = 7

_DATA_SEED = Key("data_seed", "int", 0, "static", "Draws the data set, on the host.", low=0,
                 high=2**31 - 1)  # fmt: skip

# ---- tokens --------------------------------------------------------------------------------------


def _listops_sizes(config: Config) -> Sizes:
    parts = whole_batches(config, own_parts(config))
    shape = config["seq_len"], LISTOPS_FEATURES, 10
    return Sizes(*shape, *parts, config["batch_size"], tokens=True, padded=True)


def _listops_check(config: Config) -> list[str]:
    found = too_few(config, config["n_train"])
    if config["max_length"] > config["seq_len"]:
        found.append("max_length must be at most seq_len, which has room for an end mark")
    if config["min_length"] + 1 >= config["max_length"]:
        found.append("no length lies strictly between min_length and max_length")
    if config["source"] == "canonical" and sum(own_parts(config)) > 100_000:
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
        *own_counts(96_000, 2_000, 2_000),
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
    words = config["level"] == "words"
    shape = config["seq_len"], config["vocabulary"] + MARKS if words else IMDB_FEATURES, 2
    return Sizes(*shape, *parts, config["batch_size"], tokens=True, padded=True)


IMDB = Task(
    name="imdb",
    version=1,
    runtime="trainables.tasks.long_sequences:ReviewTask",
    metric_columns=OVER_TIME,
    doc="Sentiment of film reviews, character by character or word by word.",
    keys=(
        with_default(BATCH, 32),
        replace(SEQ_LEN, default=4096, high=4096,
                doc="Number of characters, or words, kept from the first, with the end mark; then "
                "padding."),
        SPLIT_42,
        replace(VALIDATION, default=0.1,
                doc="Part of the training set held out; 0: the test set validates too, as "
                "published."),
        *CAPS,
        Key("level", "str", "chars", "static",
            "chars: characters, as published. words: words in lower case and marks between them.",
            choices=("chars", "words"), added=True),
        Key("vocabulary", "int", 10_000, "static",
            "Of level=words: number of words that are known, the most frequent ones of the "
            "training reviews.",
            unit="words", low=1, high=60_000, added=True),
    ),
    sizes=_imdb_sizes,
    dataset=lambda config: "imdb_words" if config.get("level") == "words" else "imdb",
    chance_loss=lambda config: math.log(2),
    check=lambda config: too_few(config, shares(config, 25_000, 25_000)[0]),
    aliases=("imdb-classification",),
)  # fmt: skip


def _aan_sizes(config: Config) -> Sizes:
    parts = whole_batches(config, own_parts(config))
    shape = config["seq_len"], AAN_FEATURES, 2
    return Sizes(*shape, *parts, config["batch_size"], tokens=True, padded=True, documents=2)


def _aan_check(config: Config) -> list[str]:
    found = too_few(config, config["n_train"])
    if config.get("model", PAIRED[0]) not in PAIRED:
        found.append(f"task aan compares two texts, which these models do: {', '.join(PAIRED)}")
    if config.get("pooling") == "none":
        found.append("task aan compares two texts as wholes: pooling=mean or last")
    return found


PAIRED = ("deep_lru", "deep_linear_rnn", "deep_diagonal_rnn")
"""Models that take a pair of texts."""

AAN = Task(
    name="aan",
    version=1,
    runtime="trainables.tasks.long_sequences:RetrievalTask",
    metric_columns=OVER_TIME,
    doc="Whether one of two papers cites the other, by their characters (Retrieval of the Long "
    "Range Arena).",
    keys=(
        with_default(BATCH, 64),
        replace(SEQ_LEN, default=4000, high=4000,
                doc="Number of characters kept of each text, with the end mark; then padding."),
        *own_counts(147_086, 18_090, 17_437),
    ),
    sizes=_aan_sizes,
    dataset=lambda config: "aan",
    chance_loss=lambda config: math.log(2),
    check=_aan_check,
    aliases=("aan-classification",),
)  # fmt: skip


# ---- copying -------------------------------------------------------------------------------------


def copy_length(config: Config) -> int:
    """Pattern, gap, stop mark, and as many blank steps as the pattern has."""
    return 2 * int(config["pattern"]) + int(config["gap"]) + 1


def _copy_check(config: Config) -> list[str]:
    found = too_few(config, config["n_train"]) + needs_every_step(config, "copy")
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
        *own_counts(20_000, 1_000, 1_000),
        Key("pattern", "int", 20, "static", "Steps of the pattern.", unit="time steps", low=1),
        Key("gap", "int", 7, "static", "Blank steps after it.", unit="time steps", low=0),
        _DATA_SEED,
    ),
    sizes=lambda config: Sizes(
        copy_length(config), COPY_BITS + 1, 2 * COPY_BITS,
        *whole_batches(config, own_parts(config)), config["batch_size"],
    ),
    chance_loss=lambda config: math.log(2),
    check=_copy_check,
    aliases=("copy-classification",),
)  # fmt: skip

SEQUENCE_TASKS = (LISTOPS, IMDB, AAN, COPY)

Parts = Callable[[Config], tuple[int, int, int]]
SAMPLES: Mapping[str, Parts] = {
    **{
        name: partial(shares, pool=pool, n_test=test)
        for name, (_, pool, test) in IMAGE_SETS.items()
    },
    **dict.fromkeys(("listops", "copy", "aan", "pathfinder", "pathx"), own_parts),
    "imdb": partial(shares, pool=25_000, n_test=25_000),
}
"""Training, validation and test samples of each task; an epoch takes whole batches of them."""
