"""Commands about a store as a whole: status, show, compact, merge."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from orchestrator.cli.app import (
    JsonOption,
    StoreOption,
    app,
    dump,
    out,
    print_table,
)
from orchestrator.cli.open_store import open_for_reading
from orchestrator.terminal import say_on_stderr
from orchestrator.units import counted, size_text


@app.command()
def status(
    store: StoreOption = "./store",
    address: Annotated[
        str | None,
        typer.Option("--address", help="List the launches of this cluster's job server instead."),
    ] = None,
    json: JsonOption = False,
) -> int:
    """What is running, done, diverged, failed, pruned, blocked, and why."""
    from orchestrator.queue.lease import fault, holder
    from results.ask.named_queries import targets_of
    from results.ask.units import with_unit
    from results.ask.watched import best_watched
    from results.schema import CENSORED

    if address is not None:
        _print_jobs(address, json)
        return 0
    opened = open_for_reading(store)
    states = {row["trial_id"]: row for row in opened.sql("SELECT * FROM trials").rows()}
    driver, odd = holder(opened), fault(opened)
    if odd:
        say_on_stderr(f"warning: {odd}")
    report = []
    for name, space in sorted(opened.spaces().items()):
        one = _space_status(name, space, states, driver is not None)
        report.append({**one, "best": best_watched(opened, targets_of(space))})
    if json:
        dump({"store": opened.uri, "driver": driver, "spaces": report})
        return 0
    if driver:
        out(f"driver: process {driver['pid']} on {driver['host']} is writing to {opened.uri}")
    columns = list(dict.fromkeys(status for one in report for status in one["counts"]))
    early = [status for status in columns if status in CENSORED]
    print_table(
        ["space", "trials", *columns],
        [
            [one["space"], one["trials"], *(one["counts"].get(c, 0) for c in columns)]
            for one in report
        ],
    )
    if early:
        ids = [i for i, row in states.items() if row["status"] in CENSORED]
        kept = opened.kept_states(ids).values()
        size = size_text(sum(max(own.items())[1] for own in kept))
        state = "the state of none is kept"
        if kept:
            state = f"the states of {len(kept)} of {len(ids)} are kept ({size}), to go on from"
        out(f"  {' and '.join(early)} trials are known up to an epoch; {state}: "
            "gradsweep query pruned")  # fmt: skip
    for one in report:
        for line in one["best"]:
            what = with_unit(line["monitor"], line["unit"])
            out(f"  {one['space']}: best {what} {line['value']:.4g}, trial {line['trial_id']}")
        for trial_id, reason in one["reasons"].items():
            out(f"  {one['space']} {trial_id}: {reason}")
    stale = opened.sql("SELECT count(*) FROM all_trials WHERE stale").fetchall()[0][0]
    if stale:
        are = "is" if stale == 1 else "are"
        old = counted(stale, "stale trial")
        out(f"  {old} (older versions) {are} hidden: query all_trials, --rerun stale")
    return 0


def _print_jobs(address: str, as_json: bool) -> None:
    from orchestrator.ray_backend import jobs

    found = jobs.listing(address)
    if as_json:
        dump({"address": address, "jobs": found})
    elif not found:
        out(f"no launch at {address} yet; gradsweep launch SPACE --address {address} --detach")
    else:
        print_table(list(found[0]), [[_short(value) for value in row.values()] for row in found])


_SPEAK_FOR_THEMSELVES = ("done", "stopped", "pruned", "paused")
"""Statuses of which `status` gives no reasons: there may be hundreds."""


def _space_status(
    name: str, space: dict[str, Any], states: dict[str, Any], alive: bool
) -> dict[str, Any]:
    counts: dict[str, int] = {}
    reasons: dict[str, str] = {}
    parents = space.get("parents") or {}
    for trial_id in space["trials"]:
        row = states.get(trial_id)
        parent = states.get(parents.get(trial_id, ""))
        if (
            row is None
            and parent is not None
            and parent["status"] in ("gate_failed", "diverged", "failed")
        ):
            state, reason = (
                "blocked",
                f"parent {parent['trial_id']} {parent['status']}: {parent['reason']}",
            )
        elif row is None:
            state, reason = "waiting", None
        else:
            state, reason = row["status"], row["reason"]
            if state == "running" and not alive:
                state, reason = "lost", "its driver is gone; launch again to finish it"
        counts[state] = counts.get(state, 0) + 1
        if reason and state not in _SPEAK_FOR_THEMSELVES:
            reasons[trial_id] = f"{state}: {reason}"
    return {"space": name, "trials": len(space["trials"]), "counts": counts, "reasons": reasons}


_MOST_METRICS = 6
"""Metrics in the table of `show`."""


@app.command()
def show(
    trial: Annotated[str, typer.Argument(metavar="TRIAL", help="Trial id or any unique prefix.")],
    store: StoreOption = "./store",
    json: JsonOption = False,
) -> None:
    """One trial: config, attempts, last epochs, verdict, decisions, stored traceback."""
    from results.ask.units import metrics_of, with_unit
    from results.config_values import pairs_text
    from results.schema import CENSORED
    from results.store.config_columns import json_object
    from results.store.views import quoted

    opened = open_for_reading(store)
    trial_id = opened.resolve(trial)
    attempts = [r for r in opened.attempts().to_pylist() if r["trial_id"] == trial_id]
    newest = next(row for row in attempts if row["newest"])
    config = json_object(newest["config"])
    metrics = metrics_of(opened, [trial_id])
    if not json and len(metrics) > _MOST_METRICS:  # else the table is too wide to read
        held = {name: one for name, one in metrics.items() if name.startswith("val_")} or metrics
        metrics = dict(list(held.items())[:_MOST_METRICS])
    columns = ["epoch", "attempt", "loss", "val_loss", "test_loss"]
    columns += [quoted(metric.column) for metric in metrics.values()]
    columns += ["grad_norm", "grad_norm_smallest", "bad_step"]
    epochs = opened.sql(
        f"SELECT {', '.join(columns)} FROM all_epochs WHERE trial_id = $id ORDER BY epoch",
        {"id": trial_id},
    ).rows()
    unit = newest["loss_unit"]
    verdict = opened.sql("SELECT * FROM diagnosis WHERE trial_id = $id", {"id": trial_id}).rows()
    decisions = opened.sql(
        "SELECT * EXCLUDE (trial_id) FROM all_decisions WHERE trial_id = $id "
        "ORDER BY decided, rung",
        {"id": trial_id},
    ).rows()
    kept = opened.kept_states([trial_id]).get(trial_id, {})
    if json:
        dump({"trial_id": trial_id, "config": config, "attempts": attempts, "epochs": epochs,
              "diagnosis": verdict, "decisions": decisions, "states": kept})  # fmt: skip
        return
    out(
        f"trial {trial_id}: {newest['status']}"
        + (f", {newest['reason']}" if newest["reason"] else "")
    )
    if newest["status"] in CENSORED:
        done = f"{newest['epochs_done']} of {newest['epochs_planned']} epochs are known"
        out(
            f"  {done}; " + ("it can go on" if kept else "no state is kept, so it would start over")
        )
    for epoch, size in sorted(kept.items()):
        out(f"  its state after {counted(epoch, 'epoch')} is kept ({size_text(size)})")
    for row in attempts:
        if row["continues"]:
            first = counted(row["first_epoch"], "epoch")
            out(f"  attempt {row['attempt']} has its first {first} from trial {row['continues']}")
    out("  " + pairs_text(config))
    for name, text in json_object(newest["labels"]).items():
        out(f"  {name}: {text}")
    names = [
        "attempt",
        "status",
        "first_epoch",
        "epochs_done",
        "started",
        "seconds",
        "device",
        "pack",
        "lane",
        "host",
        "launch_id",
        "shown",
    ]
    if all(row["shown"] for row in attempts):  # no other store's attempts were copied in
        names = names[:-2]
    print_table(names, [[_short(r[n]) for n in names] for r in attempts], "attempts")
    if epochs:
        title = with_unit("last epochs", f"losses in {unit}" if unit else "")
        units = {metric.column: metric.unit for metric in metrics.values()}
        heads = [with_unit(name, units.get(name, "")) for name in epochs[0]]
        print_table(heads, [list(r.values()) for r in epochs[-8:]], title)
    if decisions:
        names = ["rule", "rung", "epoch", "metric", "value", "verdict", "against", "decided"]
        for row in decisions:
            row["against"] = counted(len(json_object(row["against"])), "value")
        print_table(names, [[_short(row[n]) for n in names] for row in decisions], "decisions")
    for row in verdict:
        out(f"diagnosis: {row['verdict']}; {row['evidence']}")
        if row["monitor_end"] is not None:
            out(
                f"{row['monitor']}: {row['monitor_start']:.4g} at first, {row['monitor_end']:.4g} "
                f"at last, {row['monitor_best']:.4g} at best"
            )
    for row in attempts:
        if row["error"]:
            out(f"attempt {row['attempt']} failed:\n{row['error']}")


def _short(value: Any) -> Any:
    return value.strftime("%Y-%m-%d %H:%M:%S") if hasattr(value, "strftime") else value


@app.command()
def compact(
    store: StoreOption = "./store",
    grace: Annotated[
        float, typer.Option(min=0, help="Seconds replaced files stay for readers that listed them.")
    ] = 60.0,
    json: JsonOption = False,
) -> None:
    """Merge small files and drop superseded rows, while others read and write."""
    opened = open_for_reading(store)
    summary = opened.compact(grace_s=grace)
    if json:
        dump(summary)
    else:
        out(", ".join(f"{name.replace('_', ' ')} {count}" for name, count in summary.items()))


@app.command()
def merge(
    source: Annotated[
        str, typer.Argument(metavar="FROM", help="Store to copy from; nothing in it changes.")
    ],
    target: Annotated[
        str, typer.Argument(metavar="INTO", help="Store to copy into; made if there is none.")
    ],
    json: JsonOption = False,
) -> None:
    """Copy what one store holds into another; each trial and epoch then shows once.

    Both may be directories or URIs. Doing it again copies only what is new.
    """
    from orchestrator.queue.lease import Lease
    from results import create_store

    given = open_for_reading(source)
    taking = create_store(target)
    with Lease(taking, say=out):
        summary = taking.merge(given)
    taking.sql("SELECT 1")  # differing results are found when rows can be read
    for warning in taking.warnings:
        say_on_stderr(f"warning: {warning}")
    if json:
        dump(summary)
    else:
        out(
            f"copied {summary['parts']} parts, {summary['weights']} sets of weights and "
            f"{summary['spaces']} spaces from {given.uri} into {taking.uri}; "
            f"{summary['known']} were there already"
        )
