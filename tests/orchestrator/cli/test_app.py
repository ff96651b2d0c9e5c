"""The command line as a user meets it. Good requests run as processes of their own; the many bad
ones share one process, since each would spend its second on starting Python."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from orchestrator.machine.environment import has_gpu
from results import create_store, open_store
from results.schema import FORMAT
from search_spaces import builtin_studies
from tests.support.made_up_rows import publish_rows, space_of, trial_rows

STUDY = str(Path(__file__).parents[2] / "support" / "tiny_study.py")
GRID = ["tiny/grid", "--study", STUDY]

MANY = """
import contextlib, io, json, sys
from orchestrator.cli import app as cli
found = []
for words in json.load(sys.stdin):
    sys.argv = ["gradsweep", *words]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            cli.main()
        except SystemExit as end:
            status = end.code
    found.append([status, out.getvalue(), err.getvalue()])
print(json.dumps([found, sorted({"ray", "jax"} & set(sys.modules))]))
"""


class Said(NamedTuple):
    status: int
    out: str
    err: str


def many(requests: Sequence[Sequence[str]], cwd: Path, **env: str) -> tuple[list[Said], list[str]]:
    """What each request says; and which of Ray and JAX all of them imported."""
    done = subprocess.run(
        [sys.executable, "-c", MANY],
        input=json.dumps(list(requests)),
        cwd=cwd,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=True,
    )
    found, imported = json.loads(done.stdout)
    return [Said(*one) for one in found], imported


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with two trials, by `debug --record` as a user would."""
    path = tmp_path_factory.mktemp("cli") / "store"
    words = ["debug", *GRID, "--store", str(path), "--record"]
    found, _ = many([words, [*words, "--set", "seed=1"]], path.parent)
    assert [said.status for said in found] == [0, 0], found
    return path


# ---- help --------------------------------------------------------------------------------------


def test_help_imports_nothing_that_takes_long() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "orchestrator", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    imported = set(re.findall(r"\| +([\w.]+)$", done.stderr, re.M))
    assert "orchestrator.cli.app" in imported
    # Each of these takes a tenth of a second or more; with none of them help answers at once.
    for heavy in (
        *("ray", "jax", "flax", "optax", "numpy", "scipy", "pandas", "pyarrow", "duckdb"),
        *("plotly", "sklearn", "h5py", "requests"),
    ):
        assert heavy not in imported
    listed = re.findall(r"^  (\w+)  ", done.stdout, re.M)
    assert listed[:4] == ["spaces", "plan", "launch", "debug"]
    rest = {"simulate", "status", "show", "query", "best", "plot", "report", "compact", "merge",
            "data"}  # fmt: skip
    assert set(listed[4:]) >= rest


def test_every_command_explains_itself_and_wrong_usage_is_told(tmp_path: Path) -> None:
    commands = ["spaces", "plan", "launch", "promote", "debug", "simulate", "status", "show",
                "query", "best", "plot", "report", "board", "compact", "merge", "data",
                "data fetch",
                "data add", "import-sweep", "measure", "import-weights",
                "export-weights"]  # fmt: skip
    wrong = {
        "plon": "No such command 'plon'",
        "plan": "Missing argument 'SPACE'",
        "plan vanishing/depth --sett lr=1": "No such option: --sett",
        "plan vanishing/depth --limit 0": "Invalid value for '--limit'",
        "plan vanishing/depth --width many": "Invalid value for '--width'",
        "plan vanishing/depth --nodes 2": "No such option: --nodes",
        "simulate": "Missing argument 'SPACE'",
    }
    requests = [*(f"{command} --help" for command in commands), *wrong]
    found, imported = many([request.split() for request in requests], tmp_path)
    assert imported == []
    for command, said in zip(commands, found[: len(commands)], strict=True):
        assert said.status == 0
        assert f"gradsweep {command}" in said.out
    for (words, sentence), said in zip(wrong.items(), found[len(commands) :], strict=True):
        assert said.status == 2, (words, said)
        assert sentence in said.err.splitlines()[-1], (words, said.err)
        assert "Traceback" not in said.err


# ---- machine-readable output -------------------------------------------------------------------


def test_spaces_and_plans_as_json_and_as_text(tmp_path: Path) -> None:
    requests = [
        ["spaces", "--json"],
        ["spaces"],
        ["plan", "vanishing/quickstart", "--json"],
        ["plan", "vanishing", "--json", "--smoke"],
        [
            "plan",
            "vanishing/depth",
            "--set",
            "depth=5,10",
            "--set",
            "seed=range(2)",
            "--limit",
            "9",
        ],
        ["spaces", "--json", "--study", STUDY],
        ["plan", "vanishing/readme", "--set", "task=gaussian", "--set", "layout=rows"],
    ]
    found, imported = many(requests, tmp_path, GRADSWEEP_DATA=str(tmp_path))
    assert imported == []
    assert [said.status for said in found] == [0] * 6 + [2]
    spaces = json.loads(found[0].out)
    assert {s["study"] for s in spaces} == set(builtin_studies())
    for space in spaces:
        assert space.keys() >= {"space", "study", "reproduces", "stages", "trials", "done"}
    warmup = next(s for s in spaces if s["space"] == "vanishing/warmup")
    assert (warmup["stages"], warmup["trials"], warmup["done"]) == (["warmup", "train"], 42, 0)
    assert "vanishing/quickstart" in found[1].out
    one = json.loads(found[2].out)
    assert one.keys() >= {"space", "trials", "done", "to_run", "packs", "programs", "widths"}
    assert (one["trials"], one["to_run"], one["programs"]) == (8, 8, 2)
    own = [s["space"] for s in spaces if s["study"] == "vanishing"]
    assert [p["space"] for p in json.loads(found[3].out)] == own
    assert found[4].out.startswith("vanishing/depth: 9 trials, 0 done, 9 to run")
    assert {s["study"] for s in json.loads(found[5].out)} == {*builtin_studies(), "tiny"}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_debug_prints_bars_and_gives_the_same_rows_as_json(store: Path, tmp_path: Path) -> None:
    words = ["debug", *GRID]
    (text, data), imported = many([[*words, "--check-nans"], [*words, "--json"]], tmp_path)
    assert imported == ["jax"]
    assert (text.status, data.status) == (0, 0)
    assert "(the first of 4 trials; --set narrows them, --trial picks one)" in text.out
    assert "every step was finite" in text.out
    assert re.search(r"^epoch 1: loss [\d.]+, val_loss [\d.]+, .*grad_norm [\d.]+", text.out, re.M)
    assert re.search(r"^  rnn\.0 +\d\.\d\de[+-]\d\d █+$", text.out, re.M)
    assert list(tmp_path.iterdir()) == []
    one = json.loads(data.out)
    rows = open_store(str(store)).sql(
        "SELECT * EXCLUDE (attempt, launch_id, seconds, trial_id, metrics) FROM epochs "
        "WHERE trial_id = $id ORDER BY epoch",
        {"id": one["trial_id"]},
    )
    assert [
        {n: v for n, v in row.items() if n != "metrics"} for row in one["epochs"]
    ] == rows.rows()
    assert len(rows) == 2
    assert one["config"]["lr"] == 0.1


def test_a_store_answers_without_ray_or_jax(store: Path, tmp_path: Path) -> None:
    at = ["--store", str(store)]
    sql = "SELECT trial_id, epoch, loss FROM epochs ORDER BY trial_id, epoch"
    requests = [
        ["query", sql, "--format", "csv", *at],
        ["query", sql, "--json", *at],
        ["query", sql, "-o", "rows.parquet", *at],
        ["query", "final", *at],
        ["query", "--list"],
        ["query", "--schema", *at],
        ["status", "--json", *at],
        ["show", open_store(str(store)).sql("SELECT trial_id FROM trials").fetchall()[0][0][:4],
         "--json", *at],
        ["compact", "--json", *at],
        ["plan", *GRID, *at],
        ["simulate", *GRID, "--seconds-per-epoch", "1", *at],
        ["merge", str(store), "copy", "--json"],
        ["merge", str(store), "copy"],
        ["query", sql, "--json", "--store", "copy"],
    ]  # fmt: skip
    found, imported = many(requests, tmp_path)
    assert imported == []
    assert [said.status for said in found] == [0] * len(requests), found
    table = list(csv.DictReader(io.StringIO(found[0].out)))
    rows = json.loads(found[1].out)
    assert [row["epoch"] for row in rows] == [0, 1, 0, 1]
    assert [float(row["loss"]) for row in table] == [row["loss"] for row in rows]
    assert (tmp_path / "rows.parquet").exists()
    assert found[-1].out == found[1].out
    assert json.loads(found[-3].out)["parts"] > 0
    assert found[-2].out.startswith("copied 0 parts, 0 sets of weights and 0 spaces from ")
    assert "wrote 4 rows to rows.parquet" in found[2].out
    assert "layer_profile" in found[4].out
    assert "grad_norm_smallest" in found[5].out
    assert json.loads(found[6].out)["driver"] is None
    shown = json.loads(found[7].out)
    assert (shown["attempts"][0]["status"], len(shown["epochs"])) == ("done", 2)
    for planned in found[9:11]:
        assert "tiny/grid: 4 trials, 2 done, 2 to run" in planned.out


def test_config_values_that_differ_read_apart_everywhere(tmp_path: Path) -> None:
    rates = {"a": 0.1, "b": 0.10000000149011612, "c": 0.99999}
    made = create_store(tmp_path / "store")
    publish_rows(
        made, [trial_rows(i, [lr, lr], config={"lr": lr, "seed": 0}) for i, lr in rates.items()]
    )
    rule = {"metric": "loss", "mode": "min", "over": "seed"}
    made.write_space("demo/grid", space_of([*rates], swept=["lr"], select=rule))
    at = ["--store", "store"]
    requests = [
        ["query", "SELECT trial_id, lr, 1 / 3 AS third FROM trials", *at],
        ["query", "SELECT trial_id, lr FROM trials", "--format", "csv", *at],
        ["best", "demo/grid", *at],
        ["show", "c", *at],
        ["plan", *GRID, "--set", "lr=0.1,0.10000000149011612,0.99999", "--set", "seed=0"],
    ]
    found, _ = many(requests, tmp_path)
    assert [said.status for said in found] == [0] * len(requests), found
    for said in (found[0], found[2], found[4]):
        words = re.findall(r"0\.[0-9]+", said.out)
        assert {"0.1", "0.100000001", "0.99999"} <= {*words}, said.out
    assert "0.3333 " in found[0].out
    assert "0.10000000149011612" in found[1].out, "files have every digit"
    assert "lr=0.99999 seed=0" in found[3].out


# ---- bad requests ------------------------------------------------------------------------------

Case = tuple[list[str], Sequence[str]]

DEPTH = ["plan", "vanishing/depth"]

PLANS: list[Case] = [
    (
        ["plan", "vanishing/dept"],
        ["unknown space 'vanishing/dept' (did you mean vanishing/depth?)"],
    ),
    (["launch", "vanish"], ["unknown space 'vanish' (did you mean vanishing?)"]),
    ([*DEPTH, "--set", "depht=3"], ["unknown key 'depht' (did you mean depth?)"]),
    (
        [*DEPTH, "--set", "lr=0.1", "--set", "lr=0.2"],
        ["lr=0.1 and lr=0.2 set the same key; give one of them, or several values as lr=0.1,0.2"],
    ),
    (
        ["debug", "vanishing/depth", "--set", "width=8", "--set", "hidden_size=16"],
        ["width=8 and hidden_size=16 set the same key, width; give one of them"],
    ),
    (
        ["launch", "vanishing/depth", "--set", "keep_weights=last", "--keep-weights", "best"],
        ["keep_weights=last and keep_weights=best set the same key; give one of them"],
    ),
    ([*DEPTH, "--set", "timeline_every=0,1"], ["timeline_every is both 0 and 1 for the same"]),
    ([*DEPTH, "--set", "lr"], ["--set 'lr' is not key=value"]),
    ([*DEPTH, "--set", "seed=range(0)"], ["seed=range(0) gives no value"]),
    ([*DEPTH, "--set", "activation=gelu"], ["activation must be one of tanh, relu; got 'gelu'"]),
    ([*DEPTH, "--set", "model=resnet"], ["unknown model 'resnet'"]),
    ([*DEPTH, "--set", "depth=2.5"], ["depth must be an integer >= 1 and <= 10000; got 2.5"]),
    ([*DEPTH, "--set", "lr=nan"], ["lr must be a number >= 0; got nan"]),
    ([*DEPTH, "--set", "depth=0"], ["depth must be an integer >= 1 and <= 10000; got 0"]),
    ([*DEPTH, "--set", "lr=-1"], ["lr must be a number >= 0; got -1"]),
    (
        ["plan", "vanishing/readme", "--set", "val_split=1"],
        ["val_fraction must be a number >= 0 and < 1; got 1"],
    ),
    (
        ["launch", "vanishing/depth", "--set", "depht=3", "--set", "lr=-1", "--set", "width=x"],
        [
            "unknown key 'depht' (did you mean depth?)",
            "lr must be a number >= 0; got -1",
            "width must be an integer >= 1; got 'x'",
        ],
    ),
    ([*DEPTH, "--lanes", "wide"], ["--lanes must be auto, vmap or sequential; got 'wide'"]),
    ([*DEPTH, "--rerun", "zzz"], ["--rerun zzz is no trial of this space"]),
    ([*DEPTH, "--study", "none.py"], ["no study file none.py"]),
    (["launch", "vanishing/depth", "--keep-weights", "some"], ["keep_weights must be none, last"]),
    (["debug"], ["name a SPACE, or a trial with --trial ID"]),
    (["debug", "vanishing/depth", "--trial", "5"], ["'5' is the start of several trials"]),
    (["debug", "vanishing/depth", "--trial", "zz"], ["'zz' is no trial of vanishing/depth"]),
    (["debug", "--trial", "zz"], ["there is no store to find trial 'zz' in"]),
    (["debug", "vanishing/depth", "--exact"], ["--exact replays what a store recorded"]),
    (["data", "fetch", "cifar11"], ["unknown data set 'cifar11' (did you mean cifar10?)"]),
    (["query", "SELECT 1"], ["./store does not exist; give the --store of a launch"]),
]
PLANS += [
    (["launch", "vanishing/depth", *wrong], [says])
    for wrong, says in (
        (["--gpus-per-pack", "2"], "--gpus-per-pack 2.0: the program of a pack uses one GPU"),
        (["--gpus-per-pack", "nan"], "--gpus-per-pack must be a number from 0.0001 to 1; got nan"),
        (["--gpus", "inf"], "--gpus must be a number from 0 to 2.14748e+09; got inf"),
        (["--cpus-per-pack", "1000"], "--cpus-per-pack 1000: this machine has"),
        (["--checkpoint-seconds", "nan"], "--checkpoint-seconds must be a number from 0 to"),
        (["--keep-weights", "every:" + "9" * 5000], "every:K with K from 1 to 999999999; got"),
        (["--set", "width=1e12"], "width must be an integer >= 1, at most 2147483647; got"),
        (["--set", "epochs=1e30"], "epochs must be an integer >= 1, at most 2147483647; got 1e+30"),
        (["--study", "notes.txt"], "there is no module notes.txt here or installed; give the path"),
    )
]
PLANS += [
    (
        ["launch", "x", "--address", "http://127.0.0.1:1", "--gpus-per-pack", "2"],
        ["--gpus-per-pack 2.0: the program of a pack uses one GPU"],
    )
]
if not has_gpu():
    PLANS += [
        (["launch", "vanishing/depth", "--gpus", "1"], ["this machine has no GPU"]),
        (["launch", "vanishing/depth", "--gpus-per-pack", "1"], ["this machine has none"]),
    ]

STORES: list[Case] = [
    (["query", "SELECT nothing FROM epochs"], ['"nothing" not found']),
    (["query", "SELEC 1"], ["syntax error"]),
    (["query", "DELETE FROM epochs"], ["must be one SELECT (got DELETE)"]),
    (["query", "COPY epochs TO 'out.csv'"], ["must be one SELECT (got COPY)"]),
    (["query", "SELECT 1; DROP VIEW epochs"], ["must be one SELECT (got SELECT, DROP)"]),
    (["query", "SELECT * FROM read_csv('/etc/hosts')"], ['Cannot access file "/etc/hosts"']),
    (["query", "fnal"], ["no query is called 'fnal' (did you mean final?)"]),
    (["query"], ["give a SELECT or the name of a query"]),
    (["query", "final", "--format", "xml"], ["--format must be table, csv, json or parquet"]),
    (["query", "final", "--format", "parquet"], ["parquet needs a file; add --output"]),
    (["query", "SELECT 1", "-o", "none/x.csv"], ["cannot write none/x.csv: No such file"]),
    (["query", "SELECT 1", "--rule", "abs_norm=x"], ["--rule 'abs_norm=x' is not NAME=NUMBER"]),
    (
        ["query", "final", "--rule", "abs_norm=1", "--rule", "abs_norm=2"],
        ["--rule abs_norm is given twice; give one value"],
    ),
    (["show", "zz"], ["no trial starts with 'zz'"]),
    (["best", "tiny/none"], ["no space 'tiny/none'"]),
    (["plot", "tiny/none"], ["no space 'tiny/none'"]),
    (["report", "tiny/none"], ["no space 'tiny/none'"]),
    (["debug", "--trial", "zz"], ["no trial starts with 'zz'"]),
]


def check(cases: Sequence[Case], cwd: Path, **env: str) -> None:
    """Each says all of its sentences, one a line and nothing else, and ends with status 2; none
    writes anything."""
    before = sorted(cwd.rglob("*"))
    found, imported = many([words for words, _ in cases], cwd, **env)
    assert imported == []
    for (words, sentences), said in zip(cases, found, strict=True):
        assert said.status == 2, (words, said)
        lines = said.err.splitlines()
        assert len(lines) == len(sentences), (words, said.err)
        for line, sentence in zip(sorted(lines), sorted(sentences), strict=True):
            assert line.startswith("error: ")
            assert sentence in line, (words, line)
        assert said.out == "", words
    assert sorted(cwd.rglob("*")) == before


def test_bad_requests_of_a_space(tmp_path: Path) -> None:
    check(PLANS, tmp_path)


def test_bad_requests_of_a_store(store: Path, tmp_path: Path) -> None:
    rows = open_store(str(store)).sql("SELECT trial_id FROM trials ORDER BY 1").fetchall()
    first, second = (row[0] for row in rows)
    at = ["--store", str(store)]
    cases = [([*words, *at], says) for words, says in STORES]
    cases += [
        (["show", "", *at], [f"'' starts several trials ({first}, {second}); give more digits"]),
        (["debug", "--trial", "", *at], ["give more digits"]),
        (["debug", "--trial", first, "--set", "lr=1", *at], ["--set changes a space's trial"]),
        (["debug", "--trial", first, "--exact"], [f"no store to find trial '{first}' in"]),
    ]
    check(cases, tmp_path)


def test_what_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "notes.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    newer = create_store(tmp_path / "newer")
    manifest = Path(newer.paths.manifest)
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "format": FORMAT + 1}))
    torn = create_store(tmp_path / "torn")
    Path(torn.paths.manifest).write_text('{"form')
    says = {
        "folder": "folder is not a store (no store.json)",
        "file": "file cannot be opened",
        "newer": f"has format {FORMAT + 1} and this gradsweep reads up to {FORMAT}; upgrade it",
        "torn": "torn cannot be opened",
        "absent": "absent does not exist",
        "nowhere://x": "give a local path or an s3://, gs:// or file:// URI",
    }
    cases: list[Case] = [(["status", "--store", name], [text]) for name, text in says.items()]
    cases += [
        ([command, "vanishing/depth", "--store", name], [text])
        for command in ("plan", "launch", "debug")
        for name, text in says.items()
        if name != "absent"
    ]
    cases.append(
        (["launch", "vanishing/depth", "--store", "/proc/none/store"], ["cannot write /proc/none/"])
    )
    check(cases, tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")
def test_a_store_that_may_not_be_read_or_written(tmp_path: Path) -> None:
    create_store(tmp_path / "store")
    (tmp_path / "store").chmod(0o500)
    (tmp_path / "shut").mkdir(mode=0o000)
    try:
        check(
            [
                (["launch", "vanishing/depth", "--store", "store"], ["cannot write"]),
                (["status", "--store", "shut"], ["shut cannot be opened"]),
                (["plan", "vanishing/depth", "--store", "shut"], ["shut cannot be opened"]),
            ],
            tmp_path,
        )
    finally:
        (tmp_path / "store").chmod(0o700)
        (tmp_path / "shut").chmod(0o700)


def test_missing_and_corrupt_data_are_told_before_anything_is_written(tmp_path: Path) -> None:
    space = ["vanishing/readme", "--smoke"]
    requests = [
        ["debug", *space], ["debug", *space, "--record"], ["launch", *space, "--store", "new"]
    ]  # fmt: skip
    data = tmp_path / "data"
    data.mkdir()
    remedy = "run `gradsweep data fetch cifar10_4k`"
    missing = f"data set cifar10_4k is not complete in {data} (cifar10/cifar-10-binary.tar.gz"
    check([(words, [missing]) for words in requests], tmp_path, GRADSWEEP_DATA=str(data))
    found, _ = many([["plan", *space]], tmp_path, GRADSWEEP_DATA=str(data))
    assert found[0].status == 0
    assert f"warning: {missing}" in found[0].out
    assert remedy in found[0].out
    path = data / "cifar10" / "cifar-10-binary.tar.gz"
    path.parent.mkdir()
    path.write_bytes(b"half a download")
    corrupt = f"{path} is corrupt: 15 bytes"
    check([(words, [corrupt]) for words in requests], tmp_path, GRADSWEEP_DATA=str(data))


def test_a_study_file_that_raises_shows_its_frames_and_no_others(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("def rate():\n    return 1 / 0\n\nRATE = rate()\n")
    requests = [
        ["plan", "broken", "--study", "broken.py"],
        ["--traceback", "plan", "vanishing/dept"],
    ]
    (said, ours), _ = many(requests, tmp_path)
    assert (said.status, said.out, ours.status) == (2, "", 2)
    assert 'broken.py", line 4, in <module>' in said.err
    assert 'broken.py", line 2, in rate' in said.err
    assert said.err.splitlines()[-1] == (
        "error: broken.py failed: ZeroDivisionError: division by zero (broken.py:2)"
    )
    assert said.err.count("File ") == 2
    assert "Traceback (most recent call last)" in ours.err
    assert "orchestrator/plan/studies.py" in ours.err


def test_a_reader_that_leaves_a_pipe_is_no_error() -> None:
    words = f"{sys.executable} -m orchestrator plan vanishing/depth --show 270 | head -1"
    done = subprocess.run(["bash", "-c", words], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("vanishing/depth: 270 trials")
    assert done.stderr == ""
