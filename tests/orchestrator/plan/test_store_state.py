"""What a store of earlier attempts says of trials to run, from made-up rows and resume points."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.plan.packs import Lane
from orchestrator.plan.store_state import (
    drop_finished_checkpoints,
    lacking_recordings,
    newest_attempts,
    recorded_signatures,
    resume_points,
)
from results import Store, create_store
from results.schema import FINISHED
from tests.support.made_up_rows import START, attempt_row, epoch_row, table
from tests.support.small_trials import trial
from trainables.declarations import Trial, builtin_registry
from trainables.declarations.probes.base import covers


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return create_store(tmp_path / "store")


ONE, TWO = trial(), trial(seed=1)


def publish(store: Store, *rows: Mapping[str, Any]) -> None:
    store.publish("trials", table(rows))


def save(store: Store, name: str, *lanes: Mapping[str, Any]) -> dict[str, Any]:
    """A resume point of lanes, and its index as it is listed."""
    leaves = {"w": np.arange(float(len(lanes)))}
    path = store.save_weights("checkpoints", name, leaves, {"lanes": list(lanes)})
    return {"path": path, "lanes": [dict(lane) for lane in lanes]}


def entry(of: Trial, epoch: Any, rows: Any = None, **more: Any) -> dict[str, Any]:
    """A resume point's lane, of as many rows of `epochs` as epochs unless told otherwise."""
    return {"trial_id": of.id, "attempt": 0, "epoch": epoch,
            "rows": {"epochs": epoch} if rows is None else rows, **more}  # fmt: skip


def interrupted(store: Store, of: Trial, epochs: int, attempt: int = 0) -> None:
    """A first attempt that published so many epochs."""
    rows = [epoch_row(of.id, epoch, 1.0, attempt) for epoch in range(epochs)]
    if rows:
        store.publish("epochs", table(rows))
    publish(store, attempt_row(of.id, attempt, status="interrupted", rows={"epochs": epochs}))


# ---- attempts ------------------------------------------------------------------------------------


def test_the_newest_attempt_of_each_trial_counts(store: Store) -> None:
    assert newest_attempts(None) == newest_attempts(store) == {}
    publish(store, attempt_row("a", 10, status="failed"), attempt_row("b", 0))
    publish(store, attempt_row("a", 2), attempt_row("a", 9, status="stopped"))
    found = newest_attempts(store)
    assert {i: (row["attempt"], row["status"]) for i, row in found.items()} == {
        "a": (10, "failed"), "b": (0, "done")
    }  # fmt: skip


# ---- what was observed ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("every", "had", "holds"),
    [
        (None, None, True), (None, 0, True), (None, 3, True),
        (0, 0, True), (0, 1, True), (0, 7, True), (0, None, False), (0, "2", False),
        (1, 1, True), (1, 0, False), (1, 2, False), (1, None, False),
        (2, 0, False), (2, 1, True), (2, 2, True), (2, 3, False), (2, 4, False),
        (6, 1, True), (6, 2, True), (6, 3, True), (6, 4, False), (6, 6, True), (6, 12, False),
    ],
)  # fmt: skip
def test_a_cadence_holds_another_whose_every_epoch_it_has(
    every: int | None, had: Any, holds: bool
) -> None:
    """By brute force too: the epochs of 0 are the first and the last."""
    assert covers(had, every) == holds

    def epochs(cadence: int | None) -> set[int]:
        if cadence is None:
            return set()
        return {0, 24} | (set(range(0, 24, cadence)) if cadence else set())

    if had is None or isinstance(had, int):
        assert (epochs(every) <= epochs(had)) == holds


def test_a_cadence_that_the_recorded_run_did_not_know_was_never() -> None:
    assert not covers(None, 0)
    assert covers(None, None)


OBSERVED = {"timeline_every": 2, "timeline_points": 64, "sharpness_every": None,
            "keep_weights": "none"}  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "recorded", "lacking"),
    [
        ({}, {}, []),
        ({"timeline_every": 4}, {}, []),
        ({"timeline_every": 0}, {}, []),
        ({"timeline_every": 3}, {}, ["timeline"]),
        ({"timeline_points": 63}, {}, []),
        ({"timeline_points": 65}, {}, ["timeline"]),
        ({"timeline_every": 3, "timeline_points": 65}, {}, ["timeline"]),
        ({}, {"timeline_points": "many"}, ["timeline"]),
        ({}, {"timeline_points": None}, ["timeline"]),
        ({"sharpness_every": 0}, {}, ["sharpness"]),
        ({"sharpness_every": 0}, {"sharpness_every": 3}, []),
        ({"sharpness_every": 1, "timeline_every": 1}, {}, ["timeline", "sharpness"]),
        ({"keep_weights": "last"}, {}, ["weights"]),
        ({"keep_weights": "last"}, {"keep_weights": "last"}, []),
        ({"keep_weights": "last"}, {"keep_weights": "best"}, ["weights"]),
        ({}, {"keep_weights": "last"}, []),
        ({"keep_weights": "every:2", "timeline_points": 65}, {}, ["timeline", "weights"]),
    ],
)
def test_what_is_asked_for_now_and_was_not_observed_is_lacking(
    asked: dict[str, Any], recorded: dict[str, Any], lacking: list[str]
) -> None:
    one = trial(**{**OBSERVED, **asked})
    row = attempt_row(one.id, config={**OBSERVED, **recorded})
    assert sorted(lacking_recordings(one, row)) == sorted(lacking)
    assert lacking_recordings(one, None) == []


def test_keys_that_an_older_run_did_not_have_stood_for_nothing_observed() -> None:
    one = trial(timeline_every=0, keep_weights="best")
    row = attempt_row(one.id, config={"lr": 0.1})
    assert lacking_recordings(one, row) == ["timeline", "weights"]


def test_a_model_without_a_timeline_lacks_none() -> None:
    one = builtin_registry().resolve({"model": "ffn", "task": "digits", "timeline_points": 128})
    assert "timeline" not in one.probes
    row = attempt_row(one.id, config={**one.config, "timeline_points": 3})
    assert lacking_recordings(one, row) == []


FIRST = [(0, "")]
"""What a trial's second attempt follows where none names its launch."""


# ---- resume points -------------------------------------------------------------------------------


def test_without_a_store_or_an_earlier_attempt_all_start_anew(store: Store) -> None:
    assert resume_points(None, [ONE]) == {}
    assert resume_points(store, [ONE, TWO]) == {ONE.id: Lane(ONE.id, {}), TWO.id: Lane(TWO.id, {})}


def test_a_trial_goes_on_from_its_resume_point_in_a_new_attempt(store: Store) -> None:
    interrupted(store, ONE, 3)
    interrupted(store, TWO, 2)
    saved = save(store, "p", entry(TWO, 1, stale=4), entry(ONE, 2))
    found = resume_points(store, [ONE, TWO])
    assert found == {
        ONE.id: Lane(ONE.id, {}, None, 1, 2, saved["path"], 1, saved["lanes"][1], follows=FIRST),
        TWO.id: Lane(TWO.id, {}, None, 1, 1, saved["path"], 0, saved["lanes"][0], follows=FIRST),
    }
    assert resume_points(store, [TWO]).keys() == {TWO.id}


def test_who_starts_over_does_so_in_a_new_attempt(store: Store) -> None:
    interrupted(store, ONE, 3)
    interrupted(store, TWO, 3)
    save(store, "p", entry(ONE, 2), entry(TWO, 2))
    found = resume_points(store, [ONE, TWO], fresh={ONE.id})
    assert found[ONE.id] == Lane(ONE.id, {}, attempt=1, follows=FIRST)
    assert found[TWO.id].first_epoch == 2


def test_a_resume_point_whose_rows_are_not_all_there_is_worth_nothing(store: Store) -> None:
    """Nor one of which there are too many, or none of a table."""
    trials = [trial(seed=seed) for seed in range(4)]
    counts = [{"epochs": 3}, {"epochs": 1}, {"epochs": 2, "steps": 1}, {"epochs": 2}]
    for one, rows in zip(trials, counts, strict=True):
        interrupted(store, one, 2)
        save(store, one.id, entry(one, 2, rows))
    found = resume_points(store, trials)
    assert [found[one.id].first_epoch for one in trials] == [0, 0, 0, 2]
    assert found[trials[0].id] == Lane(trials[0].id, {}, attempt=1, follows=FIRST)


def test_a_damaged_resume_point_is_worth_nothing(store: Store) -> None:
    interrupted(store, ONE, 2)
    saved = save(store, "p", entry(ONE, 2))
    file = Path(store.root, f"{saved['path']}.safetensors")
    file.write_bytes(file.read_bytes()[:-1])
    assert resume_points(store, [ONE]) == {ONE.id: Lane(ONE.id, {}, attempt=1, follows=FIRST)}
    assert any("p.safetensors" in line for line in store.warnings)


def test_of_several_resume_points_the_furthest_counts_and_of_equal_ones_the_newest(
    store: Store,
) -> None:
    interrupted(store, ONE, 3)
    for name, epoch in (("c", 1), ("b", 3), ("a", 2)):
        save(store, name, entry(ONE, epoch))
    assert resume_points(store, [ONE])[ONE.id].checkpoint == "checkpoints/b"
    save(store, "a2", entry(ONE, 3))
    assert resume_points(store, [ONE])[ONE.id].checkpoint == "checkpoints/a2"


STRANGE: list[dict[str, Any]] = [
    {"epoch": None}, {"epoch": "2"}, {"epoch": 2.0}, {"epoch": True}, {"rows": None}, {"rows": []},
]  # fmt: skip


def test_a_resume_point_of_somebody_else_is_passed_over(store: Store) -> None:
    """One for each trial, beside an older one that is ours; their other lanes count."""
    trials = [trial(seed=seed + 2) for seed in range(len(STRANGE))]
    for one, strange in zip(trials, STRANGE, strict=True):
        interrupted(store, one, 3)
        save(store, f"ours-{one.id}", entry(one, 1))
        save(store, f"theirs-{one.id}", {**entry(one, 2), **strange}, entry(TWO, 0))
    found = resume_points(store, [*trials, TWO])
    for one in trials:
        assert (found[one.id].checkpoint, found[one.id].first_epoch) == (
            f"checkpoints/ours-{one.id}", 1
        )  # fmt: skip
    assert found[TWO.id].checkpoint == f"checkpoints/theirs-{trials[-1].id}"


# ---- signatures ----------------------------------------------------------------------------------


def signed(program: str, minute: int, signature: Any, **columns: Any) -> dict[str, Any]:
    return attempt_row(
        f"{program}{minute}", program=program, signature=signature,
        started=START + timedelta(minutes=minute), **columns,
    )  # fmt: skip


def test_a_program_keeps_the_signature_of_its_newest_attempt(store: Store) -> None:
    assert recorded_signatures(None) == recorded_signatures(store) == {}
    publish(
        store,
        signed("p", 1, '{"width": 3}'),
        signed("p", 7, '{"width": 4}'),
        signed("p", 5, '{"width": 5}'),
        signed("p", 9, None),
        signed("q", 0, '{"width": 6, "device": "cpu:cpu"}'),
    )
    assert recorded_signatures(store) == {"p": {"width": 4}, "q": {"width": 6, "device": "cpu:cpu"}}


def test_what_ran_on_a_gpu_says_nothing_for_a_cpu_nor_the_other_way_round(store: Store) -> None:
    on_gpu = '{"width": 8, "device": "cuda:H100"}'
    publish(store, signed("p", 1, '{"width": 3, "device": "cpu:cpu"}'), signed("p", 2, on_gpu))
    publish(store, signed("q", 1, on_gpu), signed("r", 1, "{}"))
    assert {p: s.get("width") for p, s in recorded_signatures(store).items()} == {"p": 3, "r": None}
    found = recorded_signatures(store, gpu=True)
    assert {program: s["width"] for program, s in found.items()} == {"p": 8, "q": 8}


def test_a_signature_without_a_width_that_can_be_is_passed_over(store: Store) -> None:
    newer = {
        "a": '{"width": 1}', "b": '{"width": 0}', "c": '{"width": -1}', "d": '{"width": "4"}',
        "e": '{"width": null}', "f": '{"strategy": "vmap"}',
    }  # fmt: skip
    publish(store, *(signed(program, 1, '{"width": 3}') for program in newer))
    publish(store, *(signed(program, 2, signature) for program, signature in newer.items()))
    old = {"width": 3}
    assert recorded_signatures(store) == {
        "a": {"width": 1}, "b": old, "c": old, "d": old, "e": old, "f": {"strategy": "vmap"}
    }  # fmt: skip


def test_an_attempt_of_unknown_start_is_passed_over(store: Store) -> None:
    publish(store, {**signed("p", 1, '{"width": 3}'), "started": None}, signed("q", 1, "{}"))
    assert recorded_signatures(store).keys() == {"q"}


# ---- afterwards ----------------------------------------------------------------------------------


def test_a_resume_point_goes_when_all_of_its_trials_have_ended(store: Store) -> None:
    publish(store, *(attempt_row(status, status=status) for status in FINISHED))
    publish(store, *(attempt_row(s, status=s) for s in ("failed", "interrupted", "running")))
    publish(store, attempt_row("again"), attempt_row("again", 1, status="running"))

    def lanes(*names: str) -> list[dict[str, Any]]:
        return [{"trial_id": name, "epoch": 1, "rows": {}} for name in names]

    save(store, "ended", *lanes(*FINISHED))
    for name in ("failed", "interrupted", "running", "again", "unknown"):
        save(store, name, *lanes("done", name))
    drop_finished_checkpoints(store)
    assert sorted(index["path"] for index in store.list_checkpoints()) == [
        f"checkpoints/{name}" for name in ("again", "failed", "interrupted", "running", "unknown")
    ]
