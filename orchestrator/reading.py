"""Opening a store for a command that reads it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from orchestrator.errors import RequestError

if TYPE_CHECKING:
    from results import Store


def open_for_reading(uri: str, rules: list[str] | None = None) -> Store:
    from results import open_store

    changed: dict[str, float] = {}
    for text in rules or []:
        name, _, value = text.partition("=")
        try:
            changed[name] = float(value)
        except ValueError as error:
            raise RequestError(f"--rule {text!r} is not NAME=NUMBER") from error
    store = open_store(uri, rules=changed or None)
    for warning in store.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    return store
