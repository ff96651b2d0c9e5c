"""A task's own metric on the command line: `best`, `plot`, `show`, `status`, `query --schema`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from results import create_store
from tests.orchestrator.cli.test_app import Said, many
from tests.support.made_up_rows import publish_trial, space_of

RMSE = {"unit": "m", "mode": "min", "doc": "Root mean square of the distance."}


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Said]:
    """What each command says of two trials that watch `val_rmse`."""
    folder = tmp_path_factory.mktemp("metrics")
    store = create_store(folder / "store")
    for trial, values in {"a" * 16: [4.0, 2.0], "b" * 16: [3.0, 1.5]}.items():
        extra = {
            e: {"val_loss": 1.0, "metrics": [("rmse", v + 1), ("val_rmse", v)]}
            for e, v in enumerate(values)
        }
        config = {"monitor": "val_rmse", "seed": trial[0]}
        says = json.dumps({"rmse": RMSE, "val_rmse": RMSE})
        publish_trial(store, trial, [1.0, 0.9], config=config, extra=extra, metric_columns=says)
    select = {"metric": "val_loss", "choose": "lr", "over": "seed"}
    store.write_space("demo/grid", space_of(["a" * 16, "b" * 16], swept=["seed"], select=select))
    commands = {
        "best": "best demo/grid --metric val_rmse",
        "plot": "plot demo/grid --metric val_rmse -o .",
        "unfit": "plot demo/grid overview --metric val_rmse",
        "all": "plot demo/grid --all --metric val_rmse",
        "show": "show aaaa",
        "status": "status",
        "schema": "query --schema",
    }
    words = [[*text.split(), "--store", store.uri] for text in commands.values()]
    return dict(zip(commands, many(words, folder)[0], strict=True))


def test_best_ranks_by_it_and_names_its_unit(said: dict[str, Said]) -> None:
    assert said["best"].out.startswith(
        "lr is chosen by the lowest median val_rmse over seed, each trial at its last epoch; "
        "reported is val_rmse (m) at the chosen lr"
    )
    assert "1.75" in said["best"].out


def test_it_is_drawn_against_epochs(said: dict[str, Said]) -> None:
    path = Path(said["plot"].out.strip())
    assert path.name == "demo-grid-metric-val_rmse.html"
    assert "overview draws no metric of one's choice; metric does" in said["unfit"].err
    assert "--all draws every figure of the space; leave out --all or --metric" in said["all"].err


def test_it_is_shown_with_its_unit(said: dict[str, Said]) -> None:
    assert "val_rmse (m)" in said["show"].out
    assert "val_rmse: 4 at first, 2 at last, 2 at best" in said["show"].out
    assert f"demo/grid: best val_rmse (m) 1.5, trial {'b' * 16}" in said["status"].out
    (line,) = [text for text in said["schema"].out.splitlines() if text.startswith("  val_rmse ")]
    assert line.endswith(
        "Root mean square of the distance. On the validation set. Lower is better. [m]"
    )
