"""Study files whose code is wrong: cut off, not text, wrong declarations, functions that return or
raise what they should not. `plan` reads them all, `debug` trains what can be planned."""

from __future__ import annotations

import re
from collections.abc import Callable

from hypothesis import strategies as st

from tests.fuzz.command_line import told
from tests.fuzz.conftest import Fuzz, Guard

STUDY = """
import os, sys
import numpy as np, jax.numpy as jnp
import optax
from flax import nnx
from search_spaces import Space, Study
from trainables.declarations import Key, Model, Optimizer, Sizes, Task

class Net(nnx.Module):
    def __init__(self, config, sizes, rngs):
        self.inner = nnx.Linear(sizes.features, config["units"], rngs=rngs)
        self.readout = nnx.Linear(config["units"], sizes.classes, rngs=rngs)

    def __call__(self, x):
        h = jnp.tanh(self.inner(x[:, 0]))
        return self.readout(h)

def build(config, sizes, rngs):
    return Net(config, sizes, rngs)

def data(config):
    x, y = np.ones((6, 1, 2)), np.zeros(6, int)
    return {"x": x, "y": y}

def rule(config, hparams):
    return optax.sgd(hparams["lr"])

def sizes(config):
    return Sizes(1, 2, 2, 4, 2, 0, 2)

def chance(config):
    return 0.7

def rows(config, sizes):
    return (4, 2)

def check(config):
    return []

def variants(config):
    return {}

MODEL = Model(name="net", build=build, keys=(Key("units", "int", 3, "static", low=1),), version=1,
              check=check, rows=rows, variants=variants)
TASK = Task(name="data", build=data, sizes=sizes, chance_loss=chance, version=1)
RULE = Optimizer(name="rule", build=rule, keys=(Key("lr", "float", 0.1, "traced"),), version=1)
GRID = {"model": "net", "task": "data", "optimizer": "rule", "epochs": 1, "units": 3}
STUDY = Study(name="own", title="x", parts=(MODEL, TASK, RULE),
              spaces={"a": Space(reproduces="x", param_space=GRID)})
"""

RETURNS = [
    "None", "1", "-1", "nan", "()", "[]", "{}", "'text'", "object()", "Net", "build", "1 / 0",
    "sys.exit(0)", "os._exit(0)", "[1, 2]", "(1, 2, 3)", "{'x': 1}", "[None]", "jnp.ones(3)",
    "np.array(['a', 'b'])", "np.ones((6, 1, 2)).tolist()", "config", "lambda *a: None", "10**400",
    "float('inf')", "(i for i in 'ab')", "nnx.Linear(2, 2, rngs=nnx.Rngs(0))", "optax.adam(0.1)",
    "Sizes(1, 2, 2, 4, 2, 0, 0)", "Sizes(-1, 2, 2, 4, 2, 0, 2)", "Sizes('a', 2, 2, 4, 2, 0, 2)",
    "Sizes(1, 2, 2, 0, 0, 0, 2)", "Sizes(1.5, 2, 2, 4, 2, 0, 2)", "Sizes(1, 2, None, 4, 2, 0, 2)",
    "{'x': np.ones((6, 1, 2))}", "{'x': np.ones(6), 'y': np.zeros(6)}",
    "{'x': [[1], [2, 3]], 'y': 1}", "{'x': np.full((6, 1, 2), 'a'), 'y': np.zeros(6, int)}",
    "{'x': np.ones((6, 1, 2)), 'y': np.full(6, 9)}", "globals()", "exec('def f(: pass')",
    "exec('raise KeyboardInterrupt')", "(_ for _ in ()).throw(GeneratorExit)",
    "__import__('no_such_module')", "open('/no/such/file')", "print(no_such_name)",
]  # fmt: skip
WORDS = [
    "None", "1", "'x'", "()", "nan", "[]", "{}", "lambda: 1", "-1", "'static'",
    "'init'", "'traced'", "'host'", "'float'", "'str'", "'bool'", "1e30", "10**400", "''", "'lr'",
    "'seed'", "'a b'", "object()", "b'x'", "True", "1.5",
]  # fmt: skip


@st.composite
def wrong_returns(draw: st.DrawFn) -> bytes:
    """One function returns something else, or raises."""
    lines = [m.start() for m in re.finditer(r"return ", STUDY)]
    at = draw(st.sampled_from(lines)) + len("return ")
    end = STUDY.index("\n", at)
    return (STUDY[:at] + draw(st.sampled_from(RETURNS)) + STUDY[end:]).encode()


@st.composite
def wrong_words(draw: st.DrawFn) -> bytes:
    """One or two words or values of the file are others."""
    text = STUDY
    for _ in range(draw(st.integers(1, 2))):
        words = list(re.finditer(r"\"\w+\"|\b\d+(\.\d+)?\b|\b[a-zA-Z_]\w*\b", text))
        word = draw(st.sampled_from(words))
        text = text[: word.start()] + draw(st.sampled_from(WORDS)) + text[word.end() :]
    return text.encode()


@st.composite
def wrong_bytes(draw: st.DrawFn) -> bytes:
    """The file is cut off, or some of its bytes are others."""
    whole = STUDY.encode()
    at = draw(st.integers(0, len(whole)))
    if draw(st.booleans()):
        return whole[:at] + draw(st.binary(max_size=3))
    return whole[:at] + draw(st.binary(max_size=4)) + whole[at + draw(st.integers(0, 40)) :]


def read(guard: Guard) -> Callable[[bytes], None]:
    """Plans a study of this content, and trains its trial if there is one."""
    path = guard.out / "own.py"

    def case(content: bytes) -> None:
        path.write_bytes(content)
        words = ("own", "--study", str(path), "--store", str(guard.out / "absent"))
        try:
            if told("plan", *words).status == 0:
                told("debug", *words)
        finally:
            path.unlink()

    return case


def test_functions_that_return_what_they_should_not(fuzz: Fuzz, guard: Guard) -> None:
    fuzz(0.05, wrong_returns(), read(guard))


def test_words_that_are_others(fuzz: Fuzz, guard: Guard) -> None:
    fuzz(0.04, wrong_words(), read(guard))


def test_bytes_that_are_others(fuzz: Fuzz, guard: Guard) -> None:
    fuzz(0.04, wrong_bytes(), read(guard))
