"""Compiling once per node: a lock, and counts of what was compiled and what the cache held."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from typing import Any

import jax

from orchestrator.machine.environment import cache_dir
from trainables.packs.programs import EPOCH_NAME

_HIT = "/jax/compilation_cache/cache_hits"
_COMPILE = "/jax/core/compile/backend_compile_duration"
# One listener for the life of the process: JAX has no public way to remove one.
_counts: Counter[str] = Counter()
_watching: list[bool] = []


def watch() -> None:
    """Counts from now on; asking again changes nothing."""
    if _watching:
        return
    _watching.append(True)
    hits: list[bool] = []

    def on_event(event: str, **_: Any) -> None:
        if event == _HIT:
            hits.append(True)

    def on_duration(event: str, duration_secs: float, **about: Any) -> None:
        # JAX times a compile whether or not the cache answers; a hit is announced inside.
        if event == _COMPILE:
            if EPOCH_NAME in str(about.get("fun_name", "")):
                _counts["cached" if hits else "compiled"] += 1
            hits.clear()

    jax.monitoring.register_event_listener(on_event)
    jax.monitoring.register_event_duration_secs_listener(on_duration)


def counted() -> dict[str, int]:
    """Epoch programs since the last call: `compiled`, and `cached` ones."""
    found = dict(_counts)
    _counts.clear()
    return found


@contextlib.contextmanager
def once_per_node(program: str) -> Iterator[None]:
    """Holds other processes of this machine back from compiling the same program meanwhile: they
    find it in the cache then, and so do later ones, who wait for nobody. Where no lock can be had,
    as on some network drives, or the cache was emptied since, several compile."""
    from filelock import FileLock

    folder = cache_dir() / "compiling"
    done = folder / f"{program}.done"
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError, NotImplementedError):
            folder.mkdir(parents=True, exist_ok=True)
            if not done.exists():
                stack.enter_context(FileLock(folder / program))
        yield
        with contextlib.suppress(OSError):
            done.touch()


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """What is compiled in here goes into the compile cache however little time it took. For epoch
    programs: each new entry costs JAX a look at all others, which the many small ones never pay."""
    name = "jax_persistent_cache_min_compile_time_secs"
    before = getattr(jax.config, name)
    jax.config.update(name, 0.0)
    try:
        yield
    finally:
        jax.config.update(name, before)
