"""Do BatchNorm and augmentation help a small convolutional net on 4,000 images of CIFAR-10?

Images stay uint8 (n, 32, 32, 3) on the device, and batches are flipped and shifted there.
"""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from gradsweep import Key, Model, Sizes, Space, Study, Task


class ConvNet(nnx.Module):
    """Three strided convolutions, each with BatchNorm where `norm` says so."""

    def __init__(self, width, norm, classes, rngs):
        channels = [3, width, 2 * width, 2 * width]
        pairs = list(pairwise(channels))
        self.convs = nnx.List(
            [nnx.Conv(a, b, (3, 3), strides=2, use_bias=not norm, rngs=rngs) for a, b in pairs]
        )
        self.norms = nnx.List([nnx.BatchNorm(b, rngs=rngs) for _, b in pairs if norm])
        self.readout = nnx.Linear(channels[-1], classes, rngs=rngs)

    def __call__(self, images):  # (batch, 32, 32, 3) uint8 -> logits (batch, classes)
        h = images / 127.5 - 1
        for i, conv in enumerate(self.convs):
            h = conv(h)
            h = jax.nn.relu(self.norms[i](h) if len(self.norms) else h)
        return self.readout(jnp.mean(h, (1, 2)))


NET = Model(
    name="conv_net",
    keys=(
        Key("filters", "int", 8, "static", "Filters of the first layer.", low=1),
        Key("norm", "bool", True, "static", "BatchNorm after each convolution."),
    ),
    build=lambda c, sizes, rngs: ConvNet(c["filters"], c["norm"], sizes.classes, rngs),
)


def images(config, arrays):
    """The data set's arrays, channels last; validation comes out of the first n_train + n_val."""
    pool, test = config["n_train"] + config["n_val"], config["n_test"]
    x, x_test = (np.moveaxis(arrays[f"{part}_images"], 1, -1) for part in ("train", "test"))
    return {
        "x": x[:pool],
        "y": arrays["train_labels"][:pool],
        "x_test": x_test[:test],
        "y_test": arrays["test_labels"][:test],
    }


def flipped_and_shifted(key, batch):
    """Half the images mirrored, each moved by up to three pixels."""
    mirror, shift = jax.random.split(key)
    x = batch["x"]
    x = jnp.where(jax.random.bernoulli(mirror, 0.5, (len(x), 1, 1, 1)), x[:, :, ::-1], x)
    moves = jax.random.randint(shift, (len(x), 2), -3, 4)
    return {**batch, "x": jax.vmap(lambda image, by: jnp.roll(image, by, (0, 1)))(x, moves)}


def task(name, augment):
    counts = {"n_train": 3000, "n_val": 1000, "n_test": 1000}
    return Task(
        name=name,
        keys=tuple(Key(count, "int", n, "static", low=1) for count, n in counts.items()),
        dataset=lambda config: "cifar10_4k",
        build=images,
        augment=augment,
        sizes=lambda c: Sizes(
            classes=10, n_train=c["n_train"], n_val=c["n_val"], n_test=c["n_test"], batch_size=50
        ),
        chance_loss=lambda config: float(np.log(10)),
    )


GRID = {
    "model": "conv_net",
    "task": {"grid_search": ["cifar_augmented", "cifar_plain"]},
    "norm": {"grid_search": [True, False]},
    "optimizer": "adam",
    "lr": 0.003,
    "epochs": 10,
    "keep_weights": "best",
}
SPACE = Space(
    reproduces="an example",
    param_space=GRID,
    select={"choose": "task", "metric": "val_accuracy", "mode": "max", "report": "test_accuracy"},
    smoke={"epochs": 1, "filters": 2, "n_train": 100, "n_val": 50, "n_test": 50},
    figures=("metric",),
)
PARTS = (NET, task("cifar_augmented", flipped_and_shifted), task("cifar_plain", None))
STUDY = Study(name="cnn", title="BatchNorm and augmentation", parts=PARTS, spaces={"cifar": SPACE})
