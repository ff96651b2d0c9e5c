"""Weights and resume points, written by pack and read by lane."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from results import Store, StoreError
from tests.support.made_up_rows import attempt_row, publish_trial, table


def lanes(*trials: str, **own: int) -> dict:
    return {"lanes": [{"trial_id": trial, **own} for trial in trials]}


def test_lanes_come_back_bit_for_bit(store: Store, seed: int) -> None:
    rng = np.random.default_rng(seed)
    leaves = {
        "params/rnn.0.w_ih": rng.normal(size=(3, 5, 2)).astype(np.float32),
        "opt/count": np.array([7, 8, 9], np.int32),
        "rng": rng.integers(0, 2**32, (3, 2), np.uint32),
        "frozen": np.array([True, False, True]),
        "half": rng.normal(size=(3, 4)).astype(np.float16),
        "wide": rng.normal(size=(3, 1)),
        "empty": np.zeros((3, 0, 2), np.float32),
        "fortran": np.asfortranarray(rng.normal(size=(3, 4, 5))),
    }
    path = store.save_weights("checkpoints", "pack/0001", leaves, lanes("a", "b", "c"))
    for lane in range(3):
        got = store.load_lane(path, lane)
        assert got.keys() == leaves.keys()
        for name, value in got.items():
            assert value.dtype == leaves[name].dtype
            assert value.tobytes() == np.ascontiguousarray(leaves[name][lane]).tobytes()
            assert value.shape == leaves[name].shape[1:]


def test_checkpoints_are_listed_and_dropped(store: Store) -> None:
    first = store.save_weights("checkpoints", "p-1", {"w": np.zeros((1, 2))}, lanes("a"))
    second = store.save_weights("checkpoints", "p-2", {"w": np.ones((1, 2))}, lanes("a", rows=4))
    listed = store.list_checkpoints()
    assert [entry["path"] for entry in listed] == [first, second]
    assert listed[1]["lanes"][0]["rows"] == 4
    store.drop(first)
    store.drop(first)
    assert [entry["path"] for entry in store.list_checkpoints()] == [second]
    with pytest.raises(StoreError, match="no weights at"):
        store.load_lane(first, 0)


def test_a_save_without_its_index_does_not_exist(store: Store) -> None:
    store.save_weights("checkpoints", "p-1", {"w": np.zeros((1, 2))}, lanes("a"))
    Path(store.root, "checkpoints/p-1.json").write_text("{half")
    assert Store(store.uri, store.fs, store.root).list_checkpoints() == []


def test_weights_of_a_trial(store: Store) -> None:
    for trial in ("aa1", "bb2"):
        publish_trial(store, trial, [1.0])
    for attempt, epoch, value in ((0, 4, 1.0), (0, 9, 2.0), (1, 6, 3.0)):
        leaves = {"fc.w": np.array([[value], [-value]])}
        store.save_weights("artifacts", f"{attempt}-{epoch}", leaves,
                           lanes("aa1", "bb2", attempt=attempt, epoch=epoch))  # fmt: skip
    assert store.weights("aa")["fc.w"] == 3.0, "the newest attempt counts first"
    assert store.weights("bb2", epoch=9)["fc.w"] == -2.0
    assert store.weights("aa1", 4)["fc.w"] == 1.0
    with pytest.raises(StoreError, match="kept no weights at epoch 5"):
        store.weights("aa1", 5)


@pytest.mark.parametrize("model", ["torch_gru", "torch_lstm", "gru"])
def test_weights_of_a_former_layout_are_read_as_they_would_be_kept_today(
    store: Store, model: str
) -> None:
    """Before, gates of `torch_gru` were kept z, r, n; all others as today."""
    publish_trial(store, "aa1", [1.0], config={"model": model})
    rows = np.repeat([10.0, 20.0, 30.0], 2)
    leaves = {
        "rnn.0.w_ih": rows[None, :, None] + np.arange(3),
        "rnn.1.b_hh": rows[None],
        "readout.w": rows[None, :, None],
    }
    for attempt in (0, 1):
        own = lanes("aa1", attempt=attempt, epoch=3 + attempt)
        store.save_weights("artifacts", f"p-{attempt}", leaves, own)
    index = Path(store.root, "artifacts/p-0.json")
    entry = json.loads(index.read_text())
    assert entry.pop("layout") == 2
    index.write_text(json.dumps(entry))
    reopened = Store(store.uri, store.fs, store.root)
    order = [20.0, 10.0, 30.0] if model == "torch_gru" else [10.0, 20.0, 30.0]
    former, today = reopened.weights("aa1", epoch=3), reopened.weights("aa1")
    assert former["rnn.1.b_hh"].tolist() == np.repeat(order, 2).tolist()
    assert former["rnn.0.w_ih"][:, 1].tolist() == (np.repeat(order, 2) + 1).tolist()
    np.testing.assert_array_equal(former["readout.w"], leaves["readout.w"][0])
    for name, value in leaves.items():
        np.testing.assert_array_equal(today[name], value[0])


def test_wrong_saves_are_refused(store: Store) -> None:
    with pytest.raises(StoreError, match="2 lanes"):
        store.save_weights("artifacts", "x", {"w": np.zeros((3, 1))}, lanes("a", "b"))
    with pytest.raises(StoreError, match="0 lanes"):
        store.save_weights("artifacts", "x", {"w": np.zeros((3, 1))}, {})
    path = store.save_weights("artifacts", "x", {"w": np.zeros((1, 1))}, lanes("a"))
    with pytest.raises(StoreError, match="lane 1 of 1"):
        store.load_lane(path, 1)
    Path(store.root, f"{path}.safetensors").write_bytes(b"\x08")
    with pytest.raises(StoreError, match="cannot be read"):
        store.load_lane(path, 0)


def test_a_state_that_a_later_attempt_has_overtaken_leads_nowhere(store: Store) -> None:
    """Only those count that go on from the epochs that show."""
    for attempt, first in ((0, 0), (1, 3), (2, 1)):
        store.publish("trials", table([attempt_row("a", attempt, first_epoch=first)]))
    for attempt, epoch in ((0, 1), (0, 2), (1, 1), (1, 4), (2, 6), (3, 5)):
        name = f"p-{attempt}-{epoch}"
        index = lanes("a", "b", attempt=attempt, epoch=epoch)
        store.save_weights("checkpoints", name, {"w": np.zeros((2, 4))}, index)
    kept = store.kept_states(["a"])
    assert kept.keys() == {"a"}
    assert sorted(kept["a"]) == [1, 5, 6], "and those of attempts that are not known"
    assert len(set(kept["a"].values())) == 1
    assert 32 <= kept["a"][1] <= 100
    assert store.kept_states([]) == {}
