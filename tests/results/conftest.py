"""An empty store, and made-up tables to fill it with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from results import Store, create_store, native


@pytest.fixture(autouse=True)
def _parts_of_any_size_are_read_by_duckdb(monkeypatch: pytest.MonkeyPatch) -> None:
    """As large ones are; those of object stores and damaged ones go through Arrow here too."""
    monkeypatch.setattr(native, "_LEAST", 0)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return create_store(tmp_path / "store")


@pytest.fixture(scope="session")
def new_store(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Store]:
    """A fresh store at each call, for tests that Hypothesis runs many times."""
    return lambda: create_store(tmp_path_factory.mktemp("example") / "store")
