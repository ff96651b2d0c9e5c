"""Commands that ask a store: query, best."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli.app import (
    JsonOption,
    StoreOption,
    app,
    cell_text,
    dump,
    json_text,
    out,
    print_table,
)
from orchestrator.cli.open_store import open_for_reading
from orchestrator.errors import RequestError

if TYPE_CHECKING:
    from results import Result

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
    limit: Annotated[int, typer.Option(min=1, help="Rows of a table; files get all.")] = 200,
    json: JsonOption = False,
) -> None:
    """Ask the store in SQL (DuckDB), read-only, or run a named query."""
    from results import named_queries, run_named
    from results.ask.named_queries import describe

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
    opened = open_for_reading(store, rule)
    named = sql.strip().replace("_", "").isalnum()
    result = run_named(opened, sql.strip(), space) if named else opened.query_user(sql)
    wanted = "json" if json else format or (_ending(output) if output else "table")
    constant: dict[str, Any] = {}
    if named and wanted == "table":
        result, constant = _without_constants(result, {*opened.config_columns.values()})
    _write(result, wanted, output, limit)
    if constant:
        out("the same in every row: " + " ".join(f"{k}={v}" for k, v in constant.items()))


def _without_constants(result: Result, keys: set[str]) -> tuple[Result, dict[str, Any]]:
    """The result less the config keys that do not vary in it, and those with their values."""
    from results import Result

    constant: dict[str, Any] = {}
    for name in result.columns:
        values = {repr(v): v for v in result.table.column(name).to_pylist()}
        if name in keys and len(values) == 1 and len(result) > 1:
            constant[name] = cell_text(next(iter(values.values()))) or "null"
    return Result(result.table.drop_columns(list(constant))), constant


def _ending(output: Path) -> str:
    """The format that a file's name asks for."""
    ending = output.suffix.lstrip(".").lower()
    if output.is_dir() or ending not in ("csv", "json", "parquet"):
        raise RequestError(
            f"cannot write {output}: give a file that ends in .csv, .json or .parquet, or --format"
        )
    return ending


def _write(result: Result, format: str, output: Path | None, limit: int) -> None:
    if format not in ("table", "csv", "json", "parquet"):
        raise RequestError(f"--format must be table, csv, json or parquet; got {format!r}")
    if format == "parquet" and output is None:
        raise RequestError("parquet needs a file; add --output FILE.parquet")
    if format == "table" and output is not None:
        raise RequestError("a table goes to the terminal; for a file give --format csv or json")
    try:
        if format == "parquet":
            import pyarrow.parquet as pq

            try:
                pq.write_table(result.table, output)
            except (ValueError, NotImplementedError) as error:  # Arrow's
                raise RequestError(
                    f"a column has no form in Parquet ({error}); CAST it to VARCHAR"
                ) from error
        elif format == "csv":
            text = result.df().to_csv(index=False)
            output.write_text(text, encoding="utf-8") if output else print(text, end="")
        elif format == "json" and output:
            output.write_text(json_text(result.rows()), encoding="utf-8")
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
    average: Annotated[
        str,
        typer.Option(
            help="median: a diverged seed counts as worst; published: mean, diverged skipped."
        ),
    ] = "median",
    at: Annotated[
        str | None, typer.Option(help="Epoch that counts: last, or best in the metric.")
    ] = None,
    format: Annotated[str, typer.Option(help="table, csv or json.")] = "table",
    json: JsonOption = False,
) -> None:
    """Select, then average: the best value of a key per cell, then centre and spread over seeds."""
    from results import best as find_best
    from results.ask.units import reported

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
        print(frame.to_csv(index=False), end="")
    elif format == "table":
        rows = [[_cell(v) for v in row] for row in frame.itertuples(index=False)]
        print_table([str(c) for c in frame.columns], rows)
        out(f"median, mean and stderr are of {reported(opened, space, report, metric)}")
    else:
        raise RequestError(f"--format must be table, csv or json; got {format!r}")


def _cell(value: Any) -> Any:
    """A pandas cell as plain Python, missing values as null."""
    if hasattr(value, "item"):
        value = value.item()
    return None if value != value else value
