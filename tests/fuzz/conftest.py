"""How many cases run, and where: a folder that is watched, around the store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.command_line import snapshot

SECRET = "canary-7f3a91"
"""Content of the file outside the store that nothing may show."""

Fuzz = Callable[..., None]


@pytest.fixture
def fuzz(request: pytest.FixtureRequest) -> Fuzz:
    """`fuzz(share, strategy, case)` runs `case` on that share of `--fuzz-cases` drawn examples."""

    def run(share: float, strategy: st.SearchStrategy[Any], case: Callable[[Any], None]) -> None:
        count = 0

        @settings(
            max_examples=max(5, round(share * request.config.option.fuzz_cases)),
            deadline=None,
            print_blob=True,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        )
        @given(strategy)
        def every(drawn: Any) -> None:
            nonlocal count
            count += 1
            case(drawn)

        try:
            every()
        finally:
            request.node.user_properties.append(("fuzz cases", count))

    return run


@dataclass(frozen=True)
class Guard:
    """A folder whose content must stay as it is.

    Attributes:
      root: holds the rest, a secret and a home.
      store: where a store may be. out: where figures and tables may be written.
    """

    root: Path

    @property
    def store(self) -> Path:
        return self.root / "store"

    @property
    def out(self) -> Path:
        return self.root / "out"

    @property
    def secret(self) -> Path:
        return self.root / "secret.csv"

    def around(self) -> dict[str, tuple[int, int]]:
        """The state of all but the store and the output."""
        return snapshot(self.root, self.store, self.out)


@pytest.fixture
def guard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Guard]:
    """The folder is the working directory and holds the home directory too."""
    here = Guard(tmp_path)
    for folder in ("home", "cwd", "out", "outside"):
        (tmp_path / folder).mkdir()
    here.secret.write_text(f"a,b\n{SECRET},2\n")
    monkeypatch.chdir(tmp_path / "cwd")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("GRADSWEEP_STORE", raising=False)
    monkeypatch.setenv("GRADSWEEP_TRACEBACK", "")
    before = here.around()
    yield here
    assert here.around() == before
