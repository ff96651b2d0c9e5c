"""Declaration of the convolutional network of docs/specs/herranz2023.md, 2.1."""

from __future__ import annotations

from trainables.declarations.comments import comment_variants
from trainables.declarations.core.keys import Key
from trainables.declarations.core.parts import Model
from trainables.declarations.models.feedforward import ACTIVATIONS

CNN = Model(
    name="cnn",
    version=1,
    build="trainables.models.cnn:cnn",
    doc="3 x 3 convolutions without padding, one to a single channel with mean pooling, a dense "
    "layer of twice as many units as classes, and a readout; zero biases.",
    keys=(
        Key("depth", "int", 6, "static", "Convolutions of `width` channels L; one more follows.",
            low=1, high=1000, aliases=("num_layers", "n_layers", "layers", "L")),
        Key("width", "int", 128, "static", "Channels H of each convolution.", low=1,
            aliases=("hidden_size", "hidden_dim", "H")),
        Key("resize", "int", 32, "static",
            "Rows and columns that images are resized to, bilinearly; null: as they are.",
            unit="pixels", low=1, nullable=True),
        Key("pool", "int", 4, "static",
            "Side of the squares of pixels whose mean the dense layer is given.", unit="pixels",
            low=1),
        Key("activation", "str", "relu", "static", "Nonlinearity between layers.",
            choices=ACTIVATIONS, aliases=("act", "nonlinearity")),
        Key("init", "str", "glorot_normal", "init", "How weights are drawn, as for model ffn.",
            choices=("glorot_normal", "glorot_uniform", "he_normal", "he_uniform", "lecun_normal",
                     "lecun_uniform")),
    ),
    rows=lambda config, sizes: (2 * config["depth"] + 6, config["depth"] + 3),
    variants=comment_variants,
)  # fmt: skip
