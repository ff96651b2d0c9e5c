"""The one place that decides a process's environment: threads, XLA flags, caches, Ray's switches.

The command line, Ray workers and tests all take it from here, before JAX is imported.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from orchestrator.machine.resources import cpus_here
from trainables.core import gpu_flags

XLA_FLAGS = (
    # With OPENBLAS_NUM_THREADS=1 it keeps several eigendecompositions in one program from hanging.
    "--xla_cpu_enable_concurrency_optimized_scheduler=false",
    # LLVM's third level compiles a third longer for programs that are no faster (docs/benchmarks).
    "--xla_backend_optimization_level=2",
)
"""Set for every process, each unless the user's XLA_FLAGS give it another value."""

_PLACES = ("GRADSWEEP_DATA", "GRADSWEEP_CACHE", "JAX_COMPILATION_CACHE_DIR")


class LateEnvironmentError(RuntimeError):
    """JAX was imported before its environment was set; `names` are the variables that differ."""

    def __init__(self, names: Sequence[str]):
        self.names = list(names)
        super().__init__(
            f"JAX was imported before {', '.join(self.names)} could be set; call "
            "orchestrator.machine.environment.prepare() first, or import jax after "
            "orchestrator.launch"
        )


def cache_dir() -> Path:
    """Folder of compiled programs: GRADSWEEP_CACHE, or the user's cache."""
    given = os.environ.get("GRADSWEEP_CACHE")
    if given:
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "gradsweep"


def process_environment(threads: int = 1, gpu: float = 0.0) -> dict[str, str]:
    """Variables for a process that runs packs with `threads` CPU threads and a share of a GPU.

    The same threads give the same bits, so they are part of a pack's signature. On a GPU, where
    they only compile, there are as many as CPUs: a small program took 24 s with one.
    """
    flags = (*XLA_FLAGS, *(gpu_flags.XLA_FLAGS if gpu else ()))
    variables = {
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": str(threads),
        "PJRT_NPROC": str(max(threads, cpus_here()) if gpu else threads),
        "XLA_FLAGS": gpu_flags.with_flags(os.environ.get("XLA_FLAGS", ""), flags),
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        # Workers share one cache per node. Each of these yields to what the user has set.
        **{name: os.environ.get(name, value) for name, value in _compile_cache().items()},
    }
    if gpu:
        share = f"{0.9 * min(gpu, 1.0):.3g}"
        variables["XLA_CLIENT_MEM_FRACTION"] = os.environ.get("XLA_CLIENT_MEM_FRACTION", share)
    else:
        variables["JAX_PLATFORMS"] = "cpu"
    precision = os.environ.get(gpu_flags.PRECISION, gpu_flags.MATMUL_PRECISION if gpu else "")
    if precision:
        variables[gpu_flags.PRECISION] = precision
    return variables


def _compile_cache() -> dict[str, str]:
    return {
        "JAX_COMPILATION_CACHE_DIR": str(cache_dir() / "jax"),
        # A new entry costs JAX a look at all others (70 ms among 670 entries), so quick compiles
        # are not worth one; `compile_cache.kept` makes exceptions.
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.3",
        # Setting a size is what makes JAX write cache entries under a lock.
        "JAX_COMPILATION_CACHE_MAX_SIZE": str(4 * 2**30),
    }


def ray_environment() -> dict[str, str]:
    """Variables Ray and Tune read in the driver and in workers."""
    return {
        "RAY_CHDIR_TO_TRIAL_DIR": "0",
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "TUNE_DISABLE_SIGINT_HANDLER": "1",
        "TUNE_RESULT_BUFFER_LENGTH": "0",
        # Never in between: a launch resumes from its store, not from Tune's list of trials.
        "TUNE_GLOBAL_CHECKPOINT_S": "inf",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "RAY_DEDUP_LOGS": "0",
        # The older reporter is silent at verbose=0; the newer prints a banner all the same.
        "RAY_AIR_NEW_OUTPUT": "0",
    }


def worker_environment(threads: int = 1, gpu: float = 0.0, here: bool = True) -> dict[str, str]:
    """Variables of a Ray worker: the process's, Ray's, and, on this machine, where data and caches
    are. Elsewhere (`here` false) each node has its own places, and its pack's share of a GPU is not
    known yet, so the worker calls `prepare`."""
    variables = {**process_environment(threads, gpu), **ray_environment()}
    if not here:
        own = (*_PLACES, "JAX_PLATFORMS", "XLA_CLIENT_MEM_FRACTION")
        return {name: v for name, v in variables.items() if name not in own}
    return variables | {name: os.environ[name] for name in _PLACES if name in os.environ}


def prepare(threads: int = 1, gpu: float = 0.0) -> None:
    """Sets this process's environment, before JAX.

    Raises:
      LateEnvironmentError: JAX is imported already and another environment was in force.
    """
    wanted = process_environment(threads, gpu)
    if "jax" in sys.modules:
        differing = [n for n, v in wanted.items() if os.environ.get(n) != v]
        if differing:
            raise LateEnvironmentError(differing)
        return
    os.environ.update(wanted)


def prepare_for_user_code() -> None:
    """Sets the environment before a user's file runs, which may import JAX; one that is set already
    (a worker's, another study's) stays."""
    if "jax" not in sys.modules and "PJRT_NPROC" not in os.environ:
        prepare(1, gpu=has_gpu())


def has_gpu() -> bool:
    """Whether the machine has an NVIDIA device, without importing JAX."""
    return any(Path("/dev").glob("nvidia[0-9]*"))
