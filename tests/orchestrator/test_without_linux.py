"""Commands in processes that lack what only Linux has (`tests/support/without_linux`), which is as
near as this suite comes to macOS."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.machine import resources
from tests.support.launches import TINY, command, sets

PLACE = Path(__file__).parents[1] / "support" / "without_linux"
TINIEST = [*TINY, "epochs=2"]


def said(store: Path, *words: str) -> str:
    """What a command says in such a process, once it has ended well."""
    paths = [str(PLACE), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run(
        [*command(*words), "--store", str(store)],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_functions_and_files_are_gone_there() -> None:
    """What the other tests rest on."""
    text = (
        "import os, psutil\n"
        "assert not hasattr(os, 'sched_getaffinity')\n"
        "assert psutil.virtual_memory().available > 0\n"
        "from orchestrator.machine.resources import cpus_here\n"
        "assert cpus_here() == os.cpu_count()\n"
        "code = compile('open(\"/proc/meminfo\")', cpus_here.__code__.co_filename, 'exec')\n"
        "try: exec(code)\n"
        "except FileNotFoundError: print('gone')\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(PLACE)}
    done = subprocess.run(
        [sys.executable, "-c", text], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "gone\n"


def test_without_an_affinity_all_cpus_of_the_machine_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert resources.cpus_here() == os.cpu_count()
    assert resources.find_room().packs == os.cpu_count()


@pytest.mark.slow
def test_plan_debug_and_a_query(tmp_path: Path) -> None:
    store = tmp_path / "store"
    space = ["vanishing/quickstart", *sets(*TINIEST)]
    assert "8 to run" in said(store, "plan", *space)
    assert ": done" in said(store, "debug", *space, "--record")
    query = ["query", "SELECT count(*) AS n FROM epochs", "--format", "csv"]
    assert said(store, *query).split() == ["n", "2"]


@pytest.mark.slow
@pytest.mark.ray
def test_a_launch(tmp_path: Path) -> None:
    """The driver, Ray's own processes and its workers all lack it."""
    space = ["vanishing/quickstart", *sets(*TINIEST)]
    out = said(tmp_path / "store", "launch", *space)
    assert "8 done" in out
