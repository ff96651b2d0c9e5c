"""Declarations of LSTM and GRU stacks that answer at the last time step."""

from __future__ import annotations

from trainables.declarations.core.keys import Key
from trainables.declarations.core.parts import Config, Model, Sizes
from trainables.declarations.probes.timeline import TIMELINE

_KEYS = (
    Key("depth", "int", 20, "static", "Recurrent layers L.", low=1, high=10_000,
        aliases=("num_layers", "n_layers", "layers", "L")),
    Key("width", "int", 256, "static", "Units H of each recurrent layer.", low=1,
        aliases=("hidden_size", "hidden_dim", "H")),
    Key("init", "str", "xavier", "static",
        "default: U(+-1/sqrt H) everywhere and torch's two biases; xavier: Glorot-uniform input, "
        "orthogonal recurrent, forget bias 1, other biases 0.", choices=("default", "xavier")),
    Key("dropout", "float", 0.0, "traced",
        "Share of what a layer hands to the next one that is set to 0 in training.", low=0, high=1,
        open_high=True),
)  # fmt: skip


def _model(name: str, doc: str, alias: str, one_bias: bool) -> Model:
    def rows(config: Config, sizes: Sizes) -> tuple[int, int]:
        tensors = 3 if one_bias and config["init"] == "xavier" else 4
        return tensors * config["depth"] + 2, config["depth"] + 1

    return Model(
        name=name,
        version=1,
        build=f"trainables.models.gated_stack:{name}",
        doc=doc,
        keys=_KEYS,
        rows=rows,
        aliases=(alias,),
        probes=(TIMELINE,),
    )


LSTM_STACK = _model(
    "lstm_stack",
    "Stacked LSTM; logits from the top layer at the last time step.",
    "LSTMStack",
    True,
)
GRU_STACK = _model(
    "gru_stack", "Stacked GRU; logits from the top layer at the last time step.", "GRUStack", False
)
