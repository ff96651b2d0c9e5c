"""What `gradsweep best` prints."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from results import create_store
from tests.fuzz.command_line import told
from tests.support.made_up_rows import publish_trial, space_of


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = create_store(tmp_path / "store")
    losses = {"dead": None, "worse": 2.0, "better": 1.0}
    for number, (name, loss) in enumerate(losses.items()):
        publish_trial(
            found, name, [1.0], config={"depth": number}, bad_epoch=None if loss else 0,
            status="done" if loss else "diverged",
            extra={0: {"val_loss": loss, "test_accuracy": 0.5 if loss else None}},
        )  # fmt: skip
    select = {"metric": "val_loss", "mode": "min", "choose": "lr", "over": "seed"}
    space = space_of(list(losses), swept=["depth", "lr", "seed"], select=select)
    found.write_space("demo/grid", space)
    monkeypatch.setenv("GRADSWEEP_STORE", found.uri)


@pytest.mark.usefixtures("store")
def test_it_says_what_it_chose_on_and_shows_the_best_first() -> None:
    said = told("best", "demo/grid").out.splitlines()
    assert said[0] == (
        "lr is chosen by the lowest median val_loss over seed, each trial at its last epoch; "
        "reported is val_loss at the chosen lr, the lowest median comes first."
    )
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in said if "│" in line]
    assert [row[0] for row in rows] == ["2", "1", "0"]
    assert [row[2] for row in rows] == ["1", "2", "no finite value"]


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("report", ["val_loss", "test_accuracy"])
def test_a_cell_of_dead_trials_has_no_number(report: str) -> None:
    rows = json.loads(told("best", "demo/grid", "--json", "--report", report).out)
    assert rows[-1]["depth"] == 0
    assert rows[-1]["median"] is rows[-1]["mean"] is None
    assert (rows[-1]["n"], rows[-1]["n_diverged"]) == (0, 1)
    text = told("best", "demo/grid", "--format", "csv", "--report", report).out
    assert "inf" not in text
    assert list(csv.DictReader(io.StringIO(text)))[-1]["median"] == ""


@pytest.mark.usefixtures("store")
def test_latex_holds_the_numbers_of_the_table() -> None:
    """Every cell is read back: numbers with four digits, what is missing as a dash."""
    rows = json.loads(told("best", "demo/grid", "--json").out)
    lines = told("best", "demo/grid", "--format", "latex").out.splitlines()
    names = list(rows[0])
    assert lines[0].removeprefix(r"\begin{tabular}{").removesuffix("}").strip("lr") == ""
    assert lines[-1] == r"\end{tabular}"
    head, *body = (line.removesuffix(r" \\").split(" & ") for line in lines if "&" in line)
    assert [name.replace(r"\_", "_") for name in head] == names
    assert len(body) == len(rows)
    for cells, row in zip(body, rows, strict=True):
        for name, cell in zip(names, cells, strict=True):
            value = row[name]
            if value is None:
                assert cell == "--"
            elif isinstance(value, float):
                assert float(cell) == pytest.approx(value, rel=1e-3)
            else:
                assert cell.replace(r"\_", "_") == str(value)


@pytest.mark.parametrize(
    ("other", "said"), [("pruned", "all pruned"), ("failed", "pruned or missing")]
)
def test_a_cell_of_pruned_trials_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: str, said: str
) -> None:
    found = create_store(tmp_path / "store")
    for number, status in enumerate(("done", "pruned", other)):
        publish_trial(
            found, status + str(number), [1.0], status=status,
            config={"depth": min(number, 1), "seed": number}, extra={0: {"val_loss": 1.0}},
        )  # fmt: skip
    ids = ["done0", "pruned1", f"{other}2"]
    found.write_space("demo/grid", space_of(ids, swept=["depth", "seed"], select={}))
    monkeypatch.setenv("GRADSWEEP_STORE", found.uri)
    rows = [line.split("│")[1:-1] for line in told("best", "demo/grid").out.splitlines()]
    assert [row[1].strip() for row in rows if len(row) > 2] == ["1", said]
