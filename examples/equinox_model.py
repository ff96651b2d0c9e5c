"""Does a residual path let a deep Equinox net learn the digits? The module is that of one sample;
it is mapped over the batch, given a key for its dropout, and evaluated in inference mode."""

import equinox as eqx
import jax

from gradsweep import Key, Model, Space, Study


class Net(eqx.Module):
    """Layers of one width, with or without a residual path past each."""

    first: eqx.nn.Linear
    layers: list[eqx.nn.Linear]
    readout: eqx.nn.Linear
    dropout: eqx.nn.Dropout
    residual: bool

    def __init__(self, features, classes, config, key):
        keys = jax.random.split(key, config["depth"] + 1)
        width = config["units"]
        self.first = eqx.nn.Linear(features, width, key=keys[0])
        self.layers = [eqx.nn.Linear(width, width, key=k) for k in keys[1:-1]]
        self.readout = eqx.nn.Linear(width, classes, key=keys[-1])
        self.dropout = eqx.nn.Dropout(config["dropout"])
        self.residual = config["residual"]

    def __call__(self, x, *, key=None):  # one sample (seq_len, features) -> logits (classes,)
        h = jax.nn.sigmoid(self.first(x.reshape(-1)))
        for layer in self.layers:
            step = jax.nn.sigmoid(layer(h))
            h = h + step if self.residual else step
        return self.readout(self.dropout(h, key=key))


NET = Model(
    name="equinox_net",
    keys=(
        Key("depth", "int", 12, "static", "Layers below the readout.", low=1),
        Key("units", "int", 32, "static", "Units of each.", low=1),
        Key("dropout", "float", 0.1, "static", low=0, high=1),
        Key("residual", "bool", True, "static", "A path past each layer but the first."),
    ),
    build=lambda c, sizes, rngs: Net(sizes.seq_len * sizes.features, sizes.classes, c, rngs()),
)
GRID = {
    "model": "equinox_net",
    "task": "digits",
    "optimizer": "adam",
    "residual": {"grid_search": [True, False]},
    "depth": {"grid_search": [3, 12]},
    "lr": 0.003,
    "seed": {"grid_search": [0, 1]},
    "epochs": 10,
    "keep_weights": "last",
}
SPACE = Space(
    reproduces="an example",
    param_space=GRID,
    select={"choose": "residual", "metric": "val_loss", "mode": "min", "report": "test_accuracy"},
    smoke={"epochs": 2, "units": 8, "seed": 0},
    figures=("overview",),
)
STUDY = Study(name="equinox", title="A residual Equinox net", parts=(NET,), spaces={"depth": SPACE})
