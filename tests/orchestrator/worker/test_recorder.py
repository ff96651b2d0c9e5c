"""A pack's rows on their way to the store: what is gathered, when it goes out, in which order; and
what a disk that loses power at any moment has of it."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.worker import recorder as recording
from orchestrator.worker.recorder import FLUSH_ROWS, FLUSH_S, Recorder
from results import Store, StoreError, create_store, open_store
from results.store import files
from tests.support.made_up_rows import attempt_row
from trainables.core.layout import LayerRow
from trainables.packs.pack import EpochResult


class Clock:
    """The seconds that the recorder reads."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(recording, "time", SimpleNamespace(monotonic=found.monotonic))
    return found


def recorder(store: Store | None = None, **more: Any) -> Recorder:
    """Of trials a, b and c, in attempts 0, 1 and 2."""
    return Recorder(store, ["a", "b", "c"], [0, 1, 2], **more)


def add(to: Recorder, table: str, count: int, lane: int = 0, epoch: int = 0) -> None:
    """`count` rows of one lane."""
    columns: dict[str, Any] = {"epoch": np.full(count, epoch, np.int32)}
    if table == "steps":
        columns["step"] = np.arange(count, dtype=np.int32)
    to.add(table, np.array([lane]), columns, count)


def end(trial: str, attempt: int = 0, event: int = 1, **columns: Any) -> dict[str, Any]:
    """A row of `trials` as a worker adds it."""
    return attempt_row(trial, attempt, event, **columns)


# ---- when ----------------------------------------------------------------------------------------


def test_rows_go_out_after_the_first_epoch_and_then_every_ten_seconds(clock: Clock) -> None:
    to = recorder()
    assert not to.due(), "nothing is gathered"
    add(to, "epochs", 1)
    assert to.due()
    to.flush()
    assert not to.due()
    add(to, "epochs", 1, epoch=1)
    assert not to.due()
    clock.now += FLUSH_S - 0.001
    assert not to.due()
    clock.now = 1000.0 + FLUSH_S
    assert to.due()
    to.flush()
    assert not to.due(), "ten seconds from the last time on"


def test_a_start_that_was_published_does_not_count_as_the_first_epoch(clock: Clock) -> None:
    to = recorder()
    to.add_trials([end("a", event=0)])
    assert to.due()
    to.flush()
    add(to, "epochs", 1)
    assert to.due()


def test_fifty_thousand_rows_of_all_tables_go_out_at_once(clock: Clock) -> None:
    assert FLUSH_ROWS == 50_000
    to = recorder()
    add(to, "epochs", 1)
    to.flush()
    for epoch in range(2):  # what counts is all since the last time, whatever came out then
        add(to, "steps", 30_000, epoch=epoch)
        add(to, "epochs", 19_999, lane=1)
        assert not to.due()
        add(to, "epochs", 1, lane=2)
        assert to.due()
        to.flush()
        assert not to.due()
    assert to.published == 100_001


def test_ends_of_trials_go_out_a_second_after_the_last_rows(clock: Clock) -> None:
    to = recorder()
    add(to, "epochs", 1)
    to.flush()
    to.add_trials([end("a")])
    clock.now += 0.99
    assert not to.due()
    assert to.ends_waiting
    clock.now += 0.01
    assert to.due()
    to.flush()
    assert not to.due()
    assert not to.ends_waiting


# ---- what ----------------------------------------------------------------------------------------


def rows(to: Recorder, table: str) -> list[dict[str, Any]]:
    """Of a recorder without a store, with the columns that are not null in any of them."""
    to.flush()
    found = pa.concat_tables(to.kept[table])
    filled = [name for name in found.column_names if found[name].null_count < found.num_rows]
    return found.select(filled).to_pylist()


def test_rows_carry_the_trial_and_attempt_of_their_lane_and_are_counted_by_it() -> None:
    to = recorder()
    numbers = np.arange(4, dtype=np.int32)
    to.add("steps", np.array([0, 2]), {"epoch": np.zeros(4, np.int32), "step": numbers}, 2)
    to.add("steps", np.array([2]), {"epoch": np.ones(2, np.int32), "step": numbers[:2]}, 2)
    assert [(r["trial_id"], r["attempt"], r["epoch"], r["step"]) for r in rows(to, "steps")] == [
        ("a", 0, 0, 0), ("a", 0, 0, 1), ("c", 2, 0, 2), ("c", 2, 0, 3), ("c", 2, 1, 0),
        ("c", 2, 1, 1),
    ]  # fmt: skip
    assert [dict(counts) for counts in to.counts] == [{"steps": 2}, {}, {"steps": 4}]
    assert to.published == 6


def test_every_row_names_the_launch_that_wrote_it() -> None:
    """Of its own tables and of a probe's; where no launch writes, none is named."""
    one = np.zeros(1, np.int32)
    for given, named in (("", None), ("launch", "launch")):
        probes = {"mine": [{"name": "x", "type": "int32"}]}
        to = recorder(launch_id=given, probes=probes)
        to.add("steps", np.array([0, 2]), {"epoch": np.tile(one, 2), "step": np.tile(one, 2)}, 1)
        to.add_probe("mine", 0, np.array([1]), {"x": one})
        to.flush()
        for table, count in (("steps", 2), ("mine", 1)):
            assert to.kept[table][0]["launch_id"].to_pylist() == [named] * count


def test_rows_that_are_not_shown_are_neither_written_nor_counted() -> None:
    to = recorder()
    shown = np.array([True, False, False, False, True, True])
    columns = {"epoch": np.zeros(6, np.int32), "step": np.arange(6, dtype=np.int32)}
    to.add("steps", np.array([0, 1]), columns, 3, shown)
    assert [(row["trial_id"], row["step"]) for row in rows(to, "steps")] == [
        ("a", 0), ("b", 4), ("b", 5)
    ]  # fmt: skip
    assert [dict(counts) for counts in to.counts] == [{"steps": 1}, {"steps": 2}, {}]
    assert to.published == 3


def epoch_of(width: int = 3, **changes: Any) -> EpochResult:
    """An epoch whose numbers tell their lane: tens for the lane."""
    ten = 10.0 * np.arange(width)
    return EpochResult(**{
        "epochs": {"loss": ten + 1},
        "layers": {"grad_norm": ten[:, None] + [2, 3]},
        "steps": {"loss": ten[:, None] + [4, 5, 6]},
        "step_index": np.array([7, 8, 9]),
        "first_step": np.zeros(width, int),
        "bad_step": np.array([-1, 8, 0])[:width],
        "finished": np.zeros(width, bool),
        "metrics": {"gap": ten + 7},
        "probes": {},
        **changes,
    })  # fmt: skip


LAYERS = (LayerRow(0, "rnn.0", "w", 0), LayerRow(1, "fc", "*", -1, frozen=True))


def test_an_epoch_is_a_row_of_epochs_and_some_of_layers_and_steps_for_each_active_lane() -> None:
    to = recorder()
    to.add_epoch(5, epoch_of(), LAYERS, np.array([0, 2]), 12, 3.0)
    keys = [{"trial_id": "a", "attempt": 0}, {"trial_id": "c", "attempt": 2}]
    assert rows(to, "epochs") == [
        {**keys[0], "epoch": 5, "steps": 12, "loss": 1.0, "bad_step": None, "seconds": 1.5,
         "metrics": [("gap", 7.0)]},
        {**keys[1], "epoch": 5, "steps": 12, "loss": 21.0, "bad_step": 0, "seconds": 1.5,
         "metrics": [("gap", 27.0)]},
    ]  # fmt: skip
    assert rows(to, "layers") == [
        {**key, "epoch": 5, "layer": row.layer, "layer_name": row.layer_name,
         "tensor": row.tensor, "tensor_index": row.tensor_index, "frozen": row.frozen,
         "grad_norm": ten + norm}
        for key, ten in zip(keys, (0, 20), strict=True)
        for row, norm in zip(LAYERS, (2.0, 3.0), strict=True)
    ]  # fmt: skip
    assert rows(to, "steps") == [
        {**key, "epoch": 5, "step": step, "loss": ten + loss}
        for key, ten in zip(keys, (0, 20), strict=True)
        for step, loss in zip((7, 8, 9), (4.0, 5.0, 6.0), strict=True)
    ]
    assert dict(to.counts[2]) == {"epochs": 1, "layers": 2, "steps": 3}
    assert dict(to.counts[1]) == {}


def test_what_an_epoch_does_not_have_makes_no_rows() -> None:
    to = recorder()
    to.add_epoch(0, epoch_of(epochs={}), LAYERS, np.array([0]), 12, 1.0)
    assert not to.due()
    to.add_epoch(0, epoch_of(layers={}, steps={}, metrics={}), LAYERS, np.array([1]), 12, 1.0)
    to.flush()
    assert list(to.kept) == ["epochs"]
    (row,) = rows(to, "epochs")
    assert (row["trial_id"], row["bad_step"]) == ("b", 8)


def test_lanes_that_end_leave_the_later_epochs_to_the_others() -> None:
    """The names of layers and trials are made once for each set of lanes, not once for all."""
    to = recorder()
    for epoch, lanes in enumerate(([0, 1, 2], [1, 2], [0, 2], [2])):
        to.add_epoch(epoch, epoch_of(), LAYERS, np.array(lanes), 12, 1.0)
    found = [(r["epoch"], r["trial_id"], r["layer_name"]) for r in rows(to, "layers")]
    assert found == [
        (epoch, trial, layer)
        for epoch, trials in enumerate(("abc", "bc", "ac", "c"))
        for trial in trials
        for layer in ("rnn.0", "fc")
    ]


PROBE = {"own": [{"name": n, "type": "float64", "doc": ""} for n in ("place", "value")]}


def test_a_probe_s_columns_are_shared_by_the_lanes_or_their_own() -> None:
    to = recorder(probes=PROBE)
    value = 10.0 * np.arange(3)[:, None] + [1, 2]
    shown = np.array([[True, True], [True, True], [False, True]])
    lanes = np.array([0, 2])
    to.add_probe("own", 3, lanes, {"place": np.array([0.25, 0.5]), "value": value})
    to.add_probe("own", 4, lanes, {"place": np.array([0.25, 0.5]), "value": value, "shown": shown})
    assert [(r["trial_id"], r["epoch"], r["place"], r["value"]) for r in rows(to, "own")] == [
        ("a", 3, 0.25, 1.0), ("a", 3, 0.5, 2.0), ("c", 3, 0.25, 21.0), ("c", 3, 0.5, 22.0),
        ("a", 4, 0.25, 1.0), ("a", 4, 0.5, 2.0), ("c", 4, 0.5, 22.0),
    ]  # fmt: skip
    assert [dict(counts) for counts in to.counts] == [{"own": 4}, {}, {"own": 3}]


def test_rows_of_a_user_s_probe_go_to_its_own_folder(tmp_path: Path) -> None:
    store = create_store(tmp_path / "store")
    to = recorder(store, probes=PROBE)
    value = np.array([[0.0], [1.0]])
    to.add_probe("own", 0, np.array([1]), {"place": np.array([0.5]), "value": value})
    to.add_trials([end("b", 1)])
    to.flush()
    found = store.sql("SELECT trial_id, attempt, epoch, place, value FROM own").fetchall()
    assert found == [("b", 1, 0, 0.5, 1.0)]
    assert to.kept == {}


def test_columns_that_some_rows_lack_are_null_there() -> None:
    """Arrays of either kind and none at all, in any order."""
    to = recorder()
    for epoch, columns in enumerate(
        ({"loss": np.array([1.0])}, {}, {"loss": pa.array([3.0])}, {"loss": [4.0]})
    ):
        own: Mapping[str, Any] = {"epoch": np.array([epoch], np.int32), **columns}
        to.add("epochs", np.array([0]), own, 1)
    assert [row["loss"] for row in rows(to, "epochs")] == [1.0, None, 3.0, 4.0]


# ---- in which order ------------------------------------------------------------------------------


def test_an_end_is_published_after_all_rows_gathered_so_far(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = create_store(tmp_path / "store")
    order: list[str] = []
    publish = store.publish

    def noted(table: str, data: pa.Table) -> str:
        order.append(table)
        return publish(table, data)

    monkeypatch.setattr(store, "publish", noted)
    to = recorder(store, guard=lambda: order.append("guard"), probes=PROBE)
    to.add_trials([end("a")])  # said first, published last
    for table in ("steps", "epochs"):
        add(to, table, 1)
    to.add_probe("own", 0, np.array([0]), {"place": np.zeros(1), "value": np.zeros((3, 1))})
    to.flush()
    assert order == ["guard", "steps", "guard", "epochs", "guard", "probes/own", "guard", "trials"]
    to.flush()
    assert order[8:] == [], "nothing is left to publish, and nobody is asked"


@pytest.mark.parametrize("table", ["epochs", "steps"])
def test_an_end_is_not_published_when_its_rows_could_not_be(tmp_path: Path, table: str) -> None:
    folder = tmp_path / "store"
    store = create_store(folder)
    to = recorder(store)
    for name in ("epochs", "steps"):
        add(to, name, 1)
    to.add_trials([end("a", rows={"epochs": 1, "steps": 1})])
    (folder / table).touch()  # in the way
    with pytest.raises(StoreError):
        to.flush()
    assert not (folder / "trials").exists()
    (folder / table).unlink()
    assert to.due(), "the end waits still"
    to.flush()
    found = open_store(store.uri).completeness(["a"])["a"]
    assert found["done"]
    assert found["rows"] == {"epochs": (1, 1), "steps": (1, 1)}


def test_a_guard_that_refuses_keeps_rows_and_ends_back(tmp_path: Path) -> None:
    store = create_store(tmp_path / "store")
    left = 1

    def guard() -> None:
        nonlocal left
        if not left:
            raise PermissionError
        left -= 1

    to = recorder(store, guard=guard)
    add(to, "epochs", 1)
    add(to, "steps", 1)
    to.add_trials([end("a")])
    with pytest.raises(PermissionError):
        to.flush()
    published = [path.parent.name for path in (tmp_path / "store").glob("*/*.parquet")]
    assert published == ["epochs"]
    left = 1
    with pytest.raises(PermissionError):
        to.flush()
    published = [path.parent.name for path in (tmp_path / "store").glob("*/*.parquet")]
    assert sorted(published) == ["epochs", "steps"], "its end is asked for by itself"


# ---- when the power fails ------------------------------------------------------------------------


class Disk:
    """What a disk holds of a folder if the power fails: of each file what `fsync` was called for,
    and of each folder the names that it had at its own `fsync`. It may hold newer names as well,
    since a rename may reach it at any time; then without what was never synced of the file.

    `at_each` is called after each sync and each rename.
    """

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch):
        self.root = root
        self.at_each: Callable[[], None] = lambda: None
        self.syncs = 0
        self._contents: dict[int, bytes] = {}
        self._names: dict[int, dict[str, int]] = {}
        self._open: list[int] = []
        sync, replace = os.fsync, Path.replace

        def fsync(descriptor: int) -> None:
            sync(descriptor)
            self.syncs += 1
            self._keep(descriptor)
            self.at_each()

        def replaced(path: Path, target: Path) -> Path:
            found = replace(path, target)
            self.at_each()
            return found

        monkeypatch.setattr(os, "fsync", fsync)
        monkeypatch.setattr(Path, "replace", replaced)

    def _keep(self, descriptor: int) -> None:
        own = os.dup(descriptor)  # as long as it is open, no other file gets its number
        self._open.append(own)
        state = os.fstat(own)
        if stat.S_ISDIR(state.st_mode):
            self._names[state.st_ino] = _names(own)
        else:
            path = next(p for p in self.root.rglob("*") if p.stat().st_ino == state.st_ino)
            self._contents[state.st_ino] = path.read_bytes()

    def after_cut(self, into: Path, newest: bool) -> Path:
        """A copy of what is found when the machine is back, with the `newest` names or only those
        that were synced."""
        self._copy(self.root, into, newest)
        return into

    def _copy(self, folder: Path, into: Path, newest: bool) -> None:
        into.mkdir(parents=True)
        names = _names(folder) if newest else self._names.get(folder.stat().st_ino, {})
        for name, number in names.items():
            if (folder / name).is_dir():
                self._copy(folder / name, into / name, newest)
            else:
                (into / name).write_bytes(self._contents.get(number, b""))

    def close(self) -> None:
        for descriptor in self._open:
            os.close(descriptor)


def _names(folder: Path | int) -> dict[str, int]:
    with os.scandir(folder) as entries:
        return {entry.name: entry.inode() for entry in entries}


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    root = tmp_path / "disk"
    root.mkdir()
    found = Disk(root, monkeypatch)
    yield found
    found.close()


def test_a_published_file_survives_a_power_cut_at_any_moment(disk: Disk, tmp_path: Path) -> None:
    store = create_store(disk.root / "folder" / "store")
    file = Path(store.paths.under("a/b"))
    content = b"old"

    def check() -> None:
        nonlocal cuts
        cuts += 1
        for newest in (False, True):
            copy = disk.after_cut(tmp_path / f"{cuts}-{newest}", newest)
            found = copy / file.relative_to(disk.root)
            held = found.read_bytes() if found.exists() else None
            assert held in (before, content)

    cuts, before = 0, None
    disk.at_each = check
    for content in (b"old", b"new and longer"):
        files.publish(store.fs, str(file), content)
        copy = disk.after_cut(tmp_path / f"whole-{cuts}", newest=False)
        assert (copy / file.relative_to(disk.root)).read_bytes() == content
        before = content
    assert cuts == 7, "file, rename, folder; and once the folder above, where it is new"


def test_a_fence_costs_no_sync(disk: Disk) -> None:
    store = create_store(disk.root / "store")
    before = disk.syncs
    files.publish(store.fs, store.paths.under("fences/p.json"), b"{}", durable=False)
    assert disk.syncs == before
    assert (disk.root / "store" / "fences" / "p.json").read_bytes() == b"{}"


def test_a_trial_that_has_ended_is_whole_whenever_the_power_fails(
    disk: Disk, tmp_path: Path
) -> None:
    """Rows, weights and ends as `PackRun` publishes them. Whatever is found after a power cut at
    any moment can be read, and a trial that has ended there has all of its rows and weights."""
    store = create_store(disk.root / "store")
    to = recorder(store)
    cuts = 0
    seen: set[str] = set()

    def check(newest: bool) -> None:
        found = disk.after_cut(tmp_path / f"{cuts}-{newest}", newest) / "store"
        held = {
            table: [row for part in found.glob(f"{table}/[!.]*") for row in rows_of(part)]
            for table in ("trials", "epochs", "steps")
        }
        statuses = {row["status"] for row in held["trials"]}
        seen.update(statuses or {"nothing"})
        if "done" in statuses:
            assert [len(held[table]) for table in ("epochs", "steps")] == [2, 1]
        if "done" in statuses or list(found.glob("artifacts/*.json")):
            assert open_store(found).load_lane("artifacts/p", 0)["w"].tolist() == [1.0, 2.0]

    def check_both() -> None:
        nonlocal cuts
        cuts += 1
        check(newest=False)
        check(newest=True)

    disk.at_each = check_both
    to.add_trials([{**end("a", event=0, status="running"), "rows": None}])
    to.flush()
    add(to, "epochs", 1)
    add(to, "steps", 1)
    to.flush()
    add(to, "epochs", 1, epoch=1)
    lanes = {"lanes": [{"trial_id": "a", "attempt": 0, "epoch": 1}]}
    store.save_weights("artifacts", "p", {"w": np.array([[1.0, 2.0]])}, lanes)
    to.add_trials([end("a", rows=dict(to.counts[0]))])
    to.flush()
    assert seen == {"nothing", "running", "done"}
    disk.at_each = lambda: None
    left = open_store(disk.after_cut(tmp_path / "left", newest=False) / "store")
    assert left.completeness(["a"])["a"]["done"]


def rows_of(part: Path) -> list[dict[str, Any]]:
    return pq.read_table(part).to_pylist()
