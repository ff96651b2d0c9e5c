"""Commands as the programs that will get them understand them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]


def cluster_file(name: str) -> dict[str, Any]:
    """A Ray cluster file as Ray completes it."""
    from ray.autoscaler._private.util import prepare_config

    return prepare_config(yaml.safe_load((ROOT / name).read_text()))


def parse_ray(command: str, arguments: list[str]) -> dict[str, Any]:
    """The parameters of `ray COMMAND ARGUMENTS` by Ray's own parser, which refuses unknown ones."""
    from ray.scripts.scripts import cli

    return cli.commands[command].make_context(command, arguments).params


def parse_gradsweep(words: list[str]) -> dict[str, Any]:
    """The same of `gradsweep WORDS`."""
    import importlib

    import typer

    from orchestrator.cli import app as cli

    for name in cli.COMMANDS:  # importing these registers their commands
        importlib.import_module(f"orchestrator.cli.{name}")
    group: Any = typer.main.get_command(cli.app)
    return group.commands[words[0]].make_context(words[0], words[1:]).params
