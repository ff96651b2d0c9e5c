"""Commands that draw what a store holds: plot, report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli.app import StoreOption, StudyOption, app, out, print_table
from orchestrator.cli.figure_options import PlotCommand, taken
from orchestrator.cli.open_store import open_for_reading
from orchestrator.cli.results import RuleOption
from orchestrator.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from results import Store

WhereOption = Annotated[
    list[str] | None,
    typer.Option(
        "--where",
        metavar="KEY=VALUE",
        help="Only trials with that value of a config key, or with one of several joined by "
        "commas. Repeatable.",
    ),
]


@app.command(cls=PlotCommand)
def plot(
    ctx: typer.Context,
    space: Annotated[
        str | None,
        typer.Argument(metavar="SPACE", help="A space launched into the store."),
    ] = None,
    figure: Annotated[
        str | None, typer.Argument(metavar="[FIGURE]", help="Its first figure if left out.")
    ] = None,
    store: StoreOption = "./store",
    trial: Annotated[str | None, typer.Option("--trial", help="One trial's figure.")] = None,
    where: WhereOption = None,
    metric: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Draw this metric against epochs (the figure `metric`), such as val_rmse.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="A file that ends in .html, .png, .pdf or .svg, or a folder; with --all a folder.",
        ),
    ] = None,
    png: Annotated[
        bool, typer.Option("--png", help="PNG instead of HTML (needs the png extra).")
    ] = False,
    style: Annotated[
        str, typer.Option(help="screen; paper: 85 mm and 8 points; slide: large letters.")
    ] = "screen",
    width: Annotated[
        str | None, typer.Option(metavar="LENGTH", help="Such as 85mm, 3.3in or 800px.")
    ] = None,
    font_size: Annotated[
        float | None, typer.Option("--font-size", metavar="POINTS", help="Of labels.")
    ] = None,
    no_title: Annotated[
        bool, typer.Option("--no-title", help="Neither title nor notes, as above a caption.")
    ] = False,
    data: Annotated[
        bool, typer.Option("--data", help="Also write the numbers drawn, as CSV beside it.")
    ] = False,
    study: StudyOption = None,
    all_: Annotated[bool, typer.Option("--all", help="Every figure of the space.")] = False,
    list_: Annotated[
        bool,
        typer.Option(
            "--list", help="List the figures: those that fit SPACE, and why others do not."
        ),
    ] = False,
    rule: RuleOption = None,
) -> None:
    """Draw a figure of the space from the store: self-contained HTML, or PNG, PDF or SVG.

    Some figures have further options, such as --input 3 --from-epoch 100 of orbit1d. --list shows
    them.
    """
    from results import FIGURES, Page, StoreError
    from results import plot as draw
    from results.ask.named_queries import space_of
    from results.plotting import figures_of, full_name

    if list_:
        taken(ctx, None, {})
        _list(space, {**FIGURES, **own_figures(space, study)}, store, where)
        return
    if space is None:
        raise RequestError("name a SPACE that was launched into the store")
    if all_ and (figure or metric):
        given = figure or "--metric"
        raise RequestError(f"--all draws every figure of the space; leave out --all or {given}")
    known = {**FIGURES, **own_figures(space, study)}
    page = Page(style, width, font_size, not no_title)
    figure = figure and full_name(figure, known)
    opened = open_for_reading(store, rule)
    space = _space_of_study(opened, space, figure)
    names = figures_of(space_of(opened, space))
    if all_ and output is not None:
        _make_folder(output)
    problems = []
    one = figure or ("metric" if metric else names[0])
    options, place = taken(ctx, one, known, all_)
    output = output or place
    for name in dict.fromkeys(names) if all_ else [one]:
        try:
            written = draw(
                opened,
                space,
                name,
                trial=trial,
                output=output,
                format="png" if png else None,
                figures=known,
                where=where or (),
                metric=metric,
                options=options,
                page=page,
                data=data,
            )
        except StoreError as error:
            if not all_:
                raise
            problems.append(f"{name} is not drawn: {error}")
        else:
            out(str(written))
            if data:
                out(str(written.with_suffix(".csv")))
    if problems:
        raise RequestError(problems)


def _list(space: str | None, known: Mapping[str, Any], store: str, where: list[str] | None) -> None:
    from results.ask.named_queries import space_of
    from results.ask.restricted import restricted
    from results.plotting import describe_figure, unfit

    if space is None:
        print_table(["figure", "shows"], [[n, describe_figure(f)] for n, f in known.items()])
        _list_options(known)
        return
    opened = open_for_reading(store)
    space = _space_of_study(opened, space, None)
    data = restricted(opened, space_of(opened, space), where or ())
    why = {name: unfit(opened, data, function) for name, function in known.items()}
    print_table(
        [f"figures of {space}", "shows"],
        [[n, describe_figure(f)] for n, f in known.items() if why[n] is None],
    )
    _list_options({n: f for n, f in known.items() if why[n] is None})
    if any(why.values()):
        print_table(["others", "why not"], [[n, text] for n, text in why.items() if text])


def _list_options(known: Mapping[str, Any]) -> None:
    """What can be asked of these figures."""
    from results.plotting import options_of

    rows = [
        [name, one.spelling, "" if one.default is None else str(one.default), one.doc]
        for name, function in known.items()
        for one in options_of(function)
    ]
    if rows:
        print_table(["figure", "option", "default", "what it does"], rows)


def _make_folder(output: Path) -> None:
    """The folder that every figure goes to.

    Raises:
      RequestError: it is a file, or is called like one.
    """
    if output.is_dir():
        return
    if output.exists() or output.suffix:
        raise RequestError(f"--all writes a file for each figure: give -o a folder, not {output}")
    try:
        output.mkdir(parents=True)
    except OSError as error:
        raise RequestError(f"cannot make the folder {output}: {error.strerror}") from error


def _space_of_study(store: Store, name: str, figure: str | None) -> str:
    """Of a study's name the first of its launched spaces that has the figure; else `name`.

    Raises:
      RequestError: none of the study's spaces in the store has the figure.
    """
    from results.plotting import figures_of

    known = store.spaces()
    own = [n for n in known if n.startswith(f"{name}/")]
    if name in known or not own:
        return name
    for space in own:
        if figure is None or figure in figures_of(known[space]):
            return space
    drawn = dict.fromkeys(text for space in own for text in figures_of(known[space]))
    raise RequestError(
        f"no space of {name} launched into this store has the figure {figure!r}; there are "
        f"{', '.join(drawn)}; `gradsweep spaces` says what each space reproduces"
    )


def own_figures(space: str | None, study: str | None) -> dict[str, Any]:
    """Figure functions of a user's study."""
    if study is None or space is None:
        return {}
    from orchestrator.plan.studies import catalogue

    return dict(catalogue(study).find(space)[0][1].figures)


@app.command()
def report(
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="[SPACE|STUDY]",
            help="A space launched into the store; or a study, for what its paper claims; of all "
            "studies a table if left out.",
        ),
    ] = None,
    store: StoreOption = "./store",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="HTML file to write (of studies also .md), or a folder."
        ),
    ] = None,
    study: StudyOption = None,
    rule: RuleOption = None,
) -> None:
    """One self-contained HTML page: plan, results, verdicts and every figure of a space; or of a
    study its paper's claims, our numbers beside the published ones."""
    from orchestrator.plan.studies import catalogue
    from orchestrator.study_report import study_report
    from results import FIGURES
    from results import report as make_report

    opened = open_for_reading(store, rule)
    if target is None:
        out(str(study_report(opened, output=output)))
        return
    studies = catalogue(study).studies
    if target in studies:
        known = {**FIGURES, **studies[target].figures}
        out(str(study_report(opened, studies[target], output=output, figures=known)))
        return
    if "/" not in target and target not in opened.spaces():
        study_report(opened, target)  # which says that there is no such study
    known = {**FIGURES, **own_figures(target, study)}
    out(str(make_report(opened, target, output=output, figures=known)))
