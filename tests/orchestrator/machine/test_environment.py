"""The environment of a process: what is set, and what a user's own settings keep."""

from __future__ import annotations

import sys

import pytest

from orchestrator.machine import environment
from orchestrator.machine.resources import cpus_here
from orchestrator.worker.provenance import signature


def test_a_users_flags_stay_and_ours_are_added(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_dump_to=x")
    flags = environment.process_environment()["XLA_FLAGS"].split()
    assert flags[:2] == ["--xla_backend_optimization_level=0", "--xla_dump_to=x"]
    assert flags[2:] == ["--xla_cpu_enable_concurrency_optimized_scheduler=false"]


def test_a_users_compile_cache_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    own = {
        "JAX_COMPILATION_CACHE_DIR": "/elsewhere",
        "JAX_COMPILATION_CACHE_MAX_SIZE": "-1",
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "7",
    }
    for name in own:
        monkeypatch.delenv(name, raising=False)
    ours = environment.process_environment()
    assert {name: ours[name] for name in own} == {
        "JAX_COMPILATION_CACHE_DIR": str(environment.cache_dir() / "jax"),
        "JAX_COMPILATION_CACHE_MAX_SIZE": str(4 * 2**30),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.3",
    }
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    assert own.items() <= environment.process_environment().items()


def test_preparing_twice_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=x")
    first = environment.process_environment()
    for name, value in first.items():
        monkeypatch.setenv(name, value)
    assert environment.process_environment() == first
    assert "jax" in sys.modules  # as these tests run, so a difference would raise
    environment.prepare()


def test_another_environment_after_jax_is_an_error() -> None:
    with pytest.raises(environment.LateEnvironmentError, match="PJRT_NPROC"):
        environment.prepare(threads=7)


def test_a_gpu_multiplies_in_float32_and_compiles_on_every_cpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("JAX_DEFAULT_MATMUL_PRECISION", raising=False)
    on_cpu, on_gpu = (environment.process_environment(1, gpu) for gpu in (0.0, 0.5))
    assert "JAX_DEFAULT_MATMUL_PRECISION" not in on_cpu
    assert "gpu" not in on_cpu["XLA_FLAGS"]
    assert on_gpu["JAX_DEFAULT_MATMUL_PRECISION"] == "float32"
    assert "--xla_gpu_deterministic_ops=true" in on_gpu["XLA_FLAGS"].split()
    assert int(on_gpu["PJRT_NPROC"]) == cpus_here()
    assert on_gpu["XLA_CLIENT_MEM_FRACTION"] == "0.45"


def test_a_users_precision_stays_and_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAX_DEFAULT_MATMUL_PRECISION", "tensorfloat32")
    for gpu in (0.0, 1.0):
        found = environment.process_environment(1, gpu)
        assert found["JAX_DEFAULT_MATMUL_PRECISION"] == "tensorfloat32"
    assert signature("vmap", 2, 1)["precision"] == "tensorfloat32"
    monkeypatch.delenv("JAX_DEFAULT_MATMUL_PRECISION")
    assert "precision" not in signature("vmap", 2, 1)
