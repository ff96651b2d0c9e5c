"""When two packs share compiled programs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import pytest

from tests.support.small_trials import SMALL
from trainables.core.hparams import lane_values
from trainables.declarations import Probe, Trial, builtin_registry
from trainables.optim.schedules import Constant
from trainables.packs.programs import Programs, programs_for
from trainables.tasks.base import GaussianTask, make_data


def programs(one: Trial) -> Programs:
    """Of a pack of one lane; nothing is compiled."""
    return programs_for(
        one, lane_values(one), make_data(one, {}), 1, "sequential", jax.devices()[0]
    )


@pytest.mark.parametrize("field", ["schedule", "runtime", "probe"])
def test_code_that_is_defined_anew_is_another_program(field: str) -> None:
    """As in a notebook: the same names and versions, other functions."""

    def trial() -> Trial:
        registry = builtin_registry()
        optimizer: Any = registry.parts["optimizer", "adam"]
        task: Any = registry.parts["task", "gaussian"]
        probe = Probe("mine", (), build=lambda engine, trial: None)
        changed = {
            "schedule": replace(optimizer, schedule=type("Mine", (Constant,), {})),
            "runtime": replace(task, runtime=type("Mine", (GaussianTask,), {})),
            "probe": replace(optimizer, probes=(probe,)),
        }[field]
        del registry.parts[changed.role, changed.name]
        registry.add(changed)
        return registry.resolve({**SMALL, "optimizer": "adam"})

    one, again = trial(), trial()
    assert one.program == again.program
    assert programs(one) is programs(one)
    assert programs(one) is not programs(again)
