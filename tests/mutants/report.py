"""What came of a sample of mutants: verdicts, known equivalents, rates, lines for a reader."""

from __future__ import annotations

import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.mutants.sampling import Mutant

KILLED, SURVIVED, HUNG = "killed", "survived", "timed out"


@dataclass(frozen=True)
class Verdict:
    """What the tests said of one mutant."""

    outcome: str
    tests: int  # that ran, the one that failed included
    of: int  # that run the line, or lie beside those that do
    seconds: float
    killer: str = ""  # the test that failed, or what else ended the run
    reason: str = ""
    at_import: bool = False

    @property
    def whole(self) -> bool:
        """Whether no test was left out for want of time."""
        return self.outcome != SURVIVED or self.tests >= self.of


@dataclass(frozen=True)
class Equivalent:
    """A mutant that no test can kill, named by its content and not by its line number."""

    module: str
    function: str
    operator: str
    text: str
    reason: str
    new: str = ""  # the line after, where one operator has several mutants of the line

    def fits(self, mutant: Mutant) -> bool:
        return (
            mutant.path == self.module
            and mutant.definition == self.function
            and mutant.operator.rpartition("/")[2] == self.operator
            and mutant.old == self.text
            and self.new in ("", mutant.new)
        )


def equivalents(path: Path) -> list[Equivalent]:
    """The entries of equivalent.toml.

    Raises:
      TypeError: An entry has an unknown field or lacks one.
    """
    if not path.is_file():
        return []
    return [Equivalent(**entry) for entry in tomllib.loads(path.read_text()).get("equivalent", [])]


def rate(verdicts: Iterable[Verdict]) -> float:
    """Share that is killed, those that timed out among them; 1 of none."""
    outcomes = [verdict.outcome for verdict in verdicts]
    return 1 - outcomes.count(SURVIVED) / len(outcomes) if outcomes else 1.0


def summary(
    found: Sequence[tuple[Mutant, Verdict]], known: Sequence[Equivalent], left: int = 0
) -> list[str]:
    """Lines for a reader."""
    counts = Counter(verdict.outcome for _, verdict in found)
    survivors = [(m, v) for m, v in found if v.outcome == SURVIVED]
    reasons = {m.key: e.reason for m, _ in found for e in known if e.fits(m)}
    real = [v for m, v in found if m.key not in reasons]
    head = (
        f"{len(found)} mutants: {counts[KILLED]} killed, {counts[HUNG]} timed out, "
        f"{counts[SURVIVED]} survived; {100 * rate(v for _, v in found):.1f} % killed"
    )
    lines = [head + (f" ({left} still to run)" if left else "")]
    if reasons:
        lines.append(
            f"without the {len(reasons)} known to be equivalent: {100 * rate(real):.1f} % killed"
        )
    for mutant, verdict in found:
        if mutant.key in reasons and verdict.outcome != SURVIVED:
            lines.append(f"listed as equivalent, but {verdict.outcome}: {mutant}")
    short = sum(not verdict.whole for _, verdict in survivors)
    if short:
        lines.append(f"{short} survivors were not tried by every test, for want of time (--budget)")
    by_module: dict[str, list[str]] = defaultdict(list)
    for mutant, verdict in survivors:
        by_module[mutant.path].append(_line(mutant, verdict, reasons.get(mutant.key)))
    total = Counter(mutant.path for mutant, _ in found)
    for path in sorted(by_module):
        lines += ["", f"{path}: {len(by_module[path])} of {total[path]} survived", *by_module[path]]
    return lines


def _line(mutant: Mutant, verdict: Verdict, equivalent: str | None) -> str:
    if not verdict.of:
        ran = "no test runs it"
    else:
        ran = f"{verdict.tests} tests" + ("" if verdict.whole else f" of {verdict.of}")
        ran += ", run at import" if verdict.at_import else ""
    where = f"  {mutant.path}:{mutant.line} {mutant.operator.rpartition('/')[2]}"
    said = f"; equivalent: {equivalent}" if equivalent else ""
    return f"{where}: {mutant.old} -> {mutant.new or '(nothing)'}  [{ran}{said}]"


def as_json(
    found: Sequence[tuple[Mutant, Verdict]], known: Sequence[Equivalent], **about: object
) -> dict[str, Any]:
    """The same for a program."""
    reasons = {m.key: e.reason for m, _ in found for e in known if e.fits(m)}
    return {
        **about,
        "killed_share": rate(v for _, v in found),
        "killed_share_without_equivalents": rate(v for m, v in found if m.key not in reasons),
        "mutants": [{**asdict(m), **asdict(v), "equivalent": reasons.get(m.key)} for m, v in found],
    }
