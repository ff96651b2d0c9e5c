"""Modules beside a study file: each study its own, whatever other studies call theirs."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.debug import debug
from orchestrator.launch import launch
from orchestrator.plan.studies import StudyFileError, catalogue
from results import open_store
from trainables.declarations.core.parts import loaded

STUDY = """
    from search_spaces import Space, Study
    from trainables.declarations import Key, Model, Optimizer
    import net
    MODEL = Model(name="own_net", build="net:build", keys=net.KEYS)
    STUDY = Study(name="NAME", title="t", parts=(MODEL,), spaces={"a": Space(param_space={
        "model": "own_net", "task": "gaussian", "seq_len": 3, "batch_size": 4, "steps_per_epoch": 2,
        "epochs": 1, "seed": net.KEYS[0].default})})
"""
NET = """
    from __future__ import annotations
    from dataclasses import dataclass
    from trainables.declarations import Key
    @dataclass
    class Sized:
        units: int
    KEYS = (Key("own_units", "int", UNITS, "static", low=1),)
    def build(config, sizes, rngs):
        from parts.layers import Net
        return Net(config["own_units"], sizes, rngs)
"""
NEARER = """
from trainables.declarations import Key
KEYS = (Key("own_units", "int", 9, "static"),)
"""
LAYERS = """
    from flax import nnx
    from .size import UNITS
    class Net(nnx.Module):
        def __init__(self, units, sizes, rngs):
            assert units == UNITS
            self.inp = nnx.Linear(sizes.seq_len * sizes.features, units, rngs=rngs)
            self.out = nnx.Linear(units, sizes.classes, rngs=rngs)
        def __call__(self, x):
            return self.out(self.inp(x.reshape(len(x), -1)))
"""


def write(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text))
    return str(path)


def study(folder: Path, units: int) -> str:
    """A study of a module and a package beside it, called after its folder."""
    write(folder / "net.py", NET.replace("UNITS", str(units)))
    write(folder / "parts/__init__.py", "")
    write(folder / "parts/size.py", f"UNITS = {units}")
    write(folder / "parts/layers.py", LAYERS)
    return write(folder / "study.py", STUDY.replace("NAME", folder.name))


def part(path: str, name: str = "own_net", role: str = "model") -> Any:
    return catalogue(path).registry.find(role, name)


@pytest.fixture(autouse=True)
def nothing_leaks() -> Iterator[None]:
    path = list(sys.path)
    yield
    assert sys.path == path
    names = ("net", "parts", "study", "models", "helper")
    assert not [m for m in sys.modules if m.partition(".")[0] in names]


@pytest.mark.ray
@pytest.mark.slow
def test_two_studies_that_each_have_a_module_net_get_their_own(
    ray_session: str, tmp_path: Path
) -> None:
    """In the process that plans, in one that debugs, and in workers, one study after the other."""
    paths = {name: study(tmp_path / name, units) for name, units in (("one", 3), ("two", 5))}
    first, second = (part(path) for path in paths.values())
    assert [first.keys[0].default, second.keys[0].default] == [3, 5]
    inputs, store = {}, str(tmp_path / "store")
    for name, path in (*paths.items(), *paths.items()):
        inputs[name] = debug(f"{name}/a", study=path).trial.config["own_units"]
        result = launch(f"{name}/a", study=path, store=store, progress="none", say=lambda _: None)
        assert result.exit_status == 0, result.reasons
    assert inputs == {"one": 3, "two": 5}
    rows = open_store(store).sql("SELECT own_units, count(*) FROM trials GROUP BY ALL").fetchall()
    assert sorted(rows) == [(3, 1), (5, 1)]
    assert loaded(first.build) is not loaded(second.build)
    assert loaded(first.build).__globals__["KEYS"][0].default == 3


def test_an_edited_module_is_read_anew_and_others_are_kept(tmp_path: Path) -> None:
    path = study(tmp_path / "one", 3)
    first, again = part(path), part(path)
    assert loaded(first.build) is loaded(again.build)
    os.utime(write(tmp_path / "one/net.py", NET.replace("UNITS", "4")), (1e9, 1e9))
    edited = part(path)
    assert edited.keys[0].default == 4
    assert loaded(edited.build) is not loaded(first.build)
    assert first.build != edited.build, "a program that was compiled is not taken for another"
    assert loaded(first.build).__globals__["KEYS"][0].default == 3
    assert not list(tmp_path.rglob("__pycache__"))


def test_modules_have_their_place(tmp_path: Path) -> None:
    """What dataclasses, pickle and `inspect` look up by a module's name."""
    found = loaded(part(study(tmp_path / "one", 3)).build).__globals__
    assert pickle.loads(pickle.dumps(found["Sized"](2))) == found["Sized"](2)
    assert found["__file__"] == str(tmp_path / "one/net.py")


def test_the_folder_that_python_started_in_comes_after_the_study_s_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root"
    write(root / "models/net.py", NET.replace("UNITS", "7"))
    write(root / "helper.py", "from models.net import KEYS")
    text = STUDY.replace("import net\n", "import helper as net\n").replace("net:", "models.net:")
    path = write(root / "experiments/study.py", text)
    with pytest.raises(StudyFileError, match="No module named 'helper'"):
        catalogue(path)
    monkeypatch.chdir(root)
    assert part("experiments/study.py").keys[0].default == 7
    monkeypatch.chdir(tmp_path)
    found = catalogue(path, str(root)).registry.find("model", "own_net")
    assert found is not None
    assert found.keys[0].default == 7, "a worker is told the folder"
    assert loaded(str(found.build)).__name__ == "build"
    write(root / "experiments/helper.py", "import models.net\n" + NEARER)
    monkeypatch.chdir(root)
    assert part(path).keys[0].default == 9


def test_it_works_from_a_repository_as_under_python(tmp_path: Path) -> None:
    write(tmp_path / "models/__init__.py", "")
    write(tmp_path / "models/net.py", NET.replace("UNITS", "7"))
    text = STUDY.replace("import net\n", "from models import net\n").replace("NAME", "repo")
    write(tmp_path / "experiments/study.py", text)
    words = ["plan", "repo", "--study", "experiments/study.py"]
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator", *words],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "repo/a: 1 trial," in done.stdout, done.stderr


def test_a_study_may_import_by_a_name_that_it_makes_up(tmp_path: Path) -> None:
    for units in (1, 2):
        folder = tmp_path / str(units)
        write(folder / "net.py", NET.replace("UNITS", str(units)))
        found = "import importlib; net = importlib.import_module('net')\n"
        path = write(folder / "study.py", STUDY.replace("import net\n", found))
        assert part(path).keys[0].default == units


def test_it_is_the_study_s_also_where_python_finds_it_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A notebook beside the study, and Ray's workers, have the folder in `sys.path`."""
    path = study(tmp_path / "one", 3)
    monkeypatch.syspath_prepend(tmp_path / "one")
    import net  # pyright: ignore[reportMissingImports]

    try:
        assert loaded(part(path).build) is not net.build
        write(tmp_path / "one/net.py", NET.replace("UNITS", "4"))
        assert part(path).keys[0].default == 4
    finally:
        del sys.modules["net"]


def test_a_package_that_offers_studies_is_not_read_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its parts, known from its entry point, are the same that a file beside it imports."""
    package = STUDY.replace("import net", "from offering import net").replace(
        "net:", "offering.net:"
    )
    package = package.replace("Model(name", "Model(version=1, name")
    write(tmp_path / "offering/__init__.py", "")
    write(tmp_path / "offering/net.py", NET.replace("UNITS", "3"))
    write(tmp_path / "offering/studies.py", package.replace("NAME", "offered"))
    about = tmp_path / "offering-1.0.dist-info"
    write(about / "METADATA", "Metadata-Version: 2.1\nName: offering\nVersion: 1.0\n")
    write(about / "entry_points.txt", "[gradsweep.studies]\nown = offering.studies:STUDY\n")
    text = package.replace("MODEL = ", "import offering.studies as o; MODEL = o.MODEL; _ = ")
    path = write(tmp_path / "study.py", text.replace("NAME", "mine"))
    monkeypatch.syspath_prepend(tmp_path)
    try:
        assert {"offered", "mine"} <= catalogue(path).studies.keys()
    finally:
        for module in [m for m in sys.modules if m.partition(".")[0] == "offering"]:
            del sys.modules[module]


@pytest.mark.parametrize("name", ["numpy", "results"])
def test_a_folder_without_code_hides_nothing(tmp_path: Path, name: str) -> None:
    path = study(tmp_path / "one", 3)
    (tmp_path / "one" / name).mkdir()
    write(tmp_path / "one/net.py", f"import {name}\nassert {name}.__file__\n{textwrap.dedent(NET)}"
          .replace("UNITS", "3").replace("from __future__ import annotations", ""))  # fmt: skip
    assert part(path).keys[0].default == 3


def test_a_file_called_like_a_package_of_ours_is_the_study_s(tmp_path: Path) -> None:
    path = study(tmp_path / "one", 3)
    (tmp_path / "one/net.py").rename(tmp_path / "one/results.py")
    text = textwrap.dedent(STUDY)
    write(Path(path), text.replace("import net\n", "import results as net\n"))
    assert part(path).keys[0].default == 3
    write(Path(path), f"from gradsweep import open_store\nfrom results import open_store\n{text}")
    with pytest.raises(StudyFileError) as caught:
        catalogue(path)
    theirs = tmp_path / "one/results.py"
    assert str(caught.value).endswith(
        f"cannot import name 'open_store' from 'results' ({theirs}) ({path}:2); {theirs} hides "
        "gradsweep's package 'results': rename it, or import from gradsweep"
    )


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("import net.none", "No module named 'net.none'; 'net' is not a package"),
        ("from parts import none", "cannot import name 'none' from 'parts' ("),
        ("import parts.none", "No module named 'parts.none'"),
        ("from .. import x", "attempted relative import beyond top-level package"),
    ],
)
def test_errors_have_the_names_that_the_user_wrote(tmp_path: Path, line: str, says: str) -> None:
    path = study(tmp_path / "one", 3)
    write(tmp_path / "one/net.py", line)
    with pytest.raises(StudyFileError) as caught:
        catalogue(path)
    assert says in str(caught.value)
    assert "gradsweep_study" not in str(caught.value)
