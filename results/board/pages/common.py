"""What several pages ask first: which keys vary, which metrics were recorded, which trial."""

from __future__ import annotations

from results.ask.named_queries import targets_of
from results.board.page import View
from results.board.questions.trials import different_values, recorded
from results.board.stores import Shown
from results.errors import StoreError
from results.schema import MEASURED

FIRST = ("val_loss", "loss", "val_accuracy", "test_accuracy", "grad_norm")
"""Metrics that a page shows by itself, where they were recorded."""


def holders(view: View, space: str) -> list[Shown]:
    """Those of the chosen stores that have the space."""
    return [shown for shown in view.stores.chosen(view.at) if space in shown.spaces()]


def keys_of(view: View, space: str) -> list[str]:
    """Columns of every config key, in the alphabet's order."""
    found = {column for shown in holders(view, space) for column in shown.columns().values()}
    return sorted(found - {"stage"})


def varying(view: View, space: str) -> list[str]:
    """Columns of the keys that have several values among the trials of the space."""
    found: set[str] = set()
    for shown in holders(view, space):
        own = sorted(set(shown.columns().values()) - {"stage"})
        if own:
            (row,) = shown.ask(different_values(space, own)).rows()
            found |= {name for name, count in row.items() if count > 1}
    return sorted(found)


def metrics_of(view: View, space: str) -> list[str]:
    """Columns of `epochs` that have values in the space; the usual ones first."""
    found: set[str] = set()
    for shown in holders(view, space):
        names = [*MEASURED, *(metric.column for metric in shown.store.metrics.values())]
        (row,) = shown.ask(recorded(space, dict.fromkeys(names))).rows()
        found |= {name for name, count in row.items() if count}
    usual = [name for name in FIRST if name in found]
    return usual + sorted(found - set(usual))


def cells_keys(view: View, space: str) -> list[str]:
    """The varying keys but the seed: trials that are equal in them differ by chance alone."""
    return [key for key in varying(view, space) if key != "seed"]


def has(shown: Shown, columns: list[str]) -> list[str]:
    """Those of the columns that a store's trials have."""
    own = set(shown.columns().values())
    return [name for name in columns if name in own]


def selected(view: View) -> list[tuple[Shown, str]]:
    """The trials that the address names, each with its store: `id`, or `store~id`."""
    stores = view.stores.chosen(view.at)
    found = []
    for text in view.at.several("trial"):
        name, _, trial = text.rpartition("~")
        shown = view.stores.all.get(name) if name else stores[0]
        if shown is None:
            raise StoreError(f"no store here is called {name!r}.")
        found.append((shown, trial))
    return found


def one_trial(view: View) -> tuple[Shown, str]:
    """The trial that the address names, by any unique beginning of its id; the space's first if it
    names none.

    Raises:
      StoreError: there is no such trial.
    """
    for shown, trial in selected(view):
        return shown, shown.store.resolve(trial)
    space = view.stores.space(view.at)
    for shown in holders(view, space):
        trials = targets_of(shown.spaces()[space])
        if trials:
            return shown, sorted(trials)[0]
    raise StoreError(f"{space} has no trial.")
