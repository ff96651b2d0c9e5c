"""The pruning rule of a space, from its `prune` and a launch's options; checks each of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from orchestrator.errors import RequestError
from orchestrator.plan.checks.metrics import DEFAULT_MONITOR, declared_end, undeclared
from orchestrator.plan.trials import swept_keys
from orchestrator.pruning.budget import budget_of
from orchestrator.pruning.judged import Judged
from orchestrator.pruning.options import NONE, RULES, Pruning, keys_of, option_problems
from orchestrator.units import counted
from results.ask.explanation import RUNS
from results.schema import MEASURED
from search_spaces import Space
from trainables.declarations import HostTrainable, Trial, nearest

_BETTER = {"min": "lower", "max": "higher"}


def pruning_of(
    name: str, space: Space, targets: Sequence[Trial], asked: Mapping[str, Any]
) -> tuple[Pruning | None, str | None]:
    """The rule that a space is pruned by, and a warning.

    Args:
      name: `study/space`. targets: its trials of the last stage. asked: options of a launch, which
        go before those of the space.

    Raises:
      RequestError: a sentence for each option that does not fit.
    """
    own = dict(space.prune or {})
    options = {**own, **asked}
    rule = options.get("rule", NONE)
    wrong = [*option_problems(own, f"prune of {name}: "), *_without_rule(name, own, asked)]
    if rule == "median" and "factor" in asked:
        wrong.append(
            "--factor is for asha, halving and hyperband; median judges trials every --grace epochs"
        )
    if wrong:
        raise RequestError(wrong)
    if rule == NONE or not targets:
        return None, None
    said = {option: _said(name, option, options[option], option in asked) for option in options}
    metric, over = _metric(space, targets[0], options), keys_of(options.get("over", ()))
    within = _within(space, targets, options, over)
    by = said.get("metric", f"--prune by {metric}")
    problems = [
        *_hosts(name, targets),
        *_unrecorded(by, metric, targets),
        *_unknown_keys(said.get("over", ""), over, targets),
        *_unknown_keys(said.get("within", ""), within, targets),
        *_both(said.get("within", ""), [key for key in within if key in over]),
    ]
    if problems:
        raise RequestError(list(dict.fromkeys(problems)))
    mode = _mode(space, targets, metric, said.get("mode", by), options.get("mode"))
    given = {key: options[key] for key in ("grace", "factor") if options.get(key) is not None}
    pruning = Pruning(rule, metric, mode, over=over, within=within, **given)
    longest = max(trial.epochs for trial in targets)
    if pruning.grace < longest:
        return pruning, None
    none = f"no trial of {name} has more than {counted(longest, 'epoch')}, so none is judged"
    if "grace" in asked or "rule" in asked:
        less = f"give --grace {longest - 1} or less" if longest > 1 else "leave --prune out"
        raise RequestError(f"--grace {pruning.grace}: {none}; {less}")
    return None, f"pruning waits for {counted(pruning.grace, 'epoch')}, but {none}"


def parent_problems(judged: Iterable[Trial], trials: Iterable[Trial]) -> list[str]:
    """Says which judged trials are stages that other trials start from."""
    children = {one.id: trial for trial in trials for one in trial.ancestors}
    for trial in judged:
        if trial.id in children:
            child = children[trial.id]
            what = f"--prune: trial {trial.id} of stage {trial.stage.name} cannot be pruned"
            why = f"trial {child.id} of stage {child.stage.name} starts from it"
            remedy = "launch the two stages apart, the first with --prune none"
            return [f"{what}, since {why}; {remedy}"]
    return []


def pruning_json(judged: Judged | None) -> dict[str, Any] | None:
    """What a plan says of its rule."""
    if judged is None:
        return None
    return {**vars(judged.pruning), "rungs": judged.rungs, "lane_epochs": vars(budget_of(judged))}


def _without_rule(name: str, own: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
    rules = "|".join(RULES)
    if own and "rule" not in own:
        return [f"prune of {name} has no rule; give it one: {', '.join(RULES)}"]
    if asked and "rule" not in asked and not own:
        what = f"--{next(iter(asked))} says how {name} is pruned, but nothing prunes it"
        return [f"{what}; give --prune {rules} too"]
    return []


def _said(name: str, option: str, value: Any, asked: bool) -> str:
    """An option as whoever gave it knows it."""
    flag = "prune" if option == "rule" else option
    value = ",".join(map(str, value)) if isinstance(value, (list, tuple)) else value
    return f"--{flag} {value}" if asked else f"prune of {name}: {option} {value}"


def _metric(space: Space, example: Trial, options: Mapping[str, Any]) -> str:
    """What is asked for, else what the space chooses by, if that is of an epoch, else val_loss."""
    if options.get("metric"):
        return str(options["metric"])
    chosen = space.select.get("metric")
    if not isinstance(chosen, str) or (chosen not in MEASURED and chosen in {c.name for c in RUNS}):
        return DEFAULT_MONITOR
    return DEFAULT_MONITOR if undeclared(example, [("select", chosen)]) else chosen


def _within(
    space: Space, targets: Sequence[Trial], options: Mapping[str, Any], over: Sequence[str]
) -> tuple[str, ...]:
    """What is asked for, else what tells apart the cells in which the space chooses a value."""
    asked = keys_of(options.get("within", ()))
    if asked or not space.select.get("choose"):
        return () if asked == (NONE,) else asked
    free = {*over, *keys_of(space.select["choose"]), *keys_of(space.select.get("over", ()))}
    return tuple(key for key in swept_keys(targets) if key not in free)


def _both(option: str, keys: Sequence[str]) -> list[str]:
    return [
        f"{option}: values of {key} are judged together (over), so they cannot be kept apart too; "
        f"leave {key} out of one of the two"
        for key in keys
    ]


def _hosts(name: str, targets: Sequence[Trial]) -> list[str]:
    return [
        f"--prune: each trial of stage {trial.stage.name} of {name} runs in a separate process, "
        "which cannot be held for a verdict; leave --prune out: early_stopping ends such trials"
        for trial in targets
        if isinstance(trial.stage, HostTrainable)
    ][:1]


def _unrecorded(option: str, metric: str, targets: Sequence[Trial]) -> list[str]:
    """Says which trials cannot have the metric."""
    found = []
    for trial in {trial.structure: trial for trial in targets}.values():
        found += undeclared(trial, [(option.removesuffix(f" {metric}"), metric)])
        for held, count in (("val", "n_val"), ("test", "n_test")):
            there = "task" in trial.parts and trial.stage.task_loss
            if metric.startswith(f"{held}_") and there and not getattr(trial.sizes, count):
                found.append(
                    f"{option}: task {trial.task.name} has {count} 0, so no epoch has a {metric}; "
                    "prune by another metric, such as --metric loss"
                )
    return found


def _unknown_keys(option: str, over: Sequence[str], targets: Sequence[Trial]) -> list[str]:
    known = {key for trial in targets for key in trial.config}
    return [
        f"{option}: {key} is no key of these trials{nearest(key, known)}"
        for key in over
        if key not in known
    ]


def _mode(
    space: Space, targets: Sequence[Trial], metric: str, option: str, mode: str | None
) -> str:
    """Which end of the metric is better.

    Raises:
      RequestError: the other one is asked for, or trials differ in it.
    """
    ends: dict[str, Trial] = {}
    for trial in {trial.structure: trial for trial in targets}.values():
        end = declared_end(trial, metric)
        if end is not None:
            ends.setdefault(end, trial)
    if len(ends) > 1:
        low, high = (ends[end].parts["task"].name for end in ("min", "max"))
        raise RequestError(
            f"{option}: a lower {metric} is better in task {low}, a higher one in task {high}; "
            f"prune them apart, with --set task={low} and with --set task={high}"
        )
    (end,) = ends or (None,)
    if mode is not None and end is not None and mode != end:
        raise RequestError(
            f"{option}: a {_BETTER[end]} {metric} is better; leave the mode out, or name the "
            "metric that you mean by --metric"
        )
    chosen = space.select.get("mode") if space.select.get("metric") == metric else None
    usual = "max" if "accuracy" in metric else "min"
    return str(mode or end or chosen or usual)
