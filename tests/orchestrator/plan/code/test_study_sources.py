"""Studies that are modules, and objects of a script, a notebook or a Python prompt."""

from __future__ import annotations

import json
import linecache
import os
import subprocess
import sys
import textwrap
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gradsweep import Space, Study
from orchestrator.debug import debug
from orchestrator.errors import RequestError
from orchestrator.plan.code.study_sources import asked, is_module
from orchestrator.plan.plan import plan
from orchestrator.plan.studies import StudyFileError, catalogue
from orchestrator.ray_backend.code_bundle import carried_study, copy_study
from orchestrator.ray_backend.study_object import sends_objects, sent

HELPER = """
    SCALE = 2.0

    def scaled(x):
        return x * SCALE
"""
IMPORTS = """
    import numpy as np
    from flax import nnx
    from gradsweep import Model, Space, Study, Task
    from object_helper import scaled
"""
PARTS = """
    WIDTH = 3

    class Net(nnx.Module):
        def __init__(self, c, rngs):
            self.inner = nnx.Linear(2, c["units"] * WIDTH, rngs=rngs)
            self.readout = nnx.Linear(c["units"] * WIDTH, 2, rngs=rngs)

        def __call__(self, x):
            # A comment.
            return self.readout(scaled(nnx.relu(self.inner(x))))

    def arrays(config):
        x = np.random.default_rng(0).normal(size=(20, 2)).astype(np.float32)
        return {"x": x, "y": (x[:, 0] > 0).astype(np.int32)}

    def twice():
        return 2
"""
STUDY = """
    SPACE = Space(param_space={"model": "obj_net", "task": "obj_task", "epochs": 1,
                               "units": {"grid_search": [1, 2]}})
    NET = Model(name="obj_net", build=lambda c, sizes, rngs: Net(c, rngs))
    STUDY = Study(name="obj", title="t", parts=(NET, Task(name="obj_task", build=arrays)),
                  spaces={"a": SPACE, "b": SPACE})
"""
PACKAGE = {
    "lab/__init__.py": "",
    "lab/object_helper.py": HELPER,
    "lab/inner/__init__.py": "",
    "lab/inner/studies.py": (IMPORTS + PARTS + STUDY).replace("object_helper", "..object_helper"),
}


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))


def ids(study: Any, space: Any = "obj/a") -> list[str]:
    return [trial.id for trial in plan(space, study=study)[0].trials]


# ---- modules -----------------------------------------------------------------------------------


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write(tmp_path, PACKAGE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("word", "module"),
    [
        ("lab.inner.studies", True),
        ("lab:STUDY", True),
        ("lab.inner.studies:OTHER", True),
        ("study.py", False),
        ("folder/study", False),
        ("folder/study.py:STUDY", False),
    ],
)
def test_a_module_is_told_from_a_file(word: str, module: bool) -> None:
    assert is_module(word) is module


@pytest.mark.usefixtures("lab")
def test_a_study_may_be_a_module_of_the_folder_python_started_in() -> None:
    named = ids("lab.inner.studies:STUDY")
    assert named == ids("lab.inner.studies")
    code = catalogue("lab.inner.studies").code
    labels = {label for pieces in code.values() for label in pieces}
    assert {"scaled in object_helper.py", "SCALE in object_helper.py"} <= labels
    assert not any(name.partition(".")[0] == "lab" for name in sys.modules)


def test_a_module_that_is_edited_is_read_anew(lab: Path) -> None:
    before = ids("lab.inner.studies")
    path = lab / "lab/inner/studies.py"
    path.write_text(path.read_text().replace("[1, 2]", "[1, 2, 3]"))
    assert ids("lab.inner.studies")[:2] == before
    helper = lab / "lab/object_helper.py"
    helper.write_text(helper.read_text().replace("2.0", "3.0"))
    assert set(ids("lab.inner.studies")).isdisjoint(before)


def test_a_module_that_is_not_there_or_sets_no_study_or_fails_is_said(lab: Path) -> None:
    def said(study: str, kind: type[Exception] = RequestError) -> str:
        with pytest.raises(kind) as caught:
            plan("obj", study=study)
        return str(caught.value)

    assert said("lab.nothing").startswith("there is no module lab.nothing here or installed; give")
    assert said("nowhere.at_all").startswith("there is no module nowhere.at_all here or installed")
    assert said("lab.inner.studies:GRID") == "lab.inner.studies sets no GRID that is a Study"
    assert said("lab") == "lab sets no STUDY that is a Study"
    write(lab, {"lab/broken.py": "import no_such_library\n", "lab/wrong.py": "1 / 0\n"})
    assert "lab.broken failed: ModuleNotFoundError: No module named 'no_such" in said(
        "lab.broken", StudyFileError
    )
    assert "ZeroDivisionError" in said("lab.wrong", StudyFileError)


def test_a_module_travels_to_where_it_is_found_by_its_name(
    lab: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = tmp_path_factory.mktemp("there")
    copy_study("lab.inner.studies:STUDY", there)
    assert {str(p.relative_to(there)) for p in there.rglob("*.py")} == {*PACKAGE}
    here = ids("lab.inner.studies:STUDY")
    monkeypatch.chdir(there)
    assert ids(carried_study("lab.inner.studies:STUDY")) == here
    assert carried_study("some/where/study.py") == "study/study.py"
    assert lab != there


# ---- objects -----------------------------------------------------------------------------------


class Notebook:
    """Cells of a notebook, run as IPython runs them: each has a name, and its text is kept."""

    def __init__(self, name: str):
        self.module = types.ModuleType(name)
        self.count = 0

    def run(self, *cells: str, known: bool = True) -> Study:
        for cell in cells:
            self.count += 1
            text = textwrap.dedent(cell)
            name = f"<ipython-input-{self.count}-{id(self):x}>" if known else "<stdin>"
            if known:
                linecache.cache[name] = (len(text), None, text.splitlines(True), name)
            exec(compile(text, name, "exec"), vars(self.module))
        return self.module.STUDY


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A module beside the notebook."""
    write(tmp_path, {"object_helper.py": HELPER})
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("object_helper", None)
    yield tmp_path / "object_helper.py"
    sys.modules.pop("object_helper", None)


@pytest.fixture
def notebook(helper: Path, monkeypatch: pytest.MonkeyPatch) -> Notebook:
    found = Notebook("__main__")
    monkeypatch.setitem(sys.modules, "__main__", found.module)
    return found


def test_what_plan_is_asked_for() -> None:
    study = Study(name="s", title="t", spaces={"a": Space(param_space={})})
    assert asked("x/y", "path.py") == ("x/y", "path.py")
    assert asked(study) == ("s", study)
    assert asked("s/a", study) == ("s/a", study)
    assert asked(study, study) == ("s", study)
    with pytest.raises(RequestError, match="a study is given twice"):
        asked(study, "path.py")


def test_cells_are_versioned_by_what_they_say(notebook: Notebook) -> None:
    study = notebook.run(IMPORTS, PARTS, STUDY)
    before = [one.trials for one in plan(study)]
    assert [len(trials) for trials in before] == [2, 2]
    first = [trial.id for trial in before[0]]
    code = catalogue(study).code
    labels = {label for pieces in code.values() for label in pieces}
    assert {
        "Net in a cell",
        "WIDTH in a cell",
        "arrays in a cell",
        "SCALE in object_helper.py",
    } <= (labels)

    def again(old: str, new: str) -> list[str]:
        assert old in PARTS + STUDY
        study = notebook.run(PARTS.replace(old, new), STUDY.replace(old, new))
        return ids(study, "obj/a")

    assert again("# A comment.", "# Another.") == first
    assert again("return 2", "return 3") == first
    assert again("[1, 2]", "[1, 2, 3]")[:2] == first
    for old, new in (
        ("WIDTH = 3", "WIDTH = 4"),
        ("nnx.relu", "nnx.gelu"),
        ("size=(20, 2)", "size=(21, 2)"),
        ("Net(c, rngs)", "Net({**c}, rngs)"),
    ):
        assert set(again(old, new)).isdisjoint(first), new
    assert again("# A comment.", "# A comment.") == first


def test_a_helper_in_a_file_is_followed_there(notebook: Notebook, helper: Path) -> None:
    study = notebook.run(IMPORTS, PARTS, STUDY)
    before = ids(study)
    helper.write_text(helper.read_text() + "# a comment\n")
    assert ids(study) == before
    helper.write_text(helper.read_text().replace("2.0", "3.0"))
    assert set(ids(study)).isdisjoint(before)


def test_without_source_the_bytecode_counts(notebook: Notebook) -> None:
    study = notebook.run(IMPORTS, PARTS, STUDY, known=False)
    before = ids(study)
    assert ids(notebook.run("\n\n" + PARTS, STUDY, known=False)) == before
    changed = notebook.run(PARTS.replace("nnx.relu", "nnx.gelu"), STUDY, known=False)
    assert set(ids(changed)).isdisjoint(before)
    wider = notebook.run(PARTS.replace("WIDTH = 3", "WIDTH = 4"), STUDY, known=False)
    assert set(ids(wider)).isdisjoint(before)


def test_a_study_of_a_script_has_the_ids_of_its_file(helper: Path) -> None:
    """So that `launch(STUDY)` in a script and `--study script.py` share a store."""
    path = helper.with_name("object_script.py")
    path.write_text(textwrap.dedent(IMPORTS + PARTS + STUDY))
    module = types.ModuleType("object_script")
    module.__file__ = str(path)
    sys.modules["object_script"] = module
    try:
        exec(compile(path.read_text(), str(path), "exec"), vars(module))
        assert ids(module.STUDY) == ids(str(path))
    finally:
        del sys.modules["object_script"]


def test_what_a_function_makes_is_followed_from_object_to_object(
    helper: Path, tmp_path: Path
) -> None:
    """A study that no name holds, with a value that is in no file."""
    inner = "\n".join(f"    {line}" for line in textwrap.dedent(PARTS + STUDY).splitlines())
    inner = inner.replace("WIDTH = 3", "")
    text = f"{textwrap.dedent(IMPORTS)}\ndef make(WIDTH):\n{inner}\n    return STUDY\n"
    path = tmp_path / "object_maker.py"
    path.write_text(text)
    module = types.ModuleType("object_maker")
    module.__file__ = str(path)
    sys.modules["object_maker"] = module
    try:
        exec(compile(text, str(path), "exec"), vars(module))
        assert ids(module.make(3)) == ids(module.make(3))
        assert set(ids(module.make(3))).isdisjoint(ids(module.make(4)))
    finally:
        del sys.modules["object_maker"]


def test_another_process_finds_the_same_trials_in_what_is_sent(
    notebook: Notebook, tmp_path_factory: pytest.TempPathFactory
) -> None:
    study = notebook.run(IMPORTS, PARTS, STUDY)
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    with sent(study) as path:
        copy_study(path, elsewhere)
        (one,) = plan("obj/a", study=path)
        assert [trial.id for trial in one.trials] == ids(study)
        assert catalogue(path).code == catalogue(study).code
    assert not Path(path).exists()
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator", "plan", "obj/a", "--json", "--study",
         carried_study(path)],
        cwd=elsewhere, env=dict(os.environ), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["trial_ids"] == ids(study)


def test_an_object_is_given_to_a_launch_as_a_file(notebook: Notebook) -> None:
    @sends_objects
    def called(space: Any, *, study: Any = None, more: int = 0) -> Any:
        return space, study, Path(study).is_file() if study else None, more

    study = notebook.run(IMPORTS, PARTS, STUDY)
    space, path, there, more = called(study, more=3)
    assert (space, Path(path).name, there, more) == ("obj", "obj.py", True, 3)
    assert called("obj/b", study=study)[:1] == ("obj/b",)
    assert called("vanishing/depth") == ("vanishing/depth", None, None, 0)


def test_what_cannot_be_sent_is_said(notebook: Notebook) -> None:
    study = notebook.run(
        IMPORTS, PARTS.replace("WIDTH = 3", "WIDTH = __import__('threading').Lock()"), STUDY
    )
    with (
        pytest.raises(
            RequestError, match=r"study obj cannot be sent to workers \(TypeError: .*; put"
        ),
        sent(study),
    ):
        pass


@pytest.mark.filterwarnings("ignore:JAX was imported before:RuntimeWarning")
def test_an_object_is_debugged(notebook: Notebook, tmp_path: Path) -> None:
    study = notebook.run(IMPORTS, PARTS, STUDY)
    result = debug(study, store=str(tmp_path / "none"))
    assert (result.status, result.trial.id) == ("done", ids(study)[0])
    assert debug("obj/b", study=study, store=str(tmp_path / "none")).trial.id == ids(study)[0]
