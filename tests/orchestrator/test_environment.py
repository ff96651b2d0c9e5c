"""The environment of a process: what is set, and what a user's own settings keep."""

from __future__ import annotations

import sys

import pytest

from orchestrator import environment


def test_a_users_flags_stay_and_ours_are_added(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_dump_to=x")
    flags = environment.process_environment()["XLA_FLAGS"].split()
    assert flags[:2] == ["--xla_backend_optimization_level=0", "--xla_dump_to=x"]
    assert flags[2:] == ["--xla_cpu_enable_concurrency_optimized_scheduler=false"]


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
