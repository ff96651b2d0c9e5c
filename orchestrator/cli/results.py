"""Commands that ask a store: query, best, plot, report."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli.app import (
    JsonOption,
    StoreOption,
    StudyOption,
    app,
    cell_text,
    dump,
    json_text,
    out,
    print_table,
)
from orchestrator.cli.open_store import open_for_reading
from orchestrator.errors import RequestError
from orchestrator.units import counted

if TYPE_CHECKING:
    from results import Result, Store

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
    wanted = "json" if json else format or (output.suffix.lstrip(".") if output else "table")
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


def _write(result: Result, format: str, output: Path | None, limit: int) -> None:
    if format not in ("table", "csv", "json", "parquet"):
        raise RequestError(f"--format must be table, csv, json or parquet; got {format!r}")
    if format == "parquet" and output is None:
        raise RequestError("parquet needs a file; add --output FILE.parquet")
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
                out(f"{counted(len(rows) - limit, 'more row')} (--limit, or --format csv)")
    except OSError as error:
        raise RequestError(f"cannot write {output}: {error.strerror}") from error
    if output:
        out(f"wrote {counted(len(result), 'row')} to {output}")


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

    frame = find_best(
        open_for_reading(store),
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
    opened = open_for_reading(store, rule)
    from results.ask.named_queries import space_of

    space = _space_of_study(opened, space, figure)
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


def _space_of_study(store: Store, name: str, figure: str | None) -> str:
    """Of a study's name the first of its launched spaces that has the figure; else `name`.

    Raises:
      RequestError: none of the study's spaces in the store has the figure.
    """
    known = store.spaces()
    own = [n for n in known if n.startswith(f"{name}/")]
    if name in known or not own:
        return name
    for space in own:
        if figure is None or figure in known[space]["figures"]:
            return space
    drawn = dict.fromkeys(text for space in own for text in known[space]["figures"])
    raise RequestError(
        f"no space of {name} launched into this store has the figure {figure!r}; there are "
        f"{', '.join(drawn)}; `gradsweep spaces` says what each space reproduces"
    )


def _own_figures(space: str, study: str | None) -> dict[str, Any]:
    """Figure functions of a user's study."""
    if study is None:
        return {}
    from orchestrator.plan.studies import catalogue

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

    out(str(make_report(open_for_reading(store), space, output=output)))
