"""One pack's life, in this process."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from orchestrator import running
from orchestrator.lease import Lease, SupersededError, passes
from orchestrator.packing import Context
from orchestrator.planning import plan
from orchestrator.recording import Recorder
from orchestrator.running import PackRun
from orchestrator.studies import catalogue
from results import StoreError, create_store, open_store

TINY = str(Path(__file__).with_name("tiny_study.py"))


@pytest.mark.slow
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


def test_a_gpu_takes_up_what_a_cpu_began_in_packs_of_its_own(tmp_path: Path) -> None:
    store = create_store(str(tmp_path / "store"))
    (pack, *_) = plan("tiny/grid", study=TINY, store=store, width=1)[0].packs
    run = PackRun(pack, catalogue(TINY).registry, store, Context(checkpoint_s=0.0))
    run.start()
    run.step()
    run.interrupt()
    on_cpu, on_gpu = (
        plan("tiny/grid", study=TINY, store=store, devices=1, gpu=gpu)[0].packs
        for gpu in (False, True)
    )
    assert {(p.width, p.strategy) for p in on_cpu} == {(1, "sequential")}
    assert {(p.width, p.strategy) for p in on_gpu} == {(3, "default")}
    assert sorted(p.lanes[0].first_epoch for p in on_gpu) == [0, 1]


def test_a_fenced_attempt_stops_itself_and_publishes_nothing_more(tmp_path: Path) -> None:
    """As that of a worker whose node was cut off, when its pack runs elsewhere."""
    store = create_store(str(tmp_path / "store"))
    (pack,) = plan("tiny/grid", study=TINY, store=store, width=4)[0].packs
    pack.generation = "launch:first"
    with Lease(store) as lease:
        lease.raise_fence(pack.id, pack.generation)
        guard = partial(passes, open_store(store.uri), pack.id, pack.generation)
        run = PackRun(pack, catalogue(TINY).registry, store, Context(), guard)
        run.start()
        lease.drop_fence(pack.id)  # what the driver does before it queues the pack again
        before = {path.name for path in (tmp_path / "store").rglob("*") if path.is_file()}
        for publish in (run.step, run.interrupt, partial(run.fail, "Traceback", "why")):
            with pytest.raises(SupersededError, match="taken over"):
                publish()
        assert {p.name for p in (tmp_path / "store").rglob("*") if p.is_file()} == before


def test_a_pack_that_would_not_fit_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (pack,) = plan("tiny/grid", study=TINY, width=4)[0].packs
    run = PackRun(pack, catalogue(TINY).registry, None, Context())
    run.start()
    needed = run.pack.rise_bytes()
    for free, fits in ((needed, True), (needed - 1, False)):
        monkeypatch.setattr(running, "memory_free", lambda free=free: float(free))
        again = PackRun(pack, catalogue(TINY).registry, None, Context())
        if fits:
            again.start()
        else:
            with pytest.raises(MemoryError, match=r"4 lanes takes .* --width"):
                again.start()


def test_a_flush_that_failed_half_way_publishes_nothing_twice(tmp_path: Path) -> None:
    store = create_store(tmp_path / "store")
    recorder = Recorder(store, ["a"], [0])
    for table in ("epochs", "steps"):
        recorder.add(table, np.array([0]), {"epoch": np.zeros(1, np.int32)}, 1)
    in_the_way = tmp_path / "store" / "steps"
    in_the_way.touch()
    with pytest.raises(StoreError):
        recorder.flush()
    in_the_way.unlink()
    recorder.flush()
    parts = [path.parent.name for path in sorted((tmp_path / "store").glob("*/*.parquet"))]
    assert parts == ["epochs", "steps"]
