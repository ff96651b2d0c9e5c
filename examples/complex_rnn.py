"""Does a recurrent net of complex numbers tell frequencies apart better than a real one of twice
the units? Both hear noisy rotations exp(i w t); gradients of complex weights are conjugated."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from gradsweep import Key, Model, Space, Study, Task

CLASSES, LENGTH = 8, 24


class Resonators(nnx.Module):
    """h <- W h + V x, W unitary at the start; the logits are a linear map of |h|^2 at the end."""

    def __init__(self, numbers, units, rngs):
        self.complex = numbers == "complex"
        units, inputs = (units, 1) if self.complex else (2 * units, 2)
        kind = jnp.complex64 if self.complex else jnp.float32
        w = jnp.linalg.qr(jax.random.normal(rngs.params(), (units, units), kind))[0]
        v = jax.random.normal(rngs.params(), (inputs, units), kind)
        self.recurrence = nnx.Dict(w=nnx.Param(w), v=nnx.Param(v))
        self.readout = nnx.Linear(units, CLASSES, rngs=rngs)

    def __call__(self, x):  # (batch, LENGTH) complex -> logits (batch, CLASSES)
        x = x[..., None] if self.complex else jnp.stack([x.real, x.imag], -1)
        w, v = 0.95 * self.recurrence["w"][...], self.recurrence["v"][...]

        def step(h, x):
            return h @ w + x @ v, None

        start = jnp.zeros((len(x), len(w)), w.dtype)
        h, _ = jax.lax.scan(step, start, jnp.swapaxes(x, 0, 1))
        return self.readout(jnp.abs(h) ** 2 / LENGTH)


NET = Model(
    name="resonators",
    keys=(
        Key("numbers", "str", "complex", "static", choices=("complex", "real")),
        Key("units", "int", 16, "static", "Complex units, or half of the real ones.", low=1),
    ),
    build=lambda c, sizes, rngs: Resonators(c["numbers"], c["units"], rngs),
)


def rotations(config):
    """Class k turns by 2 pi (k + 1/2) / CLASSES - pi a step, from a random phase, in noise."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, CLASSES, 1250)
    turn = 2 * np.pi * (y + 0.5) / CLASSES - np.pi
    phase = rng.uniform(0, 2 * np.pi, len(y))
    x = np.exp(1j * (turn[:, None] * np.arange(LENGTH) + phase[:, None]))
    noise = rng.normal(size=(2, *x.shape))
    return {"x": x + 1.5 * (noise[0] + 1j * noise[1]), "y": y}


TASK = Task(
    name="rotations",
    build=rotations,
    batch_size=50,
    split={"val": 0.2},
    chance_loss=lambda config: float(np.log(CLASSES)),
)
GRID = {
    "model": "resonators",
    "task": "rotations",
    "optimizer": "adam",
    "numbers": {"grid_search": ["complex", "real"]},
    "lr": {"grid_search": [0.01, 0.003]},
    "seed": {"grid_search": [0, 1]},
    "epochs": 30,
}
SPACE = Space(
    reproduces="an example",
    param_space=GRID,
    select={"choose": "lr", "metric": "val_loss", "mode": "min", "report": "val_accuracy"},
    smoke={"epochs": 2, "units": 4, "seed": 0},
    figures=("metric",),
)
STUDY = Study(
    name="complex", title="Complex and real recurrences", parts=(NET, TASK), spaces={"rnn": SPACE}
)
