"""Declarations of deep convolutional networks, with and without skips."""

from __future__ import annotations

from dataclasses import replace

from trainables.declarations.core.keys import Key
from trainables.declarations.core.parts import Config, Model, Sizes

_KEYS = (
    Key("depth", "int", 20, "static", "Convolutional layers L.", low=1, high=10_000,
        aliases=("num_layers", "n_layers", "layers", "L")),
    Key("width", "int", 16, "static", "Channels H of each convolution.", low=1,
        aliases=("hidden_size", "hidden_dim", "H")),
    Key("activation", "str", "sigmoid", "static", "Nonlinearity after each convolution.",
        choices=("sigmoid", "tanh", "relu"), aliases=("nonlinearity",)),
    Key("init", "str", "xavier", "init",
        "default: U(+-1/sqrt(fan in)) everywhere; xavier: Glorot-uniform, zero biases; he: "
        "Kaiming-uniform (gain sqrt 2), zero biases.", choices=("default", "xavier", "he")),
)  # fmt: skip


def _rows(config: Config, sizes: Sizes) -> tuple[int, int]:
    """Kernel and bias of each convolution and of the readout, scale and bias of each norm."""
    depth = config["depth"]
    norms = depth if config.get("norm") == "batch" else 0
    return 2 * (depth + norms + 1), depth + norms + 1


def _blocks_check(config: Config) -> list[str]:
    if config["depth"] % 2 == 0:
        return []
    return [f"residual_convnet has blocks of two layers; depth={config['depth']} must be even"]


PLAIN_CONVNET = Model(
    name="plain_convnet",
    version=1,
    build="trainables.models.conv_stack:plain_convnet",
    doc="3 x 3 convolutions on top of each other, the mean over the image, a dense readout.",
    keys=_KEYS,
    rows=_rows,
)

RESIDUAL_CONVNET = Model(
    name="residual_convnet",
    version=1,
    build="trainables.models.conv_stack:residual_convnet",
    doc="The same in blocks of two layers with BatchNorm and a skip around all but the first.",
    keys=(
        *(replace(k, default={"activation": "relu", "init": "he"}.get(k.name, k.default))
          for k in _KEYS),
        Key("norm", "str", "batch", "static", "BatchNorm after each convolution, or none.",
            choices=("batch", "none")),
    ),
    rows=_rows,
    check=_blocks_check,
)  # fmt: skip
