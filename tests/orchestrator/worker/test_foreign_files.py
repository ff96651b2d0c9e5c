"""Damaged and foreign weights in a store: a launch says so, and starts over what needed them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.plan.packs import PackSpec
from orchestrator.plan.plan import SpacePlan, plan
from orchestrator.plan.studies import catalogue
from orchestrator.worker.pack_run import Context, PackRun
from results import Store, create_store, open_store
from tests.results.store.test_foreign_files import bad_tensors

STUDY = str(Path(__file__).parents[2] / "support" / "tiny_study.py")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return create_store(tmp_path / "store")


def planned(store: Store, space: str) -> SpacePlan:
    sets = ["lr=0.1", "seed=0,1"] if space == "tiny/grid" else ["lr=0.1"]
    return plan(space, store=store, study=STUDY, set=sets, devices=1)[0]


def begun(store: Store, spec: PackSpec) -> PackRun:
    run = PackRun(spec, catalogue(STUDY).registry, store, Context())
    run.start()
    return run


def finish(run: PackRun) -> None:
    while not run.step().done:
        pass


@pytest.mark.slow
def test_a_foreign_resume_point_is_named_and_its_trials_start_over(
    store: Store, tmp_path: Path
) -> None:
    (spec,) = planned(store, "tiny/grid").packs
    run = begun(store, spec)
    run.step()
    run.checkpoint()
    (point,) = Path(store.root, "checkpoints").glob("*.safetensors")
    assert {
        lane.first_epoch for pack in planned(store, "tiny/grid").packs for lane in pack.lanes
    } == {1}
    for what, content in bad_tensors(tmp_path).items():
        point.write_bytes(content)
        found = planned(open_store(store.uri), "tiny/grid")
        (again,) = found.packs
        assert {(lane.first_epoch, lane.checkpoint) for lane in again.lanes} == {(0, None)}, what
        assert sum(str(point) in line for line in found.warnings) == 1, what
    index = point.with_suffix(".json")
    odd = {"trial_id": spec.lanes[0].trial_id, "epoch": "x"}
    for value in ([], {"lanes": [odd]}):
        index.write_text(json.dumps(value))
        (again,) = planned(open_store(store.uri), "tiny/grid").packs
        assert {lane.first_epoch for lane in again.lanes} == {0}
    finish(begun(store, again))
    fresh = open_store(store.uri)
    ids = [lane.trial_id for lane in spec.lanes]
    assert all(one["done"] for one in fresh.completeness(ids).values())
    assert not planned(fresh, "tiny/grid").to_run
    assert not (tmp_path / "exploded").exists()


@pytest.mark.slow
def test_a_parent_whose_weights_are_foreign_runs_again(store: Store, tmp_path: Path) -> None:
    parents, children = planned(store, "tiny/staged").packs
    finish(begun(store, parents))
    (kept,) = Path(store.root, "artifacts").glob("*.safetensors")
    whole = kept.read_bytes()
    assert [pack.trial_ids for pack in planned(store, "tiny/staged").packs] == [children.trial_ids]
    for what, content in bad_tensors(tmp_path).items():
        kept.write_bytes(content)
        found = planned(open_store(store.uri), "tiny/staged")
        assert {trial.id for trial in found.to_run} == {*parents.trial_ids, *children.trial_ids}, (
            what
        )
        assert any(str(kept) in line for line in found.warnings), what
    for spec in found.packs:
        finish(begun(store, spec))
    fresh = open_store(store.uri)
    assert not planned(fresh, "tiny/staged").to_run
    assert fresh.weights(parents.trial_ids[0]).keys()
    assert whole
    assert not (tmp_path / "exploded").exists()
