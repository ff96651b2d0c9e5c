"""What would run: a space's trials against what the store holds."""

from __future__ import annotations

import contextlib
import gc
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pyarrow.fs import FileSelector, FileType

from orchestrator import notebook
from orchestrator.datasets import loader as datasets
from orchestrator.errors import RequestError
from orchestrator.option_checks import count_problems, require
from orchestrator.plan.code.changes import changes
from orchestrator.plan.code.study_sources import StudySource, asked
from orchestrator.plan.estimate import estimated_bytes, estimated_rows, estimated_seconds
from orchestrator.plan.imported_weights import missing
from orchestrator.plan.lengthening import STATE, Lengthened, lengthened
from orchestrator.plan.packs import Lane, PackSpec, make_packs
from orchestrator.plan.pruned_space import parent_problems, pruning_json, pruning_of
from orchestrator.plan.store_state import (
    lacking_recordings,
    newest_attempts,
    recorded_signatures,
    resume_points,
)
from orchestrator.plan.stored_trials import stored_trials
from orchestrator.plan.studies import Catalogue, catalogue, of_a_study
from orchestrator.plan.trials import trials_of
from orchestrator.pruning.judged import Judged, judged_of
from orchestrator.pruning.options import NONE, asked_pruning
from orchestrator.pruning.standing import pruned_trials
from results import Store, StoreError, open_store
from results.schema import FINISHED
from results.store.config_columns import json_object
from results.store.object_store import reaching
from results.store.paths import resolve as resolve_uri
from search_spaces import Space, Study
from trainables.declarations import Trial


@dataclass
class SpacePlan:
    """The plan of one space; trials of all stages, parents first.

    Attributes:
      stale: trials that ended under an older version of their parts.
      changed: what has changed since: a sentence -> the stale trials that it concerns.
      continued: trials that go on from a shorter one: its id, and from which epoch on.
      anew: why others cannot, in a sentence -> epochs that are trained again, by trial.
      pruned: trials that a launch with this rule has ended early, each with the reason.
      judged: what a pruning rule compares; None where nothing is pruned.
    """

    name: str
    study: Study
    space: Space
    trials: list[Trial]
    targets: list[Trial]
    done: set[str] = field(default_factory=set)
    stale: set[str] = field(default_factory=set)
    blocked: dict[str, str] = field(default_factory=dict)
    incomplete: dict[str, list[str]] = field(default_factory=dict)
    lacking: dict[str, list[str]] = field(default_factory=dict)
    to_run: list[Trial] = field(default_factory=list)
    packs: list[PackSpec] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    rows: dict[str, int] = field(default_factory=dict)
    seconds: float | None = None
    smoke: bool = False
    changed: dict[str, list[str]] = field(default_factory=dict)
    continued: dict[str, tuple[str, int]] = field(default_factory=dict)
    anew: dict[str, dict[str, int]] = field(default_factory=dict)
    pruned: dict[str, str] = field(default_factory=dict)
    judged: Judged | None = None

    def __repr__(self) -> str:
        return (
            f"SpacePlan({self.name}: {len(self.trials)} trials, {len(self.done)} done, "
            f"{len(self.to_run)} to run, {len(self.packs)} packs, {len(self.programs)} programs)"
        )

    def _repr_html_(self) -> str:
        return notebook.plans_html([self])

    @property
    def stages(self) -> list[str]:
        """Names of its stages, parents first."""
        depth = {t.stage.name: len(t.ancestors) for t in self.trials}
        return sorted(depth, key=lambda name: depth[name])

    @property
    def stage_counts(self) -> dict[str, int]:
        """Trials of each stage, parents first."""
        counts = Counter(trial.stage.name for trial in self.trials)
        return {stage: counts[stage] for stage in self.stages}

    @property
    def programs(self) -> list[str]:
        return sorted({pack.program for pack in self.packs})

    @property
    def program_table(self) -> list[dict[str, Any]]:
        """Each program to compile: its stage, the static keys that tell it from the others, and
        how many trials and packs of which widths run it."""
        by_program: dict[str, list[PackSpec]] = {}
        for pack in self.packs:
            by_program.setdefault(pack.program, []).append(pack)
        example = {trial.program: trial for trial in self.to_run}
        statics = {p: {**example[p].statics, **example[p].length} for p in by_program}
        values: dict[str, set[str]] = {}
        for found in statics.values():
            for name, value in found.items():
                values.setdefault(name, set()).add(repr(value))
        return [
            {
                "program": program,
                "stage": example[program].stage.name,
                "differs": {n: v for n, v in statics[program].items() if len(values[n]) > 1},
                "trials": sum(len(pack.lanes) for pack in packs),
                "packs": len(packs),
                "widths": sorted({pack.width for pack in packs}),
            }
            for program, packs in by_program.items()
        ]

    @property
    def datasets(self) -> list[str]:
        """Names of the data sets that the trials to run read."""
        names = {trial.dataset for trial in self.to_run}
        return sorted(name for name in names if name)

    @property
    def keeping_states(self) -> list[Trial]:
        """The trials to run whose states `keep_weights=state` keeps."""
        return [trial for trial in self.to_run if trial.config["keep_weights"] == STATE]

    @property
    def bytes(self) -> int:
        """Estimated size of the rows to come."""
        return estimated_bytes(self.rows)

    def to_json(self) -> dict[str, Any]:
        """The keys that scripts rely on; keys are only ever added."""
        return {
            "space": self.name,
            "trials": len(self.trials),
            "done": len(self.done),
            "to_run": len(self.to_run),
            "packs": len(self.packs),
            "programs": len(self.programs),
            "program_table": self.program_table,
            "stages": self.stage_counts,
            "widths": sorted({pack.width for pack in self.packs}),
            "stale": len(self.stale),
            "changed": self.changed,
            "blocked": self.blocked,
            "pruned": self.pruned,
            "pruning": pruning_json(self.judged),
            "incomplete": self.incomplete,
            "lacking": self.lacking,
            "padding": sum(pack.width - len(pack.lanes) for pack in self.packs),
            "rows": self.rows,
            "bytes": self.bytes,
            "seconds": self.seconds,
            "continued": {i: list(one) for i, one in self.continued.items()},
            "anew": self.anew,
            "trial_ids": [trial.id for trial in self.trials],
            "to_run_ids": [trial.id for trial in self.to_run],
            "variants": {trial.id: trial.variants for trial in self.trials if trial.variants},
            "warnings": self.warnings,
        }


class Plans(list[SpacePlan]):
    """Plans of several spaces, which a notebook shows as a table."""

    def __repr__(self) -> str:
        return f"[{', '.join(map(repr, self))}]"

    def _repr_html_(self) -> str:
        return notebook.plans_html(self)


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Without garbage collection, which looks through all trials again and again, in vain: a tenth
    of the time of planning 100,000."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@_uncollected()
@of_a_study()
def plan(
    space: str | Study,
    *,
    store: str | Store | None = "./store",
    set: Sequence[str] | Mapping[str, Any] = (),
    smoke: bool = False,
    limit: int | None = None,
    rerun: Sequence[str] = (),
    study: StudySource | None = None,
    lanes: str = "auto",
    width: int | None = None,
    devices: int = 2,
    gpu: bool = False,
    only: Sequence[str] = (),
    length: int | None = None,
    prune: str | Mapping[str, Any] | None = None,
    metric: str | None = None,
    mode: str | None = None,
    grace: int | None = None,
    factor: int | None = None,
    over: str | Sequence[str] | None = None,
    within: str | Sequence[str] | None = None,
) -> list[SpacePlan]:
    """Plans a space, or every space of a study; reads the store, writes nothing.

    Args:
      space: `study/space`, or a study by its name or as an object of your own.
      store: URI or open store; None, or one that does not exist yet, counts as empty.
      set: overrides, as `key=value` strings or a mapping.
      smoke, limit: the space's small variant; only its first trials.
      rerun: any of `stale`, `failed`, or trial ids (a unique prefix will do).
      study: a study of your own: the path of its file, a module that sets it ("package.module",
        "package.module:NAME"), or the object.
      lanes: auto, vmap or sequential. width: lanes per pack. devices: packs at once. gpu: whether
        on GPUs.
      only: ids of trials of the store, as their configs are recorded, in place of those that the
        space asks for. length: as many epochs for each of them.
      prune: ends bad trials early: asha, halving, hyperband or median; none turns off what the
        space has; or a dict as in `Space.prune`.
      metric, mode: what trials are compared by, and which end of it is better (min or max).
      grace: epochs before a trial is first judged. factor: of this many at a rung, one goes on.
      over: keys, such as "seed", whose values are judged together, by their mean.
      within: trials are compared with those alone that have the same values of these keys. If left
        out, they are the swept keys that the space's `select` neither chooses nor averages over;
        "none" compares all.

    Raises:
      RequestError: with everything wrong with the request.
      StudyFileError: a user's study failed, as it was read or later.
    """
    require(
        count_problems("limit", limit),
        count_problems("width", width),
        count_problems("devices", devices),
    )
    pruning = asked_pruning(prune, metric, mode, grace, factor, over, within)
    wanted, study = asked(space, study)
    found = catalogue(study)
    opened = open_or_none(store)
    plans = Plans()
    for name, owner, entry in found.find(wanted):
        targets = (
            stored_trials(found, opened, only, length)
            if only and opened is not None
            else trials_of(found, entry, set, smoke, limit)
        )
        require(missing(targets, opened))
        how = {"rule": NONE} if only else pruning
        plans.append(_plan_space(found, name, owner, entry, opened, targets, smoke, rerun, how))
        finish = plans[-1]
        needed = frozenset(t.parent.id for t in finish.to_run if t.parent)
        again = _rerun_ids(rerun, {trial.id: trial for trial in finish.trials})
        fresh = finish.incomplete.keys() | finish.lacking.keys() | again
        starts = resume_points(opened, finish.to_run, fresh)
        longer = [trial for trial in finish.to_run if trial.id not in again]
        _lengthen(finish, starts, lengthened(opened, longer, fresh))
        finish.packs = make_packs(
            finish.to_run,
            starts,
            recorded_signatures(opened, gpu),
            devices=devices,
            gpu=gpu,
            lanes=lanes,
            width=width,
            needed_as_parents=needed,
        )
        finish.rows = estimated_rows(finish.to_run)
        begun = {i: lane.first_epoch for i, lane in starts.items()}
        finish.seconds = estimated_seconds(finish.to_run, opened, begun)
        finish.warnings += opened.warnings if opened else []
    require(
        parent_problems(
            [trial for one in plans if one.judged for trial in one.targets],
            [trial for one in plans for trial in one.trials],
        )
    )
    return plans


def _lengthen(result: SpacePlan, starts: dict[str, Lane], longer: Lengthened) -> None:
    """Has trials go on from shorter ones that have come further than they have."""
    for trial_id, lane in longer.lanes.items():
        own = starts[trial_id]
        if own.resumes_at < lane.resumes_at:
            starts[trial_id] = replace(
                lane, trial_id=trial_id, attempt=own.attempt, follows=own.follows
            )
            result.continued[trial_id] = str(lane.continues), lane.first_epoch
    result.anew = {
        why: own
        for why, lost in longer.anew.items()
        if (own := {i: epochs for i, epochs in lost.items() if not starts[i].first_epoch})
    }


def open_or_none(store: str | Store | None) -> Store | None:
    """The store, or None where there is none yet.

    Raises:
      RequestError: there is something, but no store of ours can be read there.
    """
    if store is None or isinstance(store, Store):
        return store
    try:
        filesystem, root = resolve_uri(store)
        with reaching(store):
            kind = filesystem.get_file_info(root).type
            if kind == FileType.NotFound:
                return None
            if kind == FileType.Directory and not filesystem.get_file_info(FileSelector(root)):
                return None
        return open_store(store)
    except StoreError as error:
        raise RequestError(str(error)) from error


def _plan_space(
    found: Catalogue,
    name: str,
    study: Study,
    space: Space,
    store: Store | None,
    targets: list[Trial],
    smoke: bool,
    rerun: Sequence[str],
    pruning: Mapping[str, Any],
) -> SpacePlan:
    for example in {trial.structure: trial for trial in targets}.values():
        _ask_declarations(example)
    trials: dict[str, Trial] = {}
    for target in targets:
        for trial in (*target.ancestors, target):
            trials.setdefault(trial.id, trial)
    result = SpacePlan(name, study, space, list(trials.values()), targets, smoke=smoke)
    again = _rerun_ids(rerun, trials)
    state = store.completeness(list(trials)) if store else {}
    attempts = newest_attempts(store)
    old = {row["config_id"]: row for row in attempts.values() if row["status"] in FINISHED}
    for trial in trials.values():
        known = state.get(trial.id)
        if known is None or known["status"] is None:
            if old and trial.config_id in old and "stale" not in rerun and trial.id not in attempts:
                result.stale.add(trial.id)
            continue
        lacking = lacking_recordings(trial, attempts.get(trial.id))
        if known["done"] and not lacking and trial.id not in again:
            result.done.add(trial.id)
        elif known["missing"] and known["status"] in FINISHED:
            result.incomplete[trial.id] = known["missing"]
        elif lacking:
            result.lacking[trial.id] = lacking
    _block(result, trials, attempts)
    _prune(result, pruning, store, again)
    _choose(result, trials, store)
    result.changed = _changed(result, found, old, store)
    _data_warnings(result)
    return result


def _changed(
    result: SpacePlan,
    found: Catalogue,
    old: Mapping[str, Mapping[str, Any]],
    store: Store | None,
) -> dict[str, list[str]]:
    """What has changed since the stale trials ran, by sentence, and which these are."""
    records = store.spaces().values() if store and result.stale else ()
    known = {v: pieces for one in records for v, pieces in (one.get("code") or {}).items()}
    what: dict[str, list[str]] = {}
    for trial in result.trials:
        if trial.id in result.stale:
            then = json_object(old[trial.config_id]["versions"])
            for sentence in changes(then, trial.versions, known, found.code):
                what.setdefault(sentence, []).append(trial.id)
    return what


def _ask_declarations(trial: Trial) -> None:
    """Calls what its parts declare beside the training: what fails fails before a launch begins.

    Raises:
      ConfigError: one returned what it must not.
    """
    if "task" in trial.parts:
        _ = trial.sizes, trial.dataset
    if "model" in trial.parts:
        _ = trial.rows
    _ = trial.variants, trial.chance_loss


def _block(result: SpacePlan, trials: Mapping[str, Trial], attempts: Mapping[str, Any]) -> None:
    """Fills `blocked`: children of a parent that did not pass do not run."""
    for trial in reversed(list(trials.values())):
        parent = trial.parent
        if parent is None or trial.id in result.done or trial.id in result.stale:
            continue
        # Its older version is no parent of this child, which needs the current one.
        result.stale.discard(parent.id)
        status = attempts.get(parent.id, {}).get("status")
        if status in ("gate_failed", "diverged") and parent.id in result.done:
            result.blocked[trial.id] = (
                f"parent {parent.id} {status}: {attempts[parent.id]['reason']}"
            )


def _prune(
    result: SpacePlan, asked: Mapping[str, Any], store: Store | None, again: Collection[str]
) -> None:
    """Fills `judged` and `pruned`; trials that are to run `again` are not pruned."""
    pruning, warning = pruning_of(result.name, result.space, result.targets, asked)
    result.warnings += [warning] if warning else []
    if pruning is None:
        return
    compared = [trial for trial in result.targets if trial.id not in result.stale]
    blocked = [trial.id for trial in compared if trial.id in result.blocked]
    result.judged = judged_of(result.name, pruning, compared, blocked)
    result.pruned = {
        trial_id: reason
        for trial_id, reason in pruned_trials(store, result.judged).items()
        if trial_id not in result.done and trial_id not in again
    }


def _choose(result: SpacePlan, trials: Mapping[str, Trial], store: Store | None) -> None:
    """Fills `to_run`: parents whose artifact a child still needs run again."""
    wanted = {trial.parent.id for trial in trials.values() if trial.parent}
    saved = store.list_artifacts() if store and wanted else []
    kept = {
        entry["trial_id"]
        for index in saved
        if wanted.intersection(entry["trial_id"] for entry in index["lanes"])
        and store is not None
        and store.weights_intact(index["path"])
        for entry in index["lanes"]
        if store.shows(entry)
    }
    ended = result.blocked.keys() | result.pruned.keys()
    # Children first: a parent that must run again needs its own parent's artifact too.
    for trial in reversed(list(trials.values())):
        parent = trial.parent
        if parent is None or any(trial.id in them for them in (result.done, result.stale, ended)):
            continue
        result.stale.discard(parent.id)
        if parent.id in result.done and parent.id not in kept:
            result.done.discard(parent.id)
            result.lacking[parent.id] = ["weights"]
    skip = result.done | result.stale | ended
    result.to_run = [trial for trial in trials.values() if trial.id not in skip]


def _rerun_ids(rerun: Sequence[str], trials: Mapping[str, Trial]) -> set[str]:
    found: set[str] = set()
    for word in rerun:
        if word in ("stale", "failed"):
            continue
        matches = [trial_id for trial_id in trials if trial_id.startswith(word)]
        if len(matches) != 1:
            what = "matches several trials" if matches else "is no trial of this space"
            raise RequestError(f"--rerun {word} {what}; give stale, failed or one trial id")
        found.add(matches[0])
    return found


def _data_warnings(result: SpacePlan) -> None:
    for name in result.datasets:
        if not datasets.available(name):
            result.warnings.append(datasets.missing_message(name))
