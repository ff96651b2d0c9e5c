"""Declarations of the recurrent models of study `ribeiro2020`, section 1: one for each cell."""

from __future__ import annotations

import re

from trainables.declarations.core.keys import Key
from trainables.declarations.core.parts import Config, Model, Sizes, Tensor
from trainables.declarations.models.rnn import is_tied

REBASE_STEPS = 100
"""Optimizer steps between two re-basings of a dynamic orthogonal layer."""
REBASES_PER_PROJECTION = 100

_STDS = re.compile(r"[0-9]*\.?[0-9]+(e[+-]?[0-9]+)?(:[0-9]*\.?[0-9]+(e[+-]?[0-9]+)?)*")


def _cadence(name: str, what: str, *aliases: str) -> Key:
    return Key(
        f"{name}_every", "int", None, "observation",
        f"Record {what} every k-th epoch; 0: at the first and last epoch only; null: never.",
        unit="epochs", low=0, nullable=True, aliases=aliases,
    )  # fmt: skip


_ORBITS = (
    _cadence("orbits", "the output under constant inputs", "interval_orbit"),
    _cadence("attractors", "what these orbits end in"),
    _cadence("contraction", "how fast the step contracts, and bounds of it"),
    _cadence("smoothness", "slopes and curvatures of the loss by sequence length, in float64"),
    Key("orbit_inputs", "int", 10, "observation",
        "Constant inputs: so many frequencies of the task sine; of tokens so many, drawn from the "
        "seed; all symbols of temporal_order.", low=1),
    Key("orbit_starts", "int", 4, "observation",
        "Random first states for each input, the same at every snapshot.", low=1,
        aliases=("n_sequences_orbit",)),
    Key("orbit_std", "str", "100", "observation",
        "Standard deviation of all numbers of these states; several as 0.1:1:100, each with "
        "orbit_starts states.", aliases=("std_orbit",)),
    Key("orbit_steps", "int", 1600, "observation", "Steps of an orbit.", unit="time steps", low=1,
        aliases=("seq_len_orbit",)),
    Key("orbit_burn_in", "int", 1200, "observation", "Of these, so many first are left out.",
        unit="time steps", low=0, aliases=("burnout_orbit",)),
    Key("attractor_steps", "int", 20_000, "observation",
        "An orbit is followed, twice as long each time, until what it ends in has settled, for at "
        "most about so many steps.", unit="time steps", low=1024),
)  # fmt: skip

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
)  # fmt: skip


def stds(config: Config) -> tuple[float, ...]:
    """Standard deviations of first states that `orbit_std` names."""
    return tuple(float(text) for text in str(config["orbit_std"]).split(":"))


def _check(config: Config) -> list[str]:
    found, width = [], config["embedding"]
    if config["readout"] == "tied" and width not in (None, config["width"]):
        found.append(f"readout=tied needs embedding={config['width']}, as wide as the layer")
    if not _STDS.fullmatch(str(config["orbit_std"])):
        found.append(
            f"orbit_std must be numbers such as 100 or 0.1:1:100; got {config['orbit_std']!r}"
        )
    if config["orbit_burn_in"] >= config["orbit_steps"]:
        found.append("orbit_burn_in must be less than orbit_steps: else no step is recorded")
    return found


_GATES = {"torch_lstm": 4, "torch_gru": 3, "torch_rnn": 1}


def _tensors(config: Config, sizes: Sizes) -> tuple[Tensor, ...]:
    h, found = int(config["width"]), []
    below, tied = sizes.features, is_tied(config, sizes)
    if sizes.tokens:
        below = int(config["embedding"] or h)
        if not tied:
            found.append(Tensor(-1, "embedding", "w", (sizes.features, below)))
    for layer in range(int(config["depth"])):
        if config["model"] == "ornn":
            shapes = {"a": (h, h), "w_in": (h, below), "b": (h,)}
        else:
            rows = _GATES[config["model"]] * h
            shapes = {"w_ih": (rows, below), "w_hh": (rows, h), "b_ih": (rows,), "b_hh": (rows,)}
        found += [Tensor(layer, f"rnn.{layer}", name, shape) for name, shape in shapes.items()]
        below = h
    last = int(config["depth"])
    found.append(Tensor(last, "readout", "w", (sizes.classes, h)))
    found.append(Tensor(last, "readout", "b", (sizes.classes,)))
    return tuple(found)


_PROBES = ("timeline", "orbits", "attractors", "contraction", "smoothness")


def _model(name: str, doc: str, variant: str, *keys: Key, aliases: tuple[str, ...] = ()) -> Model:
    def labels(config: Config) -> dict[str, str]:
        stable = config.get("stabilize", "none") != "none"
        return {"variant": f"s{variant}" if stable else variant}

    return Model(
        name=name,
        version=1,
        doc=doc,
        keys=(*_KEYS, *keys, *_ORBITS),
        check=_check,
        tensors=_tensors,
        aliases=aliases,
        probes=_PROBES,
        labels=labels,
    )


TORCH_LSTM = _model(
    "torch_lstm",
    "LSTM as torch initialises it, two bias vectors; or the stable one.",
    "LSTM",
    Key("stabilize", "str", "none", "static",
        "After each step the lowest layer is rescaled. column_exact: columns to fixed sums, as "
        "published; row_project: rows down to these and the forget gate's bias to 0, so that the "
        "step is certainly a contraction.", choices=("none", "column_exact", "row_project")),
)  # fmt: skip
TORCH_GRU = _model("torch_gru", "GRU as torch initialises it.", "GRU")
TORCH_RNN = _model("torch_rnn", "Elman network with tanh, as torch initialises it.", "RNN")
ORNN = _model(
    "ornn",
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
