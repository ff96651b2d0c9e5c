"""Commands that ask a store: query, best."""

from __future__ import annotations

import json as json_module
from pathlib import Path
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
from orchestrator.cli.rows import FORMATS, TABLE_ROWS, RowWriter
from orchestrator.errors import RequestError
from orchestrator.terminal import data_stream

RuleOption = Annotated[
    list[str] | None,
    typer.Option("--rule", metavar="NAME=VALUE", help="Change a diagnosis threshold. Repeatable."),
]
SpaceName = Annotated[str, typer.Argument(metavar="SPACE", help="A space launched into the store.")]


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
    limit: Annotated[
        int | None, typer.Option(min=1, help="Rows at most; 200 for a table, else all.")
    ] = None,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", help="Stop the query after this long.")
    ] = 3600.0,
    memory: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE", help="What the query may take, e.g. 2GB; half of what is free."
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Ask the store in SQL (DuckDB), read-only, or run a named query."""
    from results import named_queries
    from results.ask.explanation import describe
    from results.ask.named_queries import sql_named

    if list_:
        print_table(["query", "answers"], [[q.name, q.doc] for q in named_queries().values()])
        return
    if schema:
        from orchestrator.plan.plan import open_or_none

        out(describe(open_or_none(store)))
        return
    if not sql:
        raise RequestError(
            "give a SELECT or the name of a query; `gradsweep query --list` lists them"
        )
    wanted = "json" if json else format or (_ending(output) if output else "table")
    if wanted not in FORMATS:
        raise RequestError(f"--format must be table, csv, json or parquet; got {wanted!r}")
    if wanted == "parquet" and output is None:
        raise RequestError("parquet needs a file; add --output FILE.parquet")
    if wanted == "table" and output is not None:
        raise RequestError("a table is only printed; write FILE.csv, FILE.json or FILE.parquet")
    opened = open_for_reading(store, rule)
    named = sql.strip().replace("_", "").isalnum()
    text = sql_named(opened, sql.strip(), space) if named else sql
    most = limit or (TABLE_ROWS if wanted == "table" else None)
    keys = {*opened.config_columns.values()}
    opened.stream(
        text,
        RowWriter(wanted, output, most, keys, fold=named),
        limit=None if most is None else most + (wanted == "table"),  # one says: there are more
        timeout=timeout,
        memory=memory,
    )


def _ending(output: Path) -> str:
    """The format that a file's name asks for."""
    ending = output.suffix.lstrip(".").lower()
    if output.is_dir() or ending not in FORMATS[1:]:
        raise RequestError(
            f"cannot write {output}: give a file that ends in .csv, .json or .parquet, or --format"
        )
    return ending


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
    average: Annotated[
        str,
        typer.Option(
            help="median: a diverged seed counts as worst; published: mean, diverged skipped."
        ),
    ] = "median",
    at: Annotated[
        str | None, typer.Option(help="Epoch that counts: last, or best in the metric.")
    ] = None,
    format: Annotated[str, typer.Option(help="table, csv, json or latex.")] = "table",
    json: JsonOption = False,
) -> None:
    """Select, then average: the best value of a key per cell, then centre and spread over seeds."""
    from results import best as find_best

    opened = open_for_reading(store)
    frame = find_best(
        opened,
        space,
        metric=metric,
        mode=mode,
        choose=choose,
        over=over,
        by=by.split(",") if by else None,
        report=report,
        average=average,
        at=at,
    )
    if json or format == "json":
        dump(json_module.loads(frame.to_json(orient="records")))
    elif format == "csv":
        data_stream().write(frame.to_csv(index=False))
    elif format == "latex":
        from results.ask.latex import latex_table

        rows = ([_cell(v) for v in row] for row in frame.itertuples(index=False))
        data_stream().write(latex_table([str(c) for c in frame.columns], rows))
    elif format == "table":
        rows = [[_cell(v) for v in row] for row in frame.itertuples(index=False)]
        names = [str(c) for c in frame.columns]
        for row in rows:
            _say_why_none(dict(zip(names, row, strict=True)), row, names.index("median"))
        out(frame.attrs["says"])
        print_table(names, rows, keys=opened.config_columns.keys())
    else:
        raise RequestError(f"--format must be table, csv, json or latex; got {format!r}")


def _say_why_none(named: dict[str, Any], row: list[Any], centre: int) -> None:
    """Puts into a cell without a median why it has none, where that is known."""
    if row[centre] is not None:
        return
    if named["n_diverged"]:
        row[centre] = "no finite value"
    elif named.get("cell_pruned"):
        row[centre] = "pruned or missing" if named["n_missing"] else "all pruned"


def _cell(value: Any) -> Any:
    """A pandas cell as plain Python, missing values as null."""
    if hasattr(value, "item"):
        value = value.item()
    return None if value != value else value
