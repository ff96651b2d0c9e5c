"""A store with wrong files in it: every command still answers, names them, and shows the rest."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import strategies as st

from orchestrator import launch
from orchestrator.queue import lease
from orchestrator.queue.queue import PackQueue
from results import Store, StoreError, open_store
from results.schema import RECORDS
from tests.fuzz.command_line import snapshot, told
from tests.fuzz.conftest import SECRET, Fuzz, Guard
from tests.fuzz.damage import Damage, damages
from tests.fuzz.stores import GRID, STAGED, STUDY, fill


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store that is copied and damaged, case after case."""
    return Path(fill(tmp_path_factory.mktemp("whole") / "store").root)


def damaged(whole: Path, guard: Guard, damage: list[Damage]) -> Store | None:
    """A damaged copy at `guard.store`; None where it cannot be opened at all."""
    shutil.rmtree(guard.store, ignore_errors=True)
    shutil.copytree(whole, guard.store, symlinks=True)
    for one in damage:
        one.do(guard.store)
    try:
        return open_store(guard.store)
    except StoreError:
        return None


NO_RAY = SimpleNamespace(stuck=False)


@pytest.fixture
def without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """`launch` up to Ray and from there on: packs are taken from the queue, what a worker reads
    first is read, and then each worker dies, the first of them twice."""

    def drive(queue: PackQueue, job: dict[str, Any], *_: Any) -> bool:
        store = open_store(job["store"])
        for runner in map(str, range(40)):
            pack = queue.next(runner)
            if pack is None:
                break
            for lane in pack.lanes:
                for path, at in _read_first(store, lane):
                    try:
                        store.load_lane(path, at)
                    except StoreError:
                        continue
            queue.complete(runner, None)
        return False

    def _read_first(store: Store, lane: Any) -> Iterator[tuple[str, int]]:
        if lane.checkpoint:
            yield lane.checkpoint, lane.checkpoint_lane
        if lane.parent_id:
            found = store._weights.find(lane.parent_id)
            if found is not None:
                yield found

    monkeypatch.setattr(launch, "drive", drive)
    monkeypatch.setattr(launch, "local_ray", lambda *_: contextlib.nullcontext(NO_RAY))
    monkeypatch.setattr(lease, "EXPIRY_S", 0.05)
    clock = SimpleNamespace(
        time=lease.time.time, monotonic=lease.time.monotonic, sleep=lambda seconds: None
    )
    monkeypatch.setattr(lease, "time", clock)


READS = [
    ["status"], ["status", "--json"], ["query", "SELECT * FROM trials"], ["query", "final",
    "--json"],
    ["query", "summary"], ["query", "missing"], ["query", "layer_profile"], ["query", "stale"],
    ["query", "cost", "--format", "csv"], ["query", "curves", "--space", GRID], ["query",
    "--schema"],
    ["query", "SELECT * FROM runs JOIN layers USING (trial_id, epoch)", "--json"], ["best", GRID],
    ["best", STAGED, "--json"], ["plan", GRID, "--study", STUDY],
    ["plan", STAGED, "--study", STUDY, "--json"], ["plan", "tiny", "--rerun", "stale", "--study",
    STUDY],
    ["plan", STAGED, "--study", STUDY, "--set", "keep_weights=last"],
    ["debug", "--trial", "", "--exact"],
]  # fmt: skip
WRITES = [
    ["plot", GRID], ["plot", GRID, "--all"], ["plot", STAGED, "training_loss"],
    ["plot", GRID, "timeline"], ["report", GRID], ["report", STAGED], ["compact"],
    ["compact", "--grace", "0"], ["compact", "--json"], ["launch", GRID, "--study", STUDY],
    ["launch", STAGED, "--study", STUDY], ["launch", "tiny", "--study", STUDY, "--json"],
    ["launch", GRID, "--study", STUDY, "--rerun", "failed", "--keep-weights", "last"],
]  # fmt: skip


@pytest.mark.slow
def test_every_command_on_a_damaged_store(
    fuzz: Fuzz, guard: Guard, whole: Path, without_ray: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(guard.out)
    before = guard.around()

    def case(drawn: tuple[list[Damage], list[list[str]], list[list[str]]]) -> None:
        damage, reads, writes = drawn
        store = damaged(whole, guard, damage)
        state = snapshot(guard.store)
        for words in reads:
            ask(words)
        assert snapshot(guard.store) == state
        if store is not None and reads:
            for trial_id in ids(store)[:2]:
                ask(["show", trial_id])
        for words in writes:
            ask(words)
        assert guard.around() == before

    def ask(words: list[str]) -> None:
        said = told(*words, "--store", str(guard.store))
        assert SECRET not in said.out + said.err

    fuzz(
        0.06,
        st.tuples(
            damages,
            st.lists(st.sampled_from(READS), max_size=3, unique_by=tuple),
            st.lists(st.sampled_from(WRITES), max_size=1),
        ),
        case,
    )


def ids(store: Store) -> list[str]:
    try:
        return [str(row[0]) for row in store.sql("SELECT trial_id FROM trials").fetchall()]
    except StoreError:
        return []


@pytest.mark.slow
def test_what_is_whole_is_shown_and_what_is_not_is_named(
    fuzz: Fuzz, guard: Guard, whole: Path
) -> None:
    parts = sorted(whole.rglob("*.parquet"))

    def case(drawn: tuple[int, float, int, bool]) -> None:
        which, share, mask, cut = drawn
        part = parts[which % len(parts)]
        damaged(whole, guard, [])
        path = guard.store / part.relative_to(whole)
        content = bytearray(path.read_bytes())
        at = int(share * len(content))
        if cut:
            content = content[:at]
        else:
            content[at] ^= mask
        path.write_bytes(content)
        name = part.parent.name
        at_store = ["--store", str(guard.store), "--json"]
        said = told("query", f"SELECT * FROM all_{name}", *at_store)
        assert said.status == 0, said
        rows = json.loads(said.out)
        if name in RECORDS:  # which Arrow reads, and it passes over unused bytes
            assert (str(path) in said.err) != readable(path), said
        else:
            assert str(path) in said.err, said
        others = {
            str(one)
            for other in part.parent.glob("*.parquet")
            if other != part
            for one in pq.read_table(other).column("trial_id").to_pylist()
        }
        known = {row["trial_id"] for row in json.loads(told("query", "FROM trials", *at_store).out)}
        assert {row["trial_id"] for row in rows} >= others & known

    def readable(path: Path) -> bool:
        try:
            pq.ParquetFile(path, page_checksum_verification=True).read()
        except (OSError, pa.ArrowException):
            return False
        return True

    drawn = st.tuples(
        st.integers(0, len(parts)), st.floats(0, 1, exclude_max=True), st.integers(1, 255),
        st.booleans(),
    )  # fmt: skip
    fuzz(0.08, drawn, case)
