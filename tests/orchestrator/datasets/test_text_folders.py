"""A folder of text as a corpus: known by its content, kept, checked, and refused in a sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.datasets import loader, text
from orchestrator.errors import RequestError
from orchestrator.plan.studies import catalogue
from orchestrator.plan.trials import trials_of
from trainables.declarations import Trial


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data root."""
    place = tmp_path / "root"
    place.mkdir()
    monkeypatch.setenv("GRADSWEEP_DATA", str(place))
    return place


def written(folder: Path, names: tuple[str, str, str], change: str = "") -> Path:
    """The bundled text as three files; `change` is added to the last line of the training text."""
    arrays = text.tiny()
    folder.mkdir()
    for name, part in zip(names, ("train", "val", "test"), strict=True):
        words = arrays["vocabulary"][arrays[f"{part}_tokens"]]
        lines = " ".join(words).replace(f" {text.END} ", "\n").removesuffix(f" {text.END}")
        folder.joinpath(name).write_text(lines + (change if part == "train" else "") + "\n")
    return folder


def asked(folder: Any, **changes: Any) -> Trial:
    found = catalogue()
    space = found.find("ribeiro2020/language_small")[0][2]
    small = {"model": "torch_lstm", "stabilize": "none", "batch_size": 7, **changes}
    (one,) = trials_of(found, space, {**small, "corpus": str(folder)})
    return one


def test_a_trial_is_known_by_the_text_and_not_by_where_it_lies(tmp_path: Path, root: Path) -> None:
    one = asked(written(tmp_path / "a", ("train.txt", "valid.txt", "test.txt")))
    names = ("wiki.train.tokens", "wiki.validation.tokens", "wiki.test.tokens")
    elsewhere = written(tmp_path / "b", names)
    assert asked(elsewhere).id == one.id
    other = asked(written(tmp_path / "c", names, change=" cat"))
    assert other.id != one.id
    assert str(other.config["corpus"]).split("-")[2] == "2241"
    name = str(one.config["corpus"])
    assert name.split("-")[2:] == ["2240", "480", "480", "23", "280", "60", "60"]
    assert (one.sizes.features, one.dataset) == (23, name)
    bundled = asked("tiny")
    assert one.sizes == bundled.sizes
    assert one.id != bundled.id
    # What is read is what was kept, and no folder that has changed since.
    elsewhere.joinpath(names[0]).write_text("another text\n")
    found = loader.load(name)
    for array, values in text.tiny().items():
        assert np.array_equal(found.arrays[array], values)
    assert loader.texts() == sorted([name, str(other.config["corpus"])])
    kept = root / "texts" / name / "test.txt"
    kept.write_text(kept.read_text().replace("dog", "cat", 1))
    (damaged,) = loader.damage(name)
    assert "is corrupt" in damaged
    assert "gradsweep data add FOLDER" in damaged


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("valid.txt", None, "has no file for the part valid; it needs one with the word valid or"),
        ("my_train.txt", b"a b\n", r"has 2 files \(my_train.txt, train.txt\) for the part train"),
        ("test.txt", b"", "the text of .* cannot be read: its test text is empty"),
        ("test.txt", b"\xff\xfe", "the text of .* cannot be read: 'utf-8' codec can't decode"),
    ],
)
def test_a_folder_that_is_no_corpus_is_refused(
    tmp_path: Path, root: Path, name: str, content: bytes | None, sentence: str
) -> None:
    folder = written(tmp_path / "a", ("train.txt", "valid.txt", "test.txt"))
    folder.joinpath(name).unlink() if content is None else folder.joinpath(name).write_bytes(
        content
    )
    with pytest.raises(RequestError, match=sentence):
        asked(folder)


def test_a_word_that_is_neither_a_corpus_nor_a_folder_is_refused(root: Path) -> None:
    with pytest.raises(RequestError, match=r"'wikitex2' is neither \(did you mean wikitext2\?\)"):
        asked("wikitex2")
    with pytest.raises(RequestError, match=r"corpus './none' is no folder; give one with the"):
        asked("./none")
