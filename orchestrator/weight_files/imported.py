"""Weights of other programs in a store, and a trial's weights for other programs.

Imported weights are an artifact of the store, named by their content. A trial starts from them by
the key `weights_from`, which is part of its identity.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.datasets import loader
from orchestrator.errors import RequestError
from orchestrator.plan.code.study_sources import StudySource
from orchestrator.plan.imported_weights import imported_weights
from orchestrator.plan.plan import open_or_none
from orchestrator.plan.studies import catalogue, of_a_study
from orchestrator.trial_choice import choose
from orchestrator.weight_files import files, torch_names
from results import Store, StoreError, create_store
from trainables.declarations import Trial


@dataclass(frozen=True)
class Imported:
    """What was imported.

    Attributes:
      name: for `weights_from`.
      model: of the trial that the weights fit.
      shapes: of its tensors, by name.
    """

    name: str
    model: str
    shapes: Mapping[str, tuple[int, ...]]


def import_weights(
    file: str | Path,
    space: str,
    *,
    store: str = "./store",
    set: Sequence[str] | Mapping[str, Any] = (),
    smoke: bool = False,
    study: StudySource | None = None,
    renamed: Mapping[str, str] | None = None,
) -> Imported:
    """Keeps a torch `state_dict` in a store, as weights that the first trial of a space, after
    `set`, can start from.

    Args:
      file: .safetensors, .npz, or .pt where torch is installed.
      renamed: our name of tensors whose torch name says nothing.

    Raises:
      RequestError: the file cannot be read, or its tensors are not those of the trial's model.
    """
    with of_a_study():
        found = catalogue(study)
        chosen, _ = choose(found, open_or_none(store), space, None, set, smoke)
    tensors = torch_names.from_torch(chosen.model.name, files.read(Path(file)), renamed)
    kept = _fitting(chosen, tensors)
    name = f"imported-{_digest(kept)}"
    lane = {"trial_id": name, "attempt": 0, "epoch": 0, "launch_id": None}
    opened = create_store(store)
    if imported_weights(opened, name) is None:
        leaves = {tensor: value[None] for tensor, value in kept.items()}
        opened.save_weights("artifacts", name, leaves, {"lanes": [lane]})
    return Imported(name, chosen.model.name, {n: v.shape for n, v in kept.items()})


def export_weights(
    store: Store | str, trial: str, file: str | Path, *, study: StudySource | None = None,
    epoch: int | None = None,
) -> dict[str, tuple[int, ...]]:  # fmt: skip
    """Writes kept weights of a trial, or imported ones, as a torch `state_dict`; returns its shapes
    by torch's names.

    Raises:
      RequestError: no such trial, no weights, or a model that torch has not.
    """
    opened = store if isinstance(store, Store) else open_or_none(store)
    if opened is None:
        raise RequestError(f"there is no store at {store}; give the --store of the launch")
    with of_a_study():
        chosen, _ = choose(catalogue(study), opened, None, trial)
    try:
        weights = opened.weights(chosen.id, epoch)
    except StoreError as error:
        raise RequestError(str(error)) from error
    state = torch_names.to_torch(chosen.model.name, weights)
    files.write(Path(file), state)
    return {name: value.shape for name, value in state.items()}


def _fitting(trial: Trial, tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The tensors of the trial's model.

    Raises:
      RequestError: some are missing, too many, or of another shape.
    """
    from trainables.packs.kept_module import shapes_of  # imports JAX

    def arrays() -> dict[str, Any]:
        return dict(loader.load(trial.dataset).arrays) if trial.dataset else {}

    wanted = shapes_of(trial, arrays)
    problems = [f"{n} {list(s)} is missing" for n, s in wanted.items() if n not in tensors]
    problems += [f"the model has no tensor {n}" for n in tensors if n not in wanted]
    problems += [
        f"{name} has the shape {list(tensors[name].shape)}, and the model {list(shape)}"
        for name, shape in wanted.items()
        if name in tensors and tensors[name].shape != shape
    ]
    if problems:
        raise RequestError(
            f"the weights are not those of {trial.model.name} as this trial has it: "
            f"{'; '.join(problems[:6])}; --set depth, width or the task's sizes to those of the "
            "file"
        )
    return {name: np.asarray(tensors[name], np.float32) for name in wanted}


def _digest(tensors: Mapping[str, np.ndarray]) -> str:
    content = hashlib.sha256()
    for name in sorted(tensors):
        value = np.ascontiguousarray(tensors[name])
        content.update(f"{name} {value.dtype} {value.shape}\n".encode() + value.tobytes())
    return content.hexdigest()[:16]
