"""When a lane's trial ends: budget, stop rules, gates."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from orchestrator.ending import Endings
from tests.trainables.helpers import trial
from trainables.packs import EpochResult
from trainables.spec import Stage, builtin_registry


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


@pytest.mark.parametrize(
    ("gap", "finished", "bad", "status"),
    [
        (0.01, True, -1, ("done", None)),
        (0.3, True, -1, ("gate_failed", "gap 0.3")),
        (0.01, False, 2, ("gate_failed", "non-finite at epoch 0, step 2")),
        (0.3, False, 2, ("gate_failed", "gap 0.3")),
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
