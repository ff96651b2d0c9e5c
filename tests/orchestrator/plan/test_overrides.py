"""`--set key=value`."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.errors import RequestError
from orchestrator.plan.overrides import read_overrides, where_read
from orchestrator.plan.studies import Catalogue
from orchestrator.plan.trials import trials_of
from search_spaces import Space, builtin_studies
from search_spaces.study import grid
from trainables.declarations import Registry, builtin_registry


@pytest.fixture(scope="module")
def registry() -> Registry:
    return builtin_registry()


@pytest.mark.parametrize(
    ("text", "key", "values"),
    [
        ("lr=0.1", "lr", [0.1]),
        ("lr = 0.1 , 1e-2", "lr", [0.1, 0.01]),
        ("seed=range(3)", "seed", [0, 1, 2]),
        ("seed=range(2, 8, 3)", "seed", [2, 5]),
        ("seed=range(3,0,-1)", "seed", [3, 2, 1]),
        ("depth=5,10", "depth", [5, 10]),
        ("clip_norm=null,0.5", "clip_norm", [None, 0.5]),
        ("clip_norm=", "clip_norm", [None]),
        ("lr=none,0.5", "lr", [..., 0.5]),
        ("lru_gamma=none,null,L1", "lru_gamma", ["none", ..., "L1"]),
        ("keep_weights=none", "keep_weights", ["none"]),
        ("net=VanillaRNN", "model", ["vanilla_rnn"]),
        ("dataset=digits", "task", ["digits"]),
        ("comments=_heinit_32", "comments", ["_heinit_32"]),
        ("steps_per_epoch=-1", "steps_per_epoch", [-1]),
        ("alpha=1/sqrt(L),1", "residual_scale", ["1/sqrt(L)", 1]),
        ("num_layers=3", "depth", [3]),
        ("model=VanillaRNN,residual_rnn", "model", ["vanilla_rnn", "residual_rnn"]),
        ("optimizer=Adam", "optimizer", ["adam"]),
        ("stage=warmup", "stage", ["warmup"]),
        ("model=resnet", "model", ["resnet"]),
        ("keep_weights=every:2", "keep_weights", ["every:2"]),
        ("model.max_phase=0.5,1", "model.max_phase", [0.5, 1]),
    ],
)
def test_what_a_command_line_may_say(
    registry: Registry, text: str, key: str, values: list[Any]
) -> None:
    assert read_overrides([text], registry) == ({key: values}, [])


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["lr=0.1", "lr=0.2"],
         "lr=0.1 and lr=0.2 set the same key; give one of them, or several values as lr=0.1,0.2"),
        (["lr=1", "seed=range(2)", "learning_rate=2"],
         "lr=1 and learning_rate=2 set the same key, lr; give one of them"),
        ({"width": 8, "hidden_size": 8},
         "width=8 and hidden_size=8 set the same key, width; give one of them"),
        (["net=gru", "model=gru"],
         "net=gru and model=gru set the same key, model; give one of them"),
        (["keep_weights=last", "keep_weights=best"],
         "keep_weights=last and keep_weights=best set the same key; give one of them"),
        (["seed=range(2)", "seed=5"],
         "seed=range(2) and seed=5 set the same key; give one of them"),
    ],
)  # fmt: skip
def test_a_key_is_set_once(registry: Registry, given: Any, says: str) -> None:
    assert read_overrides(given, registry)[1] == [says]


def test_python_gives_a_mapping_of_values_or_lists(registry: Registry) -> None:
    given = {"lr": 0.1, "seed": range(2), "L": (3, 4), "clip_norm": None, "model": "VanillaRNN"}
    found, problems = read_overrides(given, registry)
    assert problems == []
    assert found == {
        "lr": [0.1], "seed": [0, 1], "depth": [3, 4], "clip_norm": [None], "model": ["vanilla_rnn"]
    }  # fmt: skip


def test_every_wrong_entry_is_told(registry: Registry) -> None:
    wrong = ["depht=3", "lr", "=3", "seed=range(0)", "depth=range(1,5,0)", "lr=0.1"]
    found, problems = read_overrides(wrong, registry)
    assert found == {"lr": [0.1]}
    assert problems == [
        "unknown key 'depht' (did you mean depth?)",
        "--set 'lr' is not key=value",
        "--set '=3' is not key=value",
        "seed=range(0) gives no value; a range needs its end above its start",
        "depth=range(1,5,0) gives no value; a range needs its end above its start",
    ]
    assert "gives no value" in read_overrides({"seed": []}, registry)[1][0]
    for endless in (["seed=range(1000000000)"], {"seed": range(10**15)}):
        assert "gives over 2000000 values; give fewer" in read_overrides(endless, registry)[1][0]


def test_an_override_goes_to_the_trials_that_read_its_key(registry: Registry) -> None:
    plain = {"model": "vanilla_rnn", "task": "digits"}
    warm = {**plain, "pretrain": "warmup"}
    given = {"warmup_lr": 0.1, "residual_scale": 2.0, "lr": 0.5}
    configs = [{**plain, **given}, {**warm, **given}, {**warm, **given, "stage": "warmup"}]
    names = ["warmup_lr", "lr", "residual_scale"]
    resolver = registry.resolver()
    kept = [set(config) & set(names) for config in where_read(configs, names, resolver)]
    assert kept[0] == {"lr", "residual_scale"}, "none reads a residual_scale, so it stays"
    assert kept[1] == kept[2] == {"lr", "residual_scale", "warmup_lr"}
    broken = [{**plain, **given, "model": "resnet"}, {**plain, **given}]
    assert next(iter(where_read(broken, names, resolver))) == broken[0]
    assert list(where_read([{**plain, "depht": 3}], ["lr"], resolver)) == [{**plain, "depht": 3}]


def test_overrides_of_one_stage_of_a_study(registry: Registry) -> None:
    targets = trials_of(
        Catalogue({}, registry),
        builtin_studies()["vanishing"].spaces["warmup"],
        ["warmup_lr=0.5", "depth=10", "seed=0", "lr=none"],
    )
    assert [t.parent.config["warmup_lr"] if t.parent else None for t in targets] == [None, 0.5]
    assert {t.config["lr"] for t in targets} == {0.01}, "the key's own default"
    with pytest.raises(RequestError, match=r"unknown key 'warmup_lr'.*; not read by"):
        trials_of(
            Catalogue({}, registry),
            builtin_studies()["vanishing"].spaces["warmup"],
            ["warmup_lr=0.5", "pretrain=none"],
        )


def test_none_is_the_choice_of_a_key_that_has_it(registry: Registry) -> None:
    space = Space(param_space={"model": "lru", "task": "teacher_student", "lru_gamma": "L1"})
    for given in (["lru_gamma=none"], {"lru_gamma": "none"}):
        (trial,) = trials_of(Catalogue({}, registry), space, given)
        assert trial.config["lru_gamma"] == "none"
    (trial,) = trials_of(Catalogue({}, registry), space, ["lru_gamma=null"])
    assert trial.config["lru_gamma"] == "learned", "the key's own default"
    deep = Space(param_space={"model": "deep_lru", "task": "copy", "norm": "layer"})
    (trial,) = trials_of(Catalogue({}, registry), deep, ["norm=none", "pooling=none"])
    assert (trial.config["norm"], trial.config["pooling"]) == ("none", "none")


# ---- what a space asks for ---------------------------------------------------------------------

SELF = {"model": "vanilla_rnn", "task": "gaussian", "seq_len": 3, "epochs": 1}


def trials(registry: Registry, space: dict[str, Any], *words: str, **more: Any) -> list[Any]:
    entry = Space(param_space={**SELF, **space}, **more)
    return trials_of(Catalogue({}, registry), entry, words, smoke="smoke" in more)


def problems(registry: Registry, space: dict[str, Any], *words: str, **more: Any) -> list[str]:
    with pytest.raises(RequestError) as caught:
        trials(registry, space, *words, **more)
    return caught.value.problems


@pytest.mark.parametrize(
    ("space", "words"),
    [
        ({}, ["timeline_every=0,1"]),
        ({"timeline_every": grid(0, 1)}, []),
        ({"pair": {"zip": {"timeline_every": [0, 1], "lr": [0.5, 0.5]}}}, []),
        ({"pair": {"zip": {"timeline_every": [0, 1], "lr": [0.1, 0.5]}}}, ["lr=1"]),
        # The parent of both is one trial.
        ({"pair": {"zip": {"timeline_every": [0, 1], "lr": [0.1, 0.5]}}}, ["pretrain=warmup"]),
    ],
)
def test_a_recording_key_has_one_value_for_a_trial(
    registry: Registry, space: dict[str, Any], words: list[str]
) -> None:
    (says,) = problems(registry, space, *words)
    assert says == (
        "timeline_every is both 0 and 1 for the same trial; a recording key makes no trials, so "
        "give it one value"
    )


def test_trials_may_differ_in_what_they_record(registry: Registry) -> None:
    space = {"pair": {"zip": {"timeline_every": [0, 1], "lr": [0.1, 0.5]}}}
    assert [t.config["timeline_every"] for t in trials(registry, space)] == [0, 1]
    assert len(trials(registry, {}, "timeline_every=1", "seed=range(2)")) == 2


@pytest.mark.parametrize(
    ("space", "more"),
    [
        ({"width": 4, "hidden_size": 8}, {}),
        ({"pair": {"zip": {"width": [4], "hidden_size": [8]}}}, {}),
        ({"if": {"when": {"epochs": 1}, "then": {"width": 4, "hidden_size": 8}}}, {}),
        ({"if": {"when": {"width": 4, "hidden_size": 8}, "then": {"lr": 1.0}}}, {}),
        ({}, {"smoke": {"width": 4, "hidden_size": 8}}),
        ({}, {"defaults": ({"when": {"epochs": 1}, "then": {"width": 4, "hidden_size": 8}},)}),
    ],
)
def test_two_names_of_a_key_in_one_place_of_a_space_are_refused(
    registry: Registry, space: dict[str, Any], more: dict[str, Any]
) -> None:
    says = "width and hidden_size set the same key, width; give one of them"
    assert problems(registry, space, **more) == [says]


def test_what_the_user_did_not_type_yields_to_the_parts_that_were_chosen(
    registry: Registry,
) -> None:
    """Keys of the space and of its smoke variant go with the parts that read them."""
    warm = {"pretrain": "warmup", "warmup_lr": grid(0.1, 0.2), "lr": grid(0.1, 0.2)}
    smoke = {"warmup_epochs": 1, "lr": 0.1}
    assert len(trials(registry, warm, smoke=smoke)) == 2
    for words in (["pretrain=none"], ["pretrain=none", "lr=0.3"]):
        (only,) = trials(registry, warm, *words, smoke=smoke)
        assert (only.parent, "warmup_lr" in only.config) == (None, False)
    assert len(trials(registry, warm, "pretrain=none")) == 2
    typed = problems(registry, warm, "pretrain=none", "warmup_lr=0.3", smoke=smoke)
    assert [text.partition(" (")[0] for text in typed] == ["unknown key 'warmup_lr'"]


@pytest.mark.parametrize(
    ("space", "words", "more"),
    [
        ({"widht": 4}, ["pretrain=none"], {}),
        ({}, ["pretrain=none"], {"smoke": {"widht": 4}}),
        ({"warmup_lr": 0.1}, [], {}),
        ({"warmup_lr": 0.1}, ["lr=0.1"], {}),
        ({}, [], {"smoke": {"warmup_lr": 0.1}}),
    ],
)
def test_a_key_of_the_space_s_that_nothing_ever_read_is_told(
    registry: Registry, space: dict[str, Any], words: list[str], more: dict[str, Any]
) -> None:
    assert "unknown key" in problems(registry, space, *words, **more)[0]
