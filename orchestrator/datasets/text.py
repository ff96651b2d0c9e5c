"""Tokens out of text files: words split at white space, every line's end a token of its own; or
samples of characters and of expressions, further below.

Each reader of streams takes the contents of a form's files in order and gives train_tokens,
val_tokens and test_tokens, int32 (n,), and vocabulary, the words as strings (V,): token i is word
i. Words are numbered by their first appearance in train, then validation, then test, so that
nothing is out of the vocabulary and the numbers depend on the files alone.
"""

from __future__ import annotations

import csv
import io
import re
import tarfile
import zipfile
from collections import Counter

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


# ---- samples of tokens ---------------------------------------------------------------------------
#
# Of each part: tokens uint8 (n,), offsets int64 (samples + 1,), labels int32 (samples,). Token 0
# pads, 1 is unknown, 2 ends a sample; those of the files begin at 3.

LONGEST = 4095
"""Characters kept of a review, as published; the end mark is the 4,096th token."""
_LEAST_FREQUENT = 15
_UNKNOWN, _FIRST = 1, 3
_REVIEW = re.compile(r"(train|test)/(neg|pos)/\d+_\d+\.txt$")
_LISTOPS = ("[MIN", "[MAX", "[MED", "[SM", "]", *map(str, range(10)))


def _flat(part: str, samples: list[np.ndarray], labels: list[int]) -> Arrays:
    lengths = [0, *(len(sample) for sample in samples)]
    return {
        f"{part}_tokens": np.concatenate(samples).astype(np.uint8),
        f"{part}_offsets": np.cumsum(lengths, dtype=np.int64),
        f"{part}_labels": np.asarray(labels, np.int32),
    }


def imdb(archive: bytes) -> Arrays:
    """aclImdb_v1.tar in any compression: {train,test}/{pos,neg}/<id>_<rating>.txt, by path.

    Characters are numbered by their frequency in the training reviews; those met less than 15 times
    there are unknown. `vocabulary` holds the known ones: token 3 + i is character i.
    """
    texts: dict[str, list[tuple[str, str]]] = {"train": [], "test": []}
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:*") as tar:
        for member in tar:
            found = _REVIEW.search(member.name)
            opened = tar.extractfile(member) if found and member.isfile() else None
            if found and opened:
                text = opened.read().decode("utf-8")[:LONGEST]
                texts[found[1]].append((found[0], text))
    empty = [part for part, found in texts.items() if not found]
    if empty:
        raise FormatError(f"the archive holds no {empty[0]} reviews")
    counts = Counter("".join(text for _, text in texts["train"]))
    known = [c for c, n in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
             if n >= _LEAST_FREQUENT]  # fmt: skip
    table = np.full(0x110000, _UNKNOWN, np.uint8)
    table[[ord(c) for c in known]] = np.arange(_FIRST, _FIRST + len(known))
    arrays: Arrays = {"vocabulary": np.asarray(known)}
    for part, found in texts.items():
        found.sort()
        samples = [table[np.frombuffer(t.encode("utf-32-le"), np.uint32)] for _, t in found]
        arrays |= _flat(part, samples, [int("/pos/" in name) for name, _ in found])
    return arrays


def listops_tables(*contents: bytes) -> Arrays:
    """The three tab-separated files of ListOps, columns Source and Target. Parentheses, which only
    make the trees binary, are left out; an "X" is read as the "]" that some copies have it for."""
    numbers = {word: _FIRST + i for i, word in enumerate(_LISTOPS)} | {"X": _FIRST + 4}
    arrays: Arrays = {"vocabulary": np.asarray(_LISTOPS)}
    for part, content in zip(("train", "val", "test"), contents, strict=True):
        samples, labels = [], []
        for row in csv.DictReader(io.StringIO(content.decode("utf-8")), delimiter="\t"):
            try:
                words = [word for word in row["Source"].split() if word not in "()"]
                samples.append(np.asarray([numbers[word] for word in words], np.uint8))
                labels.append(int(row["Target"]))
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise FormatError(f"line {len(labels) + 2} of its {part} table: {error}") from error
        if not samples:
            raise FormatError(f"its {part} table is empty")
        if all(_FIRST + 4 not in sample for sample in samples):
            raise FormatError(f"its {part} table has lost its closing brackets")
        arrays |= _flat(part, samples, labels)
    return arrays
