"""Wrong things to do to a store: files cut, swapped, moved and made up."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st

odd_names = st.sampled_from(
    [".", "..", "a b", "é", "x" * 250, "-rf", "con", "%2e%2e", "a\nb", "a'b", 'a"b', "$HOME", "~",
     "trials", "Epochs", "TIMELINE", "runs", "own", "own2", "merged-x",
     "merged-20260101T000000000000-x",
     ".tmp-x", "\udcff", "select", "a.b", "a-b", "\x1b[31m"]
)  # fmt: skip
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.sampled_from([1e400, float("nan"), -1e300, 0.5, 10**30, 2**31, "", "x", "../../x", "[/b]",
                       "2026-01-01", "\ud800", "a\0b", "'", '"', "../outside/secret.csv",
                       "/etc/passwd"])
)  # fmt: skip
FIELDS = ["format", "trials", "space", "study", "keys", "probes", "columns", "name", "type", "doc",
          "unit", "select", "swept", "figures", "parents", "targets", "lanes", "trial_id", "epoch",
          "attempt", "rows", "saved", "path", "id", "host", "pid", "pid_started", "since",
          "heartbeat", "generation", "metric", "mode", "choose", "over", "report", "at", "lr",
          "seed",
          "epochs", "chance_loss", "title", "feeds", "own", "own2", "memo"]  # fmt: skip
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=8,
)


@dataclass
class Damage:
    """One wrong thing done to a store: a name for messages, and how."""

    what: str
    do: Callable[[Path], None]

    def __repr__(self) -> str:
        return self.what


def _files(store: Path) -> list[Path]:
    return sorted(path for path in store.rglob("*") if path.is_file())


def _pick(store: Path, where: int, ending: str = "") -> Path | None:
    found = [path for path in _files(store) if path.name.endswith(ending)]
    return found[where % len(found)] if found else None


def _write(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Not through a link that another damage left, nor into a pipe, which nobody reads.
        if path.parent.resolve() == path.parent and (path.is_file() or not path.exists()):
            path.write_bytes(content)
    except OSError:
        pass  # a name no file can have, or a folder of that name


@st.composite
def bytes_changed(draw: st.DrawFn) -> Damage:
    """A file cut short, emptied, flipped, made longer, or replaced by something else."""
    where, kind = (
        draw(st.integers(0, 200)),
        draw(st.sampled_from(["cut", "flip", "grow", "foreign"])),
    )
    share = draw(st.floats(0, 1, exclude_max=True))
    flips = draw(
        st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), max_size=9)
    )
    foreign = draw(st.sampled_from([b"", b"notes\n", b"\x89PNG\r\n\x1a\n", b"PAR1", b"PAR1PAR1",
                                    b"{}",
                                    b"\xff\xfe", b"[" * 5000, b"PAR1" + bytes(50) + b"PAR1"])
                   | st.binary(max_size=40))  # fmt: skip

    def do(store: Path) -> None:
        path = _pick(store, where)
        if path is None:
            return
        content = bytearray(path.read_bytes())
        if kind == "cut":
            content = content[: int(share * len(content))]
        elif kind == "grow":
            content += foreign
        elif kind == "foreign":
            content = bytearray(foreign)
        else:
            for at, mask in flips if content else ():
                content[int(at * len(content))] ^= mask
        path.write_bytes(content)

    return Damage(f"{kind}({where}, {share}, {flips}, {foreign!r})", do)


@st.composite
def json_changed(draw: st.DrawFn) -> Damage:
    """A JSON file replaced by other JSON, or with one of its fields changed."""
    where, value = draw(st.integers(0, 50)), draw(values)
    field, deep = draw(st.integers(0, 50)), draw(st.booleans())

    def do(store: Path) -> None:
        path = _pick(store, where, ".json")
        if path is None:
            return
        try:
            whole = json.loads(path.read_bytes())
        except ValueError:
            whole = None
        place = whole
        while deep and isinstance(place, dict):
            inner = [v for v in place.values() if isinstance(v, (dict, list)) and v]
            if not inner:
                break
            place = inner[field % len(inner)]
        if isinstance(place, dict) and place:
            place[list(place)[field % len(place)]] = value
        elif isinstance(place, list) and place:
            place[field % len(place)] = value
        else:
            whole = value
        path.write_text(json.dumps(whole))

    return Damage(f"json({where}, {value!r}, field {field}, deep {deep})", do)


@st.composite
def json_replaced(draw: st.DrawFn) -> Damage:
    """A whole JSON file written anew, some of them where there was none."""
    places = st.sampled_from(
        ["store.json", "lease.json", "fences/stop.json", "fences/p0.json", "spaces/tiny/grid.json",
         "spaces/tiny/new.json", "spaces/new.json", "spaces/a b/c.json", "artifacts/new.json",
         "artifacts/a b.json", "checkpoints/new.json", "checkpoints/p0-0-000001.json",
         "artifacts/p1-0-000000-0.json", "checkpoints/x/y.json"]
    )  # fmt: skip
    place, value = draw(places), draw(values)
    return Damage(
        f"json at {place}: {value!r}",
        lambda store: _write(store / place, json.dumps(value).encode()),
    )


@st.composite
def moved(draw: st.DrawFn) -> Damage:
    """A file copied over another, or into a folder or under a name where it does not belong."""
    source, target, name = draw(st.integers(0, 200)), draw(st.integers(0, 200)), draw(odd_names)
    how = draw(st.sampled_from(["over", "renamed", "deleted", "probe", "aside"]))

    def do(store: Path) -> None:
        one, other = _pick(store, source), _pick(store, target)
        if one is None or other is None:
            return
        content = one.read_bytes()
        if how == "over":
            other.write_bytes(content)
        elif how == "deleted":
            one.unlink()
        elif how == "probe":
            _write(store / "probes" / name / one.name, content)
        else:
            if how == "renamed":
                one.unlink()
            _write((one if how == "renamed" else other).parent / f"{name}{one.suffix}", content)

    return Damage(f"{how}({source}, {target}, {name!r})", do)


@st.composite
def odd_places(draw: st.DrawFn) -> Damage:
    """Folders and files of odd names, folders where files belong, links that lead nowhere, out of
    the store or round in it, pipes."""
    name = draw(odd_names | st.sampled_from(["store", "lease", "stop", "x", "timeline"]))
    kind = draw(st.sampled_from(["folder", "file", "link", "loop", "instead", "out", "round",
                                 "pipe"]))  # fmt: skip
    parent = draw(st.sampled_from(["", "trials", "epochs", "probes", "spaces", "artifacts",
                                   "checkpoints", "fences"]))  # fmt: skip
    ending = draw(st.sampled_from(["", ".parquet", ".json", ".safetensors"]))

    def do(store: Path) -> None:
        path = store / parent / f"{name}{ending}"
        try:
            if kind == "folder":
                path.mkdir(parents=True, exist_ok=True)
            elif kind == "file":
                _write(path, b"x")
            elif kind == "instead" and parent and (store / parent).is_dir():
                shutil.rmtree(store / parent)
                (store / parent).write_bytes(b"a file")
            elif kind == "pipe":
                path.unlink(missing_ok=True)
                os.mkfifo(path)
            elif kind in ("link", "loop", "out", "round"):
                path.parent.mkdir(parents=True, exist_ok=True)
                to = {"link": "nowhere", "loop": path.name, "out": store.parent / "outside"}
                path.symlink_to(to.get(kind, store))
        except OSError:
            pass

    return Damage(f"{kind} {parent}/{name!r}{ending}", do)


texts = st.none() | st.sampled_from(
    ["", "{", "[]", "3", "null", "{}", '{"lr": []}', '{"lr": {"a": 1}}', '{"epochs": "x"}',
     '{"epochs": 1e400}', '{"../x": 1}', '{"": 1}', '{"lr": 1, "LR": "x"}', '{"a\\u0000b": 1}',
     '{"lr": 123456789012345678901234567890}', '{"trial_id": "x", "stale": 1}', "[/b]", "\x1b[31m"]
)  # fmt: skip


@st.composite
def rows_changed(draw: st.DrawFn) -> Damage:
    """A readable part in which a column holds something else, is gone, or has another type."""
    where, column = draw(st.integers(0, 200)), draw(st.integers(0, 60))
    how = draw(st.sampled_from(["text", "text", "text", "null", "drop", "cast", "rename", "twice",
                                "huge", "footer"]))  # fmt: skip
    text = draw(texts)
    footer = draw(st.sampled_from([b"3", b'"x"', b"[[1]]", b'{"a": 1}', b"[null]", b"\xff", b"[",
                                   b'["../store.json"]']))  # fmt: skip

    def do(store: Path) -> None:
        path = _pick(store, where, ".parquet")
        if path is None:
            return
        try:
            data = pq.read_table(path)
        except (OSError, pa.ArrowException, ValueError):
            return
        if not data.num_columns:
            return
        strings = [i for i, f in enumerate(data.schema) if f.type == pa.string()]
        at = column % data.num_columns
        if how == "text" and strings:
            at = strings[column % len(strings)]
        old = data.schema.field(at)
        if how == "footer":
            data = data.replace_schema_metadata({b"replaces": footer})
        elif how == "drop":
            data = data.drop_columns([old.name])
        elif how == "rename":
            data = data.rename_columns(
                [text or "x" if i == at else n for i, n in enumerate(data.column_names)]
            )
        elif how == "twice":
            data = data.append_column(old.name, data.column(at))
        else:
            value: Any = {"null": None, "cast": "7", "text": text, "huge": None}[how]
            kind = pa.string() if how == "cast" else old.type
            if how == "text" and kind != pa.string():
                value = None
            if how == "huge" and pa.types.is_integer(kind):
                value = 2**31 - 1
            elif how == "huge" and pa.types.is_timestamp(kind):
                value = 2**62
            data = data.set_column(at, old.name, pa.array([value] * data.num_rows, kind))
        pq.write_table(data, path)

    return Damage(f"rows {how}({where}, {column}, {text!r}, {footer!r})", do)


damages = st.lists(
    bytes_changed() | json_changed() | json_replaced() | moved() | odd_places() | rows_changed(),
    min_size=1,
    max_size=3,
)
