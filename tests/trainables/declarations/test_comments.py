"""Comment flags: the published strings, exact tokens, every error at once, and the way back."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_spaces import expand
from trainables.declarations import (
    ConfigError,
    Key,
    Meaning,
    Model,
    Optimizer,
    Part,
    Preset,
    Registry,
    Sizes,
    Stage,
    Task,
    builtin_registry,
    canonical_comments,
    parse_comments,
)
from trainables.declarations.comment_flags import FLAGS, INSTEAD, UNSUPPORTED
from trainables.declarations.comments import COMMENTS, RECURRENT, absent, comment_variants
from trainables.declarations.core.presets import PRETRAIN_EPOCHS
from trainables.declarations.training.base import BASE

X = "allns_embproj_nogradreset_dropout:.3_timerepeat:2_pretrained"
FIGURE4, TABLE1 = (
    [
        f"{y}{flags}_{x}"
        for y, flags, x in itertools.product(
            (y,),
            ("", "_findLSC_radius", "_findLSC_radius_targetnorm:.5",
             "_findLSC_radius_targetnorm:.5_unbalanced"),
            ("_", "clipping"),
        )
    ]
    for y in (
        "allns_dropout:.0_pretrained",
        "allns_dropout:.2_embproj_pretrained_maxlen:300_mlminputs_mlmeps:3",
    )
)  # fmt: skip
RECURRENT_BASE = {"lsc_kinds": "all", "dropout": 0.3, "time_repeat": 2, "readout": "tied"}
LSC = {"pretrain": "lsc", "lsc_norm": "radius"}

README: list[tuple[str, dict[str, Any]]] = [
    (
        "findLSC_radius_adabelief_pretrained_onlypretrain",
        {**LSC, "stage": "lsc", "optimizer": "adabelief", "lsc_optimizer": "adabelief"},
    ),
    (
        "findLSC_radius_adabelief_onlyloadpretrained",
        {**LSC, "optimizer": "adabelief", "lsc_optimizer": "adabelief"},
    ),
    ("_adabelief_onlyloadpretrained", {"optimizer": "adabelief"}),
    ("heinit_adabelief_onlyloadpretrained", {"optimizer": "adabelief", "init": "he_normal"}),
    (
        f"{X}_findLSC_radius_targetnorm:.5_onlypretrain",
        {**RECURRENT_BASE, **LSC, "lsc_target": 0.5, "stage": "lsc"},
    ),
    (f"{X}_findLSC_radius_onlypretrain", {**RECURRENT_BASE, **LSC, "stage": "lsc"}),
    (
        f"{X}_findLSC_radius_targetnorm:.5_onlyloadpretrained",
        {**RECURRENT_BASE, **LSC, "lsc_target": 0.5},
    ),
    (f"{X}_findLSC_radius_onlyloadpretrained", {**RECURRENT_BASE, **LSC}),
    (f"{X}_onlyloadpretrained", {"dropout": 0.3, "time_repeat": 2, "readout": "tied"}),
    (FIGURE4[0], {"dropout": 0.0}),
    (FIGURE4[3], {**LSC, "lsc_kinds": "all", "dropout": 0.0, "clip_norm": 1.0}),
    (
        TABLE1[6],
        {**LSC, "lsc_kinds": "all", "dropout": 0.2, "readout": "tied", "seq_len": 300,
         "mlm_epochs": 2, "lsc_target": 0.5,
         "lsc_balance": "unbalanced"},
    ),
]  # fmt: skip


def problems(text: str, **config: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_comments(text, config)
    return caught.value.problems


@pytest.mark.parametrize(("text", "keys"), README)
def test_the_published_strings(text: str, keys: dict[str, Any]) -> None:
    assert parse_comments(text) == keys


@pytest.mark.parametrize("text", [*FIGURE4, *TABLE1, "", "36", "36_radius_findLSC_32", "__"])
def test_empty_tokens_and_free_tags_count_for_nothing(text: str) -> None:
    assert parse_comments(text) == parse_comments(f"_{text}__7_")


def test_a_tied_readout_is_for_language_only() -> None:
    assert parse_comments("embproj", {"task": "wordptb"}) == {"readout": "tied"}
    assert parse_comments("embproj", {"task": "heidelberg"}) == {}


def test_flags_of_the_stage_say_nothing_without_it() -> None:
    assert parse_comments("allns_wshuff_wmultiplier") == {}
    assert parse_comments("allns_wshuff_wmultiplier_findLSC_radius") == {
        **LSC, "lsc_kinds": "all", "lsc_shuffle": True, "lsc_multiplier": True
    }  # fmt: skip


def test_a_token_is_a_flag_exactly_and_never_a_part_of_one() -> None:
    (found,) = problems("radius_findLSC_heinits")
    assert "unknown comment flag 'heinits' (did you mean heinit?); known: allns, findLSC" in found
    (found,) = problems("findLSC_Radius_normpow:2")
    assert "unknown comment flag 'Radius'" in found
    assert parse_comments("findLSC_logradius")["lsc_norm"] == "logradius"


@pytest.mark.parametrize("name", sorted(UNSUPPORTED))
def test_what_no_published_grid_uses_is_known_and_refused(name: str) -> None:
    for token in (name, name if "_" in name else f"{name}:2"):
        (found,) = problems(f"{token}_heinit")
        assert "unsupported: no published grid uses it" in found
        assert "unknown" not in found


def test_a_refused_flag_with_a_key_names_it() -> None:
    for name, key in INSTEAD.items():
        (found,) = problems(f"{name}:8")
        assert found.endswith(f"set the key {key}")


def test_no_flag_is_both_supported_and_refused() -> None:
    names = [flag.name for flag in FLAGS]
    assert len(names) == len(set(names))
    assert UNSUPPORTED.isdisjoint(names)
    assert UNSUPPORTED.isdisjoint(INSTEAD)
    assert INSTEAD.keys().isdisjoint(names)
    assert all(flag.note for flag in FLAGS)


def test_every_problem_at_once() -> None:
    found = problems(
        "findLSC_radiu_tenb_batchsize:3_dropout_dropout:x_timerepeat:2.5_heinit_heinit_"
        "onlypretrain_onlyloadpretrained_unbalanced_radius_logradius_clipping:1_lsclr:nan_mlmeps:2"
    )
    text = "\n".join(found)
    assert len(found) == 13
    for words in (
        "unknown comment flag 'radiu' (did you mean radius?)",
        "'tenb' is unsupported",
        "'batchsize' is unsupported: no published grid uses it; set the key batch_size",
        "the flag dropout is written dropout:x; got 'dropout'",
        "the value of dropout:x must be a number; got 'x'",
        "the value of timerepeat:n must be an integer; got '2.5'",
        "comments give heinit twice",
        "onlypretrain and onlyloadpretrained contradict each other",
        "unbalanced needs targetnorm:.5 beside it",
        "logradius contradicts another flag: lsc_norm cannot be both radius and logradius",
        "the flag clipping takes no value; got 'clipping:1'",
        "the value of lsclr:x must be a number; got 'nan'",
        "mlmeps needs mlminputs beside it",
    ):
        assert words in text, words


def test_a_flag_without_what_it_needs() -> None:
    (found,) = problems("findLSC")
    assert found.startswith("findLSC names no norm; add one of radius, logradius, entrywise")
    assert problems("radius_targetnorm:.5_onlypretrain") == [
        f"{name} needs findLSC beside it" for name in ("radius", "targetnorm", "onlypretrain")
    ]
    assert problems("unbalanced_findLSC_radius_targetnorm:1") == [
        "unbalanced needs targetnorm:.5 beside it"
    ]


# ---- the way back ------------------------------------------------------------------------------


def full(keys: dict[str, Any], model: str, task: str) -> dict[str, Any]:
    """A whole config, as a resolved trial would have it, from the keys a string sets."""
    stage = keys.get("stage", "train")
    lsc = {
        "lsc_kinds": "rec", "lsc_norm": "radius", "lsc_target": 1.0, "lsc_balance": "equal",
        "lsc_lr": None, "lsc_multiplier": True, "lsc_shuffle": True, "lsc_optimizer": "adabelief",
    }  # fmt: skip
    own: dict[str, Any] = {"model": model, "task": task, "stage": stage, "seed": 3}
    if model == "ffn":
        own |= {"init": "glorot_normal"}
    else:
        own |= {"readout": "dense", "dropout": 0.1, "time_repeat": 1}
    if task == "wordptb":
        own |= {"seq_len": 100, "mlm_epochs": 0, "mlm_rate": 0.05}
    if stage == "train":
        own |= {"pretrain": "none", "clip_norm": None}
    if "lsc" in (stage, keys.get("pretrain")):
        own |= lsc
    rules = absent(keys, own)
    return {**own, **{n: v for n, v in {**rules, **keys}.items() if n in own or n == "optimizer"}}


@st.composite
def strings(draw: st.DrawFn, model: str) -> str:
    """Any valid string for a model: a subset of the flags that suit it, in any order."""
    unsuited = {"heinit", "adabelief"} if model != "ffn" else {
        "allns", "embproj", "dropout", "timerepeat", "maxlen", "mlminputs", "mlmeps", "unbalanced"
    }  # fmt: skip
    values = {
        "targetnorm": st.sampled_from([".5", "1", "0.7", "1.25"]),
        "lsclr": st.floats(1e-6, 1, allow_nan=False).map(repr),
        "dropout": st.sampled_from([".0", ".1", ".3", "0.05"]),
        "timerepeat": st.integers(1, 4).map(str),
        "maxlen": st.integers(1, 400).map(str),
        "mlmeps": st.integers(1, 9).map(str),
        "normpow": st.sampled_from(["1", "2", "-1"]),
    }
    names = [flag.name for flag in FLAGS if flag.name not in unsuited]
    chosen = set(draw(st.lists(st.sampled_from(names), unique=True)))
    norms = sorted(name for name in chosen if name in NORMS)
    chosen -= set(norms[1:])
    by_name = {flag.name: flag for flag in FLAGS}
    if any(by_name[name].needs == "findLSC" for name in chosen):
        chosen.add("findLSC")
    if "findLSC" in chosen and not norms:
        chosen.add("radius")
    if chosen & {"mlmeps", "mlminputs"}:
        chosen |= {"mlmeps", "mlminputs"}
    if "onlypretrain" in chosen:
        chosen.discard("onlyloadpretrained")
    tokens = [
        f"{name}:{draw(values[name])}" if name in values else name
        for name in draw(st.permutations(sorted(chosen)))
    ]
    if "unbalanced" in tokens:
        tokens = [t for t in tokens if not t.startswith("targetnorm")] + ["targetnorm:.5"]
    return "_".join(tokens)


NORMS = {flag.name for flag in FLAGS if flag.key == "lsc_norm"}


@given(st.data())
def test_parsing_a_canonical_string_gives_the_config_back(data: st.DataObject) -> None:
    model = data.draw(st.sampled_from(["ffn", *RECURRENT]))
    task = "mnist" if model == "ffn" else data.draw(st.sampled_from(["wordptb", "sl_mnist"]))
    text = data.draw(strings(model))
    keys = parse_comments(text, {"task": task})
    config = full(keys, model, task)
    canonical = canonical_comments(config)
    assert canonical is not None
    again = parse_comments(canonical, config)
    assert full(again, model, task) == config
    assert canonical_comments(full(again, model, task)) == canonical


@pytest.mark.parametrize(
    ("change", "canonical"),
    [
        ({}, ""),
        ({"init": "he_normal", "optimizer": "adabelief"}, "heinit_adabelief"),
        ({"clip_norm": 1.0}, "clipping"),
        ({"clip_norm": 0.5}, None),
        ({"optimizer": "sgd"}, None),
        ({"model": "vanilla_rnn"}, None),
    ],
)
def test_a_config_no_string_says_has_none(change: dict[str, Any], canonical: str | None) -> None:
    plain = full({}, "ffn", "mnist")
    assert canonical_comments({**plain, **change}) == canonical


def test_canonical_strings_of_the_published_ones() -> None:
    def again(text: str, model: str, task: str) -> str | None:
        return canonical_comments(full(parse_comments(text, {"task": task}), model, task))

    assert again(README[0][0], "ffn", "mnist") == "findLSC_radius_onlypretrain_adabelief"
    assert again(README[2][0], "ffn", "mnist") == "adabelief"
    assert again(README[6][0], "gru", "wordptb") == (
        "allns_findLSC_radius_targetnorm:.5_embproj_dropout:.3_timerepeat:2"
    )
    assert again(README[8][0], "gru", "heidelberg") == "dropout:.3_timerepeat:2"
    assert again(TABLE1[1], "lru_stack", "wordptb") == (
        "embproj_dropout:.2_maxlen:300_mlminputs_mlmeps:3_clipping"
    )


# ---- as a word of a config ---------------------------------------------------------------------


@pytest.fixture
def registry() -> Registry:
    """Small parts with the keys of the study."""
    made = Registry(presets={"comments": COMMENTS})
    lsc = (
        Key("lsc_kinds", "str", "rec", choices=("rec", "all")),
        Key("lsc_norm", "str", "radius"),
        Key("lsc_target", "float", 1.0, "traced"),
        Key("lsc_optimizer", "str", "adabelief"),
        Key("lsc_epochs", "int", 2, "host"),
    )
    made.add(
        BASE,
        Stage(name="train", version=1, keys=(Key("pretrain", "str", "none", "init"),
                                             Key("epochs", "int", 1, "host")),
              parent=lambda c: None if c.get("pretrain", "none") == "none" else c["pretrain"]),
        Stage(name="lsc", version=1, keys=lsc, reads=("model", "task"), epochs_key="lsc_epochs"),
        Model(name="ffn", version=1, keys=(Key("init", "str", "glorot_normal", "init"),)),
        Model(name="gru", version=1, keys=(Key("dropout", "float", 0.1, "traced"),)),
        Task(name="mnist", version=1, sizes=lambda c: Sizes(1, 1, 2, 4, 1, 1, 2)),
        *(
            Optimizer(name=name, version=1, keys=(Key("lr", "float", 0.01, "traced"),
                                                  Key("weight_decay", "float", 0.0, "traced")))
            for name in ("adam", "adabelief", "sgd")
        ),
    )  # fmt: skip
    return made


BASIC = {"model": "ffn", "task": "mnist"}


def test_comments_are_read_as_the_keys_they_stand_for(registry: Registry) -> None:
    trial = registry.resolve({**BASIC, "comments": "findLSC_radius_adabelief", "lr": 0.1})
    spelled = {
        **BASIC, "pretrain": "lsc", "optimizer": "adabelief", "weight_decay": 1e-4, "lr": 0.1
    }  # fmt: skip
    assert trial.id == registry.resolve(spelled).id
    assert "comments" not in trial.config
    plain = registry.resolve({**BASIC, "comments": ""})
    assert (plain.config["optimizer"], plain.config["weight_decay"]) == ("adam", 0.0)
    without = registry.resolve({**BASIC, "comments": "findLSC_radius"})
    assert without.config["lsc_optimizer"] == "adamw"


def test_only_the_pretraining_of_a_training(registry: Registry) -> None:
    text = "findLSC_radius_adabelief_pretrained_onlypretrain"
    found = {
        registry.resolve({**BASIC, "comments": text, "lr": lr, "epochs": 50}).id
        for lr in (0.1, 0.01)
    }
    child = registry.resolve({**BASIC, "comments": "findLSC_radius_adabelief"})
    assert child.parent is not None
    assert found == {child.parent.id}
    with pytest.raises(ConfigError, match="lr must be"):
        registry.resolve({**BASIC, "comments": text, "lr": "fast"})


def test_an_explicit_key_must_agree(registry: Registry) -> None:
    text = "findLSC_radius_targetnorm:.5"
    agreeing = {**BASIC, "comments": text, "lsc_target": 0.5}
    assert registry.resolve(agreeing).config["lsc_target"] == 0.5
    with pytest.raises(ConfigError) as caught:
        registry.resolve({**BASIC, "comments": text, "lsc_target": 1, "pretrain": "none"})
    assert caught.value.problems == [
        f"comments={text} says pretrain=lsc, but pretrain=none is set as well; give one of them",
        f"comments={text} says lsc_target=0.5, but lsc_target=1 is set as well; give one of them",
    ]


def test_errors_of_comments_come_with_the_others(registry: Registry) -> None:
    with pytest.raises(ConfigError) as caught:
        registry.resolve({**BASIC, "comments": "tenb_heinits", "lr": -1, "dropuot": 1})
    text = "\n".join(caught.value.problems)
    assert len(caught.value.problems) == 3
    assert "'tenb' is unsupported" in text
    assert "unknown comment flag 'heinits'" in text
    assert "unknown key 'dropuot'" in text


def test_a_string_replaces_what_the_space_itself_chooses(registry: Registry) -> None:
    space = {
        **BASIC,
        "optimizer": "sgd",
        "start": {"zip": {"pretrain": ["lsc", "none"], "init": ["glorot_normal", "he_normal"]}},
        "lr": {"grid_search": [0.1, 0.2]},
    }

    def configs(*strings: str) -> list[dict[str, Any]]:
        return expand(
            space, overrides={"comments": list(strings)}, replaced=COMMENTS.decides,
            unfold=registry.resolver().unfold,
            defaults=({"when": {"pretrain": "lsc"}, "then": {"epochs": 9}},)
        )  # fmt: skip

    found = configs("heinit_adabelief")
    assert [c["lr"] for c in found] == [0.1, 0.2]
    assert {c["init"] for c in found} == {"he_normal"}
    assert {c["optimizer"] for c in found} == {"adabelief"}
    assert all("pretrain" not in c for c in found)
    assert len(configs("heinit", "findLSC_radius")) == 4
    assert [c.get("epochs") for c in configs("heinit", "findLSC_radius")] == [None, 9, None, 9]
    assert {c["comments"] for c in configs("tenb")} == {"tenb"}, "left for resolve to refuse"


def test_pretraining_epochs_are_for_trials_that_are_pretrained(registry: Registry) -> None:
    registry.presets["pretrain_epochs"] = PRETRAIN_EPOCHS
    for text, epochs in (("findLSC_radius", 7), ("heinit", None)):
        trial = registry.resolve({**BASIC, "pretrain_epochs": "7", "comments": text})
        assert trial.config.get("lsc_epochs") == epochs
    with pytest.raises(ConfigError, match="lsc_epochs must be an integer"):
        registry.resolve({**BASIC, "comments": "findLSC_radius", "pretrain_epochs": "few"})


def test_a_part_may_not_declare_a_word_that_is_read_as_others(registry: Registry) -> None:
    with pytest.raises(ValueError, match="declares comments, which is read as other keys"):
        registry.add(Part(name="mine", keys=(Key("comments", "str", ""),)))


def test_a_preset_may_share_a_name_with_a_key() -> None:
    found = builtin_registry()
    gaussian = {"model": "vanilla_rnn", "task": "gaussian"}
    assert found.resolve({**gaussian, "steps_per_epoch": 3}).config["steps_per_epoch"] == 3
    assert found.resolve({**gaussian, "steps_per_epoch": -1}).config["steps_per_epoch"] == 1
    digits = {"model": "vanilla_rnn", "task": "digits"}
    assert found.resolve({**digits, "steps_per_epoch": -1}).id == found.resolve(digits).id
    assert found.resolve({"net": "VanillaRNN", "dataset": "digits"}).id == found.resolve(digits).id


def test_a_preset_s_defaults_only_fill() -> None:
    found = builtin_registry()
    found.presets["fast"] = Preset(
        "fast", lambda value, config: Meaning({"epochs": 1}, {"learning_rate": float(value)})
    )
    digits = {"model": "vanilla_rnn", "task": "digits", "fast": 0.5}
    assert found.resolve(digits).config["lr"] == 0.5
    assert found.resolve({**digits, "lr": 0.25}).config["lr"] == 0.25


def test_a_trial_s_label_is_its_string_and_no_part_of_its_identity(registry: Registry) -> None:
    text = "findLSC_radius_targetnorm:.5_adabelief"
    config = {**BASIC, "comments": text}
    plain = registry.resolve(config)
    registry.parts["model", "ffn"] = replace(
        registry.parts["model", "ffn"], variants=comment_variants
    )
    trial = registry.resolve(config)
    assert (trial.id, plain.variants, trial.variants) == (plain.id, {}, {"comments": text})
    assert trial.parent is not None
    assert trial.parent.variants == {
        "comments": "findLSC_radius_targetnorm:.5_onlypretrain_adabelief"
    }
    assert registry.resolve({**BASIC, "optimizer": "sgd"}).variants == {}
    assert registry.resolve(trial.config).id == trial.id, "what is stored is resolved again"


def test_the_study_s_page_lists_every_flag() -> None:
    page = Path(__file__).parents[3] / "docs" / "studies" / "herranz2023.md"
    rows = [line.split("|")[1] for line in page.read_text().splitlines() if line.startswith("| `")]
    listed = {word for row in rows for word in re.findall(r"`([^`]+)`", row)}
    assert {flag.spelled for flag in FLAGS} <= listed
