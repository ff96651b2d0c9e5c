"""Token streams: a tiny text always, the real ones where GRADSWEEP_DATA has them."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from orchestrator.datasets import loader
from orchestrator.datasets.loader import DataError
from tests.support.data_files import assert_one_sentence, list_sums

TEXT = {
    "train": " the cat sat \n the <unk> sat \n\n on N mats \n",
    "valid": " the mat \n",
    "test": " sat the dog",
}
WORDS = ["the", "cat", "sat", "<eos>", "<unk>", "on", "N", "mats", "mat", "dog"]


def write_ptb(root: Path, text: dict[str, str]) -> dict[str, Path]:
    folder = root / "ptb"
    folder.mkdir()
    paths = {part: folder / f"ptb.{part}.txt" for part in text}
    for part, path in paths.items():
        path.write_text(text[part], encoding="utf-8")
    list_sums(folder, *paths.values())
    return paths


def test_words_are_numbered_by_first_appearance(tmp_path: Path) -> None:
    write_ptb(tmp_path, TEXT)
    arrays = loader.load("ptb", tmp_path).arrays
    assert arrays["vocabulary"].tolist() == WORDS
    assert arrays["train_tokens"].tolist() == [0, 1, 2, 3, 0, 4, 2, 3, 3, 5, 6, 7, 3]
    assert arrays["val_tokens"].tolist() == [0, 8, 3]
    assert arrays["test_tokens"].tolist() == [2, 0, 9, 3]
    assert arrays["train_tokens"].dtype == np.int32


def test_only_a_newline_ends_a_line(tmp_path: Path) -> None:
    write_ptb(tmp_path, {**TEXT, "train": "a\u2028b\x85c d\n"})
    arrays = loader.load("ptb", tmp_path).arrays
    assert arrays["vocabulary"][:5].tolist() == ["a", "b", "c", "d", "<eos>"]
    assert arrays["train_tokens"].tolist() == [0, 1, 2, 3, 4]


def test_damaged_text_is_refused_by_name(tmp_path: Path) -> None:
    paths = write_ptb(tmp_path, TEXT)
    paths["valid"].write_text(TEXT["valid"].replace("mat", "hat"))
    with pytest.raises(DataError, match=r"ptb\.valid\.txt is corrupt.*data fetch ptb") as error:
        loader.load("ptb", tmp_path)
    assert_one_sentence(error)
    for content, why in ((b"", "valid|val text is empty"), (b"\xff\xfe\x00", "decode")):
        paths["valid"].write_bytes(content)
        list_sums(tmp_path / "ptb", *paths.values())
        with pytest.raises(DataError, match=why) as error:
            loader.load("ptb", tmp_path)
        assert_one_sentence(error)


def test_characters_are_the_text_as_it_is(tmp_path: Path) -> None:
    """Numbered by code point over all three parts, spaces and line ends among them."""
    text = {**TEXT, "valid": "za\u00e9\n", "test": "a \U0001d11e"}
    write_ptb(tmp_path, text)
    arrays = loader.load("ptb_characters", tmp_path).arrays
    known = sorted(set("".join(text.values())))
    assert arrays["vocabulary"].tolist() == known
    for part, name in (("train", "train"), ("val", "valid"), ("test", "test")):
        tokens = arrays[f"{part}_tokens"]
        assert tokens.dtype == np.int32
        assert "".join(known[token] for token in tokens) == text[name]


def write_archive(root: Path, members: dict[str, str]) -> None:
    path = root / "wikitext-2" / "wikitext-2-v1.zip"
    path.parent.mkdir(parents=True)
    with zipfile.ZipFile(path, "w") as made:
        for name, text in members.items():
            made.writestr(f"wikitext-2/wiki.{name}.tokens", text)
    list_sums(root, path)


def test_wikitext_in_each_form(tmp_path: Path) -> None:
    write_archive(tmp_path / "archive", TEXT)
    loose = tmp_path / "loose"
    paths = [loose / "wikitext-2" / f"{part}.txt" for part in TEXT]
    paths[0].parent.mkdir(parents=True)
    for path, text in zip(paths, TEXT.values(), strict=True):
        path.write_text(text)
    list_sums(loose, *paths)
    for root in (tmp_path / "archive", loose):
        arrays = loader.load("wikitext2", root).arrays
        assert arrays["vocabulary"].tolist() == WORDS
        assert arrays["test_tokens"].tolist() == [2, 0, 9, 3]


def test_an_archive_without_a_part_is_named(tmp_path: Path) -> None:
    write_archive(tmp_path, {"train": "a"})
    with pytest.raises(DataError, match=r"holds no wiki\.valid\.tokens, wiki\.test") as error:
        loader.load("wikitext2", tmp_path)
    assert_one_sentence(error)


def test_real_ptb_has_the_tokens_everyone_counts(real_data: Path) -> None:
    if not loader.available("ptb", real_data):
        pytest.skip(loader.missing_message("ptb", real_data))
    loaded = loader.load("ptb", real_data)
    arrays = loaded.arrays
    counts = [len(arrays[f"{part}_tokens"]) for part in ("train", "val", "test")]
    assert counts == [929_589, 73_760, 82_430]
    words = arrays["vocabulary"]
    assert len(words) == 10_000
    # No word is met first in validation or test.
    assert len(np.unique(arrays["train_tokens"])) == 10_000
    start = words[arrays["train_tokens"][24:31]].tolist()
    assert start == ["<eos>", "pierre", "<unk>", "N", "years", "old", "will"]
    assert words[arrays["test_tokens"][-1]] == "<eos>"
    assert loaded.checksum.count("md5:") == 3
    arrays = loader.load("ptb_characters", real_data).arrays
    counts = [len(arrays[f"{part}_tokens"]) for part in ("train", "val", "test")]
    assert counts == [5_101_618, 399_782, 449_945]
    assert len(arrays["vocabulary"]) == len(np.unique(arrays["train_tokens"])) == 50
    assert "".join(arrays["vocabulary"][arrays["train_tokens"][:8]]) == " aer ban"


def test_real_wikitext_has_the_tokens_everyone_counts(real_data: Path) -> None:
    """The shared data hold no training text; validation stands in for it."""
    folder = real_data / "wikitext-2"
    if not (folder / "valid.txt").is_file():
        pytest.skip(loader.missing_message("wikitext2", real_data))
    from orchestrator.datasets.text import words

    val, test = ((folder / f"{part}.txt").read_bytes() for part in ("valid", "test"))
    arrays = words(val, val, test)
    assert (len(arrays["val_tokens"]), len(arrays["test_tokens"])) == (217_646, 245_569)
