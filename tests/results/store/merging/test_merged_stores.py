"""Stores that were copied into one another: each trial and epoch shows once, in every table,
whatever was copied into what, how often, and what was compacted in between."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from orchestrator.plan.store_state import resume_points
from results import Store, StoreError, open_store
from tests.support.made_up_rows import START, attempt_row, epoch_row, space_of, table, trial_rows
from tests.support.stores import differing

NEW = Callable[[], Store]
LAYERS = [[0.1], [0.2], [0.3], [0.4]]


def publish(
    store: Store,
    launch: str,
    trial: str = "t",
    losses: tuple[float, ...] = (3.0, 2.0, 1.0),
    *,
    hour: int = 0,
    old: bool = False,
    follows: list[tuple[int, str]] | None = None,
    width: int = 4,
    **columns: Any,
) -> None:
    """A whole trial as a launch publishes it, a part an epoch; `old` leaves out what tells launches
    apart, as older versions did."""
    rows: dict[str, list[dict[str, Any]]] = trial_rows(
        trial, losses, layers=LAYERS[: len(losses)], steps=True, timeline=True,
        launch_id=launch, started=START + timedelta(hours=hour),
        signature=json.dumps({"width": width, "device": "cpu:cpu"}), **columns,
    )  # fmt: skip
    rows["probes/mine"] = [
        {"trial_id": trial, "attempt": 0, "epoch": epoch, "x": 1.0}
        for epoch in range(len(losses))
        for _ in range(2)  # equal rows of one part are two rows
    ]
    rows["trials"][0]["rows"] = json.dumps(
        {n: len(own) for n, own in rows.items() if n != "trials"}
    )
    first = columns.get("first_epoch", 0)
    for epoch in range(first, len(losses)):
        for name in sorted(rows.keys() - {"trials"}):
            own = [{**row, "attempt": columns.get("attempt", 0)} for row in rows[name]]
            own = [row if old else {**row, "launch_id": launch} for row in own]
            store.publish(name, table([row for row in own if row["epoch"] == epoch]))
    if not old:
        rows["trials"][0]["follows"] = json.dumps(follows or [])
    store.publish("trials", table(rows["trials"]))


def save(store: Store, launch: str, value: float, trial: str = "t") -> None:
    lane = {"trial_id": trial, "attempt": 0, "epoch": 2, "launch_id": launch}
    leaves = {"w": np.full((1, 2), value, np.float32)}
    store.save_weights("artifacts", f"pack-{launch}-{trial}-2-0", leaves, {"lanes": [lane]})


def cp(source: Store, target: Store) -> None:
    """`cp -r source/* target/`."""
    shutil.copytree(source.root, target.root, dirs_exist_ok=True)
    target.refresh()


def merge(source: Store, target: Store) -> None:
    target.merge(source)


def losses_of(store: Store, trial: str = "t") -> list[tuple[int, float]]:
    store.refresh()
    found = store.sql(
        "SELECT epoch, loss FROM epochs WHERE trial_id = $t ORDER BY ALL", {"t": trial}
    )
    return found.fetchall()


def assert_once(store: Store) -> None:
    """No table shows rows of an epoch more often than one attempt recorded."""
    store.refresh()
    trials = [row[0] for row in store.sql("SELECT trial_id FROM trials").fetchall()]
    assert len(trials) == len(set(trials))
    for trial, state in store.completeness(trials).items():
        assert state["missing"] == [], (trial, state)


@pytest.mark.parametrize(
    ("copy", "compacted", "old"),
    [
        (cp, "", ()),
        (merge, "", ("one", "other")),
        pytest.param(cp, "", ("one", "other"), marks=pytest.mark.slow),
        pytest.param(merge, "source", (), marks=pytest.mark.slow),
        pytest.param(cp, "source", ("other",), marks=pytest.mark.slow),
        pytest.param(cp, "target", ("one", "other"), marks=pytest.mark.slow),
        (merge, "both", ("one",)),
        pytest.param(cp, "both", (), marks=pytest.mark.slow),
        (cp, "between", ("one", "other")),
        pytest.param(merge, "between", (), marks=pytest.mark.slow),
    ],
)
def test_copied_both_ways_and_twice_over_it_shows_what_one_store_shows(
    new_store: NEW, copy: Callable[[Store, Store], None], compacted: str, old: tuple[str, ...]
) -> None:
    """As multisets, in every table, with the kept weights: of equal results all that either has."""
    stores, whole = {"one": new_store(), "other": new_store()}, new_store()
    for hour, (name, store) in enumerate(stores.items()):
        publish(store, f"launch-{name}", losses=(2.0, 1.0), hour=hour, old=name in old)
        publish(store, f"launch-{name}", f"only-{name}", (1.0,), hour=hour, old=name in old)
        publish(whole, f"launch-{name}", f"only-{name}", (1.0,), hour=hour)
        save(store, f"launch-{name}", 7.0)
        save(store, f"launch-{name}", 8.0, f"only-{name}")
        save(whole, f"launch-{name}", 8.0, f"only-{name}")
    publish(whole, "launch-one", losses=(2.0, 1.0))
    save(whole, "launch-one", 7.0)
    for source, target in (("one", "other"), ("other", "one"), ("one", "other")):
        for name in (source, target):
            if compacted in ("both", {source: "source", target: "target"}[name]):
                stores[name].compact(grace_s=0)
        copy(stores[source], stores[target])
        if compacted == "between":
            stores[target].compact(grace_s=0)
        copy(stores[source], stores[target])
    for store in stores.values():
        assert {k: n for k, n in differing(store, whole).items() if k != "weights"} == {}
        for trial in ("t", "only-one", "only-other"):
            assert store.weights(trial)["w"].tolist() == whole.weights(trial)["w"].tolist()
        assert_once(store)
        before = [store.sql(f"SELECT count(*) FROM {name}").fetchall() for name in ("runs", "mine")]
        assert before == [[(4,)], [(8,)]]
        store.compact(grace_s=0)
        assert {k: n for k, n in differing(store, whole).items() if k != "weights"} == {}


def test_of_differing_results_the_one_that_started_first_shows_and_both_are_named(
    new_store: NEW,
) -> None:
    first, second = new_store(), new_store()
    publish(first, "aaa", losses=(3.0, 2.0, 1.0), hour=2, width=4)
    publish(second, "bbb", losses=(3.0, 2.5, 1.5), hour=1, width=16)
    for store, launch, value in ((first, "aaa", 1.0), (second, "bbb", 2.0)):
        save(store, launch, value)
    first.merge(second)
    second.merge(first)
    for store in (first, second):
        for _ in range(2):
            assert losses_of(store) == [(0, 3.0), (1, 2.5), (2, 1.5)]
            assert store.weights("t")["w"].tolist() == [2.0, 2.0]
            assert store.sql("SELECT launch_id FROM trials").fetchall() == [("bbb",)]
            (warning,) = store.warnings
            assert warning == (
                "trial t differs from epoch 1 on between two launches, bbb (shown) and aaa, which "
                'ran under signatures {"width": 16} and {"width": 4}.'
            )
            store.compact(grace_s=0)
    assert first.sql("SELECT epoch, epochs FROM conflicts").fetchall() == [(1, 2)]


def test_equal_results_are_no_conflict(new_store: NEW) -> None:
    one, other = new_store(), new_store()
    publish(one, "aaa", width=1)
    publish(other, "bbb", width=2)
    one.merge(other)
    losses_of(one)
    assert one.warnings == []


def test_many_conflicts_are_a_few_lines(new_store: NEW) -> None:
    one, other = new_store(), new_store()
    for number in range(7):
        publish(one, "aaa", f"t{number}", (1.0,))
        publish(other, "bbb", f"t{number}", (2.0,), hour=1)
    one.merge(other)
    losses_of(one)
    assert len(one.warnings) == 6
    assert one.warnings[-1].startswith("2 more trials differ like this; gradsweep query")


def test_a_result_shows_before_an_attempt_without_one(new_store: NEW) -> None:
    """Whatever started first; a launch would have nothing to do. The other way round nothing that
    was stopped shows beside what goes on from elsewhere."""
    done, stopped = new_store(), new_store()
    publish(stopped, "aaa", losses=(9.0,), status="interrupted", hour=0)
    publish(done, "bbb", hour=5)
    for source, target in ((done, stopped), (stopped, done)):
        target.merge(source)
        assert [loss for _, loss in losses_of(target)] == [3.0, 2.0, 1.0]
        assert target.completeness(["t"])["t"]["done"]


def test_lines_that_part_show_whole(new_store: NEW) -> None:
    """A store that was copied while its launch was stopped, and both went on."""
    one = new_store()
    publish(one, "aaa", losses=(3.0, 2.0), status="interrupted")
    other = new_store()
    cp(one, other)
    for store, launch, loss, hour in ((one, "bbb", 0.5, 3), (other, "ccc", 0.25, 2)):
        publish(store, launch, losses=(3.0, loss, loss), hour=hour, attempt=1, first_epoch=1,
                follows=[(0, "aaa")])  # fmt: skip
    assert [loss for _, loss in losses_of(one)] == [3.0, 0.5, 0.5]
    one.merge(other)
    assert [loss for _, loss in losses_of(one)] == [3.0, 0.25, 0.25]
    one.compact(grace_s=0)
    assert [loss for _, loss in losses_of(one)] == [3.0, 0.25, 0.25]
    assert_once(one)


def test_lines_that_part_at_attempts_of_other_numbers_show_whole_too(new_store: NEW) -> None:
    """A number is left out where a worker died before it could say that it had started."""
    one = new_store()
    publish(one, "aaa", losses=(3.0, 2.0, 1.5, 1.25), status="interrupted")
    other = new_store()
    cp(one, other)
    publish(one, "bbb", losses=(3.0, 0.5, 0.5, 0.5), hour=3, attempt=1, first_epoch=1,
            follows=[(0, "aaa")])  # fmt: skip
    publish(other, "ccc", losses=(3.0, 2.0, 0.25, 0.25), hour=2, attempt=2, first_epoch=2,
            follows=[(0, "aaa")])  # fmt: skip
    for source, target in ((one, other), (other, one)):
        target.merge(source)
        assert [loss for _, loss in losses_of(target)] == [3.0, 2.0, 0.25, 0.25]
        assert_once(target)
        target.compact(grace_s=0)
        assert [loss for _, loss in losses_of(target)] == [3.0, 2.0, 0.25, 0.25]


def test_a_launch_on_a_merged_store_supersedes_all_of_it(new_store: NEW) -> None:
    """Also one that has not ended, as in a store of one's own: `--rerun` shows what it does."""
    one, other = new_store(), new_store()
    publish(one, "aaa")
    publish(other, "bbb", losses=(3.0, 2.5, 1.5), hour=1)
    one.merge(other)
    trial = type("Trial", (), {"id": "t", "epochs": 3})()
    lane = resume_points(one, [trial])["t"]  # type: ignore[list-item]
    assert (lane.attempt, lane.follows) == (1, [(0, "aaa"), (0, "bbb")])
    row = attempt_row(
        "t", 1, 0, status="running", launch_id="ccc", follows=json.dumps(lane.follows)
    )
    one.publish("trials", table([row]))
    one.publish("epochs", table([epoch_row("t", 0, 9.0, 1, launch_id="ccc")]))
    assert losses_of(one) == [(0, 9.0)]
    one.merge(other)
    one.compact(grace_s=0)
    assert losses_of(one) == [(0, 9.0)]
    lane = resume_points(one, [trial])["t"]  # type: ignore[list-item]
    assert (lane.attempt, lane.follows) == (2, [(1, "ccc")])


def test_a_resume_point_of_a_line_that_does_not_show_is_passed_over(new_store: NEW) -> None:
    one, other = new_store(), new_store()
    for store, launch, losses in ((one, "aaa", (3.0, 2.0)), (other, "bbb", (3.0,))):
        publish(store, launch, losses=losses, status="interrupted")
        rows = {
            name: len(store.sql(f"FROM {name} WHERE epoch = 0")) for name in ("epochs", "layers")
        }
        lane = {"trial_id": "t", "attempt": 0, "launch_id": launch, "epoch": 1, "rows": rows}
        leaves = {"w": np.zeros((1, 2), np.float32)}
        store.save_weights("checkpoints", f"pack-{launch}", leaves, {"lanes": [lane]})
    one.merge(other)
    trial = type("Trial", (), {"id": "t", "epochs": 3})()
    lane = resume_points(one, [trial])["t"]  # type: ignore[list-item]
    assert (lane.first_epoch, lane.checkpoint) == (1, "checkpoints/pack-aaa")
    assert lane.follows == [(0, "aaa"), (0, "bbb")]


def test_a_backup_that_is_copied_back_doubles_nothing(new_store: NEW) -> None:
    """Though its parts were merged into others since, and those into yet others."""
    store, backup = new_store(), new_store()
    for number in range(2):
        publish(store, "aaa", f"t{number}")
    cp(store, backup)
    for number in range(2, 4):
        store.compact(grace_s=0)
        publish(store, "bbb", f"t{number}")
    store.compact(grace_s=0)
    whole = new_store()
    cp(store, whole)
    cp(backup, store)
    assert differing(store, whole) == {}
    store.compact(grace_s=0)
    assert differing(store, whole) == {}
    assert len(list(Path(store.root, "epochs").iterdir())) == 1


def test_merging_keeps_what_belongs_to_a_store(new_store: NEW) -> None:
    """Its lease, its fences, its age; of a space's two records the newer launch's."""
    one, other = new_store(), new_store()
    for store, name, when in ((one, "a", "2026-01-02"), (other, "b", "2026-01-03")):
        store.write_space("demo/grid", space_of([name], launched=f"{when}T00:00:00+00:00"))
        for path in ("lease.json", "fences/p.json", "claims/c.json", "store.json"):
            place = Path(store.root, path)
            place.parent.mkdir(exist_ok=True)
            place.write_text(json.dumps({"format": 1, "of": name}))
    other.write_space("demo/more", space_of(["b"]))
    before = {path: path.read_bytes() for path in Path(one.root).rglob("*.json")}
    assert one.merge(other) == {"parts": 0, "weights": 0, "spaces": 2, "known": 0}
    assert one.merge(other) == {"parts": 0, "weights": 0, "spaces": 0, "known": 2}
    assert other.merge(one)["spaces"] == 0
    for path, content in before.items():
        if path.parent.name != "demo":
            assert path.read_bytes() == content
    assert {name: space["trials"] for name, space in one.spaces().items()} == {
        "demo/grid": ["b"], "demo/more": ["b"],
    }  # fmt: skip


def test_saves_of_one_name_are_both_kept(new_store: NEW) -> None:
    """Older versions named them after the pack alone, which has one id in every store."""
    one, other = new_store(), new_store()
    for store, launch, value, hour in ((one, "aaa", 1.0, 1), (other, "bbb", 2.0, 0)):
        publish(store, launch, old=True, hour=hour)
        lane = {"trial_id": "t", "attempt": 0, "epoch": 2}
        leaves = {"w": np.full((1, 1), value, np.float32)}
        store.save_weights("artifacts", "pack-2-0", leaves, {"lanes": [lane]})
    assert one.merge(other)["weights"] == 1
    assert one.merge(other)["weights"] == 0
    assert len(list(Path(one.root, "artifacts").glob("*.safetensors"))) == 2
    assert one.weights("t")["w"].tolist() == [2.0], "those of the attempt that shows"


def test_a_damaged_part_is_named_and_the_rest_copied(new_store: NEW) -> None:
    one, other = new_store(), new_store()
    publish(other, "aaa")
    victim = sorted(Path(other.root, "epochs").iterdir())[0]
    content = bytearray(victim.read_bytes())
    content[60] ^= 0xFF
    victim.write_bytes(content)
    with pytest.raises(StoreError, match="cannot be copied, as it is damaged") as caught:
        one.merge(open_store(other.uri))
    assert str(victim) in str(caught.value)
    assert [epoch for epoch, _ in losses_of(one)] == [1, 2]


def test_a_store_is_not_merged_into_itself(store: Store) -> None:
    with pytest.raises(StoreError, match="are one store"):
        store.merge(open_store(store.root))


def test_an_old_store_reads_as_before_and_compaction_names_its_launches(store: Store) -> None:
    publish(store, "aaa", old=True)
    publish(store, "bbb", "u", old=True)
    store.compact(grace_s=0)
    (part,) = Path(store.root, "layers").iterdir()
    rows = pq.read_table(part, columns=["trial_id", "launch_id"]).to_pylist()
    assert {(row["trial_id"], row["launch_id"]) for row in rows} == {("t", "aaa"), ("u", "bbb")}
    assert [loss for _, loss in losses_of(store)] == [3.0, 2.0, 1.0]


@pytest.mark.parametrize("case", range(3))
def test_any_history_of_copies_and_compactions(new_store: NEW, seed: int, case: int) -> None:
    """Three stores, new launches, copies and compactions at random: every trial shows one launch's
    epochs, each once; which one depends only on what the store has been given."""
    draw = random.Random(f"{seed} {case}")
    stores = [new_store() for _ in range(3)]
    held: list[set[tuple[str, int]]] = [set(), set(), set()]
    ran: dict[tuple[str, int], tuple[int, float]] = {}
    for number in range(12):
        at, other = draw.sample(range(3), 2)
        what = draw.choice(["launch", "launch", "cp", "merge", "compact"])
        if what == "launch":
            trial, hour = draw.choice("tuv"), draw.randrange(100)
            if not any(name == trial for name, _ in held[at]):
                publish(stores[at], f"launch-{number}", trial, (number, number + 0.5), hour=hour,
                        old=case % 3 == 2)  # fmt: skip
                ran[trial, number] = (hour, number)
                held[at].add((trial, number))
        elif what == "compact":
            stores[at].compact(grace_s=draw.choice([0.0, 60.0]))
        else:
            (cp if what == "cp" else merge)(stores[other], stores[at])
            held[at] |= held[other]
        for store, known in zip(stores, held, strict=True):
            store.refresh()
            for trial in {name for name, _ in known}:
                runs = sorted((*ran[key], key) for key in known if key[0] == trial)
                found = [loss for _, loss in losses_of(store, trial)]
                if case % 3 == 2:  # rows do not say whose they are: they show once, and that is all
                    assert len(found) == 2
                else:
                    first = min(runs, key=lambda run: (run[0], f"launch-{run[2][1]}"))
                    assert found == [first[1], first[1] + 0.5]
            assert_once(store)
