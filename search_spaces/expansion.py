"""Grids to configs: Ray Tune's forms, and two plain-dict forms of our own.

A key's value may be a scalar, `{"grid_search": [...]}`, a Ray Tune domain (`tune.loguniform(...)`)
or its plain form (`{"loguniform": [low, high]}`, `{"uniform": [low, high]}`, `{"choice": [...]}`).
Ray Tune's `sample_from` is a function of the keys outside the forms below, and may not draw.
Under a key that is only a label there may stand

    {"zip": {"model": ["a", "b"], "lr": [0.1, 0.2]}}             values taken side by side
    {"when": {"model": "a"}, "then": {...}, "else": {...}}       grids that hold only there

where `when` matches if every named key has the given value, or one of a list of values.
"""

from __future__ import annotations

import itertools
import math
import random
from array import array
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from trainables.declarations.core.keys import as_plain, shown

Config = dict[str, Any]
Rename = Callable[[str], str]
Form = Callable[[Config], Sequence[Config]]

_SAMPLERS: dict[str, Callable[[random.Random, list[Any]], Any]] = {
    "uniform": lambda draw, args: draw.uniform(*args),
    "loguniform": lambda draw, args: math.exp(draw.uniform(math.log(args[0]), math.log(args[1]))),
    "choice": lambda draw, args: draw.choice(args),
    "randint": lambda draw, args: draw.randrange(*args),
}
_CALLS = 4
"""How often a `sample_from` is asked of one config, to see that it says the same."""

_FORMS = ("grid_search", "zip", "when", *_SAMPLERS)


MAX_CONFIGS = 2_000_000
"""Configs a space may have: more would fill the memory, and are a slip of the hand."""


class SpaceError(ValueError):
    """A param_space that cannot be expanded; one sentence."""


def expand(
    param_space: Mapping[str, Any],
    *,
    overrides: Mapping[str, Sequence[Any]] | None = None,
    defaults: Sequence[Mapping[str, Any]] = (),
    samples: int | None = None,
    sample_seed: int = 0,
    rename: Rename = str,
    replaced: Collection[str] = (),
    unfold: Callable[[Config], Config] = dict,
) -> list[Config]:
    """Every config of a space, in declared order, the last grid varying fastest.

    Args:
      overrides: key -> values; replaces that key wherever the space sets it (`--set`). A value of
        `...` leaves the key out.
      defaults: `when`/`then` forms that fill only keys left open.
      samples, sample_seed: draws of a sampled space; config i does not depend on how many.
      rename: alias -> key, applied to every name.
      replaced: keys that an override decides under another name: the space's own values go.
      unfold: applied to every config before the defaults: words that stand for several keys.
    """
    fixed = {name: list(values) for name, values in renamed(overrides or {}, rename).items()}
    gone = {*fixed, *replaced}
    plain, forms = _split(param_space, gone, rename)
    if samples is None and _is_sampled({n: v for n, v in plain.items() if not _is_function(v)}):
        raise SpaceError("a sampled space must say how many: set `samples`")
    found: list[Config] = []
    applied = [_form(form, gone, rename) for form in forms]
    _refuse_many(samples or 0)
    for index in range(samples if samples is not None else 1):
        # By name too, so that fixing or adding a key does not change what the others draw.
        drawn = {
            name: _draw(name, value, random.Random(f"{sample_seed}:{index}:{name}"))
            for name, value in plain.items()
        }
        for config in _grids({**drawn, **{n: {"grid_search": v} for n, v in fixed.items()}}):
            found += _with_forms(_computed(config), applied)
            _refuse_many(len(found))
    found = [unfold(config) for config in _distinct(map(_closed, found))]
    for form in defaults:
        when, then = _conditions(form["when"], rename), renamed(form["then"], rename)
        for config in found:
            if _matches(config, when):
                for name, value in then.items():
                    config.setdefault(name, value)
    return found


def _split(
    space: Mapping[str, Any], fixed: Collection[str], rename: Rename
) -> tuple[Config, list[Mapping[str, Any]]]:
    """Plain keys (those not overridden), and the zip and when forms."""
    spelled: Config = {}
    forms: list[Mapping[str, Any]] = []
    for name, value in space.items():
        if not isinstance(name, str):
            raise SpaceError(f"a key must be a string; got {shown(name)}")
        if isinstance(value, Mapping):
            _check_form(name, value)
            if "zip" in value or "when" in value:
                forms.append(value)
                continue
        spelled[name] = value
    plain = renamed(spelled, rename)
    return {n: v for n, v in plain.items() if n not in fixed}, forms


def renamed(keys: Mapping[str, Any], rename: Rename) -> Config:
    """`keys` by their canonical names.

    Raises:
      SpaceError: two are names of one key.
    """
    known: dict[str, str] = {}
    for name in keys:
        other = known.setdefault(rename(name), name)
        if other != name:
            raise SpaceError(
                f"{other} and {name} set the same key, {rename(name)}; give one of them"
            )
    return {canonical: keys[name] for canonical, name in known.items()}


def _check_form(name: str, form: Mapping[str, Any]) -> None:
    """Raises SpaceError for a dict that is none of the forms, or lacks what its form needs."""
    keys = set(form)
    if not (keys in [{word} for word in _FORMS if word != "when"] or "when" in keys):
        raise SpaceError(
            f"{name}: a dict here must be one of the forms {', '.join(_FORMS)}; "
            f"got keys {', '.join(map(str, form))}"
        )
    if "when" in keys and not {"then"} <= keys <= {"when", "then", "else"}:
        raise SpaceError(f"{name}: a conditional has the keys when, then and perhaps else")
    for part in keys & {"zip", "when", "then", "else"}:
        if not isinstance(form[part], Mapping):
            raise SpaceError(f"{name}: {part} must be a dict of keys; got {shown(form[part])}")
        if any(not isinstance(key, str) for key in form[part]):
            raise SpaceError(f"{name}: the keys of {part} must be strings")
    lists = dict(form) if "grid_search" in keys else form.get("zip", {})
    for key, values in lists.items():
        if not isinstance(values, (list, tuple, range)) or not values:
            raise SpaceError(f"{name}: {key} must be a list of values; got {shown(values)}")
        _refuse_many(len(values))


def _is_sampled(plain: Mapping[str, Any]) -> bool:
    return any(
        hasattr(v, "sample") or (isinstance(v, Mapping) and next(iter(v)) in _SAMPLERS)
        for v in plain.values()
    )


def _is_function(value: Any) -> bool:
    """Whether it is what Ray Tune's `sample_from` returns."""
    return hasattr(value, "sample") and callable(getattr(value, "func", None))


class _UnknownKeyError(Exception):
    """A function asked for a key that the config does not have, or not yet."""


class _Spec(dict[str, Any]):
    """What a function of `sample_from` is given: `spec.config.width`, `spec["config"]["width"]` or
    `config["width"]`, as one version of Ray Tune or another has it."""

    def __init__(self, known: Mapping[str, Any], waiting: Collection[str]):
        super().__init__(known)
        self._waiting = waiting

    def __getattr__(self, name: str) -> Any:
        return self[name]

    def __missing__(self, name: str) -> Any:
        if name == "config":
            return self
        raise _UnknownKeyError(name)

    def get(self, name: str, default: Any = None) -> Any:
        known = name in self or name in self._waiting or name == "config"
        return self[name] if known else default


def _computed(config: Config) -> Config:
    """`config` with its functions of other keys called, in whatever order they read each other."""
    waiting = {name: value for name, value in config.items() if _is_function(value)}
    found = {n: v for n, v in config.items() if n not in waiting}
    while waiting:
        before = len(waiting)
        missing: dict[str, str] = {}
        for name, function in list(waiting.items()):
            spec = _Spec({n: v for n, v in found.items() if v is not ...}, waiting)
            try:
                found[name] = _called(name, function, spec)
                del waiting[name]
            except _UnknownKeyError as error:
                missing[name] = str(error)
        if len(waiting) == before:
            name, key = next(iter(missing.items()))
            raise SpaceError(
                f"{name}: its sample_from reads {key}, and it may read only what the space itself "
                f"sets outside zip and when; set {key} there"
            )
    return {name: found[name] for name in config}


def _called(name: str, function: Any, spec: _Spec) -> Any:
    """What a function says of a config.

    Raises:
      SpaceError: it fails, or draws.
    """
    given = (spec,) if getattr(function, "pass_config", True) else ()
    try:
        values = [as_plain(function.func(*given)) for _ in range(_CALLS)]
    except _UnknownKeyError:
        raise
    except Exception as error:
        raise SpaceError(
            f"{name}: its sample_from fails ({type(error).__name__}: {error})"
        ) from error
    texts = list(dict.fromkeys(map(shown, values)))
    if len(texts) > 1:
        raise SpaceError(
            f"{name}: its sample_from says {texts[0]} and then {texts[1]} of one config, so a "
            "second launch would not find its trials; draw with uniform, loguniform, choice or "
            "randint"
        )
    return values[0]


def _draw(name: str, value: Any, draw: random.Random) -> Any:
    if _is_function(value):
        return value
    if hasattr(value, "sample"):  # a Ray Tune domain; seeded here, so equal on every machine
        try:
            return value.sample(random_state=draw.randrange(2**32))
        except Exception as error:
            raise SpaceError(f"{name}: cannot draw from {shown(value)} ({error})") from error
    if isinstance(value, Mapping) and next(iter(value)) in _SAMPLERS:
        form, args = next(iter(value.items()))
        try:
            return _SAMPLERS[form](draw, list(args))
        except (TypeError, ValueError, IndexError, OverflowError) as error:
            raise SpaceError(f"{name}: {form} cannot draw from {shown(args)} ({error})") from error
    return value


def _grids(space: Mapping[str, Any]) -> Iterator[Config]:
    axes = [
        [as_plain(v) for v in value["grid_search"]]
        if isinstance(value, Mapping) and "grid_search" in value
        else [as_plain(value)]
        for value in space.values()
    ]
    _refuse_many(math.prod(len(axis) for axis in axes))
    for values in itertools.product(*axes):
        yield dict(zip(space, values, strict=True))


def _with_forms(config: Config, forms: Sequence[Form]) -> list[Config]:
    """`config` with every form applied in order, each possibly multiplying it."""
    configs = [config]
    for form in forms:
        configs = [{**base, **extra} for base in configs for extra in form(base)]
        _refuse_many(len(configs))
    return configs


def _refuse_many(count: int) -> None:
    if count > MAX_CONFIGS:
        raise SpaceError(f"the space has over {MAX_CONFIGS} configs; give fewer values, or sample")


def _form(form: Mapping[str, Any], fixed: Collection[str], rename: Rename) -> Form:
    """What a zip or conditional adds to a config."""
    if "zip" in form:
        columns = {n: [as_plain(v) for v in vs] for n, vs in renamed(form["zip"], rename).items()}
        if len({len(v) for v in columns.values()}) > 1:
            sizes = ", ".join(f"{n} has {len(v)}" for n, v in columns.items())
            raise SpaceError(f"zipped keys must have equally many values; {sizes}")
        table = [
            dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)
        ]
        rows = [{n: v for n, v in row.items() if n not in fixed and v is not ...} for row in table]
        return lambda config: rows
    then = _branch(form["then"], fixed, rename)
    other = _branch(form.get("else", {}), fixed, rename)
    when = _conditions(form["when"], rename)
    return lambda config: (then if _matches(config, when) else other)(config)


def _branch(space: Mapping[str, Any], fixed: Collection[str], rename: Rename) -> Form:
    plain, nested = _split(space, fixed, rename)
    if _is_sampled(plain):
        raise SpaceError("a sampled key cannot stand inside a conditional; sample it at the top")
    extras, forms = list(_grids(plain)), [_form(form, fixed, rename) for form in nested]
    if not forms:
        return lambda config: extras
    return lambda config: [
        more for extra in extras for more in _with_forms({**config, **extra}, forms)
    ]


def _conditions(when: Mapping[str, Any], rename: Rename) -> list[tuple[str, Sequence[Any]]]:
    """(key, values it may have)."""
    return [
        (
            name,
            [as_plain(v) for v in (wanted if isinstance(wanted, (list, tuple)) else [wanted])],
        )
        for name, wanted in renamed(when, rename).items()
    ]


def _matches(config: Mapping[str, Any], when: Sequence[tuple[str, Sequence[Any]]]) -> bool:
    return all(_among(config.get(name), wanted) for name, wanted in when)


def _among(value: Any, wanted: Sequence[Any]) -> bool:
    try:
        return value in wanted
    except ValueError:  # an array, which is refused where the config is checked
        return False


def _closed(config: Config) -> Config:
    """`config` without the keys that an override leaves out."""
    return {n: v for n, v in config.items() if v is not ...}


def _distinct(configs: Iterable[Config]) -> Iterator[Config]:
    """Each config once, remembered by the numbers of its keys' values: a million fit in memory."""
    numbers: dict[tuple[str, type, Any], int] = {}
    seen: set[bytes] = set()
    for config in configs:
        try:
            own = [numbers.setdefault((n, type(v), v), len(numbers)) for n, v in config.items()]
        except TypeError:  # a list, or another value that no key takes
            own = [
                numbers.setdefault((n, type(v), shown(v)), len(numbers)) for n, v in config.items()
            ]
        mark = array("I", sorted(own)).tobytes()
        if mark not in seen:
            seen.add(mark)
            yield config
