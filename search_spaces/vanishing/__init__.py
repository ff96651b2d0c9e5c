"""vanishing: vanilla against residual deep RNNs, and the diagnosis of their gradients.

The published experiments, the causes and mitigations their source names, and small spaces on which
two cores can see the same. Measured facts: docs/studies/vanishing.md.
"""

from search_spaces.study import Space, Study, grid
from search_spaces.vanishing.claims import CLAIMS, DRAWN

_SELECT = {"metric": "val_loss", "mode": "min", "report": "test_accuracy", "over": "seed"}
_TRAINING_FIGURES = (
    "training_loss",
    "grad_norms",
    "grad_per_layer",
    "grad_norms_last_10",
    "grad_heatmap",
)

QUICKSTART = Space(
    reproduces="the README's figure: vanishing, healthy and exploding side by side",
    param_space={
        "task": "digits",
        "layout": "rows",
        "depth": 20,
        "width": 64,
        "epochs": 6,
        "lr": 0.01,
        "net": {
            "zip": {
                "model": ["vanilla_rnn", "vanilla_rnn", "residual_rnn", "residual_rnn"],
                "activation": ["tanh", "tanh", "relu", "relu"],
                "init": ["default", "xavier", "xavier", "xavier"],
                # A `...` leaves the key out: the vanilla net has no skip to scale.
                "residual_scale": [..., ..., 1.0, "1/sqrt(L)"],
            }
        },
        "seed": grid(0, 1),
    },
    select=_SELECT,
    smoke={"epochs": 2, "seed": 0},
    figures=("overview", *_TRAINING_FIGURES, "timeline", "update_ratio"),
    extension=True,
)

README = Space(
    reproduces="the five plots of each of the three published experiments",
    doc="3,072 steps a sample: hours on a GPU. On two cores: --set task=cifar10_4k --set "
    "layout=rows.",
    param_space={
        "task": "cifar10",
        "layout": "pixels",
        "depth": 20,
        "width": 256,
        "batch_size": 64,
        "val_fraction": 0.2,
        "epochs": 50,
        "lr": 0.01,
        "experiment": {
            "zip": {
                "model": ["vanilla_rnn", "vanilla_rnn", "residual_rnn"],
                "activation": ["tanh", "tanh", "relu"],
                "init": ["default", "xavier", "xavier"],
            }
        },
        "seed": 0,
    },
    select=_SELECT,
    smoke={"task": "cifar10_4k", "layout": "rows", "depth": 4, "width": 32, "epochs": 2},
    figures=(*_TRAINING_FIGURES, "overview", "timeline", "update_ratio"),
)

DEPTH = Space(
    reproduces="gradient norms at initialisation against depth",
    param_space={
        "task": "gaussian",
        "seq_len": 64,
        "batch_size": 32,
        "width": 64,
        "epochs": 1,
        "depth": grid(5, 10, 20, 30, 40),
        "model": grid("vanilla_rnn", "residual_rnn"),
        "activation": grid("tanh", "relu"),
        "init": grid("default", "xavier", "he"),
        "skip": {
            "when": {"model": "residual_rnn"},
            "then": {"residual_scale": grid(1.0, "1/sqrt(L)")},
        },
        "seed": grid(0, 1, 2),
    },
    select={
        "metric": "grad_norm_smallest",
        "mode": "max",
        "report": "grad_norm_smallest",
        "over": "seed",
    },
    smoke={"depth": [2, 4], "width": 16, "seq_len": 16, "activation": "tanh", "seed": [0, 1]},
    figures=("depth", "overview", "grad_per_layer", "timeline"),
    extension=True,
)

INDUCE = Space(
    reproduces="the causes of vanishing gradients that the source names",
    param_space={
        "task": "gaussian",
        "batch_size": 32,
        "steps_per_epoch": 10,
        "model": "vanilla_rnn",
        "init": "default",
        "width": 64,
        "epochs": 5,
        "depth": grid(5, 10, 20),
        "seq_len": grid(16, 64, 256),
        "activation": grid("tanh", "relu"),
        "lr": grid(1e-1, 1e-2, 1e-3),
        "seed": grid(0, 1, 2),
    },
    select={
        "metric": "grad_norm_smallest",
        "mode": "max",
        "report": "grad_norm_smallest",
        "over": "seed",
    },
    smoke={"depth": [3, 6], "seq_len": 16, "width": 16, "seed": 0, "epochs": 2},
    figures=("depth", "overview", "grad_norms", "grad_heatmap", "timeline"),
    extension=True,
)

MITIGATION = Space(
    reproduces="what brings a 20-layer network off its plateau",
    param_space={
        "task": "digits",
        "layout": "pixels",
        "depth": 20,
        "width": 64,
        "epochs": 5,
        "lr": 0.01,
        "cure": {
            "zip": {
                "model": ["vanilla_rnn"] * 5 + ["residual_rnn"] * 3,
                "activation": ["tanh"] * 5 + ["tanh", "relu", "relu"],
                "init": ["default"] * 3 + ["xavier", "he", "default", "xavier", "xavier"],
                "clip_norm": [..., 0.5, ..., ..., ..., ..., 0.5, ...],
                "min_norm": [..., ..., 1.0, ..., ..., ..., ..., ...],
                "residual_scale": [..., ..., ..., ..., ..., 1.0, 1.0, "1/sqrt(L)"],
            }
        },
        "seed": grid(0, 1, 2),
    },
    select=_SELECT,
    smoke={"layout": "rows", "depth": 6, "width": 16, "epochs": 2, "seed": 0},
    figures=("overview", *_TRAINING_FIGURES, "timeline"),
    extension=True,
)

WARMUP = Space(
    reproduces="whether a minimum-norm warm-up survives plain training",
    doc="Two stages: one warm-up per seed and depth serves every learning rate.",
    param_space={
        "task": "digits",
        "layout": "rows",
        "model": "vanilla_rnn",
        "activation": "tanh",
        "init": "default",
        "depth": grid(10, 20),
        "width": 64,
        "epochs": 5,
        "pretrain": grid("none", "warmup"),
        "warm": {
            "when": {"pretrain": "warmup"},
            "then": {"warmup_epochs": 2, "warmup_min_norm": 1.0, "warmup_gate": 100.0},
        },
        "lr": grid(1e-1, 1e-2, 1e-3),
        "seed": grid(0, 1, 2),
    },
    select={**_SELECT, "choose": "lr"},
    smoke={"depth": 3, "width": 16, "epochs": 2, "seed": [0, 1], "lr": [0.1, 0.01]},
    figures=("overview", "training_loss", "grad_norms", "grad_heatmap"),
    extension=True,
)

CONVOLUTIONS = Space(
    reproduces="twenty sigmoid convolutional layers against residual blocks with He weights and "
    "BatchNorm",
    doc="Activations, gradients and update ratios by layer and epoch. The source's images: --set "
    "task=cifar10.",
    param_space={
        "task": "digits",
        "layout": "rows",
        "depth": 20,
        "width": 8,
        "epochs": 5,
        "lr": 0.1,
        "net": {
            "zip": {
                "model": ["plain_convnet", "plain_convnet", "residual_convnet"],
                "activation": ["sigmoid", "relu", "relu"],
                "init": ["xavier", "he", "he"],
            }
        },
        "seed": grid(0, 1, 2),
        "activations_every": 1,
    },
    select=_SELECT,
    smoke={"depth": 4, "width": 4, "epochs": 2, "seed": 0},
    figures=("activation_profile", "activations", "update_ratio", "overview", *_TRAINING_FIGURES),
    extension=True,
)

RAW_PIXELS = Space(
    reproduces="networks that explode on raw pixels and train on standardised ones",
    param_space={
        "task": "digits",
        "layout": "rows",
        "depth": 20,
        "epochs": 3,
        "lr": 0.01,
        "net": {
            "zip": {
                "model": ["vanilla_rnn", "residual_rnn", "plain_convnet"],
                "activation": ["relu", "relu", "relu"],
                "init": ["he", "xavier", "he"],
                "width": [64, 64, 8],
                "residual_scale": [..., "1/sqrt(L)", ...],
            }
        },
        "standardise": grid("channel", "unit", "none"),
        "seed": grid(0, 1, 2),
        "activations_every": 0,
    },
    select=_SELECT,
    smoke={"depth": 4, "epochs": 2, "seed": 0},
    figures=("overview", *_TRAINING_FIGURES, "activation_profile", "update_ratio"),
    extension=True,
)

GATED = Space(
    reproduces="vanilla, residual, LSTM and GRU stacks of 20 layers that answer at the last step",
    param_space={
        "task": "digits",
        "layout": "rows",
        "depth": 20,
        "width": 64,
        "epochs": 5,
        "lr": 0.1,
        "clip_norm": 1.0,
        "net": {
            "zip": {
                "model": ["vanilla_rnn", "residual_rnn", "lstm_stack", "gru_stack"],
                "activation": ["tanh", "tanh", ..., ...],
                "residual_scale": [..., "1/sqrt(L)", ..., ...],
            }
        },
        "init": grid("default", "xavier"),
        "seed": grid(0, 1, 2),
        "activations_every": 0,
    },
    select=_SELECT,
    smoke={"depth": 3, "width": 8, "epochs": 2, "seed": 0},
    figures=("overview", *_TRAINING_FIGURES, "timeline", "activation_profile", "update_ratio"),
    extension=True,
)

STUDY = Study(
    name="vanishing",
    title="Vanishing gradients in vanilla and residual deep RNNs",
    doc="Per-layer gradient norms of 20-layer recurrent nets, and their diagnosis.",
    spaces={
        "quickstart": QUICKSTART,
        "readme": README,
        "depth": DEPTH,
        "induce": INDUCE,
        "mitigation": MITIGATION,
        "warmup": WARMUP,
        "convolutions": CONVOLUTIONS,
        "raw_pixels": RAW_PIXELS,
        "gated": GATED,
    },
    claims=CLAIMS,
    drawn=DRAWN,
)
