"""What a user's code does to end the process is an exception that says where; a signal is not."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.cli import app
from orchestrator.user_code import (
    UserExitError,
    described,
    guarded,
    raised_by_user,
    user_frames,
)
from tests.fuzz.command_line import say

CASES: dict[str, tuple[str, str]] = {
    "code": ("sys.exit(3)", "it called sys.exit(3)"),
    "text": ("sys.exit('no width 13')", "it called sys.exit('no width 13')"),
    "none": ("sys.exit()", "it called sys.exit()"),
    "zero": ("sys.exit(0)", "it called sys.exit(0)"),
    "quit": ("quit(2)", "it called sys.exit(2)"),
    "raise": ("raise SystemExit", "it called sys.exit()"),
    "parser": ("import argparse; argparse.ArgumentParser().parse_args(['-h'])",
               "it called sys.exit(0)"),
    "hard": ("os._exit(0)", "it called os._exit(0)"),
    "interrupt": ("raise KeyboardInterrupt", "it raised KeyboardInterrupt"),
    "cancel": ("import asyncio; raise asyncio.CancelledError('no more')",
               "it raised CancelledError: no more"),
    "own": ("raise type('Stop', (BaseException,), {})('now')", "it raised Stop: now"),
}  # fmt: skip

STUDY = """
import os, sys
import numpy as np, jax.numpy as jnp
from flax import nnx
from search_spaces import Space, Study
from trainables.declarations import Key, Model, Optimizer, Sizes, Task
import optax

def ends(config):
    {deed}

class Net(nnx.Module):
    def __init__(self, config, sizes, rngs):
        {build}
        self.readout = nnx.Linear(sizes.features, sizes.classes, rngs=rngs)
    def __call__(self, x):
        {call}
        return self.readout(x[:, 0])

def data(config):
    {task}
    return {{"x": np.ones((6, 1, 2)), "y": np.zeros(6, int)}}

def rule(config, hparams):
    {optimizer}
    return optax.sgd(hparams["lr"])

def sizes(config):
    {sizes}
    return Sizes(1, 2, 2, 4, 2, 0, 2)

PARTS = (
    Model(name="net", build=Net, version=1),
    Task(name="data", build=data, sizes=sizes, version=1),
    Optimizer(name="rule", build=rule, keys=(Key("lr", "float", 0.1, "traced"),), version=1),
)
GRID = {{"model": "net", "task": "data", "optimizer": "rule", "epochs": 1}}
STUDY = Study(name="own", title="x", parts=PARTS,
              spaces={{"a": Space(feeds="x", param_space=GRID)}})
"""


def study(folder: Path, deed: str, *places: str) -> Path:
    """A study whose functions at these places end the process."""
    where = dict.fromkeys(("build", "call", "task", "optimizer", "sizes"), "pass")
    where |= dict.fromkeys(places, "ends(config)" if "call" not in places else "ends(x)")
    path = folder / "own.py"
    path.write_text(STUDY.format(deed=deed, **where))
    return path


def line_of(path: Path, deed: str) -> int:
    return 1 + next(i for i, text in enumerate(path.read_text().splitlines()) if deed in text)


@pytest.mark.parametrize("name", CASES)
def test_each_way_to_end_a_process_is_named_with_its_place(tmp_path: Path, name: str) -> None:
    deed, says = CASES[name]
    path = tmp_path / "own.py"
    path.write_text(f"import os, sys\n\ndef f():\n    {deed}\n\nf()\n")
    with pytest.raises(UserExitError) as caught, guarded():
        exec(compile(path.read_bytes(), str(path), "exec"), {"__name__": "own"})
    assert str(caught.value) == f"{says} at {path}:4"
    assert described(caught.value) == str(caught.value)


@pytest.mark.parametrize("place", ["build", "call", "task", "optimizer"])
def test_a_trial_that_ends_the_process_has_failed(tmp_path: Path, place: str) -> None:
    path = study(tmp_path, "sys.exit()", place)
    said = say("debug", "own", "--study", str(path), "--store", str(tmp_path / "store"))
    assert said.status == 1
    (line,) = said.out.splitlines()
    assert line.endswith(f": failed, it called sys.exit() at {path}:{line_of(path, 'sys.exit')}")
    assert not said.err


def test_a_recorded_trial_that_ends_the_process_has_failed_in_the_store(tmp_path: Path) -> None:
    path, store = study(tmp_path, "os._exit(0)", "build"), str(tmp_path / "store")
    assert say("debug", "own", "--study", str(path), "--store", store, "--record").status == 1
    said = say("query", "select status, reason from attempts", "--store", store, "--format", "csv")
    assert f"failed,it called os._exit(0) at {path}:" in said.out


@pytest.mark.parametrize(
    ("place", "command"),
    [
        *(("file", one) for one in ("plan", "launch", "debug", "simulate")),
        *(("sizes", one) for one in ("plan", "launch", "simulate")),
    ],
)
def test_a_study_that_ends_the_process_is_one_sentence(
    tmp_path: Path, place: str, command: str
) -> None:
    path = study(tmp_path, "sys.exit(0)", place)
    if place == "file":
        path.write_text("import sys\nsys.exit(0)\n")
    said = say(command, "own", "--study", str(path), "--store", str(tmp_path / "store"))
    assert said.status == 2
    (line,) = said.err.splitlines()
    assert line.startswith("error: ")
    assert line.endswith(f"it called sys.exit(0) at {path}:{line_of(path, 'sys.exit')}")


def test_ctrl_c_in_a_user_s_code_is_ctrl_c(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), guarded():
        signal.raise_signal(signal.SIGINT)
    path = study(tmp_path, "os.kill(os.getpid(), 2); [i for i in range(10**6)]", "build")
    said = say("debug", "own", "--study", str(path), "--store", str(tmp_path / "store"))
    assert (said.status, said.out) == (130, "")


def test_an_end_of_ours_goes_on() -> None:
    with pytest.raises(SystemExit), guarded():
        app.main()


def end() -> None:
    os._exit(5)


@pytest.mark.parametrize("where", ["a fork", "another thread"])
def test_only_the_code_that_is_guarded_is_kept_from_ending(where: str) -> None:
    """A forked child must end where it is told to, and a thread of somebody else's too."""
    text = (
        "import os, threading\n"
        "from orchestrator.user_code import guarded\n"
        "from tests.orchestrator.test_user_code import end\n"
        "with guarded():\n"
        "    if 'fork' in WHERE:\n"
        "        child = os.fork()\n"
        "        if not child: end()\n"
        "        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
        "    else:\n"
        "        one = threading.Thread(target=end); one.start(); one.join()\n"
    ).replace("WHERE", repr(where))
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == ((0, "5\n") if "fork" in where else (5, ""))


def test_os_exit_is_itself_again_afterwards() -> None:
    before = os._exit
    with guarded(), guarded():
        assert os._exit is not before
    assert os._exit is before


@pytest.mark.parametrize(
    ("act", "theirs"),
    [
        (lambda: 1 / 0, True),
        (lambda: int("x"), True),
        (lambda: asyncio.run(None), True),  # type: ignore[arg-type]
        (lambda: app.json_text({1: {2, 3}, (1, 2): 4}), False),
    ],
)
def test_whose_an_exception_is(act: Callable[[], object], theirs: bool) -> None:
    with pytest.raises((ArithmeticError, ValueError, TypeError)) as caught:
        act()
    assert raised_by_user(caught.value) == theirs


def test_frames_of_python_s_own_library_are_not_shown_as_a_user_s() -> None:
    with pytest.raises(ValueError, match="Expecting") as caught, guarded():
        json.loads("{")
    assert {frame.filename for frame in user_frames(caught.value)} == {__file__}
    assert described(caught.value).startswith("JSONDecodeError: Expecting property name")
    assert f"({__file__}:" in described(caught.value)
