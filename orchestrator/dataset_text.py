"""Token streams out of text files: words split at white space, every line's end a token of its own.

Each reader takes the contents of a form's files in order and gives train_tokens, val_tokens and
test_tokens, int32 (n,), and vocabulary, the words as strings (V,): token i is word i. Words are
numbered by their first appearance in train, then validation, then test, so that nothing is out of
the vocabulary and the numbers depend on the files alone.
"""

from __future__ import annotations

import io
import zipfile

import numpy as np

from orchestrator.dataset_files import Arrays, FormatError

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


def wikitext_archive(archive: bytes) -> Arrays:
    """wikitext-2-v1.zip with its three .tokens files."""
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        found = {name.rpartition("/")[2]: name for name in opened.namelist()}
        wanted = [f"wiki.{part}.tokens" for part in ("train", "valid", "test")]
        missing = [name for name in wanted if name not in found]
        if missing:
            raise FormatError(f"the archive holds no {', '.join(missing)}")
        return words(*(opened.read(found[name]) for name in wanted))
