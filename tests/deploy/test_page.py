"""docs/clusters.md: its commands and the files it names."""

from __future__ import annotations

import re
import shlex

from tests.support.command_parsers import ROOT, parse_gradsweep, parse_ray

DOCS = (ROOT / "docs/clusters.md").read_text()


def documented(program: str) -> list[list[str]]:
    """The commands of docs/clusters.md that start with `program`, split into words."""
    blocks = re.sub(r"\\\n\s*", " ", DOCS)
    lines = re.findall(rf"^    (?:.*&& )?({program} [^&>\n]*)", blocks, re.M)
    return [shlex.split(line, comments=True) for line in lines]


def test_the_page_names_files_that_are_here() -> None:
    named = set(re.findall(r"\b(?:deploy/[\w.-]+|cluster\.yaml)", DOCS))
    assert {f"deploy/{path.name}" for path in (ROOT / "deploy").iterdir()} <= named
    for name in named:
        assert (ROOT / name).is_file(), name


def test_the_page_uses_rays_commands_as_ray_has_them() -> None:
    used = documented("ray")
    assert {words[1] for words in used} >= {"get-auth-token", "up", "dashboard", "down"}
    for words in used:
        parse_ray(words[1], words[2:])


def test_the_page_uses_gradsweeps_commands_as_they_are() -> None:
    used = documented("gradsweep")
    assert {words[1] for words in used} >= {"launch", "status", "logs", "stop", "query"}
    for words in used:
        parse_gradsweep(words[1:])
