"""Where Python needs the value of a traced key: which key, which line, what to do."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from orchestrator.debug import debug
from orchestrator.errors import RequestError

STUDY = """
    import jax.numpy as jnp
    import numpy as np
    from flax import nnx
    from gradsweep import Key, Model, Space, Study, Task

    class Net(nnx.Module):
        def __init__(self, c, rngs):
            gain, other, units = c["gain"], c["other"], c["units"]
            BUILD
            self.c, self.readout = c, nnx.Linear(2, 2, rngs=rngs)
        def __call__(self, x):
            gain, other, units = self.c["gain"], self.c["other"], self.c["units"]
            CALL
            return self.readout(x) * gain

    def loss(outputs, batch, config):
        gain, other = config["gain"], config["other"]
        LOSS
        return jnp.mean(outputs**2, -1)

    def arrays(config):
        return {"x": np.ones((8, 2), np.float32), "y": np.zeros(8, np.int32)}

    NET = Model(name="own_net", build=lambda c, sizes, rngs: Net(c, rngs),
                keys=(Key("units", "int", 2, "traced"),))
    TASK = Task(name="own_task", build=arrays, loss=loss, batch_size=4)
    STUDY = Study(name="own", title="t", parts=(NET, TASK), spaces={"a": Space(param_space={
        "model": "own_net", "task": "own_task", "epochs": 1, "gain": 2.0, "other": 3.0})})
"""
ONE = 'and the key gain is traced: declare it static, Key("gain", "float", kind="static")'
UNITS = 'and the key units is traced: declare it static, Key("units", "int", kind="static")'
TWO = (
    "and the keys gain and other are traced: declare them static, "
    'Key("gain", "float", kind="static") and Key("other", "float", kind="static")'
)
CASES = {
    "if": ("BUILD", "if gain > 1: pass", ONE),
    "range": ("BUILD", "for _ in range(units): pass", UNITS),
    "an axis": ("CALL", "x.reshape(units, -1)", UNITS),
    "int": ("CALL", "int(gain)", ONE),
    "float": ("BUILD", "np.full(3, float(gain))", ONE),
    "shape": ("BUILD", "jnp.zeros((units, 2))", UNITS),
    "numpy": ("CALL", "np.sqrt(gain)", ONE),
    "a table": ("CALL", "{2.0: 1}[gain]", ONE),
    "a loss": ("LOSS", "assert gain > 0", ONE),
    "two": ("LOSS", "if gain > other: pass", TWO),
    "a value of the program": (
        "CALL",
        "if x.sum() > 0: pass",
        "of something that is computed within the program; use jnp.where",
    ),
}


def written(folder: Path, place: str, code: str) -> tuple[str, int]:
    """A study in which `code` stands at `place`, and its line."""
    text = textwrap.dedent(STUDY).replace(place, code)
    for other in ("BUILD", "CALL", "LOSS"):
        text = text.replace(other, "pass")
    (folder / "own.py").write_text(text)
    return str(folder / "own.py"), text[: text.index(code)].count("\n") + 1


@pytest.mark.parametrize(("place", "code", "says"), CASES.values(), ids=CASES)
def test_the_key_and_the_line_are_named(tmp_path: Path, place: str, code: str, says: str) -> None:
    path, line = written(tmp_path, place, code)
    with pytest.raises(RequestError) as caught:
        debug("own/a", study=path, store=str(tmp_path / "none"))
    found = str(caught.value)
    assert found.startswith(f"{path}:{line} (`{code}`) needs a Python value")
    assert says in found
    assert "\n" not in found
