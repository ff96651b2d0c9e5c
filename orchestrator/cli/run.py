"""Commands that run: launch, debug, data."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli.app import (
    FactorOption,
    GraceOption,
    JsonOption,
    LanesOption,
    LimitOption,
    MetricOption,
    ModeOption,
    OverOption,
    PruneOption,
    RerunOption,
    SetOption,
    SmokeOption,
    SpaceArgument,
    StoreOption,
    StudyOption,
    WidthOption,
    WithinOption,
    app,
    dump,
    out,
    print_table,
)
from orchestrator.cli.plan import check_lanes
from orchestrator.stopping import silence, status_of
from orchestrator.units import counted, duration

if TYPE_CHECKING:
    from orchestrator.launch import LaunchResult

_MOST_IDS = 3
"""Trials named for each reason; `--json` names all."""


@app.command()
def launch(
    context: typer.Context,
    space: SpaceArgument,
    store: StoreOption = "./store",
    set: SetOption = None,
    smoke: SmokeOption = False,
    limit: LimitOption = None,
    rerun: RerunOption = None,
    study: StudyOption = None,
    prune: PruneOption = None,
    metric: MetricOption = None,
    mode: ModeOption = None,
    grace: GraceOption = None,
    factor: FactorOption = None,
    over: OverOption = None,
    within: WithinOption = None,
    keep_pruned: Annotated[
        bool,
        typer.Option(
            "--keep-pruned/--no-keep-pruned",
            help="Keep the last states of pruned trials, from which promote and launches without "
            "pruning go on.",
        ),
    ] = True,
    address: Annotated[
        str | None,
        typer.Option(
            "--address",
            help="A running Ray cluster: HOST:PORT or auto from one of its machines, http://... of "
            "its job server from anywhere. A local Ray starts and stops if left out.",
        ),
    ] = None,
    detach: Annotated[
        bool,
        typer.Option("--detach", help="Do not wait for a job: see status, logs, stop --address."),
    ] = False,
    lanes: LanesOption = "auto",
    width: WidthOption = None,
    cpus_per_pack: Annotated[int, typer.Option(min=1, help="CPU threads of each worker.")] = 1,
    cpus: Annotated[
        int | None, typer.Option(min=1, help="CPUs to use; all there are if left out.")
    ] = None,
    gpus: Annotated[
        float | None, typer.Option(help="GPUs to use; all there are if left out.")
    ] = None,
    gpus_per_pack: Annotated[
        float | None, typer.Option(help="Share of a GPU for each pack, at most 1.")
    ] = None,
    checkpoint_seconds: Annotated[
        float, typer.Option(help="Seconds between resume points.")
    ] = 60.0,
    keep_weights: Annotated[
        str | None,
        typer.Option(
            "--keep-weights",
            help="Weights kept: none, last, best, every:K, or state, for longer trials.",
        ),
    ] = None,
    trial_timeout: Annotated[
        str | None,
        typer.Option(
            "--trial-timeout",
            metavar="TIME",
            help="A trial that has taken this long fails (600, 90s, 10m, 2h), data and compiling "
            "included; trials that a worker trains in turn share its time.",
        ),
    ] = None,
    time_budget: Annotated[
        str | None,
        typer.Option(
            "--time-budget",
            metavar="TIME",
            help="Stop the launch cleanly after this long (90s, 10m, 2h), with exit status 124; "
            "the same command goes on.",
        ),
    ] = None,
    keep_going: Annotated[
        bool,
        typer.Option(
            "--keep-going",
            help="Where a program cannot be made, try each of its packs all the same.",
        ),
    ] = False,
    json: JsonOption = False,
) -> int:
    """Run what is missing, under Ray Tune. The same command again resumes; Ctrl-C stops cleanly."""
    from orchestrator.launch import launch as run_launch
    from orchestrator.launch import resume_command
    from orchestrator.machine.resources import check_amounts
    from orchestrator.option_checks import number_problems, require, span_problems
    from orchestrator.plan.plan import plan as make_plan
    from orchestrator.pruning.options import asked_pruning
    from orchestrator.ray_backend.jobs import runs_as_job

    pruning = asked_pruning(prune, metric, mode, grace, factor, over, within)
    overrides = [*(set or []), *([f"keep_weights={keep_weights}"] if keep_weights else [])]
    if runs_as_job(address, detach):
        assert address is not None
        # Wrong requests end here.
        check_amounts(cpus_per_pack, cpus, gpus, gpus_per_pack)
        require(
            number_problems("checkpoint_seconds", checkpoint_seconds),
            span_problems("trial_timeout", trial_timeout),
            span_problems("time_budget", time_budget),
        )
        make_plan(space, store=None, set=overrides, smoke=smoke, study=study, prune=pruning)
        return _launch_as_job(context, address, detach)
    try:
        result = run_launch(
            space,
            store=store,
            set=overrides,
            smoke=smoke,
            limit=limit,
            rerun=rerun or [],
            study=study,
            prune=pruning,
            keep_pruned=keep_pruned,
            address=address,
            lanes=check_lanes(lanes),
            width=width,
            cpus_per_pack=cpus_per_pack,
            cpus=cpus,
            gpus=gpus,
            gpus_per_pack=gpus_per_pack,
            checkpoint_seconds=checkpoint_seconds,
            trial_timeout=trial_timeout,
            time_budget=time_budget,
            keep_going=keep_going,
            progress="none" if json else "auto",
            say=(lambda text: None) if json else say,
        )
    except KeyboardInterrupt as error:
        if not json:
            say(f"stopped before any trial ran; run them: {resume_command()}")
        return status_of(getattr(error, "number", signal.SIGINT))
    return said(result, json)


def said(result: LaunchResult, json: bool) -> int:
    """Says what a launch brought; its exit status."""
    from orchestrator.launch import resume_command

    if json:
        dump(_launch_json(result))
    else:
        _print_launch(result, resume_command())
    if result.stuck:
        sys.stdout.flush()
        os._exit(result.exit_status)
    return result.exit_status


def say(text: str) -> None:
    """A line, if anybody still reads them; a launch does not end for want of a reader."""
    try:
        out(text)
    except OSError:
        silence(sys.stdout)


def _launch_as_job(context: typer.Context, address: str, detach: bool) -> int:
    """The same command as a job on the cluster; its exit status, unless it is left alone."""
    from orchestrator.ray_backend import jobs

    given = context.params
    elsewhere = ("space", "address", "store", "study", "detach", "keep_pruned")
    words = jobs.words_of({n: v for n, v in given.items() if n not in elsewhere})
    words += [] if given["keep_pruned"] else ["--no-keep-pruned"]
    place = (given["space"], given["store"])
    return jobs.run_job(address, *place, words, given["study"], detach, out)[1]


def _launch_json(result: LaunchResult) -> dict[str, Any]:
    return {
        "store": result.store,
        "ran": result.ran,
        "seconds": result.seconds,
        "counts": dict(result.counts),
        "programs_compiled": result.compiles["compiled"],
        "programs_cached": result.compiles["cached"],
        "slots_busy": result.slots_busy,
        "reasons": result.reasons,
        "untried": result.untried,
        "time_up": result.time_up,
        "interrupted": result.interrupted,
        "error": result.error,
    }


def _print_launch(result: LaunchResult, again: str) -> None:
    from results.schema import FINISHED

    counts = ", ".join(f"{count} {status}" for status, count in sorted(result.counts.items()))
    if result.interrupted and not result.error:
        # Whoever stops it may have little time for it, so one line has all.
        ended = sum(result.counts[name] for name in (*FINISHED, "pruned"))
        failed = f", {result.counts['failed']} failed" if result.counts["failed"] else ""
        trials = f"{ended} of {result.counts.total()} trials done{failed}"
        say(f"stopped after {duration(result.seconds)} with {trials}; run what is left: {again}")
        return
    say(f"{counted(result.ran, 'trial')} to run; in {duration(result.seconds)}: {counts}")
    alike: dict[str, list[str]] = {}
    for trial_id, reason in sorted(result.reasons.items()):
        alike.setdefault(reason, []).append(trial_id)
    for reason, ids in alike.items():
        more = len(ids) - _MOST_IDS
        rest = f" and {counted(more, 'other')}" if more > 0 else ""
        say(f"  {', '.join(ids[:_MOST_IDS])}{rest}: {reason}")
        if left := result.untried.get(reason):
            them = f"{left} of them were" if left > 1 else "one of them was"
            say(f"  ({them} not tried, being of the same program; --keep-going tries all)")
    if result.compiles:
        new, old = result.compiles["compiled"], result.compiles["cached"]
        say(f"programs compiled {new}, taken from the compile cache {old}")
    if result.error:
        say(f"stopped: {result.error}")
    if result.time_up:
        say(f"the time budget is used up; go on: {again}")
    elif result.exit_status:
        say(f"run what is left: {again}")
    else:
        first = result.plans[0]
        # An analysis has no learning result to choose by.
        trained = any(trial.stage.epochs_key for trial in first.targets)
        best = f"gradsweep best {first.name}, " if trained else ""
        say(f"results in {result.store}; next: {best}gradsweep plot {first.name}")


@app.command()
def debug(
    space: Annotated[
        str | None, typer.Argument(metavar="[SPACE]", help="Its first trial is run.")
    ] = None,
    trial: Annotated[
        str | None, typer.Option("--trial", help="A trial id or a unique prefix.")
    ] = None,
    store: StoreOption = "./store",
    set: SetOption = None,
    smoke: SmokeOption = False,
    study: StudyOption = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Stop after this many epochs.")] = None,
    check_nans: Annotated[
        bool,
        typer.Option("--check-nans", help="Name the first layer and step that went non-finite."),
    ] = False,
    profile: Annotated[str | None, typer.Option(help="Folder for a JAX profiler trace.")] = None,
    exact: Annotated[
        bool, typer.Option("--exact", help="Rebuild the recorded pack width: bit for bit.")
    ] = False,
    record: Annotated[
        bool, typer.Option("--record", help="Publish the rows to the store.")
    ] = False,
    no_jit: Annotated[
        bool,
        typer.Option(
            "--no-jit",
            help="Compile nothing: print and breakpoint() in your model show numbers. Slow; give "
            "--epochs 1.",
        ),
    ] = False,
    json: JsonOption = False,
) -> int:
    """Run one trial in this process, without Ray; a breakpoint in your model works."""
    from orchestrator.cli.epoch_printer import EpochPrinter
    from orchestrator.debug import debug as run_debug

    printer = EpochPrinter(quiet=json)
    result = run_debug(
        space,
        trial=trial,
        store=store,
        set=set or [],
        smoke=smoke,
        study=study,
        epochs=epochs,
        check_nans=check_nans,
        profile=profile,
        exact=exact,
        record=record,
        no_jit=no_jit,
        watch=printer,
    )
    if json:
        dump(result.to_json() | ({"culprit": result.culprit} if check_nans else {}))
        return int(result.status == "failed")
    for note in result.notes:
        out(note)
    if result.others:
        every = counted(result.others + 1, "trial")
        out(f"(the first of {every}; --set narrows them, --trial picks one)")
    out(
        f"trial {result.trial.id}: {result.status}"
        + (f", {result.reason}" if result.reason else "")
    )
    if result.status == "failed":
        return 1
    if check_nans:
        out(result.culprit or "every step was finite")
    if profile:
        out(f"profile in {profile}; view it with `tensorboard --logdir {profile}` or Perfetto")
    if record:
        out(f"recorded in {store}")
    return 0


data = typer.Typer(help="Real data sets: list, fetch, verify, add.", no_args_is_help=True)
app.add_typer(data, name="data")


@data.command("list")
def data_list() -> None:
    """Every data set, whether its files are here, and how to get them."""
    from orchestrator.datasets import loader

    rows = []
    for name, dataset in loader.DATASETS.items():
        here = loader.available(name)
        absent = "not included" if dataset.home else "missing"
        remedy = f"take it from {dataset.home}" if dataset.home else f"gradsweep data fetch {name}"
        rows.append([name, "here" if here else absent, "" if here else remedy])
    for name in loader.texts():
        here = loader.available(name)
        rows.append(
            [name, "here" if here else "missing", "" if here else "gradsweep data add FOLDER"]
        )
    print_table(["data set", "files", "how to get it"], rows)
    out(f"data root: {loader.data_root()} (GRADSWEEP_DATA)")


@data.command("fetch")
def data_fetch(name: str) -> None:
    """Download a data set and check its checksum."""
    from orchestrator.datasets import loader

    out(f"{name} is in {loader.fetch(name)}")


@data.command("add")
def data_add(
    folder: Annotated[
        str, typer.Argument(metavar="FOLDER", help="With train.txt, valid.txt and test.txt.")
    ],
) -> None:
    """Keep a folder of text as a corpus, and say its name; `--set corpus=FOLDER` does the same."""
    from orchestrator.datasets import loader

    name = loader.add_text(folder)
    out(f"{name} is in {loader.data_root()}; use it by --set task=word_lm corpus={name}")


@data.command("verify")
def data_verify(
    name: Annotated[str | None, typer.Argument(help="All data sets if left out.")] = None,
) -> int:
    """Read every file and compare its checksum."""
    from orchestrator.datasets import loader

    found = [loader.verify(n) for n in ([name] if name else loader.DATASETS)]
    rows = [[one.name, str(f.path), f.status, f.detail] for one in found for f in one.files]
    print_table(["data set", "file", "status", "detail"], rows)
    bad = [one.name for one in found if one.status == "corrupt" or (name and one.status != "ok")]
    return 1 if bad else 0
