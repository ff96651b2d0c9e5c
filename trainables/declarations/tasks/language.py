"""Declarations of the language-modelling tasks: token streams cut into segments in their order."""

from __future__ import annotations

import math
from dataclasses import replace

from trainables.declarations.core.keys import Key
from trainables.declarations.core.parts import Config, Metric, Sizes, Task
from trainables.declarations.tasks.base import (
    BATCH,
    SEQ_LEN,
    TIME_REPEAT,
    needs_every_step,
    with_default,
)
from trainables.declarations.tasks.synthetic import REDUCTION, summed_terms

PTB_TOKENS = (929_589, 73_760, 82_430)
"""Training, validation and test tokens, line ends included."""
PTB_WORDS = 10_000


CORPORA = {  # corpus -> (its data set, tokens of training, validation and test, words)
    "wikitext2": ("wikitext2", (2_088_628, 217_646, 245_569), 33_278),
    "ptb": ("ptb", PTB_TOKENS, PTB_WORDS),
    "wikitext2_valid": ("wikitext2_valid", (217_646, 122_784, 122_785), 18_328),
    "tiny": ("tiny_text", (2_240, 480, 480), 23),
}
_CHARACTERS = (5_101_618, 399_782, 449_945), 50
"""Characters of the Penn Treebank's three parts, and how many there are."""


def _tokens(config: Config) -> tuple[tuple[int, int, int], int]:
    """Tokens of a task's three parts, and how many there are."""
    return (
        _CHARACTERS if config.get("task") == "charptb" else CORPORA[config.get("corpus", "ptb")][1:]
    )


def stream_lengths(config: Config) -> tuple[int, ...]:
    """Tokens of each of the `batch_size` rows that training, validation and test are cut to."""
    most = config["max_tokens"]
    return tuple(min(n, most or n) // config["batch_size"] for n in _tokens(config)[0])


# ---- whole segments ------------------------------------------------------------------------------


def segments(config: Config) -> tuple[int, int, int]:
    """Segments of `seq_len` tokens in each row: batches of training, validation and test.

    Training has two fewer than fit, as published (288 at 32 rows of 100, 46 at 64 of 300).
    Validation and test have every whole segment whose last target is still in its row.
    """
    length = config["seq_len"]
    train, val, test = stream_lengths(config)
    return max(train // length - 2, 0), max(val - 1, 0) // length, max(test - 1, 0) // length


def _sizes(config: Config) -> Sizes:
    rows = config["batch_size"]
    n_train, n_val, n_test = (n * rows for n in segments(config))
    length = config["seq_len"] * config["time_repeat"]
    kinds = _tokens(config)[1]
    return Sizes(length, kinds, kinds, n_train, n_val, n_test, rows, tokens=True)


def _check(config: Config) -> list[str]:
    if segments(config)[0] >= 1:
        return []
    rows, length = config["batch_size"], config["seq_len"]
    problem = (
        f"{rows} rows of {length} tokens leave no training segment; the task needs three times "
        f"{rows * length:,} tokens: lower batch_size or seq_len, or raise max_tokens"
    )
    return [problem]


_SEGMENT_KEYS = (
    with_default(BATCH, 32),
    replace(SEQ_LEN, default=100, doc="Tokens of a segment, before time_repeat."),
    TIME_REPEAT,
    Key("mlm_epochs", "int", 0, "traced",
        "Number of epochs, from the first, in which mlm_rate of the training input's tokens "
        "is random.", unit="epochs", low=0),
    Key("mlm_rate", "float", 0.05, "traced", "Share of tokens replaced.", low=0, high=1),
    Key("state_reset", "str", "epoch", "static",
        "When a network's carried state starts from 0 again. epoch: with each training epoch, "
        "and before validation and test; never: not at all, as published; segment: with every "
        "batch, so that nothing is carried.", choices=("epoch", "never", "segment")),
    Key("max_tokens", "int", None, "static",
        "Tokens kept of training, validation and test each, from the first; null: all.",
        unit="tokens", low=1, nullable=True),
)  # fmt: skip
_SEGMENT_METRICS = (
    Metric("bits_per_token", "bits", "min", "Mean cross-entropy of a token."),
    Metric("batch_perplexity", "", "min",
           "exp of each batch's mean cross-entropy, averaged over batches."),
)  # fmt: skip
WORDPTB = Task(
    name="wordptb",
    version=1,
    runtime="trainables.tasks.language:StreamTask",
    metric_columns=_SEGMENT_METRICS,
    doc="Next word of the Penn Treebank, read in order: segment k + 1 of a row follows segment k.",
    keys=_SEGMENT_KEYS,
    sizes=_sizes,
    dataset=lambda config: "ptb",
    chance_loss=lambda config: math.log(PTB_WORDS),
    check=_check,
)
CHARPTB = Task(
    name="charptb",
    version=1,
    runtime="trainables.tasks.language:StreamTask",
    metric_columns=_SEGMENT_METRICS,
    doc="Next character of the Penn Treebank, read in order; what herranz2023's programs call ptb.",
    keys=_SEGMENT_KEYS,
    sizes=_sizes,
    dataset=lambda config: "ptb_characters",
    chance_loss=lambda config: math.log(_CHARACTERS[1]),
    check=_check,
    aliases=("ptb",),
)

# ---- every target once ---------------------------------------------------------------------------


def chunks(config: Config) -> tuple[int, ...]:
    """Chunks of at most `seq_len` targets that each of these streams has."""
    return tuple(-(-max(n - 1, 0) // config["seq_len"]) for n in stream_lengths(config))


def _lm_sizes(config: Config) -> Sizes:
    words = CORPORA[config["corpus"]][2]
    rows = config["batch_size"]
    train, val, test = (n * rows for n in chunks(config))
    return Sizes(config["seq_len"], words, words, train, val, test, rows, tokens=True)


def _lm_check(config: Config) -> list[str]:
    found = needs_every_step(config, "word_lm")
    if min(stream_lengths(config)) < 2:
        found.append(
            f"batch_size={config['batch_size']} leaves no two tokens a stream; lower batch_size, "
            "or raise max_tokens"
        )
    return found


WORD_LM = Task(
    name="word_lm",
    version=1,
    runtime="trainables.tasks.language:ChunkTask",
    doc="Next word of a text cut into contiguous streams; every token of a stream but its first is "
    "judged once (docs/specs/ribeiro2020.md, 2.3).",
    keys=(
        with_default(BATCH, 100),
        replace(SEQ_LEN, default=70, doc="Tokens of a chunk; the last of a stream may have fewer.",
                aliases=(*SEQ_LEN.aliases, "bptt")),
        Key("corpus", "str", "wikitext2", "static",
            "wikitext2, ptb; wikitext2_valid: WikiText-2's validation text trains and its test "
            "text is held out; tiny: sentences by rule, for tests.", choices=tuple(CORPORA)),
        Key("state_reset", "str", "epoch", "static",
            "When a network's carried state starts from 0 again. epoch: with each epoch and "
            "before validation and test; segment: with every chunk.",
            choices=("epoch", "segment")),
        Key("max_tokens", "int", None, "static",
            "Tokens kept of training, validation and test each, from the first; null: all.",
            unit="tokens", low=1, nullable=True),
        REDUCTION,
    ),
    sizes=_lm_sizes,
    dataset=lambda config: CORPORA[config.get("corpus", "wikitext2")][0],
    chance_loss=lambda config: math.log(CORPORA[config["corpus"]][2]),
    loss_terms=lambda config: summed_terms(config, config["seq_len"]),
    check=_lm_check,
    aliases=("word-language-model",),
)  # fmt: skip

TEXT_TASKS = (WORDPTB, CHARPTB, WORD_LM)
