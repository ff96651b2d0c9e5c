"""Comment flags of "Stabilizing RNN Gradients through Pre-training" (arXiv 2308.12075).

Its programs take one string, `comments`: flags joined by underscores, some with a value after a
colon. There a flag is found as a substring, so that one may switch on another; here a token must be
a flag exactly, and all that is wrong with a string is said at once. `comment_flags` is the table.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from trainables.declarations.comment_flags import FLAGS, INSTEAD, UNSUPPORTED, Flag
from trainables.declarations.core.keys import Scalar
from trainables.declarations.core.parts import Config
from trainables.declarations.core.presets import Meaning, Preset
from trainables.declarations.core.trial import ConfigError, nearest

FEED_FORWARD = ("ffn", "cnn")
RECURRENT = ("lstm", "gru", "rsimplernn", "ssimplernn", "malsnn", "malsnnb", "lru_stack")
LANGUAGE = ("wordptb", "charptb")
PUBLISHED_DECAY = 1e-4
"""Weight decay of the feed-forward runs' AdaBelief; that of the recurrent ones is 0."""


_BY_NAME = {flag.name: flag for flag in FLAGS}

_WITHOUT: dict[str, Scalar] = {
    "pretrain": "none", "stage": "train", "init": "glorot_normal", "readout": "dense",
    "lsc_target": 1.0, "lsc_balance": "equal", "lsc_lr": None, "lsc_multiplier": True,
    "lsc_shuffle": True, "dropout": 0.1, "time_repeat": 1, "seq_len": 100, "mlm_epochs": 0,
    "mlm_rate": 0.05, "clip_norm": None,
}  # fmt: skip
"""Values of keys that no flag has set: the keys' own defaults."""


def parse_comments(text: str, config: Config | None = None) -> dict[str, Scalar]:
    """The keys that a comments string sets, by name.

    Args:
      text: flags joined by `_`; empty ones count for nothing, bare integers are free tags.
      config: what else is known of the trial: `embproj` asks for its task.

    Raises:
      ConfigError: with every unknown, unsupported, repeated or contradictory flag.
    """
    found, problems = _tokens(text)
    problems += _contradictions(found)
    task = (config or {}).get("task", LANGUAGE[0])
    keys: dict[str, Scalar] = {}
    for name, own in found.items():
        flag = _BY_NAME[name]
        nothing = (flag.lsc_only and "findLSC" not in found) or (
            name == "embproj" and task not in LANGUAGE
        )
        if not flag.key or nothing:
            continue
        value = flag.gives
        if value is ...:
            value = flag.means.get(own, own) if flag.means else own + flag.shift
        if keys.setdefault(flag.key, value) != value:
            problems.append(
                f"{name} contradicts another flag: {flag.key} cannot be both {keys[flag.key]} "
                f"and {value}"
            )
    if {"adabelief", "findLSC"} <= found.keys():
        keys["lsc_optimizer"] = "adabelief"
    if problems:
        raise ConfigError(problems)
    return keys


def _tokens(text: str) -> tuple[dict[str, Any], list[str]]:
    """Values of the supported flags (None for those without), in order; and what is wrong."""
    found: dict[str, Any] = {}
    problems: list[str] = []
    for name in (name for name in UNSUPPORTED if "_" in name and f"_{name}_" in f"_{text}_"):
        problems.append(_stranger(name, name))
        text = f"_{text}_".replace(f"_{name}_", "_")
    for token in text.split("_"):
        name, colon, word = token.partition(":")
        if not token or (token.isascii() and token.isdigit()):
            continue
        flag = _BY_NAME.get(name)
        if flag is None:
            problems.append(_stranger(token, name))
        elif name in found:
            problems.append(f"comments give {name} twice; once is enough")
        elif bool(colon) != bool(flag.value):
            problems.append(
                f"the flag {name} is written {flag.spelled}; got {token!r}"
                if flag.value
                else f"the flag {name} takes no value; got {token!r}"
            )
        else:
            try:
                found[name] = _value(flag, word)
            except ValueError:
                what = "an integer" if flag.value == "int" else "a number"
                what = ", ".join(f"{value:g}" for value in flag.means) or what
                problems.append(f"the value of {flag.spelled} must be {what}; got {word!r}")
    return found, problems


def _value(flag: Flag, word: str) -> float | int | None:
    if not flag.value:
        return None
    value = int(word) if flag.value == "int" else float(word)
    if not math.isfinite(value) or (flag.means and value not in flag.means):
        raise ValueError(word)
    return value


def _stranger(token: str, name: str) -> str:
    bare = name.strip("*")
    if bare in UNSUPPORTED or bare in INSTEAD:
        remedy = f"; set the key {INSTEAD[bare]}" if bare in INSTEAD else ""
        return f"the comment flag {bare!r} is unsupported: no published grid uses it{remedy}"
    return (
        f"unknown comment flag {token!r}{nearest(name, _BY_NAME)}; "
        f"known: {', '.join(flag.spelled for flag in FLAGS)}, or an integer as a free tag"
    )


def _contradictions(found: Mapping[str, Any]) -> list[str]:
    problems = [
        f"{name} needs {_BY_NAME[name].needs} beside it"
        for name in found
        if _BY_NAME[name].needs and _BY_NAME[name].needs not in found
    ]
    if "findLSC" in found and not any(_BY_NAME[name].key == "lsc_norm" for name in found):
        norms = [flag.spelled for flag in FLAGS if flag.key == "lsc_norm"]
        problems.append(f"findLSC names no norm; add one of {', '.join(norms)}")
    if "unbalanced" in found and found.get("targetnorm") != 0.5:
        problems.append("unbalanced needs targetnorm:.5 beside it")
    if {"onlypretrain", "onlyloadpretrained"} <= found.keys():
        problems.append("onlypretrain and onlyloadpretrained contradict each other; give one")
    return problems


def absent(keys: Mapping[str, Any], config: Config) -> dict[str, Scalar]:
    """The update rules that the program chooses of itself, given the keys that flags set."""
    model = config.get("model")
    if model not in FEED_FORWARD and model not in RECURRENT:
        return {}
    faithful = model in RECURRENT or keys.get("optimizer") == "adabelief"
    rules: dict[str, Scalar] = {
        "optimizer": "adabelief" if faithful else "adam",
        "weight_decay": PUBLISHED_DECAY if faithful and model in FEED_FORWARD else 0.0,
    }
    if "pretrain" in keys:
        rules["lsc_optimizer"] = "adabelief" if faithful else "adamw"
    return rules


def canonical_comments(config: Config) -> str | None:
    """The comments string of a trial's config, flags without effect left out.

    `parse_comments` gives back the value of every key that a flag sets, or leaves the key at what
    it is without flags. None where no string says the config.
    """
    model = config.get("model")
    if model not in FEED_FORWARD and model not in RECURRENT:
        return None
    lsc = "lsc" in (config.get("stage"), config.get("pretrain"))
    said = {**config, "pretrain": "lsc" if lsc else "none"}
    if model in FEED_FORWARD and "optimizer" not in config:
        said["optimizer"] = config.get("lsc_optimizer")
    tokens = {flag.name: token for flag in FLAGS if (token := _token(flag, said, lsc))}
    needed = {_BY_NAME[name].needs for name in tokens}
    names = [flag.name for flag in FLAGS if flag.name in {*tokens, *needed}]
    text = "_".join(tokens.get(name, name) for name in names)
    try:
        keys = parse_comments(text, config)
    except ConfigError:
        return None
    rules = {key: value for key, value in absent(keys, config).items() if key != "weight_decay"}
    expected = {**_WITHOUT, **rules, **keys}
    return text if all(config.get(key, v) == v for key, v in expected.items()) else None


def _token(flag: Flag, config: Config, lsc: bool) -> str:
    """The flag as it stands in the string of this config; empty where it says nothing."""
    recurrent = config["model"] in RECURRENT
    of_lsc = flag.lsc_only or flag.needs == "findLSC"
    value = config.get(flag.key)
    if value is None or value == _WITHOUT.get(flag.key) or (of_lsc and not lsc):
        return ""
    if flag.name == ("adabelief" if recurrent else "allns"):
        return ""  # theirs without asking; of no meaning to a feed-forward net
    if flag.gives is not ...:
        return flag.name if flag.gives == value else ""
    if not flag.means:
        return f"{flag.name}:{_number(float(value) - flag.shift)}"
    return next((f"{flag.name}:{n}" for n, meaning in flag.means.items() if meaning == value), "")


def _number(value: float) -> str:
    text = str(int(value)) if value == int(value) else repr(value)
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text


def comment_variants(config: Config) -> dict[str, str]:
    """The variant `comments` of a trial, where a string says what it is (`Part.variants`)."""
    text = canonical_comments(config)
    return {} if text is None else {"comments": text}


def _read(value: Any, config: Config) -> Meaning:
    keys = parse_comments(str(value), config)
    return Meaning(keys, absent(keys, config))


COMMENTS = Preset(
    name="comments",
    read=_read,
    decides=frozenset({*(flag.key for flag in FLAGS if flag.key), "weight_decay", "lsc_optimizer"}),
    doc="Comment flags of arXiv 2308.12075, joined by underscores.",
)
