"""The spaces of study `bar2025`: README experiments, the grid around them, small ones."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from orchestrator.plan.studies import Catalogue, catalogue
from orchestrator.plan.trials import trials_of
from results import FIGURES
from search_spaces import Space
from trainables.declarations import Trial

COUNTS = {  # space -> (trials, programs)
    "cifar": (3, 1),
    "listops": (3, 1),
    "imdb": (3, 1),
    "grid": (243, 3),
    "lru_ablation": (81, 3),
    "pathfinder": (3, 1),
    "pathx": (3, 1),
    "aan": (3, 1),
    "copy": (6, 1),
    "mini_listops": (3, 1),
    "smnist_rows": (3, 1),
    "imdb_512": (3, 1),
    "imdb_words": (3, 1),
    "pixel_orders": (15, 5),
    "augmented": (6, 2),
    "radii": (6, 6),
    "divergence": (180, 3),
    "gradients": (24, 1),
    "memory": (18, 2),
}
README = {  # space -> (task, epochs, warm-up, batch, H, N, lr_factor, dropout, steps)
    "cifar": ("scifar", 180, 18, 50, 512, 384, 0.025, 0.1, 178_200),
    "listops": ("listops", 50, 5, 32, 256, 192, 0.05, 0.0, 150_000),
    "imdb": ("imdb", 65, 7, 32, 192, 256, 0.025, 0.1, 50_765),
}
COMMANDS = {  # the README's words, its data set names by their keys
    "cifar": "dataset=cifar-classification epochs=180 warmup=18 batch_size=50 d_model=512 "
    "d_hidden=384 lr_factor=0.025 p_dropout=0.1",
    "listops": "dataset=listops-classification epochs=50 warmup=5 batch_size=32 d_model=256 "
    "d_hidden=192 lr_factor=0.05 p_dropout=0.0",
    "imdb": "dataset=imdb-classification epochs=65 warmup=7 batch_size=32 d_model=192 "
    "d_hidden=256 lr_factor=0.025 p_dropout=0.1",
}


@pytest.fixture(scope="module")
def found() -> Catalogue:
    return catalogue()


def space_of(found: Catalogue, name: str) -> Space:
    return found.find(f"bar2025/{name}")[0][2]


def trials(found: Catalogue, name: str, *changes: str, smoke: bool = False) -> list[Trial]:
    return trials_of(found, space_of(found, name), changes, smoke)


def test_the_study_has_these_spaces(found: Catalogue) -> None:
    assert set(found.studies["bar2025"].spaces) == set(COUNTS)
    published = {*README, "lru_ablation", "pathfinder", "pathx", "aan"}
    assert {n for n in COUNTS if not space_of(found, n).extension} == published


@pytest.mark.parametrize("name", COUNTS)
def test_counts_and_figures(found: Catalogue, name: str) -> None:
    targets = trials(found, name)
    assert (len(targets), len({t.program for t in targets})) == COUNTS[name]
    assert set(space_of(found, name).figures) <= set(FIGURES)


@pytest.mark.parametrize("name", COUNTS)
def test_smoke_variants_are_small(found: Catalogue, name: str) -> None:
    full, smoke = trials(found, name), trials(found, name, smoke=True)
    assert 1 <= len(smoke) <= 6
    assert {t.parts["stage"].name for t in smoke} == {t.parts["stage"].name for t in full}
    if smoke[0].stage.name == "train":
        assert {t.model.name for t in smoke} == {t.model.name for t in full}
        assert all(t.epochs * t.sizes.steps <= 20 for t in smoke)


@pytest.mark.parametrize("name", README)
def test_readme_experiments_are_as_published(found: Catalogue, name: str) -> None:
    task, epochs, warm, batch, h, n, factor, dropout, steps = README[name]
    targets: Any = trials(found, name)
    assert sorted(t.config["seed"] for t in targets) == [0, 1, 2]
    for one in targets:
        config: Any = one.config
        assert (one.task.name, one.model.name, config["init"]) == (
            task, "deep_diagonal_rnn", "rescaled",
        )  # fmt: skip
        assert (one.epochs, config["lr_warmup"], config["batch_size"]) == (epochs, warm, batch)
        assert (config["d_model"], config["width"], config["depth"]) == (h, n, 6)
        assert (config["lr"], config["lr_factor"], config["lr_end"]) == (1e-3, factor, 1e-7)
        assert (config["dropout"], config["weight_decay"]) == (dropout, 0.05)
        assert (config["norm"], config["prenorm"], config["pooling"]) == ("batch", True, "mean")
        assert one.epochs * one.sizes.steps == steps
        assert not config["compat_schedule"]


@pytest.mark.parametrize("name", COMMANDS)
def test_the_readme_s_words(found: Catalogue, name: str) -> None:
    shared = "model=diag-rnn n_layers=6 A_init=fixed lr_base=0.001 jax_seed=0"
    (one,) = trials(found, name, *f"{shared} {COMMANDS[name]}".split())
    assert one.id in {t.id for t in trials(found, name)}


def test_the_grid_is_models_by_inits_by_rates(found: Catalogue) -> None:
    keys = ("model", "init", "lr", "lr_factor", "seed")
    targets = trials(found, "grid")
    cells = Counter(tuple(t.config[k] for k in keys) for t in targets)
    assert set(cells.values()) == {1}
    assert len({c[:2] for c in cells}) == 9
    assert {t.config["lr_factor"] for t in targets} == {0.025, 0.05, 0.25}
    ours = {t.id for t in trials(found, "cifar")}
    assert ours <= {t.id for t in targets}


def test_the_ablation_is_the_lru_paper_s(found: Catalogue) -> None:
    targets = trials(found, "lru_ablation")
    forms = Counter((t.config["lru_param"], t.config["lru_gamma"]) for t in targets)
    assert forms == {("log", "none"): 27, ("exp", "none"): 27, ("exp", "learned"): 27}
    assert len({(t.config["r_min"], t.config["r_max"]) for t in targets}) == 9
    assert {t.epochs * t.sizes.steps for t in targets} == {180_180}


def test_copy_needs_an_output_at_every_step(found: Catalogue) -> None:
    assert {t.config["pooling"] for t in trials(found, "copy")} == {"none"}
    rings = {(t.config["r_min"], t.config["r_max"]) for t in trials(found, "copy")}
    assert rings == {(0.9, 0.999), (0.0, 0.99999)}
