"""What comments, docstrings and pages cite is in this repository."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SUFFIXES = {".py", ".md", ".sql", ".toml"}
"""Temporary: files whose citations somebody else is changing."""

_GAP = r"\s+(?:#\s+)?"  # a comment may break its line within a citation
_NUMBER = r"\d+(?:\.\d+)?"
_NUMBERS = rf"{_NUMBER}(?:(?:,| and| to){_GAP}{_NUMBER})*"
_SPEC = re.compile(rf"docs/specs/(\w+)\.md(?:,{_GAP}(?:(checks?){_GAP})?({_NUMBERS}))?")
_BARE = re.compile(rf"\b([Ss]ections?|[Cc]hecks?){_GAP}({_NUMBERS})")
_PAGE = re.compile(r"\bdocs/[\w/-]+\.md\b")
_ARXIV = re.compile(rf"\d{{4}}\.\d{{4,5}},{_GAP}$")
"""What makes a section one of a paper."""
_STUDIES = r"(?:vanishing|ribeiro2020|herranz2023|zucchet2024|bar2025)"
_OLD = re.compile(
    rf"(?:specification|study file|design),? sections? \d|\.\./shared|\bP[012][ -]\d"
    rf"|{_STUDIES}`?\)?,? \(?(?:sections? )?\d"
)
"""Documents that are not here, and other forms than docs/specs/<study>.md, 1.4."""


@cache
def _headings(study: str) -> tuple[frozenset[str], frozenset[str]]:
    """Numbers of a specification's sections, and of its checks."""
    text = (ROOT / f"docs/specs/{study}.md").read_text()
    sections = re.findall(rf"^##+ ({_NUMBER})\.? ", text, re.M)
    checks = re.findall(r"^\| (\d+) \|", text.partition(" Checks\n")[2], re.M)
    return frozenset(sections), frozenset(checks)


def _unknown(studies: set[str], kind: str, numbers: str) -> list[str]:
    """Those of the cited numbers that no specification of `studies` has."""
    which = kind.lower().startswith("check")
    known = {n for study in studies for n in _headings(study)[which]}
    return [n for n in re.findall(_NUMBER, numbers) if n not in known]


def problems(name: str, text: str) -> Iterator[tuple[int, str]]:
    """Position and complaint of every citation in a file that leads nowhere."""
    for found in _PAGE.finditer(text):
        if not (ROOT / found[0]).is_file():
            yield found.start(), f"there is no {found[0]}"
    for found in _OLD.finditer(text):
        yield found.start(), f"cite docs/specs/<study>.md, 1.4 in place of {found[0]!r}"
    cited = [m for m in _SPEC.finditer(text) if (ROOT / f"docs/specs/{m[1]}.md").is_file()]
    for found in cited:
        for number in _unknown({found[1]}, found[2] or "section", found[3] or ""):
            kind = "check" if found[2] else "section"
            yield found.start(), f"docs/specs/{found[1]}.md has no {kind} {number}"
    if not name.endswith(".py"):
        return
    for found in _BARE.finditer(text):
        before = text[max(found.start() - 40, 0) : found.start()]
        if _ARXIV.search(before) or re.search(rf"docs/specs/\w+\.md,{_GAP}$", before):
            continue
        for number in _unknown({m[1] for m in cited}, found[1], found[2]):
            yield found.start(), f"{found[1]} {number} is in no docs/specs/<study>.md cited here"


def test_citations_lead_somewhere() -> None:
    listing = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listing.returncode:
        pytest.skip("not a git checkout")
    named = sorted(n for n in listing.stdout.split("\0") if Path(n).suffix in SUFFIXES)
    own = str(Path(__file__).relative_to(ROOT))
    texts = {n: (ROOT / n).read_text() for n in named if (ROOT / n).is_file()}
    found = [
        f"{name}:{text.count(chr(10), 0, at) + 1}: {complaint}"
        for name, text in texts.items()
        if name != own
        for at, complaint in problems(name, text)
    ]
    assert not found, "\n" + "\n".join(found)
    assert sum(len(_SPEC.findall(text)) for text in texts.values()) > 50


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("# docs/specs/zucchet2024.md, 5.4 and\n# 9.9.", "has no section 9.9"),
        ("docs/specs/bar2025.md, checks 1, 2 and 99", "has no check 99"),
        ("see docs/specs/nothing.md, 1.", "there is no docs/specs/nothing.md"),
        ("the specification, section 6", "in place of"),
        ("study `bar2025` (section 5)", "in place of"),
        ("\n(section 1.1)", "is in no docs/specs/<study>.md cited here"),
    ],
)
def test_what_leads_nowhere_is_told(text: str, complaint: str) -> None:
    assert any(complaint in told for _, told in problems("a.py", text))


def test_what_leads_somewhere_is_not() -> None:
    text = (
        "docs/specs/zucchet2024.md, 1.1 to\n# 1.3, and check 4 (section 5.9; "
        "arXiv 1908.03265, section 8.8)"
    )
    assert not list(problems("a.py", text))
