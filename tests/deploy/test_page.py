"""docs/clusters.md: its commands and the files it names."""

from __future__ import annotations

import re
import shlex

from tests.deploy.parsing import ROOT, parse_gradsweep, parse_ray

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


# What the page says already and the command line does not know yet: remove each as it comes.
COMING = {"--detach", "--address http://127.0.0.1:8265", "logs", "stop"}


def test_the_page_uses_gradsweeps_commands_as_they_are() -> None:
    used = [words for words in documented("gradsweep") if not is_coming(words)]
    assert len(used) >= 8
    for words in used:
        parse_gradsweep(words[1:])


def is_coming(words: list[str]) -> bool:
    return any(f" {text} " in f" {' '.join(words)} " for text in COMING)
