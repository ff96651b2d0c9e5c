"""Reviews and expressions out of files: ids, offsets, labels, and what is wrong with a file."""

from __future__ import annotations

import io
import itertools
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.datasets import loader
from orchestrator.datasets.loader import DataError
from tests.support.data_files import assert_one_sentence, list_sums
from trainables.declarations import ConfigError, builtin_registry
from trainables.tasks.base import make_data
from trainables.tasks.listops import WORDS, expressions

REVIEWS = {
    "train/pos/1_8.txt": "aaaaaaaaaaaaaaaab" * 2,
    "train/neg/0_2.txt": "b" * 20 + "é",
    "train/unsup/9_0.txt": "left out",
    "test/neg/4_1.txt": "abé",
    "test/pos/2_10.txt": "ba" * 3000,
}


def write_reviews(root: Path, members: dict[str, str], mode: str = "xz") -> None:
    path = root / "imdb" / f"aclImdb_v1.tar.{mode}"
    path.parent.mkdir(parents=True, exist_ok=True)
    created: Any = tarfile.open  # its overloads know only literal modes
    with created(path, f"w:{mode}") as tar:
        for name, text in members.items():
            content = text.encode()
            info = tarfile.TarInfo(f"aclImdb/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    list_sums(root, path)


def samples(arrays: Any, part: str) -> list[list[int]]:
    ends = arrays[f"{part}_offsets"]
    return [arrays[f"{part}_tokens"][a:b].tolist() for a, b in itertools.pairwise(ends)]


@pytest.mark.parametrize("mode", ["xz", "gz"])
def test_characters_are_numbered_by_frequency(tmp_path: Path, mode: str) -> None:
    write_reviews(tmp_path, REVIEWS, mode)
    arrays = loader.load("imdb", tmp_path).arrays
    # 32 a and 22 b are known; the one é is not.
    assert arrays["vocabulary"].tolist() == ["a", "b"]
    assert samples(arrays, "train") == [[4] * 20 + [1], ([3] * 16 + [4]) * 2]
    assert arrays["train_labels"].tolist() == [0, 1]
    assert arrays["test_labels"].tolist() == [0, 1]
    first, long = samples(arrays, "test")
    assert first == [3, 4, 1]
    assert len(long) == 4095
    assert arrays["train_tokens"].dtype == np.uint8


def test_an_archive_without_reviews_is_named(tmp_path: Path) -> None:
    write_reviews(tmp_path, {"train/pos/1_8.txt": "a"})
    with pytest.raises(DataError, match="holds no test reviews") as error:
        loader.load("imdb", tmp_path)
    assert_one_sentence(error)


@pytest.mark.slow
def test_the_official_reviews(real_data: Path) -> None:
    if not loader.available("imdb", real_data):
        pytest.skip(loader.missing_message("imdb", real_data))
    loaded = loader.load("imdb", real_data)
    arrays = loaded.arrays
    for part in ("train", "test"):
        assert np.bincount(arrays[f"{part}_labels"]).tolist() == [12_500, 12_500]
        lengths = np.diff(arrays[f"{part}_offsets"])
        assert len(lengths) == 25_000
        assert lengths.max() == 4095
        assert 1100 < lengths.mean() < 1400
    # With padding, unknown and end mark no more than the published 135.
    assert len(arrays["vocabulary"]) + 3 <= 135
    assert arrays["vocabulary"][:3].tolist() == [" ", "e", "t"]
    assert (arrays["test_tokens"] == 1).mean() < 1e-3
    text = "".join(arrays["vocabulary"][arrays["train_tokens"][:5] - 3])
    assert text.isascii()
    assert loaded.checksum.startswith("imdb/aclImdb_v1.tar.")
    one = builtin_registry().resolve({"model": "deep_lru", "task": "imdb", "seq_len": 128})
    data = make_data(one, dict(arrays))
    assert data["x"].shape == (50_000, 128)
    assert ((data["x"] == 2).sum(1) == 1).all()


def table(rows: list[tuple[str, int]]) -> str:
    return "Source\tTarget\n" + "".join(f"{source}\t{target}\n" for source, target in rows)


def write_tables(root: Path, texts: dict[str, str]) -> None:
    paths = [root / "listops" / f"basic_{part}.tsv" for part in texts]
    paths[0].parent.mkdir(parents=True)
    for path, text in zip(paths, texts.values(), strict=True):
        path.write_text(text)
    list_sums(root, *paths)


def test_canonical_expressions_are_read_as_the_generator_writes_them(tmp_path: Path) -> None:
    tokens, values = expressions(30, 0, 4, 5, (10, 64), 64)
    rows = []
    for row, value in zip(tokens, values, strict=True):
        words = [WORDS[t - 3] for t in row if t > 2]
        # Parentheses make the files' trees binary; they carry nothing.
        rows.append((" ".join(["(", "(", words[0], *words[1:], ")", ")"]), int(value)))
    write_tables(tmp_path, {"train": table(rows[:20]), "val": table(rows[20:25]),
                            "test": table(rows[25:]).replace("]", "X")})  # fmt: skip
    arrays = dict(loader.load("listops", tmp_path).arrays)
    config = {"model": "deep_lru", "task": "listops", "source": "canonical", "seq_len": 64,
              "max_length": 64, "min_length": 10, "n_train": 20, "n_val": 5, "n_test": 5,
              "batch_size": 4}  # fmt: skip
    one = builtin_registry().resolve(config)
    assert one.dataset == "listops"
    data = make_data(one, arrays)
    np.testing.assert_array_equal(data["x"], tokens)
    np.testing.assert_array_equal(data["y"], values)
    with pytest.raises(ValueError, match="reads 21 train samples; there are 20"):
        make_data(builtin_registry().resolve({**config, "n_train": 21}), arrays)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (table([("[MAX 1 2", 2)]), "has lost its closing brackets"),
        (table([("[MAX 1 two ]", 2)]), "line 2 of its train table: 'two'"),
        ("Source\tTarget\n", "its train table is empty"),
    ],
)
def test_tables_that_are_none_are_named(tmp_path: Path, text: str, said: str) -> None:
    good = table([("[MAX 1 2 ]", 2)])
    write_tables(tmp_path, {"train": text, "val": good, "test": good})
    with pytest.raises(DataError, match=said) as error:
        loader.load("listops", tmp_path)
    assert_one_sentence(error)


def test_words_are_numbered_by_frequency_and_marks_are_words(tmp_path: Path) -> None:
    reviews = {
        "train/pos/1_8.txt": "Good, good film.<br /><br />It's GOOD",
        "train/neg/0_2.txt": "it's bad, bad",
        "test/neg/4_1.txt": "a bad film",
        "test/pos/2_10.txt": "good! " * 5000,
    }
    write_reviews(tmp_path, reviews)
    arrays = dict(loader.load("imdb_words", tmp_path).arrays)
    assert arrays["vocabulary"].tolist() == ["good", ",", "bad", "it's", ".", "film"]
    bad, good = samples(arrays, "train")
    assert bad == [6, 5, 4, 5]
    assert good == [3, 4, 3, 8, 7, 6, 3]
    short, long = samples(arrays, "test")
    assert short == [1, 5, 8]
    assert long[:3] == [3, 1, 3]
    assert len(long) == 4095


def test_a_task_of_words_takes_rare_ones_for_unknown() -> None:
    config = {"model": "deep_lru", "task": "imdb", "level": "words", "vocabulary": 4, "seq_len": 4}
    one = builtin_registry().resolve(config)
    assert (one.dataset, one.sizes.features, one.sizes.padded) == ("imdb_words", 7, True)
    flat = np.tile(np.array([3, 6, 7], np.uint16), 25_000)
    arrays = {}
    for part in ("train", "test"):
        arrays[f"{part}_tokens"] = flat
        arrays[f"{part}_offsets"] = np.arange(25_001) * 3
        arrays[f"{part}_labels"] = np.zeros(25_000, np.int32)
    data = make_data(one, arrays)
    assert data["x"].shape == (50_000, 4)
    assert np.unique(data["x"], axis=0).tolist() == [[3, 6, 1, 2]]


def test_pairs_of_papers_out_of_their_tables(tmp_path: Path) -> None:
    """No header; a label, two identifiers, two texts. Quotes are characters like others, as in the
    arena's own reader."""
    whole = "a" * 200_000
    rows = {
        "train": ['1.0\t7\t9\taab\t"bcc', "0.0\t7\t8\taaab\té", f"1\t1\t2\t{whole}\tb"],
        "eval": ["0\t1\t2\tba\tz"],
        "test": ["1\t1\t2\ta\ta"],
    }  # fmt: skip
    folder = tmp_path / "aan"
    folder.mkdir()
    paths = [folder / f"new_aan_pairs.{part}.tsv" for part in rows]
    for path, lines in zip(paths, rows.values(), strict=True):
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    list_sums(folder, *paths)
    arrays = dict(loader.load("aan", tmp_path).arrays)
    assert arrays["vocabulary"].tolist() == ["a", "b", "c", '"', "é"]
    first, second, third, *_ = samples(arrays, "train")
    assert (first, second, third) == ([3, 3, 4], [6, 4, 5, 5], [3, 3, 3, 4])
    assert len(samples(arrays, "train")[4]) == 3999
    assert samples(arrays, "val") == [[4, 3], [1]]
    assert arrays["train_labels"].tolist() == [1, 0, 1]
    one = builtin_registry().resolve(
        {"model": "deep_lru", "task": "aan", "seq_len": 5, "n_train": 3, "n_val": 1, "n_test": 1,
         "batch_size": 3}
    )  # fmt: skip
    data = make_data(one, arrays)
    assert data["x"].shape == (5, 2, 5)
    assert data["x"][0].tolist() == [[3, 3, 4, 2, 0], [6, 4, 5, 5, 2]]
    paths[1].write_text("0\tonly\tthree\n")
    list_sums(folder, *paths)
    loader._load.cache_clear()
    with pytest.raises(DataError, match="line 1 of its val table has 3 columns, not 5") as error:
        loader.load("aan", tmp_path)
    assert_one_sentence(error)
    with pytest.raises(ConfigError, match="task aan compares two texts"):
        builtin_registry().resolve({"model": "lstm", "task": "aan"})
