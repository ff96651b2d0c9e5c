"""`promote`: carries trials on that a pruning rule ended, from their kept states to their end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from orchestrator.errors import RequestError
from orchestrator.launch import LaunchResult, launch
from orchestrator.option_checks import count_problems, require
from orchestrator.plan.lengthening import lengthened
from orchestrator.plan.plan import open_or_none
from orchestrator.plan.store_state import newest_attempts, resume_points
from orchestrator.plan.stored_trials import stored_ids, stored_trials
from orchestrator.plan.studies import Catalogue, catalogue, of_a_study
from orchestrator.ray_backend.jobs import runs_as_job
from orchestrator.terminal import out
from orchestrator.units import counted
from results import Store, StoreError
from results.ask.named_queries import space_of
from results.ask.trial_values import metric_sql
from results.ask.units import metrics_of
from results.schema import FINISHED, MEASURED
from results.store.metric_columns import better_end
from trainables.declarations import Trial, nearest

if TYPE_CHECKING:
    from orchestrator.plan.code.study_sources import StudySource


def promote(
    *trials: str,
    space: str | None = None,
    top: int | None = None,
    metric: str | None = None,
    mode: Literal["min", "max"] | None = None,
    epochs: int | None = None,
    from_start: bool = False,
    store: str = "./store",
    study: StudySource | None = None,
    address: str | None = None,
    cpus_per_pack: int = 1,
    cpus: int | None = None,
    gpus: float | None = None,
    gpus_per_pack: float | None = None,
    checkpoint_seconds: float = 60.0,
    progress: str = "auto",
    say: Callable[[str], None] = out,
) -> LaunchResult:
    """Trains pruned trials on, from the states that were kept of them, as a launch without pruning.

        promote("3f2a", "81c0")
        promote(space="mine/depth", top=3)

    Args:
      trials: their ids, or unique prefixes; or
      space, top: the best `top` of the pruned trials of `study/space`.
      metric, mode: what is best, and which end of it: each trial at its last epoch. None: what the
        rule judged by that pruned them.
      epochs: train them to this many, and so as other trials, which go on from the pruned ones.
      from_start: train those of which no state was kept from epoch 0.
      store, study, address, cpus_per_pack, cpus, gpus, gpus_per_pack, checkpoint_seconds, progress,
        say: as of `launch`; an `address` is that of a running cluster.

    Raises:
      RequestError: a trial is unknown, is not pruned, or left no state; says which, and what to do.
    """
    require(count_problems("top", top), count_problems("epochs", epochs))
    if bool(trials) == (space is not None) or (space is None) != (top is None):
        raise RequestError("name the trials to promote, or give --space STUDY/SPACE and --top N")
    if runs_as_job(address, False):
        raise RequestError(
            "promote runs beside the cluster, not as a job: start it on one of its machines, with "
            "--address auto"
        )
    opened = open_or_none(store)
    if opened is None:
        raise RequestError(f"there is no store at {store}; give the --store of the launch")
    try:
        ids = (
            stored_ids(opened, trials)
            if space is None
            else _best_pruned(opened, space, int(top or 1), metric, mode)
        )
        _require_pruned(opened, ids)
        name = _space_of(opened, ids, space)
        with of_a_study():
            found = catalogue(study)
            found.find(name)
            if not from_start:
                _require_states(found, opened, ids, epochs)
    except StoreError as error:
        raise RequestError(str(error)) from error
    say(f"promotes {counted(len(ids), 'trial')} of {name}: {' '.join(ids)}")
    return launch(
        name, store=store, study=study, address=address, cpus_per_pack=cpus_per_pack, cpus=cpus,
        gpus=gpus, gpus_per_pack=gpus_per_pack, checkpoint_seconds=checkpoint_seconds,
        progress=progress, say=say, only=ids, length=epochs,
    )  # fmt: skip


def _best_pruned(
    store: Store, space: str, top: int, metric: str | None, mode: str | None
) -> list[str]:
    """The best pruned trials of a space, each at its last epoch; what is no number comes last."""
    data = space_of(store, space)
    members = list(data["trials"])
    rule: dict[str, Any] = data.get("select") or {}
    judged = store.sql(
        "SELECT metric FROM decisions WHERE trial_id IN (SELECT unnest($ids)) "
        "ORDER BY decided DESC LIMIT 1",
        {"ids": members},
    ).fetchall()
    usual = judged[0][0] if judged else None
    name = metric or usual or str(rule.get("metric") or "val_loss")
    own = rule.get("mode") if name == rule.get("metric", "val_loss") else None
    known = metrics_of(store, members)
    end = mode or str(own or better_end(name, None, known))
    if end not in ("min", "max"):
        raise RequestError(f"mode is min or max; got {end}")
    value = metric_sql(name)
    rows = store.sql(
        f"""
        SELECT trial_id, arg_max({value}, epoch) AS value
        FROM epochs JOIN (
            SELECT trial_id FROM attempts WHERE newest AND status = 'pruned'
            AND trial_id IN (SELECT unnest($ids))
        ) USING (trial_id)
        GROUP BY trial_id
        ORDER BY coalesce(isfinite(value), false) DESC,
            value * {1 if end == "min" else -1}, trial_id
        """,
        {"ids": members},
    ).fetchall()
    if not rows:
        raise RequestError(f"no trial of {space} is pruned; `gradsweep status` says what they are")
    if all(number is None for _, number in rows):
        other = nearest(name, [*MEASURED, *known])
        raise RequestError(
            f"no pruned trial of {space} has recorded {name}{other}; give another --metric"
        )
    return [trial_id for trial_id, _ in rows[:top]]


def _space_of(store: Store, ids: Sequence[str], space: str | None) -> str:
    """The space that all of these trials are of."""
    if space is not None:
        return space
    homes = {
        trial_id: [n for n, data in store.spaces().items() if trial_id in data.get("trials", ())]
        for trial_id in ids
    }
    shared = set.intersection(*(set(names) for names in homes.values()))
    if shared:
        return min(shared)
    strays = [trial_id for trial_id, names in homes.items() if not names]
    if strays:
        raise RequestError(f"no space of the store has trial {strays[0]}; launch its space again")
    raise RequestError("these trials are of several spaces; promote those of one space at a time")


def _require_pruned(store: Store, ids: Sequence[str]) -> None:
    rows = newest_attempts(store)
    problems = [
        f"trial {trial_id} is {rows[trial_id]['status']}, not pruned, so none of it is left to "
        "train; `gradsweep launch SPACE --set epochs=N` makes a longer one"
        for trial_id in ids
        if rows[trial_id]["status"] in FINISHED
    ]
    if problems:
        raise RequestError(problems)


def _require_states(found: Catalogue, store: Store, ids: Sequence[str], epochs: int | None) -> None:
    """Raises RequestError for each trial that would train from epoch 0."""
    pruned = stored_trials(found, store, ids)
    points = resume_points(store, pruned)
    lost = [trial_id for trial_id in ids if not points[trial_id].checkpoint]
    problems = [
        f"no state of trial {trial_id} was kept, so it would train from epoch 0; --from-start has "
        "it do that"
        for trial_id in lost
    ]
    if epochs is not None:
        problems += _too_short(pruned, epochs)
        longer = stored_trials(found, store, ids, epochs)
        others = [
            one for one, old in zip(longer, pruned, strict=True)
            if one.id != old.id and old.id not in lost
        ]  # fmt: skip
        problems += [
            f"{why}, so {counted(len(which), 'trial')} would train from epoch 0; --from-start has "
            f"{'it' if len(which) == 1 else 'them'} do that"
            for why, which in lengthened(store, others).anew.items()
        ]
    if problems:
        raise RequestError(problems)


def _too_short(trials: Sequence[Trial], epochs: int) -> list[str]:
    longest = max(trial.epochs for trial in trials)
    if epochs >= longest:
        return []
    return [f"--epochs {epochs} is less than the {longest} that were planned; give more, or none"]
