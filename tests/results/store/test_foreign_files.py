"""Files of others in a store: each is named and passed over, none is run, none leads out."""

from __future__ import annotations

import json
import os
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save

from results import Store, StoreError, open_store
from tests.results.store.test_weights import lanes
from tests.support.made_up_rows import publish_trial

LEAVES = {"w": np.arange(6, dtype=np.float32).reshape(2, 3)}


class Bomb:
    """Unpickling it makes a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def tensors(changes: dict[str, Any] | None = None, length: int | None = None) -> bytes:
    """A safetensors file; `changes` to the tensor's entry, `length` in place of the header's."""
    whole = save(LEAVES)
    (size,) = struct.unpack("<Q", whole[:8])
    header = json.loads(whole[8 : 8 + size])
    header["w"] |= changes or {}
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + whole[8 + size :]


def bad_tensors(tmp_path: Path) -> dict[str, bytes]:
    archive = tmp_path / "arrays.npz"
    np.savez(archive, w=np.array([{}], object))
    return {
        "empty": b"",
        "short": b"\x08",
        "a pickle": pickle.dumps(Bomb(tmp_path / "exploded")),
        "an archive": archive.read_bytes(),
        "cut off": tensors()[:-4],
        "a huge header": tensors(length=2**62),
        "a negative header": b"\xff" * 8 + tensors()[8:],
        "no object": struct.pack("<Q", 2) + b"[]" + b"\0" * 24,
        "no entry": struct.pack("<Q", 7) + b'{"w":1}' + b"\0" * 24,
        "bytes outside": tensors({"data_offsets": [1 << 40, (1 << 40) + 24]}),
        "bytes before": tensors({"data_offsets": [-64, -40]}),
        "another size": tensors({"shape": [2, 1 << 40]}),
        "a negative shape": tensors({"shape": [-2, -3]}),
        "another type": tensors({"dtype": "PICKLE"}),
        "text for numbers": tensors({"shape": ["x"]}),
        "no shape": tensors({"shape": None}),
        "no lanes": tensors({"shape": [], "data_offsets": [0, 4]}),
    }


def test_tensors_of_others_are_refused_and_never_run(store: Store, tmp_path: Path) -> None:
    index = lanes("a", "b", attempt=0, epoch=0)
    path = store.save_weights("artifacts", "pack-0", LEAVES, index)
    assert store.load_lane(path, 1)["w"].tolist() == [3, 4, 5]
    place = Path(store.root, "artifacts/pack-0.safetensors")
    for what, content in bad_tensors(tmp_path).items():
        place.write_bytes(content)
        fresh = open_store(store.uri)
        with pytest.raises(StoreError, match="cannot be read") as caught:
            fresh.load_lane(path, 1)
        assert str(place) in str(caught.value), what
        assert "launch again" in str(caught.value), what
        assert len(fresh.list_artifacts()) == 1
        assert not fresh.weights_intact(path), what
        assert "damaged weights" in fresh.warnings[0], what
    place.write_bytes(tensors())
    assert open_store(store.uri).load_lane(path, 1)["w"].tolist() == [3, 4, 5]
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("kind", ["artifacts", "checkpoints"])
def test_indexes_of_others_are_named_and_passed_over(store: Store, kind: Any) -> None:
    good = store.save_weights(kind, "good", LEAVES, lanes("a", "b", attempt=0, epoch=0))
    folder = Path(store.root, kind)
    contents: dict[str, Any] = {
        "text": "{half", "list": [], "number": 7, "none": None, "other": {"lanes": 3},
        "no-lanes": {"lanes": []}, "odd-lanes": {"lanes": [1, 2]},
        "no-id": {"lanes": [{"attempt": 0, "epoch": 0}]},
        "odd-id": {"lanes": [{"trial_id": 7, "attempt": 0, "epoch": 0}]},
    }  # fmt: skip
    if kind == "artifacts":
        contents["odd-epoch"] = {"lanes": [{"trial_id": "a", "attempt": 0, "epoch": "last"}]}
    for name, value in contents.items():
        (folder / f"{name}.safetensors").write_bytes(tensors())
        text = value if isinstance(value, str) else json.dumps(value)
        (folder / f"{name}.json").write_text(text)
    (folder / "deep").mkdir()
    (folder / "deep/bytes.json").write_bytes(b"\xff\xfe\x00")
    (folder / "weights.pkl").write_bytes(pickle.dumps(LEAVES))
    (folder / "model.pt").write_bytes(b"")
    (folder / "alone.json").write_text(json.dumps(lanes("a", attempt=0, epoch=0)))
    fresh = open_store(store.uri)
    listed = fresh.list_artifacts() if kind == "artifacts" else fresh.list_checkpoints()
    assert [entry["path"] for entry in listed] == [good]
    named = [*(f"{name}.json" for name in contents), "bytes.json", "weights.pkl", "model.pt"]
    assert len(fresh.warnings) == len(named) + 1
    for name in (*named, "alone.json"):
        assert sum(f"/{name} is left out" in line for line in fresh.warnings) == 1, name


def test_an_index_cannot_name_a_path(store: Store, tmp_path: Path) -> None:
    """What an index says of paths is not read, and a path that leads out is refused."""
    outside = tmp_path / "outside.safetensors"
    outside.write_bytes(tensors())
    index = lanes("a", "b", attempt=0, epoch=0)
    for number, place in enumerate(("../../outside", str(tmp_path / "outside"), "/etc/passwd")):
        name = f"pack-{number}"
        store.save_weights("checkpoints", name, LEAVES, {**index, "path": place, "tensors": place})
        Path(store.root, f"checkpoints/{name}.safetensors").unlink()
    assert store.list_checkpoints() == []
    for place in (
        "checkpoints/../../outside",
        "checkpoints//etc/passwd",
        "../outside",
        f"checkpoints/{tmp_path}/outside",
        "trials/outside",
        "checkpoints/",
        "",
    ):
        for attempt in (lambda p: store.load_lane(p, 0), store.drop):
            with pytest.raises(StoreError):
                attempt(place)
    for kind in ("checkpoints", "artifacts"):
        with pytest.raises(StoreError, match="cannot be a file name"):
            store.save_weights(kind, "../../outside", LEAVES, index)
    with pytest.raises(StoreError, match="cannot be a file name"):
        store.publish("probes/../../outside", pa.table({"trial_id": ["a"], "attempt": [0]}))
    assert outside.read_bytes() == tensors()


def test_foreign_files_in_every_folder(store: Store, tmp_path: Path) -> None:
    publish_trial(store, "a", [1.0, 0.5], layers=[[1.0]] * 2, timeline=True)
    store.write_space("demo/grid", {"trials": ["a"], "study": "demo", "space": "grid"})
    root = Path(store.root)
    foreign = {
        "zero.parquet": b"", "merged-x.parquet": b"", "notes.txt": b"hello", "core": b"\0",
        "part.pkl": pickle.dumps(Bomb(tmp_path / "exploded")),
    }  # fmt: skip
    for folder in ("trials", "epochs", "layers", "probes/timeline", "spaces/demo"):
        (root / folder).mkdir(parents=True, exist_ok=True)
        for name, content in foreign.items():
            (root / folder / name).write_bytes(content)
    odd = pa.table({"loss": [1.0]})
    for folder in ("trials", "epochs", "probes/mine", "probes/runs", "probes/a b",
                   "probes/-x", "probes/Epochs", "probes/all_x"):  # fmt: skip
        (root / folder).mkdir(parents=True, exist_ok=True)
        pq.write_table(odd, root / folder / "odd.parquet")
    claims = odd.replace_schema_metadata({b"replaces": b'{"not": "a list"}'})
    pq.write_table(claims, root / "epochs/merged-claims.parquet")
    (root / "spaces/demo/other.json").write_text("[]")
    (root / "spaces/loose.json").write_text('"text"')
    (root / "fences").mkdir()
    (root / "fences/x.json").write_text("{")
    (root / "lease.json").write_bytes(b"\xff")
    (root / "thesis.docx").write_bytes(b"PK")
    before = sorted(root.rglob("*"))
    fresh = open_store(store.uri)
    assert fresh.sql("SELECT trial_id, epoch, loss FROM epochs ORDER BY ALL").fetchall() == [
        ("a", 0, 1.0),
        ("a", 1, 0.5),
    ]
    assert len(fresh.sql("FROM timeline")) > 0
    assert fresh.completeness(["a"])["a"]["done"]
    assert list(fresh.spaces()) == ["demo/grid"]
    said = "\n".join(fresh.warnings)
    for folder in ("trials", "epochs", "layers", "probes/timeline"):
        for name in foreign:
            assert f"{folder}/{name} is left out" in said
    for name in (
        *("trials/odd.parquet", "probes/mine/odd.parquet", "epochs/merged-claims.parquet"),
        *("probes/a b", "probes/-x", "probes/runs", "probes/Epochs", "probes/all_x"),
        *("spaces/demo/other.json", "loose.json"),
    ):
        assert f"{name} is left out" in said
    for grace in (0, 60):
        fresh.compact(grace_s=grace)
    assert fresh.completeness(["a"])["a"]["done"]
    assert set(before) - set(root.rglob("*")) <= {p for p in before if p.name[:8].isdigit()}
    assert not (tmp_path / "exploded").exists()


def test_links_out_of_a_store_are_only_read(store: Store, tmp_path: Path) -> None:
    """A part may lie elsewhere, behind a link; compacting deletes the link and not the part."""
    publish_trial(store, "a", [1.0])
    publish_trial(store, "b", [2.0])
    part = next(Path(store.root, "epochs").glob("*.parquet"))
    moved = tmp_path / "elsewhere.parquet"
    part.rename(moved)
    part.symlink_to(moved)
    Path(store.root, "epochs/dangling.parquet").symlink_to(tmp_path / "nothing")
    Path(store.root, "checkpoints").mkdir()
    Path(store.root, "checkpoints/loop").symlink_to(Path(store.root))
    content = moved.read_bytes()
    fresh = open_store(store.uri)
    assert len(fresh.sql("FROM epochs")) == 2
    assert fresh.list_checkpoints() == []
    fresh.compact(grace_s=0)
    assert len(fresh.sql("FROM epochs")) == 2
    assert moved.read_bytes() == content
