"""Tokens out of text files: words split at white space, and the end of each line is a token too.
Samples of tokens are read in `token_samples`.

Each reader takes the contents of a form's files in order and gives train_tokens,
val_tokens and test_tokens, int32 (n,), and vocabulary, the words as strings (V,): token i is word
i. Words are numbered by their first appearance in train, then validation, then test, so that
nothing is out of the vocabulary and the numbers depend on the files alone.
"""

from __future__ import annotations

import io
import zipfile

import numpy as np

from orchestrator.datasets.images import Arrays, FormatError

END = "<eos>"
"""The token of a line's end."""


def words(train: bytes, val: bytes, test: bytes) -> Arrays:
    """Three text files in UTF-8, one sentence or paragraph a line."""
    numbers: dict[str, int] = {}
    arrays: Arrays = {}
    for part, content in (("train", train), ("val", val), ("test", test)):
        # Not splitlines: only a newline ends a line, the rarer Unicode separators do not.
        lines = content.decode("utf-8").removesuffix("\n").split("\n") if content else []
        stream = [word for line in lines for word in (*line.split(), END)]
        if not stream:
            raise FormatError(f"its {part} text is empty")
        tokens = [numbers.setdefault(word, len(numbers)) for word in stream]
        arrays[f"{part}_tokens"] = np.asarray(tokens, np.int32)
    arrays["vocabulary"] = np.asarray(list(numbers))
    return arrays


def characters(train: bytes, val: bytes, test: bytes) -> Arrays:
    """Three text files in UTF-8 as they are, each character a token, line ends among them; numbered
    in the order of their code points."""
    texts = [content.decode("utf-8") for content in (train, val, test)]
    for part, text in zip(("train", "val", "test"), texts, strict=True):
        if not text:
            raise FormatError(f"its {part} text is empty")
    codes = [np.frombuffer(text.encode("utf-32-le"), np.uint32) for text in texts]
    known, tokens = np.unique(np.concatenate(codes), return_inverse=True)
    ends = np.cumsum([len(found) for found in codes])[:-1]
    parts = zip(("train", "val", "test"), np.split(tokens.astype(np.int32), ends), strict=True)
    return {
        **{f"{part}_tokens": found for part, found in parts},
        "vocabulary": np.asarray([chr(code) for code in known]),
    }


def wikitext_archive(archive: bytes) -> Arrays:
    """wikitext-2-v1.zip with its three .tokens files."""
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        found = {name.rpartition("/")[2]: name for name in opened.namelist()}
        wanted = [f"wiki.{part}.tokens" for part in ("train", "valid", "test")]
        missing = [name for name in wanted if name not in found]
        if missing:
            raise FormatError(f"the archive holds no {', '.join(missing)}")
        return words(*(opened.read(found[name]) for name in wanted))


def wikitext_held_out(val: bytes, test: bytes) -> Arrays:
    """WikiText-2 without its training text: its validation text trains, and the first half of its
    test text, by tokens, validates."""
    arrays = words(val, val, test)
    stream = arrays["test_tokens"]
    half = len(stream) // 2
    return {**arrays, "val_tokens": stream[:half], "test_tokens": stream[half:]}


_TINY = ("the a one no", "cat dog bird fish horse cow", "sees hears follows leaves",
         "old young small large", "today again never often")  # fmt: skip


def tiny() -> Arrays:
    """A bundled text of our own: sentences such as "the old cat sees a bird today", by rule."""
    articles, nouns, verbs, adjectives, adverbs = (text.split() for text in _TINY)
    order = (articles, adjectives, nouns, verbs, articles, nouns, adverbs)
    number, lines = 1, []
    for _ in range(400):
        line = []
        for choices in order:
            number = number * 1_103_515_245 + 12_345 & 0x7FFFFFFF
            line.append(choices[(number >> 16) % len(choices)])
        lines.append(" ".join(line))
    parts = (lines[:280], lines[280:340], lines[340:])
    return words(*("\n".join(part).encode() for part in parts))
