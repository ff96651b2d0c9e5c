"""What the built-in stages refuse, and when their gates let children start."""

from __future__ import annotations

import math
from typing import Any

import pytest

from trainables.declarations import ConfigError, builtin_registry

REGISTRY = builtin_registry()
LSC = {"stage": "lsc", "model": "ffn", "task": "digits", "depth": 2}
LINEAR = {**LSC, "model": "lru_stack", "task": "gaussian"}


@pytest.mark.parametrize(
    ("metrics", "why"),
    [
        ({"radius_gap": 0.02, "radius_std": 0.2}, None),
        ({"radius_gap": 0.0, "radius_std": 0.0}, None),
        (
            {"radius_gap": 0.021, "radius_std": 0.2},
            "the mean radius is 0.021 from its target, above the 0.02 allowed",
        ),
        (
            {"radius_gap": 0.02, "radius_std": 0.21},
            "the radii have a standard deviation of 0.21, above the 0.2 allowed",
        ),
        ({"radius_gap": math.nan, "radius_std": 0.2}, "without finite radii"),
        ({"radius_gap": 0.02, "radius_std": math.inf}, "without finite radii"),
        ({"radius_gap": 0.02}, "without finite radii"),
        ({"radius_std": 0.2}, "without finite radii"),
        (None, "without finite radii"),
    ],
)
def test_radii_must_be_close_to_their_target_and_to_each_other(
    metrics: dict[str, float] | None, why: str | None
) -> None:
    trial = REGISTRY.resolve(LSC)
    gate = trial.stage.gate
    assert gate is not None
    found = gate(trial.config, {"metrics": metrics})
    assert (found is None) if why is None else (why in (found or ""))


@pytest.mark.parametrize(
    ("ceiling", "row", "passes"),
    [
        (None, {"loss": 9e9}, True),
        (None, {}, True),
        (2.0, {"loss": 2.0}, True),
        (2.0, {"loss": math.nextafter(2.0, 3.0)}, False),
        (2.0, {"loss": math.nan}, False),
        (2.0, {"loss": None}, False),
        (2.0, {}, False),
    ],
)
def test_a_warm_up_passes_with_a_loss_of_at_most_its_gate(
    ceiling: float | None, row: dict[str, Any], passes: bool
) -> None:
    trial = REGISTRY.resolve(
        {"stage": "warmup", "model": "vanilla_rnn", "task": "digits", "warmup_gate": ceiling}
    )
    gate = trial.stage.gate
    assert gate is not None
    assert (gate(trial.config, row) is None) == passes


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        (LSC, None),
        (LINEAR, None),
        ({**LSC, "lsc_batch": 64}, None),
        ({**LSC, "lsc_batch": 65}, "lsc_batch must be at most batch_size, which is 64"),
        ({**LSC, "depth": 1}, "stage lsc needs a depth of at least 2 for model ffn"),
        ({**LSC, "lsc_balance": "unbalanced"}, "lsc_balance must be equal for model ffn"),
        ({**LSC, "lsc_norm": "entrywise"}, None),
        ({**LSC, "model": "vanilla_rnn"}, "stage lsc cannot pretrain model vanilla_rnn; it can"),
        ({**LINEAR, "depth": 1}, "stage lsc needs depth of at least 2"),
        ({**LINEAR, "lsc_norm": "entrywise"}, "stage lsc knows only lsc_norm=radius"),
        ({**LINEAR, "lsc_kinds": "rec"}, "stage lsc knows only lsc_kinds=all"),
        ({**LINEAR, "lsc_balance": "unbalanced"}, "needs lsc_target=0.5; got lsc_target=1"),
    ],
)
def test_what_the_lsc_stage_cannot_pretrain_is_refused(
    config: dict[str, Any], problem: str | None
) -> None:
    if problem is None:
        assert REGISTRY.resolve(config).config["lsc_target"] == 1.0
        return
    with pytest.raises(ConfigError) as caught:
        REGISTRY.resolve(config)
    (found,) = caught.value.problems
    assert problem in found
