"""Studies: built in, installed, and a user's own file."""

from __future__ import annotations

import importlib
import os
import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from orchestrator.errors import RequestError
from orchestrator.plan.code.study_sources import ENTRY_POINT_GROUP, load_study_file
from orchestrator.plan.plan import plan
from orchestrator.plan.studies import StudyFileError, catalogue
from search_spaces import Space
from trainables.declarations import Key, Kind, Trial

OWN = """
    from search_spaces import Space, Study
    from trainables.declarations import Key, Model, Sizes, Task

    MODEL = Model(name="own_model", build=lambda config, sizes, rngs: None,
                  keys=(Key("units", "int", 3, "static", low=1),))
    TASK = Task(name="own_task", build=lambda config: {},
                sizes=lambda config: Sizes(4, 1, 2, 8, 0, 0, 4))
    STUDY = Study(name="own", title="Mine", parts=(MODEL, TASK), spaces={
        "grid": Space(reproduces="a test", param_space={
            "model": "own_model", "task": "own_task", "epochs": 1,
            "units": {"grid_search": [1, 2]}}),
    })
"""


def write(folder: Path, text: str, name: str = "own.py") -> str:
    path = folder / name
    path.write_text(textwrap.dedent(text))
    return str(path)


def trials(path: str) -> list[Trial]:
    return plan("own/grid", study=path)[0].trials


def problem(path: str, space: str = "own") -> str:
    with pytest.raises(RequestError) as caught:
        plan(space, study=path)
    return "\n".join(caught.value.problems)


def test_the_built_in_study_is_there_without_a_file() -> None:
    found = catalogue()
    assert [full for full, _, _ in found.find("vanishing/depth")] == ["vanishing/depth"]
    assert len(found.find("vanishing")) == len(found.studies["vanishing"].spaces)
    with pytest.raises(RequestError, match=r"unknown space 'vanishing/dept' \(did you mean vanish"):
        found.find("vanishing/dept")


def test_a_file_adds_its_study_and_parts(tmp_path: Path) -> None:
    path = write(tmp_path, OWN)
    found = catalogue(path)
    assert {"vanishing", "own"} <= set(found.studies)
    assert found.registry.find("model", "own_model") is not None
    assert [t.config["units"] for t in trials(path)] == [1, 2]
    assert catalogue().registry.find("model", "own_model") is None
    assert str(tmp_path) not in sys.path


def test_parts_without_versions_are_versioned_by_their_code(tmp_path: Path) -> None:
    first = trials(write(tmp_path, OWN))
    again = trials(write(tmp_path, OWN, "copy.py"))
    changed = trials(write(tmp_path, OWN.replace("lambda config: {}", "lambda config: None")))
    commented = trials(write(tmp_path, OWN + "\n    # another line\n"))
    declared = [
        trials(write(tmp_path, OWN.replace('name="own_', 'version=1, name="own_').replace(*edit)))
        for edit in (("", ""), ("lambda config: {}", "lambda config: None"))
    ]
    ids = [[t.id for t in found] for found in (first, again, changed, *declared, commented)]
    assert ids[0] == ids[1] == ids[5]
    assert set(ids[2]).isdisjoint(ids[0])
    assert [t.config_id for t in changed] == [t.config_id for t in first]
    assert ids[3] == ids[4]


def test_a_file_may_import_its_neighbours(tmp_path: Path) -> None:
    write(tmp_path, "VALUES = [1, 2]", "my_neighbour_of_own.py")
    text = OWN.replace("[1, 2]}}", "VALUES}}")
    path = write(tmp_path, "\n    from my_neighbour_of_own import VALUES" + text)
    assert len(trials(path)) == 2


def test_a_missing_file_and_one_without_a_study(tmp_path: Path) -> None:
    assert "no study file" in problem(str(tmp_path / "none.py"))
    assert "sets no STUDY; see examples/my_study.py" in problem(write(tmp_path, "SPACES = {}"))
    assert "sets no STUDY" in problem(write(tmp_path, "STUDY = {'name': 'own'}"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("def helper():\n    return 1 / 0\nhelper()\n", "ZeroDivisionError: division by zero"),
        ("import no_such_library\n", "No module named 'no_such_library'"),
        ("STUDY = = 3\n", "SyntaxError"),
    ],
)
def test_a_file_that_raises_keeps_its_own_exception(tmp_path: Path, text: str, says: str) -> None:
    path = write(tmp_path, text)
    before = set(sys.modules)
    with pytest.raises(StudyFileError) as caught:
        load_study_file(path)
    assert str(caught.value).startswith(f"{path} failed: ")
    assert says in str(caught.value)
    assert caught.value.__cause__ is not None
    assert not any("gradsweep_study" in name for name in sys.modules.keys() - before)


def test_a_file_that_exits_is_one_that_fails(tmp_path: Path) -> None:
    path = write(tmp_path, "import sys\nsys.exit(0)\n")
    with pytest.raises(
        StudyFileError, match=r"own.py failed: it called sys.exit\(0\) at .*own.py:2"
    ):
        load_study_file(path)


def test_a_file_changed_within_a_second_is_read_anew(tmp_path: Path) -> None:
    """Python's cache of compiled files tells versions apart by whole seconds and size."""
    for units in (1, 2):
        path = write(tmp_path, OWN.replace("[1, 2]", f"[{units}]"))
        os.utime(path, (1e9, 1e9))
        assert [t.config["units"] for t in trials(path)] == [units]
    assert not (tmp_path / "__pycache__").exists()


def test_every_wrong_field_of_a_study_is_told(tmp_path: Path) -> None:
    text = OWN.replace('title="Mine"', "title=1, figures={'f': 3}")
    text = text.replace('reproduces="a test"', "reproduces=None, samples=0, select={'over': 1}")
    path = write(tmp_path, text)
    assert problem(path).splitlines() == [
        f"{path}: title must be a string",
        f"{path}: figures must be a dict of functions",
        f"{path}: space grid: select must have strings, or lists of strings, as values",
        f"{path}: space grid: samples must be None or an integer >= 1",
        f"{path}: space grid: reproduces must be a string",
    ]
    assert "name must be made of letters" in problem(write(tmp_path, OWN.replace('"own"', '"a/b"')))


def test_a_taken_name_is_refused(tmp_path: Path) -> None:
    text = OWN.replace('name="own", title', 'name="vanishing", title')
    path = write(tmp_path, text)
    assert problem(path) == f"a study named vanishing exists already; rename STUDY in {path}"
    text = OWN.replace('"own_model"', '"vanilla_rnn"')
    assert "study own: a model named vanilla_rnn exists already" in problem(write(tmp_path, text))
    text = OWN.replace('"units"', '"hidden_size"')
    assert "it already means the key width" in problem(write(tmp_path, text))


def test_a_space_that_cannot_be_expanded_is_one_sentence(tmp_path: Path) -> None:
    text = OWN.replace('{"grid_search": [1, 2]}', '{"uniform": [1, 2]}')
    assert problem(write(tmp_path, text)) == ("a sampled space must say how many: set `samples`")
    text = OWN.replace("[1, 2]", "[0, 'x']")
    assert problem(write(tmp_path, text)) == (
        "units must be an integer >= 1; got 0\nunits must be an integer >= 1; got 'x'"
    )


# ---- installed studies -------------------------------------------------------------------------


def install(folder: Path, text: str, name: str = "own_installed") -> None:
    """A distribution as pip would leave it: a package, and its entry point beside it."""
    package, about = folder / name, folder / f"{name}-1.0.dist-info"
    package.mkdir(exist_ok=True)
    about.mkdir(exist_ok=True)
    (package / "__init__.py").write_text("")
    (package / "studies.py").write_text(textwrap.dedent(text))
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[{ENTRY_POINT_GROUP}]\nown = {name}.studies:STUDY\n")


def forget(monkeypatch: pytest.MonkeyPatch, name: str = "own_installed") -> None:
    """Has the next import read the package anew, as another process would."""
    importlib.invalidate_caches()
    for module in [m for m in sys.modules if m.split(".")[0] == name]:
        monkeypatch.delitem(sys.modules, module)


def test_an_installed_study_is_found_and_planned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ENTRY_POINT_GROUP == "gradsweep.studies"
    assert "own" not in catalogue().studies
    install(tmp_path, OWN)
    monkeypatch.syspath_prepend(tmp_path)
    forget(monkeypatch)
    found = catalogue()
    assert [full for full, _, _ in found.find("own")] == ["own/grid"]
    assert found.registry.find("model", "own_model") is not None
    planned = plan("own/grid")[0].trials
    assert [t.config["units"] for t in planned] == [1, 2]
    # Its parts are versioned by the code of the module that the entry point names.
    install(tmp_path, OWN.replace("lambda config: {}", "lambda config: None"))
    forget(monkeypatch)
    changed = plan("own/grid")[0].trials
    assert [t.config_id for t in changed] == [t.config_id for t in planned]
    assert {t.id for t in changed}.isdisjoint(t.id for t in planned)
    forget(monkeypatch)


def test_an_installed_study_and_a_file_of_one_name_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, OWN)
    monkeypatch.syspath_prepend(tmp_path)
    forget(monkeypatch)
    path = write(tmp_path, OWN)
    assert problem(path) == f"a study named own exists already; rename STUDY in {path}"
    forget(monkeypatch)


def test_former_names_of_fields_and_kinds_are_read() -> None:
    """`feeds`, `ours` and the kind observation, in study files that were written before."""
    space = Space(param_space={}, feeds="figure 1", ours=True)
    assert (space.reproduces, space.extension) == ("figure 1", True)
    assert replace(space, doc="x").reproduces == "figure 1"
    key = Key("depth_every", "int", 0, cast("Kind", "observation"))
    assert (key.kind, key.hashed) == ("recording", False)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("low=b'x'", "low of the key units of model own_model must be a number"),
        ("name=1", "the name of a model must be a string; got 1"),
        ("version=b'x'", "version of model own_model must be an integer or a string"),
        ("check='seed'", "check of model own_model must be a function; got 'seed'"),
        ("check=Key", "check of model own_model is called with config; Key takes others"),
        ("build=lambda: 1", "build of model own_model is called with config, sizes, rngs"),
        ("keys=(1,)", "keys of model own_model must be Key objects; got 1"),
        ("keys=1", "keys of model own_model must be a tuple of Key objects; got 1"),
    ],
)
def test_a_part_declared_of_other_types_is_named(tmp_path: Path, wrong: str, says: str) -> None:
    fields = "" if "name=" in wrong else 'name="own_model", '
    key = f"Key('units', 'int', 1, {wrong})" if "low" in wrong else "Key('units', 'int', 1)"
    keys = "" if "keys" in wrong else f"keys=({key},), "
    more = "" if "low" in wrong else wrong
    text = (
        "from search_spaces import Space, Study\n"
        "from trainables.declarations import Key, Model\n"
        f"PART = Model({fields}{keys}{more})\n"
        "STUDY = Study(name='own', title='x', parts=(PART,), spaces={})\n"
    )
    assert says in problem(write(tmp_path, text))
