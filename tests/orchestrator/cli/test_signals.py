"""Every command ends without a traceback when it is asked to, at any moment."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import launches
from tests.support.launches import Begun, command, wait_for

WAITS = """
import time
print("waiting", flush=True)
while True:
    time.sleep(1)
"""


@pytest.fixture(autouse=True)
def ended_with_the_test() -> Iterator[None]:
    yield
    while launches.STARTED:
        launches.STARTED.pop().killed()


def ended(words: list[str], number: signal.Signals, **environment: str) -> str:
    """What a command says that gets the signal once it waits."""
    heard = ["env", "--default-signal=INT,HUP", *command(*words)]
    process = Begun(heard, {**os.environ, **environment})
    wait_for(lambda: "waiting" in process.said(), of=process)
    os.killpg(process.pid, number)
    return process.ended(128 + number).replace("waiting\n", "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("name", ["plan", "debug", "simulate", "launch"])
def test_a_command_that_is_asked_to_end(name: str, number: signal.Signals, tmp_path: Path) -> None:
    study = tmp_path / "slow.py"
    study.write_text(WAITS)
    said = ended([name, "slow/grid", "--study", str(study)], number)
    if name == "launch":
        assert said.startswith("stopped before any trial ran; run them: gradsweep launch slow/grid")
        assert len(said.splitlines()) == 1
    else:
        assert said == "stopped\n"


@pytest.mark.parametrize("module", ["typer", "orchestrator.cli.results"])
def test_ctrl_c_while_the_command_line_is_imported(module: str, tmp_path: Path) -> None:
    """A module before it in Python's path stands for one that takes long."""
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.abc, sys, time\n"
        "class Slow(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        f"        while name == {module!r}:\n"
        "            print('waiting', flush=True)\n"
        "            time.sleep(1000)\n"
        "sys.meta_path.insert(0, Slow())\n"
    )
    assert ended(["spaces"], signal.SIGINT, PYTHONPATH=str(tmp_path)) == "stopped\n"
