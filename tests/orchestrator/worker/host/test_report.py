"""What a report takes in, and what it refuses, at the line that made it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from orchestrator.worker.host.pack import COLUMNS
from orchestrator.worker.host.report import Report, ReportError, TrialStopped
from orchestrator.worker.host.state import from_bytes

NORMS = {"rnn.0": {"w_hh": 3.0, "w_ih": {"grad_norm": 4.0, "param_norm": 1.0}}, "out": 12.0}


def report(stop: str | None = None, **config: Any) -> tuple[Report, list[dict[str, Any]]]:
    """A report and the messages that it sends."""
    sent: list[dict[str, Any]] = []

    def talk(message: dict[str, Any]) -> dict[str, Any]:
        sent.append(message)
        return {"stop": stop} if stop else {}

    return Report({"keep_weights": "none", **config}, talk, COLUMNS), sent


def test_columns_are_known_by_name_and_all_else_is_a_metric() -> None:
    one, sent = report()
    one(
        loss=np.float32(0.5), val_loss=jnp.float32(2), test_accuracy=np.array(0.25), rmse=3, r2=None
    )
    (message,) = sent
    assert message["epochs"] == {"loss": 0.5, "val_loss": 2.0, "test_accuracy": 0.25}
    assert message["metrics"] == {"rmse": 3.0}
    assert (message["steps"], one.epoch, one.restored) == (1, 1, None)


def test_a_norm_that_is_not_given_is_that_of_its_parts_joined() -> None:
    one, sent = report()
    one(loss=1, layers=NORMS)
    first, last = sent[0]["layers"].values()
    assert first["columns"] == {"grad_norm": 5.0}
    assert first["tensors"]["w_ih"] == {"grad_norm": 4.0, "param_norm": 1.0}
    assert last == {"columns": {"grad_norm": 12.0}, "tensors": {}}
    assert sent[0]["epochs"] == {"loss": 1.0, "grad_norm": 13.0}
    one(loss=1, grad_norm=20, layers={**NORMS, "out": {"grad_norm": 1, "zero_steps": 2}})
    assert sent[1]["epochs"]["grad_norm"] == 20.0
    assert sent[1]["layers"]["out"]["columns"] == {"grad_norm": 1.0, "zero_steps": 2.0}


def test_the_end_of_a_trial_ends_its_function_at_its_report() -> None:
    one, _ = report(stop="loss is nan at epoch 0")
    for _ in range(2):
        with pytest.raises(TrialStopped):
            one(loss=float("nan"))
        assert one.stopped == "loss is nan at epoch 0"


def test_weights_are_asked_for_when_they_are_kept() -> None:
    called = []

    def weights() -> dict[str, Any]:
        called.append(1)
        return {"w": [1.0, 2.0]}

    one, sent = report(keep_weights="every:2")
    for _ in range(3):
        one(loss=1, weights=weights)
    assert len(called) == 1
    assert [bool(message["weights"]) for message in sent] == [False, True, False]
    assert np.array_equal(from_bytes(sent[1]["weights"])["w"], [1.0, 2.0])


@pytest.mark.parametrize(
    ("given", "config", "text"),
    [
        ({"loss": "low"}, {}, "loss must be a number; got 'low' of type str"),
        ({"loss": np.ones(2)}, {}, "loss must be a number; got array([1., 1.]) of type ndarray"),
        ({"loss": 1, "rmse": []}, {}, "rmse must be a number; got [] of type list"),
        ({}, {}, "report was given no number; give it a loss, a metric or layers"),
        ({"loss": None}, {}, "report was given no number; give it a loss, a metric or layers"),
        ({"top-5": 1}, {}, "'top-5' is no name of a column; use letters, digits and underscores"),
        ({"Val_Loss": 1}, {}, "Val_Loss is written val_loss in the store"),
        ({"epoch": 1}, {}, "epoch is filled by gradsweep; give the metric another name"),
        ({"loss": 1, "steps": 0.5}, {}, "steps must be a whole number from 1; got 0.5"),
        ({"loss": 1, "layers": [1]}, {}, "layers must be norms by name of the layer; got [1]"),
        ({"layers": {"a": -1}}, {}, "layers[a] is -1; a norm is not negative"),
        ({"layers": {"a": {}}}, {}, "the layer a has no number"),
        ({"layers": {"a": {"w": {"norm": 1}}}}, {}, ("a.w has no column 'norm'; there are "
         "grad_norm, ")),
        ({"loss": 1, "state": object}, {}, "state is of type type; a state is made of arrays"),
        ({"loss": 1}, {"early_stopping": 3}, ("early_stopping watches val_loss, and report "
         "was given none; pass val_loss=... or leave early_stopping out")),
        ({"loss": 1}, {"stop_below": 0.1, "stop_on": "grad_norm"}, "stop_below watches grad"),
        ({"rmse": 1}, {"diverge_above": 10}, "diverge_above watches loss, and report was given "),
        ({"loss": 1}, {"keep_weights": "best"}, "keep_weights=best watches val_loss, "),
        ({"loss": 1}, {"keep_weights": "last"}, "keep_weights=last, and report was given no "),
        ({"loss": 1, "weights": [1]}, {"keep_weights": "last"}, "weights must be arrays by name; "),
        ({"loss": 1, "weights": {"w": "x"}}, {"keep_weights": "last"}, "weights['w'] must be an "),
    ],
)  # fmt: skip
def test_a_wrong_report_is_refused_in_words(
    given: dict[str, Any], config: dict[str, Any], text: str
) -> None:
    one, sent = report(**config)
    with pytest.raises(ReportError) as raised:
        one(**given)
    assert str(raised.value).startswith(text)
    assert not sent
    assert one.epoch == 0


@pytest.mark.parametrize(
    ("layers", "text"),
    [
        (
            {**NORMS, "new": 1},
            "epoch 1 has the layer new, unlike the first report; each must have ",
        ),
        ({"out": 1}, "epoch 1 lacks the layer rnn.0, unlike the first report; each must have "),
        ({**NORMS, "rnn.0": {"w_ih": 1}}, "epoch 1 has other tensors of the layer rnn.0 than "),
    ],
)
def test_a_layer_that_appears_later_is_refused(layers: dict[str, Any], text: str) -> None:
    one, _ = report()
    one(layers=NORMS)
    with pytest.raises(ReportError) as raised:
        one(layers=layers)
    assert str(raised.value).startswith(text)


def test_a_state_belongs_to_a_report() -> None:
    one, sent = report()
    save: Callable[..., Any] = one.save
    with pytest.raises(ReportError, match="pass it as report"):
        save({"w": 1})
    one(loss=1, state={"w": np.arange(3)})
    again = Report({}, lambda message: {}, COLUMNS, 1, sent[0]["state"])
    assert np.array_equal(again.restored["w"], np.arange(3))
    assert again.epoch == 1
