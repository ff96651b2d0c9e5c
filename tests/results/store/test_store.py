"""Opening, publishing, reading back; which rows show; what is missing; damaged files."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from results import Store, StoreError, create_store, open_store
from results.schema import arrow_schema
from tests.support.made_up_rows import attempt_row, epoch_row, layer_rows, publish_trial, table


def parts(store: Store, name: str) -> list[Path]:
    return sorted(Path(store.root, name).glob("*.parquet"))


def test_import_and_open_are_light(store: Store) -> None:
    code = (
        "import sys, results; results.open_store(sys.argv[1]).sql('from trials'); "
        "print([m for m in ('jax', 'ray', 'plotly') if m in sys.modules])"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, store.uri], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"


def test_an_empty_store_has_every_view(store: Store) -> None:
    for view in ("trials", "runs", "epochs", "layers", "steps", "timeline", "diagnosis", "spaces"):
        assert len(store.sql(f"from {view}")) == 0


@pytest.mark.parametrize("content", ["", "[]", '{"format": "x"}', "{}"])
def test_a_damaged_manifest_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "store.json").write_text(content)
    with pytest.raises(StoreError, match=r"store\.json"):
        open_store(tmp_path)


def test_wrong_places_are_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="does not exist"):
        open_store(tmp_path / "nowhere")
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(StoreError, match="not a store"):
        open_store(tmp_path)
    with pytest.raises(StoreError, match="other files"):
        create_store(tmp_path)
    with pytest.raises(StoreError, match="other files"):
        create_store(tmp_path / "notes.txt")
    with pytest.raises(StoreError, match="cannot open"):
        open_store("gopher://host/store")


def test_a_newer_format_is_refused(store: Store) -> None:
    Path(store.root, "store.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(StoreError, match="upgrade"):
        open_store(store.uri)


def test_create_opens_what_is_there(store: Store) -> None:
    publish_trial(store, "a", [1.0])
    assert create_store(store.uri).sql("from trials").fetchall()


def test_a_full_or_read_only_disk_is_one_sentence(store: Store) -> None:
    Path(store.root, "epochs").write_text("a file where a folder should be")
    with pytest.raises(StoreError, match="cannot write"):
        store.publish("epochs", table([epoch_row("a", 0, 1.0)]))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_disk_full_names_the_remedy() -> None:
    from results.store.files import why_not_written

    with pytest.raises(OSError, match="space") as caught, open("/dev/full", "wb", 0) as stream:  # noqa: PTH123
        stream.write(b"x")
    assert "disk full" in why_not_written("part", caught.value)


@settings(max_examples=6)
@given(
    rows=st.lists(
        st.tuples(
            st.text("abc0", min_size=1, max_size=4),
            st.integers(0, 100),
            st.floats(allow_nan=False, width=64),
            st.dictionaries(st.text("xyz", min_size=1, max_size=3), st.floats(-1, 1), max_size=3),
        ),
        min_size=1,
        max_size=60,
        unique_by=lambda row: row[:2],
    )
)
def test_rows_come_back_as_published(new_store: Callable[[], Store], rows: list[Any]) -> None:
    store = new_store()
    data = [
        epoch_row(trial, epoch, loss, metrics=list(metrics.items()))
        for trial, epoch, loss, metrics in rows
    ]
    schema = pa.schema([f for f in arrow_schema("epochs") or () if f.name in data[0]])
    store.publish("epochs", pa.Table.from_pylist(data, schema))
    trials = sorted({row[0] for row in rows})
    store.publish("trials", table([attempt_row(trial) for trial in trials]))
    got = store.sql("SELECT trial_id, epoch, loss, metrics FROM epochs ORDER BY ALL").rows()
    assert [(g["trial_id"], g["epoch"], g["loss"], dict(g["metrics"])) for g in got] == sorted(rows)


def test_missing_columns_are_null_and_unknown_ones_refused(store: Store) -> None:
    store.publish("epochs", pa.table({"trial_id": ["a"], "attempt": [0], "epoch": [3]}))
    store.publish("trials", table([attempt_row("a")]))
    assert store.sql("SELECT loss, steps FROM epochs").fetchall() == [(None, None)]
    with pytest.raises(StoreError, match="did you mean loss"):
        store.publish("epochs", pa.table({"trial_id": ["a"], "losss": [1.0]}))
    with pytest.raises(StoreError, match="must be int32"):
        store.publish("epochs", pa.table({"trial_id": ["a"], "epoch": ["x"]}))
    with pytest.raises(StoreError, match="lack attempt"):
        store.publish("probes/mine", pa.table({"trial_id": ["a"], "epoch": [0]}))
    with pytest.raises(StoreError, match="a view has that name"):
        store.publish("probes/runs", pa.table({"trial_id": ["a"], "attempt": [0], "epoch": [0]}))


def test_a_users_probe_is_a_view(store: Store) -> None:
    store.publish("trials", table([attempt_row("a")]))
    keys = {"trial_id": ["a"], "attempt": [0], "epoch": [0]}
    store.publish("probes/radius", pa.table({**keys, "radius": pa.array([1.5], pa.float32())}))
    store.publish("probes/radius", pa.table({**keys, "epoch": [1], "note": ["late"]}))
    got = store.sql("SELECT epoch, radius, note FROM radius ORDER BY epoch").fetchall()
    assert got == [(0, 1.5, None), (1, None, "late")]


@settings(max_examples=20)
@given(
    attempts=st.lists(st.tuples(st.integers(0, 6), st.integers(0, 8)), min_size=1, max_size=5),
    seed=st.randoms(use_true_random=False),
)
@pytest.mark.slow
def test_each_epoch_shows_once_whatever_overlaps(
    new_store: Callable[[], Store], attempts: list[tuple[int, int]], seed: Any
) -> None:
    """Attempts (first epoch, number of epochs) published in any order, all at once or not."""
    store = new_store()
    trials, epochs = [], []
    for number, (first, count) in enumerate(attempts):
        trials += [attempt_row("t", number, event, first_epoch=first) for event in (0, 1)]
        epochs += [epoch_row("t", first + e, float(number), number) for e in range(count)]
    pieces = [("trials", [row]) for row in trials] + [("epochs", [row]) for row in epochs]
    seed.shuffle(pieces)
    for name, rows in pieces:
        store.publish(name, table(rows))
    expected: dict[int, float] = {}
    for number, (first, count) in enumerate(attempts):
        expected = {e: n for e, n in expected.items() if e < first}
        expected |= {first + e: float(number) for e in range(count)}
    got = store.sql("SELECT epoch, loss FROM epochs ORDER BY epoch").fetchall()
    assert got == sorted(expected.items())
    store.compact(grace_s=0)
    again = store.sql("SELECT epoch, loss FROM epochs ORDER BY epoch").fetchall()
    assert again == got
    assert store.sql("SELECT count(*) FROM files_epochs").fetchall() == [(len(got),)]


def test_configs_become_typed_columns(store: Store) -> None:
    configs = [
        {"stage": "train", "depth": 3, "lr": 1, "clip": None, "loss": "ce", "Lr": True, "mix": 1},
        {"stage": "train", "depth": 20, "lr": 0.5, "clip": 1.0, "loss": "mse", "mix": "auto"},
    ]
    for i, config in enumerate(configs):
        publish_trial(store, f"t{i}", [1.0])
        store.publish("trials", table([attempt_row(f"t{i}", 1, config=config)]))
    types = dict(store.sql("SELECT column_name, column_type FROM (DESCRIBE trials)").fetchall())
    assert types["depth"] == "BIGINT"
    assert types["lr"] == types["clip"] == "DOUBLE"
    assert types["cfg_loss"] == types["mix"] == "VARCHAR"
    assert types["cfg_Lr"] == "BOOLEAN", "names that differ in case only are kept apart"
    assert store.config_columns["loss"] == "cfg_loss"
    assert store.sql("SELECT depth FROM runs").columns == ["depth"]


def test_labels_are_columns_beside_the_keys_and_not_in_the_config(store: Store) -> None:
    labels = json.dumps({"comments": "heinit_adabelief", "lr": "no key's column is taken"})
    publish_trial(store, "a", [1.0], labels=labels, config={"lr": 0.5})
    publish_trial(store, "b", [1.0])  # also what a store older than labels holds
    rows = store.sql("SELECT comments, lr, config FROM trials ORDER BY trial_id").rows()
    assert [(row["comments"], row["lr"]) for row in rows] == [
        ("heinit_adabelief", 0.5),
        (None, 0.01),
    ]
    assert "comments" not in json.loads(rows[0]["config"])
    assert store.config_columns["comments"] == "comments"


def test_stale_trials_are_hidden_by_default(store: Store) -> None:
    publish_trial(store, "old", [1.0], config_id="same", versions={"model:rnn": 1})
    publish_trial(store, "new", [1.0], config_id="same", versions={"model:rnn": 2})
    publish_trial(store, "other", [1.0], config_id="another")
    assert store.sql("SELECT trial_id FROM trials ORDER BY 1").fetchall() == [("new",), ("other",)]
    assert store.sql("SELECT trial_id FROM epochs ORDER BY 1").fetchall() == [("new",), ("other",)]
    assert len(store.sql("from all_trials")) == len(store.sql("from all_epochs")) == 3
    assert store.sql("SELECT trial_id FROM all_trials WHERE stale").fetchall() == [("old",)]


def test_a_deleted_part_makes_exactly_its_trials_incomplete(store: Store) -> None:
    ids = ["a", "b", "c"]
    for trial in ids:
        publish_trial(store, trial, [1.0, 0.9], layers=[[1.0, 1.0]] * 2, steps=True, timeline=True)
    assert all(state["done"] for state in store.completeness(ids).values())
    victim = parts(store, "layers")[1]
    owner = pq.read_table(victim)["trial_id"][0].as_py()
    victim.unlink()
    state = store.completeness([*ids, "unseen"])
    assert [t for t in ids if not state[t]["done"]] == [owner]
    assert state[owner]["missing"] == ["layers"]
    assert state[owner]["rows"]["layers"][0] == 0
    assert state["unseen"] == {"done": False, "status": None, "missing": [], "rows": {}}


@pytest.mark.parametrize("status", ["running", "failed", "interrupted"])
def test_an_unfinished_attempt_is_not_done(store: Store, status: str) -> None:
    publish_trial(store, "a", [1.0], status=status)
    assert store.completeness(["a"])["a"]["done"] is False


def test_rows_intact_counts_up_to_an_epoch(store: Store) -> None:
    publish_trial(store, "a", [1.0, 0.9, 0.8], layers=[[1.0, 1.0]] * 3)
    assert store.rows_intact("a", 2, {"epochs": 2, "layers": 2 * 13})
    assert not store.rows_intact("a", 2, {"epochs": 3})
    parts(store, "epochs")[0].unlink()
    store.refresh()
    assert not store.rows_intact("a", 2, {"epochs": 2})


@pytest.mark.parametrize("damage", ["truncate", "empty", "flip", "text"])
def test_a_damaged_file_is_named_and_the_rest_shown(store: Store, damage: str) -> None:
    publish_trial(store, "a", [1.0, 0.5])
    publish_trial(store, "b", [2.0, 1.5])
    victim = parts(store, "epochs")[0]
    content = victim.read_bytes()
    middle = content.index(b"PAR1") + 40
    changed = {
        "truncate": content[: len(content) // 2],
        "empty": b"",
        "text": b"not a parquet file",
        "flip": content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :],
    }[damage]
    victim.write_bytes(changed)
    fresh = open_store(store.uri)
    got = fresh.sql("SELECT trial_id, epoch, loss, grad_norm FROM epochs ORDER BY epoch")
    assert [row[:3] for row in got.fetchall()] == [("b", 0, 2.0), ("b", 1, 1.5)]
    assert len(fresh.warnings) == 1
    assert victim.name in fresh.warnings[0]
    state = fresh.completeness(["a", "b"])
    assert (state["a"]["done"], state["b"]["done"]) == (False, True)


def test_a_part_of_another_schema_is_named(store: Store) -> None:
    publish_trial(store, "a", [1.0])
    pq.write_table(pa.table({"trial_id": ["z"], "epoch": ["x"]}), f"{store.root}/epochs/z.parquet")
    store.refresh()
    assert len(store.sql("from epochs")) == 1
    assert "column epoch is string" in store.warnings[0]


def test_a_part_whose_columns_have_no_names_is_named(store: Store) -> None:
    publish_trial(store, "a", [1.0])
    (path,) = parts(store, "epochs")
    other = path.with_name("other.parquet")
    other.write_bytes(path.read_bytes().replace(b"test_accuracy", b"\xcc(st_accuracy"))
    store.refresh()
    assert len(store.sql("from epochs")) == 1
    assert [str(other) in warning for warning in store.warnings] == [True]


def test_a_part_of_another_table_is_named(store: Store) -> None:
    publish_trial(store, "a", [1.0], layers=[[1.0]], timeline=True)
    wave = next(Path(store.root, "probes/timeline").glob("*.parquet"))
    shutil.copy(wave, Path(store.root, "epochs"))
    store.refresh()
    assert len(store.sql("from epochs")) == 1
    assert "it has no column loss, so it is no part of epochs" in store.warnings[0]


@pytest.mark.parametrize("name", ["we ird", "Runs", "all_epochs", "Timeline", "files_trials"])
def test_a_probe_of_an_impossible_name_is_named(store: Store, name: str) -> None:
    publish_trial(store, "a", [1.0], layers=[[1.0]], timeline=True)
    shutil.copytree(Path(store.root, "probes/timeline"), Path(store.root, "probes", name))
    store.refresh()
    assert len(store.sql("from epochs")) == 1
    assert [name in warning for warning in store.warnings] == [True]


@pytest.mark.parametrize(
    "space",
    [[], {}, {"trials": 3}, {"trials": ["a"], "keys": {"lr": 1}}, {"trials": ["\ud800"]},
     {"trials": ["a"], "probes": {"p": {"columns": [{"name": "x"}]}}}],
)  # fmt: skip
def test_a_space_of_another_shape_is_named(store: Store, space: Any) -> None:
    publish_trial(store, "a", [1.0])
    path = Path(store.root, "spaces/demo/grid.json")
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(space))
    assert store.spaces() == {}
    assert f"{path} is left out" in store.warnings[0]


def test_a_record_that_cannot_be_read_is_missing(store: Store) -> None:
    publish_trial(store, "a", [1.0])
    store.publish("trials", table([attempt_row("a", attempt=1, config="{", rows='{"epochs": []}')]))
    state = store.completeness(["a"])["a"]
    assert (state["done"], state["missing"]) == (False, ["trials"])


def test_a_damaged_space_is_named(store: Store) -> None:
    store.write_space("demo/good", {"trials": ["a"]})
    Path(store.root, "spaces/demo/bad.json").write_text("{")
    store.refresh()
    assert list(store.spaces()) == ["demo/good"]
    assert "bad.json" in store.warnings[0]
    with pytest.raises(StoreError, match="cannot be a file name"):
        store.write_space("../escape", {})


def test_prefixes_of_trial_ids(store: Store) -> None:
    publish_trial(store, "abc1", [1.0])
    publish_trial(store, "abd2", [1.0])
    assert store.resolve("abc") == "abc1"
    with pytest.raises(StoreError, match="starts several"):
        store.resolve("ab")
    with pytest.raises(StoreError, match="no trial"):
        store.resolve("zz")


def test_temporary_files_are_never_read(store: Store) -> None:
    publish_trial(store, "a", [1.0])
    Path(store.root, "epochs/.tmp-1234-x.parquet").write_bytes(b"half")
    store.refresh()
    assert len(store.sql("from epochs")) == 1
    assert store.warnings == []


def test_a_store_can_be_copied_and_opened_elsewhere(store: Store, tmp_path: Path) -> None:
    publish_trial(store, "a", [math.pi], layers=[[1.0]])
    moved = tmp_path / "elsewhere"
    os.rename(store.root, moved)  # noqa: PTH104
    assert open_store(f"file://{moved}").sql("SELECT loss FROM epochs").fetchall() == [(math.pi,)]


def test_layers_of_superseded_epochs_hide_too(store: Store) -> None:
    store.publish("layers", table(layer_rows("a", 0, [1.0]) + layer_rows("a", 1, [1.0])))
    store.publish("layers", table(layer_rows("a", 1, [2.0], attempt=1)))
    store.publish("trials", table([attempt_row("a"), attempt_row("a", 1, first_epoch=1)]))
    got = store.sql("SELECT epoch, grad_norm FROM layers WHERE tensor='*' AND layer=0 ORDER BY 1")
    assert got.fetchall() == [(0, 1.0), (1, 2.0)]


def test_a_result_is_arrow_pandas_and_a_relation(store: Store) -> None:
    publish_trial(store, "a1", [2.0, 1.0, 0.5])
    result = store.sql("SELECT epoch FROM epochs ORDER BY epoch")
    assert result.arrow().column("epoch").to_pylist() == [0, 1, 2]
    assert list(result.df()["epoch"]) == [0, 1, 2]
    assert result.relation().filter("epoch > 0").fetchall() == [(1,), (2,)]
