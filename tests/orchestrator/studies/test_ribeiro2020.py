"""Study ribeiro2020 from plan to figure: packs in this process, rows in a store, figures of it
(docs/specs/ribeiro2020.md, check 15)."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.datasets import loader
from results import create_store
from results.plotting import figure
from search_spaces.ribeiro2020 import STUDY
from tests.support.launches import run_here
from trainables.declarations.tasks.language import CORPORA

SPACES = {
    "sine_small": ("seed=0",),
    "sequence_small": ("model=ornn",),
    "language": ("model=torch_lstm", "stabilize=none", "orbits_every=1", "attractors_every=1"),
    "chaos": (),
}


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    uri = str(tmp_path_factory.mktemp("ribeiro2020") / "store")
    store = create_store(uri)
    for name, changes in SPACES.items():
        run_here(store, uri, f"ribeiro2020/{name}", *changes)
    return uri


@pytest.mark.slow
@pytest.mark.parametrize("name", SPACES)
def test_every_figure_is_drawn_from_the_store_alone(uri: str, name: str) -> None:
    store = create_store(uri)
    for wanted in STUDY.spaces[name].figures:
        fig: Any = figure(store, f"ribeiro2020/{name}", wanted)
        assert len(fig.data) >= 1
        assert name in str(fig.layout.title.text)


@pytest.mark.slow
def test_rows_are_streamed_by_epoch(uri: str) -> None:
    """Check 15: losses, norms before and after clipping, rates and bounds, once an epoch."""
    store = create_store(uri)
    rows = store.sql(
        "SELECT variant, epoch, loss, grad_norm, grad_norm_clipped, metrics['lr'] AS lr, "
        "metrics['clip_fraction'] AS clipped, c.decay_rate, c.certificate "
        "FROM epochs JOIN trials t USING (trial_id) "
        "JOIN contraction c USING (trial_id, epoch) WHERE t.task = 'sine' AND c.input = 0"
    ).rows()
    assert len(rows) == len({(r["variant"], r["epoch"]) for r in rows}) >= 6
    assert {r["variant"] for r in rows} == {"LSTM", "sLSTM", "oRNN"}
    for row in rows:
        assert row["grad_norm"] > row["grad_norm_clipped"] > 0
        assert row["lr"] == pytest.approx(3e-3 if row["variant"] == "oRNN" else 1e-3)
        assert row["clipped"] == 1
    assert store.sql("SELECT count(*) FROM layers WHERE grad_norm > 0").fetchall()[0][0] > 0


def test_the_tiny_text_is_what_its_task_declares() -> None:
    loaded = loader.load("tiny_text")
    assert loaded.checksum.startswith("tiny_text=sha256:")
    arrays = loaded.arrays
    counts = tuple(len(arrays[f"{part}_tokens"]) for part in ("train", "val", "test"))
    assert ("tiny_text", counts, len(arrays["vocabulary"])) == CORPORA["tiny"]
    assert arrays["vocabulary"][arrays["train_tokens"][7]] == "<eos>"
