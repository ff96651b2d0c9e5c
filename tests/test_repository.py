"""What the repository promises of itself: imports, locks, addresses, the wheel."""

from __future__ import annotations

import ast
import functools
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES = ("gradsweep", "orchestrator", "trainables", "search_spaces", "results")
LOCKS = ("requirements.lock", "requirements-cuda.lock", "requirements-mutants.lock")


def distribution(requirement: str) -> str:
    return re.split(r"[\s<>=!~;]", requirement, maxsplit=1)[0]


def tracked() -> list[Path]:
    """Files under version control, or all below an unpacked source archive."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


# ---- imports -----------------------------------------------------------------------------------

THE_FOUR = {"jax", "flax", "optax", "numpy"}
ALLOWED = {  # folder -> what its modules may import beside the standard library
    "trainables/declarations": {"trainables.declarations"},
    "trainables": {"trainables", *THE_FOUR},
    "search_spaces": {"search_spaces", "trainables.declarations"},
    "results": {
        *("results", "numpy", "pyarrow", "duckdb", "pandas", "plotly", "safetensors"),
        *("kaleido", "choreographer", "psutil", "ml_dtypes"),
        *("dash", "dash_ag_grid", "flask", "werkzeug"),
    },
}


@functools.cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("folder", ALLOWED)
def test_a_package_imports_what_it_may_and_no_more(folder: str) -> None:
    """Complements import-linter, which knows the forbidden; here is the allowed."""
    modules = list((ROOT / folder).rglob("*.py"))
    assert modules
    for path in modules:
        for name in imported(path):
            top = name.partition(".")[0]
            fits = any(name == a or name.startswith(a + ".") for a in ALLOWED[folder])
            assert fits or top in sys.stdlib_module_names, f"{path.relative_to(ROOT)}: {name}"


@pytest.mark.parametrize(
    ("package", "unwanted"),
    [
        ("trainables.declarations", THE_FOUR | {"ray", "pyarrow", "pandas"}),
        ("search_spaces", THE_FOUR | {"ray", "pyarrow", "pandas"}),
        # pyarrow.dataset imports pandas by itself where it is installed.
        ("results", {"jax", "ray", "plotly", *PACKAGES} - {"results"}),
        ("orchestrator", {"jax", "ray", "pandas", "plotly", "sklearn"}),
        ("orchestrator.worker.pack_run", {"optuna"}),  # which only a driver asks
    ],
)
def test_importing_loads_nothing_unwanted(package: str, unwanted: set[str]) -> None:
    code = f"import sys, {package}; print(*sorted({unwanted!r} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""


UNPICKLERS = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal",
              "torch"}  # fmt: skip


def test_nothing_of_ours_reads_a_pickle() -> None:
    """Weights and data may be files that others have written, and a pickle is a program."""
    found = []
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            where = path.relative_to(ROOT)
            tops = {name.partition(".")[0] for name in imported(path)}
            found += [f"{where}: {name}" for name in sorted(tops & UNPICKLERS)]
            for node in ast.walk(parsed(path)):
                if not isinstance(node, ast.Call):
                    continue
                if ast.unparse(node.func).endswith("read_pickle"):
                    found.append(f"{where}: {ast.unparse(node)}")
                found += [
                    f"{where}: {ast.unparse(node)}"
                    for keyword in node.keywords
                    if keyword.arg == "allow_pickle" and ast.unparse(keyword.value) != "False"
                ]
    assert found == []


# ---- locks and dependencies --------------------------------------------------------------------


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_pins_and_hashes_everything_and_names_no_index(lock: str) -> None:
    text = (ROOT / lock).read_text()
    assert "://" not in text
    assert not re.search(r"^\s*--(?!hash=)", text, re.M)
    entries = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.M)[1:]
    assert len(entries) > 20
    for entry in entries:
        assert re.match(r"[\w.-]+(\[[\w,-]+\])?==[\w.!+]+( ; .*)? \\\n", entry), entry[:80]
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry[:80]


def locked(lock: str) -> dict[str, str]:
    return dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / lock).read_text(), re.M))


def test_the_other_locks_add_and_change_nothing() -> None:
    plain, cuda, mutants = (locked(lock) for lock in LOCKS)
    assert plain.items() <= cuda.items()
    assert any(name.startswith("jax-cuda") for name in cuda)
    assert all(mutants[name] == plain[name] for name in mutants.keys() & plain.keys())


def test_every_patch_of_ray_was_checked_with_the_ray_that_is_locked() -> None:
    """Who takes a newer Ray looks at each patch again, and says so in its comment."""
    patches, local = (
        (ROOT / f"orchestrator/ray_backend/{name}.py").read_text()
        for name in ("ray_patches", "local")
    )
    checked = re.findall(r"[Cc]hecked[^.]* with Ray (\d[\d.]*\d)", patches)
    assert len(checked) == len(re.findall(r"^def ", patches, re.M))
    assert {*checked, *re.findall(r"with Ray (\d[\d.]*\d)", local)} == {locked(LOCKS[0])["ray"]}


UNLOCKED = {"torch"}
"""Extras that are in no lock, since they take several GB and only one example uses them."""


def test_every_dependency_is_locked_and_explained() -> None:
    project = PROJECT["project"]
    extras = project["optional-dependencies"]
    required = [
        *project["dependencies"],
        *(r for extra in extras.values() for r in extra),
        *(r for group in PROJECT["dependency-groups"].values() for r in group),
        *PROJECT["build-system"]["requires"],
    ]
    explained = set(
        re.findall(r"^\| ([a-z][\w.\[\]-]+) \|", (ROOT / "docs/dependencies.md").read_text(), re.M)
    )
    pinned = locked("requirements.lock") | locked("requirements-mutants.lock")
    for requirement in required:
        name = distribution(requirement)
        assert name in explained or name.partition("[")[0] in explained, name
        assert (name.partition("[")[0] in pinned) != (name in UNLOCKED), name
    assert {name.partition("[")[0] for name in explained - {"package"}} <= {
        distribution(r).partition("[")[0] for r in required
    }


# ---- what is in the files ----------------------------------------------------------------------

# Spelled so that this tracked file does not match itself.
FORBIDDEN = {
    "a path of one machine": r"(?<![\w./$}~])/(?:[w]ork|[r]oot|[U]sers)/\w",
    "a registry's address": r"https?://[\w.:-]+/(?:[s]imple|[p]ackages)/",
    "an index address": r"--(?:extra-)?[i]ndex-url[ =]\S|[P]IP_\w*INDEX_URL|--[f]ind-links[ =]",
}


def test_tracked_files_name_no_machine_and_no_registry() -> None:
    found = []
    for path in tracked():
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        for what, pattern in FORBIDDEN.items():
            hit = re.search(pattern, text)
            if hit:
                found.append(f"{path.relative_to(ROOT)}: {what}: {hit.group()!r}")
    assert found == []


def test_the_search_for_them_would_find_them() -> None:
    for what, example in {
        "a path of one machine": "cd " + "/work" + "/main",
        "a registry's address": "http://mirror:80/" + "simple/" + "numpy/",
        "an index address": "pip install --index" + "-url http://x",
    }.items():
        assert re.search(FORBIDDEN[what], example), what


# ---- the wheel ---------------------------------------------------------------------------------


def test_the_wheel_holds_the_four_packages_whole(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(
        build, cwd=ROOT, check=True, capture_output=True, env={**os.environ, "PYTHONWARNINGS": ""}
    )
    (wheel,) = tmp_path.glob("gradsweep-*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    packed = {n for n in names if ".dist-info/" not in n}
    assert {n.partition("/")[0] for n in packed} == set(PACKAGES)
    for path in tracked():
        relative = path.relative_to(ROOT).as_posix()
        if relative.startswith(PACKAGES):
            assert relative in packed
    assert {f"{package}/py.typed" for package in PACKAGES} <= packed
    assert any(n.endswith("licenses/LICENSE") for n in names)
