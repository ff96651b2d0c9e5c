"""Compaction: nothing shown changes, whoever reads, writes or compacts at the same time."""

from __future__ import annotations

import os
import threading
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import fs as pafs

from results import Store, open_store
from results.store import compaction
from results.store.compaction import _ATTEMPTS, _merge
from results.store.parquet_parts import Part, encode
from tests.support.made_up_rows import attempt_row, epoch_row, publish_trial, table

QUESTIONS = (
    "SELECT * EXCLUDE (metrics) FROM all_epochs ORDER BY trial_id, epoch",
    "SELECT * FROM layers ORDER BY trial_id, epoch, layer, tensor",
    "SELECT * FROM trials ORDER BY trial_id",
    "SELECT trial_id, verdict FROM diagnosis ORDER BY trial_id",
)


def answers(store: Store) -> list[list[tuple]]:
    store.refresh()
    return [store.sql(question).fetchall() for question in QUESTIONS]


def files_of(store: Store, name: str) -> list[str]:
    return sorted(path.name for path in Path(store.root, name).glob("*.parquet"))


def fill(store: Store, trials: int = 6) -> None:
    for number in range(trials):
        publish_trial(store, f"t{number}", [2.0, 1.0], layers=[[0.1, 1.0, 2.0]] * 2)


def test_one_file_per_table_and_the_same_answers(store: Store) -> None:
    fill(store)
    before = answers(store)
    summary = store.compact(grace_s=0)
    assert answers(store) == before
    assert [len(files_of(store, name)) for name in ("trials", "epochs", "layers")] == [1, 1, 1]
    assert summary == {"merged": 18, "into": 3, "dropped_rows": 0, "deleted": 18}
    assert store.compact(grace_s=0)["merged"] == 0


def test_replaced_parts_stay_for_the_grace(store: Store) -> None:
    fill(store)
    before = answers(store)
    store.compact(grace_s=60)
    assert len(files_of(store, "epochs")) == 7
    assert answers(store) == before
    publish_trial(store, "late", [1.0])
    store.compact(grace_s=60)
    assert len(files_of(store, "epochs")) == 9
    assert len(answers(store)[0]) == len(before[0]) + 1
    store.compact(grace_s=0)
    assert len(files_of(store, "epochs")) == 1
    assert len(answers(store)[0]) == len(before[0]) + 1


def test_superseded_rows_are_dropped(store: Store) -> None:
    store.publish("trials", table([attempt_row("a", 0, 0, status="running")]))
    store.publish("epochs", table([epoch_row("a", e, 1.0) for e in range(4)]))
    store.publish("trials", table([attempt_row("a", 1, 0, first_epoch=2, status="running")]))
    store.publish("epochs", table([epoch_row("a", e, 2.0, 1) for e in (2, 3)]))
    store.publish("trials", table([attempt_row("a", 1, 1, first_epoch=2)]))
    before = answers(store)
    summary = store.compact(grace_s=0)
    assert summary["dropped_rows"] == 3
    assert answers(store) == before
    assert store.sql("SELECT count(*) FROM files_trials").fetchall() == [(2,)]


def test_rows_of_an_unknown_attempt_are_kept(store: Store) -> None:
    fill(store, 2)
    for path in Path(store.root, "trials").glob("*.parquet"):
        path.rename(path.with_suffix(".away"))
    store.compact(grace_s=0)
    for path in Path(store.root, "trials").glob("*.away"):
        path.rename(path.with_suffix(".parquet"))
    assert len(answers(store)[0]) == 4


def test_two_compactions_at_once(store: Store) -> None:
    """Both list the same parts and both publish: the first to be published holds."""
    fill(store)
    before = answers(store)
    live = list(store.index.tables["epochs"].live)
    attempts = store.attempts().select(_ATTEMPTS)
    for some in (live[:4], live[2:]):
        merged = _merge(store, "epochs", some, attempts)
        assert isinstance(merged, pa.Table)
        content = encode(merged, [part.name for part in some])
        Path(store.paths.new_part("epochs", content, merged=True)).write_bytes(content)
    assert answers(store) == before
    store.compact(grace_s=0)
    assert answers(store) == before
    assert len(files_of(store, "epochs")) == 1


def test_a_merge_published_too_late_loses_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its name is older than that of another merge of the same parts, whose parts are gone by the
    time it shows. It is taken back, and the other counts all along."""
    fill(store)
    before = answers(store)
    live = list(store.index.tables["epochs"].live)
    late = store.paths.new_part("epochs", b"", merged=True)
    others = open_store(store.uri)
    others.compact(grace_s=0)
    assert answers(others) == before
    merged = pa.Table.from_pylist([], others.index.schema("epochs"))
    Path(late).write_bytes(encode(merged, [part.name for part in live[:2]]))
    others.compact(grace_s=0)
    Path(late).unlink(missing_ok=True)  # merged with the other, which holds all it does
    assert answers(others) == before
    # The clock says that publishing took an hour.
    publish = compaction.files.publish
    monkeypatch.setattr(compaction.time, "monotonic", lambda: clock[0])
    clock = [0.0]

    def slowly(*arguments: Any) -> None:
        publish(*arguments)
        clock[0] += 3600.0

    publish_trial(store, "late", [1.0])
    before = answers(store)
    monkeypatch.setattr(compaction.files, "publish", slowly)
    assert store.compact(grace_s=60)["into"] == 0
    assert answers(store) == before
    assert not any(name.startswith("merged-") for name in files_of(store, "layers")[1:])


def test_a_damaged_part_stays_out_of_the_merge(store: Store) -> None:
    fill(store, 4)
    victim = Path(store.root, "epochs", files_of(store, "epochs")[0])
    content = bytearray(victim.read_bytes())
    content[60] ^= 0xFF
    victim.write_bytes(bytes(content))
    store.compact(grace_s=0)
    store.compact(grace_s=0)
    assert len(answers(store)[0]) == 6
    assert victim.exists()
    assert victim.name in store.warnings[0]


def test_abandoned_temporary_files_go(store: Store) -> None:
    """After an hour, wherever they are; other files of any age stay."""
    fill(store, 1)
    ages = {"epochs/.tmp-old-x.parquet": 3700, "spaces/.tmp-old": 3700, "epochs/.tmp-new": 3500,
            "epochs/old.tmp": 90000}  # fmt: skip
    now = time.time()
    for name, age in ages.items():
        path = Path(store.root, name)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"half")
        os.utime(path, (now - age, now - age))
    assert store.compact()["deleted"] == 2
    assert [name for name in ages if Path(store.root, name).exists()] == list(ages)[2:]


def test_small_parts_are_merged_in_groups_of_a_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Oldest first, each group up to the target; what is half as large is left alone, and so is one
    that would be merged with none."""
    monkeypatch.setattr(compaction, "_TARGET", 100)
    sizes = {"a": 40, "d": 30, "b": 30, "c": 50, "e": 30, "f": 49, "g": 21, "h": 49}
    parts = [Part(f"x/{name}", size, 1, pa.schema([])) for name, size in sizes.items()]
    groups = [[part.name for part in group] for group in compaction._groups(parts)]
    assert groups == [["a", "b", "d"], ["e", "f", "g"]]
    assert compaction._groups(parts[:1]) == []
    assert compaction._groups([]) == []


def test_a_merge_that_took_longer_than_the_grace_is_not_published(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the clock from its beginning; just as long is in time, and a grace of 0 asks for none."""
    fill(store, 2)
    clock, took, encoded = [0.0], 61.0, compaction.encode

    def slowly(*arguments: Any) -> Any:
        clock[0] += took
        return encoded(*arguments)

    monkeypatch.setattr(compaction.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(compaction, "encode", slowly)
    listed = [files_of(store, name) for name in ("trials", "epochs", "layers")]
    assert store.compact(grace_s=60) == dict.fromkeys(
        ("merged", "into", "dropped_rows", "deleted"), 0
    )
    assert [files_of(store, name) for name in ("trials", "epochs", "layers")] == listed
    took = 60.0
    assert store.compact(grace_s=60)["into"] == 3
    took = 3600.0
    publish_trial(store, "late", [1.0])
    assert store.compact(grace_s=0)["into"] == 2


def test_readers_see_the_same_while_it_runs(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Readers with their own listing, a writer, and compaction that deletes as it goes: its clock
    says that the grace has passed once each reader has looked again."""
    fill(store)
    ahead = timedelta()

    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime.now(tz) + ahead

    monkeypatch.setattr(compaction, "datetime", Clock)
    stop, seen, errors = threading.Event(), [], []
    looks, looked = [0, 0], threading.Condition()

    def read(number: int) -> None:
        mine = open_store(store.uri)
        try:
            while not stop.is_set():
                mine.refresh()
                rows = mine.sql("SELECT trial_id, epoch, loss FROM epochs").fetchall()
                seen.append(sorted(row for row in rows if row[0] != "w"))
                assert len(rows) == len({row[:2] for row in rows}), "an epoch showed twice"
                with looked:
                    looks[number] += 1
                    looked.notify_all()
        except BaseException as error:
            with looked:
                errors.append(error)
                looked.notify_all()

    readers = [threading.Thread(target=read, args=(number,)) for number in range(2)]
    for reader in readers:
        reader.start()
    store.publish("trials", table([attempt_row("w")]))
    deleted = 0
    for epoch in range(6):
        store.publish("epochs", table([epoch_row("w", epoch, 1.0)]))
        deleted += store.compact(grace_s=60.0)["deleted"]
        with looked:
            # The look that is under way has begun before; the next has not.
            after = [count + 2 for count in looks]
            looked.wait_for(lambda: errors or all(map(int.__ge__, looks, after)))  # noqa: B023
        ahead += timedelta(minutes=2)
    stop.set()
    for reader in readers:
        reader.join()
    assert errors == []
    # Three tables of six parts and what the writer added, and then each round's two of `epochs`.
    assert deleted == 3 * 6 + 2 + 4 * 2
    assert all(rows == seen[0] for rows in seen)
    assert len(store.sql("SELECT * FROM epochs WHERE trial_id = 'w'")) == 6


def test_a_store_on_another_file_system(tmp_path: Path) -> None:
    """A file system that is not the local one: one write per file and no rename."""
    remote = pafs.SubTreeFileSystem(str(tmp_path), pafs.LocalFileSystem())
    remote.create_dir("bucket/store", recursive=True)
    for folder in ("trials", "epochs", "layers", "steps", "spaces/demo", "checkpoints"):
        remote.create_dir(f"bucket/store/{folder}", recursive=True)
    store = Store("sub://bucket/store", remote, "bucket/store")
    fill(store, 3)
    store.write_space("demo/grid", {"trials": ["t0"]})
    before = answers(store)
    store.compact(grace_s=0)
    assert answers(store) == before
    assert store.completeness(["t0"])["t0"]["done"]
    assert list(store.spaces()) == ["demo/grid"]


@pytest.mark.parametrize("name", ["trials", "epochs"])
def test_merged_parts_are_sorted(store: Store, name: str) -> None:
    for trial in ("c", "a", "b"):
        publish_trial(store, trial, [1.0, 2.0])
    store.compact(grace_s=0)
    ids = [row[0] for row in store.sql(f"SELECT trial_id FROM files_{name}").fetchall()]
    assert ids == sorted(ids)


def test_rows_of_whole_layers_come_first(store: Store) -> None:
    """A fifth of the rows, which most questions are about: their row groups hold no others."""
    fill(store, 3)
    store.compact(grace_s=0)
    rows = store.sql("SELECT tensor = '*', trial_id, epoch, layer FROM files_layers").fetchall()
    assert rows == sorted(rows, key=lambda row: (not row[0], *row[1:]))
    assert {row[0] for row in rows} == {True, False}
