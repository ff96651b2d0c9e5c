"""Rates, and the list of equivalent mutants, of `make mutants`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.mutants import report
from tests.mutants.report import HUNG, KILLED, SURVIVED, Equivalent, Verdict
from tests.mutants.sampling import Mutant

ROOT = Path(__file__).parents[2]
MUTANT = Mutant("results/a.py", 3, "f", "core/NumberReplacer", 0, "x = 1", "x = 2", "k")
KNOWN = Equivalent("results/a.py", "f", "NumberReplacer", "x = 1", "x is not read")


def verdict(outcome: str, tests: int = 5, of: int = 5) -> Verdict:
    return Verdict(outcome, tests, of, 1.0)


def test_a_mutant_that_hangs_counts_as_killed() -> None:
    assert report.rate(map(verdict, [KILLED, HUNG, SURVIVED, SURVIVED])) == 0.5


def test_the_rate_is_given_with_and_without_known_equivalents() -> None:
    other = replace(MUTANT, old="y = 1", key="l")
    found = [(MUTANT, verdict(SURVIVED)), (other, verdict(KILLED))]
    lines = report.summary(found, [KNOWN])
    assert lines[0].endswith("50.0 % killed")
    assert lines[1] == "without the 1 known to be equivalent: 100.0 % killed"
    assert "x is not read" in lines[-1]
    told = report.as_json(found, [KNOWN], seed=3)
    assert told["seed"] == 3
    assert (told["killed_share"], told["killed_share_without_equivalents"]) == (0.5, 1.0)
    assert [m["equivalent"] for m in told["mutants"]] == ["x is not read", None]


def test_an_equivalent_that_a_test_kills_is_named() -> None:
    lines = report.summary([(MUTANT, verdict(KILLED))], [KNOWN])
    assert any("listed as equivalent, but killed" in line for line in lines)


@pytest.mark.parametrize(
    ("changes", "fits"),
    [
        ({}, True),
        ({"line": 99}, True),  # lines move
        ({"path": "results/b.py"}, False),
        ({"definition": "g"}, False),
        ({"operator": "core/AddNot"}, False),
        ({"old": "x = 3"}, False),
    ],
)
def test_an_equivalent_fits_by_what_the_line_says(changes: dict, fits: bool) -> None:
    assert KNOWN.fits(replace(MUTANT, **changes)) is fits


def test_one_of_several_mutants_of_a_line_is_told_by_the_line_after() -> None:
    assert replace(KNOWN, new="x = 2").fits(MUTANT)
    assert not replace(KNOWN, new="x = 0").fits(MUTANT)


def test_a_survivor_says_which_tests_ran() -> None:
    def line(found: Verdict) -> str:
        return report.summary([(MUTANT, found)], [])[-1]

    assert "[no test runs it]" in line(verdict(SURVIVED, 0, 0))
    assert "[5 tests]" in line(verdict(SURVIVED))
    assert "[5 tests of 9]" in line(verdict(SURVIVED, 5, 9))


def test_every_listed_equivalent_is_still_in_the_code() -> None:
    listed = report.equivalents(Path(__file__).with_name("equivalent.toml"))
    for entry in listed:
        assert entry.reason.endswith("."), entry
        text = (ROOT / entry.module).read_text()
        lines = {line.strip() for line in text.splitlines()}
        joined = " ".join(line.strip() for line in text.splitlines())
        assert entry.text in lines or entry.text in joined, f"not in the code any more: {entry}"
