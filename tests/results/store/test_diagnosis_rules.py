"""Every rule of the diagnosis decides: by a table of cases, and by mutants of the SQL."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import duckdb
import pytest

from results import Store
from results.store.diagnosis import RULES, diagnosis_view
from results.store.views import sql_text
from tests.support.verdicts.cases import COURSES, FLAGS, publish
from tests.support.verdicts.numbers import numbers
from tests.support.verdicts.rules import DECISIONS, EDGES
from tests.support.verdicts.sql_mutants import Query

CASES = {**COURSES, **DECISIONS}
READS = ("attempts", "visible", "numbered_epochs", "numbered_layers", "monitored")

WANTED = {name: numbers(case) for name, case in CASES.items()}

EQUIVALENT = {
    "course: min(epoch) FILTER (nth = from_nth): max": "one epoch is the window's first",
    "finite: 1: +1": "any number above 0 stands for steps that were not counted",
    **dict.fromkeys(
        (
            "silent: grad_norm = 0: negated",
            "silent: trial FROM norms WHERE grad_norm = 0: without filter",
        ),
        "it saves reading the tensors of trials without a layer at 0",
    ),
    **dict.fromkeys(
        (
            "ranked: (rank() OVER by_loss + count(*) OVER by_loss) / 2.0 AS loss_rank FROM fi…: *",
            "ranked: 2.0: +1",
            "ranked: 2.0: -1",
        ),
        "a correlation is the same whatever ranks are multiplied by",
    ),
}
"""Mutants that no trial can show, with the reason."""

Told = dict[str, tuple]


@pytest.fixture(scope="module")
def diagnosed(new_store: Callable[[], Store]) -> Store:
    store = new_store()
    publish(store, CASES)
    return store


@pytest.fixture(scope="module")
def query(diagnosed: Store) -> Query:
    """The diagnosis in memory. Unoptimised and on one thread, as planning is nearly all the time
    that so few rows take."""
    con = duckdb.connect(config={"threads": 1})
    con.execute("PRAGMA disable_optimizer")
    for name in READS:
        con.register("given", diagnosed.sql(f"FROM {name}").arrow())
        con.execute(f"CREATE TABLE {name} AS FROM given")
    view = diagnosis_view(sql_text("diagnosis"), RULES)
    return Query(con, view[view.index("WITH rules") :].rstrip().removesuffix(";"), "rules")


@dataclass(frozen=True)
class World:
    """Thresholds moved to one side of their edges."""

    side: str
    rules: Mapping[str, float]


@pytest.fixture(scope="module")
def worlds(query: Query) -> list[World]:
    """As shipped; then, in two lots, thresholds at what a case has, just above, and just below."""
    rows = [dict(zip(query.columns, row, strict=True)) for row in query.rows()]
    seen: Any = {row["trial_id"]: json.loads(row["evidence"]) for row in rows}
    found = [World("shipped", {})]
    for edges in EDGES:
        at = {
            rule: seen[edge[0]][edge[1]] if isinstance(edge, tuple) else edge
            for rule, edge in edges.items()
        }
        found.append(World("at", at))
        for side, end in (("above", math.inf), ("below", -math.inf)):
            found.append(World(side, {rule: math.nextafter(v, end) for rule, v in at.items()}))
    return found


@contextmanager
def moved(query: Query, world: World) -> Iterator[Told]:
    """The query in that world; gives what each case must show there."""
    if world.rules:
        query.move(world.rules)
    shown = {name: case.expected(world.side, world.rules) for name, case in CASES.items()}
    try:
        yield {name: (each.verdict, each.since, *each.flags) for name, each in shown.items()}
    finally:
        if world.rules:
            query.move({rule: RULES[rule] for rule in world.rules})


def told(rows: Iterable[tuple], columns: list[str]) -> Told:
    """Verdict, first bad epoch and rules by trial; of a trial that shows twice nothing."""
    pick = itemgetter(*map(columns.index, ("verdict", "first_bad_epoch", *FLAGS)))
    found: Told = {}
    for row in rows:
        found[row[0]] = () if row[0] in found else pick(row)
    return found


def test_every_case_shows_what_it_must(diagnosed: Store) -> None:
    found = diagnosed.sql("FROM diagnosis")
    shown = {name: case.shows for name, case in CASES.items()}
    assert told(found.fetchall(), found.columns) == {
        name: (each.verdict, each.since, *each.flags) for name, each in shown.items()
    }


@pytest.mark.parametrize("number", range(7))
def test_thresholds_are_met_from_both_sides(query: Query, worlds: list[World], number: int) -> None:
    with moved(query, worlds[number]) as wanted:
        assert told(query.rows(), query.columns) == wanted


def test_every_verdict_and_every_rule_has_a_case() -> None:
    assert {case.shows.verdict for case in CASES.values()} == {
        "exploding", "diverged", "dead", "rising", "vanishing", "vanishing_mild", "plateau",
        "healthy", "undetermined", "open",
    }  # fmt: skip
    edges = {rule for lot in EDGES for rule in lot}
    assert edges == set(RULES) - {"plateau_epochs", "floor_norm"}
    assert {case.edge for case in CASES.values()} == {*edges, ""}


def amiss(row: Mapping[str, Any]) -> dict[str, Any]:
    """What a row says of its numbers and numpy does not: in its columns and in its evidence."""
    wanted = WANTED[row["trial_id"]]
    evidence = json.loads(row["evidence"])
    columns = {name: row[name] for name in wanted if name in row}
    return {
        name: (value, wanted[name])
        for said in (evidence, columns)
        for name, value in said.items()
        if name != "rules" and not alike(value, wanted[name])
    }


def alike(one: Any, other: Any) -> bool:
    if None in (one, other) or isinstance(one, str):
        return one == other
    both_nan = one != one and other != other
    return both_nan or math.isclose(one, other, rel_tol=1e-11, abs_tol=1e-12)


def test_the_numbers_are_those_of_numpy(diagnosed: Store) -> None:
    rows = diagnosed.sql("FROM diagnosis").rows()
    assert {row["trial_id"]: said for row in rows if (said := amiss(row))} == {}
    for row in rows:
        assert json.loads(row["evidence"])["rules"] == RULES


def test_every_mutant_of_the_sql_is_seen(query: Query, worlds: list[World]) -> None:
    """Each rule dropped, negated, or its threshold moved changes what some case shows. A rule that
    is added to the SQL is mutated like the others: it needs a case in `rules`."""
    left, columns = list(query.mutants()), query.columns
    assert len(left) > 400
    for world in worlds:
        with moved(query, world) as wanted:
            # Elsewhere a mutant might differ by how a sum was rounded, at another's edge.
            near = query.readers(world.rules)
            tried = [mutant for mutant in left if not world.rules or mutant.cte in near]
            same = sorted(map(repr, query.rows()))
            for mutant, rows in query.mutated(tried):
                seen = told(rows, columns) != wanted
                if not seen and not world.rules and sorted(map(repr, rows)) != same:
                    seen = any(amiss(dict(zip(columns, row, strict=True))) for row in rows)
                if seen:
                    left.remove(mutant)

    assert sorted(map(str, left)) == sorted(EQUIVALENT)
