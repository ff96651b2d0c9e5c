"""Commands that ask a store: query, best, compare."""

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
    out,
    print_table,
)
from orchestrator.cli.open_store import open_for_reading
from orchestrator.cli.rows import FORMATS, TABLE_ROWS, RowWriter
from orchestrator.errors import RequestError
from orchestrator.terminal import data_stream

if TYPE_CHECKING:
    import pandas as pd

    from results import Store

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
    _show(frame, opened, "json" if json else format)


@app.command()
def compare(
    a: Annotated[
        str,
        typer.Argument(
            metavar="A",
            help="A space launched into the store, or some "
            "of its trials: SPACE:KEY=VALUE:KEY=VALUE.",
        ),
    ],
    b: Annotated[str, typer.Argument(metavar="B", help="The same, of the other side.")],
    store: StoreOption = "./store",
    metric: Annotated[str | None, typer.Option(help="Metric that selects.")] = None,
    mode: Annotated[str | None, typer.Option(help="min or max.")] = None,
    choose: Annotated[
        str | None, typer.Option(help="Key whose best value is chosen at each side.")
    ] = None,
    over: Annotated[str | None, typer.Option(help="Key averaged over.")] = None,
    by: Annotated[
        str | None, typer.Option(help="Keys that make a row, joined by commas; else one row.")
    ] = None,
    report: Annotated[str | None, typer.Option(help="Metric compared.")] = None,
    at: Annotated[
        str | None, typer.Option(help="Epoch that counts: last, or best in the metric.")
    ] = None,
    diverged: Annotated[
        str, typer.Option(help="A diverged trial counts as worst, or its pair is left_out.")
    ] = "worst",
    format: Annotated[str, typer.Option(help="table, csv, json or latex.")] = "table",
    json: JsonOption = False,
) -> None:
    """Compare two sides pair by pair: a paired permutation test, and the probability that A is
    better than B."""
    from results import compare as find

    opened = open_for_reading(store)
    frame = find(
        opened, a, b, metric=metric, mode=mode, choose=choose, over=over,
        by=by.split(",") if by else (), report=report, at=at, diverged=diverged,
    )  # fmt: skip
    _show(frame, opened, "json" if json else format)


def _show(frame: pd.DataFrame, store: Store, format: str) -> None:
    """Prints a table with what it says; in the other formats every column, and no sentence."""
    if format == "json":
        dump(json_module.loads(frame.to_json(orient="records") or "[]"))
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
            if "median" in names:
                _say_why_none(dict(zip(names, row, strict=True)), row, names.index("median"))
        out(frame.attrs["says"])
        print_table(*_folded(names, rows), keys=store.config_columns.keys())
    else:
        raise RequestError(f"--format must be table, csv, json or latex; got {format!r}")


def _folded(names: list[str], rows: list[list[Any]]) -> tuple[list[str], list[list[Any]]]:
    """The table with each interval in the column of its centre: 0.52 [0.48, 0.57]."""
    ends = {
        name: (names.index(f"{name}_low"), names.index(f"{name}_high"))
        for name in names
        if f"{name}_low" in names
    }
    hidden = {at for pair in ends.values() for at in pair}
    out_rows = []
    for row in rows:
        cells = list(row)
        for name, (low, high) in ends.items():
            if row[low] is not None or row[high] is not None:
                texts = ["-" if row[i] is None else cell_text(row[i]) for i in (low, high)]
                centre = names.index(name)
                cells[centre] = f"{cell_text(row[centre])} [{', '.join(texts)}]"
        out_rows.append([cell for i, cell in enumerate(cells) if i not in hidden])
    return [name for i, name in enumerate(names) if i not in hidden], out_rows


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
