"""`python -m benchmarks.gpu`: its record, what it needs, and that it fails where bits do not
hold."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.gpu import bare_packs, bare_step, pack_cases, roofline
from trainables.packs.pack import EpochResult

ROOT = Path(__file__).parents[1]
ABSENT = ("ray", "pandas", "pyarrow", "duckdb", "plotly", "safetensors", "sklearn", "pooch",
          "typer", "orchestrator", "results", "search_spaces")  # fmt: skip
BLOCK = f"""
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {ABSENT}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
"""


@pytest.mark.slow  # four processes, three compiles
def test_it_measures_where_only_trainables_is_installed(tmp_path: Path) -> None:
    # Python runs this file first, in the processes that the script starts too.
    (tmp_path / "sitecustomize.py").write_text(BLOCK)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    settings: Any = {"cwd": ROOT, "env": environment, "capture_output": True, "text": True}
    refused = subprocess.run([sys.executable, "-c", "import ray"], check=False, **settings)
    assert "No module named 'ray'" in refused.stderr

    out = tmp_path / "gpu.json"
    only = ["--networks", "ffn", "--strategies", "vmap", "--lanes", "2", "--repeats", "2"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu", "--small", *only, "--out", str(out)],
        check=False,
        **settings,
    )
    assert done.returncode == 0, done.stderr
    record = json.loads(out.read_text())
    assert record["failures"] == []
    assert record["restarts"] == [{"case": "ffn vmap", "lanes": 2, "equal": True}]
    assert record["platform"] == "cpu"
    assert set(record["versions"]) == {"jax", "jaxlib", "flax", "optax", "numpy"}
    [case] = record["cases"]
    assert (case["network"], case["strategy"], case["lanes"]) == ("ffn", "vmap", 2)
    assert (case["unequal"], case["diverged"], case["agrees"]) == ([], 0, True)
    assert max(case["apart"].values()) < 1e-4
    # Products of 3 x 16 hidden units, 64 inputs and 10 classes: forward, by weights, by inputs.
    inner, first = 2 * 256 * (2 * 16 * 16 + 16 * 10), 2 * 256 * 64 * 16
    assert case["step_flops"] == 3 * inner + 2 * first
    evaluated = 2 * (inner + first)  # 360 samples in batches of 256
    assert case["epoch_flops"] == case["steps"] * case["step_flops"] + evaluated
    floors = [
        case["step_flops"] / record["flops_per_s"],
        case["step_bytes"] / record["bytes_per_s"],
    ]
    assert case["floor_s"] == pytest.approx(max(floors))
    assert case["lane_step_s"] == pytest.approx(case["epoch_s"] / 2 / case["steps"])
    assert case["bare_s"] > case["floor_s"]
    assert case["model_bytes"] > 0
    assert "ffn" in done.stdout


class Misplaced:
    """Stands for a pack whose second lane has a rounding of its own, at widths over 1."""

    device = SimpleNamespace(memory_stats=lambda: None)
    steps, parameter_count = 1, 1

    def __init__(self, trials: list[Any], arrays: Any, *, width: int, lanes: str):
        self.loss = np.zeros(width, np.float32)
        self.loss[: len(trials)] = [1 + trial.config["seed"] for trial in trials]
        if width > 1:
            self.loss[1] = np.nextafter(self.loss[1], np.float32(99))

    def init(self) -> None: ...

    def compile(self) -> None: ...

    def memory_bytes(self) -> int:
        return 1

    def state(self) -> dict[str, np.ndarray]:
        return {}

    def weights(self, lane: int) -> dict[str, np.ndarray]:
        return {"w": np.ones(1)}

    def epoch(self, epoch: int) -> EpochResult:
        epochs: dict[str, np.ndarray] = dict.fromkeys(("loss", "val_loss", "test_loss"), self.loss)
        none = np.full(len(self.loss), -1)
        names = ("loss", "grad_norm", "update_norm")
        steps: dict[str, np.ndarray] = {name: np.ones((len(none), 1)) for name in names}
        return EpochResult(epochs, {}, steps, np.arange(1), none + 1, none, none < 0, {}, {})


def test_a_bit_that_hangs_on_the_position_fails_by_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = {"bare_s": 1.0, "floor_s": 0.5, "epoch_flops": 1}
    monkeypatch.setattr(bare_packs, "_in_child", lambda work, *args: work(*args))
    monkeypatch.setattr(pack_cases, "Pack", Misplaced)
    monkeypatch.setattr(bare_step, "measure", lambda *args: bare)
    monkeypatch.setattr(
        roofline, "measured", lambda small: {"flops_per_s": 1, "bytes_per_s": 1, "rounding": 1e-7}
    )
    only = ["--small", "--networks", "ffn", "--strategies", "vmap"]
    assert bare_packs.main([*only, "--lanes", "1"]) == 0
    assert bare_packs.main([*only, "--lanes", "3"]) == 0, "the middle lane stays where it is"
    assert bare_packs.main([*only, "--lanes", "1", "2"]) == 1
    told = capsys.readouterr().err.splitlines()
    losses = "epochs/loss, epochs/val_loss, epochs/test_loss"
    assert told == [
        f"FAILED ffn vmap, 2 lanes, permuted: trial {trial} differs in {losses}" for trial in (1, 0)
    ]


def test_operations_are_counted_as_often_as_they_run() -> None:
    a, b = jnp.ones((2, 3)), jnp.ones((3, 5))

    def layers(a: jax.Array) -> jax.Array:
        return jax.lax.scan(lambda x, _: (x @ b @ b.T, None), a, None, length=7)[0]

    def either(a: jax.Array) -> jax.Array:
        return jax.lax.cond(a[0, 0] > 0, layers, lambda a: a, a)

    once = 2 * 2 * 3 * 5
    assert roofline.operations(jnp.matmul, a, b) == once
    assert roofline.operations(jax.vmap(jnp.matmul), a[None], b[None]) == once
    assert roofline.operations(layers, a) == 7 * 2 * once
    assert roofline.operations(jax.jit(either), a) == 7 * 2 * once
    assert roofline.size({"a": a, "b": jax.ShapeDtypeStruct((4,), jnp.int8)}) == 4 * 6 + 4
