"""What `results` must know of a space, as JSON in the store: a laptop needs nothing more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.plan.code.changes import code_record
from orchestrator.plan.plan import SpacePlan
from orchestrator.plan.studies import Catalogue, of_a_study
from orchestrator.plan.trials import swept_keys
from trainables.declarations import Key, Trial


def _explained(trials: Sequence[Trial]) -> dict[str, tuple[Key, str]]:
    """Keys of the trials, each with what it means: the doc of the part that declares it, or of each
    such part by name where models or tasks of the space mean different things by it."""
    keys: dict[str, Key] = {}
    docs: dict[str, dict[str, list[str]]] = {}
    for structure in {trial.structure: None for trial in trials}:
        keys |= structure.keys
        for name, key in structure.keys.items():
            parts = [f"{role} {p.name}" for role, p in structure.parts.items() if key in p.keys]
            docs.setdefault(name, {}).setdefault(key.doc, []).extend(parts)
    found = {}
    for name, key in keys.items():
        several = [f"{', '.join(dict.fromkeys(parts))}: {doc}" for doc, parts in docs[name].items()]
        found[name] = key, " ".join(several) if len(several) > 1 else key.doc
    return found


def with_trials(before: Mapping[str, Any] | None, record: Mapping[str, Any]) -> dict[str, Any]:
    """The record of a space's last launch with the trials of another record added."""
    if before is None:
        return dict(record)
    added = {n: list(dict.fromkeys([*before[n], *record[n]])) for n in ("trials", "targets")}
    return {**before, **added, "parents": {**before["parents"], **record["parents"]}}


@of_a_study()
def space_json(
    plan: SpacePlan, catalogue: Catalogue, before: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The record of a launched space: trial ids, swept keys, selection rule, schemas, figures, and
    what its parts without a version depend on.

    Args:
      before: the record of its last launch.
    """
    swept = swept_keys(plan.trials)
    chances = {t.chance_loss for t in plan.targets}
    units = {t.loss_unit for t in plan.targets}
    return {
        "space": plan.name,
        "study": plan.study.name,
        "title": plan.study.title,
        "paper": f"arXiv:{plan.study.arxiv}" if plan.study.arxiv else "",
        "feeds": plan.space.reproduces,
        "ours": plan.space.extension,
        "smoke": plan.smoke,
        "stages": plan.stages,
        "trials": [trial.id for trial in plan.trials],
        "targets": [trial.id for trial in plan.targets],
        "parents": {t.id: t.parent.id for t in plan.trials if t.parent},
        "select": dict(plan.space.select),
        "swept": swept,
        "figures": list(plan.space.figures),
        "chance_loss": chances.pop() if len(chances) == 1 else None,
        "loss_unit": units.pop() if len(units) == 1 else None,
        "code": code_record(
            catalogue.code,
            dict.fromkeys(v for t in plan.trials for v in t.versions.values()),
            before,
        ),
        "keys": {
            name: {"type": key.type, "unit": key.unit, "doc": doc, "kind": key.kind}
            for name, (key, doc) in sorted(_explained(plan.trials).items())
        },
        "probes": {
            name: {
                "doc": catalogue.registry.probes[name].doc,
                "columns": [vars(column) for column in catalogue.registry.probes[name].columns],
            }
            for name in dict.fromkeys(p for t in plan.trials for p in t.probes)
        },
    }
