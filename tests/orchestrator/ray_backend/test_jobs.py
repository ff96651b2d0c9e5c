"""Requests that no cluster answers, and the code that travels; `test_cluster` has real jobs."""

from __future__ import annotations

import importlib.metadata
import subprocess
from pathlib import Path

import pytest

from orchestrator.ray_backend.cluster import baggage
from orchestrator.ray_backend.code_bundle import PACKAGES, carried_study
from tests.support.launches import command


@pytest.mark.parametrize(
    "words",
    [
        ("status", "--address", "http://127.0.0.1:9"),
        ("logs", "--address", "http://127.0.0.1:9"),
        ("stop", "--address", "http://127.0.0.1:9"),
    ],
)
def test_an_address_where_nothing_answers_is_one_sentence(words: tuple[str, ...]) -> None:
    done = subprocess.run(command(*words), capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: the job server at http://127.0.0.1:9 says: ")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("address", ["127.0.0.1:9", "127.0.0.1:port", "nowhere.invalid:6379"])
def test_a_cluster_that_is_not_there_is_one_sentence(address: str, tmp_path: Path) -> None:
    words = ("launch", "vanishing/quickstart", "--store", str(tmp_path / "s"), "--address", address)
    done = subprocess.run(command(*words), capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: no Ray cluster answers at {address} (")
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "s").exists()


def test_to_detach_needs_a_job_server() -> None:
    for where in ((), ("--address", "127.0.0.1:6379")):
        words = ["launch", "vanishing/quickstart", "--detach", *where]
        done = subprocess.run(command(*words), capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert "--detach starts a job on a cluster; name its job server" in done.stderr


def test_the_code_that_travels_is_the_code_that_runs(tmp_path: Path) -> None:
    study = tmp_path / "own.py"
    text = (Path(__file__).parents[2] / "support" / "tiny_study.py").read_text()
    parts = "Optimizer(name='own_rule', build='own_rules.inner:rule'),"
    text = text.replace('name="tiny",', f'name="tiny", parts=({parts}),')
    study.write_text(f"import own_helper\nfrom trainables.declarations import Optimizer\n{text}")
    code = {"own_helper.py": "", "own_rules/__init__.py": "", "own_rules/inner.py": "rule = None"}
    for place, content in {**code, "own_rules/late.py": "", "not_imported.py": ""}.items():
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).write_text(content)
    carried = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        carried.append(Path(baggage(tmp_path / name, str(study))["working_dir"]))
        assert (carried[-1] / carried_study(str(study))).read_text() == study.read_text()
    assert len({(folder / "launch.txt").read_text() for folder in carried}) == 2
    root = Path(__file__).parents[3]
    beside = {Path("study", place) for place in (*code, "own_rules/late.py", "own.py")}
    expected = {Path("launch.txt"), *beside}
    for package in PACKAGES:
        for path in (root / package).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                expected.add(path.relative_to(root))
                assert (carried[0] / path.relative_to(root)).read_bytes() == path.read_bytes()
    (about,) = importlib.metadata.distributions(path=[str(carried[0])])
    assert about.version == importlib.metadata.version("gradsweep")
    expected.add(Path(f"gradsweep-{about.version}.dist-info", "METADATA"))
    files = {path.relative_to(carried[0]) for path in carried[0].rglob("*") if path.is_file()}
    assert files == expected
