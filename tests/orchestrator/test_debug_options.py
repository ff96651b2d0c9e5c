"""Options of `debug` beside the choice of a trial: what went non-finite first, and a profile."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import pytest

from tests.orchestrator.test_cli import GRID, Said, many
from trainables.programs import EPOCH_NAME

OVERFLOWS = ["lr=3e38", "min_norm=10"]
"""A first update of 3e39."""


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Said], Path]:
    """Three requests as a user makes them, and the folder of a profile."""
    folder = tmp_path_factory.mktemp("debug")
    bad = ["debug", *GRID, *(word for change in OVERFLOWS for word in ("--set", change))]
    requests = {
        "text": [*bad, "--check-nans"],
        "json": [*bad, "--check-nans", "--json"],
        "profile": ["debug", *GRID, "--check-nans", "--profile", "traces"],
    }
    found, _ = many(list(requests.values()), folder)
    return dict(zip(requests, found, strict=True)), folder / "traces"


def test_what_went_non_finite_is_told_as_text_and_as_json(said: Any) -> None:
    what = "epoch 0, step 0: the update, while loss and gradients are finite"
    found, _ = said
    assert (found["text"].status, found["json"].status) == (0, 0)
    assert found["text"].out.splitlines()[-1] == what
    assert ": diverged" in found["text"].out
    one = json.loads(found["json"].out)
    assert (one["status"], one["culprit"]) == ("diverged", what)


def test_a_trial_without_a_bad_step_is_told_to_be_finite(said: Any) -> None:
    found, _ = said
    assert found["profile"].status == 0
    assert "every step was finite" in found["profile"].out.splitlines()


def test_a_profile_can_be_read_and_holds_the_epochs(said: Any) -> None:
    found, folder = said
    assert "profile in traces; view it with `tensorboard --logdir traces`" in found["profile"].out
    (trace,) = folder.rglob("*.xplane.pb")
    data = jax.profiler.ProfileData.from_file(str(trace))
    names = [event.name for plane in data.planes for line in plane.lines for event in line.events]
    assert any(EPOCH_NAME in name for name in names)
