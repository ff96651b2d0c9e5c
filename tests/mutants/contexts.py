"""Which tests run which lines of the core: measured once a test file, kept while its code stays."""

from __future__ import annotations

import hashlib
import importlib
import json
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from tests.mutants.places import Statement

AT_IMPORT = 200
"""No test has the context of what runs at import. At most this many tests try a mutant there."""

CONFIG = """
[run]
core = ctrace
parallel = true
data_file = {data}
context = ${{MUTANTS_TEST-}}
include = {include}
disable_warnings =
    no-data-collected
    module-not-measured
    module-not-imported
    already-imported
    couldnt-parse
"""


@dataclass
class Measured:
    """One test file: its tests, their seconds, and what they ran."""

    path: str
    seconds: dict[str, float]
    outcomes: dict[str, str]
    lines: dict[str, dict[int, list[str]]] = field(default_factory=dict)  # path -> line -> tests
    depends: dict[str, str] = field(default_factory=dict)  # path -> hash of what it loads

    @property
    def tests(self) -> dict[str, float]:
        """Those that pass without a mutant, and their seconds."""
        passed = {test for test, outcome in self.outcomes.items() if outcome == "passed"}
        return {test: seconds for test, seconds in self.seconds.items() if test in passed}

    @cached_property
    def touched(self) -> dict[str, set[str]]:
        """Module -> tests that run any line of it."""
        return {
            path: {test for tests in lines.values() for test in tests}
            for path, lines in self.lines.items()
        }


def file_hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16] if path.is_file() else ""


def write_config(folder: Path, root: Path, paths: Iterable[str]) -> Path:
    """coverage's settings for the processes of one test file."""
    include = "\n    ".join(str(root / path) for path in paths)
    path = folder / "coverage.ini"
    path.write_text(CONFIG.format(data=folder / "data", include=include))
    return path


def read(folder: Path, root: Path, path: str, report: dict[str, Any]) -> Measured:
    """What one test file's processes left in `folder`."""
    lines: dict[str, dict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
    for part in sorted(folder.glob("data.*")):
        coverage: Any = importlib.import_module("coverage")
        data = coverage.CoverageData(str(part))
        try:
            data.read()
        except coverage.CoverageException:  # of a process that was killed while writing
            continue
        for file in data.measured_files():
            name = Path(file).relative_to(root).as_posix()
            for line, tests in data.contexts_by_lineno(file).items():
                lines[name][line] |= set(tests) & report["seconds"].keys()
    loaded = set(report["loaded"]) | {path}
    if "subprocess" in (root / path).read_text():  # what its children load is not known
        loaded |= {p.relative_to(root).as_posix() for p in root.rglob("*.py")}
    loaded |= {c for c in _conftests(path) if (root / c).is_file()}
    return Measured(
        path,
        report["seconds"],
        report["outcomes"],
        {name: {n: sorted(t) for n, t in found.items()} for name, found in lines.items()},
        {name: file_hash(root / name) for name in sorted(loaded)},
    )


def _conftests(path: str) -> list[str]:
    return [(parent / "conftest.py").as_posix() for parent in PurePosixPath(path).parents]


def save(kept: Path, measured: Measured) -> None:
    kept.parent.mkdir(parents=True, exist_ok=True)
    part = kept.with_suffix(".part")
    part.write_text(json.dumps(asdict(measured)))
    part.replace(kept)


def load(kept: Path, root: Path) -> Measured | None:
    """What was measured, if all of it would be measured again."""
    if not kept.is_file():
        return None
    found = Measured(**json.loads(kept.read_text()))
    found.lines = {p: {int(n): t for n, t in x.items()} for p, x in found.lines.items()}
    if any(file_hash(root / name) != known for name, known in found.depends.items()):
        return None
    return found


@dataclass(frozen=True)
class Choice:
    """The tests that try a mutant, in order, with their seconds, and how many could."""

    tests: dict[str, float]
    of: int
    at_import: bool


class _Candidate(NamedTuple):
    """A test that may notice a mutant; they sort by how likely and how soon."""

    indirect: bool  # a fixture of its module or a compiled program may have run the line for it
    foreign: bool  # not in the mutated module's own test file
    turn: int  # of its file, of which each has one after the other
    seconds: float
    file: str
    test: str


def _mirrors(folder: PurePosixPath, path: str) -> bool:
    """Whether a folder of tests is that of a module, or of a folder above it in its package."""
    own = PurePosixPath("tests", path).parent
    return folder == own or (folder in own.parents and len(folder.parts) > 2)


def choose(
    path: str,
    lines: Iterable[int],
    statement: Statement,
    measured: Iterable[Measured],
    budget: float,
) -> Choice:
    """The tests that try a mutant in `lines` of a module, and their order.

    First come the tests that run one of the lines, then the others of their files: a fixture of the
    module, a program that was compiled before, or an import may have run the lines for them. A
    mutant in what runs at import is tried by tests of the files that import the module, at most
    `AT_IMPORT` of them. The module's own test file comes first; the others take turns, each with
    its quickest.

    `budget` is how many seconds the tests may take together (0: any number); one is always tried.
    """
    own = re.compile(rf"test_{re.escape(PurePosixPath(path).stem)}(_\w+)?\.py$")
    found: list[_Candidate] = []
    for file in measured:
        here = file.lines.get(path)
        if here is None:
            continue
        direct = {test for line in lines for test in here.get(line, ())}
        if statement.at_import:
            # Not those that only start a process, which imports all of the module.
            direct -= set(here[min(here)])
        elif not any(line in here for line in lines):
            continue
        foreign = own.search(file.path) is None
        # A file that mirrors the module's folder, or one that holds it, has four tests a turn.
        step = 4 if _mirrors(PurePosixPath(file.path).parent, path) else 1
        for indirect in (False, True):
            tests = [test for test in file.tests if (test not in direct) is indirect]
            tests.sort(key=lambda test: (test not in file.touched[path], file.tests[test]))
            found += [
                _Candidate(indirect, foreign, n // step, file.tests[test], file.path, test)
                for n, test in enumerate(tests)
            ]
    found.sort()
    if statement.at_import:
        found = found[: max(AT_IMPORT, sum(not candidate.indirect for candidate in found))]
    chosen: list[_Candidate] = []
    spent = 0.0
    for candidate in found:
        if not chosen or not budget or spent + candidate.seconds <= budget:
            chosen.append(candidate)
            spent += candidate.seconds
    # By file, since a fixture of a module is set up again whenever another's test comes between.
    files: dict[str, float] = defaultdict(float)
    for candidate in chosen:
        files[candidate.file] += candidate.seconds
    chosen.sort(key=lambda c: (c.foreign, files[c.file], c.file, c.indirect, c.seconds))
    return Choice({c.test: c.seconds for c in chosen}, len(found), statement.at_import)
