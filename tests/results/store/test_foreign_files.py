"""Files of others in a store: each is named and passed over, none is run, none leads out."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import shutil
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save

from orchestrator.errors import RequestError
from orchestrator.queue import lease
from results import Store, StoreError, open_store
from tests.results.store.test_weights import lanes
from tests.support.made_up_rows import epoch_row, publish_trial, table

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


def test_links_in_a_store_are_named_and_not_followed(store: Store, tmp_path: Path) -> None:
    """Nor deleted, nor what they lead to; a store may itself be behind a link."""
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
    behind = tmp_path / "behind"
    behind.symlink_to(store.root)
    for uri in (store.uri, str(behind), behind.as_uri()):
        fresh = open_store(uri)
        assert len(fresh.sql("FROM epochs")) == 1
        assert fresh.list_checkpoints() == []
        said = fresh.warnings
        assert len(said) == 3
        for path in (part, Path(store.root, "epochs/dangling.parquet")):
            assert f"{path} is left out: it is a link, and links in a store are not followed; " in (
                "".join(said)
            )
    fresh.compact(grace_s=0)
    assert moved.read_bytes() == content
    assert part.is_symlink()


PLACES = (
    "store.json", "lease.json", "fences", "fences/stop.json", "claims", "claims/x.json", "trials",
    "trials/x.parquet", "epochs", "epochs/x.parquet", "layers/x.parquet", "probes",
    "probes/timeline", "probes/timeline/x.parquet", "probes/new", "spaces", "spaces/demo",
    "spaces/demo/x.json", "artifacts", "artifacts/pack.json", "artifacts/pack.safetensors",
    "checkpoints", "checkpoints/a/b.json", "anything",
)  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
def test_what_is_no_file_is_named_and_neither_opened_nor_followed(
    store: Store, tmp_path: Path, place: str
) -> None:
    """Links out, links in circles, pipes, sockets: in place of every kind of file and folder."""
    publish_trial(store, "a", [1.0, 0.5], layers=[[1.0]] * 2, timeline=True)
    store.write_space("demo/grid", {"trials": ["a"]})
    store.save_weights("artifacts", "pack", LEAVES, lanes("a", "b", attempt=0, epoch=0))
    outside = tmp_path / "outside"
    shutil.copytree(store.root, outside)
    before = {p: p.read_bytes() for p in outside.rglob("*") if p.is_file()}
    path = Path(store.root, place)
    sockets = []

    def bind() -> None:  # a socket's path may have 107 bytes
        sockets.append(socket.socket(socket.AF_UNIX))
        with contextlib.chdir(path.parent):
            sockets[-1].bind(path.name)

    def circles() -> None:
        path.mkdir()
        for name in ("one", "two", "three", "four"):
            (path / name).symlink_to(store.root)

    odd: dict[str, Callable[[], object]] = {
        "it is a named pipe": lambda: os.mkfifo(path), "it is a socket": bind,
        "it is a link": lambda: path.symlink_to(outside / place),
        "it is a link, and": lambda: path.symlink_to(path.name), "four is left out": circles,
    }  # fmt: skip
    for what, make in odd.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        make()
        if place == "store.json":
            with pytest.raises(StoreError, match=r"its store\.json is damaged"):
                open_store(store.uri)
            continue
        fresh = open_store(store.uri)
        fresh.sql("SELECT * FROM runs")
        fresh.spaces()
        fresh.list_artifacts()
        fresh.list_checkpoints()
        fresh.attempts()
        with contextlib.suppress(StoreError):
            fresh.weights("a")
        with contextlib.suppress(StoreError, RequestError):
            lease.holder(fresh)
            with lease.Lease(fresh):
                pass
        with contextlib.suppress(StoreError):
            fresh.publish("epochs", table([epoch_row("b", 0, 1.0)]))
        fresh.compact(grace_s=0)
        named = [line for line in fresh.warnings if f"{path}" in line and what in line]
        inside = (what == "four is left out" and "." in place) or place == "anything"
        gone = (
            place in ("fences/stop.json", "claims/x.json", "lease.json") and not path.is_symlink()
        )
        assert len(named) == 1 or inside or gone, (what, fresh.warnings)
        assert {p: p.read_bytes() for p in outside.rglob("*") if p.is_file()} == before
    for one in sockets:
        one.close()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "it is empty"),
        (b"{", "it is no JSON from line 1, column 2 on"),
        (b"\xc3(", "it is no text"),
        (b"[" * 100_000, "it is nested too deep"),
        (b'{"format": ' + b"9" * 5000 + b"}", "it holds a number of too many digits"),
        *((text.encode(), "it has no number of a format") for text in (
            "null", "[]", "3", '"x"', "{}", '{"format": null}', '{"format": "x"}', '{"format": []}',
            '{"format": NaN}', '{"format": 1e300}', '{"format": -1}', '{"format": true}',
        )),
    ],
)  # fmt: skip
def test_a_damaged_manifest_is_said_in_plain_words(store: Store, content: bytes, why: str) -> None:
    Path(store.root, "store.json").write_bytes(content)
    with pytest.raises(StoreError) as caught:
        open_store(store.uri)
    assert str(caught.value) == (
        f'{store.uri} cannot be opened: its store.json is damaged ({why}); write {{"format": 1}} '
        "into it if the rest is a store."
    )
    Path(store.root, "spaces/demo").mkdir(parents=True)
    Path(store.root, "spaces/demo/x.json").write_bytes(content)
    Path(store.root, "store.json").write_text('{"format": 1}')
    (line,) = open_store(store.uri).warnings
    assert why in line or "format" in why


def test_a_file_that_is_longer_than_any_of_its_kind_is_not_read(store: Store) -> None:
    for name in ("store.json", "spaces/x.json"):
        path = Path(store.root, name)
        path.parent.mkdir(exist_ok=True)
        before = path.read_bytes() if path.exists() else b""
        with path.open("wb") as file:
            file.truncate(2**40)
        if name == "store.json":
            with pytest.raises(StoreError, match="it is longer than 256 MB"):
                open_store(store.uri)
            path.write_bytes(before)
    (line,) = open_store(store.uri).warnings
    assert "it is longer than 256 MB" in line
