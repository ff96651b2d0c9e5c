"""What is asked of pruning: where options come from, and what is refused before anything runs."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import RequestError
from orchestrator.plan.plan import plan
from orchestrator.pruning.budget import budget_of
from orchestrator.ray_backend.jobs import words_of
from search_spaces import Space, Study
from tests.support.tiny_study import GRID, STAGED
from tests.support.tiny_study import STUDY as TINY
from trainables.declarations import Metric, Sizes, Task

SUPPORT = Path(__file__).parents[2] / "support"
LONG = {"epochs": 50}


def task(name: str, mode: Any) -> Task:
    return Task(
        name=name, sizes=Sizes(6, 2, 3, 8, 0, 8, 4), runtime="trainables.tasks.gaussian:Gaussian",
        metric_columns=(Metric("skill", mode=mode),), version=1,
    )  # fmt: skip


def study(space: Space = GRID, **changes: Any) -> Study:
    low, high = task("low", "min"), task("high", "max")
    return Study(
        name="own", title="Own", spaces={"grid": replace(space, **changes)}, parts=(low, high)
    )


def pruning_of(prune: Any = None, space: Space = GRID, **options: Any) -> Any:
    changed = {"set": LONG, "prune": prune, **options}
    (one,) = plan(study(space), store=None, **changed)
    return one.judged and one.judged.pruning


def test_what_is_left_out_comes_from_the_space_and_its_metrics() -> None:
    """The space's own options, then what it selects by, then what the metric declares."""
    plain = pruning_of("asha")
    assert (plain.metric, plain.mode, plain.grace, plain.factor, plain.over) == (
        "loss", "min", 5, 3, (),
    )  # fmt: skip
    assert pruning_of("asha", metric="val_accuracy").mode == "max"
    assert pruning_of("asha", metric="grad_norm", mode="max").mode == "max"
    assert pruning_of("asha", replace(GRID, select={})).metric == "val_loss"
    own = replace(GRID, prune={"rule": "halving", "metric": "val_loss", "over": "seed", "grace": 2})
    assert pruning_of(None, own) == pruning_of(
        {"rule": "halving", "metric": "val_loss", "over": ["seed"], "grace": 2}
    )
    changed = pruning_of("asha", own, factor=4)
    assert (changed.rule, changed.metric, changed.over, changed.factor) == (
        "asha", "val_loss", ("seed",), 4,
    )  # fmt: skip
    assert pruning_of("none", own) is None
    assert pruning_of() is None


def test_rungs_and_what_they_leave_of_the_grid() -> None:
    found = {}
    for rule in ("halving", "asha", "hyperband", "median"):
        (one,) = plan(study(), store=None, set=LONG, prune=rule)
        assert one.judged is not None
        found[rule] = budget_of(one.judged)
        rungs = [5, 10, 15, 20, 25, 30, 35, 40, 45] if rule == "median" else [5, 15, 45]
        assert one.judged.rungs == rungs
        assert one.to_json()["pruning"]["lane_epochs"]["full"] == 200
    # Four trials to epoch 5, and the best one from there on.
    assert found["halving"].most == 4 * 5 + 45
    assert found["asha"].most == 200
    assert found["asha"].about == 4 * 5 + 45
    assert found["median"].about is None


def test_an_option_reaches_a_job_as_it_was_given() -> None:
    words = words_of({"prune": "halving", "metric": None, "grace": 2, "over": ["seed", "lr"]})
    assert " ".join(words) == "--prune halving --grace 2 --over seed --over lr"


TASKS = {"task": ["low", "high"]}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"prune": "ahsa"},
         ("--prune must be one of asha, halving, hyperband, median or none; got 'ahsa' (did you "
         "mean asha?)")),
        ({"prune": {"rule": "asha", "graec": 2}},
         ("--graec is no option of pruning (did you mean grace?); it has rule, metric, mode, "
         "grace, factor, over, within")),
        ({"prune": "asha", "metric": "val_acuracy"},
         ("--metric=val_acuracy: task gaussian declares no metric 'val_acuracy' (did you mean "
         "val_accuracy?); its metrics are last_accuracy, mode_accuracy")),
        ({"prune": "asha", "metric": "skill", "set": {**LONG, "task": ["gaussian", "low"]}},
         ("--metric=skill: task gaussian declares no metric 'skill'; its metrics are "
         "last_accuracy, mode_accuracy")),
        ({"prune": "asha", "metric": "val_accuracy", "mode": "min"},
         ("--mode min: a higher val_accuracy is better; leave the mode out, or name the metric "
         "that you mean by --metric")),
        ({"prune": "asha", "metric": "skill", "set": {**LONG, **TASKS}},
         ("--metric skill: a lower skill is better in task low, a higher one in task high; prune "
         "them apart, with --set task=low and with --set task=high")),
        ({"prune": "asha", "mode": "least"},
         "--mode must be min or max, whichever is better; got 'least'"),
        ({"prune": "asha", "metric": "val_loss", "set": {**LONG, "task": "low"}},
         ("--metric val_loss: task low has n_val 0, so no epoch has a val_loss; prune by another "
         "metric, such as --metric loss")),
        ({"prune": "asha", "grace": 50},
         ("--grace 50: no trial of own/grid has more than 50 epochs, so none is judged; give "
         "--grace 49 or less")),
        ({"prune": "asha", "grace": 0}, "--grace must be a whole number of at least 1; got 0"),
        ({"prune": "asha", "factor": 1}, "--factor must be a whole number of at least 2; got 1"),
        ({"prune": "median", "factor": 2},
         "--factor is for asha, halving and hyperband; median judges trials every --grace epochs"),
        ({"prune": "asha", "over": "sed"},
         "--over sed: sed is no key of these trials (did you mean seed?)"),
        ({"prune": "asha", "over": "seed", "within": ["lr", "seed"]},
         ("--within lr,seed: values of seed are judged together (over), so they cannot be kept "
         "apart too; leave seed out of one of the two")),
        ({"grace": 2},
         ("--grace says how own/grid is pruned, but nothing prunes it; give --prune "
         "asha|halving|hyperband|median too")),
        ({"prune": "none", "grace": 2}, "--prune none prunes nothing; leave --grace out"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_sentence(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(RequestError) as error:
        pruning_of(**options)
    assert error.value.problems == [sentence]


def test_a_space_says_which_of_its_options_are_wrong() -> None:
    def wrong(**prune: Any) -> list[str]:
        with pytest.raises(RequestError) as error:
            pruning_of(space=replace(GRID, prune=prune))
        return error.value.problems

    assert wrong(rule="halving", factor=1.5) == [
        "prune of own/grid: factor must be a whole number of at least 2; got 1.5"
    ]
    assert wrong(metric="loss") == [
        "prune of own/grid has no rule; give it one: asha, halving, hyperband, median"
    ]
    assert wrong(rule="asha", over="sed") == [
        "prune of own/grid: over sed: sed is no key of these trials (did you mean seed?)"
    ]
    assert replace(GRID, prune="asha").problems() == [
        "prune must be None or a dict such as {'rule': 'halving'}"
    ]


def test_a_smoke_run_too_short_for_the_space_s_rule_is_not_pruned() -> None:
    own = replace(GRID, prune={"rule": "halving"})
    (one,) = plan(study(own), store=None, smoke=True)
    assert one.judged is None
    none = "no trial of own/grid has more than 1 epoch, so none is judged"
    assert one.warnings == [f"pruning waits for 5 epochs, but {none}"]


def test_stages_that_others_start_from_and_processes_are_not_pruned() -> None:
    both = {**STAGED.param_space, "stage": {"grid_search": ["warmup", "train"]}}
    staged = replace(STAGED, param_space=both)
    changes = {"epochs": 50, "warmup_epochs": 50}
    with pytest.raises(RequestError, match=r"of stage warmup cannot be pruned, since trial \w+ of"):
        plan(replace(TINY, spaces={"staged": staged}), store=None, set=changes, prune="asha")
    host = str(SUPPORT / "host_study.py")
    with pytest.raises(RequestError, match=re.escape("which cannot be held for a verdict")):
        plan("host", study=host, store=None, prune="asha")


@pytest.mark.parametrize(
    ("options", "within", "groups"),
    [
        ({}, ("depth",), 2),
        ({"over": "seed"}, ("depth",), 2),
        ({"within": "none"}, (), 1),
        ({"within": ["depth,lr"]}, ("depth", "lr"), 4),
    ],
)
def test_trials_are_compared_within_the_cells_in_which_a_space_chooses(
    options: dict[str, Any], within: tuple[str, ...], groups: int
) -> None:
    """The tiny grid chooses lr over seed, so what else is swept tells its cells apart."""
    changes = {"depth": [2, 3], "epochs": 9}
    asked = {"prune": "halving", "grace": 2, **options}
    (one,) = plan(replace(TINY, spaces={"grid": GRID}), store=None, set=changes, **asked)
    assert one.judged is not None
    assert one.judged.pruning.within == within
    found = one.judged.groups()
    assert len(found) == groups
    assert sorted(i for group in found for i in group.epochs) == sorted(one.judged.epochs)
    config = {trial.id: trial.config for trial in one.targets}
    for group in found:
        assert len({tuple(config[i][key] for key in within) for i in group.epochs}) == 1
