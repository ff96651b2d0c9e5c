"""One pack's life, in this process."""

from __future__ import annotations

from pathlib import Path

from orchestrator.packing import Context
from orchestrator.planning import plan
from orchestrator.running import PackRun
from orchestrator.studies import catalogue
from results import create_store

TINY = str(Path(__file__).with_name("tiny_study.py"))


def test_an_interrupt_after_a_resume_point_keeps_it(tmp_path: Path) -> None:
    store = create_store(str(tmp_path / "store"))
    (pack,) = plan("tiny/grid", study=TINY, store=store, width=4)[0].packs
    run = PackRun(pack, catalogue(TINY).registry, store, Context(checkpoint_s=0.0))
    run.start()
    assert not run.step().done
    (saved,) = store.list_checkpoints()
    run.interrupt()
    (kept,) = store.list_checkpoints()
    assert (kept["path"], kept["lanes"][0]["epoch"]) == (saved["path"], 1)
    (again,) = plan("tiny/grid", study=TINY, store=store, width=4)[0].packs
    assert {lane.first_epoch for lane in again.lanes} == {1}
    assert {lane.attempt for lane in again.lanes} == {1}
