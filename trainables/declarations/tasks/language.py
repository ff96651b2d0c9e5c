"""Declarations of the language-modelling tasks: token streams cut into segments in their order."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import NamedTuple

from trainables.declarations.core.keys import Key
from trainables.declarations.core.parts import Config, Metric, Sizes, Task
from trainables.declarations.core.trial import nearest
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
_PASSAGES = {"tiny": (280, 60, 60)}
"""Lines of at least two words in training, validation and test, of the corpora that `last_word`
reads beside folders of text."""

TEXT_NAME = re.compile(r"text-[0-9a-f]{16}(-[0-9]+){7}")
"""What a folder of text is called."""


class Corpus(NamedTuple):
    """What is known of a text without reading it.

    Attributes:
      dataset: name of its data set.
      tokens: of training, validation and test, line ends included.
      words: how many different ones.
      passages: lines of at least two words in training, validation and test; None where not known.
    """

    dataset: str
    tokens: tuple[int, ...]
    words: int
    passages: tuple[int, ...] | None


def corpus_of(name: str) -> Corpus:
    """The text that key `corpus` names.

    A folder's own is called by its content, "text-<digest>" and its counts, so that the name says
    what a plan must know (`orchestrator.datasets.text_folders`).

    Raises:
      KeyError: there is none of that name.
    """
    if not TEXT_NAME.fullmatch(name):
        dataset, tokens, words = CORPORA[name]
        return Corpus(dataset, tokens, words, _PASSAGES.get(name))
    counts = tuple(map(int, name.split("-")[2:]))
    return Corpus(name, counts[:3], counts[3], counts[4:])


def _corpus_problems(name: str) -> list[str]:
    if name in CORPORA or TEXT_NAME.fullmatch(name):
        return []
    problem = (
        f"corpus must be one of {', '.join(CORPORA)}, or a folder with the files train.txt, "
        f"valid.txt and test.txt; {name!r} is neither{nearest(name, CORPORA)}"
    )
    return [problem]


_CHARACTERS = (5_101_618, 399_782, 449_945), 50
"""Characters of the Penn Treebank's three parts, and how many there are."""


def _tokens(config: Config) -> tuple[tuple[int, ...], int]:
    """Tokens of a task's three parts, and how many there are."""
    if config.get("task") == "charptb":
        return _CHARACTERS
    known = corpus_of(config.get("corpus", "ptb"))
    return known.tokens, known.words


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
    words = corpus_of(config["corpus"]).words
    rows = config["batch_size"]
    train, val, test = (n * rows for n in chunks(config))
    return Sizes(config["seq_len"], words, words, train, val, test, rows, tokens=True)


def _lm_check(config: Config) -> list[str]:
    found = _corpus_problems(config["corpus"])
    if found:
        return found
    found = needs_every_step(config, "word_lm")
    if min(stream_lengths(config)) < 2:
        found.append(
            f"batch_size={config['batch_size']} leaves no two tokens a stream; lower batch_size, "
            "or raise max_tokens"
        )
    return found


CORPUS = Key(
    "corpus", "str", "wikitext2", "static",
    "wikitext2, ptb; wikitext2_valid: WikiText-2's validation text trains and its test text is "
    "held out; tiny: sentences by rule, for tests; or a folder with train.txt, valid.txt and "
    "test.txt, which is known by their content.",
)  # fmt: skip

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
        CORPUS,
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
    dataset=lambda config: corpus_of(config.get("corpus", "wikitext2")).dataset,
    chance_loss=lambda config: math.log(corpus_of(config["corpus"]).words),
    loss_terms=lambda config: summed_terms(config, config["seq_len"]),
    check=_lm_check,
    aliases=("word-language-model",),
)  # fmt: skip

# ---- the last word of a passage ------------------------------------------------------------------


def passages(config: Config) -> tuple[int, ...]:
    """Passages that train, validate and test."""
    most = config["max_passages"]
    return tuple(min(n, most or n) for n in corpus_of(config["corpus"]).passages or (0, 0, 0))


def _last_word_sizes(config: Config) -> Sizes:
    words = corpus_of(config["corpus"]).words
    train, val, test = passages(config)
    return Sizes(config["seq_len"], words, words, train, val, test, config["batch_size"],
                 tokens=True, split="apart")  # fmt: skip


def _last_word_check(config: Config) -> list[str]:
    found = _corpus_problems(config["corpus"])
    if found:
        return found
    if corpus_of(config["corpus"]).passages is None:
        return [f"last_word reads corpus=tiny or a folder of text; got {config['corpus']}"]
    if not all(passages(config)):
        return ["last_word needs a line of at least two words in each of train, valid and test"]
    return needs_every_step(config, "last_word")


LAST_WORD = Task(
    name="last_word",
    version=1,
    runtime="trainables.tasks.language:PassageTask",
    doc="The last word of a passage from those before it; each line of a text is a passage. "
    "Validation and test judge the last word alone (Paperno et al., arXiv 1606.06031).",
    keys=(
        with_default(BATCH, 32),
        replace(SEQ_LEN, default=100, doc="Words of a passage that are read, its last ones."),
        with_default(CORPUS, "tiny"),
        Key("trained_words", "str", "all", "static",
            "Words of a training passage that are learned: all but its first, or its last.",
            choices=("all", "last")),
        Key("max_passages", "int", None, "static",
            "Passages kept of training, validation and test each, from the first; null: all.",
            low=1, nullable=True),
    ),
    sizes=_last_word_sizes,
    dataset=lambda config: corpus_of(config["corpus"]).dataset,
    chance_loss=lambda config: math.log(corpus_of(config["corpus"]).words),
    check=_last_word_check,
    aliases=("lambada",),
)  # fmt: skip

READS_FOLDERS = (WORD_LM, LAST_WORD)
"""Tasks whose key `corpus` may name a folder of text."""

TEXT_TASKS = (WORDPTB, CHARPTB, *READS_FOLDERS)
