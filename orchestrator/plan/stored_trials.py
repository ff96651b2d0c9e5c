"""Trials as a store recorded them, rather than as a space asks for them."""

from __future__ import annotations

import json
from collections.abc import Sequence

from orchestrator.errors import RequestError
from orchestrator.plan.studies import Catalogue
from results import Store, StoreError
from trainables.declarations import ConfigError, Trial


def stored_ids(store: Store, prefixes: Sequence[str]) -> list[str]:
    """The trials whose ids start so, each once.

    Raises:
      RequestError: of each prefix that starts none, or several.
    """
    found: list[str] = []
    problems: list[str] = []
    for prefix in prefixes:
        try:
            found.append(store.resolve(prefix))
        except StoreError as error:
            problems.append(str(error))
    if problems:
        raise RequestError(problems)
    return list(dict.fromkeys(found))


def stored_trials(
    found: Catalogue, store: Store, ids: Sequence[str], epochs: int | None = None
) -> list[Trial]:
    """The trials of these ids, by their recorded configs.

    Args:
      epochs: makes them this long, and so other trials.

    Raises:
      RequestError: their parts are unknown, or of another version by now.
    """
    wanted = dict.fromkeys(ids)
    rows = {row["trial_id"]: row for row in store.attempts().to_pylist() if row["newest"]}
    trials: list[Trial] = []
    problems: list[str] = []
    for trial_id in wanted:
        try:
            trial = found.registry.resolve(json.loads(rows[trial_id]["config"]))
            if trial.id != trial_id:
                problems.append(
                    f"trial {trial_id} was run by another version of the code: the same config is "
                    f"now {trial.id}; `gradsweep launch --rerun stale` runs it anew"
                )
            key = trial.stage.epochs_key
            if epochs is not None and key is not None:
                trial = found.registry.resolve({**trial.config, key: epochs})
            trials.append(trial)
        except ConfigError as error:
            hint = "; if it belongs to a study file of yours, give --study"
            problems += [problem + hint for problem in error.problems]
    if problems:
        raise RequestError(list(dict.fromkeys(problems)))
    return trials
