"""A pack with few trials left goes on in fewer slots."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.exact_replay import segments
from orchestrator.plan.packs import NARROWED, Context, Lane, PackSpec
from orchestrator.plan.store_state import recorded_signatures
from orchestrator.plan.studies import catalogue
from orchestrator.worker import narrowing
from orchestrator.worker.pack_run import PackRun
from results import Store, create_store
from tests.support import tiny_study
from trainables.declarations import Trial

TINY = str(Path(__file__).parents[2] / "support" / "tiny_study.py")
REGISTRY = catalogue(TINY).registry
WIDTH = 4
LENGTHS = (2, 2, 2, 7)
HOW_IT_RAN = ("seconds", "launch_id", "attempt")


def trials(**shared: Any) -> list[Trial]:
    grid = {**tiny_study.GRID.param_space, "lr": 0.1, "monitor": "loss", "early_stopping": 50}
    return [
        REGISTRY.resolve({**grid, "epochs": epochs, "seed": seed, **shared})
        for seed, epochs in enumerate(LENGTHS)
    ]


def started(some: list[Trial], store: Store, strategy: str = "vmap", **context: Any) -> PackRun:
    lanes = [Lane(one.id, dict(one.config)) for one in some]
    spec = PackSpec("pack", some[0].program, lanes, WIDTH, strategy)
    told = Context(**{"checkpoint_s": 1e9, "launch_id": "here", **context})
    run = PackRun(spec, REGISTRY, store, told)
    run.start()
    return run


@pytest.fixture
def pays_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(narrowing, "WORTH", 0.0)


@pytest.mark.exact
@pytest.mark.usefixtures("pays_at_once")
def test_a_narrower_pack_is_a_segment_of_the_trials_that_are_left(tmp_path: Path) -> None:
    store, other = create_store(tmp_path / "store"), create_store(tmp_path / "other")
    some = trials(keep_weights="best")
    run = started(some, store)
    run.checkpoint()
    ended: dict[str, str] = {}
    while not narrowing.pays(run):
        ended |= run.step().ended
    assert run.epochs.max() == 2
    new = narrowing.narrowed(run)
    assert (new.spec.width, new.spec.trial_ids) == (1, [some[3].id])
    assert len(store.list_checkpoints()) == 1, "where the trial goes on after a death"
    while not new.idle:
        ended |= new.step().ended
    new.close()
    assert ended == dict.fromkeys((one.id for one in some), "done"), "none goes unsaid"
    store.refresh()
    rows = {(r["trial_id"], r["attempt"]): r for r in store.attempts().to_pylist()}
    last = rows[some[3].id, 1]
    assert (last["first_epoch"], last["epochs_done"], last["status"]) == (2, 7, "done")
    assert last["pack"] == f"pack{NARROWED}1"
    assert rows[some[3].id, 0]["reason"] == "goes on in a pack of 1"
    assert all(known["done"] for known in store.completeness([t.id for t in some]).values())
    assert not store.list_checkpoints()
    # What `debug --exact` does: segment after segment.
    widths = [(one.from_epoch, one.signature["width"]) for one in segments(store, some[3])]
    assert widths == [(0, WIDTH), (2, 1)]
    assert recorded_signatures(store)[some[0].program]["width"] == WIDTH
    replay = started(some[3:], other)
    replay.step()
    replay.step()
    replay.change_segment(json.loads(last["signature"]))
    while not replay.idle:
        replay.step()
    for table in ("epochs", "layers", "steps"):
        query = f"SELECT * FROM {table} WHERE trial_id = '{some[3].id}' ORDER BY ALL"
        found = [
            [{k: v for k, v in row.items() if k not in HOW_IT_RAN} for row in rows]
            for rows in (one.sql(query).arrow().to_pylist() for one in (store, other))
        ]
        assert found[0] == found[1]


@pytest.mark.usefixtures("pays_at_once")
@pytest.mark.parametrize(
    ("strategy", "lengths", "context", "pays"),
    [
        ("vmap", (2, 2, 2, 7), {}, True),
        ("vmap", (2, 2, 7, 7), {}, True),
        ("vmap", (2, 7, 7, 7), {}, False),  # more than half of the slots have a trial
        ("sequential", (2, 2, 2, 7), {}, False),  # which skips the others
        ("vmap", (2, 2, 2, 7), {"trial_seconds": 1000.0}, False),
    ],
)
def test_where_it_pays(
    tmp_path: Path, strategy: str, lengths: tuple[int, ...], context: dict[str, Any], pays: bool
) -> None:
    some = [
        REGISTRY.resolve({**one.config, "epochs": n})
        for one, n in zip(trials(), lengths, strict=True)
    ]
    run = started(some, create_store(tmp_path / "store"), strategy, **context)
    run.step()
    run.step()
    assert narrowing.pays(run) is pays
    run.close()


def test_it_must_save_more_than_compiling_took(tmp_path: Path) -> None:
    run = started(trials(), create_store(tmp_path / "store"))
    run.step()
    run.step()
    run.compile_seconds = 10.0
    for seconds, pays in ((5.3, False), (5.4, True)):  # 5 epochs, of which 3 in 4 are saved
        run.epoch_seconds = seconds
        assert narrowing.pays(run) is pays
