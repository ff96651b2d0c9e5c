"""A pruned launch on a real Ray, and the next one without pruning."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.plan.plan import plan
from results import open_store
from tests.support.launches import SPACE, TINY, run

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def test_the_best_go_on_and_the_others_may_later(ray_session: str, tmp_path: Path) -> None:
    changes, how = ["epochs=6"], {"prune": "halving", "grace": 1, "metric": "val_loss"}
    first = run(tmp_path, *changes, **how)
    assert first.exit_status == 0
    assert first.counts.total() == 8
    store = open_store(str(tmp_path))
    rows = store.sql(
        "SELECT d.trial_id, d.rung, d.verdict, d.value, e.val_loss FROM decisions d "
        "JOIN epochs e ON e.trial_id = d.trial_id AND e.epoch + 1 = d.epoch"
    ).fetchall()
    assert all(value == measured for *_, value, measured in rows)
    (judged,) = plan(SPACE, store=store, set=[*TINY, *changes], **how)
    assert not judged.to_run
    assert len(judged.pruned) == first.counts["pruned"]
    # Of those at the first rung, the best third of all eight.
    begun = sorted((value, one, verdict) for one, rung, verdict, value, _ in rows if rung == 0)
    assert [verdict for *_, verdict in begun] == ["go"] * 2 + ["prune"] * (len(begun) - 2)
    done = store.sql("SELECT sum(epochs_done)::INT FROM trials").fetchall()[0][0]
    assert done <= 8 * 1 + 2 * 2 + 1 * 3
    again = run(tmp_path, *changes, **how)
    assert again.ran == 0
    assert again.counts == first.counts
    full = run(tmp_path, *changes)
    assert full.ran == first.counts["pruned"]
    assert full.counts["done"] + full.counts["diverged"] == 8
    store.refresh()
    epochs = store.sql(
        "SELECT count(*), count(DISTINCT epoch) FROM epochs JOIN trials USING (trial_id) "
        "WHERE status = 'done' GROUP BY trial_id"
    ).fetchall()
    assert set(epochs) == {(6, 6)}
