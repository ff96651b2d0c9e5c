"""Samples of tokens out of data files: reviews, pairs of papers, expressions.

Of each part: tokens (n,), offsets int64 (texts + 1,), labels int32 (samples,). Token 0 pads, 1 is
unknown, 2 ends a sample; those of the files begin at 3. Of pairs of texts the two follow each
other, so that there are two texts a sample.
"""

from __future__ import annotations

import csv
import io
import re
import tarfile
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from orchestrator.datasets.images import Arrays, FormatError

LONGEST = 4095
"""Characters or words kept of a review, as published; the end mark is the 4,096th token."""
AAN_LONGEST, AAN_CHARACTERS = 3999, 95
"""Characters kept of a paper, and how many different ones are known: as many as ASCII prints."""
_LEAST_FREQUENT = 15
_UNKNOWN, _FIRST = 1, 3
_REVIEW = re.compile(r"(train|test)/(neg|pos)/\d+_\d+\.txt$")
_WORD = re.compile(r"[a-z0-9]+(?:'[a-z]+)?|[^\sa-z0-9]")
_LISTOPS = ("[MIN", "[MAX", "[MED", "[SM", "]", *map(str, range(10)))


def _flat(part: str, samples: list[np.ndarray], labels: list[int], kind: type = np.uint8) -> Arrays:
    lengths = [0, *(len(sample) for sample in samples)]
    return {
        f"{part}_tokens": np.concatenate(samples).astype(kind),
        f"{part}_offsets": np.cumsum(lengths, dtype=np.int64),
        f"{part}_labels": np.asarray(labels, np.int32),
    }


def _frequent(counts: Counter[str], least: int = 1) -> list[str]:
    """What was met at least so often, the most frequent first."""
    ranked = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return [text for text, n in ranked if n >= least]


def _characters(known: Sequence[str], texts: Iterable[str]) -> list[np.ndarray]:
    """Texts as tokens: 3 + i is the i-th known character."""
    table = np.full(0x110000, _UNKNOWN, np.uint8)
    table[[ord(c) for c in known]] = np.arange(_FIRST, _FIRST + len(known))
    return [table[np.frombuffer(t.encode("utf-32-le"), np.uint32)] for t in texts]


def _reviews(archive: bytes) -> dict[str, list[tuple[str, str]]]:
    """(path, text) of the reviews of each part, by path.

    Raises:
      FormatError: a part has none.
    """
    found: dict[str, list[tuple[str, str]]] = {"train": [], "test": []}
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:*") as tar:
        for member in tar:
            named = _REVIEW.search(member.name)
            opened = tar.extractfile(member) if named and member.isfile() else None
            if named and opened:
                found[named[1]].append((named[0], opened.read().decode("utf-8")))
    empty = [part for part, reviews in found.items() if not reviews]
    if empty:
        raise FormatError(f"the archive holds no {empty[0]} reviews")
    return {part: sorted(reviews) for part, reviews in found.items()}


def _positive(reviews: Iterable[tuple[str, object]]) -> list[int]:
    return [int("/pos/" in name) for name, _ in reviews]


def imdb(archive: bytes) -> Arrays:
    """aclImdb_v1.tar in any compression: {train,test}/{pos,neg}/<id>_<rating>.txt, by path.

    Characters are numbered by their frequency in the training reviews; those met less than 15 times
    there are unknown. `vocabulary` holds the known ones: token 3 + i is character i.
    """
    parts = {
        part: [(name, text[:LONGEST]) for name, text in reviews]
        for part, reviews in _reviews(archive).items()
    }
    known = _frequent(Counter("".join(text for _, text in parts["train"])), _LEAST_FREQUENT)
    arrays: Arrays = {"vocabulary": np.asarray(known)}
    for part, reviews in parts.items():
        samples = _characters(known, (text for _, text in reviews))
        arrays |= _flat(part, samples, _positive(reviews))
    return arrays


def imdb_words(archive: bytes) -> Arrays:
    """The same reviews as words: in lower case, without tags of line breaks, every other mark a
    word. All words of the training reviews are numbered by their frequency, as uint16 or more;
    `vocabulary` holds them: token 3 + i is word i."""
    parts = {
        part: [(n, _WORD.findall(t.lower().replace("<br />", " "))[:LONGEST]) for n, t in reviews]
        for part, reviews in _reviews(archive).items()
    }
    known = _frequent(Counter(word for _, words in parts["train"] for word in words))
    numbers = {word: _FIRST + i for i, word in enumerate(known)}
    kind = np.uint16 if len(known) + _FIRST < 2**16 else np.int32
    arrays: Arrays = {"vocabulary": np.asarray(known)}
    for part, reviews in parts.items():
        samples = [np.asarray([numbers.get(w, _UNKNOWN) for w in ws], kind) for _, ws in reviews]
        arrays |= _flat(part, samples, _positive(reviews), kind)
    return arrays


def aan_tables(*contents: bytes) -> Arrays:
    """The three tab-separated files new_aan_pairs.{train,eval,test}.tsv: no header, no quoting; a
    line holds a label, two identifiers and two texts. The most frequent 95 characters of the
    training texts are known."""
    parts: dict[str, tuple[list[str], list[int]]] = {}
    for part, content in zip(("train", "val", "test"), contents, strict=True):
        texts: list[str] = []
        labels: list[int] = []
        for number, line in enumerate(io.BytesIO(content), 1):  # one by one: they hold gigabytes
            row = line.decode("utf-8").rstrip("\r\n").split("\t")
            where = f"line {number} of its {part} table"
            if len(row) != 5:
                raise FormatError(f"{where} has {len(row)} columns, not 5: label, ids, texts")
            if row[0] not in ("0", "1", "0.0", "1.0"):
                raise FormatError(f"{where} has the label {row[0][:20]!r}, not 0 or 1")
            labels.append(int(float(row[0])))
            texts += [text[:AAN_LONGEST] for text in row[3:]]
        if not labels:
            raise FormatError(f"its {part} table is empty")
        parts[part] = texts, labels
    counts: Counter[str] = Counter()
    for text in parts["train"][0]:
        counts.update(text)
    known = _frequent(counts)[:AAN_CHARACTERS]
    arrays: Arrays = {"vocabulary": np.asarray(known)}
    for part, (texts, labels) in parts.items():
        arrays |= _flat(part, _characters(known, texts), labels)
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
