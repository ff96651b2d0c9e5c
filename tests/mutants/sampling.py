"""All mutants of the core by cosmic-ray's operators, and a sample of them drawn from a seed."""

from __future__ import annotations

import hashlib
import importlib
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.mutants.places import Places

MODULES = (
    *(f"trainables/training/{name}.py" for name in ("epoch", "running_stats")),
    *(f"trainables/optim/{name}.py" for name in ("adabelief", "adam", "sgd")),
    *(f"trainables/optim/{name}.py" for name in ("lookahead", "schedules", "clipping")),
    *(f"trainables/lsc/{name}.py" for name in ("feedforward", "recurrent", "lru_stack")),
    *(f"trainables/{name}.py" for name in ("packs/pack", "core/lanes", "lsc/weight_moves")),
    *(f"trainables/{name}.py" for name in ("layers/lru", "probes/orbits", "probes/attractors")),
    "trainables/declarations/**/*.py",
    *(f"orchestrator/plan/{name}.py" for name in ("plan", "packs", "store_state")),
    *(f"orchestrator/queue/{name}.py" for name in ("queue", "lease")),
    *(f"orchestrator/worker/{name}.py" for name in ("pack_run", "recorder")),
    *(f"orchestrator/worker/{name}.py" for name in ("weight_keeper", "stop_rules")),
    *(f"results/store/{name}.py" for name in ("parquet_parts", "views")),
    *(f"results/store/{name}.py" for name in ("completeness", "compaction")),
    "results/ask/best.py",
)
"""What is mutated: the core, as patterns below the root."""

# An operator of one kind becomes another of its kind. Across kinds nearly every mutant is a
# TypeError at once (`a << b` of floats) or changes nothing (`==` to `is` of a short string).
KINDS = (
    {"Add", "Sub", "Mul", "Div", "FloorDiv", "Mod", "Pow"},
    {"BitOr", "BitAnd", "BitXor"},
    {"LShift", "RShift"},
    {"Eq", "NotEq", "Lt", "LtE", "Gt", "GtE"},
    {"Is", "IsNot"},
)
UNARY = {"Delete_Not", "Delete_USub", "Delete_Invert", "USub_UAdd"}


@dataclass(frozen=True)
class Place:
    """Where one family of operators can mutate, and by which of its operators."""

    path: str
    line: int
    definition: str  # qualified name of the function or class around it
    text: str  # the line, stripped
    key: str  # stays when lines move or other functions change
    choices: tuple[tuple[str, int], ...]  # operator and its occurrence in the module


@dataclass(frozen=True)
class Mutant:
    """One change of one module."""

    path: str
    line: int
    definition: str
    operator: str
    occurrence: int
    old: str
    new: str
    key: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line} {self.operator}: {self.old} -> {self.new}"


def paths(root: Path) -> list[str]:
    """The modules that are mutated, sorted."""
    found = {path.relative_to(root).as_posix() for m in MODULES for path in root.glob(m)}
    return sorted(found)


def family(operator: str) -> str:
    """`ReplaceBinaryOperator` of `core/ReplaceBinaryOperator_Add_Sub`."""
    return operator.rpartition("/")[2].partition("_")[0]


def wanted(operator: str) -> bool:
    """Whether mutants by this operator of cosmic-ray's tell something."""
    name = operator.rpartition("/")[2]
    kind, _, change = name.partition("_")
    if kind == "ReplaceUnaryOperator":
        return change in UNARY
    if kind in ("ReplaceBinaryOperator", "ReplaceComparisonOperator"):
        return any(set(change.split("_")) <= kinds for kinds in KINDS)
    return kind not in ("NoOp", "VariableInserter", "VariableReplacer")


def digest(*parts: object) -> str:
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()[:16]


def places(path: str, source: str) -> list[Place]:
    """Every place of a module that an operator can mutate, those left out that tell nothing."""
    plugins: Any = importlib.import_module("cosmic_ray.plugins")
    trees: Any = importlib.import_module("cosmic_ray.ast")
    info = Places(source)
    nodes = list(trees.ast_nodes(trees.get_ast(source)))
    choices: dict[tuple[str, tuple[int, int]], list[tuple[str, int]]] = defaultdict(list)
    for name in sorted(filter(wanted, plugins.operator_names())):
        operator = plugins.get_operator(name)()
        found = (start for node in nodes for start, _ in operator.mutation_positions(node))
        for occurrence, start in enumerate(found):
            if not info.skipped(start):
                choices[family(name), start].append((name, occurrence))
    result, seen = [], Counter()
    for (kind, (line, column)), operators in sorted(choices.items(), key=lambda i: i[0][::-1]):
        text, definition = info.lines[line - 1], info.statement(line).definition
        indent = len(text) - len(text.lstrip())
        like = (path, definition, kind, text.strip(), column - indent)
        seen[like] += 1
        key = digest(*like, seen[like])
        result.append(Place(path, line, definition, text.strip(), key, tuple(operators)))
    return result


def mutate(source: str, operator: str, occurrence: int) -> str | None:
    """The mutated source; None where it is no Python or means the same."""
    plugins: Any = importlib.import_module("cosmic_ray.plugins")
    mutating: Any = importlib.import_module("cosmic_ray.mutating")
    new = mutating.mutate_code(source, plugins.get_operator(operator)(), occurrence)
    if new is None or new == source:
        return None
    try:
        compile(new, "mutant", "exec")
    except SyntaxError:
        return None
    return new


def changed(old: str, new: str) -> tuple[str, str]:
    """The lines that differ, before and after, each as one line without indentation."""
    before, after = old.splitlines(), new.splitlines()
    while before and after and before[0] == after[0]:
        del before[0], after[0]
    while before and after and before[-1] == after[-1]:
        del before[-1], after[-1]
    return tuple(" ".join(line.strip() for line in part) for part in (before, after))  # type: ignore[return-value]


def quotas(sizes: dict[str, int], count: int) -> dict[str, int]:
    """`count` shared out in proportion to `sizes`; the largest remainders get what is left over."""
    total = sum(sizes.values())
    count = min(count, total)
    exact = {name: size * count / total for name, size in sizes.items()} if total else {}
    result = {name: int(share) for name, share in exact.items()}
    rest = sorted(exact, key=lambda name: (result[name] - exact[name], name))
    for name in rest[: count - sum(result.values())]:
        result[name] += 1
    return result


def draw(root: Path, seed: int, count: int) -> list[Mutant]:
    """`count` mutants, spread over the modules in proportion to their places; one of each place.

    A place's rank is a hash of the seed and of what the place says, so that a change of one
    function leaves the sample of the others as it was.
    """
    sources = {path: (root / path).read_text() for path in paths(root)}
    found = {path: places(path, source) for path, source in sources.items()}
    shares = quotas({path: len(here) for path, here in found.items()}, count)
    return [
        mutant
        for path, share in shares.items()
        for mutant in _first(sources[path], sorted(found[path], key=_rank(seed)), seed, share)
    ]


def _rank(seed: int) -> Any:
    return lambda place: digest(seed, place.key)


def _first(source: str, ranked: Iterable[Place], seed: int, share: int) -> list[Mutant]:
    result: list[Mutant] = []
    for place in ranked:
        if len(result) == share:
            break
        for operator, occurrence in sorted(
            place.choices, key=lambda choice: digest(seed, place.key, choice[0])
        ):
            new = mutate(source, operator, occurrence)
            if new is not None:
                old, after = changed(source, new)
                name = operator.rpartition("/")[2]
                key = digest(place.key, name, after)
                where = (place.path, place.line, place.definition, operator, occurrence)
                result.append(Mutant(*where, old, after, key))
                break
    return result
