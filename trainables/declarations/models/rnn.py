"""Declarations of the recurrent networks of study `herranz2023`: one model for each cell."""

from __future__ import annotations

import re
from dataclasses import replace

from trainables.declarations.comments import comment_variants
from trainables.declarations.core.keys import Key
from trainables.declarations.core.parts import Config, Model, Sizes
from trainables.declarations.models.named_init import RECURRENT_INITS
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
    *RECURRENT_INITS,
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


def _rows(config: Config, sizes: Sizes, tensors: int) -> tuple[int, int]:
    embedded, tied = sizes.tokens and not is_tied(config, sizes), is_tied(config, sizes)
    depth = int(config["depth"])
    return embedded + tensors * depth + (1 if tied else 2), embedded + depth + 1


def recurrent_model(
    name: str,
    cell: str,
    tensors: int,
    doc: str,
    *aliases: str,
    keys: tuple[Key, ...] = (),
    frozen: tuple[str, ...] = (),
) -> Model:
    """A stack of one cell, whose place is `cell` and which has `tensors` a layer; `keys` are those
    of the cell, `frozen` its tensors that are not trained."""
    return Model(
        name=name,
        version=1,
        every_step=True,
        build="trainables.models.rnn:recurrent_net",
        cell=cell,
        doc=f"{doc}; logits at every time step.",
        keys=(*KEYS, *keys),
        frozen=frozen,
        check=_check,
        rows=lambda config, sizes: _rows(config, sizes, tensors),
        aliases=aliases,
        probes=(TIMELINE, RADIUS),
        variants=comment_variants,
    )


_NEURON = (
    Key("neuron_tau_v", "float", 0.1, "init", "Mean of the first time constants of potentials.",
        unit="time steps", low=0, open_low=True),
    Key("neuron_tau_a", "float", None, "init",
        "Mean of the first time constants of adaptation; null: half a sequence.",
        unit="time steps", low=0, open_low=True, nullable=True),
    Key("neuron_threshold", "float", 0.01, "init", "Mean of the first thresholds at rest."),
    Key("neuron_beta", "float", 1.8, "init", "Mean of the first strengths of adaptation."),
    Key("neuron_spread", "float", 3 / 7, "init",
        "Standard deviation of these four over neurons, as a share of the mean; cut at two.",
        low=0),
    Key("surrogate", "str", "fast_sigmoid", "static",
        "What stands for the slope of a spike at a distance u from the threshold, x = "
        "surrogate_sharpness |u|: 1/(1 + 2x)^2, max(0, 1 - x), exp(-x^2), exp(-2x), 1/(1 + "
        "(pi x)^2); times surrogate_height.",
        choices=("fast_sigmoid", "triangle", "gaussian", "exponential", "arctan"), added=True),
    Key("surrogate_height", "float", 0.5, "static", "Slope of a spike at the threshold.", low=0,
        added=True),
    Key("surrogate_sharpness", "float", 1.0, "static", "How fast it falls away from there.", low=0,
        open_low=True, added=True),
)  # fmt: skip
_BELLEC = {
    "neuron_tau_v": 20.0, "neuron_spread": 0.0, "surrogate": "triangle", "surrogate_height": 0.3,
}  # fmt: skip
"""Of Bellec et al., arXiv 1803.09574, where they differ from the study's."""
_GATED, _ALIF = "trainables.layers.gated", "trainables.layers.alif"
RECURRENT = (
    recurrent_model("lstm", f"{_GATED}:lstm", 3, "Stacked LSTM, forget bias 1", "LSTM"),
    recurrent_model("gru", f"{_GATED}:gru", 4, "Stacked GRU, reset gate after the product", "GRU"),
    recurrent_model(
        "rsimplernn",
        f"{_GATED}:relu_rnn",
        3,
        "Stacked simple RNN with relu, or swish on tokens",
    ),
    recurrent_model("ssimplernn", f"{_GATED}:sigmoid_rnn", 3, "Stacked simple RNN with sigmoid"),
    recurrent_model(
        "malsnn",
        f"{_ALIF}:alif",
        6,
        "Stacked adaptive spiking neurons (ALIF), thresholds adapt upwards",
        "maLSNN",
        keys=_NEURON,
    ),
    recurrent_model(
        "malsnnb",
        f"{_ALIF}:signed_alif",
        6,
        "Stacked adaptive spiking neurons, adaptation of either sign",
        "maLSNNb",
        keys=_NEURON,
    ),
)
FURTHER = (
    recurrent_model(
        "indrnn",
        "trainables.layers.further_cells.independent:indrnn",
        3,
        "Stacked independently recurrent units, relu",
        "IndRNN",
    ),
    recurrent_model(
        "lmu",
        "trainables.layers.further_cells.lmu:lmu",
        6,
        "Stacked Legendre Memory Units",
        "LMU",
        keys=(
            Key("lmu_order", "int", 32, "static", "Legendre polynomials of the memory.", low=1,
                high=256),
            Key("lmu_window", "float", None, "static",
                "Time steps that the memory lasts; null: a sequence.", unit="time steps", low=1,
                nullable=True),
        ),
    ),
    recurrent_model(
        "lsnn",
        f"{_ALIF}:alif",
        6,
        "Stacked adaptive spiking neurons whose constants are not trained",
        "LSNN",
        keys=tuple(replace(k, default=_BELLEC.get(k.name, k.default)) for k in _NEURON),
        frozen=("*.tau_v", "*.tau_a", "*.threshold", "*.beta"),
    ),
)  # fmt: skip
"""Nets of the published program that feed none of its figures."""
