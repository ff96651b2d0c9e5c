"""The trained model of a stored trial, ready to call; and what a probe measures of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.datasets import loader
from orchestrator.debug import choose
from orchestrator.errors import RequestError
from orchestrator.plan.code.study_sources import StudySource
from orchestrator.plan.overrides import Overrides, read_overrides
from orchestrator.plan.plan import open_or_none
from orchestrator.plan.studies import catalogue, of_a_study
from results import Store, StoreError
from trainables.declarations import PartError, Trial

if TYPE_CHECKING:
    import numpy as np


def load_model(
    store: Store | str | Path,
    trial: str,
    *,
    study: StudySource | None = None,
    epoch: int | None = None,
) -> Any:
    """The model of a trial with the weights that its launch kept, in evaluation mode.

        model = gradsweep.load_model("store", "3f2a", study="my_study.py")
        logits = model(x)

    Args:
      store: a path, or what `open_store` gives.
      trial: its id, or a unique prefix.
      study: the file, module or object of the study that declares the model, where it is a user's;
        as for `debug`.
      epoch: after which epoch; the last kept one if None.

    Returns:
      A Flax NNX module, called with a batch x as in training. Of a model whose function gives a
      `flax.linen.Module` that module bound to its variables, of an `equinox.Module` that module in
      inference mode, each called as it is written; of an objective its tree.

    Raises:
      RequestError: there is no such store or trial, no weights were kept, the trial was run by
        another version of the code, or it trains no module; says what to do.
      StudyFileError: the study's code failed.
    """
    chosen, weights = _kept(store, trial, study, epoch)

    from trainables.packs.kept_module import module_with

    with _explained(chosen):
        return module_with(chosen, weights, lambda: _arrays(chosen))


def measure(
    store: Store | str | Path,
    trial: str,
    probe: str,
    *,
    study: StudySource | None = None,
    epoch: int | None = None,
    set: Overrides = (),
) -> dict[str, np.ndarray]:
    """What a probe measures of a trial at the weights that its launch kept, on its fixed batch.

        rows = gradsweep.measure("store", "3f2a", "hessian", set={"hessian_top": 20})

    Args:
      store, trial, study, epoch: as for `load_model`.
      probe: its name; one that reads no more than weights and data.
      set: recording keys of the probe, as `--set` has them.

    Returns:
      Its columns, (rows,) each.

    Raises:
      RequestError: as for `load_model`; there is no such probe, or it reads more than was kept.
      StudyFileError: the study's code failed.
    """
    chosen, weights = _kept(store, trial, study, epoch)
    registry = catalogue(study).registry
    given, problems = read_overrides(set, registry)
    recorded = {n: key for n, key in chosen.keys.items() if key.kind == "recording"}
    problems += [
        f"{name} is no recording key of trial {chosen.id}" for name in given if name not in recorded
    ]
    if problems:
        raise RequestError(problems)
    try:
        own = {n: recorded[n].coerce(v[0], chosen.config) for n, v in given.items()}
    except ValueError as error:
        raise RequestError(str(error)) from error
    asked = replace(chosen, config={**chosen.config, **own})

    from trainables.packs.kept_module import measured_with

    with _explained(chosen):
        return measured_with(asked, weights, _arrays(chosen), probe)


def _kept(
    store: Store | str | Path, trial: str, study: StudySource | None, epoch: int | None
) -> tuple[Trial, dict[str, np.ndarray]]:
    """A stored trial, and the weights that were kept of it."""
    opened = store if isinstance(store, Store) else open_or_none(str(store))
    if opened is None:
        raise RequestError(f"there is no store at {store}; give the --store of the launch")
    with of_a_study():
        chosen, _ = choose(catalogue(study), opened, None, trial)
    try:
        return chosen, opened.weights(chosen.id, epoch)
    except StoreError as error:
        raise RequestError(_without_weights(opened, chosen.id, epoch, error)) from error


def _arrays(trial: Trial) -> dict[str, Any]:
    return dict(loader.load(trial.dataset).arrays) if trial.dataset else {}


@contextmanager
def _explained(trial: Trial) -> Iterator[None]:
    """Says in a sentence what weights and model are not together."""
    try:
        with of_a_study():
            yield
    except PartError as error:
        raise RequestError(str(error)) from error
    except ValueError as error:
        raise RequestError(f"the weights of {trial.id} do not fit its model: {error}") from error


def _without_weights(store: Store, trial: str, epoch: int | None, error: StoreError) -> str:
    kept = sorted(
        own["epoch"]
        for entry in store.saves("artifacts")
        for own in entry["lanes"]
        if own["trial_id"] == trial
    )
    if not kept:
        return (
            f"{trial} kept no weights; launch it again with --set keep_weights=last (or best, or "
            "every:K), which trains it anew and keeps them"
        )
    if epoch is not None and epoch not in kept:
        return f"{trial} kept no weights at epoch {epoch}; it has those of {_listed(kept)}"
    return str(error)


def _listed(epochs: list[int]) -> str:
    return f"epoch{'s' if len(epochs) > 1 else ''} {', '.join(map(str, dict.fromkeys(epochs)))}"
