"""A plan as a few lines of text."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.plan.plan import SpacePlan
from orchestrator.plan.state_size import state_bytes
from orchestrator.plan.trials import varying_keys
from orchestrator.pruning.budget import budget_of
from orchestrator.units import counted, duration, size_text
from results.config_values import pairs_texts
from trainables.declarations import Trial

_RUNGS = 6
"""Rungs listed."""

_PROGRAMS = 20
"""Programs listed in any case: each is a compile to wait for."""


def shared_line(plans: Sequence[SpacePlan]) -> str:
    """How many trials several spaces ask for, and how many that is once they share them."""
    nominal = sum(len(one.trials) for one in plans)
    trials = {trial.id for one in plans for trial in one.trials}
    programs = {trial.program for one in plans for trial in one.trials}
    return (
        f"{counted(len(plans), 'space')}: {counted(nominal, 'trial')}, {len(trials)} of them "
        f"distinct, {counted(len(programs), 'program')}"
    )


def _lengthening_lines(one: SpacePlan) -> list[str]:
    """Which trials go on from shorter ones, and why others do not."""
    lines = []
    if one.continued:
        many = len(one.continued) > 1
        goes = "go on from shorter ones" if many else "goes on from a shorter one"
        saved = counted(sum(epoch for _, epoch in one.continued.values()), "epoch")
        lines.append(f"  {counted(len(one.continued), 'trial')} {goes}: {saved} less to train")
    for why, lost in one.anew.items():
        train = "trains" if len(lost) == 1 else "train"
        more = counted(sum(lost.values()), "epoch")
        lines.append(f"  {why}: {counted(len(lost), 'trial')} {train} from epoch 0, {more} more")
    kept = one.keeping_states
    if kept:
        lines.append(f"  states of {counted(len(kept), 'trial')} are kept: {_size(kept)}")
    return lines


def _pruned_size(trials: Sequence[Trial]) -> str:
    total = state_bytes(trials, weights=False)
    if total is None:
        return "of a size not known before one has run"
    each = size_text(total // len(trials))
    return f"{each} each and at most {size_text(total)} (--no-keep-pruned: none)"


def _size(trials: Sequence[Trial]) -> str:
    total = state_bytes(trials)
    if total is None:
        return "how large they are is not known before one has run"
    each = total // len(trials)
    return f"about {size_text(total)}" + (f", {size_text(each)} each" if len(trials) > 1 else "")


def _pruning_lines(one: SpacePlan) -> list[str]:
    """The rule that ends bad trials early, and what it saves of the whole grid."""
    if one.judged is None:
        return []
    pruning, budget = one.judged.pruning, budget_of(one.judged)
    rungs = one.judged.rungs
    shown = ", ".join(map(str, rungs[:_RUNGS])) + (", ..." if len(rungs) > _RUNGS else "")
    together = f", {' and '.join(pruning.over)} judged together" if pruning.over else ""
    together += f", within equal {' and '.join(pruning.within)}" if pruning.within else ""
    better = "less" if pruning.mode == "min" else "more"
    by = f"{pruning.metric} ({better} is better)"
    lines = [f"  pruning {pruning.rule}, by {by} after {shown} epochs{together}"]
    if pruning.rule == "halving":
        about = f"at most {budget.most}"
    elif budget.about is None:
        about = f"at most {budget.most}, fewer by what is pruned,"
    else:
        about = f"about {budget.about} (at most {budget.most})"
    lines.append(f"  lane-epochs {about} of {budget.full} of the full grid")
    judged = [trial for trial in one.to_run if trial.id in one.judged.epochs]
    if judged:
        lines.append(f"  last states of pruned trials are kept, {_pruned_size(judged)}")
    if one.pruned:
        lines.append(f"  {counted(len(one.pruned), 'trial')} pruned before")
    return lines


def plan_lines(one: SpacePlan, show: int) -> list[str]:
    """The plan in a few lines, then the first `show` programs and trials it would run; of 0 none,
    nor how many there are."""
    lines: list[str] = []
    out = lines.append
    widths = ", ".join(str(w) for w in sorted({p.width for p in one.packs})) or "-"
    padding = sum(p.width - len(p.lanes) for p in one.packs)
    strategies = ", ".join(sorted({p.strategy for p in one.packs})) or "-"
    trials = counted(len(one.trials), "trial")
    out(f"{one.name}: {trials}, {len(one.done)} done, {len(one.to_run)} to run")
    counts = one.stage_counts
    if len(counts) > 1:
        out("  stages " + ", ".join(f"{stage} {count}" for stage, count in counts.items()))
    out(
        f"  packs {len(one.packs)}, programs {len(one.programs)}, widths {widths}, "
        f"padding lanes {padding}, lane strategy {strategies}"
    )
    table = one.program_table
    listed = max(show, _PROGRAMS) if show else 0
    differing = pairs_texts([row["differs"] for row in table[:listed]])
    for row, what in zip(table, differing, strict=False):
        widths = " and ".join(str(width) for width in row["widths"])
        out(
            f"    program {row['program']}  {what or row['stage']}: "
            f"{counted(row['trials'], 'trial')} in {counted(row['packs'], 'pack')} of {widths}"
        )
    if show and len(table) > listed:
        out(f"    ... and {counted(len(table) - listed, 'more program')} (--show N)")
    lines += _pruning_lines(one)
    rows = ", ".join(f"{count} {table}" for table, count in one.rows.items() if count)
    if rows:
        out(f"  rows {rows}: about {size_text(one.bytes)}")
    if one.seconds is not None:
        out(
            f"  about {duration(one.seconds)} of one worker's time, by past packs of these programs"
        )
    lines += _lengthening_lines(one)
    for what, ids in one.changed.items():
        out(f"  {len(ids)} stale: {what}")
    unsaid = one.stale.difference(*one.changed.values())
    if unsaid:
        out(f"  {len(unsaid)} stale: what ran is of an older version")
    if one.stale:
        out("  launch --rerun stale runs stale trials again")
    for label, ids in (
        ("incomplete", one.incomplete),
        ("lacking", one.lacking),
    ):
        for trial_id in sorted(ids):
            out(f"  {label} {trial_id}: {', '.join(ids[trial_id])}")
    for trial_id, reason in one.blocked.items():
        out(f"  blocked {trial_id}: {reason}")
    for warning in one.warnings:
        out(f"  warning: {warning}")
    varying = varying_keys(one.trials)
    shown = one.to_run[:show]
    configs = [{n: t.config[n] for n in varying if n in t.config} for t in shown]
    for trial, words in zip(shown, pairs_texts(configs), strict=True):
        out(f"    {trial.id}  {words}")
    if show and len(one.to_run) > show:
        out(f"    ... and {len(one.to_run) - show} more (--show N)")
    return lines
