"""Versions of parts by what they depend on: which edits change one, and which do not."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

import pytest

from orchestrator.plan.code import versions as code_versions
from orchestrator.plan.studies import catalogue

STUDY = '''
"""A study of four files."""
from __future__ import annotations
import functools
import math
import equinox_like
import lonely
import scipy.special as special
import settings as conf
from flax.nnx import relu as act
from gradsweep import Key, Model, Space, Study, Task, launch
from pkg import deep
from pkg.tables import *
try:
    from fast import kernel
except ImportError:
    from slow import kernel

WIDTH = 8
SEED = 1
GRID = {"lr": {"grid_search": [0.1, 0.2]}}
DEPTHS = {"a": 1}
DEPTHS["b"] = 2

def twice(f):
    @functools.wraps(f)
    def g(*args):
        return 2 * f(*args)
    return g

@twice
def scaled(x):
    """What it does."""
    return special.expit(x) * math.pi

class Base:
    size = 3

class Net(Base):
    def __call__(self, x):
        WIDTHS = 3  # not the one of pkg.tables
        return deep.run(scaled(x), conf.RATE, kernel, TABLE, act, WIDTHS)

def unrelated(x):
    return x + SEED

def build(config, sizes, rngs):
    return Net(WIDTH, DEPTHS)

def figure(store, space, trial):
    return unrelated(1)

NET = Model(name="net", build=build, keys=(Key("units", "int", 3),))
OTHER = Model(name="other", build="other:build")
STUDY = Study(name="s", title="t", parts=(
    NET, OTHER, Model(name="inline", build=lambda config, sizes, rngs: twice(build))),
    figures={"f": figure}, spaces={"a": Space(param_space=GRID)})
print("ready")
if __name__ == "__main__":
    launch(STUDY)
'''
FILES = {
    "study.py": STUDY,
    "settings.py": "RATE = 0.5\nUNUSED = 1\n",
    "equinox_like.py": "UNREAD = 1\n",
    "lonely.py": "import os\nos.environ.setdefault('LONELY', '1')\nX = 1\n",
    "slow.py": "def kernel(x):\n    return x\n",
    "other.py": "from settings import RATE\n\ndef build(c, s, r):\n    return RATE\n\n"
    "def g():\n    1\n",
    "pkg/__init__.py": "VERSION = 1\n",
    "pkg/deep.py": "from .inner.core import step\n\ndef run(*a):\n    from . import late\n"
    "    return step(a, late.K)\n\ndef idle():\n    return 1\n",
    "pkg/late.py": "K = 1\nL = 2\n",
    "pkg/inner/__init__.py": "",
    "pkg/inner/core.py": "from ..tables import TABLE\n\ndef step(a, k):\n    return TABLE, k\n",
    "pkg/tables.py": "TABLE = [1, 2]\nWIDTHS = [3]\n",
}


def write(folder: Path, files: Mapping[str, str]) -> str:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    return str(folder / "study.py")


def versions(folder: Path, files: Mapping[str, str] | None = None) -> dict[str, str]:
    path = write(folder, FILES if files is None else files)
    parts = catalogue(path, str(folder)).registry.parts.values()
    return {part.name: str(part.version) for part in parts if str(part.version)[:5] == "code-"}


def edited(edits: list[tuple[str, str, str]]) -> dict[str, str]:
    files = dict(FILES)
    for name, old, new in edits:
        assert files.get(name, "").count(old) >= 1 or not old
        files[name] = files.get(name, "").replace(old, new, 1) if old else new
    return files


KEEPS = {
    "a comment": [("study.py", "WIDTH = 8", "# eight\nWIDTH = 8  # units")],
    "blank lines, quotes and breaks": [
        ("study.py", 'DEPTHS = {"a": 1}', "\nDEPTHS = {\n'a': (1)}")],
    "a docstring": [("study.py", "What it does.", "What it does not.")],
    "a docstring that is new": [("study.py", "def build(config, sizes, rngs):",
                                 "def build(config, sizes, rngs):\n    'Makes it.'")],
    "a grid": [("study.py", "[0.1, 0.2]", "[0.1, 0.2, 0.3]")],
    "a space": [("study.py", "Space(param_space=GRID)", "Space(param_space=GRID, samples=3)")],
    "an unrelated function": [("study.py", "return x + SEED", "return x - SEED")],
    "an unrelated constant": [("study.py", "SEED = 1", "SEED = 2")],
    "a figure": [("study.py", "return unrelated(1)", "return unrelated(2)")],
    "another part": [("study.py", 'name="other"', 'name="other", doc="another"')],
    "what another module has besides": [("settings.py", "UNUSED = 1", "UNUSED = 2")],
    "a function of a module that is not called": [("pkg/deep.py", "return 1", "return 2")],
    "a constant that a function imports from": [("pkg/late.py", "L = 2", "L = 3")],
    "a name that a function has for itself": [("pkg/tables.py", "WIDTHS = [3]", "WIDTHS = [4]")],
    "a constant of a package": [("pkg/__init__.py", "VERSION = 1", "VERSION = 2")],
    "a module that is imported and not read": [("equinox_like.py", "UNREAD = 1", "UNREAD = 2")],
    "what is printed": [("study.py", 'print("ready")', 'print("go")')],
    "what a script does": [("study.py", "launch(STUDY)", "launch(STUDY, smoke=True)")],
    "another order of functions": [("study.py", "WIDTH = 8\nSEED = 1", "SEED = 1\nWIDTH = 8")],
    "a helper moved to another file": [
        ("study.py", "from pkg import deep", "from pkg import deep\nfrom moved import WIDTH"),
        ("study.py", "WIDTH = 8\n", ""), ("moved.py", "", "WIDTH = 8\n")],
    "a name for a module": [("study.py", "import settings as conf", "import settings as conf, os")],
}  # fmt: skip
CHANGES = {
    "the function": [("study.py", "return Net(WIDTH, DEPTHS)", "return Net(WIDTH)")],
    "a constant it reads": [("study.py", "WIDTH = 8", "WIDTH = 9")],
    "a table changed in place": [("study.py", 'DEPTHS["b"] = 2', 'DEPTHS["b"] = 3')],
    "a function two calls away": [("study.py", "math.pi", "math.e")],
    "a decorator": [("study.py", "return 2 * f", "return 3 * f")],
    "a base class": [("study.py", "size = 3", "size = 4")],
    "the part": [("study.py", 'Key("units", "int", 3)', 'Key("units", "int", 4)')],
    "an attribute of a module": [("settings.py", "RATE = 0.5", "RATE = 0.6")],
    "a name imported from a library": [("study.py", "relu as act", "gelu as act")],
    "a name imported by a star": [("pkg/tables.py", "[1, 2]", "[1, 3]")],
    "a relative import": [("pkg/inner/core.py", "return TABLE, k", "return k")],
    "an import within a function": [("pkg/late.py", "K = 1", "K = 2")],
    "a conditional import": [("slow.py", "return x", "return -x")],
    "the other module of a conditional import": [("fast.py", "", "def kernel(x):\n    return 2\n")],
    "a statement made for what it does": [("lonely.py", "'1'", "'2'")],
    "a new statement of that kind": [
        ("study.py", "GRID = ", "import jax\njax.config.update('jax_enable_x64', False)\nGRID = ")],
    "one in a package around a module": [
        ("pkg/__init__.py", "VERSION = 1", "import os\nos.environ.setdefault('A', '1')")],
    "two names taken for each other": [
        ("study.py", "deep.run(scaled(x), conf.RATE", "deep.run(conf.RATE, scaled(x)")],
}  # fmt: skip


@pytest.mark.parametrize("edits", KEEPS.values(), ids=KEEPS)
def test_an_edit_that_a_part_does_not_read_keeps_its_version(
    tmp_path: Path, edits: list[tuple[str, str, str]]
) -> None:
    before = versions(tmp_path / "a")
    after = versions(tmp_path / "b", edited(edits))
    assert {name: after[name] for name in ("net", "inline")} == {
        name: before[name] for name in ("net", "inline")
    }


@pytest.mark.parametrize("edits", CHANGES.values(), ids=CHANGES)
def test_an_edit_that_a_part_reads_changes_its_version(
    tmp_path: Path, edits: list[tuple[str, str, str]]
) -> None:
    before, after = versions(tmp_path / "a"), versions(tmp_path / "b", edited(edits))
    assert after["net"] != before["net"]
    if edits[0][1] != 'Key("units", "int", 3)':
        assert after["inline"] != before["inline"]


def test_parts_of_one_file_have_versions_of_their_own(tmp_path: Path) -> None:
    before = versions(tmp_path / "a")
    after = versions(tmp_path / "b", edited([("study.py", "WIDTH = 8", "WIDTH = 9")]))
    assert (after["other"], before["other"]) == (before["other"], after["other"])
    assert len({*before.values()}) == 3
    code = edited([("other.py", "return RATE", "return -RATE")])
    named = versions(tmp_path / "c", code)
    assert named["other"] != before["other"]
    assert named["net"] == before["net"]
    unread = versions(tmp_path / "d", edited([("other.py", "    1\n", "    2\n")]))
    assert unread == before


def test_swapping_two_functions_of_one_import_is_seen(tmp_path: Path) -> None:
    """The statements are the same ones, and each is still read."""
    files = {
        "study.py": "from gradsweep import Model, Study\nfrom a import f as one\n"
        "from b import f as two\nNET = Model(name='net', build=lambda c, s, r: (one, two))\n"
        "STUDY = Study(name='s', title='t', parts=(NET,), spaces={})\n",
        "a.py": "def f():\n    return 1\n",
        "b.py": "def f():\n    return 2\n",
    }
    swapped = files["study.py"].replace("from a", "from c").replace("from b", "from a")
    swapped = swapped.replace("from c", "from b")
    before = versions(tmp_path / "a", files)
    assert versions(tmp_path / "b", {**files, "study.py": swapped}) != before


def test_files_of_equal_text_in_two_packages_are_two(tmp_path: Path) -> None:
    layer = "from .size import SIZE\n\ndef layer():\n    return SIZE\n"
    files = {
        "study.py": "from gradsweep import Model, Study\nimport a.layer\nimport b.layer\n"
        "NET = Model(name='net', build=lambda c, s, r: (a.layer.layer(), b.layer.layer()))\n"
        "STUDY = Study(name='s', title='t', parts=(NET,), spaces={})\n",
        **{f"{name}/__init__.py": "" for name in "ab"},
        **{f"{name}/layer.py": layer for name in "ab"},
        **{f"{name}/size.py": f"SIZE = {i}\n" for i, name in enumerate("ab")},
    }
    before = versions(tmp_path / "0", files)
    for name in "ab":
        changed = {**files, f"{name}/size.py": "SIZE = 9\n"}
        assert versions(tmp_path / f"1{name}", changed) != before
    swapped = {**files, "a/size.py": files["b/size.py"], "b/size.py": files["a/size.py"]}
    assert versions(tmp_path / "2", swapped) != before


def test_a_part_made_where_no_name_holds_it_is_versioned_by_the_file(tmp_path: Path) -> None:
    made = (
        "from gradsweep import Model, Study\n\ndef parts():\n"
        "    return [Model(name=n, build=lambda c, s, r: 1) for n in ('a', 'b')]\n\n"
        "STUDY = Study(name='s', title='t', parts=(*parts(),), spaces={})\nOTHER = 1\n"
    )
    before = versions(tmp_path / "a", {"study.py": made})
    assert versions(tmp_path / "b", {"study.py": made + "# a comment\n"}) == before
    after = versions(tmp_path / "c", {"study.py": made.replace("OTHER = 1", "OTHER = 2")})
    assert after["a"] != before["a"]
    listed = made.replace("parts=(*parts(),)", "parts=PARTS").replace(
        "STUDY =", "PARTS = parts()\nSTUDY ="
    )
    before = versions(tmp_path / "d", {"study.py": listed})
    assert versions(tmp_path / "e", {"study.py": listed.replace("= 1\n", "= 2\n")}) == before


def test_a_registry_of_ones_own_counts(tmp_path: Path) -> None:
    text = """
        from gradsweep import Model, Study
        TABLE = {}
        def register(f):
            TABLE[f.__name__] = f
            return f
        @register
        def net():
            return 1
        NET = Model(name="net", build=lambda c, s, r: TABLE["net"])
        STUDY = Study(name="s", title="t", parts=(NET,), spaces={})
    """
    before = versions(tmp_path / "a", {"study.py": text})
    assert versions(tmp_path / "b", {"study.py": text.replace("return 1", "return 2")}) != before


def test_files_that_import_each_other_are_read(tmp_path: Path) -> None:
    files = {
        "study.py": "from gradsweep import Model, Study\nimport a\n"
        "NET = Model(name='net', build=lambda c, s, r: a.f)\n"
        "STUDY = Study(name='s', title='t', parts=(NET,), spaces={})\n",
        "a.py": "import b\nfrom b import *\n\ndef f():\n    return b.g, missing\n\n"
        "def h():\n    return f()\n",
        "b.py": "import a\nfrom a import *\n\ndef g():\n    return a.h()\n",
    }
    before = versions(tmp_path / "a", files)
    deeper = {**files, "a.py": files["a.py"].replace("return f()", "return -f()")}
    assert versions(tmp_path / "b", deeper) != before


def test_a_package_counts_by_its_version_and_jax_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = metadata.version
    before = versions(tmp_path / "a")
    pieces = catalogue(str(tmp_path / "a/study.py")).code[before["net"]]
    assert pieces["package scipy"] == real("scipy")
    assert not any(f"package {name}" in pieces for name in ("jax", "flax", "numpy", "gradsweep"))
    monkeypatch.setattr(
        code_versions.importlib.metadata, "version",
        lambda name: "0.0.1" if name == "scipy" else real(name),
    )  # fmt: skip
    after = versions(tmp_path / "a")
    assert after["net"] != before["net"]
    assert after["other"] == before["other"]


def test_pieces_are_named_as_the_user_knows_them(tmp_path: Path) -> None:
    code = catalogue(write(tmp_path, FILES)).code
    found = versions(tmp_path)
    assert {"NET in study.py", "Net in study.py", "Base in study.py", "twice in study.py",
            "RATE in settings.py", "step in core.py", "kernel in slow.py", "DEPTHS in study.py",
            } <= code[found["net"]].keys()  # fmt: skip
    assert "model inline in study.py" in code[found["inline"]]
    assert "`os.environ.setdefault('LONELY', '1')` in lonely.py" in code[found["net"]]
