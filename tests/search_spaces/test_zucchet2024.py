"""Published grids (docs/specs/zucchet2024.md, 4), smoke variants, shared trials."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from orchestrator.cli.plan_text import shared_line
from orchestrator.errors import RequestError
from orchestrator.plan.plan import plan, trials_of
from orchestrator.plan.studies import Catalogue, catalogue
from results import FIGURES
from search_spaces import Space
from trainables.declarations import Trial

SCANS = {  # space -> (trials, programs)
    "comparison_lru": (350, 1),
    "comparison_rnn": (350, 1),
    "comparison_baseline": (70, 1),
    "ablation_p1": (280, 4),
    "ablation_p2": (40, 1),
    "ablation_p3": (40, 1),
    "shrink_p1": (400, 1),
    "shrink_p2": (200, 1),
    "shrink_p3": (200, 1),
    "heads": (300, 6),
}


ANALYSES = {  # space -> (trials, programs)
    "signals": (1, 1),
    "unit": (2, 2),
    "landscape": (9, 9),
    "hessian_diagonal": (4, 4),
    "hessian_optimal": (4, 4),
    "deep": (75, 5),
    "gru": (18, 1),
    "gates": (64, 1),
    "inputs": (1, 1),
}


OTHERS = {"rates": (4, 4), "teachers": (120, 2), "deep_students": (150, 4)}


@pytest.fixture(scope="module")
def found() -> Catalogue:
    return catalogue()


def space_of(found: Catalogue, name: str) -> Space:
    return found.find(f"zucchet2024/{name}")[0][2]


def trials(found: Catalogue, name: str, *changes: str, smoke: bool = False) -> list[Trial]:
    return trials_of(found, space_of(found, name), changes, smoke)


@pytest.mark.parametrize("name", SCANS)
def test_counts(found: Catalogue, name: str) -> None:
    targets = trials(found, name)
    assert (len(targets), len({t.program for t in targets})) == SCANS[name]
    assert {t.config["seed"] for t in targets} == set(range(2023, 2033))
    assert set(space_of(found, name).figures) <= set(FIGURES)


@pytest.mark.parametrize("name", ANALYSES)
def test_analyses(found: Catalogue, name: str) -> None:
    targets = trials(found, name)
    assert (len(targets), len({t.program for t in targets})) == ANALYSES[name]
    assert all(t.stage.epochs_key is None and t.probes for t in targets)
    smoke = trials(found, name, smoke=True)
    assert {t.stage.name for t in smoke} == {t.stage.name for t in targets}
    assert set(space_of(found, name).figures) <= set(FIGURES)


@pytest.mark.parametrize("name", OTHERS)
def test_spaces_beyond_the_scans(found: Catalogue, name: str) -> None:
    targets, smoke = trials(found, name), trials(found, name, smoke=True)
    assert (len(targets), len({t.program for t in targets})) == OTHERS[name]
    assert len({t.program for t in smoke}) == OTHERS[name][1]
    assert all(t.epochs * t.sizes.steps <= 10 for t in smoke)
    assert set(space_of(found, name).figures) <= set(FIGURES)


def test_deep_students_have_phases_apart_from_their_teacher(found: Catalogue) -> None:
    targets = trials(found, "deep_students", "task.max_phase=1", "model=deep_lru")
    assert values(targets, "model.max_phase") == [0.314, 3.14]
    assert values(targets, "task.max_phase") == [1.0]
    with pytest.raises(RequestError, match=r"set model\.max_phase or task\.max_phase"):
        trials(found, "deep_students", "max_phase=1", "model=deep_lru")


def test_the_study_has_these_spaces(found: Catalogue) -> None:
    assert set(found.studies["zucchet2024"].spaces) == {*SCANS, *ANALYSES, *OTHERS}


@pytest.mark.parametrize("name", SCANS)
def test_every_trial_trains_as_published(found: Catalogue, name: str) -> None:
    first = name == "comparison_baseline"
    for trial in trials(found, name):
        config, sizes = trial.config, trial.sizes
        assert (sizes.seq_len, sizes.features, sizes.classes, sizes.steps) == (300, 1, 1, 100)
        assert (trial.epochs, sizes.batch_size) == ((1, 1024) if first else (100, 128))
        assert (config["optimizer"], config["lr_end"], config["clip_norm"]) == ("adam", 1e-7, None)
        assert (config["weight_decay"], config["teacher_seed"]) == (0, 42)
        assert (config["teacher_order"], config["diverge_above"]) == (10, 1e9)


def test_the_ten_scans_share_trials(found: Catalogue) -> None:
    assert sum(count for count, _ in SCANS.values()) == 2230
    plans = [plan(f"zucchet2024/{name}")[0] for name in SCANS]
    assert shared_line(plans) == "10 spaces: 2230 trials, 1980 of them distinct, 12 programs"


def values(targets: list[Trial], key: str) -> list[Any]:
    return sorted({t.config[key] for t in targets if key in t.config}, key=str)


def test_published_grids(found: Catalogue) -> None:
    lru, rnn = trials(found, "comparison_lru"), trials(found, "comparison_rnn")
    memories = [0.36, 0.68, 0.84, 0.92, 0.96, 0.98, 0.99]
    assert values(lru, "min_nu") == values(rnn, "min_nu") == memories
    assert sorted(values(lru, "lr")) == [0.0032, 0.01, 0.032, 0.1, 0.32]
    assert sorted(values(rnn, "lr")) == [3.2e-5, 1e-4, 3.2e-4, 1e-3, 3.2e-3]
    assert values(trials(found, "comparison_baseline"), "min_nu")[0] == 0.32
    kinds = Counter(
        (t.config["lru_param"], t.config["lru_gamma"]) for t in trials(found, "ablation_p1")
    )
    assert set(kinds.values()) == {70}
    assert len(kinds) == 4
    for name, width, heads in (("ablation_p2", 64, 32), ("ablation_p3", 128, 64)):
        targets = trials(found, name)
        assert (values(targets, "width"), values(targets, "heads")) == ([width], [heads])
        assert sorted(values(targets, "lr")) == [3.2e-4, 1e-3, 3.2e-3, 0.01]
    for name, rates in (("shrink_p1", 8), ("shrink_p2", 4), ("shrink_p3", 4)):
        targets = trials(found, name)
        assert sorted(values(targets, "max_phase")) == [0.0314, 0.0993, 0.314, 0.993, 3.14]
        assert len(values(targets, "lr")) == rates
        assert values(targets, "min_nu") == [0.99]
    assert sorted(values(trials(found, "heads"), "heads")) == [1, 2, 4, 8, 16, 32]


@pytest.mark.parametrize("name", SCANS)
def test_smoke_variants_are_small_and_keep_every_model(found: Catalogue, name: str) -> None:
    full, smoke = trials(found, name), trials(found, name, smoke=True)
    assert 2 <= len(smoke) <= 16
    assert all(t.epochs * t.sizes.steps <= 10 for t in smoke)
    assert {t.model.name for t in smoke} == {t.model.name for t in full}


def test_the_source_s_words(found: Catalogue) -> None:
    words = ["model=LRU", "d_hidden=64", "lr_base=0.01", "lr_min=1e-7", "min_nu=0.99",
             "which_gamma=learned", "T=300", "seed=2023"]  # fmt: skip
    (trial,) = trials(found, "comparison_lru", *words)
    assert trial.id in {t.id for t in trials(found, "comparison_lru")}
    (compat,) = trials(found, "comparison_lru", *words, "compat=true")
    assert compat.id != trial.id
    assert compat.program == trial.program
