"""`make mutants` as a whole, on a checkout of one module and one test file."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("cosmic_ray", reason="cosmic-ray is not installed: see make mutants")
pytest.importorskip("coverage", reason="coverage is not installed: see make mutants")

ROOT = Path(__file__).parents[2]
MODULE = """\
def least(a, b):
    return a if a < b else b


def last(n):
    while n != 1:
        n -= 1
    return n


def odd(n):
    return n % 2


def unseen(n):
    return n + 1
"""
TESTS = """\
import pytest

from results.store.parquet_parts import last, least, odd


def test_least():
    assert least(1, 2) == 1
    assert least(2, 1) == 1


ran = []


def test_before():
    odd(3)
    ran.append(sum(range(3_000_000)))  # so long that the quicker one below is run first


def test_needs_the_one_before():
    odd(3)
    assert ran


@pytest.mark.slow
def test_slow():
    assert False


def test_fails_anyway():
    assert False


def test_last():
    assert last(4) == 1
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("checkout")
    for name, text in {
        "results/__init__.py": "",
        "results/store/parquet_parts.py": MODULE,
        "tests/__init__.py": "",
        "tests/conftest.py": "",
        "tests/test_parts.py": TESTS,
        "pyproject.toml": '[tool.pytest.ini_options]\\nmarkers = ["slow: not quick"]\\n',
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text.replace("\\n", "\n"))
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    return root


def command(checkout: Path, cache: str, *words: str) -> list[str]:
    at = ("--root", str(checkout), "--cache", str(checkout.parent / cache))
    asked = ("--count", "99", "--patience", "1", "--jobs", "1")
    return [sys.executable, "-m", "tests.mutants", *at, *asked, *words]


def run(checkout: Path, cache: str, *words: str) -> str:
    asked = command(checkout, cache, *words)
    done = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_what_is_killed_survives_and_is_seen_by_none(checkout: Path) -> None:
    told = checkout.parent / "told.json"
    run(checkout, "whole", "--json", str(told))
    assert (checkout / "results/store/parquet_parts.py").read_text() == MODULE
    found = {(m["definition"], m["new"]): m for m in json.loads(told.read_text())["mutants"]}
    outcomes = {
        name: {m["outcome"] for (function, _), m in found.items() if function == name}
        for name in ("least", "last", "odd", "unseen")
    }
    assert "killed" in outcomes["least"]
    assert "timed out" in outcomes["last"]
    assert outcomes["odd"] == {"survived"}, "a test that fails alone has killed a mutant"
    assert outcomes["unseen"] == {"survived"}
    unseen = [m for (function, _), m in found.items() if function == "unseen"]
    assert all(m["of"] == 0 for m in unseen)
    killers = {m["killer"] for m in found.values() if m["outcome"] == "killed"}
    assert killers == {f"tests/test_parts.py::test_{name}" for name in ("least", "last")}
    again = run(checkout, "whole")
    assert " 0 of them to be measured" in again
    assert " 0 of them to be run" in again


@pytest.mark.slow
def test_what_is_stopped_goes_on_and_leaves_nothing_behind(checkout: Path, tmp_path: Path) -> None:
    with subprocess.Popen(
        command(checkout, "stopped"),
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
    ) as first:
        assert first.stdout is not None
        for line in first.stdout:
            if line.startswith("[") and " min]" in line:  # the first mutant is done
                first.send_signal(signal.SIGINT)
                break
        assert "the same command goes on from here" in first.stdout.read()
    assert first.returncode == 130
    assert list(tmp_path.iterdir()) == []
    again = run(checkout, "stopped")
    total, left = re.search(r"(\d+) mutants, (\d+) of them to be run", again).groups()  # type: ignore[union-attr]
    assert 0 < int(left) < int(total)
