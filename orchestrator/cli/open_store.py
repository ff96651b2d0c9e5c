"""Opening a store for a command that reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.cli.app import at_end
from orchestrator.errors import RequestError
from orchestrator.terminal import say_on_stderr

if TYPE_CHECKING:
    from results import Store


def open_for_reading(uri: str, rules: list[str] | None = None) -> Store:
    """The store; what is wrong with its files is said now, and at the end of the command."""
    from results import open_store

    changed: dict[str, float] = {}
    for text in rules or []:
        name, _, value = text.partition("=")
        if name in changed:
            raise RequestError(f"--rule {name} is given twice; give one value")
        try:
            changed[name] = float(value)
        except ValueError as error:
            raise RequestError(f"--rule {text!r} is not NAME=NUMBER") from error
    store = open_store(uri, rules=changed or None)
    said: set[str] = set()

    def warn() -> None:
        for warning in store.warnings:
            if warning not in said:
                said.add(warning)
                say_on_stderr(f"warning: {warning}")

    warn()
    at_end.append(warn)  # some damage shows only where rows are read
    return store
