"""The spaces of study `vanishing`: their trials, their smoke variants, the source's words."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from ray.tune.search.variant_generator import generate_variants

from orchestrator.plan.studies import Catalogue, catalogue
from orchestrator.plan.trials import trials_of
from results import FIGURES
from search_spaces import Space, expand
from trainables.declarations import Trial

COUNTS = {  # space -> (trials of its last stage, of all stages, programs)
    "quickstart": (8, 8, 2),
    "readme": (3, 3, 2),
    "depth": (270, 270, 20),
    "induce": (162, 162, 18),
    "mitigation": (24, 24, 3),
    "warmup": (36, 42, 4),
    "convolutions": (9, 9, 3),
    "raw_pixels": (27, 27, 9),
    "gated": (24, 24, 6),
}


@pytest.fixture(scope="module")
def found() -> Catalogue:
    return catalogue()


def space_of(found: Catalogue, name: str) -> Space:
    return found.find(f"vanishing/{name}")[0][2]


def trials(found: Catalogue, name: str, *changes: str, smoke: bool = False) -> list[Trial]:
    return trials_of(found, space_of(found, name), changes, smoke)


def with_parents(targets: list[Trial]) -> dict[str, Trial]:
    return {t.id: t for target in targets for t in (*target.ancestors, target)}


def test_the_study_has_these_spaces(found: Catalogue) -> None:
    assert list(found.studies["vanishing"].spaces) == list(COUNTS)


@pytest.mark.parametrize("name", COUNTS)
def test_counts(found: Catalogue, name: str) -> None:
    targets = trials(found, name)
    every = with_parents(targets)
    programs = {trial.program for trial in every.values()}
    assert (len(targets), len(every), len(programs)) == COUNTS[name]


def cost(trial: Trial) -> float:
    """Multiply-adds of a trial's training, forward and backward."""
    sizes, width = trial.sizes, int(str(trial.config["width"]))
    layers = int(str(trial.config["depth"])) * 2 * width * width
    return 3.0 * trial.epochs * sizes.n_train * sizes.seq_len * layers


@pytest.mark.parametrize("name", COUNTS)
def test_a_smoke_variant_is_small_and_keeps_the_study_s_shape(found: Catalogue, name: str) -> None:
    full, smoke = (with_parents(trials(found, name, smoke=s)) for s in (False, True))
    assert 2 <= len(smoke) <= 40
    assert sum(map(cost, smoke.values())) < 2e11  # tens of seconds at 10 GFLOP/s
    assert {t.stage.name for t in smoke.values()} == {t.stage.name for t in full.values()}
    assert {t.model.name for t in smoke.values()} == {t.model.name for t in full.values()}


def test_the_published_experiments_are_the_source_s(found: Catalogue) -> None:
    """As in docs/specs/vanishing.md, 1 to 3."""
    rows = [
        tuple(t.config[k] for k in ("model", "activation", "init")) for t in trials(found, "readme")
    ]
    assert rows == [
        ("vanilla_rnn", "tanh", "default"),
        ("vanilla_rnn", "tanh", "xavier"),
        ("residual_rnn", "relu", "xavier"),
    ]
    for trial in trials(found, "readme"):
        config = trial.config
        assert (config["depth"], config["width"], trial.epochs) == (20, 256, 50)
        assert (config["lr"], config["weight_decay"], config["clip_norm"]) == (0.01, 0, None)
        assert (trial.sizes.n_train, trial.sizes.n_val, trial.sizes.steps) == (40_000, 10_000, 625)
        assert (trial.sizes.seq_len, trial.sizes.features) == (3072, 1)
        assert config.get("residual_scale", 1.0) == 1.0


def test_a_published_command_in_its_own_words(found: Catalogue) -> None:
    words = [
        "task=cifar10", "model=ResidualRNN", "num_layers=20", "hidden_size=256",
        "nonlinearity=relu", "init=xavier", "alpha=1", "gradient_clip=none",
        "gradient_clip_min=0", "learning_rate=0.01", "weight_decay=0", "num_epochs=50",
        "val_split=0.2", "batch_size=64", "vanishing_threshold=null", "vanishing_patience=3",
    ]  # fmt: skip
    (trial,) = trials(found, "readme", *words)
    published = trials(found, "readme")[2]
    assert trial.id == published.id
    exploding = ["model=VanillaRNN", "nonlinearity=relu", "L=3", "lr=1", "gradient_clip=0.5"]
    trial = trials(found, "readme", *exploding)[0]
    assert trial.config["clip_norm"] == 0.5
    assert trial.config["activation"] == "relu"


def test_a_part_s_alias_decides_conditions_like_its_name(found: Catalogue) -> None:
    by_alias, by_name = (
        [t.id for t in trials(found, "depth", f"model={name}", "depth=5", "seed=0")]
        for name in ("ResidualRNN", "residual_rnn")
    )
    assert by_alias == by_name
    assert len(by_name) == 12


def test_the_working_residual_scale_is_one_over_root_depth(found: Catalogue) -> None:
    scales = Counter(t.config.get("residual_scale") for t in trials(found, "quickstart"))
    assert scales == {None: 4, 1.0: 2, 20**-0.5: 2}
    for trial in trials(found, "depth", "model=residual_rnn"):
        depth = int(str(trial.config["depth"]))
        assert trial.config["residual_scale"] in (1.0, depth**-0.5)


def test_warm_ups_serve_every_learning_rate(found: Catalogue) -> None:
    every = with_parents(trials(found, "warmup")).values()
    stages = Counter(t.stage.name for t in every)
    assert stages == {"warmup": 6, "train": 36}
    assert Counter(t.parent.id for t in every if t.parent) == {
        t.id: 3 for t in every if t.stage.name == "warmup"
    }


@pytest.mark.parametrize("name", COUNTS)
def test_selection_and_figures_are_ones_there_are(found: Catalogue, name: str) -> None:
    space = space_of(found, name)
    assert set(space.figures) <= set(FIGURES)
    keys = found.registry.all_keys()
    for role in ("choose", "over"):
        if role in space.select:
            assert space.select[role] in keys
            values = {t.config[space.select[role]] for t in trials(found, name)}
            assert len(values) > 1 or name == "readme"
    assert space.reproduces
    assert set(space.smoke) <= set(keys) | {"task", "model"}


def has_only_ray_s_forms(space: dict[str, Any]) -> bool:
    return not any(isinstance(v, dict) and {"zip", "when"} & set(v) for v in space.values())


@pytest.mark.parametrize("name", COUNTS)
def test_ray_tune_expands_a_param_space_to_the_same_configs(found: Catalogue, name: str) -> None:
    space = dict(space_of(found, name).param_space)
    if not has_only_ray_s_forms(space):
        space = {k: v for k, v in space.items() if has_only_ray_s_forms({k: v})}
    configs = [config for _, config in generate_variants(space)]

    def marks(rows: list[dict[str, Any]]) -> set[tuple[tuple[str, Any], ...]]:
        return {tuple(sorted(row.items())) for row in rows}

    assert marks(configs) == marks(expand(space))
    assert len(configs) == len(expand(space))
