"""Where numbers come from: the signature that fixes their bits, and the commit of the code."""

from __future__ import annotations

import ast
import importlib.metadata
import inspect
import json
import os
import platform
import subprocess
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from orchestrator.plan.packs import HOST, PackSpec
from trainables.core.gpu_flags import PRECISION
from trainables.declarations import Trial
from trainables.declarations.core.parts import Code, loaded

COMMIT = "GRADSWEEP_COMMIT"


def signature(strategy: str, width: int, threads: int) -> dict[str, Any]:
    """What fixes a lane's bits on this process's device."""
    import jax

    device, precision = jax.devices()[0], os.environ.get(PRECISION)
    return {
        "strategy": strategy,
        "width": width,
        "device": f"{device.platform}:{device.device_kind}",
        "machine": platform.machine(),
        "threads": threads,
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        **({"precision": precision} if precision else {}),
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Installed versions of what computes a trial's numbers; imports none of it."""
    names = ("jax", "jaxlib", "flax", "optax", "numpy")
    return {name: importlib.metadata.version(name) for name in names}


def host_signature(run: Code, threads: int) -> dict[str, Any]:
    """As `signature`, of a function of the user's that runs in a separate process. It says what
    its numbers may depend on and promises no bits."""
    return {
        "strategy": HOST,
        "width": 1,
        "device": "host",
        "machine": platform.machine(),
        "threads": threads,
        "versions": {"python": platform.python_version(), **_imported(loaded(run))},
    }


def _imported(run: Callable[..., Any]) -> dict[str, str]:
    """Installed versions of NumPy and of what the file of a function imports anywhere in it."""
    try:
        tree = ast.parse(Path(inspect.getsourcefile(inspect.unwrap(run)) or "").read_bytes())
    except (OSError, TypeError, ValueError, SyntaxError):  # a notebook's, or a callable object
        tree = ast.Module([], [])
    names = {"numpy"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(str(node.module).partition(".")[0])
    known = _distributions()
    found = {one for name in names for one in known.get(name, ())}
    return {name: importlib.metadata.version(name) for name in sorted(found)}


@cache
def _distributions() -> Mapping[str, list[str]]:
    """Installed packages by the names that are imported."""
    return importlib.metadata.packages_distributions()


@cache
def git_commit() -> str | None:
    """Commit of the code that runs, '+' added where the tree differs; None outside git. Code that
    has travelled to a cluster is told by `COMMIT`."""
    if os.environ.get(COMMIT):
        return os.environ[COMMIT]
    folder = Path(__file__).resolve().parent

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(folder), *words],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
        return done.stdout.strip()

    try:
        tracked = git("ls-files", "--error-unmatch", Path(__file__).name)
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "HEAD") + ("+" if changed else "") if tracked else None
    except (OSError, subprocess.SubprocessError):
        return None


def metric_columns(trial: Trial, metrics: Iterable[str]) -> str | None:
    """The column `metric_columns` of table `trials`: unit and better end of each metric that is
    recorded, as its task declares them, as JSON; None where none is."""
    declared = trial.metrics
    found = {
        name: {"unit": declared[name].unit, "mode": declared[name].mode, "doc": declared[name].doc}
        if name in declared
        else {"unit": "fraction" if name.endswith("accuracy") else "", "mode": None, "doc": ""}
        for name in metrics
    }
    return json.dumps(found) if found else None


def trial_columns(trial: Trial, spec: PackSpec, lane: int) -> dict[str, Any]:
    """The columns of table `trials` that are known before the trial runs."""
    slot = spec.lanes[lane]
    return {
        "trial_id": trial.id,
        "attempt": slot.attempt,
        "follows": json.dumps(slot.follows),
        "stage": trial.stage.name,
        "parent_id": slot.parent_id,
        "config": json.dumps(trial.config, sort_keys=True),
        "config_id": trial.config_id,
        "labels": json.dumps(trial.variants, sort_keys=True) if trial.variants else None,
        "versions": json.dumps(trial.versions, sort_keys=True),
        "program": trial.program,
        "first_epoch": slot.first_epoch,
        "continues": slot.continues,
        "continues_attempt": json.dumps([slot.memo.get("attempt"), slot.memo.get("launch_id")])
        if slot.continues
        else None,
        "epochs_planned": trial.epochs,
        "chance_loss": trial.chance_loss,
        "loss_terms": trial.loss_terms,
        "loss_unit": trial.loss_unit,
        "pack": spec.id,
        "lane": lane,
        "host": platform.node(),
        "git_commit": git_commit(),
    }
