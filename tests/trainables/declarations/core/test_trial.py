"""Configs become trials: identity, errors, aliases, stages."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest

from trainables.declarations import (
    ConfigError,
    Key,
    Model,
    Optimizer,
    Part,
    Registry,
    Sizes,
    Stage,
    Task,
    Trial,
    builtin_registry,
    digest,
)
from trainables.declarations.core import parts
from trainables.declarations.core.presets import Meaning, Preset

BASIC = {"model": "vanilla_rnn", "task": "digits"}

# Ids of stores that exist. One that changes is a result that is run again: raise a version, and
# write down why, before touching these.
GOLDEN: list[tuple[dict[str, Any], str, str]] = [
    (BASIC, "6a4558750b05064b", "e043ed5fc8c06d9a"),
    (
        {"model": "residual_rnn", "task": "gaussian", "seq_len": 16, "seed": 3, "init": "he",
         "residual_scale": "1/sqrt(L)"},
        "01702369fae0f755", "e634ea3ccf88ee72",
    ),
    (
        {"model": "vanilla_rnn", "task": "mnist", "optimizer": "adam", "lr": 0.1, "clip_norm": 0.5},
        "202c1d24332ce499", "af4593e16e506a18",
    ),
    (
        {"model": "vanilla_rnn", "task": "cifar10_4k", "layout": "grey", "stop_below": 1e-4},
        "853f45e97986a238", "0d498a051ea49947",
    ),
    (
        {**BASIC, "pretrain": "warmup", "warmup_epochs": 3, "lr": 0.1},
        "488911dec2fe65b9", "2633429539d12600",
    ),
    ({**BASIC, "stage": "warmup", "warmup_epochs": 3}, "dd24dad916e2d24f", "8f2d327d3af678eb"),
    (
        {"model": "residual_rnn", "task": "cifar10", "depth": 10, "width": 64},
        "305ee8ca7daf16ff", "ef3bd3f82f025148",
    ),
]  # fmt: skip


@pytest.fixture
def registry() -> Registry:
    return builtin_registry()


def with_part(registry: Registry, part: Part) -> Registry:
    """A registry whose part of that role and name is this one."""
    changed = registry.copy()
    changed.parts[part.role, part.name] = part
    return changed


def part_of(registry: Registry, role: str, name: str) -> Part:
    found = registry.find(role, name)
    assert found is not None
    return found


# ---- identity ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("config", "trial_id", "config_id"), GOLDEN)
def test_golden_ids(
    registry: Registry, config: dict[str, Any], trial_id: str, config_id: str
) -> None:
    trial = registry.resolve(config)
    assert (trial.id, trial.config_id) == (trial_id, config_id)


@pytest.mark.parametrize(("config", "trial_id"), [(c, i) for c, i, _ in GOLDEN])
def test_a_new_key_task_or_study_changes_no_old_id(
    registry: Registry, config: dict[str, Any], trial_id: str
) -> None:
    for (role, name), part in list(registry.parts.items()):
        new = Key(f"new_{role}_{name}", "float", 0.5, "traced")
        registry.parts[role, name] = replace(part, keys=(new, *part.keys))
    registry.add(
        Task(
            name="copying",
            version=1,
            keys=(Key("lag", "int", 10),),
            sizes=lambda config: Sizes(config["lag"], 1, 2, 10, 0, 0, 5),
        ),
        Model(name="copier", version=1, keys=(Key("gates", "int", 2),), aliases=("Copier",)),
        Optimizer(name="rmsprop", version=1),
        Stage(name="distil", version=1),
    )
    assert registry.resolve(config).id == trial_id


def test_a_default_spelled_out_is_no_new_trial(registry: Registry) -> None:
    whole = registry.resolve(BASIC).config
    assert registry.resolve(whole).id == GOLDEN[0][1]
    assert registry.resolve({**BASIC, "optimizer": "sgd", "stage": "train"}).id == GOLDEN[0][1]


def test_equal_numbers_are_equal_trials(registry: Registry) -> None:
    def id_of(**keys: Any) -> str:
        return registry.resolve({**BASIC, **keys}).id

    assert id_of(lr=1) == id_of(lr=1.0) == id_of(lr=True + 0.0)
    assert id_of(depth=5) == id_of(depth=5.0)
    assert id_of(weight_decay=-0.0) == id_of()
    assert id_of(lr=0.1) != id_of(lr=0.2)


def test_recording_keys_change_no_id_and_split_no_program(registry: Registry) -> None:
    plain = registry.resolve(BASIC)
    watched = registry.resolve(
        {**BASIC, "timeline_every": 2, "timeline_points": 8, "keep_weights": "last"}
    )
    assert (watched.id, watched.program) == (plain.id, plain.program)


@pytest.mark.parametrize(
    ("change", "same_program"),
    [
        ({"seed": 5, "lr": 0.5, "clip_norm": 1.0, "noise_std": 0.1}, True),
        ({"init": "default"}, True),
        ({"epochs": 3, "stop_below": 0.1}, True),
        ({"pretrain": "warmup"}, True),
        ({"depth": 3}, False),
        ({"batch_size": 32}, False),
        ({"task": "mnist"}, False),
        ({"optimizer": "adam"}, False),
        ({"min_norm_rule": "published"}, False),
    ],
)
def test_what_splits_a_program(
    registry: Registry, change: dict[str, Any], same_program: bool
) -> None:
    plain, changed = registry.resolve(BASIC), registry.resolve({**BASIC, **change})
    assert changed.id != plain.id
    assert (changed.program == plain.program) is same_program


def test_a_version_changes_the_id_and_not_the_config_id(registry: Registry) -> None:
    old = registry.resolve(BASIC)
    for role, name in [
        ("model", "vanilla_rnn"), ("task", "digits"), ("optimizer", "sgd"), ("stage", "train"),
        ("base", "trial"),
    ]:  # fmt: skip
        raised = replace(part_of(registry, role, name), version=2)
        new = with_part(registry, raised).resolve(BASIC)
        assert new.id != old.id
        assert new.config_id == old.config_id
        assert new.program != old.program
    other = replace(part_of(registry, "model", "residual_rnn"), version=2)
    assert with_part(registry, other).resolve(BASIC).id == old.id


def test_a_parent_of_another_version_makes_another_child(registry: Registry) -> None:
    config = {**BASIC, "pretrain": "warmup"}
    old = registry.resolve(config)
    raised = replace(part_of(registry, "stage", "warmup"), version=2)
    new = with_part(registry, raised).resolve(config)
    assert new.id != old.id
    assert new.config_id == old.config_id
    assert new.program == old.program


def test_digest_is_independent_of_order_and_refuses_nan() -> None:
    assert digest({"a": 1, "b": 2.5}) == digest({"b": 2.5, "a": 1})
    with pytest.raises(ValueError, match="JSON compliant"):
        digest({"a": float("nan")})


# ---- stages ------------------------------------------------------------------------------------


def test_children_that_differ_only_in_lr_share_one_parent(registry: Registry) -> None:
    grid = [
        {**BASIC, "pretrain": "warmup", "lr": lr, "seed": seed, "epochs": epochs}
        for lr in (0.1, 0.01, 0.001)
        for seed in (0, 1)
        for epochs in (2, 3)
    ]
    trials = [registry.resolve(config) for config in grid]
    assert len({trial.id for trial in trials}) == 12
    parents = {trial.parent.id: trial.parent for trial in trials if trial.parent}
    assert len(parents) == 2
    for parent in parents.values():
        assert parent.stage.name == "warmup"
        assert {"lr", "epochs", "optimizer", "pretrain"}.isdisjoint(parent.config)
    for trial in trials:
        (parent,) = trial.ancestors
        assert parent.config["seed"] == trial.config["seed"]
        own = {"stage"}
        assert {n: trial.config[n] for n in parent.config.keys() - own} == {
            n: v for n, v in parent.config.items() if n not in own
        }


def test_the_gate_reads_the_last_row(registry: Registry) -> None:
    trial = registry.resolve({**BASIC, "stage": "warmup", "warmup_gate": 2.0})
    gate = trial.stage.gate
    assert gate is not None
    assert gate(trial.config, {"loss": 2.0}) is None
    assert "loss 2.5, above warmup_gate 2.0" in (gate(trial.config, {"loss": 2.5}) or "")
    assert gate(trial.config, {"loss": float("nan")})


def test_a_stage_that_reads_no_optimizer_refuses_its_keys(registry: Registry) -> None:
    with pytest.raises(ConfigError, match="unknown key 'lr'"):
        registry.resolve({**BASIC, "stage": "warmup", "lr": 0.1})


# ---- errors ------------------------------------------------------------------------------------


def problems(registry: Registry, **config: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        registry.resolve(config)
    return caught.value.problems


def test_all_errors_at_once(registry: Registry) -> None:
    found = problems(
        registry, model="vanilla_rnn", task="digits", depth=0, lr=-1, activation="gelu", depht=3,
        noise_std=float("nan"), residual_scale=1.0,
    )  # fmt: skip
    assert len(found) == 6
    text = "\n".join(found)
    for words in (
        "depth must be an integer >= 1",
        "lr must be a number >= 0; got -1",
        "activation must be one of tanh, relu; got 'gelu'",
        "unknown key 'depht' (did you mean depth?)",
        "noise_std must be a number >= 0; got nan",
        "unknown key 'residual_scale'; not read by",
    ):
        assert words in text, words


def test_errors_of_both_stages_at_once(registry: Registry) -> None:
    found = problems(
        registry, model="vanilla_rnn", task="digits", pretrain="warmup", warmup_epochs=0, lr=-1
    )
    assert len(found) == 2


def test_unknown_and_missing_parts_name_the_known(registry: Registry) -> None:
    (found,) = problems(registry, model="vanila_rnn", task="digits")
    assert "unknown model 'vanila_rnn' (did you mean vanilla_rnn?); known: bare_lru, cnn, " in found
    found = problems(registry, model=3)
    names = ", ".join(registry.names("model"))
    assert f"unknown model 3; known: {names}" in found
    assert any(p.startswith("task is missing; choose one of aan, charptb, cifar10") for p in found)
    (found,) = problems(registry, **BASIC, stage="trian")
    assert "unknown stage 'trian' (did you mean train?)" in found
    (found,) = problems(registry, **BASIC, pretrain="warmpu")
    assert "unknown stage 'warmpu' (did you mean warmup?)" in found


def test_an_impossible_combination_is_told_once_its_keys_are_right() -> None:
    registry = builtin_registry()
    registry.add(
        Model(
            name="m",
            version=1,
            keys=(Key("heads", "int", 2, low=1), Key("size", "int", 8, low=1)),
            check=lambda c: ["size must be a multiple of heads"] if c["size"] % c["heads"] else [],
        )
    )
    assert problems(registry, model="m", task="digits", heads=3) == [
        "size must be a multiple of heads"
    ]
    assert problems(registry, model="m", task="digits", heads=0) == [
        "heads must be an integer >= 1; got 0"
    ]


def test_a_required_key_must_be_given() -> None:
    registry = builtin_registry()
    registry.add(
        Task(
            name="t",
            version=1,
            keys=(Key("lag", "int", low=1),),
            sizes=lambda config: Sizes(config["lag"], 1, 2, 10, 0, 0, 5),
        )
    )
    assert problems(registry, model="vanilla_rnn", task="t") == [
        "lag is missing; it must be an integer >= 1"
    ]
    assert registry.resolve({"model": "vanilla_rnn", "task": "t", "lag": 3}).sizes.seq_len == 3


# ---- aliases -----------------------------------------------------------------------------------


def test_the_papers_spellings_are_the_same_trial(registry: Registry) -> None:
    ours = {
        "model": "residual_rnn", "task": "digits", "depth": 3, "width": 8, "activation": "tanh",
        "residual_scale": 0.5, "clip_norm": 0.5, "min_norm": 1e-3, "lr": 0.1, "epochs": 2,
        "noise_std": 0.05, "stop_below": 1e-4, "stop_patience": 2, "optimizer": "sgd",
    }  # fmt: skip
    theirs = {
        "model": "ResidualRNN", "task": "digits", "num_layers": 3, "hidden_size": 8,
        "nonlinearity": "tanh", "alpha": 0.5, "gradient_clip": 0.5, "gradient_clip_min": 1e-3,
        "learning_rate": 0.1, "num_epochs": 2, "add_noise": 0.05, "vanishing_threshold": 1e-4,
        "vanishing_patience": 2, "optimizer": "SGD",
    }  # fmt: skip
    assert registry.resolve(theirs).config == registry.resolve(ours).config


def test_two_spellings_of_one_key_must_agree(registry: Registry) -> None:
    assert registry.resolve({**BASIC, "depth": 3, "num_layers": 3}).config["depth"] == 3
    (found,) = problems(registry, **BASIC, depth=3, num_layers=4)
    assert found == "num_layers and another spelling of depth are both set"


def test_a_named_value_is_computed_from_the_config(registry: Registry) -> None:
    config = {"model": "residual_rnn", "task": "digits", "depth": 16, "alpha": "1/sqrt(L)"}
    assert registry.resolve(config).config["residual_scale"] == 0.25
    found = problems(registry, **{**config, "depth": "deep"})
    assert "depth must be an integer >= 1 and <= 10000; got 'deep'" in found


# ---- the registry ------------------------------------------------------------------------------


def test_a_name_is_taken_once(registry: Registry) -> None:
    registry.add(part_of(registry, "model", "vanilla_rnn"))  # the same again is no clash
    with pytest.raises(ValueError, match="a model named vanilla_rnn exists already"):
        registry.add(Model(name="vanilla_rnn", version=9))
    with pytest.raises(ValueError, match="model m declares k twice"):
        registry.add(Model(name="m", keys=(Key("k", "int", 0), Key("k", "int", 1))))
    with pytest.raises(ValueError, match="model m declares task twice"):
        registry.add(Model(name="m", keys=(Key("task", "int", 0),)))


@pytest.mark.parametrize("key", [Key("alpha", "float", 1.0), Key("skip", "int", 1, aliases=("L",))])
def test_a_new_key_may_not_change_what_an_alias_means(registry: Registry, key: Key) -> None:
    with pytest.raises(ValueError, match="it already means the key"):
        registry.add(Model(name="m", keys=(key,)))
    assert registry.find("model", "m") is None


def test_two_parts_of_a_trial_declare_a_key_differently(registry: Registry) -> None:
    """Each then has its own, under a name with its role in front; what parts read is their own."""
    registry.add(
        Task(
            name="t",
            version=1,
            keys=(Key("depth", "int", 2, doc="Depth of the tree.", aliases=("levels",)),),
            sizes=lambda config: Sizes(4, config["depth"], 2, 10, 0, 0, 5),
            check=lambda config: ["too deep a tree"] if config["depth"] > 8 else [],
        )
    )
    plain = {"model": "vanilla_rnn", "task": "t"}
    trial = registry.resolve({**plain, "model.num_layers": 9, "task.levels": 4})
    assert "depth" not in trial.config
    assert (trial.config["model.depth"], trial.config["task.depth"]) == (9, 4)
    assert trial.sizes.features == 4
    assert trial.as_read_by("model").config["depth"] == 9
    assert len({registry.resolve({**plain, **c}).id for c in ({}, {"task.depth": 3})}) == 2
    (both,) = problems(registry, **plain, depth=3)
    assert both.endswith("both declare the key depth, differently; set model.depth or task.depth")
    assert problems(registry, **plain, **{"task.depth": 9}) == ["too deep a tree"]
    (wrong,) = problems(registry, **plain, **{"model.depth": 0})
    assert wrong.startswith("model.depth must be an integer >= 1")
    (needless,) = problems(registry, model="vanilla_rnn", task="digits", **{"model.depth": 3})
    assert needless == "model.depth: the parts of this trial have one key depth only; set depth"
    # A stage's key has no prefix: what runs a trial reads it.
    registry.add(Task(name="u", keys=(Key("epochs", "int", 2),), sizes=Sizes(4, 1, 2, 10, 0, 0, 5)))
    (found,) = problems(registry, model="vanilla_rnn", task="u")
    assert "both declare the key epochs, differently; rename one" in found


def test_the_registry_tells_parts_keys_and_the_words_for_them(registry: Registry) -> None:
    declared = [key for part in registry.parts.values() for key in part.keys]
    keys = registry.all_keys()
    assert keys.keys() == {key.name for key in declared}
    assert all(keys[name] is next(k for k in declared if k.name == name) for name in keys)
    depths = registry.declarations("depth")
    assert depths == [key for key in declared if key.name == "depth"]
    assert len(depths) > 1
    residual = registry.find("model", "residual_rnn")
    assert residual is not None
    assert registry.find("model", "ResidualRNN") is residual
    assert registry.find("task", "residual_rnn") is None
    assert [registry.canonical_name(word) for word in ("num_layers", "net", "x")] == [
        "depth", "model", "x"
    ]  # fmt: skip
    assert {"num_layers", "depth", "model", "net", "comments"} <= set(registry.known_names())
    assert {"sgd", "adam"} < set(registry.names("optimizer"))
    other = registry.copy()
    other.add(Model(name="m", version=1))
    assert registry.find("model", "m") is None
    assert "m" in other.names("model")


def test_what_a_config_s_parts_and_those_of_its_parents_read(registry: Registry) -> None:
    reads = registry.resolver().reads
    plain, child = reads(BASIC), reads({**BASIC, "pretrain": "warmup"})
    assert plain is not None
    assert child is not None
    assert {"lr", "depth", "epochs", "seed"} <= plain
    warmup = part_of(registry, "stage", "warmup")
    assert child - plain == {key.name for key in warmup.keys} - plain
    assert reads({**BASIC, "stage": "warmup", "pretrain": "warmup"}) == child
    alone = reads({**BASIC, "stage": "warmup"})
    assert alone is not None
    assert {"lr", "epochs"}.isdisjoint(alone)
    wrong: list[dict[str, Any]] = [
        {**BASIC, "model": "nonsense"}, {"model": "vanilla_rnn"}, {**BASIC, "stage": "nonsense"},
        {**BASIC, "pretrain": "nonsense"}, {**BASIC, "model": [1]}, {**BASIC, "model": 3},
    ]  # fmt: skip
    assert [reads(config) for config in wrong] == [None] * 6


@pytest.mark.parametrize(
    "kind",
    [
        Key, Trial, Preset, Meaning, Model, Task, Optimizer, Stage, Sizes,
        parts.Probe, parts.Column,
    ],
)  # fmt: skip
def test_what_is_declared_cannot_be_changed(kind: type) -> None:
    with pytest.raises(FrozenInstanceError):
        object.__new__(kind).name = "other"
