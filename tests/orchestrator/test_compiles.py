"""One worker of a node compiles, the others wait; nobody waits for what is in the cache."""

from __future__ import annotations

from pathlib import Path

import pytest
from filelock import FileLock, Timeout

from orchestrator import compiles


def test_only_the_first_holds_others_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADSWEEP_CACHE", str(tmp_path))
    lock = tmp_path / "compiling" / "program-4"
    with compiles.once_per_node("program-4"), pytest.raises(Timeout):
        FileLock(lock).acquire(timeout=0)
    with FileLock(lock, timeout=0), compiles.once_per_node("program-4"):
        pass


def test_a_compile_that_failed_leaves_the_next_to_hold_others_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADSWEEP_CACHE", str(tmp_path))
    with pytest.raises(RuntimeError), compiles.once_per_node("p"):
        raise RuntimeError
    with compiles.once_per_node("p"), pytest.raises(Timeout):
        FileLock(tmp_path / "compiling" / "p").acquire(timeout=0)
