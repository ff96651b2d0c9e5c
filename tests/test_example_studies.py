"""Every study of `examples/`, from its plan to its figure: lanes, debugging, a killed launch."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path

import jax
import numpy as np
import pytest

from orchestrator.debug import debug
from orchestrator.plan.plan import SpacePlan, plan
from orchestrator.plan.studies import catalogue
from orchestrator.worker.pack_run import load_arrays
from results import open_store
from results.ask.best import best
from tests.support.launches import Begun, command, wait_for
from tests.support.stores import differing, published, whole
from trainables.declarations import HostTrainable
from trainables.packs.pack import Pack

FOLDER = Path(__file__).parents[1] / "examples"
EXAMPLES = sorted(path.stem for path in FOLDER.glob("*.py"))
QUICK = ("regression", "numpy_trainable", "streamed")
"""Examples that every CI run launches; the others are launched by `make test-studies`."""
NEEDS = {"torch_arm": "torch"}
"""Libraries that are no dependency of ours or of our tests, by example."""


@pytest.fixture(params=EXAMPLES)
def example(request: pytest.FixtureRequest) -> str:
    """Path of an example whose libraries are there."""
    needed = NEEDS.get(request.param)
    if needed and importlib.util.find_spec(needed) is None:
        pytest.skip(f"{request.param} needs {needed}")
    return str(FOLDER / f"{request.param}.py")


def space_of(example: str) -> SpacePlan:
    """The plan of its first space, as its smoke variant."""
    ours = catalogue().studies
    (study,) = [s for name, s in catalogue(example).studies.items() if name not in ours]
    first = f"{study.name}/{next(iter(study.spaces))}"
    (found,) = plan(first, study=example, smoke=True, store="no_store_yet")
    return found


@pytest.mark.parametrize("name", EXAMPLES)
def test_it_is_short_and_says_what_it_is(name: str) -> None:
    text = (FOLDER / f"{name}.py").read_text()
    assert len(text.splitlines()) < 100
    assert ast.get_docstring(ast.parse(text))
    assert "STUDY = Study(" in text


def test_its_trials_are_planned(example: str) -> None:
    found = space_of(example)
    assert found.to_run
    assert len({trial.id for trial in found.trials}) == len(found.trials)


@pytest.mark.slow
def test_a_debugged_trial_is_recorded_and_repeated_bit_for_bit(
    example: str, tmp_path: Path
) -> None:
    store, name = str(tmp_path / "store"), space_of(example).name
    first = debug(name, study=example, smoke=True, store=store, record=True)
    assert first.status == "done", first.reason
    again = debug(name, study=example, smoke=True, store=store, trial=first.trial.id, exact=True)
    assert (again.trial.id, again.status) == (first.trial.id, "done")
    shown = ("epoch", "loss", "val_loss", "grad_norm", "param_norm")
    kept = open_store(store).sql(f"SELECT {', '.join(shown)}, metrics FROM epochs ORDER BY epoch")
    repeated = [
        [*(row[name] for name in shown), dict(row["metrics"])] for row in again.rows["epochs"]
    ]
    assert repr(repeated) == repr([[*row[:-1], dict(row[-1])] for row in kept.fetchall()])


@pytest.mark.slow
@pytest.mark.exact
def test_a_lane_depends_neither_on_its_place_nor_on_its_neighbours(example: str) -> None:
    trials = space_of(example).to_run
    if isinstance(trials[0].stage, HostTrainable):
        pytest.skip("a host trainable has no lanes")
    one, *others = [trial for trial in trials if trial.program == trials[0].program]
    other = others[0] if others else one
    arrays, _ = load_arrays(one)
    found = []
    for place, lanes in ((0, [one, other]), (1, [other, one])):
        pack = Pack(lanes, arrays, width=3)
        pack.init()
        result = pack.epoch(0)
        found.append(
            {
                **{f"epoch {name}": column[place] for name, column in result.epochs.items()},
                **{f"layer {name}": column[place] for name, column in result.layers.items()},
                **{f"metric {name}": column[place] for name, column in result.metrics.items()},
                **{f"state {name}": leaf[place] for name, leaf in pack.state().items()},
            }
        )
    first, second = jax.device_get(found)
    assert first.keys() == second.keys()
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name], err_msg=name)


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.parametrize(
    "example",
    [pytest.param(n, marks=() if n in QUICK else pytest.mark.study) for n in EXAMPLES],
    indirect=True,
)
def test_a_killed_launch_is_finished_by_the_same_command(example: str, tmp_path: Path) -> None:
    """And its rows are those of a launch that nobody killed; `best` and a figure show them."""
    name, stores = space_of(example).name, [tmp_path / "killed", tmp_path / "whole"]

    def launched(store: Path) -> Begun:
        words = ["--study", example, "--smoke", "--store", str(store)]
        return Begun(command("launch", name, *words, "--checkpoint-seconds", "0.1"))

    killed = launched(stores[0])
    wait_for(lambda: published(stores[0]) > 0, of=killed)
    killed.killed()
    for store in stores:
        launched(store).ended()
        whole(store)
    assert differing(stores[0], stores[1]) == {}
    opened = open_store(str(stores[0]))
    (ran,) = opened.sql("SELECT count(DISTINCT trial_id) FROM runs").fetchall()
    assert ran == (len(space_of(example).trials),)
    assert len(best(opened, name))
    drawn = Begun(
        command("plot", name, "--study", example, "--store", str(stores[0]), "-o",
                str(tmp_path / "figure.html"))
    )  # fmt: skip
    drawn.ended()
    assert (tmp_path / "figure.html").stat().st_size > 1000
