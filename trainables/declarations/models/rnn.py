"""Declarations of the recurrent networks of study `herranz2023`: one model for each cell."""

from __future__ import annotations

import re

from trainables.declarations.comments import comment_labels
from trainables.declarations.core.keys import Key
from trainables.declarations.core.parts import Config, Model, Sizes, Tensor
from trainables.declarations.models.rnn_sizes import PRESETS, preset_widths
from trainables.declarations.probes.radius import RADIUS
from trainables.declarations.probes.timeline import TIMELINE

_UNITS = re.compile(r"[1-9][0-9]*(:[1-9][0-9]*)*")

KEYS = (
    Key("depth", "int", 2, "static", "Recurrent layers L.", low=1, high=10_000,
        aliases=("num_layers", "n_layers", "layers", "L", "stack")),
    Key("widths", "str", "paper", "static",
        "Units of each layer. paper: such that all cells have about as many parameters; readme: "
        "the same for all cells; else numbers, the lowest layer first, such as 500:300, or one for "
        "all layers."),
    Key("dropout", "float", 0.1, "traced", "Share of each layer's input set to 0 in training.",
        low=0, high=1, open_high=True),
    Key("readout", "str", "dense", "static",
        "Logits at every step. tied: by the transposed embedding, where inputs are tokens, and "
        "dense elsewhere; dense: by a layer of its own.", choices=("dense", "tied")),
    Key("embedding", "int", None, "static",
        "Numbers that stand for a token, where inputs are tokens; null: as many as the last layer "
        "has units.", low=1, nullable=True),
)  # fmt: skip


def layer_widths(config: Config) -> tuple[int, ...]:
    """Units of each layer.

    Raises:
      ValueError: neither a preset of this task and depth nor as many numbers as layers.
    """
    depth, text = int(config["depth"]), str(config["widths"])
    if text in PRESETS:
        found = preset_widths(text, str(config["task"]), str(config["model"]), depth)
        if found is None:
            raise ValueError(
                f"widths={text} says nothing of model {config['model']} with depth {depth} on task "
                f"{config['task']}; give the units of each layer, such as widths=64:64"
            )
        return found
    if not _UNITS.fullmatch(text):
        raise ValueError(
            f"widths must be {', '.join(PRESETS)} or numbers such as 500:300; got {text!r}"
        )
    units = tuple(map(int, text.split(":")))
    units = units * depth if len(units) == 1 else units
    if len(units) != depth:
        raise ValueError(f"widths={text} has {len(units)} numbers, but depth is {depth}")
    return units


def embedding_width(config: Config, sizes: Sizes) -> int | None:
    """Numbers that stand for a token; None where inputs are numbers already."""
    if not sizes.tokens:
        return None
    return int(config["embedding"] or layer_widths(config)[-1])


def is_tied(config: Config, sizes: Sizes) -> bool:
    """Whether the readout is the transposed embedding."""
    return sizes.tokens and config["readout"] == "tied"


def carries_state(config: Config) -> bool:
    """Whether hidden states run on from one batch to the next, which the task decides."""
    return config.get("state_reset", "segment") != "segment"


def _check(config: Config) -> list[str]:
    try:
        last = layer_widths(config)[-1]
    except ValueError as error:
        return [str(error)]
    width = config["embedding"]
    if config["readout"] == "tied" and width not in (None, last):
        return [f"readout=tied needs embedding={last}, as wide as the last layer; got {width}"]
    return []


_SHAPES = {  # tensor -> (blocks of units, other axis), in order
    "lstm": {"w_ih": (4, "in"), "w_hh": (4, "own"), "b": (4, None)},
    "gru": {"w_ih": (3, "in"), "w_hh": (3, "own"), "b_ih": (3, None), "b_hh": (3, None)},
    "simple": {"w_ih": (1, "in"), "w_hh": (1, "own"), "b": (1, None)},
    "spiking": {
        "w_ih": (1, "in"),
        "w_hh": (1, "own"),
        **dict.fromkeys(("tau_v", "tau_a", "threshold", "beta"), (1, None)),
    },
}


def _tensors(config: Config, sizes: Sizes, cell: str) -> tuple[Tensor, ...]:
    units, found = layer_widths(config), []
    width, tied = embedding_width(config, sizes), is_tied(config, sizes)
    if width is not None and not tied:
        found.append(Tensor(-1, "embedding", "w", (sizes.features, width)))
    below = sizes.features if width is None else width
    for layer, own in enumerate(units):
        axes = {"in": (below,), "own": (own,), None: ()}
        for name, (blocks, other) in _SHAPES[cell].items():
            shape = (blocks * own, *axes[other])
            found.append(Tensor(layer, f"rnn.{layer}", name, shape))
        below = own
    last = len(units)
    found.append(Tensor(last, "readout", "w", (sizes.classes, below)))
    if not tied:
        found.append(Tensor(last, "readout", "b", (sizes.classes,)))
    return tuple(found)


def recurrent_model(name: str, cell: str, tensors: str, doc: str, *aliases: str) -> Model:
    """A stack of one cell, whose place is `cell`."""
    return Model(
        name=name,
        version=1,
        build="trainables.models.rnn:recurrent_net",
        cell=cell,
        doc=f"{doc}; logits at every time step.",
        keys=KEYS,
        check=_check,
        tensors=lambda config, sizes: _tensors(config, sizes, tensors),
        aliases=aliases,
        probes=(TIMELINE, RADIUS),
        labels=comment_labels,
    )


_GATED, _ALIF = "trainables.layers.gated", "trainables.layers.alif"
RECURRENT = (
    recurrent_model("lstm", f"{_GATED}:lstm", "lstm", "Stacked LSTM, forget bias 1", "LSTM"),
    recurrent_model(
        "gru", f"{_GATED}:gru", "gru", "Stacked GRU, reset gate after the product", "GRU"
    ),
    recurrent_model(
        "rsimplernn",
        f"{_GATED}:relu_rnn",
        "simple",
        "Stacked simple RNN with relu, or swish on tokens",
    ),
    recurrent_model(
        "ssimplernn", f"{_GATED}:sigmoid_rnn", "simple", "Stacked simple RNN with sigmoid"
    ),
    recurrent_model(
        "malsnn",
        f"{_ALIF}:alif",
        "spiking",
        "Stacked adaptive spiking neurons (ALIF), thresholds adapt upwards",
        "maLSNN",
    ),
    recurrent_model(
        "malsnnb",
        f"{_ALIF}:signed_alif",
        "spiking",
        "Stacked adaptive spiking neurons, adaptation of either sign",
        "maLSNNb",
    ),
)
