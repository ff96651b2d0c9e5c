"""An empty store, and made-up tables to fill it with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from results import Store, create_store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return create_store(tmp_path / "store")


@pytest.fixture(scope="session")
def new_store(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Store]:
    """A fresh store at each call, for tests that Hypothesis runs many times."""
    return lambda: create_store(tmp_path_factory.mktemp("example") / "store")
