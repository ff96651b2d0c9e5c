"""One worker of a node compiles, the others wait; nobody waits for what is in the cache."""

from __future__ import annotations

from pathlib import Path

import jax
import pytest
from filelock import FileLock, Timeout

from orchestrator.worker import compile_cache
from trainables.packs.programs import EPOCH_NAME


def test_only_the_first_holds_others_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADSWEEP_CACHE", str(tmp_path))
    lock = tmp_path / "compiling" / "program-4"
    with compile_cache.once_per_node("program-4"), pytest.raises(Timeout):
        FileLock(lock).acquire(timeout=0)
    with FileLock(lock, timeout=0), compile_cache.once_per_node("program-4"):
        pass


def test_a_compile_that_failed_leaves_the_next_to_hold_others_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADSWEEP_CACHE", str(tmp_path))
    with pytest.raises(RuntimeError), compile_cache.once_per_node("p"):
        raise RuntimeError
    with compile_cache.once_per_node("p"), pytest.raises(Timeout):
        FileLock(tmp_path / "compiling" / "p").acquire(timeout=0)


def test_a_program_that_is_in_the_cache_holds_nobody_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of another width are counted too, since each width is another program."""
    monkeypatch.setenv("GRADSWEEP_CACHE", str(tmp_path))
    folder = tmp_path / "compiling"
    with compile_cache.once_per_node("p-1"):
        assert not (folder / "p-1.done").exists()
    assert (folder / "p-1.done").exists()
    with (
        compile_cache.once_per_node("p-1"),
        compile_cache.once_per_node("p-2"),
        FileLock(folder / "p-1", timeout=0),
        pytest.raises(Timeout),
    ):
        FileLock(folder / "p-2").acquire(timeout=0)


def test_where_no_lock_can_be_had_all_compile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADSWEEP_CACHE", str(tmp_path))
    (tmp_path / "compiling").touch()  # a file in the place of the folder
    with compile_cache.once_per_node("p"):
        pass


def test_what_took_no_time_to_compile_is_kept_only_where_asked() -> None:
    name = "jax_persistent_cache_min_compile_time_secs"
    before = getattr(jax.config, name)
    inside: list[float] = []

    def fail() -> None:
        inside.append(getattr(jax.config, name))
        raise RuntimeError

    with pytest.raises(RuntimeError), compile_cache.kept():
        fail()
    assert inside == [0.0]
    assert getattr(jax.config, name) == before


def test_epoch_programs_are_counted_since_the_last_time() -> None:
    """Whether the cache had them or not, but no other program."""
    compile_cache.watch()
    compile_cache.watch()
    compile_cache.counted()

    def pack_epoch(x: jax.Array) -> jax.Array:
        return 3 * x

    assert EPOCH_NAME == "pack_epoch"
    jax.jit(pack_epoch)(jax.numpy.arange(3.0))
    jax.jit(lambda x: 5 * x)(jax.numpy.arange(3.0))
    found = compile_cache.counted()
    assert sum(found.values()) == 1
    assert found.keys() <= {"compiled", "cached"}
    assert compile_cache.counted() == {}
