"""What `status` and `show` say of pruned trials, and of those that go on from shorter ones."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from results import Store, create_store
from tests.fuzz.command_line import told
from tests.support.made_up_rows import START, publish_trial, space_of, table


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    found = create_store(tmp_path / "store")
    publish_trial(found, "whole", [1.0] * 3)
    for name in ("early", "late"):
        publish_trial(found, name, [1.0] * 2, status="pruned", reason="6 of 9 were better")
    found.write_space("demo/grid", space_of(["whole", "early", "late"]))
    against = json.dumps({"whole": 0.5, "late": 0.7})
    rows = [
        {"space": "demo/grid", "rule": "asha", "trial_id": "early", "rung": rung, "epoch": rung + 1,
         "metric": "val_loss", "value": 1.0, "against": against, "verdict": verdict,
         "launch_id": "one", "decided": START + timedelta(seconds=rung)}
        for rung, verdict in enumerate(("go", "prune"))
    ]  # fmt: skip
    found.publish("decisions", table(rows))
    monkeypatch.setenv("GRADSWEEP_STORE", found.uri)
    return found


def keep_state(store: Store, trial: str, epoch: int) -> None:
    lane = {"trial_id": trial, "attempt": 0, "epoch": epoch, "rows": {}}
    store.save_weights("checkpoints", f"p-{trial}", {"w": np.zeros((1, 250))}, {"lanes": [lane]})


def test_status_counts_them_and_says_how_many_can_go_on(store: Store) -> None:
    said = told("status").out
    assert "trials are known up to an epoch; the state of none is kept" in said
    keep_state(store, "early", 2)
    said = told("status").out
    assert "6 of 9" not in said, "there may be hundreds"
    (line,) = [line for line in said.splitlines() if "known up to" in line]
    assert "the states of 1 of 2 are kept (2.0" in line
    counts = json.loads(told("status", "--json").out)["spaces"][0]["counts"]
    assert counts == {"done": 1, "pruned": 2}


def test_show_says_how_far_it_is_known_and_by_which_decisions(store: Store) -> None:
    assert "no state is kept, so it would start over" in told("show", "late").out
    keep_state(store, "early", 2)
    said = told("show", "early").out
    assert "2 of 2 epochs are known; it can go on" in said
    assert "its state after 2 epochs is kept (2.0" in said
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in said.splitlines()]
    verdicts = [(row[1], row[5], row[6]) for row in rows if row and row[0] == "asha"]
    assert verdicts == [("0", "go", "2 values"), ("1", "prune", "2 values")]
    told_json = json.loads(told("show", "early", "--json").out)
    assert [row["verdict"] for row in told_json["decisions"]] == ["go", "prune"]
    rows = json.loads(told("query", "pruned", "--json").out)
    assert [(row["trial_id"], row["rung"]) for row in rows] == [("early", 1), ("late", None)]


def test_show_names_the_shorter_trial(store: Store) -> None:
    publish_trial(store, "longer", [], first_epoch=2, continues="early",
                  continues_attempt=json.dumps([0, None]))  # fmt: skip
    assert "attempt 0 has its first 2 epochs from trial early" in told("show", "longer").out
