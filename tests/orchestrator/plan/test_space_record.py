"""The record of a launched space: what `results` knows of its keys."""

from __future__ import annotations

from orchestrator.plan.plan import plan
from orchestrator.plan.space_record import space_json
from orchestrator.plan.studies import catalogue


def test_a_key_that_parts_of_a_space_declare_differently_says_so_by_part() -> None:
    (found,) = plan("vanishing/quickstart", set=["optimizer=adam,adamw"])
    keys = space_json(found, catalogue())["keys"]
    assert keys["weight_decay"]["doc"] == (
        "optimizer adam: L2 penalty added to the gradient. "
        "optimizer adamw: Decoupled decay: w -= lr * weight_decay * w."
    )
    assert keys["lr"]["doc"] == "Learning rate."
