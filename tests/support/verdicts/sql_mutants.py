"""Mutants of a SQL query: each rule in it dropped, negated or moved, one at a time.

DuckDB itself parses the query (`json_serialize_sql`) and writes each mutant, so a rule that is
added to the SQL later is mutated too, and survives unless a case has been added for it.
"""

from __future__ import annotations

import contextlib
import itertools
import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import duckdb

Node = dict[str, Any]
Path = tuple[str | int, ...]

_EDGES = {
    "COMPARE_LESSTHAN": "COMPARE_LESSTHANOREQUALTO",
    "COMPARE_GREATERTHAN": "COMPARE_GREATERTHANOREQUALTO",
}
_OPPOSITES = {
    "COMPARE_LESSTHAN": "COMPARE_GREATERTHANOREQUALTO",
    "COMPARE_GREATERTHAN": "COMPARE_LESSTHANOREQUALTO",
    "COMPARE_EQUAL": "COMPARE_NOTEQUAL",
    "OPERATOR_IS_NULL": "OPERATOR_IS_NOT_NULL",
}
_CONNECTIVES = {"CONJUNCTION_AND": "CONJUNCTION_OR"}
_FUNCTIONS = {
    "min": "max", "arg_min": "arg_max", "min_by": "max_by", "greatest": "least",
    "+": "-", "*": "/", "regr_slope": "regr_r2",
}  # fmt: skip
for _pairs in (_EDGES, _OPPOSITES, _CONNECTIVES, _FUNCTIONS):
    _pairs |= {after: before for before, after in _pairs.items()}
_BARE = {"abs", "ceil", "log10"}
_TRUTHS = {"when_expr", "filter", "where_clause", "having", "qualify"}
RESULT = "result"
"""Name of the table that the last SELECT becomes."""
_TRIALS = 10_000
"""More than there are trials: copy n of trial t is trial t + n of these."""
_TEXT = 72
_STEP = 1e-6
"""By how much of itself a threshold is moved."""


@dataclass(frozen=True, eq=False)
class Mutant:
    """A query with one change: in which CTE (`RESULT` is the last SELECT), of which text, what."""

    cte: str
    text: str
    change: str
    node: Node

    def __str__(self) -> str:
        return f"{self.cte}: {self.text}: {self.change}"


class Query:
    """A SELECT over CTEs each of which is made a table, so that a mutant runs its own CTE only.

    What reads changed CTEs runs once for all mutants of one, on as many copies of every trial. For
    that a CTE must have the column `trial` or `trial_id`, and treat each trial by itself; the last
    SELECT must begin with `trial_id`.

    Args:
      con: has the tables that the query reads.
      thresholds: the table (a CTE of one row) whose columns are the thresholds.
    """

    def __init__(self, con: duckdb.DuckDBPyConnection, query: str, thresholds: str):
        self._con = con
        self._thresholds = thresholds
        self._query = query.encode()
        (text,) = con.execute("SELECT json_serialize_sql(?::VARCHAR)", [query]).fetchall()[0]
        parsed = json.loads(text)
        assert not parsed["error"], parsed
        main = parsed["statements"][0]["node"]
        ctes = main["cte_map"]["map"]
        self._nodes: dict[str, Node] = {cte["key"]: cte["value"]["query_node"] for cte in ctes}
        self._nodes[RESULT] = {**main, "cte_map": {"map": []}}
        self._columns: dict[str, list[str]] = {}
        for name, node in self._nodes.items():
            con.execute(f"CREATE TABLE {name} AS {self._text(node)}")
            self._columns[name] = [row[0] for row in con.execute(f"DESCRIBE {name}").fetchall()]
        del self._nodes[thresholds]
        self._reads = {name: _tables(node) & {*self._nodes} for name, node in self._nodes.items()}
        self._given = {
            name: _tables(node) - {*self._nodes, thresholds} for name, node in self._nodes.items()
        }
        for name in {each for given in self._given.values() for each in given}:
            self._columns[name] = [row[0] for row in con.execute(f"DESCRIBE {name}").fetchall()]

    @property
    def columns(self) -> list[str]:
        return self._columns[RESULT]

    def rows(self) -> list[tuple]:
        """The query's rows."""
        return self._con.execute(f"FROM {RESULT}").fetchall()

    def readers(self, thresholds: Collection[str]) -> set[str]:
        """The CTEs that name one of these thresholds."""
        return {
            name
            for name, whole in self._nodes.items()
            if any(_threshold(node, path, thresholds) for path, node, _ in _walk(whole))
        }

    def move(self, thresholds: Mapping[str, float]) -> None:
        """Gives thresholds other values. Only what reads them, and what reads that, is computed
        again, so that the numbers they are compared with stay the same to the last bit."""
        made = self.readers(thresholds)
        values = ", ".join(f"{name} = {value!r}" for name, value in thresholds.items())
        self._con.execute(f"UPDATE {self._thresholds} SET {values}")
        for name, reads in self._reads.items():
            if name in made or reads & made:
                made.add(name)
                text = self._text(self._nodes[name])
                self._con.execute(f"CREATE OR REPLACE TABLE {name} AS {text}")

    def mutated(self, mutants: Iterable[Mutant]) -> Iterator[tuple[Mutant, list[tuple]]]:
        """Each mutant with its rows; none where it is no query."""
        for cte, group in itertools.groupby(mutants, lambda mutant: mutant.cte):
            yield from self._together(cte, list(group))

    def _together(self, cte: str, mutants: list[Mutant]) -> Iterator[tuple[Mutant, list[tuple]]]:
        self._con.execute("CREATE SCHEMA copies")
        self._con.execute(f"CREATE TABLE copies.{cte} AS {self._copy(cte, 0, cte)}")
        for number, mutant in enumerate(mutants, 1):
            with contextlib.suppress(duckdb.Error):
                text = self._copy(cte, number, f"({self._text(mutant.node)})")
                self._con.execute(f"INSERT INTO copies.{cte} {text}")
        made, copied = {cte}, set[str]()
        numbers = f"range({len(mutants) + 1}) AS numbers(number)"
        self._con.execute("SET search_path = 'copies,main'")
        for name, reads in self._reads.items():
            if not reads & made:
                continue
            for read in sorted((reads | self._given[name]) - made - copied):
                text = self._copy(read, "number", f"main.{read}, {numbers}")
                self._con.execute(f"CREATE TABLE copies.{read} AS {text}")
            self._con.execute(f"CREATE TABLE copies.{name} AS {self._text(self._nodes[name])}")
            made.add(name)
            copied |= reads | self._given[name]
        found: dict[int, list[tuple]] = defaultdict(list)
        for trial, *values in self._con.execute(f"FROM copies.{RESULT}").fetchall():
            number, _, name = trial.partition(" ")
            found[int(number)].append((name, *values))
        self._con.execute("SET search_path = 'main'")
        self._con.execute("DROP SCHEMA copies CASCADE")
        unchanged = sorted(row[:2] for row in found[0])
        assert unchanged == sorted(row[:2] for row in self.rows()), "trials mix"
        for number, mutant in enumerate(mutants, 1):
            yield mutant, found[number]

    def _copy(self, table: str, number: int | str, source: str) -> str:
        """A SELECT of the trials of a source with columns of `table`, as copy `number` of them."""
        keys = {"trial": f"(trial + {number} * {_TRIALS})::INTEGER AS trial",
                "trial_id": f"{number} || ' ' || trial_id AS trial_id"}  # fmt: skip
        columns = self._columns[table]
        return f"SELECT {', '.join(keys.get(name, name) for name in columns)} FROM {source}"

    def mutants(self) -> Iterator[Mutant]:
        """Every mutant; of a threshold two, in which it is a little more and a little less."""
        thresholds = self._columns[self._thresholds]
        for cte, whole in self._nodes.items():
            for path, node, parent in _walk(whole):
                truth = bool({*path[-1:]} & _TRUTHS) or _joins(parent)
                changes = list(_changes(node, truth))
                if _threshold(node, path, thresholds):
                    changes += _other_thresholds(node)
                for change, changed in changes:
                    mutated = _replaced(whole, path, {"alias": node.get("alias", ""), **changed})
                    yield Mutant(cte, self._source(node), change, mutated)

    def _text(self, node: Node) -> str:
        tree = {"error": False, "statements": [{"node": node, "named_param_map": []}]}
        asked = "SELECT json_deserialize_sql(?::JSON)"
        return self._con.execute(asked, [json.dumps(tree)]).fetchall()[0][0]

    def _source(self, node: Node) -> str:
        spans = [
            (each["query_location"], each["query_location"] + each["query_location_length"])
            for _, each, _ in _walk(node)
            if each.get("query_location", len(self._query)) < len(self._query)
        ]
        begin, end = min(span[0] for span in spans), max(span[1] for span in spans)
        text = " ".join(self._query[begin:end].decode().split())
        return text if len(text) <= _TEXT else f"{text[:_TEXT].rstrip()}…"


def _tables(tree: Any) -> set[str]:
    return {n["table_name"] for _, n, _ in _walk(tree) if n.get("type") == "BASE_TABLE"}


def _walk(tree: Any, path: Path = (), parent: Node | None = None) -> Iterator[Any]:
    """Every object in a tree: its place, itself, and the object it is in. What is packed into the
    evidence is left out."""
    if isinstance(tree, dict):
        if tree.get("function_name") == "struct_pack":
            return
        yield path, tree, parent
    inside = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for key, value in inside:
        if isinstance(value, (dict, list)):
            yield from _walk(value, (*path, key), tree if isinstance(tree, dict) else parent)


def _replaced(tree: Any, path: Path, changed: Node) -> Any:
    """The tree with another object at a place; it shares what is beside the path."""
    if not path:
        return changed
    copy: Any = dict(tree) if isinstance(tree, dict) else list(tree)
    copy[path[0]] = _replaced(tree[path[0]], path[1:], changed)
    return copy


def _joins(node: Node | None) -> bool:
    return node is not None and node.get("type") in (*_CONNECTIVES, "OPERATOR_NOT")


def _threshold(node: Node, path: Path, thresholds: Collection[str]) -> bool:
    """Whether a node is a threshold that something is compared with or made of."""
    shown = path[-2:-1] == ("select_list",)  # a column as it is, of whatever table
    named = node.get("type") == "COLUMN_REF" and node["column_names"][-1] in thresholds
    return named and not shown


def _changes(node: Node, truth: bool) -> Iterator[tuple[str, Node]]:
    """What a node is changed to, each with a word for it.

    Args:
      truth: whether it stands where a truth value does.
    """
    kind, children = node.get("type", ""), node.get("children") or []
    if kind in _CONNECTIVES:
        yield _CONNECTIVES[kind][12:], {**node, "type": _CONNECTIVES[kind]}
    if kind in _CONNECTIVES or kind == "OPERATOR_COALESCE":
        for at in range(len(children)):
            rest = [*children[:at], *children[at + 1 :]]
            yield f"without {at + 1}", {**node, "children": rest} if rest[1:] else _bare(rest[0])
    if kind in _EDGES:
        yield "edge", {**node, "type": _EDGES[kind]}
    if kind in _OPPOSITES:
        yield "negated", {**node, "type": _OPPOSITES[kind]}
    elif kind == "OPERATOR_NOT":
        yield "negated", _bare(children[0])
    elif truth and kind not in _CONNECTIVES:
        yield "negated", _not(node)
    if kind == "CASE_EXPR":
        yield from _other_cases(node)
    if kind == "VALUE_CONSTANT":
        yield from _other_constants(node)
    if kind == "FUNCTION":
        other = _FUNCTIONS.get(node["function_name"])
        if other:
            yield other, {**node, "function_name": other, "qualified_name": {"path": [other]}}
        if node["function_name"] in _BARE:
            yield "bare", _bare(node["arguments"][0]["expression"])
        if node["filter"]:
            yield "without filter", {**node, "filter": None}
    if node.get("where_clause"):
        yield "without filter", {**node, "where_clause": None}


def _other_cases(node: Node) -> Iterator[tuple[str, Node]]:
    checks = node["case_checks"]
    for at in range(len(checks)):
        rest = [*checks[:at], *checks[at + 1 :]]
        yield (
            f"without {at + 1}",
            {**node, "case_checks": rest} if rest else _bare(node["else_expr"]),
        )
    if len(checks) == 1:
        yield "always", _bare(checks[0]["then_expr"])


def _other_constants(node: Node) -> Iterator[tuple[str, Node]]:
    literal = node["literal"]
    if literal["kind"] == "BOOLEAN":
        other = "false" if literal["text"] == "true" else "true"
        yield other, {**node, "literal": {**literal, "text": other}}
    if literal["kind"] in ("INTEGER", "NUMERIC"):
        for step in (1, -1):
            yield f"{step:+}", _number(float(literal["text"]) + step)


def _other_thresholds(node: Node) -> Iterator[tuple[str, Node]]:
    for sign in (1, -1):
        yield f"moved {sign:+}", _call("*", node, _number(1 + sign * _STEP))


def _bare(node: Node) -> Node:
    """A node without its own name, to be put in another's place."""
    return {key: value for key, value in node.items() if key != "alias"}


_NOWHERE = {"query_location": 2**64 - 1, "query_location_length": 0}


def _not(node: Node) -> Node:
    inner = {**node, "alias": ""}
    return {"class": "OPERATOR", "type": "OPERATOR_NOT", "children": [inner], **_NOWHERE}


def _number(value: float) -> Node:
    literal = {"kind": "NUMERIC", "text": repr(value)}
    return {"class": "CONSTANT", "type": "VALUE_CONSTANT", "literal": literal, **_NOWHERE}


def _call(name: str, *arguments: Node) -> Node:
    inner = [{"name": "", "expression": {"alias": "", **each}} for each in arguments]
    return {
        "class": "FUNCTION", "type": "FUNCTION", "function_name": name, "schema": "",
        "filter": None, "order_bys": {"type": "ORDER_MODIFIER", "orders": []}, "distinct": False,
        "is_operator": True, "export_state": False, "catalog": "", "arguments": inner,
        "qualified_name": {"path": [name]}, **_NOWHERE,
    }  # fmt: skip
