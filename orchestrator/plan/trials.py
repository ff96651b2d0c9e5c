"""The trials that a space asks for, as a user changed it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.datasets.array_files import with_file
from orchestrator.datasets.loader import data_root
from orchestrator.datasets.text_folders import with_folder
from orchestrator.errors import RequestError
from orchestrator.plan.checks.metrics import watched_problems
from orchestrator.plan.lengthening import keeping_problems
from orchestrator.plan.overrides import read_overrides, where_read
from orchestrator.plan.studies import Catalogue
from results.config_values import value_text
from search_spaces import Space, SpaceError, expand
from search_spaces.expansion import renamed
from trainables.declarations import ConfigError, Trial
from trainables.declarations.core.presets import in_our_words


def trials_of(
    found: Catalogue,
    space: Space,
    set: Sequence[str] | Mapping[str, Any] = (),
    smoke: bool = False,
    limit: int | None = None,
) -> list[Trial]:
    """The space's trials, resolved and checked, duplicates dropped, in declared order.

    Raises:
      RequestError: with every problem of every config.
    """
    smaller = in_our_words(space.smoke) if smoke else {}
    overrides = {k: v if isinstance(v, list) else [v] for k, v in smaller.items()}
    registry, resolver = found.registry, found.registry.resolver()
    changed, problems = read_overrides(set, registry)

    def expanded(overrides: Mapping[str, Any]) -> list[dict[str, Any]]:
        decided = [registry.presets[name].decides for name in overrides if name in registry.presets]
        return expand(
            in_our_words(space.param_space),
            overrides=overrides,
            defaults=in_our_words(space.defaults),
            samples=space.samples,
            sample_seed=space.sample_seed,
            rename=resolver.canonical_name,
            replaced=frozenset().union(*decided),
            unfold=resolver.unfold,
        )

    def unchanged() -> list[dict[str, Any]]:
        try:
            return expanded(small)
        except SpaceError:  # which the user's overrides have mended
            return []

    try:
        small = renamed(overrides, resolver.canonical_name)
        overrides = {**small, **changed}
        configs = expanded(overrides)
    except SpaceError as error:
        raise RequestError([*problems, str(error)]) from error
    trials: dict[str, Trial] = {}
    known: dict[str, Trial] = {}
    for config in where_read(configs, overrides, resolver, changed, unchanged):
        try:
            given = with_folder(with_file(config, data_root), registry, data_root)
            trial = resolver.resolve(given)
        except (ConfigError, RequestError) as error:
            problems += [p for p in error.problems if p not in problems]
            continue
        for one in (*trial.ancestors, trial):
            faults = [
                *_at_odds(known.setdefault(one.id, one), one),
                *one.misfits,
                *watched_problems(one),
                *keeping_problems(one),
            ]
            problems += [p for p in faults if p not in problems]
        trials.setdefault(trial.id, trial)
    if problems:
        raise RequestError(problems)
    return list(trials.values())[:limit]


def _at_odds(first: Trial, second: Trial) -> list[str]:
    """What two configs of the same trial want to be recorded differently."""
    if first is second:
        return []
    ours, theirs = first.recordings(), second.recordings()
    return [
        f"{name} is both {value_text(value)} and {value_text(theirs[name])} for the same trial; a "
        "recording key makes no trials, so give it one value"
        for name, value in ours.items()
        if theirs[name] != value
    ]


def varying_keys(trials: Sequence[Trial]) -> list[str]:
    """Keys that tell trials apart: of several values among the trials that have them. A key that
    only some have goes with the part that declares it, which tells those apart."""
    values: dict[str, set[str]] = {}
    for trial in trials:
        for name, value in trial.config.items():
            values.setdefault(name, set()).add(repr(value))
    return [name for name, found in values.items() if len(found) > 1]


def swept_keys(trials: Sequence[Trial]) -> list[str]:
    """Keys that vary among the trials and are no recording keys, sorted: they tell a space's cells
    apart."""
    recording = {n for t in trials for n, key in t.keys.items() if key.kind == "recording"}
    return sorted(name for name in varying_keys(trials) if name not in recording)
