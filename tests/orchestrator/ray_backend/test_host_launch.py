"""Launches of host trainables under Ray: a killed worker, a killed process, faults of a trial's."""

from __future__ import annotations

from pathlib import Path

import pytest

from results import open_store
from tests.support import launches, stores

pytestmark = pytest.mark.ray

STUDY = str(Path(__file__).parents[2] / "support" / "host_study.py")


def launch(store: Path, *changes: str) -> launches.LaunchResult:
    return launches.run(
        store, space="host/grid", tiny=changes, study=STUDY, checkpoint_seconds=0.001
    )


@pytest.mark.parametrize("of", ["worker", pytest.param("itself", marks=pytest.mark.slow)])
def test_a_killed_worker_or_process_goes_on_from_its_state(
    ray_session: str, tmp_path: Path, of: str
) -> None:
    changes = ("epochs=5", "fails_at=3", "how=once", f"of={of}", f"flag={tmp_path / 'flag'}")
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    assert launch(killed, *changes).exit_status == 0
    assert (tmp_path / "flag").exists()
    attempts = open_store(str(killed)).attempts().to_pylist()
    # One of the two trials made the flag and was hit; the epochs before stand.
    assert sorted((row["attempt"], row["first_epoch"]) for row in attempts) == [
        (0, 0),
        (0, 0),
        (1, 3),
    ]
    assert launch(whole, *changes).exit_status == 0
    assert stores.differing(killed, whole) == {}


@pytest.mark.slow
def test_a_trial_that_fails_is_named_and_the_others_are_done(
    ray_session: str, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    result = launch(store, "fails_at=1,-1", "how=raise", "rate=0.5")
    assert result.counts == {"failed": 1, "done": 1}
    (reason,) = result.reasons.values()
    assert reason.startswith(f"RuntimeError: as it was asked to ({STUDY}:")
    diverged = launch(store, "fails_at=1", "how=nan", "rate=0.5")
    assert diverged.counts == {"diverged": 1}
    missing = launch(store, "fails_at=0", "how=import", "rate=0.1,0.2,0.3")
    assert missing.counts == {"failed": 3}
    (text,) = set(missing.reasons.values())
    assert text.startswith("No module named no_such_module_of_theirs; pip install no_such_module")
    # The first that said so ended them all: not each was tried.
    assert len(open_store(str(store)).attempts().to_pylist()) == 1 + 2 + 1 + 3
