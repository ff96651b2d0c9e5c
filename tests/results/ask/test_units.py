"""Losses carry their task's unit wherever they are shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from results import Store
from results.ask.best import best
from results.ask.explanation import describe
from results.ask.units import loss_unit, one_unit, reported, unit_of, with_unit
from results.html_report import report
from results.plotting import FIGURES, figure, unfit
from tests.support.made_up_rows import publish_trial, space_of


def put(store: Store, **units: str | None) -> dict[str, Any]:
    """Trials with two epochs, and layers, whose losses are in these units."""
    for trial, unit in units.items():
        kept = {"config": {"depth": 2, "seed": 0}, "loss_unit": unit}
        extra = {e: {"val_loss": 0.5, "test_loss": 0.5, "test_accuracy": 0.5} for e in (0, 1)}
        publish_trial(store, trial, [1.0, 0.5], layers=[[1.0, 2.0]] * 2, extra=extra, **kept)
    space = space_of([*units], targets=[*units], swept=[], chance_loss=None, select={
        "metric": "val_loss", "mode": "min", "over": "seed", "report": "test_loss",
    })  # fmt: skip
    store.write_space("demo/grid", space)
    return space


def axis(fig: Any) -> str:
    return fig.layout.yaxis.title.text


@pytest.mark.parametrize(
    ("units", "unit"),
    [
        ({"a": "nats"}, "nats"),
        ({"a": "half squared error", "b": "half squared error"}, "half squared error"),
        ({"a": "nats", "b": "squared error"}, "nats or squared error"),
        ({"a": None}, ""),
        ({"a": None, "b": "nats"}, ""),
    ],
)
def test_figures_and_best_say_what_losses_are_in(
    store: Store, units: dict[str, str | None], unit: str
) -> None:
    space = put(store, **units)
    said = f" ({unit})" if unit else ""
    assert axis(figure(store, space, "training_loss")) == f"Training loss{said}"
    assert axis(figure(store, space, "before_after")) == f"Loss{said}"
    assert loss_unit(store, units) == unit
    assert reported(store, "demo/grid", None, None) == f"test_loss{said}"
    assert reported(store, space, "test_accuracy", None) == "test_accuracy (fraction)"


def test_a_store_of_older_versions_has_the_unit_of_its_space(store: Store) -> None:
    space = {**put(store, a=None), "loss_unit": "squared error"}
    assert axis(figure(store, space, "training_loss")) == "Training loss (squared error)"
    pretraining = {**space, "targets": ["b"]}
    assert axis(figure(store, pretraining, "training_loss", "a")) == "Training loss"


def test_the_schema_names_the_unit_that_all_losses_are_in(store: Store) -> None:
    put(store, a="squared error")
    lines = [line for line in describe(store).splitlines() if line.startswith("  val_loss ")]
    assert lines == [line for line in lines if line.endswith("[squared error]")] != []
    put(store, b="nats")
    lines = [line for line in describe(store).splitlines() if line.startswith("  val_loss ")]
    assert lines == [line for line in lines if line.endswith("[loss_unit]")] != []
    assert "[nats]" not in describe()


def test_a_perplexity_is_of_losses_in_nats(store: Store) -> None:
    space = put(store, a="squared error")
    why = "figure4 needs losses in nats; demo/grid has squared error."
    assert unfit(store, space, FIGURES["figure4"]) == why
    assert unfit(store, put(store, b="nats"), FIGURES["figure4"]) is None


def test_the_report_has_units(store: Store, tmp_path: Path) -> None:
    put(store, a="squared error")
    text = report(store, "demo/grid", output=tmp_path / "a.html").read_text()
    assert "test_loss (squared error) over seed, each trial at its last epoch" in text
    for head in ("loss end (squared error)", "largest norm (squared error/param)", "epochs done<"):
        assert head in text, head
    assert "nats" not in text.partition("<body>")[2]


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("val_loss", "nats"), ("grad_norm", "nats/param"), ("val_accuracy", "fraction"),
        ("metrics.val_mode_accuracy", "fraction"), ("val_batch_perplexity", ""),
        ("loss_ratio", ""), ("epochs_done", "epochs"), ("loss_fall", "fraction"),
    ],
)  # fmt: skip
def test_units_of_columns_and_metrics(name: str, unit: str) -> None:
    assert unit_of(name, "nats") == unit


@pytest.mark.parametrize(
    ("words", "unit", "shown"),
    [
        ("val_mae", "m", "val_mae (m)"), ("val loss", "", "val loss"),
        ("epochs done", "epochs", "epochs done"), ("seconds", "s", "seconds"),
        ("latency", "s", "latency (s)"), ("val_bits_per_token", "bits", "val_bits_per_token"),
        ("first bad epoch", "epochs", "first bad epoch"), ("gap", "m/s", "gap (m/s)"),
    ],
)  # fmt: skip
def test_words_that_name_their_unit_need_none(words: str, unit: str, shown: str) -> None:
    assert with_unit(words, unit) == shown


def test_best_and_the_report_know_the_unit_of_a_metric(store: Store, tmp_path: Path) -> None:
    says = json.dumps({"val_rmse": {"unit": "m", "mode": "min"}})
    for trial, value in (("a", 1.0), ("b", 2.0)):
        extra = {0: {"val_loss": 0.5, "metrics": [("val_rmse", value)]}}
        publish_trial(store, trial, [1.0], extra=extra, metric_columns=says,
                      config={"monitor": "val_rmse", "depth": 2})  # fmt: skip
    space = space_of(["a", "b"], swept=[], select={"metric": "val_rmse", "over": "seed"})
    store.write_space("demo/grid", space)
    assert reported(store, "demo/grid", None, None) == "val_rmse (m)"
    assert best(store, "demo/grid").attrs["says"].startswith("val_rmse (m) over seed")
    page = report(store, "demo/grid", output=tmp_path).read_text()
    for head in ("monitor end (m)", "monitor best (m)", "val_rmse (m), lower is better"):
        assert head in page, head


def test_one_unit() -> None:
    assert one_unit(["nats", "nats"]) == "nats"
    assert one_unit([]) == ""
