"""herranz2023: pretraining to the Local Stability Condition, then training.

The published grids of "Stabilizing RNN Gradients through Pre-training" (arXiv 2308.12075), and
small spaces on which two cores can see the same. What differs from the published programs, and what
was measured: docs/studies/herranz2023.md.
"""

from search_spaces.herranz2023.analyses import COVARIANCE, DECAY, FIGURE1
from search_spaces.herranz2023.claims import CLAIMS, DRAWN
from search_spaces.herranz2023.recurrent import FIGURE3, FIGURE3_AUTHORS, FIGURE4, SPIKES, TABLE1
from search_spaces.study import Space, Study, grid

SEEDS = grid(0, 1, 2, 3)
IMAGES = ["mnist", "cifar10", "cifar10_4k", "cifar100", "cifar100_2k"]

# ---- feed-forward networks: figure 2 -----------------------------------------------------------

_STARTS = {
    "zip": {
        "pretrain": ["lsc", "none", "none"],
        "init": ["glorot_normal", "glorot_normal", "he_normal"],
    }
}
_FEED_FORWARD = {
    "model": "ffn",
    "depth": 30,
    "width": 128,
    "layout": "flat",
    "optimizer": "adabelief",
    "weight_decay": 1e-4,
    "epochs": 50,
}
# Iterations as published: 100 passes of the training set in batches of 512. A pass ends early once
# the radii are at their target.
_FEED_FORWARD_DEFAULTS = (
    {"when": {"task": IMAGES}, "then": {"val_fraction": 0.1, "standardise": "scalar"}},
    {"when": {"pretrain": "lsc", "task": "mnist"}, "then": {"lsc_steps": 105}},
    {"when": {"pretrain": "lsc", "task": IMAGES}, "then": {"lsc_steps": 87}},
)
_SELECT = {
    "choose": "lr", "metric": "val_loss", "mode": "min", "at": "best", "report": "test_accuracy",
    "over": "seed",
}  # fmt: skip
_FIGURES = (
    "figure2",
    "before_after",
    "lsc_radius",
    "lsc_variance",
    "weight_histograms",
    "grad_norms",
    "overview",
)
_SMALL_FEED_FORWARD = {
    "task": "digits", "depth": 6, "width": 24, "batch_size": 64, "epochs": 2, "lsc_epochs": 3,
    "lsc_steps": 100, "lr": [1e-3], "seed": [0, 1], "activation": ["relu", "sin"],
    "gate_radius": 0.5, "gate_std": 1.0,
}  # fmt: skip

FIGURE2 = Space(
    reproduces="figure 2: test accuracy against learning rate, three activations and data sets",
    doc="36 distinct pretrainings serve 756 trainings.",
    param_space={
        **_FEED_FORWARD,
        "batch_size": 512,
        "early_stopping": 10,
        "activation": grid("sin", "relu", "cos"),
        "task": grid("mnist", "cifar10", "cifar100"),
        "start": _STARTS,
        "lr": grid(1e-2, 3.16e-3, 1e-3, 3.16e-4, 1e-4, 3.16e-5, 1e-5),
        "seed": SEEDS,
    },
    defaults=({"when": {"pretrain": "lsc"}, "then": {"lsc_epochs": 100}}, *_FEED_FORWARD_DEFAULTS),
    select=_SELECT,
    smoke=_SMALL_FEED_FORWARD,
    figures=_FIGURES,
)

DIGITS = Space(
    reproduces="figure 2 on scikit-learn's digits: minutes on two cores",
    param_space={
        **_FEED_FORWARD,
        "task": "digits",
        "batch_size": 64,
        "activation": grid("sin", "relu", "cos"),
        "start": _STARTS,
        "lr": grid(1e-3, 1e-4, 1e-5),
        "seed": grid(0, 1),
    },
    defaults=(
        {"when": {"pretrain": "lsc"}, "then": {"lsc_epochs": 20, "lsc_steps": 100}},
        *_FEED_FORWARD_DEFAULTS,
    ),
    select=_SELECT,
    smoke=_SMALL_FEED_FORWARD,
    figures=_FIGURES,
    extension=True,
)

MNIST = Space(
    reproduces="the relu and MNIST panel of figure 2, at a budget for two cores",
    param_space={
        **_FEED_FORWARD,
        "task": "mnist",
        "batch_size": 512,
        "epochs": 5,
        "activation": "relu",
        "start": _STARTS,
        "lr": grid(1e-3, 1e-4, 1e-5),
        "seed": grid(0, 1),
    },
    defaults=({"when": {"pretrain": "lsc"}, "then": {"lsc_epochs": 20}}, *_FEED_FORWARD_DEFAULTS),
    select=_SELECT,
    smoke={**_SMALL_FEED_FORWARD, "activation": "relu"},
    figures=_FIGURES,
    extension=True,
)

_CONVOLUTIONAL = {
    "model": "cnn",
    "layout": "flat",
    "optimizer": "adabelief",
    "weight_decay": 1e-4,
    "activation": grid("sin", "relu", "cos"),
    "start": _STARTS,
}
CNN = Space(
    reproduces="the convolutional networks of the published program, as figure 2 shows dense ones",
    doc="Ten convolutions of 128 channels on images of 32 x 32: made for a GPU.",
    param_space={
        **_CONVOLUTIONAL,
        "task": grid("mnist", "cifar10", "cifar100"),
        "depth": 10,
        "width": 128,
        "batch_size": 512,
        "epochs": 50,
        "early_stopping": 10,
        "lr": grid(1e-2, 3.16e-3, 1e-3, 3.16e-4, 1e-4, 3.16e-5, 1e-5),
        "seed": SEEDS,
    },
    defaults=(
        {"when": {"pretrain": "lsc"}, "then": {"lsc_epochs": 100, "lsc_estimate": "power"}},
        *_FEED_FORWARD_DEFAULTS,
    ),
    select=_SELECT,
    smoke={
        "task": "digits", "depth": 3, "width": 4, "resize": 12, "batch_size": 64, "epochs": 2,
        "lsc_epochs": 2, "lsc_steps": 50, "lsc_estimate": "exact", "lr": [1e-3], "seed": [0, 1],
        "activation": ["relu", "sin"], "gate_radius": 0.5, "gate_std": 1.0,
    },
    figures=_FIGURES,
)  # fmt: skip
CNN_DIGITS = Space(
    reproduces="convolutional networks on scikit-learn's digits: minutes on two cores",
    param_space={
        **_CONVOLUTIONAL,
        "task": "digits",
        "depth": 4,
        "width": 8,
        "resize": 14,
        "pool": 2,
        "batch_size": 64,
        "epochs": 10,
        "lr": grid(1e-3, 1e-4),
        "seed": grid(0, 1),
    },
    defaults=(
        {
            "when": {"pretrain": "lsc"},
            "then": {"lsc_epochs": 10, "lsc_steps": 100, "lsc_estimate": "power", "lsc_batch": 2},
        },
        *_FEED_FORWARD_DEFAULTS,
    ),
    select=_SELECT,
    smoke={
        "depth": 3, "width": 4, "resize": 12, "epochs": 2, "lsc_epochs": 2, "lsc_steps": 50,
        "lr": [1e-3], "activation": ["relu", "sin"], "gate_radius": 0.5, "gate_std": 1.0,
    },
    figures=_FIGURES,
    extension=True,
)  # fmt: skip

TOY = Space(
    reproduces="two stages at their smallest: 4 pretrainings serve 8 trainings",
    param_space={
        **_FEED_FORWARD,
        "task": "digits",
        "depth": 8,
        "width": 32,
        "batch_size": 64,
        "epochs": 3,
        "activation": grid("sin", "relu"),
        "pretrain": "lsc",
        "lr": grid(1e-3, 1e-4),
        "seed": grid(0, 1),
    },
    defaults=(
        {"when": {"pretrain": "lsc"}, "then": {"lsc_epochs": 20, "lsc_steps": 100}},
        *_FEED_FORWARD_DEFAULTS,
    ),
    select=_SELECT,
    smoke={
        "depth": 4,
        "width": 16,
        "epochs": 1,
        "lsc_epochs": 3,
        "gate_radius": 0.5,
        "gate_std": 1.0,
    },
    figures=_FIGURES,
    extension=True,
)

STUDY = Study(
    name="herranz2023",
    title="Stabilizing RNN Gradients through Pre-training",
    arxiv="2308.12075",
    doc="Weights are first moved until every one-step Jacobian has a given spectral radius.",
    spaces={
        "figure1": FIGURE1,
        "figure2": FIGURE2,
        "figure3": FIGURE3,
        "figure3_authors": FIGURE3_AUTHORS,
        "figure4": FIGURE4,
        "table1": TABLE1,
        "digits": DIGITS,
        "mnist": MNIST,
        "toy": TOY,
        "cnn": CNN,
        "cnn_digits": CNN_DIGITS,
        "spikes": SPIKES,
        "covariance": COVARIANCE,
        "decay": DECAY,
    },
    claims=CLAIMS,
    drawn=DRAWN,
)
