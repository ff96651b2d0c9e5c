"""Lanes of several packs that stopped at several epochs are put together anew, bits and all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.plan.packs import Context
from orchestrator.plan.plan import plan
from orchestrator.plan.studies import catalogue
from orchestrator.worker.pack_run import PackRun
from results import create_store, open_store
from tests.support.launches import run
from tests.support.stores import differing, whole

STUDY = str(Path(__file__).parents[2] / "support" / "tiny_study.py")
SETS = ["lr=0.1", "seed=range(6)", "epochs=12"]


@pytest.mark.ray
@pytest.mark.slow
def test_lanes_of_several_packs_and_epochs(ray_session: str, tmp_path: Path) -> None:
    store, calm = tmp_path / "store", tmp_path / "calm"
    opened = create_store(store)
    (planned,) = plan("tiny/grid", store=None, study=STUDY, set=SETS, width=2)
    assert [len(pack.lanes) for pack in planned.packs] == [2, 2, 2]
    # Three packs whose launch ended in the middle: two after three epochs, one after five.
    for pack, epochs in zip(planned.packs, (3, 3, 5), strict=True):
        pack.strategy = "sequential"
        running = PackRun(pack, catalogue(STUDY).registry, opened, Context(launch_id="first"))
        running.start()
        for _ in range(epochs):
            running.step()
        running.interrupt()
    ids = [trial.id for trial in planned.trials]
    # One starts over, beside one that goes on.
    options = {"study": STUDY, "tiny": (), "space": "tiny/grid"}
    (again,) = plan("tiny/grid", study=STUDY, set=SETS, store=str(store), rerun=[ids[0]])
    assert [pack.trial_ids for pack in again.packs] == [ids[:2], ids[2:4], ids[4:]]
    found = [[lane.first_epoch for lane in pack.lanes] for pack in again.packs]
    assert found == [[0, 3], [3, 3], [5, 5]]
    assert {pack.width for pack in again.packs} == {2}
    assert run(store, *SETS, rerun=[ids[0]], **options).exit_status == 0
    newest = {r["trial_id"]: r for r in open_store(str(store)).attempts().to_pylist()}
    assert [newest[name]["first_epoch"] for name in ids] == [0, 3, 3, 3, 5, 5]
    assert {json.loads(row["signature"])["width"] for row in newest.values()} == {2}
    whole(store)
    assert run(calm, *SETS, width=2, **options).exit_status == 0
    assert differing(store, calm) == {}
