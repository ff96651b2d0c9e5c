"""When a lane's trial ends: budget, stop rules, gates."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from orchestrator.worker.stop_rules import Endings
from tests.support.small_trials import trial
from trainables.declarations import Stage, builtin_registry
from trainables.packs.pack import EpochResult


def result(
    val_loss: float = 1.0, grad_norm: float = 1.0, bad: int = -1, **kept: Any
) -> EpochResult:
    return EpochResult(
        epochs={
            "val_loss": np.array([val_loss]),
            "grad_norm": np.array([grad_norm]),
            "loss_last": np.array([kept.get("loss_last", 1.0)]),
        },
        layers={},
        steps={},
        step_index=np.array([], int),
        first_step=np.zeros(1, int),
        bad_step=np.array([bad]),
        finished=np.array([kept.get("finished", False)]),
        metrics={name: np.array([v]) for name, v in kept.get("metrics", {}).items()},
        probes={},
    )


def test_early_stopping_counts_epochs_without_a_lower_validation_loss() -> None:
    endings = Endings([trial(epochs=50, early_stopping=3)])
    losses = [1.0, 0.8, 0.9, 0.8, 0.7, 0.75, 0.71, float("nan")]
    found = [endings.after_epoch(0, i, result(loss)) for i, loss in enumerate(losses)]
    assert found[:-1] == [None] * 7
    assert found[-1] == ("stopped", "val_loss no better than 0.7 for 3 epochs")


def test_a_resumed_lane_remembers_its_stop_rules() -> None:
    one = trial(epochs=50, early_stopping=2, stop_below=0.5, stop_patience=2)
    first, second = Endings([one]), Endings([one])
    assert first.after_epoch(0, 0, result(1.0, 0.1)) is None
    assert first.after_epoch(0, 1, result(1.5, 0.9)) is None
    second.recall(0, first.memo(0))
    assert second.memo(0) == {"patience": 0, "stale": 1, "best_val": 1.0}
    assert second.after_epoch(0, 2, result(1.2, 0.9)) == first.after_epoch(0, 2, result(1.2, 0.9))
    fresh = Endings([one])
    fresh.recall(0, {"rows": {}})
    assert fresh.memo(0) == {"patience": 0, "stale": 0, "best_val": None}


def test_a_stage_that_has_finished_ends_done_before_its_budget() -> None:
    endings = Endings([trial(epochs=50)])
    assert endings.after_epoch(0, 0, result()) is None
    assert endings.after_epoch(0, 1, result(finished=True)) == ("done", None)
    assert endings.after_epoch(0, 49, result()) == ("done", None)
    assert endings.after_epoch(0, 3, result(bad=2)) == ("diverged", "non-finite at epoch 3, step 2")


def test_a_loss_above_the_threshold_at_an_epoch_s_end_is_divergence() -> None:
    endings = Endings([trial(epochs=50, diverge_above=1e9), trial(epochs=50)])
    assert endings.after_epoch(0, 0, result(loss_last=9e8)) is None
    assert endings.after_epoch(0, 1, result(loss_last=float("nan"))) is None
    found = endings.after_epoch(0, 2, result(loss_last=3e24))
    assert found == ("diverged", "loss 3e+24 at the end of epoch 2, above diverge_above=1e+09")


NAN = float("nan")


@pytest.mark.parametrize(
    ("losses", "stale", "why"),
    [
        # A loss equal to the best is no lower one, and what is not a number never is.
        ([0.5, 0.5, 0.5], 2, "0.5"),
        ([0.5, 0.4, 0.4, 0.5], 2, "0.4"),
        ([NAN, NAN], 2, "inf"),
        ([NAN, 0.5, NAN, NAN], 2, "0.5"),
        ([0.5], 0, None),
        ([0.5, 0.5], 1, None),
        ([0.5, 0.6, 0.4], 0, None),
    ],
)
def test_early_stopping_wants_a_strictly_lower_loss(
    losses: list[float], stale: int, why: str | None
) -> None:
    endings = Endings([trial(epochs=50, early_stopping=2)])
    found = [endings.after_epoch(0, i, result(loss)) for i, loss in enumerate(losses)]
    assert found[:-1] == [None] * (len(losses) - 1)
    assert endings.memo(0)["stale"] == stale
    end = ("stopped", f"val_loss no better than {why} for 2 epochs") if why else None
    assert found[-1] == end


def small(norm: float) -> EpochResult:
    return result(grad_norm=norm)


def test_a_norm_counts_as_small_only_below_the_threshold_and_in_a_row() -> None:
    endings = Endings([trial(epochs=50, stop_below=0.5, stop_patience=3)])
    norms = [0.5, 0.4, 0.4, 0.5, 0.4, 0.4, NAN, 0.1, 0.1, 0.1]
    found = [endings.after_epoch(0, i, small(norm)) for i, norm in enumerate(norms)]
    assert found[:-1] == [None] * 9
    assert found[-1] == ("stopped", "mean grad_norm below 0.5 for 3 epochs in a row")


def test_a_patience_of_one_stops_at_once_and_the_named_norm_is_read() -> None:
    one = {"epochs": 50, "stop_below": 0.5, "stop_patience": 1}
    other = result(grad_norm=0.1)
    other.epochs["grad_norm_smallest"] = np.array([0.9])
    endings = Endings([trial(**one), trial(**one, stop_on="grad_norm_smallest")])
    assert endings.after_epoch(0, 0, other) == (
        "stopped",
        "mean grad_norm below 0.5 for 1 epoch in a row",
    )
    smallest = Endings([trial(**one, stop_on="grad_norm_smallest")])
    assert smallest.after_epoch(0, 0, other) is None
    other.epochs["grad_norm_smallest"] = np.array([0.4])
    assert smallest.after_epoch(0, 1, other) == (
        "stopped",
        "mean grad_norm_smallest below 0.5 for 1 epoch in a row",
    )


def test_a_loss_equal_to_the_threshold_is_not_above_it() -> None:
    endings = Endings([trial(epochs=50, diverge_above=2.0)])
    assert endings.after_epoch(0, 0, result(loss_last=2.0)) is None
    above = float(np.nextafter(2.0, 3.0))
    found = endings.after_epoch(0, 1, result(loss_last=above))
    assert found == ("diverged", "loss 2 at the end of epoch 1, above diverge_above=2")


def test_a_non_finite_first_step_is_divergence() -> None:
    endings = Endings([trial(epochs=50)])
    assert endings.after_epoch(0, 0, result(bad=0)) == ("diverged", "non-finite at epoch 0, step 0")


def test_the_last_epoch_of_the_budget_ends_a_trial_and_none_before() -> None:
    endings = Endings([trial(epochs=3)])
    found = [endings.after_epoch(0, epoch, result()) for epoch in range(3)]
    assert found == [None, None, ("done", None)]


def test_of_several_ends_in_one_epoch_the_gravest_counts() -> None:
    """Not finite, then too large, then the stage's own end, then a stop rule, then the budget."""
    every = {"epochs": 1, "stop_below": 0.5, "stop_patience": 1, "diverge_above": 2.0}
    worst = {"grad_norm": 0.1, "loss_last": 3.0, "finished": True}
    ends = [
        ({**worst, "bad": 1}, ("diverged", "non-finite at epoch 0, step 1")),
        (worst, ("diverged", "loss 3 at the end of epoch 0, above diverge_above=2")),
        ({**worst, "loss_last": 1.0}, ("done", None)),
        (
            {"grad_norm": 0.1},
            ("stopped", "mean grad_norm below 0.5 for 1 epoch in a row"),
        ),
        ({}, ("done", None)),
    ]
    for columns, end in ends:
        assert Endings([trial(**every)]).after_epoch(0, 0, result(**columns)) == end


def test_of_two_stop_rules_in_one_epoch_the_threshold_is_named() -> None:
    both = trial(epochs=50, stop_below=0.5, stop_patience=2, early_stopping=1)
    endings = Endings([both])
    assert endings.after_epoch(0, 0, result(1.0, 0.1)) is None
    status = endings.after_epoch(0, 1, result(1.0, 0.1))
    assert status == ("stopped", "mean grad_norm below 0.5 for 2 epochs in a row")


def test_lanes_count_for_themselves() -> None:
    rules = {"epochs": 50, "early_stopping": 2, "stop_below": 0.5, "stop_patience": 2}
    endings = Endings([trial(**rules), trial(**rules, seed=1)])
    apart = result()
    for name, values in {"val_loss": [1.0, 9.0], "grad_norm": [9.0, 0.1]}.items():
        apart.epochs[name] = np.array(values)
    both = EpochResult(**{**vars(apart), "bad_step": np.full(2, -1), "finished": np.zeros(2, bool)})
    both.epochs["loss_last"] = np.ones(2)
    assert endings.after_epoch(0, 0, both) is None
    assert endings.after_epoch(1, 0, both) is None
    assert endings.memo(0) == {"patience": 0, "stale": 0, "best_val": 1.0}
    assert endings.memo(1) == {"patience": 1, "stale": 0, "best_val": 9.0}


def test_what_a_resume_point_holds_is_all_that_the_rules_remember() -> None:
    """After each epoch of a run, another that recalls its memo, as JSON, ends as it does."""
    one = trial(epochs=50, early_stopping=4, stop_below=0.5, stop_patience=3)
    epochs = [(NAN, 0.1), (2.0, 0.9), (2.0, 0.1), (1.5, 0.1), (1.5, 0.5), (1.6, 0.4), (1.5, 0.4)]
    epochs += [(NAN, 0.9)]
    whole = Endings([one])
    resumed = Endings([one])
    for number, (loss, norm) in enumerate(epochs):
        expected = whole.after_epoch(0, number, result(loss, norm))
        assert resumed.after_epoch(0, number, result(loss, norm)) == expected
        assert resumed.memo(0) == whole.memo(0)
        text = json.dumps(whole.memo(0), allow_nan=False)
        resumed = Endings([one])
        resumed.recall(0, json.loads(text))
    assert expected == ("stopped", "val_loss no better than 1.5 for 4 epochs")


@pytest.mark.parametrize(
    ("gap", "finished", "bad", "status"),
    [
        (0.01, True, -1, ("done", None)),
        (0.3, True, -1, ("gate_failed", "gap 0.3")),
        (0.01, False, 2, ("gate_failed", "non-finite at epoch 0, step 2")),
        (0.3, False, 2, ("gate_failed", "gap 0.3")),
        (0.01, False, -1, ("done", None)),
        (0.02, False, -1, ("done", None)),
        (0.3, False, -1, ("gate_failed", "gap 0.3")),
    ],
)
def test_a_gate_reads_metrics_and_judges_every_end(
    gap: float, finished: bool, bad: int, status: tuple[str, str | None]
) -> None:
    registry = builtin_registry()
    registry.add(
        Stage(
            name="settle",
            version=1,
            reads=("model", "task"),
            epochs_key=None,
            gate=lambda config, row: (
                f"gap {row['metrics']['gap']}" if row["metrics"]["gap"] > 0.02 else None
            ),
        )
    )
    one = trial(registry, stage="settle")
    assert one.epochs == 1
    kept = {"finished": finished, "metrics": {"gap": gap}}
    assert Endings([one]).after_epoch(0, 0, result(bad=bad, **kept)) == status


def test_a_gate_judges_the_row_of_its_own_lane_whatever_ended_it() -> None:
    """The warm-up's gate: a mean loss that equals it passes."""
    gated = {"stage": "warmup", "warmup_epochs": 2, "warmup_gate": 0.5}
    endings = Endings([trial(**gated), trial(**gated, seed=1)])
    both = EpochResult(
        epochs={"loss": np.array([0.5, 0.75])}, layers={}, steps={}, step_index=np.array([], int),
            first_step=np.zeros(1, int),
        bad_step=np.full(2, -1), finished=np.zeros(2, bool), metrics={}, probes={},
    )  # fmt: skip
    assert [endings.after_epoch(lane, 0, both) for lane in (0, 1)] == [None, None]
    assert endings.after_epoch(0, 1, both) == ("done", None)
    assert endings.after_epoch(1, 1, both) == (
        "gate_failed",
        "warm-up ended at loss 0.75, above warmup_gate 0.5",
    )
