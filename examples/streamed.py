"""A data set of 1 GB that no worker loads: it streams from one file, which all workers share.
How wide must a network be to learn the rule that its million samples follow?"""

import os
import sys
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from gradsweep import Key, Model, Sizes, Space, Study, Task

doc = __doc__
PIXELS, CLASSES, BLOCK = 1024, 4, 10_000


def folder():
    return Path(os.environ.get("GRADSWEEP_CACHE") or tempfile.gettempdir()) / "streamed"


def made(samples):
    """The files of x (samples, PIXELS) uint8 and y (samples,), written if they are not there."""
    x_file, y_file = (folder() / f"{name}-{samples}.npy" for name in "xy")
    if y_file.exists():
        return x_file, y_file
    folder().mkdir(parents=True, exist_ok=True)
    own = [file.with_suffix(f".{os.getpid()}") for file in (x_file, y_file)]  # workers may race
    print(f"writing {samples * PIXELS / 1e9:.2f} GB to {x_file}", file=sys.stderr)
    x = np.lib.format.open_memmap(own[0], "w+", np.uint8, (samples, PIXELS))
    y = np.lib.format.open_memmap(own[1], "w+", np.uint8, (samples,))
    rng = np.random.default_rng(0)
    rule = rng.normal(size=(16, 2)).astype(np.float32)
    for first in range(0, samples, BLOCK):
        block = rng.integers(0, 256, (min(BLOCK, samples - first), PIXELS), np.uint8)
        sides = np.sin((block[:, :16] / np.float32(128) - 1) @ rule) > 0
        x[first : first + BLOCK], y[first : first + BLOCK] = block, sides @ [2, 1]
    del x, y
    for mine, file in zip(own, (x_file, y_file), strict=True):
        mine.replace(file)
    return x_file, y_file


def build(
    config,
):  # nothing is read here: the files are mapped, and rows of them are read as needed
    return {
        n: np.load(f, mmap_mode="r") for n, f in zip("xy", made(config["samples"]), strict=True)
    }


def sizes(config):
    held = config["samples"] // 20
    return Sizes(classes=CLASSES, n_train=config["samples"] - 2 * held, n_val=held, n_test=held,
                 batch_size=256, split="shares")  # fmt: skip


class Net(nnx.Module):
    def __init__(self, config, sizes, rngs):
        self.first = nnx.Linear(PIXELS, config["width"], rngs=rngs)
        self.second = nnx.Linear(config["width"], config["width"], rngs=rngs)
        self.readout = nnx.Linear(config["width"], CLASSES, rngs=rngs)

    def __call__(self, x):  # (batch, PIXELS) uint8 -> logits
        x = x.astype(jnp.float32) / 128 - 1
        return self.readout(jax.nn.relu(self.second(jax.nn.relu(self.first(x)))))


TASK = Task(name="million", build=build, sizes=sizes, stream=True,
            keys=(Key("samples", "int", 1_000_000, low=1000),),
            chance_loss=lambda config: np.log(CLASSES))  # fmt: skip
SPACE = Space(
    reproduces="a question of mine",
    param_space={
        "model": "mlp", "task": "million", "optimizer": "adam", "epochs": 2,
        "width": {"grid_search": [8, 32]}, "lr": {"grid_search": [0.003, 0.001]},
        "seed": {"grid_search": [0, 1]},
    },
    smoke={"samples": 4000, "seed": 0},
    select={"choose": "lr", "metric": "val_loss", "mode": "min", "report": "test_loss",
            "over": "seed"},
)  # fmt: skip
STUDY = Study(name="streamed", title="A million samples", doc=doc, spaces={"width": SPACE},
              parts=(Model(name="mlp", build=Net), TASK))  # fmt: skip
