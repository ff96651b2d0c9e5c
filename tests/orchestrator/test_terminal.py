"""What a foreign store says is shown on a terminal and never obeyed; data in a pipe are exact."""

from __future__ import annotations

import ast
import csv
import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from results import Store, create_store, open_store
from tests.fuzz.command_line import say
from tests.support.made_up_rows import publish_trial, space_of

ROOT = Path(__file__).parents[2]
EVIL = "\x1b]0;title\x07\x1b[2J\x9b31m\x08\x7f\r\u202egpj.\u2066<script>alert(1)</script>"
"""OSC, CSI, the C1 form of CSI, backspace, delete, carriage return, bidi overrides, and HTML."""

MANY = """
import json, sys
from orchestrator.cli import app as cli
for words in json.loads(sys.argv[1]):
    sys.argv = ["gradsweep", *words]
    try:
        cli.main()
    except SystemExit:
        print("== end", flush=True)
"""


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Every text that a store has says something evil."""
    found = create_store(tmp_path / "store")
    config = {"depth": 3, f"key{EVIL}": f"value{EVIL}"}
    for trial in (f"a{EVIL}", "b"):
        publish_trial(
            found, trial, [2.0, 1.0], config=config, layers=[[1.0]] * 2, timeline=True,
            status="failed" if trial == "b" else "done", reason=f"reason{EVIL}",
            error=f"Traceback{EVIL}\n\tline", device=f"dev{EVIL}", host=f"host{EVIL}",
            pack=f"pack{EVIL}", labels=json.dumps({f"label{EVIL}": EVIL}), stage=f"stage{EVIL}",
            extra={e: {"val_loss": 1.0, "test_loss": 1.0, "metrics": [(f"m{EVIL}", 1.0)]}
                   for e in range(2)},
        )  # fmt: skip
    name = f"demo/grid{EVIL.replace('/', '')}"
    space = space_of([f"a{EVIL}", "b"], swept=[f"key{EVIL}"])
    space |= {"title": f"title{EVIL}", "paper": EVIL, "study": "demo", "space": name[5:]}
    space["keys"] = {f"key{EVIL}": {"type": "str", "doc": EVIL, "unit": EVIL}}
    space["probes"] = {"timeline": {"doc": EVIL, "columns": []}}
    space["figures"] = ["overview", EVIL]
    path = Path(found.root, "spaces", f"{name}.json")
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(space))
    Path(found.root, "epochs", f"bad{EVIL.replace('/', '')}.parquet").write_bytes(b"no")
    Path(found.root, "probes", f"x{EVIL.replace('/', '')}").mkdir()
    lease = {"id": EVIL, "host": f"host{EVIL}", "pid": 1, "pid_started": 0.0, "since": 4e9,
             "heartbeat": 4e9}  # fmt: skip
    Path(found.root, "lease.json").write_text(json.dumps(lease))
    monkeypatch.setenv("GRADSWEEP_STORE", found.uri)
    monkeypatch.chdir(tmp_path)
    return open_store(found.uri)


def on_terminal(requests: list[list[str]]) -> list[str]:
    """What each request shows on a terminal without colours."""
    ours, theirs = pty.openpty()
    env = {**os.environ, "TERM": "dumb", "COLUMNS": "4000"}
    shown = b""
    with subprocess.Popen(
        [sys.executable, "-c", MANY, json.dumps(requests)],
        stdin=theirs, stdout=theirs, stderr=theirs, env=env,
    ):  # fmt: skip
        os.close(theirs)
        while True:
            try:
                shown += os.read(ours, 65536)
            except OSError:  # the last process that writes there has ended
                break
    os.close(ours)
    return shown.decode().replace("\r\n", "\n").split("== end\n")[:-1]


@pytest.mark.slow
def test_nothing_that_a_store_says_steers_a_terminal(store: Store) -> None:
    space = next(iter(store.spaces()))
    requests = [
        *(["status"], ["show", "b"], ["show", "a"], ["best", space], ["compact"]),
        *(["show", EVIL], ["--traceback", "show", EVIL], ["debug", "--trial", "b"]),
        *(["query", text] for text in (
            "SELECT * FROM runs", "summary", f"SELECT '{EVIL}' + 1", f"SELECT error('{EVIL}')",
            "SELECT trial_id::INT FROM trials", EVIL,
        )),
        ["query", "SELECT * FROM trials", "--format", "csv"],
        *(["query", "FROM epochs, trials", "--json"], ["query", "--schema"]),
        *(["query", "missing", "--space", EVIL], ["best", EVIL], ["best", space, "--by", EVIL]),
        *(["best", space, "--format", "csv"], ["best", space, "--json"]),
        *(["plot", space], ["plot", space, EVIL], ["plot", space, "--trial", EVIL]),
        *(["report", space, "-o", "report.html"], ["launch", EVIL], ["plan", EVIL, f"--{EVIL}"]),
        [EVIL],
    ]  # fmt: skip
    found = on_terminal(requests)
    assert len(found) == len(requests)
    for words, text in zip(requests, found, strict=True):
        assert text, words
        steering = {c for c in text if not c.isprintable() and c not in "\n\t"}
        assert not steering, (words, text)
    for words, text in zip(requests[:4], found, strict=False):
        assert "\\x1b]0;title" in text, words
    page = Path("report.html").read_text()
    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "\x1b" not in page


def test_data_are_exact_in_a_pipe(store: Store) -> None:
    query = "SELECT trial_id, reason FROM trials ORDER BY trial_id"
    expected = [{"trial_id": f"a{EVIL}", "reason": f"reason{EVIL}"},
                {"trial_id": "b", "reason": f"reason{EVIL}"}]  # fmt: skip
    said = say("query", query, "--format", "csv")
    assert list(csv.DictReader(io.StringIO(said.out, newline=""))) == expected
    assert json.loads(say("query", query, "--json").out) == expected
    for name in ("x.csv", "x.json"):
        assert say("query", query, "-o", name).status == 0
    with Path("x.csv").open(newline="", encoding="utf-8") as stream:
        assert list(csv.DictReader(stream)) == expected
    assert json.loads(Path("x.json").read_text()) == expected
    table = say("query", query).out
    assert all(c.isprintable() or c == "\n" for c in table), "which is for eyes, in a pipe too"


def test_text_leaves_by_one_door() -> None:
    """So that whatever it holds is made printable there."""
    found = []
    for path in [*(ROOT / "orchestrator").rglob("*.py"), *(ROOT / "results").rglob("*.py")]:
        if path.name == "terminal.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            name = ""
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func)
            if isinstance(node, ast.keyword) and node.arg == "file":
                name = ast.unparse(node.value)
            if name in ("print", "Console", "sys.stdout.write", "sys.stderr.write", "click.echo",
                        "typer.echo", "rich.print", "sys.stderr", "traceback.print_exception",
                        "traceback.print_exc"):  # fmt: skip
                said = getattr(node, "args", [])
                if not said or not all(isinstance(one, ast.Constant) for one in said):
                    found.append(f"{path.relative_to(ROOT)}: {ast.unparse(node)}")
    assert found == []
