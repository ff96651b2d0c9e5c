"""Commands that read a store: status, show, query, best, plot, report, compact."""

from __future__ import annotations

import json as json_module
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli import JsonOption, StoreOption, StudyOption, app, dump, out, print_table
from orchestrator.errors import RequestError

if TYPE_CHECKING:
    from results import Result, Store

RuleOption = Annotated[
    list[str] | None,
    typer.Option("--rule", metavar="NAME=VALUE", help="Change a diagnosis threshold. Repeatable."),
]
SpaceName = Annotated[str, typer.Argument(metavar="SPACE", help="A space launched into the store.")]


def _open(uri: str, rules: list[str] | None = None) -> Store:
    from results import open_store

    changed: dict[str, float] = {}
    for text in rules or []:
        name, _, value = text.partition("=")
        try:
            changed[name] = float(value)
        except ValueError as error:
            raise RequestError(f"--rule {text!r} is not NAME=NUMBER") from error
    store = open_store(uri, rules=changed or None)
    for warning in store.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    return store


@app.command()
def status(store: StoreOption = "./store", json: JsonOption = False) -> int:
    """What is running, done, diverged, failed, blocked, and why."""
    from orchestrator.lease import holder

    opened = _open(store)
    states = {row["trial_id"]: row for row in opened.sql("SELECT * FROM trials").rows()}
    driver = holder(opened)
    report = []
    for name, space in sorted(opened.spaces().items()):
        report.append(_space_status(name, space, states, driver is not None))
    if json:
        dump({"store": opened.uri, "driver": driver, "spaces": report})
        return 0
    if driver:
        out(f"driver: process {driver['pid']} on {driver['host']} is writing to {opened.uri}")
    columns = list(dict.fromkeys(status for one in report for status in one["counts"]))
    print_table(
        ["space", "trials", *columns],
        [
            [one["space"], one["trials"], *(one["counts"].get(c, 0) for c in columns)]
            for one in report
        ],
    )
    for one in report:
        for trial_id, reason in one["reasons"].items():
            out(f"  {one['space']} {trial_id}: {reason}")
    stale = opened.sql("SELECT count(*) FROM all_trials WHERE stale").fetchall()[0][0]
    if stale:
        out(f"  {stale} stale trials (older versions) are hidden: query all_trials, --rerun stale")
    return 0


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
        if reason and state not in ("done", "stopped"):
            reasons[trial_id] = f"{state}: {reason}"
    return {"space": name, "trials": len(space["trials"]), "counts": counts, "reasons": reasons}


@app.command()
def show(
    trial: Annotated[str, typer.Argument(metavar="TRIAL", help="Trial id or any unique prefix.")],
    store: StoreOption = "./store",
    json: JsonOption = False,
) -> None:
    """One trial: config, attempts, last epochs, verdict, stored traceback."""
    opened = _open(store)
    trial_id = opened.resolve(trial)
    attempts = [r for r in opened.attempts().to_pylist() if r["trial_id"] == trial_id]
    newest = attempts[-1]
    config = json_module.loads(newest["config"])
    epochs = opened.sql(
        "SELECT epoch, attempt, loss, val_loss, test_loss, grad_norm, grad_norm_smallest, bad_step "
        "FROM all_epochs WHERE trial_id = $id ORDER BY epoch",
        {"id": trial_id},
    ).rows()
    verdict = opened.sql("SELECT * FROM diagnosis WHERE trial_id = $id", {"id": trial_id}).rows()
    if json:
        dump({"trial_id": trial_id, "config": config, "attempts": attempts, "epochs": epochs,
              "diagnosis": verdict})  # fmt: skip
        return
    out(
        f"trial {trial_id}: {newest['status']}"
        + (f", {newest['reason']}" if newest["reason"] else "")
    )
    out("  " + " ".join(f"{k}={'null' if v is None else v}" for k, v in config.items()))
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
    ]
    print_table(names, [[_short(r[n]) for n in names] for r in attempts], "attempts")
    if epochs:
        print_table(list(epochs[0]), [list(r.values()) for r in epochs[-8:]], "last epochs")
    for row in verdict:
        out(f"diagnosis: {row['verdict']}; {row['evidence']}")
    for row in attempts:
        if row["error"]:
            out(f"attempt {row['attempt']} failed:\n{row['error']}")


def _short(value: Any) -> Any:
    return value.strftime("%Y-%m-%d %H:%M:%S") if hasattr(value, "strftime") else value


@app.command()
def query(
    sql: Annotated[
        str | None, typer.Argument(metavar="SQL|NAME", help="One SELECT, or a named query.")
    ] = None,
    store: StoreOption = "./store",
    space: Annotated[str | None, typer.Option(help="Limit a named query to one space.")] = None,
    format: Annotated[
        str | None, typer.Option(help="table, csv, json or parquet; by the ending of --output.")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write here.")] = None,
    schema: Annotated[
        bool, typer.Option("--schema", help="Explain every view and column.")
    ] = False,
    list_: Annotated[bool, typer.Option("--list", help="List the named queries.")] = False,
    rule: RuleOption = None,
    limit: Annotated[int, typer.Option(min=1, help="Rows of a table; files get all.")] = 200,
    json: JsonOption = False,
) -> None:
    """Ask the store in SQL (DuckDB), read-only, or run a named query."""
    from results import named_queries, run_named
    from results.queries import describe

    if list_:
        print_table(["query", "answers"], [[q.name, q.doc] for q in named_queries().values()])
        return
    if schema:
        from orchestrator.planning import open_or_none

        out(describe(open_or_none(store)))
        return
    if not sql:
        raise RequestError(
            "give a SELECT or the name of a query; `gradsweep query --list` lists them"
        )
    opened = _open(store, rule)
    if sql.strip().replace("_", "").isalnum():
        result = run_named(opened, sql.strip(), space)
    else:
        result = opened.query_user(sql)
    wanted = "json" if json else format or (output.suffix.lstrip(".") if output else "table")
    _write(result, wanted, output, limit)


def _write(result: Result, format: str, output: Path | None, limit: int) -> None:
    if format not in ("table", "csv", "json", "parquet"):
        raise RequestError(f"--format must be table, csv, json or parquet; got {format!r}")
    if format == "parquet" and output is None:
        raise RequestError("parquet needs a file; add --output FILE.parquet")
    try:
        if format == "parquet":
            result.df().to_parquet(output)
        elif format == "csv":
            text = result.df().to_csv(index=False)
            output.write_text(text) if output else print(text, end="")
        elif format == "json" and output:
            output.write_text(json_module.dumps(result.rows(), default=str))
        elif format == "json":
            dump(result.rows())
        else:
            rows = [list(row.values()) for row in result.rows()]
            print_table(result.columns, rows[:limit])
            if len(rows) > limit:
                out(f"{len(rows) - limit} more rows (--limit, or --format csv)")
    except OSError as error:
        raise RequestError(f"cannot write {output}: {error.strerror}") from error
    if output:
        out(f"wrote {len(result)} rows to {output}")


@app.command()
def best(
    space: SpaceName,
    store: StoreOption = "./store",
    metric: Annotated[str | None, typer.Option(help="Metric that selects.")] = None,
    mode: Annotated[str | None, typer.Option(help="min or max.")] = None,
    choose: Annotated[str | None, typer.Option(help="Key whose best value is chosen.")] = None,
    over: Annotated[str | None, typer.Option(help="Key averaged over.")] = None,
    by: Annotated[str | None, typer.Option(help="Keys that make a cell, joined by commas.")] = None,
    report: Annotated[str | None, typer.Option(help="Metric reported.")] = None,
    rule: Annotated[
        str,
        typer.Option(
            help="median: a diverged seed counts as worst; published: mean, diverged skipped."
        ),
    ] = "median",
    format: Annotated[str, typer.Option(help="table, csv or json.")] = "table",
    json: JsonOption = False,
) -> None:
    """Select, then average: the best value of a key per cell, then centre and spread over seeds."""
    from results import best as find_best

    frame = find_best(
        _open(store),
        space,
        metric=metric,
        mode=mode,
        choose=choose,
        over=over,
        by=by.split(",") if by else None,
        report=report,
        rule=rule,
    )
    if json or format == "json":
        dump(json_module.loads(frame.to_json(orient="records")))
    elif format == "csv":
        print(frame.to_csv(index=False), end="")
    elif format == "table":
        rows = [[_cell(v) for v in row] for row in frame.itertuples(index=False)]
        print_table([str(c) for c in frame.columns], rows)
    else:
        raise RequestError(f"--format must be table, csv or json; got {format!r}")


def _cell(value: Any) -> Any:
    """A pandas cell as plain Python, missing values as null."""
    if hasattr(value, "item"):
        value = value.item()
    return None if value != value else value


@app.command()
def plot(
    space: SpaceName,
    figure: Annotated[
        str | None, typer.Argument(metavar="[FIGURE]", help="Its first figure if left out.")
    ] = None,
    store: StoreOption = "./store",
    trial: Annotated[str | None, typer.Option("--trial", help="One trial's figure.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File, by ending .html, .png or .pdf.")
    ] = None,
    png: Annotated[
        bool, typer.Option("--png", help="PNG instead of HTML (needs the png extra).")
    ] = False,
    study: StudyOption = None,
    all_: Annotated[bool, typer.Option("--all", help="Every figure of the space.")] = False,
    list_: Annotated[bool, typer.Option("--list", help="List the figures.")] = False,
    rule: RuleOption = None,
) -> None:
    """Draw a figure of the space from the store: self-contained HTML, or PNG or PDF."""
    from results import FIGURES
    from results import plot as draw

    own = _own_figures(space, study)
    known = {**FIGURES, **own}
    if list_:
        print_table(
            ["figure", "shows"],
            [[n, (f.__doc__ or "").strip().split("\n")[0]] for n, f in known.items()],
        )
        return
    opened = _open(store, rule)
    from results.queries import space_of

    data = space_of(opened, space)
    names = list(data["figures"]) if all_ else [figure or data["figures"][0]]
    for name in names:
        written = draw(
            opened,
            space,
            name,
            trial=trial,
            output=output,
            format="png" if png else None,
            figures=known,
        )
        out(str(written))


def _own_figures(space: str, study: str | None) -> dict[str, Any]:
    """Figure functions of a user's study."""
    if study is None:
        return {}
    from orchestrator.studies import catalogue

    return dict(catalogue(study).find(space)[0][1].figures)


@app.command()
def report(
    space: SpaceName,
    store: StoreOption = "./store",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="HTML file to write.")
    ] = None,
) -> None:
    """One self-contained HTML page: plan, results, verdicts and every figure of a space."""
    from results import report as make_report

    out(str(make_report(_open(store), space, output=output)))


@app.command()
def compact(
    store: StoreOption = "./store",
    grace: Annotated[
        float, typer.Option(min=0, help="Seconds replaced files stay for readers that listed them.")
    ] = 60.0,
    json: JsonOption = False,
) -> None:
    """Merge small files and drop superseded rows, while others read and write."""
    opened = _open(store)
    summary = opened.compact(grace_s=grace)
    if json:
        dump(summary)
    else:
        out(", ".join(f"{name.replace('_', ' ')} {count}" for name, count in summary.items()))
