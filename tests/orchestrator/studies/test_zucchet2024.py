"""Study zucchet2024 from plan to figure: packs in this process, rows in a store, figures of it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli import app as cli
from results import create_store
from results.plotting import figure
from search_spaces.zucchet2024.analyses import ANALYSES
from tests.support.launches import run_here

pytestmark = pytest.mark.slow


def said(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """Exit status of a command line."""
    monkeypatch.setattr(sys, "argv", ["gradsweep", *words])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return int(end.value.code or 0)


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    uri = str(tmp_path_factory.mktemp("zucchet2024") / "store")
    store = create_store(uri)
    for name in ("signals", "unit", "landscape", "hessian_diagonal", "hessian_optimal", "inputs"):
        run_here(store, uri, f"zucchet2024/{name}")
    run_here(store, uri, "zucchet2024/gru", "memory_max=16", "scale_h=0,1")
    run_here(store, uri, "zucchet2024/gates", "gate_memory=2,16")
    run_here(store, uri, "zucchet2024/deep", "deep_cell=lru,gru")
    run_here(store, uri, "zucchet2024/ablation_p2", "lr=0.01")
    return uri


@pytest.mark.parametrize("name", ANALYSES)
def test_every_analysis_is_drawn_from_the_store_alone(uri: str, name: str) -> None:
    store = create_store(uri)
    for wanted in ANALYSES[name].figures:
        fig: Any = figure(store, f"zucchet2024/{name}", wanted)
        drawn = [t for t in fig.data if t.type != "scatter" or any(v for v in t.x or ())]
        assert len(drawn) >= 2
        assert name in str(fig.layout.title.text)


def test_a_figure_is_found_by_the_study_s_name(
    uri: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for wanted in ("landscape", "optimal_hessian"):
        path = tmp_path / f"{wanted}.html"
        assert (
            said(monkeypatch, "plot", "zucchet2024", wanted, "--store", uri, "-o", str(path)) == 0
        )
        assert path.exists()
    capsys.readouterr()
    assert said(monkeypatch, "plot", "zucchet2024", "heads", "--store", uri) == 2
    assert "has the figure 'heads'; there are " in capsys.readouterr().err


def test_losses_and_rates_are_columns(
    uri: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sql = (
        "SELECT count(*) AS n, count(loss) AS loss, count(loss_ratio) AS ratio, "
        "count(DISTINCT (trial_id, epoch)) AS distinct_rows FROM epochs"
    )
    assert said(monkeypatch, "query", sql, "--store", uri, "--json") == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row == {"n": 4, "loss": 4, "ratio": 4, "distinct_rows": 4}
    sql = "SELECT tensor, count(*) AS n FROM effective_lr GROUP BY tensor ORDER BY tensor"
    assert said(monkeypatch, "query", sql, "--store", uri, "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(r["tensor"], r["n"]) for r in rows] == [("a", 4), ("b", 4), ("c", 4), ("d", 4)]
    assert said(monkeypatch, "best", "zucchet2024/ablation_p2", "--store", uri, "--json") == 0
    (cell,) = json.loads(capsys.readouterr().out)
    assert (cell["lr"], cell["n"], cell["n_diverged"]) == (0.01, 2, 0)
