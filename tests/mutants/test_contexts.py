"""Which tests try a mutant, in which order; when what was measured is measured again."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from tests.mutants import contexts
from tests.mutants.contexts import AT_IMPORT, Measured
from tests.mutants.places import Statement

MODULE = "results/store/parquet_parts.py"
CALLED, LOADED = Statement(3, 4, "f", False), Statement(3, 4, "", True)


def measured(path: str, seconds: dict[str, float], line3: list[str], failed=()) -> Measured:
    """A test file whose tests, `line3`, run line 3 of the module; all run line 9."""
    names = {f"{path}::{name}": s for name, s in seconds.items()}
    lines = {9: list(names)}
    if line3:
        lines[3] = [f"{path}::{name}" for name in line3]
    failing = {f"{path}::{name}" for name in failed}
    outcomes = {name: "failed" if name in failing else "passed" for name in names}
    return Measured(path, names, outcomes, {MODULE: lines})


def chosen(files: list[Measured], statement: Statement = CALLED, budget: float = 0.0) -> list[str]:
    choice = contexts.choose(MODULE, [3, 4], statement, files, budget)
    return [test.rpartition("/")[2] for test in choice.tests]


def test_the_modules_own_file_comes_first_then_the_quickest() -> None:
    files = [
        measured("t/test_quick.py", {"a": 0.1}, ["a"]),
        measured("t/test_parquet_parts.py", {"a": 5.0, "b": 3.0}, ["a", "b"]),
        measured("t/test_slow.py", {"a": 2.0}, ["a"]),
    ]
    expected = [
        "test_parquet_parts.py::b",
        "test_parquet_parts.py::a",
        "test_quick.py::a",
        "test_slow.py::a",
    ]
    assert chosen(files) == expected


def test_those_that_run_the_line_come_before_the_others_of_their_files() -> None:
    files = [
        measured("t/test_x.py", {"a": 0.1, "b": 2.0}, ["b"]),
        measured("t/test_y.py", {"a": 0.1}, []),
    ]
    assert chosen(files) == ["test_x.py::b", "test_x.py::a"]
    assert chosen(files, budget=2.05) == ["test_x.py::b"]


def test_a_budget_leaves_out_tests_and_says_so_but_one_is_tried() -> None:
    files = [measured("t/test_x.py", {"a": 3.0, "b": 1.0, "c": 1.0}, ["a", "b", "c"])]
    assert chosen(files, budget=2.5) == ["test_x.py::b", "test_x.py::c"]
    assert chosen(files, budget=0.5) == ["test_x.py::b"]
    assert contexts.choose(MODULE, [3], CALLED, files, 0.5).of == 3


def test_a_line_that_no_test_runs_has_none() -> None:
    assert chosen([measured("t/test_x.py", {"a": 1.0}, [])]) == []


def test_what_fails_without_a_mutant_is_left_out() -> None:
    assert chosen([measured("t/test_x.py", {"a": 1.0, "b": 1.0}, ["a", "b"], ["a"])]) == [
        "test_x.py::b"
    ]


def test_under_a_budget_every_file_has_its_turn() -> None:
    files = [
        measured("t/test_x.py", {"a": 0.1, "b": 0.2, "c": 0.3}, ["a", "b", "c"]),
        measured("t/test_y.py", {"a": 1.0}, ["a"]),
    ]
    assert chosen(files, budget=1.3) == ["test_x.py::a", "test_x.py::b", "test_y.py::a"]


def test_what_runs_at_import_is_tried_by_some_tests_of_every_file_that_imports_it() -> None:
    many = {f"n{n}": 1.0 + n for n in range(2 * AT_IMPORT)}
    files = [measured("t/test_x.py", many, []), measured("t/test_y.py", {"a": 500.0}, [])]
    found = chosen(files, LOADED)
    assert len(found) == AT_IMPORT
    assert found[:2] == ["test_y.py::a", "test_x.py::n0"]


def test_a_file_of_the_modules_folder_has_more_tests_a_turn() -> None:
    few = {f"n{n}": 1.0 for n in range(5)}
    files = [measured("t/test_x.py", few, []), measured("tests/results/store/test_z.py", few, [])]
    found = chosen(files, LOADED, budget=6.5)
    assert sorted(found) == [
        "test_x.py::n0",
        "test_x.py::n1",
        *(f"test_z.py::n{n}" for n in range(4)),
    ]


@pytest.mark.parametrize(
    ("folder", "mirrors"),
    [
        ("tests/trainables/declarations/models", True),
        ("tests/trainables/declarations", True),
        ("tests/trainables", False),
        ("tests/trainables/models", False),
    ],
)
def test_a_folder_of_tests_mirrors_what_lies_below_it_too(folder: str, mirrors: bool) -> None:
    path = "trainables/declarations/models/rnn.py"
    assert contexts._mirrors(PurePosixPath(folder), path) == mirrors


def test_what_runs_at_import_is_tried_first_by_tests_that_run_the_module() -> None:
    files = [measured("t/test_x.py", {"a": 1.0, "b": 2.0}, [])]
    files[0].lines[MODULE] = {3: [], 9: ["t/test_x.py::b"]}
    assert set(chosen(files, LOADED)) == {"test_x.py::a", "test_x.py::b"}
    assert chosen(files, LOADED, budget=2.5) == ["test_x.py::b"]


def test_a_process_that_imports_the_module_makes_a_test_no_better() -> None:
    files = [measured("t/test_x.py", {"a": 9.0, "b": 3.0, "c": 1.0}, ["a", "b"])]
    assert chosen(files, LOADED, budget=5.0) == ["test_x.py::c", "test_x.py::b"]
    files[0].lines[MODULE] = {1: ["t/test_x.py::a"], **files[0].lines[MODULE]}
    assert chosen(files, LOADED, budget=10.5) == ["test_x.py::b", "test_x.py::c"]


def test_a_file_that_only_imports_the_module_tries_what_runs_at_import() -> None:
    """Functions that are called there included."""
    files = [measured("t/test_x.py", {"a": 1.0}, [])]
    files[0].lines[MODULE] = {3: []}
    assert chosen(files, LOADED) == chosen(files) == ["test_x.py::a"]
    assert contexts.choose(MODULE, [5], CALLED, files, 0.0).of == 0


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    for name in ("results/store/parquet_parts.py", "tests/test_x.py", "tests/conftest.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x = 1\n")
    report = {
        "seconds": {"tests/test_x.py::a": 1.0, "tests/test_x.py::b": 1.0},
        "outcomes": {"tests/test_x.py::a": "passed", "tests/test_x.py::b": "skipped"},
        "loaded": ["results/store/parquet_parts.py"],
    }
    found = contexts.read(tmp_path / "none", tmp_path, "tests/test_x.py", report)
    contexts.save(tmp_path / "kept.json", found)
    return tmp_path / "kept.json"


def test_what_was_measured_is_kept(kept: Path) -> None:
    found = contexts.load(kept, kept.parent)
    assert found is not None
    assert list(found.tests) == ["tests/test_x.py::a"]


@pytest.mark.parametrize(
    "name", ["results/store/parquet_parts.py", "tests/test_x.py", "tests/conftest.py"]
)
def test_a_change_of_what_a_test_file_loads_measures_it_again(kept: Path, name: str) -> None:
    (kept.parent / name).write_text("x = 2\n")
    assert contexts.load(kept, kept.parent) is None


def test_a_change_of_anything_measures_a_file_again_that_starts_processes(kept: Path) -> None:
    root = kept.parent
    (root / "tests/test_x.py").write_text("import subprocess\n")
    (root / "results/other.py").write_text("x = 1\n")
    report = {"seconds": {}, "outcomes": {}, "loaded": []}
    contexts.save(kept, contexts.read(root / "none", root, "tests/test_x.py", report))
    assert contexts.load(kept, root) is not None
    (root / "results/other.py").write_text("x = 2\n")
    assert contexts.load(kept, root) is None
