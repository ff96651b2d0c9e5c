"""Study files that are wrong: grids, values and declarations no plan can be made of."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st

from orchestrator.plan.studies import catalogue
from tests.fuzz.command_line import told
from tests.fuzz.conftest import Fuzz, Guard

HEAD = """
import collections, datetime, decimal, fractions, math, random
from math import inf, nan
import numpy as np
from search_spaces import Space, Study
from trainables.declarations import Key, Model, Sizes, Task
TINY = {"task": "gaussian", "model": "vanilla_rnn", "seq_len": 6, "batch_size": 4,
        "steps_per_epoch": 3, "depth": 2, "width": 4, "epochs": 2, "seed": {"grid_search": [0, 1]}}
"""

SCALARS = [
    "0", "1", "-1", "2.5", "1e-3", "nan", "inf", "-inf", "1e400", "10**30", "10**400", "-10**5000",
    "True",
    "None", "...", "''", "'tanh'", "'x' * 5000", "'\\ud800'", "'\\0'", "'\\x1b[31m'", "'é'",
    "b'bytes'", "1j",
    "()", "[]", "{}", "set()", "{1, 2}", "object()", "lambda config: 1", "lambda config: 1 / 0",
    "int", "type",
    "range(3)", "range(0)", "range(10**9)", "iter([1])", "(i for i in [1])", "NotImplemented",
    "random", "math",
    "decimal.Decimal('1.5')", "fractions.Fraction(1, 3)", "datetime.date(2026, 1, 1)", "Ellipsis",
    "'1/sqrt(L)'",
    "np.float64(0.1)", "np.int32(3)", "np.bool_(True)", "np.array([1, 2])", "np.array(3)",
    "np.array([])",
    "np.nan", "np.arange(3)", "collections.OrderedDict(a=1)", "collections.Counter('aab')",
    "'every:0'",
    "Key('k', 'int', 1)", "Space", "Exception('x')", "[[[[[[1]]]]]]", "{'a': {'b': 1}}", "{1: 2}",
    "{None: 1}",
    "{'grid_search': 1}", "{'grid_search': []}", "{'grid_search': {}}", "{'grid_search': None}",
    "{'grid_search': range(10**9)}", "{'grid_search': 'abc'}", "{'grid_search': [1], 'x': 2}",
    "{'gridsearch': [1]}",
    "{'grid_search': [[1], [2]]}", "{'grid_search': [1, 1.0, True]}",
    "{'grid_search': np.array([1, 2])}",
    "{'zip': {}}", "{'zip': []}", "{'zip': {'lr': [1]}}", "{'zip': {'lr': [], 'seed': []}}",
    "{'zip': {1: [1]}}",
    "{'zip': {'lr': [.1, .2], 'seed': [1]}}", "{'zip': {'lr': {'grid_search': [1]}}}",
    "{'zip': None}",
    "{'when': {}, 'then': {}}", "{'when': {'depth': 2}}", "{'when': 1, 'then': {}}", "{'then': {}}",
    "{'when': {}}",
    "{'when': {'depth': 2}, 'then': {'lr': 1}, 'otherwise': {}}",
    "{'when': {'depth': []}, 'then': {'lr': -1}}",
    "{'when': {'depth': 2}, 'then': {'w': {'when': {}, 'then': {'x': {'zip': {'lr': [1]}}}}}}",
    "{'when': {'depth': np.array([1, 2])}, 'then': {}}", "{'when': {2: 2}, 'then': {3: 4}}",
                                  "{'when': {'depth': 2}, 'then': {'lr': {'uniform': [0, 1]}}}",
    "{'uniform': [0, 1]}", "{'uniform': [1]}", "{'uniform': 3}", "{'uniform': ['a', 'b']}",
    "{'uniform': [0, 10**400]}",
    "{'loguniform': [0, 1]}", "{'loguniform': [-1, nan]}", "{'choice': []}",
    "{'choice': [1, 'a', None]}", "{'randint': [3, 1]}",
    "{'randint': [0, 1e9]}", "{'uniform': [0, 1], 'choice': [1]}",
]  # fmt: skip

found = catalogue().registry
NAMES = [repr(name) for name in sorted(found.known_names())]
keys = st.sampled_from(
    [*NAMES, "'lern_rate'", "''", "' lr'", "'LR'", "'é'", "1", "None", "b'lr'", "('a', 'b')", "nan",
    "True", "'a.b'",
     "'\\ud800'", "'x' * 3000"]
)  # fmt: skip
literals = (
    st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=3) | st.booleans()
).map(repr)
leaves = st.sampled_from(SCALARS) | literals
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]")
        | st.lists(inner, max_size=3).map(lambda items: f"{{'grid_search': [{', '.join(items)}]}}")
        | st.lists(st.tuples(keys, inner), max_size=3).map(
            lambda items: f"{{'zip': {{{', '.join(f'{k}: [{v}]' for k, v in items)}}}}}"
        )
        | st.tuples(keys, inner, keys, inner).map(
            lambda t: f"{{'when': {{{t[0]}: {t[1]}}}, 'then': {{{t[2]}: {t[3]}}}}}"
        )
    ),
    max_leaves=4,
)
FIELDS = [
    "reproduces",
    "doc",
    "defaults",
    "select",
    "smoke",
    "samples",
    "sample_seed",
    "figures",
    "extension",
]
OWN = ["name", "title", "spaces", "arxiv", "doc", "parts", "probes", "figures", "x"]


def entries(items: list[tuple[str, str]]) -> str:
    return ", ".join(f"{name}: {value}" for name, value in items)


def arguments(items: list[tuple[str, str]]) -> str:
    return "".join(f", {name}={value}" for name, value in items)


@st.composite
def grids(draw: st.DrawFn) -> str:
    """A study file with a space of which some keys, and perhaps some fields, are wrong."""
    own = draw(st.lists(st.tuples(keys, values), min_size=0, max_size=3))
    space = f"{{**TINY, {entries(own)}}}" if draw(st.integers(0, 9)) else draw(values)
    fields = draw(st.lists(st.tuples(st.sampled_from(FIELDS), values), max_size=1))
    if "uniform" in space or "choice" in space:
        fields = [*(f for f in fields if f[0] != "samples"), ("samples", "2")]
    if not any(name == "reproduces" for name, _ in fields):
        fields.append(("reproduces", "'x'"))
    return (
        f"{HEAD}GRID = {space}\nSTUDY = Study(name='own', title='x', spaces={{'grid': "
        f"Space(param_space=GRID{arguments(fields)})}})\n"
    )


@st.composite
def declarations(draw: st.DrawFn) -> str:
    """A study whose own fields, or whose parts, are wrong."""
    fields = {
        "name": "'own'",
        "title": "'x'",
        "spaces": "{'grid': Space(reproduces='x', param_space=TINY)}",
    }
    for name in draw(st.lists(st.sampled_from(OWN), max_size=2)):
        fields[name] = draw(
            values
            | st.sampled_from(
                ["'a/b'", "'../x'", "'a b'", "'vanishing'",
                "{'a/b': Space(reproduces='x', param_space=TINY)}",
                 "{'grid': 1}", "{1: Space(reproduces='x', param_space=TINY)}",
                 "[Space(reproduces='x', param_space=TINY)]",
                 "(Model(name='m'),)", "(Model(name=1),)", "(Model(name='m', keys=1),)",
                 "(Model(name='m', keys=(1,)),)",
                 "(Model(name='m', keys=(Key('a', 'int'), Key('a', 'int'))),)",
                 "(Model(name='lr', keys=(Key('lr', 'str'),)),)",
                 "(Model(name='m', keys=(Key('a', 'complex', 1),)),)", "Model(name='m')",
                 "(Task(name='t', sizes=None),)",
                 "{'f': 1}", "{'f': len}"]
            )
        )  # fmt: skip
    return f"{HEAD}STUDY = Study({arguments(list(fields.items()))[2:]})\n"


FILES = [
    "", "\0", "STUDY", "STUDY = 1", "STUDY = None", "STUDY = {}", "import nothing_like_it",
    "raise SystemExit",
    "import sys; sys.exit(0)", "exit(3)", "1 / 0", "def f(): f()\nf()", "assert False", "(" * 500,
    "x = " + "-" * 5000 + "1", "STUDY = STUDY", "from own import STUDY", "import own", "\tx\n y",
    "'" * 3, "print('\\ud800')",
    "# -*- coding: klingon -*-", "# -*- coding: latin-1 -*-\nx = 'é'", "raise Exception('a\\nb')",
    "raise type('E', (Exception,), {'__str__': None})()",
    "from search_spaces import Study\nSTUDY = Study", "class STUDY: name = 'own'",
    "import search_spaces.vanishing as v; STUDY = v.STUDY",
    "from search_spaces import *\nSTUDY = Study(name='own', title='x', spaces={})",
    "lambda: (yield)", "await x", "'\\d'", "0777", "x = 1 if", "import os; os.environ.clear",
]  # fmt: skip


@st.composite
def broken(draw: st.DrawFn) -> str:
    """A file that is no study, or one with a piece cut out and another put in."""
    if draw(st.booleans()):
        return draw(st.sampled_from(FILES) | st.text(max_size=30))
    text = draw(grids() | declarations())
    at, length = draw(st.integers(len(HEAD), len(text))), draw(st.integers(0, 10))
    return text[:at] + draw(st.text(max_size=5)) + text[at + length :]


@pytest.mark.parametrize(("kind", "share"), [(grids, 0.16), (declarations, 0.06), (broken, 0.06)])
def test_study_files(fuzz: Fuzz, guard: Guard, kind, share: float) -> None:
    path = guard.out / "own.py"
    other = st.sampled_from([[], [], ["--smoke"], ["--json"], ["--set", "seed=1"]])

    def case(drawn: tuple[str, list[str]]) -> None:
        text, options = drawn
        path.write_text(text, encoding="utf-8", errors="surrogatepass")
        try:
            told("plan", "own", "--study", str(path), *options)
        finally:
            path.unlink()

    fuzz(share, st.tuples(kind(), other), case)
