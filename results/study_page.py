"""One page about a study: what its paper claims, our number beside each published one, and whether
they agree. Numbers are read from a store whenever a page is made."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import plotly.offline

from results.errors import StoreError, printable
from results.figures.declaration import FigureFunction
from results.html_report import STYLE
from results.html_tables import cell_of, table_of
from results.plotting import FIGURES, figure, place_of, plain_name, write_bytes

if TYPE_CHECKING:
    from results.store.store import Store


_LACKING = re.compile(r"Table with name|Referenced column|does not have a column")
"""What DuckDB says of a table or column that is not there."""


class Number(Protocol):
    """A published number, as `search_spaces.claims.Number` declares it."""

    @property
    def name(self) -> str: ...
    @property
    def published(self) -> float: ...
    @property
    def sql(self) -> str: ...
    @property
    def unit(self) -> str: ...
    @property
    def origin(self) -> str: ...
    def agrees(self, measured: float) -> bool: ...
    def describe(self) -> str: ...


class Claim(Protocol):
    """What a paper claims, as `search_spaces.claims.Claim` declares it."""

    @property
    def text(self) -> str: ...
    @property
    def place(self) -> str: ...
    @property
    def spaces(self) -> Sequence[str]: ...
    @property
    def numbers(self) -> Sequence[Any]: ...
    @property
    def commands(self) -> Sequence[str]: ...
    @property
    def differs(self) -> str: ...
    @property
    def smaller(self) -> str: ...
    @property
    def needs(self) -> str: ...
    @property
    def figure(self) -> str | None: ...


class Study(Protocol):
    """What a page needs of a study."""

    @property
    def name(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def arxiv(self) -> str | None: ...
    @property
    def claims(self) -> Sequence[Any]: ...


@dataclass(frozen=True)
class Verdict:
    """A claim and what a store says of it.

    Attributes:
      measured: our numbers, in the order of the claim's; None where the store has none.
      agree: of each number whether it agrees; None where there is none.
      reproduced: "yes": all agree at the paper's size; "partly": all agree in a smaller setting, or
        some do; "no": none does; else "not run", with what the claim needs.
    """

    claim: Claim
    measured: tuple[float | None, ...]
    agree: tuple[bool | None, ...]
    reproduced: str


def verdicts(store: Store, study: Study) -> list[Verdict]:
    """What a store says of each claim of a study.

    Raises:
      StoreError: a claim's SQL cannot be run although one of its spaces was launched.
    """
    launched = store.spaces()
    return [_verdict(store, study, claim, launched) for claim in study.claims]


def _verdict(store: Store, study: Study, claim: Claim, launched: Mapping[str, Any]) -> Verdict:
    there = [name for name in claim.spaces if f"{study.name}/{name}" in launched]
    measured = tuple(_measured(store, study, number) if there else None for number in claim.numbers)
    agree = tuple(
        None if value is None else bool(number.agrees(value))
        for number, value in zip(claim.numbers, measured, strict=True)
    )
    if all(one is None for one in agree):
        needs = f": needs {claim.needs}" if claim.needs else ""
        return Verdict(claim, measured, agree, f"not run{needs}")
    if all(agree):
        word = f"partly: {claim.smaller}" if claim.smaller else "yes"
    elif any(agree):
        word = f"partly: {sum(map(bool, agree))} of {len(agree)} numbers agree"
    else:
        word = "no"
    return Verdict(claim, measured, agree, word)


def _measured(store: Store, study: Study, number: Number) -> float | None:
    try:
        rows = store.sql(number.sql).fetchall()
    except StoreError as error:
        if _LACKING.search(str(error.__cause__)):
            return None  # a table or key that none of the launched trials has
        raise StoreError(f"{study.name}, {number.name}: {error}") from error
    if not rows or rows[0][0] is None:
        return None
    return float(rows[0][0])


# ---- pages ---------------------------------------------------------------------------------------

_NUMBERS = ("quantity", "published or reference", "from", "ours", "they agree if", "agree")
_CLAIMS = ("claim", "where", "reproduced", "by")
_HOW = (
    "Each claim of a paper is held against the trials of a store. `yes`: every number agrees, at "
    "the paper's size. `partly`: they agree in a smaller setting, which is named, or only some "
    "agree. `no`: none agrees. `gradsweep report STUDY` shows the numbers of one study."
)
_READ = (
    "Published numbers stand beside ours, which come from the trials of a store. The column `from` "
    "says where the paper has its number. A `reference` is no number of the paper: another program "
    "computed it, or it is a bound that the claim's sentence sets."
)


def _words(agrees: bool | None) -> str:
    return "" if agrees is None else "yes" if agrees else "no"


def _numbers(verdict: Verdict) -> list[list[str]]:
    """Rows of a claim's table."""
    rows = []
    found = zip(verdict.claim.numbers, verdict.measured, verdict.agree, strict=True)
    for number, ours, agrees in found:
        unit = f" {number.unit}" if number.unit else ""
        shown = "not run" if ours is None else cell_of(ours) + unit
        published = cell_of(float(number.published)) + unit
        rule = number.describe()
        rows.append([number.name, published, number.origin, shown, rule, _words(agrees)])
    return rows


def study_page(
    store: Store,
    study: Study,
    *,
    output: str | Path | None = None,
    figures: Mapping[str, FigureFunction] | None = None,
) -> Path:
    """Writes the page of a study and returns its path.

    For each claim of its paper: our numbers beside the published ones, whether they agree, what
    differs and why, the commands, and in HTML the figure that shows it.

    Args:
      output: the file to write, ending in `.html` or `.md`, or an existing folder for one named as
        by default: `figures/<study>-study.html`.
      figures: functions by name; the built-in ones if None.

    Raises:
      StoreError: the study makes no claim, or the place is not writable.
    """
    if not study.claims:
        raise StoreError(f"study {study.name} declares no claims; give Study(claims=...) some.")
    path, kind = place_of(output, f"{plain_name(study.name)}-study", ("html", "md"))
    found = verdicts(store, study)
    if kind == "md":
        write_bytes(path, _markdown(study, found).encode())
    else:
        known = FIGURES if figures is None else figures
        parts = list(_html(store, study, found, known))
        write_bytes(path, _page(study.name, parts, bool(parts)))
    return path


def overview(store: Store, studies: Iterable[Study], *, output: str | Path | None = None) -> Path:
    """Writes a table of the claims of all studies and returns its path: what each paper claims, if
    it is reproduced, and by which command.

    Args:
      output: as for `study_page`; by default `figures/studies.html`. Of `NAME.md` the studies'
        pages in the folder `NAME` are linked.
    """
    path, kind = place_of(output, "studies", ("html", "md"))
    own = [(study, verdicts(store, study)) for study in studies if study.claims]
    if kind == "md":
        parts = [
            f"## {_heading(study)}\n\n{_link(path, study)}{_claims_markdown(found)}"
            for study, found in own
        ]
        head = f"# What is reproduced\n\n{_HOW}\n\n"
        write_bytes(path, (head + "\n\n".join(parts) + "\n").encode())
        return path
    shown = ["<h1>What is reproduced</h1>", f"<p>{_plain(_HOW)}</p>"]
    for study, found in own:
        shown += [f"<h2>{html.escape(_heading(study))}</h2>", _claims_html(found)]
    write_bytes(path, _page("studies", shown, False))
    return path


def _link(path: Path, study: Study) -> str:
    """A link to a study's page, which lies in a folder called as the table's file."""
    page = path.with_suffix("") / f"{study.name}.md"
    return f"[Its numbers]({page.parent.name}/{page.name})\n\n" if page.is_file() else ""


def _plain(text: str) -> str:
    """HTML of a sentence with `code` in it."""
    return re.sub("`([^`]+)`", r"<code>\1</code>", html.escape(text))


def _found(verdict: Verdict) -> str:
    """Where the paper makes a claim, and whether it is reproduced."""
    place = verdict.claim.place
    return f"{place[:1].upper()}{place[1:]}. Reproduced: {verdict.reproduced}."


def _heading(study: Study) -> str:
    paper = f" (arXiv {study.arxiv})" if study.arxiv else ""
    return f"{study.name}: {study.title}{paper}"


def _claims_markdown(found: Sequence[Verdict]) -> str:
    rows = [
        [v.claim.text, v.claim.place, v.reproduced, "; ".join(f"`{c}`" for c in v.claim.commands)]
        for v in found
    ]
    return _markdown_table(_CLAIMS, rows)


def _markdown_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    cells = ([text.replace("|", "\\|").replace("\n", " ") for text in line] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def _markdown(study: Study, found: Sequence[Verdict]) -> str:
    parts = [f"# {_heading(study)}", _READ, _claims_markdown(found)]
    for verdict in found:
        claim = verdict.claim
        parts.append(f"## {claim.text}")
        parts.append(_found(verdict))
        if claim.numbers:
            parts.append(_markdown_table(_NUMBERS, _numbers(verdict)))
        if claim.differs:
            parts.append(f"What differs: {claim.differs}")
        parts.append("\n".join(f"    {command}" for command in claim.commands))
    return printable("\n\n".join(parts) + "\n")


def _claims_html(found: Sequence[Verdict]) -> str:
    rows = [[v.claim.text, v.claim.place, v.reproduced, "\n".join(v.claim.commands)] for v in found]
    return f'<div class="wide claims">{table_of(_CLAIMS, rows)}</div>'


def _html(
    store: Store, study: Study, found: Sequence[Verdict], known: Mapping[str, FigureFunction]
) -> Iterable[str]:
    yield f"<h1>{html.escape(_heading(study))}</h1>"
    yield f"<p>{_plain(_READ)}</p>"
    yield f'<p class="quiet">Our numbers are from {html.escape(store.uri)}.</p>'
    yield _claims_html(found)
    drawn: dict[tuple[str | None, Sequence[str]], str] = {}
    for place, verdict in enumerate(found):
        claim = verdict.claim
        yield f"<h2>{html.escape(claim.text)}</h2>"
        yield f"<p>{html.escape(_found(verdict))}</p>"
        if claim.numbers:
            yield table_of(_NUMBERS, _numbers(verdict))
        if claim.differs:
            yield f"<p>What differs: {html.escape(claim.differs)}</p>"
        yield "".join(f"<pre>{html.escape(command)}</pre>" for command in claim.commands)
        what = claim.figure, claim.spaces
        if what in drawn and claim.figure is not None:
            yield f"<p>Its figure is that of: {html.escape(drawn[what])}</p>"
        else:
            drawn[what] = claim.text
            yield _drawn(store, study, claim, known, place)


def _drawn(
    store: Store, study: Study, claim: Claim, known: Mapping[str, FigureFunction], place: int
) -> str:
    """The figure that shows a claim, where one of its spaces was launched and has the rows."""
    launched = [f"{study.name}/{name}" for name in claim.spaces]
    space = next((name for name in launched if name in store.spaces()), None)
    if claim.figure is None or space is None:
        return ""
    try:
        drawn = figure(store, space, claim.figure, figures=known)
    except StoreError as error:
        return f"<p>{html.escape(str(error))}</p>"
    return drawn.to_html(include_plotlyjs=False, full_html=False, div_id=f"claim-{place}")


def _page(title: str, parts: Sequence[str], figures: bool) -> bytes:
    script = f"<script>{plotly.offline.get_plotlyjs()}</script>" if figures else ""
    wrap = (
        ".claims td { white-space: pre-line; text-align: left; vertical-align: top; } "
        ".claims th { text-align: left; }"
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{printable(html.escape(title))}</title><style>{STYLE}{wrap}</style>{script}</head>"
        f"<body>{printable(''.join(parts))}</body></html>"
    ).encode()
