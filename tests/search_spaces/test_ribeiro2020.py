"""The spaces of ribeiro2020: published options (docs/specs/ribeiro2020.md, 3), variants."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from orchestrator.plan.studies import Catalogue, catalogue
from orchestrator.plan.trials import trials_of
from results import FIGURES
from search_spaces import Space
from trainables.declarations import Trial

TRAINED = {  # space -> (trials, programs)
    "sine": (9, 3),
    "sine_small": (9, 3),
    "sine_std": (12, 4),
    "sequence": (9, 3),
    "sequence_small": (3, 3),
    "language": (9, 3),
    "language_small": (6, 6),
    "last_word": (9, 3),
    "longer": (18, 6),
}
ANALYSES = {"chaos": (4, 4), "toy": (1, 1)}
PUBLISHED = {  # space -> task, epochs, (T, batch size, steps an epoch), width
    "sine": ("sine", 10_000, (400, 10, 10), 200),
    "sequence": ("temporal_order", 10_000, (200, 100, 10), 50),
    "language": ("word_lm", 100, (70, 100, 299), 800),
}


@pytest.fixture(scope="module")
def found() -> Catalogue:
    return catalogue()


def space_of(found: Catalogue, name: str) -> Space:
    return found.find(f"ribeiro2020/{name}")[0][2]


def trials(found: Catalogue, name: str, *changes: str, smoke: bool = False) -> list[Trial]:
    return trials_of(found, space_of(found, name), changes, smoke)


def test_the_study_has_these_spaces(found: Catalogue) -> None:
    assert set(found.studies["ribeiro2020"].spaces) == {*TRAINED, *ANALYSES}


@pytest.mark.parametrize("name", [*TRAINED, *ANALYSES])
def test_counts(found: Catalogue, name: str) -> None:
    targets = trials(found, name)
    want = {**TRAINED, **ANALYSES}[name]
    assert (len(targets), len({t.program for t in targets})) == want
    assert set(space_of(found, name).figures) <= set(FIGURES)
    smoke = trials(found, name, smoke=True)
    assert len({t.id for t in smoke}) == len(smoke) <= len(targets)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_options(found: Catalogue, name: str) -> None:
    task, epochs, shape, width = PUBLISHED[name]
    targets = trials(found, name)
    assert Counter(t.variants["variant"] for t in targets) == {"LSTM": 3, "sLSTM": 3, "oRNN": 3}
    for trial in targets:
        config, sizes = trial.config, trial.sizes
        assert (trial.task.name, trial.epochs, config["width"]) == (task, epochs, width)
        assert (sizes.seq_len, sizes.batch_size, sizes.steps) == shape
        assert (config["lr"], config["clip_norm"], config["loss_reduction"]) == (1e-3, 0.25, "sum")
        assert (config["orbit_std"], config["weight_decay"], config["depth"]) == ("100", 0, 1)
        stable = trial.variants["variant"] == "sLSTM"
        assert config.get("stabilize", "none") == ("column_exact" if stable else "none")


def keys(targets: list[Trial], *names: str) -> set[tuple[Any, ...]]:
    return {tuple(t.config[name] for name in names) for t in targets}


def test_published_schedules_and_orbits(found: Catalogue) -> None:
    orbits = ("orbit_inputs", "orbit_starts", "orbit_steps", "orbit_burn_in")
    sine, sequence, language = (trials(found, name) for name in PUBLISHED)
    assert keys(sine, "lr_milestones", "lr_gamma") == {("500:1000:2000:8000:15000:25000", 0.1)}
    assert keys(sequence, "lr_milestones", "lr_gamma") == {("500:1000:2000", 0.25)}
    assert keys(language, "lr_milestones", "lr_patience", "min_lr") == {("", 7, 1e-7)}
    assert keys(sine, *orbits) == {(10, 4, 1600, 1200)}
    assert keys(sequence, *orbits[1:]) == {(10, 800, 400)}
    assert keys(language, *orbits, "dropout") == {(2, 5, 1600, 0, 0.5)}
    assert {t.config["keep_weights"] for t in language} == {"best"}


def test_the_published_command_lines(found: Catalogue) -> None:
    words = ["model=exprnn", "seed=2", "hidden_size=200", "num_layers=1", "clip_value=.25",
             "milestones=500:1000:2000:8000:15000:25000", "interval_orbit=100",
             "n_sequences_orbit=4", "seq_len_orbit=1600", "burnout_orbit=1200",
             "std_orbit=100", "min_freq=0.19634954084936207"]  # fmt: skip
    (trial,) = trials(found, "sine", *words)
    assert trial.id in {t.id for t in trials(found, "sine")}
    (tied,) = trials(found, "language", "model=exprnn", "seed=2", "embed_size=800", "readout=tied")
    assert tied.config["readout"] == "tied"


def test_small_sines_are_those_that_were_measured(found: Catalogue) -> None:
    targets = trials(found, "sine_small")
    names = ("width", "lr", "epochs", "lr_milestones", "orbit_std")
    lstm = [t for t in targets if t.model.name == "torch_lstm"]
    assert keys(lstm, *names) == {(32, 1e-3, 1000, "500", "100")}
    assert keys([t for t in targets if t.model.name == "ornn"], *names) == {
        (64, 3e-3, 600, "", "0.1")
    }
    # Starts are an observation, so that equal trials would not be run again for other ones.
    assert not {t.id for t in targets} & {t.id for t in trials(found, "sine_std")}


def test_the_points_asked_for_lie_on_the_scan(found: Catalogue) -> None:
    (scan,) = [t for t in trials(found, "chaos") if t.stage.name == "chaos_scan"]
    config: Any = scan.config
    points, low, high = (config[k] for k in ("scan_points", "scan_from", "scan_to"))
    step = (high - low) / (points - 1)
    for s in (0.70, 0.80, 0.86, 0.88, 0.90, 1.0, 1.5, 2.0):
        assert abs((s - low) / step - round((s - low) / step)) < 1e-9
