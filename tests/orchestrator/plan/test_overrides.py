"""`--set key=value`."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.errors import RequestError
from orchestrator.plan.overrides import read_overrides, where_read
from orchestrator.plan.plan import trials_of
from orchestrator.plan.studies import Catalogue
from search_spaces import builtin_studies
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
    ],
)
def test_what_a_command_line_may_say(
    registry: Registry, text: str, key: str, values: list[Any]
) -> None:
    assert read_overrides([text], registry) == ({key: values}, [])


def test_several_and_the_last_of_one_key_counts(registry: Registry) -> None:
    found, _ = read_overrides(["lr=1", "seed=range(2)", "learning_rate=2"], registry)
    assert found == {"lr": [2], "seed": [0, 1]}


def test_python_gives_a_mapping_of_values_or_lists(registry: Registry) -> None:
    given = {"lr": 0.1, "seed": range(2), "L": (3, 4), "clip_norm": None, "model": "VanillaRNN"}
    found, problems = read_overrides(given, registry)
    assert problems == []
    assert found == {
        "lr": [0.1], "seed": [0, 1], "depth": [3, 4], "clip_norm": [None], "model": ["vanilla_rnn"]
    }  # fmt: skip


def test_every_wrong_entry_is_told(registry: Registry) -> None:
    wrong = ["depht=3", "lr", "=3", "seed=range(0)", "seed=range(1,5,0)", "lr=0.1"]
    found, problems = read_overrides(wrong, registry)
    assert found == {"lr": [0.1]}
    assert problems == [
        "unknown key 'depht' (did you mean depth?)",
        "--set 'lr' is not key=value",
        "--set '=3' is not key=value",
        "seed=range(0) gives no value; a range needs its end above its start",
        "seed=range(1,5,0) gives no value; a range needs its end above its start",
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
    with pytest.raises(RequestError, match="unknown key 'warmup_lr'; not read by"):
        trials_of(
            Catalogue({}, registry),
            builtin_studies()["vanishing"].spaces["warmup"],
            ["warmup_lr=0.5", "pretrain=none"],
        )
