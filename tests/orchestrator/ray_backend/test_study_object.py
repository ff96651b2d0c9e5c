"""A study that is an object, sent to Ray's workers by value."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from results import open_store

SCRIPT = """
    import numpy as np
    from flax import nnx
    import gradsweep
    from gradsweep import Model, Space, Study, Task
    from object_layers import Scaled

    class Net(nnx.Module):
        def __init__(self, c, rngs):
            self.inner = Scaled(2, c["units"], rngs)
            self.readout = nnx.Linear(c["units"], 2, rngs=rngs)
        def __call__(self, x):
            return self.readout(nnx.relu(self.inner(x)))

    def arrays(config):
        x = np.random.default_rng(0).normal(size=(20, 2)).astype(np.float32)
        return {"x": x, "y": (x[:, 0] > 0).astype(np.int32)}

    if __name__ == "__main__":
        net = Model(name="obj_net", build=lambda c, sizes, rngs: Net(c, rngs))
        study = Study(name="obj", title="t", spaces={"a": Space(param_space={
            "model": "obj_net", "task": "obj_task", "epochs": 1,
            "units": {"grid_search": [2, 3]}, "seed": {"grid_search": [0, 1]}})},
            parts=(net, Task(name="obj_task", build=arrays, batch_size=4)))
        result = gradsweep.launch(study, store="store", progress="none", cpus=2)
        again = gradsweep.launch("obj/a", study=study, store="store", progress="none", cpus=2)
        print(result.ran, dict(result.counts), again.ran)
"""
LAYERS = """
    from flax import nnx

    class Scaled(nnx.Module):
        def __init__(self, n, m, rngs):
            self.inner = nnx.Linear(n, m, rngs=rngs)
        def __call__(self, x):
            return 2 * self.inner(x)
"""


@pytest.mark.ray
@pytest.mark.slow
def test_a_script_launches_its_own_study(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(textwrap.dedent(SCRIPT))
    (tmp_path / "object_layers.py").write_text(textwrap.dedent(LAYERS))
    done = subprocess.run(
        [sys.executable, "script.py"],
        cwd=tmp_path, env=dict(os.environ), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "4 {'done': 4} 0"
    names = open_store(tmp_path / "store").sql("SELECT DISTINCT layer_name FROM layers ORDER BY 1")
    assert [name for (name,) in names.fetchall()] == ["inner.inner", "readout"]
