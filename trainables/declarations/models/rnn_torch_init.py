"""Declarations of the recurrent models of docs/specs/ribeiro2020.md, 1: one for each cell."""

from __future__ import annotations

from trainables.declarations.core.keys import Key
from trainables.declarations.core.parts import Config, Model, Sizes
from trainables.declarations.models.rnn import carries_state, is_tied
from trainables.declarations.probes.orbits import ATTRACTORS, CONTRACTION, ORBITS
from trainables.declarations.probes.smoothness import SMOOTHNESS
from trainables.declarations.probes.timeline import TIMELINE

REBASE_STEPS = 100
"""Optimizer steps between two re-basings of a dynamic orthogonal layer."""
REBASES_PER_PROJECTION = 100


_KEYS = (
    Key("depth", "int", 1, "static", "Recurrent layers L.", low=1, high=10_000,
        aliases=("num_layers", "n_layers", "layers", "L")),
    Key("width", "int", 200, "static", "Units H of each recurrent layer.", low=1,
        aliases=("hidden_size", "hidden_dim", "H")),
    Key("dropout", "float", 0.0, "traced", "Share of each layer's input, and of the last one's "
        "output, set to 0 in training.", low=0, high=1, open_high=True),
    Key("readout", "str", "dense", "static",
        "Outputs at every step. tied: by the transposed embedding, where inputs are tokens, and "
        "dense elsewhere; dense: by a matrix of its own; a bias in both.",
        choices=("dense", "tied")),
    Key("embedding", "int", None, "static",
        "Numbers that stand for a token, where inputs are tokens; null: as many as units.", low=1,
        nullable=True, aliases=("embed_size",)),
    Key("first_std", "float", 0.0, "static",
        "Sequences start from states N(0, first_std^2), drawn anew in every training step and "
        "fixed in evaluation; 0: from 0.", low=0, added=True),
)  # fmt: skip


def _check(config: Config) -> list[str]:
    found, width = [], config["embedding"]
    if config["readout"] == "tied" and width not in (None, config["width"]):
        found.append(f"readout=tied needs embedding={config['width']}, as wide as the layer")
    if config["first_std"] and carries_state(config):
        found.append(
            "first_std is of tasks that start every sequence anew, and this one carries states on; "
            "set state_reset=segment"
        )
    return found


def _rows(config: Config, sizes: Sizes) -> tuple[int, int]:
    embedded = sizes.tokens and not is_tied(config, sizes)
    depth, tensors = int(config["depth"]), 3 if config["model"] == "ornn" else 4
    return embedded + tensors * depth + 2, embedded + depth + 1


_PROBES = (TIMELINE, ORBITS, ATTRACTORS, CONTRACTION, SMOOTHNESS)


def _model(
    name: str, cell: str, doc: str, variant: str, *keys: Key, aliases: tuple[str, ...] = ()
) -> Model:
    def variants(config: Config) -> dict[str, str]:
        stable = config.get("stabilize", "none") != "none"
        return {"variant": f"s{variant}" if stable else variant}

    return Model(
        name=name,
        version=1,
        every_step=True,
        build="trainables.models.rnn_torch_init:torch_net",
        cell=cell,
        doc=doc,
        keys=(*_KEYS, *keys),
        check=_check,
        rows=_rows,
        aliases=aliases,
        probes=_PROBES,
        variants=variants,
    )


TORCH_LSTM = _model(
    "torch_lstm",
    "trainables.layers.gated:torch_lstm",
    "LSTM as torch initialises it, two bias vectors; or the stable one.",
    "LSTM",
    Key("stabilize", "str", "none", "static",
        "After each step the lowest layer is rescaled. column_exact: columns to fixed sums, as "
        "published; row_project: rows down to these and the forget gate's bias to 0, so that the "
        "step is certainly a contraction.", choices=("none", "column_exact", "row_project")),
)  # fmt: skip
TORCH_GRU = _model(
    "torch_gru", "trainables.layers.gated:torch_gru", "GRU as torch initialises it.", "GRU"
)
TORCH_RNN = _model(
    "torch_rnn",
    "trainables.layers.gated:torch_rnn",
    "Elman network with tanh, as torch initialises it.",
    "RNN",
)
ORNN = _model(
    "ornn",
    "trainables.layers.orthogonal:ornn",
    "Orthogonal recurrence with modReLU.",
    "oRNN",
    Key("orthogonal_map", "str", "static", "static",
        "The state matrix is. static: expm of a skew matrix; dynamic: the same from a base that "
        "moves along every 100 steps; cayley: the Cayley transform of it.",
        choices=("static", "dynamic", "cayley")),
    Key("angles", "str", "henaff", "init",
        "First skew matrix. henaff: blocks turning by U(-pi, pi); cayley: by U(0, pi/2) under the "
        "Cayley transform; haar: logarithm of a Haar matrix; haar_diag: its angles in blocks; "
        "normal, normal_squeeze: N(0, 1) modulo pi, pi/8.",
        choices=("henaff", "cayley", "haar", "haar_diag", "normal", "normal_squeeze")),
    aliases=("exprnn", "EXPRNN"),
)  # fmt: skip

TORCH_MODELS = (TORCH_LSTM, TORCH_GRU, TORCH_RNN, ORNN)
