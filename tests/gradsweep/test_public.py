"""`import gradsweep`: what it gives and loads, and what it says of a file that hides a package."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import gradsweep
import orchestrator.launch
import trainables.declarations


def python(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )


def test_every_name_is_there() -> None:
    assert set(dir(gradsweep)) == {*gradsweep.__all__, "__version__"}
    for name in dir(gradsweep):
        assert getattr(gradsweep, name)
    assert gradsweep.launch is orchestrator.launch.launch
    assert gradsweep.Key is trainables.declarations.Key
    assert [gradsweep.plan.__name__, gradsweep.best.__name__] == ["plan", "best"]
    with pytest.raises(AttributeError, match="no attribute 'lunch'"):
        gradsweep.__getattr__("lunch")


def test_importing_it_loads_no_library(tmp_path: Path) -> None:
    heavy = {"jax", "ray", "numpy", "pandas", "pyarrow", "plotly", "orchestrator", "results"}
    done = python(f"import sys, gradsweep; print({heavy!r} & set(sys.modules))", tmp_path)
    assert (done.stdout, done.stderr) == ("set()\n", "")


@pytest.mark.parametrize(
    ("hidden", "wanted"),
    [
        ("results.py", "gradsweep"),
        ("orchestrator/__init__.py", "gradsweep"),
        ("results.py", "orchestrator"),
        ("results.py", "orchestrator.launch"),
        ("search_spaces/__init__.py", "orchestrator.plan.plan"),
        ("trainables.py", "orchestrator"),
        ("trainables.py", "search_spaces"),
        ("trainables/__init__.py", "search_spaces"),
    ],
)
def test_a_file_that_hides_a_package_is_named_with_the_remedy(
    tmp_path: Path, hidden: str, wanted: str
) -> None:
    path = tmp_path / hidden
    path.parent.mkdir(exist_ok=True)
    path.write_text("")
    done = python(f"import {wanted}", tmp_path)
    assert done.returncode == 1
    package = hidden.removesuffix(".py").removesuffix("/__init__")
    assert done.stderr.splitlines()[-1] == (
        f"ImportError: {path.resolve()} hides gradsweep's package {package!r}; rename it, or start "
        "Python in another folder."
    )


def test_a_folder_of_results_hides_nothing(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    done = python("from gradsweep import open_store; print(open_store.__module__)", tmp_path)
    assert done.stdout == "results.store.open\n", done.stderr


def test_the_command_says_its_version() -> None:
    words = [sys.executable, "-m", "orchestrator", "--version"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout == f"gradsweep {gradsweep.__version__}\n"
