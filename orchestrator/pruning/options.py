"""How a pruning rule is asked for: in a space, or when it is launched."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import RequestError
from trainables.declarations.core.keys import MOST_INT, shown
from trainables.declarations.core.trial import nearest

RULES = ("asha", "halving", "hyperband", "median")
NONE = "none"
"""What turns the rule of a space off."""

OPTIONS = ("rule", "metric", "mode", "grace", "factor", "over", "within")


@dataclass(frozen=True)
class Pruning:
    """A rule, and what it goes by.

    Attributes:
      metric: a column of `epochs`, or a metric. mode: "min" or "max", whichever end is better.
      grace: epochs before a trial is first judged.
      factor: of this many trials at a rung, one goes on. `median` does not use it.
      over: keys whose values are judged together, by the median of the metric.
      within: trials are compared with those alone that have the same values of these keys.
    """

    rule: str
    metric: str = "val_loss"
    mode: str = "min"
    grace: int = 5
    factor: int = 3
    over: tuple[str, ...] = ()
    within: tuple[str, ...] = ()

    def rungs(self, epochs: int) -> list[int]:
        """Counts of done epochs after which a trial of that many epochs is judged, ascending."""
        if self.rule == "median":
            return list(range(self.grace, epochs, self.grace))
        found, rung = [], self.grace
        while rung < epochs:
            found.append(rung)
            rung *= self.factor
        return found

    @property
    def worst(self) -> float:
        """Worse than any number."""
        return math.inf if self.mode == "min" else -math.inf

    def signed(self, value: float) -> float:
        """The value, or its negative where more is better: less is better then in any case."""
        return value if self.mode == "min" else -value


def asked_pruning(
    prune: str | Mapping[str, Any] | None = None,
    metric: str | None = None,
    mode: str | None = None,
    grace: int | None = None,
    factor: int | None = None,
    over: str | Sequence[str] | None = None,
    within: str | Sequence[str] | None = None,
) -> dict[str, Any]:
    """The options that a launch gives, by name; those of its space are not among them.

    Args:
      prune: the name of a rule, "none", or a dict of options as a space has it.

    Raises:
      RequestError: with a sentence for each wrong one.
    """
    if isinstance(prune, Mapping):
        options = dict(prune)
    else:
        options = {} if prune is None else {"rule": prune}
    given = {"metric": metric, "mode": mode, "grace": grace, "factor": factor}
    given |= {"over": over or None, "within": within or None}
    options |= {name: value for name, value in given.items() if value is not None}
    problems = option_problems(options, "--")
    if options.get("rule") == NONE and len(options) > 1:
        problems.append(f"--prune none prunes nothing; leave --{list(options)[1]} out")
    if problems:
        raise RequestError(problems)
    return options


def option_problems(options: Mapping[str, Any], where: str) -> list[str]:
    """Says which options are wrong whatever is pruned: a sentence for each.

    Args:
      where: what stands before an option's name, such as "--" on the command line.
    """
    found = [
        f"{where}{name} is no option of pruning{nearest(str(name), OPTIONS)}; it has "
        f"{', '.join(OPTIONS)}"
        for name in options
        if name not in OPTIONS
    ]
    rule, mode = options.get("rule"), options.get("mode")
    if "rule" in options and rule not in (*RULES, NONE):
        name = "--prune" if where == "--" else f"{where}rule"
        found.append(
            f"{name} must be one of {', '.join(RULES)} or {NONE}; got {shown(rule)}"
            f"{nearest(str(rule), (*RULES, NONE))}"
        )
    if mode is not None and mode not in ("min", "max"):
        found.append(f"{where}mode must be min or max, whichever is better; got {shown(mode)}")
    for name, least in (("grace", 1), ("factor", 2)):
        value = options.get(name)
        whole = isinstance(value, int) and not isinstance(value, bool)
        if value is not None and not (whole and least <= value <= MOST_INT):
            found.append(
                f"{where}{name} must be a whole number of at least {least}; got {shown(value)}"
            )
    metric = options.get("metric")
    if metric is not None and not isinstance(metric, str):
        found.append(f"{where}metric must be the name of a metric; got {shown(metric)}")
    for name in ("over", "within"):
        keys = options.get(name)
        if keys is not None and not all(isinstance(one, str) for one in keys_of(keys)):
            found.append(f"{where}{name} must be a key, or several; got {shown(keys)}")
    return found


def keys_of(over: Any) -> tuple[Any, ...]:
    """`over` or `within` as keys: one, several with commas between, or a list of such."""
    several = over if isinstance(over, (tuple, list)) else [over]
    found: list[Any] = []
    for one in several:
        found += [key.strip() for key in one.split(",")] if isinstance(one, str) else [one]
    return tuple(dict.fromkeys(key for key in found if key != ""))
