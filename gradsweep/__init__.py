"""The one import of a notebook or a study file.

    from gradsweep import launch, open_store

    launch("vanishing/quickstart", store="store")
    open_store("store").sql("SELECT verdict, count(*) FROM diagnosis GROUP BY 1").df()

Each name is loaded when it is first used, so `import gradsweep` loads neither Ray nor JAX.

Raises:
  ImportError: a file or package of yours has the name of one of gradsweep's packages and is found
    before it.
"""

from __future__ import annotations

import importlib
from importlib.machinery import PathFinder
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.debug import DebugResult, debug
    from orchestrator.errors import RequestError
    from orchestrator.launch import LaunchResult, launch
    from orchestrator.load_model import load_model, measure
    from orchestrator.plan.plan import SpacePlan, plan
    from orchestrator.promote import promote
    from orchestrator.study_report import study_report
    from orchestrator.weight_files.imported import export_weights, import_weights
    from results import Result, Store, StoreError, open_store
    from results.ask.aggregate import aggregate
    from results.ask.best import best
    from results.ask.compare import compare
    from results.figures.declaration import Figure, FigureOption
    from results.html_report import report
    from results.plotting import plot, register_figure
    from search_spaces import Space, Study
    from search_spaces.claims import Claim, Number, PaperFigure
    from trainables.declarations import (
        Column,
        HostTrainable,
        Key,
        Loop,
        Metric,
        Model,
        Objective,
        Optimizer,
        Probe,
        Sizes,
        Stage,
        Task,
    )
    from trainables.optim.path_groups import path_labels, path_mask
    from trainables.optim.scaled_schedule import scaled_schedule

__all__ = [
    "Claim",
    "Column",
    "DebugResult",
    "Figure",
    "FigureOption",
    "HostTrainable",
    "Key",
    "LaunchResult",
    "Loop",
    "Metric",
    "Model",
    "Number",
    "Objective",
    "Optimizer",
    "PaperFigure",
    "Probe",
    "RequestError",
    "Result",
    "Sizes",
    "Space",
    "SpacePlan",
    "Stage",
    "Store",
    "StoreError",
    "Study",
    "Task",
    "aggregate",
    "best",
    "compare",
    "debug",
    "export_weights",
    "import_weights",
    "launch",
    "load_model",
    "measure",
    "open_store",
    "path_labels",
    "path_mask",
    "plan",
    "plot",
    "promote",
    "register_figure",
    "report",
    "scaled_schedule",
    "study_report",
]

_PLACES = {
    "orchestrator.debug": ("DebugResult", "debug"),
    "orchestrator.errors": ("RequestError",),
    "orchestrator.launch": ("LaunchResult", "launch"),
    "orchestrator.load_model": ("load_model", "measure"),
    "orchestrator.plan.plan": ("SpacePlan", "plan"),
    "orchestrator.promote": ("promote",),
    "orchestrator.study_report": ("study_report",),
    "orchestrator.weight_files.imported": ("export_weights", "import_weights"),
    "results.figures.declaration": ("Figure", "FigureOption"),
    "results": (
        "Result",
        "Store",
        "StoreError",
        "aggregate",
        "best",
        "compare",
        "open_store",
        "plot",
        "register_figure",
        "report",
    ),
    "search_spaces": ("Space", "Study"),
    "search_spaces.claims": ("Claim", "Number", "PaperFigure"),
    "trainables.declarations": (
        "Column",
        "HostTrainable",
        "Key",
        "Loop",
        "Metric",
        "Model",
        "Objective",
        "Optimizer",
        "Probe",
        "Sizes",
        "Stage",
        "Task",
    ),
    "trainables.optim.path_groups": ("path_labels", "path_mask"),
    "trainables.optim.scaled_schedule": ("scaled_schedule",),
}
_PLACE = {name: module for module, names in _PLACES.items() for name in names}
_PACKAGES = ("orchestrator", "results", "search_spaces", "trainables")


def _refuse_strangers() -> None:
    """Raises ImportError for a module of the user's that hides a package of ours."""
    home = Path(__file__).resolve().parents[1]
    for package in _PACKAGES:
        found = PathFinder.find_spec(package)
        if found is None or found.origin is None:  # a folder without __init__.py hides nothing
            continue
        origin = Path(found.origin).resolve()
        if origin.parent.parent != home:
            raise ImportError(
                f"{origin} hides gradsweep's package {package!r}; rename it, or start Python in "
                "another folder."
            )


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return version("gradsweep")
    if name not in _PLACE:
        raise AttributeError(f"module 'gradsweep' has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(_PLACE[name]), name)
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


_refuse_strangers()
