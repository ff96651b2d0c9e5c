"""What may be asked for by name: every view, column and config key, explained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from results.schema import (
    DECISIONS,
    DIAGNOSIS,
    EPOCHS,
    KEYS,
    LAYERS,
    LOSS_UNIT,
    OWNER,
    STEPS,
    TABLES,
    TRIALS,
    Column,
    columns_of,
)
from results.store.metric_columns import base_name
from results.store.views import view_name

if TYPE_CHECKING:
    from results.store.store import Store

ATTEMPTS = TRIALS + columns_of("""
    until_epoch | int32 | epochs | Epoch from which on a later attempt's rows show; null if none.
    newest | bool | | Whether it is the attempt that the trial's row in trials is made of.
    first_started | timestamp | UTC | When the trial's first attempt started.
    shown | bool | | False for attempts of a store that was copied into this one where the trial's
        other attempts show.
    followed | bool | | Whether another attempt follows it.
    spare_epoch | int32 | epochs | Epoch from which on compact may drop its rows; null if none.
""")

RUNS = columns_of("""
    status | string | | Status of the trial's newest attempt.
    stage | string | | Stage the trial runs.
    launch_id | string | | Launch that wrote the row.
    space | string | | Space that this launch ran; of a whole study's, those that ask for the trial.
    study | string | | Study of the space. Named run_study where a config key is called study.
    verdict | string | | Verdict of diagnosis. Named run_verdict where a config key is called so.
""")
"""Columns of the view `runs` beside those of `epochs` and the config keys."""

PACKS = columns_of("""
    launch_id | string | | Launch that ran the pack.
    pack | string | | Pack; equal in launches that ran the same attempts.
    program | string | | Hash of its compiled program.
    lanes | int64 | | Trials in it.
    host | string | | Machine it ran on.
    device | string | | Kind of device it ran on.
    started | timestamp | UTC | When it started.
    ended | timestamp | UTC | When the last of its lanes ended; null if none has.
    seconds | float64 | s | Time spent training.
    compile_seconds | float64 | s | Time spent compiling, counted once.
""")

LAUNCHES = columns_of("""
    launch_id | string | | Launch; null for attempts that do not name theirs.
    study | string | | Study of its spaces.
    space | string | | Spaces as they were launched: study/space, or a study for all its spaces.
    started | timestamp | UTC | When its first attempt started.
    ended | timestamp | UTC | When its last attempt ended; null if one has no end.
    hosts | string | | Machines it ran on.
    devices | string | | Kinds of devices it ran on.
    git_commit | string | | Commit of the code; '+' marks uncommitted changes.
    versions | string | | Installed versions of what computes the numbers, as JSON.
    trials | int64 | | Trials it ran.
    attempts | int64 | | Attempts it ran; more than trials where some were tried again.
    done | int64 | | Attempts that ended so.
    diverged | int64 | | Attempts that ended so.
    stopped | int64 | | Attempts that ended so.
    gate_failed | int64 | | Attempts that ended so.
    pruned | int64 | | Attempts that a pruning rule ended early.
    paused | int64 | | Attempts that wait for a rung's verdict.
    failed | int64 | | Attempts that ended so.
    interrupted | int64 | | Attempts that ended so.
    running | int64 | | Attempts without an end, under way or lost.
    packs | int64 | | Packs it ran.
    epochs | int64 | epochs | Epochs its ended attempts trained, over all trials.
    seconds | float64 | s | Time its packs spent training.
    compile_seconds | float64 | s | Time its packs spent compiling, each pack counted once.
""")

CONFLICTS = columns_of("""
    trial_id | string | | Trial that two launches ran with other results.
    epoch | int32 | epochs | First epoch whose rows differ.
    epochs | int64 | epochs | How many epochs differ.
    launch_id | string | | Launch whose row shows there.
    signature | string | | What fixed its bits, as JSON.
    other_launch_id | string | | Launch whose row does not show.
    other_signature | string | | What fixed its bits, as JSON.
""")

SPACES = columns_of("""
    name | string | | Space, as study/space.
    study | string | | Its study.
    title | string | | Title of the study.
    paper | string | | Its paper.
    reproduces | string | | What of the paper the space reproduces.
""")

SPACE_TRIALS = columns_of("""
    space | string | | Space, as study/space.
    trial_id | string | | Trial that its newest launch asked for.
""")

STALE = columns_of("""
    stale | bool | | Whether its config was also run under newer versions of its parts.
""")

VIEWS: dict[str, tuple[str, tuple[Column, ...]]] = {
    "trials": (
        "One row per trial, its newest attempt: config keys as typed columns, then these.",
        TRIALS + STALE,
    ),
    "runs": (
        "epochs joined with config keys (columns too), these, and all columns of epochs.",
        RUNS,
    ),
    "epochs": ("One row per (trial, epoch).", EPOCHS),
    "layers": ("One row per (trial, epoch, tensor), and tensor '*' for each whole layer.", LAYERS),
    "steps": (
        "The steps kept one by one: the first ten of a trial, the last ten of each epoch.",
        STEPS,
    ),
    "diagnosis": (
        "One row per trial: verdict, first bad epoch, every rule, evidence as JSON.",
        DIAGNOSIS,
    ),
    "decisions": (
        "One row per verdict of a pruning rule, in the order they were taken.",
        DECISIONS,
    ),
    "launches": ("One row per launch: what it ran, when, where, and what came of it.", LAUNCHES),
    "packs": ("One row per pack of a launch: trials that trained and compiled together.", PACKS),
    "attempts": ("One row per (trial, attempt, launch), superseded ones too.", ATTEMPTS),
    "conflicts": (
        "Trials that differ between two launches, after one store was copied into another.",
        CONFLICTS,
    ),
    "spaces": ("One row per space launched into this store.", SPACES),
    "space_trials": ("Which trials each space asks for.", SPACE_TRIALS),
}
"""What may be asked for by name beside probes: what it holds, and its columns."""

INTERNAL: dict[str, str] = {
    "configs": "Config keys of each trial, and whether it is stale.",
    "visible": "Attempts whose rows show, of which trials, and up to which epoch.",
    "monitors": "What trials watch that do not watch val_loss, and which end of it is better.",
    "monitored": "What each trial watches, and its first, last and best value.",
    "run_origins": "Study and space of each attempt, as runs has them.",
    "run_verdicts": "Verdicts, as runs has them.",
    "numbered_epochs": "epochs, with the trial as a number.",
    "numbered_layers": "layers, with the trial as a number.",
    "kept_diagnosis": "diagnosis, once it has been computed.",
}
"""What views are made of; columns may change."""


def describe(store: Store | None = None) -> str:
    """Every view and column with type, unit and meaning; config keys and probes of `store` too."""
    lines: list[str] = []
    losses = _loss_units(store) if store else LOSS_UNIT
    for view, (doc, columns) in VIEWS.items():
        lines += [f"{view}: {doc}", *_explained(columns, losses)]
        if view == "epochs" and store:
            lines += _explained(_metric_columns(store), losses)
        lines += [""]
    lines += [
        "all_trials, all_epochs, all_layers, all_steps, all_decisions: the same, stale trials"
    ]
    lines += ["included (those whose config also ran under newer versions).", ""]
    lines += ["What these are made of, which may change (files_*: all rows, as they were written):"]
    lines += [f"  {name:24}{doc}" for name, doc in INTERNAL.items()] + [""]
    probes: dict[str, tuple[str, tuple[Column, ...]]] = {
        view_name(name): ("Norm of dL/dh over layers and time steps.", columns)
        for name, columns in TABLES.items()
        if name.startswith("probes/")
    }
    for space in store.spaces().values() if store else ():
        for name, probe in (space.get("probes") or {}).items():
            own = [
                Column(c["name"], c["type"], c.get("doc", ""), c.get("unit", ""))
                for c in probe.get("columns", ())
            ]
            probes[name] = (probe.get("doc", "Probe."), (*KEYS, *own, *OWNER))
    for name, (doc, columns) in sorted(probes.items()):
        lines += [f"{name}: {doc}", *_explained(columns), ""]
    keys = _key_columns(store) if store else []
    if keys:
        lines += ["config keys (columns of trials and runs):", *_explained(keys), ""]
    return "\n".join(lines)


def _metric_columns(store: Store) -> list[Column]:
    """Columns of metrics, each with the set it is of, and the better end where it is declared."""
    better = {"min": "Lower is better.", "max": "Higher is better.", None: ""}
    known, columns = store.metrics, []
    for metric in known.values():
        base = base_name(metric.name)
        of = "validation" if metric.name.startswith("val_") else "test"
        where = f"On the {of} set."
        if base == metric.name:
            where = "Mean over training steps." if f"val_{base}" in known else ""
        said = (metric.doc or f"Metric {base}.", where, better[metric.mode])
        doc = " ".join(text for text in said if text)
        columns.append(Column(metric.column, "float64", doc, metric.unit))
    return columns


_SELECTORS = {
    role: ("string", f"Name of the trial's {role}.", "") for role in ("model", "task", "optimizer")
}


def _key_columns(store: Store) -> list[Column]:
    """Columns of config keys. One that spaces explain differently has a line for each meaning,
    which names those spaces: another study's key of the same name may be another thing."""
    types = {"int": "int64", "float": "float64", "bool": "bool", "str": "string"}
    meanings: dict[str, dict[tuple[str, str, str], list[str]]] = {}
    for space, record in sorted(store.spaces().items()):
        for key, own in (record.get("keys") or {}).items():
            kind = types.get(own.get("type", ""), "string")
            meaning = kind, own.get("doc", ""), own.get("unit", "")
            meanings.setdefault(key, {}).setdefault(meaning, []).append(space)
    columns = []
    for key, column in sorted(store.config_columns.items()):
        known = meanings.get(key) or ({_SELECTORS[key]: []} if key in _SELECTORS else {})
        for (kind, doc, unit), spaces in known.items():
            where = f"{', '.join(_studies(spaces, store))}: " if len(known) > 1 else ""
            columns.append(Column(column, kind, where + doc, unit))
    return columns


def _studies(spaces: Sequence[str], store: Store) -> list[str]:
    """Spaces by name; a study whose launched spaces are all among them, by its own."""
    whole: dict[str, list[str]] = {}
    for space in store.spaces():
        whole.setdefault(space.partition("/")[0], []).append(space)
    found: list[str] = []
    for space in spaces:
        study = space.partition("/")[0]
        found.append(study if set(whole[study]) <= {*spaces} else space)
    return list(dict.fromkeys(found))


def _loss_units(store: Store) -> str:
    """What all losses of the store are in; the column that says it where they differ."""
    units = store.sql("SELECT DISTINCT loss_unit FROM all_trials WHERE loss_unit IS NOT NULL")
    found = [unit for (unit,) in units.fetchall()]
    return found[0] if len(found) == 1 else LOSS_UNIT


def _explained(columns: Sequence[Column], losses: str = LOSS_UNIT) -> Iterator[str]:
    for column in columns:
        unit = losses if column.unit == LOSS_UNIT else column.unit
        unit = f" [{unit}]" if unit else ""
        yield f"  {column.name:24}{column.type:10} {column.doc}{unit}"
