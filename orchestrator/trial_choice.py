"""Which trial a request of `debug` means: of a space, or of a store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.errors import RequestError
from orchestrator.plan.stored_trials import stored_ids, stored_trials
from orchestrator.plan.studies import Catalogue
from orchestrator.plan.trials import trials_of
from results import Store
from trainables.declarations import Trial


def choose(
    found: Catalogue,
    store: Store | None,
    space: str | None,
    trial: str | None,
    set_: Sequence[str] | Mapping[str, Any] = (),
    smoke: bool = False,
) -> tuple[Trial, int]:
    """The trial meant, and how many others the same words also mean."""
    if space is not None:
        name, _, entry = found.find(space)[0]
        targets = trials_of(found, entry, set_, smoke)
        every = {t.id: t for t in targets} | {t.parent.id: t.parent for t in targets if t.parent}
        if trial is None:
            return targets[0], len(targets) - 1
        matches = [t for trial_id, t in every.items() if trial_id.startswith(trial)]
        if len(matches) != 1:
            what = "is the start of several trials" if matches else "is no trial"
            raise RequestError(
                f"{trial!r} {what} of {name}; `gradsweep plan {name} --json` lists them"
            )
        return matches[0], 0
    if trial is None:
        raise RequestError("name a SPACE, or a trial with --trial ID")
    if set_:
        raise RequestError("--set changes a space's trial; with --trial alone name the SPACE too")
    if store is None:
        raise RequestError(f"there is no store to find trial {trial!r} in; give --store or a SPACE")
    return stored_trials(found, store, stored_ids(store, [trial]))[0], 0
