"""Claims of papers: when numbers agree, and that each study's are whole."""

from __future__ import annotations

import math
import shlex
from pathlib import Path

import pytest

from orchestrator.plan.studies import Catalogue, catalogue
from orchestrator.plan.trials import trials_of
from results import FIGURES
from search_spaces.claims import Number

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def found() -> Catalogue:
    return catalogue()


@pytest.mark.parametrize(
    ("rule", "published", "tolerance", "agree", "differ"),
    [
        ("factor", 10.0, 2.0, (5.0, 20.0, 10.0), (4.99, 20.1, -10.0, 0.0)),
        ("within", -1.0, 0.5, (-1.5, -0.5), (-1.51, 0.0)),
        ("at_least", 0.5, 0.0, (0.5, 9.0), (0.499,)),
        ("at_most", 0.5, 0.0, (0.5, -9.0), (0.501,)),
    ],
)
def test_numbers_agree_as_their_rule_says(rule, published, tolerance, agree, differ) -> None:
    number = Number(name="n", published=published, sql="", rule=rule, tolerance=tolerance)
    assert all(number.agrees(value) for value in agree)
    assert not any(number.agrees(value) for value in (*differ, math.nan, math.inf))


def test_every_study_makes_claims_whose_spaces_commands_and_figures_exist(found: Catalogue) -> None:
    """Each command plans trials of a space that the claim reads."""
    for study in found.studies.values():
        assert len(study.claims) >= 5 or study.name == "ribeiro2020"
        for claim in study.claims:
            assert claim.text.endswith(".")
            assert claim.numbers
            assert claim.figure in FIGURES
            for name in claim.spaces:
                assert name in study.spaces
            for command in claim.commands:
                program, verb, space, *sets = shlex.split(command)
                assert (program, verb) == ("gradsweep", "launch")
                assert space.removeprefix(f"{study.name}/") in claim.spaces
                changes = [text for text in sets if text != "--set"]
                assert trials_of(found, found.find(space)[0][2], changes, False)


def test_figures_of_the_papers_are_drawn_or_say_why_not(found: Catalogue) -> None:
    """Also the table of the docs, which lists them all."""
    page = (ROOT / "docs/studies/figures.md").read_text()
    for study in found.studies.values():
        assert study.drawn
        for one in study.drawn:
            assert (one.figure is None) == bool(one.reason), one.place
            if one.figure is not None:
                assert one.space is not None
                assert one.figure in study.spaces[one.space].figures, one
                how = f"`gradsweep plot {study.name}/{one.space} {one.figure}`"
            else:
                how = f"not drawn: {one.reason}"
            assert f"| `{study.name}` | {one.place} | {one.shows} | {how} |" in page
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert len(rows) == sum(len(study.drawn) for study in found.studies.values())


def test_the_docs_have_every_claim_and_its_commands(found: Catalogue) -> None:
    page = (ROOT / "docs/studies/reproduced.md").read_text()
    for study in found.studies.values():
        for claim in study.claims:
            lines = [line for line in page.splitlines() if line.startswith(f"| {claim.text} |")]
            assert len(lines) == 1, claim.text
            assert claim.place in lines[0]
            assert all(f"`{command}`" in lines[0] for command in claim.commands)
        own = (ROOT / f"docs/studies/reproduced/{study.name}.md").read_text()
        for number in (number for claim in study.claims for number in claim.numbers):
            (row, *_) = [line for line in own.splitlines() if line.startswith(f"| {number.name} |")]
            cells = [cell.strip() for cell in row.strip("|").split("|")]
            published, origin = float(cells[1].split()[0]), cells[2]
            assert (published, origin) == (pytest.approx(number.published, rel=1e-3), number.origin)
