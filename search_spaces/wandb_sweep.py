"""A sweep file of Weights & Biases as a space.

The file's format: https://docs.wandb.ai/guides/sweeps/define-sweep-configuration. Names of keys and
of metrics are the caller's to translate; what has no counterpart here is refused in a sentence.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from search_spaces.study import Space
from trainables.declarations.core.keys import shown
from trainables.declarations.core.structure import SELECTORS

LOGGING = ("use_wandb", "wandb", "wandb_project", "wandb_entity", "wandb_mode", "dir_name")
"""Parameters of published programs that say where W&B logs, and nothing of a trial."""
_NAMES_OF_PARTS = ("name", "type", "kind")
_METHODS = ("grid", "random", "bayes")
_MOST_REPEATS = 1000


class SweepError(ValueError):
    """What is wrong with a sweep file: `problems`, one sentence each."""

    def __init__(self, problems: Sequence[str]):
        self.problems = list(problems)
        super().__init__("\n".join(self.problems))


@dataclass(frozen=True)
class TuneCall:
    """A domain that only Ray Tune has, such as tune.quniform(0, 1, 0.1)."""

    name: str
    args: tuple[float, ...]

    def __repr__(self) -> str:
        return f"tune.{self.name}({', '.join(map(repr, self.args))})"

    def made(self, tune: Any) -> Any:
        """The domain itself, given the module ray.tune."""
        return getattr(tune, self.name)(*self.args)


@dataclass
class Imported:
    """What a sweep file says.

    Attributes:
      param_space: by our keys; values may be `TuneCall`s.
      samples: how many configs a sampled space draws; None for a grid.
      select, prune: as of a `Space`.
      notes: what was left out, a sentence each.
    """

    title: str
    param_space: dict[str, Any]
    samples: int | None = None
    select: dict[str, Any] = field(default_factory=dict)
    prune: dict[str, Any] | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def needs_tune(self) -> bool:
        """Whether a value is a domain of Ray Tune's."""
        return any(isinstance(value, TuneCall) for value in self.param_space.values())

    def space(self, tune: Any = None) -> Space:
        """The space itself; `tune` is the module ray.tune, where it `needs_tune`."""
        made = {
            name: value.made(tune) if isinstance(value, TuneCall) else value
            for name, value in self.param_space.items()
        }
        return Space(
            param_space=made, reproduces=self.title, samples=self.samples, select=self.select,
            prune=self.prune,
        )  # fmt: skip


def read_sweep(
    sweep: Any,
    key_of: Callable[[str], str | None],
    value_of: Callable[[str, Any], Any] = lambda key, value: value,
    metric_of: Callable[[str], str | None] = lambda name: None,
    renames: Mapping[str, str] | None = None,
    dropped: Sequence[str] = (),
    samples: int | None = None,
) -> Imported:
    """The space that a sweep file's content (a dict, as YAML gives it) stands for.

    Args:
      key_of: a parameter's name -> our key, None where there is none.
      value_of: (our key, value) -> the value, for numbers that YAML reads as text, such as 1e-3.
      metric_of: a metric's name -> our column, None where there is none.
      renames: a parameter's name -> our key, before `key_of` is asked.
      dropped: names of parameters to leave out.
      samples: draws of a random sweep; the file's `run_cap` if None.

    Raises:
      SweepError: with every problem found.
    """
    if not isinstance(sweep, Mapping) or not isinstance(sweep.get("parameters"), Mapping):
        raise SweepError(["a sweep file is a mapping with parameters, which this file is not"])
    problems: list[str] = []
    method = sweep.get("method", "grid")
    if method not in _METHODS:
        problems.append(f"method must be one of {', '.join(_METHODS)}; got {shown(method)}")
    given = [*_flat(sweep["parameters"], ()), *_of_command(sweep.get("command"))]
    found = Imported(str(sweep.get("name") or sweep.get("description") or ""), {})
    spelled: dict[str, str] = {}
    unknown = []
    for path, form in given:
        name = ".".join(path)
        if {name, path[-1]} & {*dropped, *LOGGING}:
            found.notes.append(f"left out: {name}")
            continue
        key = _key(path, key_of, renames or {})
        if key is None:
            unknown.append(name)
            continue
        if key in spelled:
            problems.append(
                f"{spelled[key]} and {name} both mean the key {key}; drop or rename one of them"
            )
            continue
        spelled[key] = name
        try:
            found.param_space[key] = _form(form, method, lambda v, key=key: value_of(key, v))
        except ValueError as error:
            problems.append(f"{name}: {error}")
    if unknown:
        problems.append(
            f"no key of ours is called {', '.join(unknown)}; give --rename NAME=KEY, or --drop NAME"
        )
    _sampling(found, sweep, method, samples, problems)
    _judging(found, sweep, metric_of)
    if problems:
        raise SweepError(problems)
    return found


def _key(
    path: Sequence[str], key_of: Callable[[str], str | None], renames: Mapping[str, str]
) -> str | None:
    """Our key of a parameter: by its whole name, then the last part of it; of a group such as
    optimizer, its name is what the selector of that name chooses."""
    for name in (".".join(path), path[-1]):
        if name in renames:
            return renames[name]
    if len(path) > 1 and path[-1] in _NAMES_OF_PARTS:
        owner = key_of(path[-2])
        if owner in SELECTORS:
            return owner
    return key_of(".".join(path)) or key_of(path[-1])


def _flat(
    parameters: Mapping[Any, Any], above: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], Any]]:
    """(path, form) of every parameter, nested ones included."""
    for name, form in parameters.items():
        path = (*above, str(name))
        if isinstance(form, Mapping) and isinstance(form.get("parameters"), Mapping):
            yield from _flat(form["parameters"], path)
        elif isinstance(form, Mapping) and isinstance(form.get("value"), Mapping):
            yield from _flat({n: {"value": v} for n, v in form["value"].items()}, path)
        else:
            yield path, form


def _of_command(command: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Flags that the command gives every run: --epochs=5, or --epochs 5."""
    words = [str(word) for word in command] if isinstance(command, (list, tuple)) else []
    for index, word in enumerate(words):
        match = re.fullmatch(r"--?([A-Za-z_][\w.-]*)(?:=(.*))?", word)
        if match is None:
            continue
        name, value = match.group(1).replace("-", "_"), match.group(2)
        if value is None:
            after = words[index + 1] if index + 1 < len(words) else "--"
            value = True if after.startswith(("-", "$")) else after
        yield (name,), {"value": value}


def _form(form: Any, method: str, value_of: Callable[[Any], Any]) -> Any:
    """A parameter's value, grid or distribution as a space has it.

    Raises:
      ValueError: it has no counterpart.
    """
    if not isinstance(form, Mapping):
        raise ValueError(f"must be a mapping such as {{value: 1}}; got {shown(form)}")
    if "value" in form or form.get("distribution") == "constant":
        return value_of(form.get("value"))
    if "values" in form:
        return _listed(form, method, value_of)
    kind = form.get("distribution") or _kind_of_bounds(form)
    if method == "grid" and kind not in ("int_uniform", "q_uniform"):
        raise ValueError(f"a grid cannot go through the distribution {kind}; give values")
    if "min" not in form and "max" not in form and "mu" not in form:
        raise ValueError("has neither value, values, nor min and max")
    return _domain(kind, form, method)


def _listed(form: Mapping[str, Any], method: str, value_of: Callable[[Any], Any]) -> Any:
    values = form["values"]
    if not isinstance(values, list) or not values:
        raise ValueError(f"values must be a list; got {shown(values)}")
    values = [value_of(value) for value in values]
    if method == "grid":
        return {"grid_search": values}
    weights = form.get("probabilities")
    if weights is None:
        return {"choice": values}
    for total in range(1, _MOST_REPEATS + 1):  # as often as its share of the draws
        counts = [float(w) * total for w in weights]
        if all(abs(c - round(c)) < 1e-6 * total for c in counts):
            return {"choice": [v for v, c in zip(values, counts, strict=True)
                               for _ in range(round(c))]}  # fmt: skip
    raise ValueError(f"probabilities must be multiples of 1/{_MOST_REPEATS}; got {shown(weights)}")


def _kind_of_bounds(form: Mapping[str, Any]) -> str:
    """W&B's rule for a parameter of min and max alone: integers of two integers."""
    whole = all(isinstance(form.get(name), int) for name in ("min", "max"))
    return "int_uniform" if whole else "uniform"


def _domain(kind: str, form: Mapping[str, Any], method: str) -> Any:
    def number(name: str) -> float:
        try:
            return float(form[name])
        except (KeyError, TypeError, ValueError):
            found = shown(form.get(name))
            raise ValueError(f"distribution {kind} needs a number {name}; got {found}") from None

    if kind in ("normal", "q_normal"):
        args = number("mu") if "mu" in form else 0.0, number("sigma") if "sigma" in form else 1.0
        if kind == "normal":
            return TuneCall("randn", args)
        return TuneCall("qrandn", (*args, number("q") if "q" in form else 1.0))
    low, high = number("min"), number("max")
    step = number("q") if "q" in form else 1.0
    if kind == "int_uniform" or (kind == "q_uniform" and method == "grid"):
        step = 1.0 if kind == "int_uniform" else step
        if method == "grid":
            count = math.floor((high - low) / step + 1e-9) + 1
            plain = [low + i * step for i in range(count)]
            return {"grid_search": [int(v) if v == int(v) else v for v in plain]}
        return {"randint": [int(low), int(high) + 1]}
    exact = {
        "uniform": ("uniform", low, high),
        "log_uniform_values": ("loguniform", low, high),
        "inv_log_uniform_values": ("loguniform", low, high),
    }
    if kind == "log_uniform":  # its bounds are exponents of e
        exact[kind] = ("loguniform", math.exp(low), math.exp(high))
    if kind == "inv_log_uniform":
        exact[kind] = ("loguniform", math.exp(-high), math.exp(-low))
    if kind in exact:
        name, *bounds = exact[kind]
        return {name: bounds}
    if kind == "q_uniform":
        return TuneCall("quniform", (low, high, step))
    if kind in ("q_log_uniform_values", "q_log_uniform"):
        ends = (low, high) if kind.endswith("values") else (math.exp(low), math.exp(high))
        return TuneCall("qloguniform", (*ends, step))
    raise ValueError(f"the distribution {kind} has no counterpart here; give values")


def _sampling(
    found: Imported, sweep: Mapping[str, Any], method: str, samples: int | None,
    problems: list[str],
) -> None:  # fmt: skip
    if method == "grid":
        return
    found.samples = samples or sweep.get("run_cap")
    if not isinstance(found.samples, int) or found.samples < 1:
        found.samples = None
        problems.append(f"method {method} draws without end; say how many trials: --samples N")
    if method == "bayes":
        found.notes.append("method bayes: trials are drawn at random, not by what others came to")


def _judging(
    found: Imported, sweep: Mapping[str, Any], metric_of: Callable[[str], str | None]
) -> None:
    """What trials are compared by, and how bad ones end early."""
    metric = sweep.get("metric")
    if isinstance(metric, Mapping) and metric.get("name"):
        column = metric_of(str(metric["name"]))
        if column is None:
            found.notes.append(f"left out: metric {metric['name']}, which no column is called")
        else:
            mode = "max" if metric.get("goal") == "maximize" else "min"
            found.select = {"metric": column, "mode": mode}
            if "seed" in found.param_space:
                found.select["over"] = "seed"
    end = sweep.get("early_terminate")
    if not isinstance(end, Mapping):
        return
    factor = int(end.get("eta") or 3)
    least = end.get("min_iter")
    if least is None and end.get("max_iter"):
        least = int(end["max_iter"]) // factor ** int(end.get("s") or 2)
    found.prune = {"rule": "hyperband", "factor": factor}
    if least:
        found.prune["grace"] = max(int(least), 1)
