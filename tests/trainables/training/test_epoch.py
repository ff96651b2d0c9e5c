"""Which steps of an epoch are kept one by one."""

from __future__ import annotations

import pytest

from trainables.training.epoch import first_shown, kept_steps


@pytest.mark.parametrize(
    ("steps", "kept", "shown"),
    [
        (3, [*range(3)], 0),
        (15, [*range(15)], 5),
        (20, [*range(20)], 10),
        (21, [*range(10), *range(11, 21)], 11),
        (500, [*range(10), *range(490, 500)], 490),
    ],
)
def test_the_first_ten_steps_of_a_trial_and_the_last_ten_of_an_epoch(
    steps: int, kept: list[int], shown: int
) -> None:
    assert kept_steps(steps).tolist() == kept
    assert first_shown(steps, 0) == 0
    assert first_shown(steps, 1) == first_shown(steps, 7) == shown
