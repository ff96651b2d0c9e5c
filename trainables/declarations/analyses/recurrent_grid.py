"""Declarations of analyses of study `herranz2023` (section 6): stages of one epoch that train
nothing and fill probes."""

from __future__ import annotations

from trainables.declarations.core.keys import Key
from trainables.declarations.core.parts import Column, Config, Probe, Stage
from trainables.declarations.models.rnn import RECURRENT
from trainables.declarations.training.epoch import TRAIN

_LAYERS = Key("grid_layers", "int", 10, "static", "Layers L of the grid.", low=1)
_STEPS = Key("grid_steps", "int", 100, "static", "Time steps T of the grid.", unit="time steps",
             low=1)  # fmt: skip

PASCAL = Stage(
    name="pascal",
    version=1,
    build="trainables.analyses.recurrent_grid:Pascal",
    doc="Gradients over time of a recurrent grid whose paths all weigh rho^steps: Pascal's "
    "triangle where rho is 1.",
    reads=(),
    epochs_key=None,
    task_loss=False,
    probes=("pascal",),
    keys=(
        Key("rho", "float", 0.5, "traced", "Weight of each step through time and over depth.",
            low=0),
        Key("grid_rule", "str", "linear", "static",
            "linear: h = rho (x + h_before), one unit; he: h = relu(rho (W x + U h_before)) with "
            "He-uniform W and U.", choices=("linear", "he")),
        _LAYERS,
        _STEPS,
        Key("grid_units", "int", 10, "static", "Units of a layer under the rule he.", low=1),
        Key("grid_batch", "int", 6, "static", "Input sequences, drawn from N(0, 2^2).",
            unit="samples", low=1),
    ),
)  # fmt: skip


def _weight(name: str, what: str, share: str) -> Key:
    def balanced(config: Config) -> float:
        length, depth = config["grid_steps"], config["grid_layers"]
        return (length if share == "T" else depth) / (length + depth)

    return Key(name, "float", 0.5, "traced", f"Weight of a step {what}.", low=0,
               named={f"{share}/(L+T)": balanced})  # fmt: skip


BINOMIAL = Stage(
    name="binomial",
    version=1,
    build="trainables.analyses.recurrent_grid:Binomial",
    doc="How many paths a gradient takes through a recurrent grid, and what they add up to.",
    reads=(),
    epochs_key=None,
    task_loss=False,
    probes=("binomial", "paths"),
    keys=(
        _weight("rho_t", "through time", "T"),
        _weight("rho_l", "over depth", "L"),
        _LAYERS,
        _STEPS,
    ),
)


def _covariance_check(config: Config) -> list[str]:
    layout, task = config.get("layout"), config.get("task")
    if layout is None:
        return [f"stage covariance reads images; task {task} has none"]
    if layout == "rows" and str(task).startswith("cifar"):
        return ["stage covariance needs layout pixels, flat or grey of coloured images, not rows"]
    if config["cov_batch"] > config["batch_size"]:
        return [f"cov_batch must be at most batch_size, which is {config['batch_size']}"]
    return []


COVARIANCE = Stage(
    name="covariance",
    version=1,
    build="trainables.analyses.radius_covariance:Covariance",
    doc="How far the radii of one-step Jacobians along a path are from independent.",
    reads=("task",),
    epochs_key=None,
    task_loss=False,
    check=_covariance_check,
    probes=("covariance",),
    keys=(
        Key("cov_net", "str", "lstm", "static",
            "The recurrent layer at initialisation; lstm and gru with relu for tanh, as published.",
            choices=("lstm", "gru", "alif")),
        Key("cov_units", "int", 16, "static", "Units of the layer, and numbers of its input.",
            low=1),
        Key("cov_side", "int", 10, "static",
            "Images are resized to so many pixels a side, one pixel a time step.", low=2),
        Key("cov_batch", "int", 32, "static", "Images.", unit="samples", low=2),
        Key("cov_order", "int", 4, "static", "Interactions of orders 2 to this.", low=2, high=8),
    ),
)  # fmt: skip


def _decay_check(config: Config) -> list[str]:
    known = [model.name for model in RECURRENT]
    if config.get("model") not in known:
        return [f"stage decay reads a recurrent net; choose model from {', '.join(known)}"]
    if config["decay_batch"] > config.get("batch_size", config["decay_batch"]):
        return [f"decay_batch must be at most batch_size, which is {config['batch_size']}"]
    return []


DECAY = Stage(
    name="decay",
    version=1,
    build="trainables.analyses.radius_covariance:Decay",
    doc="How fast the radius of a layer's recurrent Jacobian forgets its first value.",
    reads=("model", "task"),
    parent=TRAIN.parent,
    epochs_key=None,
    task_loss=False,
    check=_decay_check,
    probes=("decay",),
    keys=(
        next(key for key in TRAIN.keys if key.name == "pretrain"),
        Key("decay_batch", "int", 32, "static", "Sequences that covariances are taken over.",
            unit="samples", low=3),
        Key("decay_burn_in", "int", 1, "static", "Time steps left out at first; 10 for sl_mnist.",
            unit="time steps", low=0),
        Key("decay_steps", "int", None, "static", "Time steps measured after these; null: all.",
            unit="time steps", low=2, nullable=True),
    ),
)  # fmt: skip

ANALYSES = (PASCAL, BINOMIAL, COVARIANCE, DECAY)

_T = Column("t", "int32", "Time step, 0 first.", "time steps")

ANALYSIS_PROBES = (
    Probe(
        name="pascal",
        doc="Output and gradient of a recurrent grid of L layers and T steps, by sample and step.",
        columns=(
            Column("sample", "int32", "Input sequence."),
            _T,
            Column("output", "float64", "First unit of the top layer, y_t."),
            Column("gradient", "float64", "|d sum_s y_s / d x_t|, 2-norm over units, by automatic "
                   "differentiation."),
            Column("closed_form", "float64", "rho^L sum over d < T - t of C(d+L-1, L-1) rho^d, "
                   "which the gradient is under the rule linear; else NaN."),
            Column("binomial", "float64", "C(L+T-t-1, L), which both are where rho is 1."),
        ),
    ),
    Probe(
        name="binomial",
        doc="C(steps+layers, steps), the number of paths, along three curves.",
        columns=(
            Column("curve", "string", "time: steps from 1 to 10,000 at 5 layers; depth: layers "
                   "from 1 to 100 at 5 steps; both: 100 steps a layer."),
            Column("steps", "int32", "Steps through time.", "time steps"),
            Column("layers", "int32", "Steps over depth.", "layers"),
            Column("paths", "float64", "C(steps+layers, steps).", "paths"),
            Column("log10_paths", "float64", "Its logarithm."),
            Column("log10_bound", "float64", "log10 of paths rho_t^steps rho_l^layers."),
        ),
    ),
    Probe(
        name="paths",
        doc="What the paths from a corner of the grid to a state add up to.",
        columns=(
            Column("steps", "int32", "Steps through time.", "time steps"),
            Column("layers", "int32", "Steps over depth.", "layers"),
            Column("paths", "float64", "C(steps+layers, steps), steps through time and over depth "
                   "one by one.", "paths"),
            Column("diagonal_paths", "float64", "C(steps, layers), each step over depth taken with "
                   "one through time.", "paths"),
            Column("counted", "float64", "paths, counted by adding up neighbours (float32).",
                   "paths"),
            Column("weighted", "float64", "Sum over paths of rho_t^steps rho_l^layers, likewise."),
        ),
    ),
    Probe(
        name="covariance",
        doc="Interactions between the radii of d y_{t+1} / d x_t at different times.",
        columns=(
            Column("order", "int32", "Times that are multiplied, k."),
            Column("interaction", "float64", "|sum over t_1 < .. < t_k of the mean over samples of "
                   "the product of radii, each centred over samples|."),
        ),
    ),
    Probe(
        name="decay",
        doc="Radius of d s_{t+1} / d s_t at t against that at the first step kept, over samples.",
        columns=(
            Column("layer", "int32", "Recurrent layer, 0 nearest the input."),
            _T,
            Column("covariance", "float64", "Sample covariance of the two."),
            Column("correlation", "float64", "Pearson's r; NaN where a radius is constant."),
            Column("p_value", "float64", "Two-sided, of r = 0 for independent normal samples."),
        ),
    ),
)  # fmt: skip
