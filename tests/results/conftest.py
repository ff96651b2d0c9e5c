"""An empty store, and made-up tables to fill it with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from results import Store, create_store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return create_store(tmp_path / "store")


@pytest.fixture
def new_store(tmp_path: Path) -> Callable[[], Store]:
    """A fresh store at each call: for Hypothesis, whose examples share one tmp_path."""
    made: list[int] = []

    def make() -> Store:
        made.append(1)
        return create_store(tmp_path / f"store-{len(made)}")

    return make
