"""Names of metrics that are declared, recorded and watched: each wrong one is one sentence."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.errors import RequestError
from orchestrator.plan.checks.metrics import (
    metric_problems,
    name_problems,
    require_names,
    require_watched,
    watched_problems,
)
from orchestrator.plan.studies import Catalogue
from orchestrator.plan.trials import trials_of
from search_spaces import Space
from tests.support.small_trials import SMALL, trial
from trainables.declarations import (
    Metric,
    Optimizer,
    PartError,
    Sizes,
    Stage,
    Task,
    Trial,
    builtin_registry,
)


def task(*metrics: Any, **fields: Any) -> Task:
    sizes = Sizes(7, 2, 4, 12, 6, 6, 6)
    return Task(name="own", build=lambda config: {}, sizes=lambda config: sizes, version=1,
                metric_columns=metrics, **fields)  # fmt: skip


def of(own: Task, **config: Any) -> Trial:
    registry = builtin_registry()
    registry.add(own)
    kept = {k: v for k, v in SMALL.items() if k in ("model", "depth", "width", "init")}
    return registry.resolve({**kept, "task": "own", **config})


@pytest.mark.parametrize(
    ("metrics", "problems"),
    [
        ((Metric("rmse", "m"), Metric("Hits", "fraction", "max")), []),
        (("rmse",), ["metric_columns of task own must be Metric objects; got 'rmse'"]),
        (
            (Metric("rmse", mode="lower"),),  # type: ignore[arg-type]
            [("mode of metric rmse of task own must be min or max, whichever end is better; got "
             "'lower'")],
        ),
        (
            (Metric("rmse", unit=3),),  # type: ignore[arg-type]
            ["unit of metric rmse of task own must be a string; got 3"],
        ),
        (
            (Metric(3),),  # type: ignore[arg-type]
            ["the name of a metric of task own must be a string; got 3"],
        ),
        (
            (Metric("loss"),),
            [("task own records the metric loss, but every store has a column of that name "
             "already; call it my_loss, say")],
        ),
        (
            (Metric("Verdict"),),  # names of SQL have no case
            [("task own records the metric Verdict, but every store has a column of that name "
             "already; call it my_Verdict, say")],
        ),
        (
            (Metric("top-5"),),
            [("task own records the metric 'top-5', which cannot be a column; use letters, digits "
             "and _ only, a letter first")],
        ),
        (
            (Metric("x"), Metric("val_x")),
            ["two metrics of task own would fill the column val_x; rename one"],
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_with_declared_metrics(metrics: tuple[Any, ...], problems: list[str]) -> None:
    assert metric_problems(task(*metrics)) == problems


def test_a_list_that_is_none() -> None:
    found = Task(name="own", sizes=lambda config: Sizes(1, 1, 1, 1, 1, 1, 1), metric_columns=5)  # type: ignore[arg-type]
    assert metric_problems(found) == [
        "metric_columns of task own must be a tuple of Metric objects; got 5"
    ]


def test_a_recorded_name_that_is_taken_is_refused() -> None:
    require_names(trial(), ["rmse", "val_rmse", "select", "RMSE"])
    with pytest.raises(PartError, match=r"records the metric val_loss, .*call it my_loss, say$"):
        require_names(trial(), ["rmse", "val_loss"])
    assert len(name_problems("task t", ["a b", "epoch", "fine"])) == 2


def test_what_a_task_declares_may_be_watched() -> None:
    own = task(Metric("rmse"))
    for name in ("rmse", "val_rmse", "test_rmse", "val_loss", "grad_norm", "lr"):
        assert watched_problems(of(own, monitor=name, early_stopping=2)) == []
        assert watched_problems(of(own, stop_on=name, stop_below=0.1)) == []
    (problem,) = watched_problems(of(own, monitor="val_rmes"))
    assert problem == (
        "monitor=val_rmes: task own declares no metric 'val_rmes' (did you mean val_rmse?); its "
        "metrics are rmse, test_rmse, val_rmse"
    )
    assert watched_problems(of(own, stop_on="rmes")) == []  # nothing stops by it
    assert len(watched_problems(of(own, stop_on="rmes", stop_below=1))) == 1


def test_what_is_not_declared_is_looked_at_when_the_pack_starts() -> None:
    """Of a task that declares nothing, a stage with its own loop, a schedule of a study's."""

    def own_metrics(outputs: Any, batch: Any, config: Any) -> dict[str, Any]:
        return {}

    assert watched_problems(of(task(metrics=own_metrics), monitor="anything")) == []
    (problem,) = watched_problems(of(task(Metric("a"), metrics=own_metrics), monitor="anything"))
    assert problem.endswith("; declare what its `metrics` returns in metric_columns")
    assert len(watched_problems(of(task(), monitor="anything"))) == 1  # it can record nothing else
    registry = builtin_registry()
    stage = registry.parts["stage", "train"]
    registry.add(task(Metric("rmse")), Stage(name="mine", keys=stage.keys, build=print, version=1))
    registry.add(Optimizer(name="sgd2", build=print, schedule=lambda config: None, version=1))
    kept = {k: v for k, v in SMALL.items() if k in ("model", "depth", "width", "init")}
    for own in ({"stage": "mine"}, {"optimizer": "sgd2"}):
        found = registry.resolve({**kept, "task": "own", "monitor": "anything", **own})
        assert watched_problems(found) == []


def test_a_built_in_task_declares_all_that_it_records() -> None:
    (problem,) = watched_problems(trial(monitor="val_mode_acuracy"))
    assert "(did you mean val_mode_accuracy?)" in problem


def test_a_plan_refuses_what_is_not_recorded() -> None:
    space = Space(param_space={**SMALL, "monitor": "val_los", "seed": {"grid_search": [0, 1]}})
    with pytest.raises(RequestError) as caught:
        trials_of(Catalogue({}, builtin_registry()), space)
    assert [p.partition(";")[0] for p in caught.value.problems] == [
        "monitor=val_los: task gaussian declares no metric 'val_los' (did you mean val_loss?)"
    ]


def test_a_start_refuses_what_the_compiled_epoch_does_not_give() -> None:
    recorded = ("loss", "val_loss", "val_rmse")
    require_watched(trial(monitor="val_rmse", early_stopping=1), recorded)
    with pytest.raises(PartError, match=r"^monitor=val_mse: no epoch .* \(did you mean val_rmse\?"):
        require_watched(trial(monitor="val_mse"), recorded)
    # The default is asked for only where something watches it.
    require_watched(trial(), ("loss",))
    watching: tuple[dict[str, Any], ...] = ({"early_stopping": 3}, {"keep_weights": "best"})
    for asked in watching:
        with pytest.raises(PartError, match="monitor=val_loss"):
            require_watched(trial(**asked), ("loss",))
