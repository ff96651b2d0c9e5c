"""Measurements of study herranz2023 that train nothing: figure 1, and how independent radii are."""

from search_spaces.study import Space, grid

FIGURE1 = Space(
    reproduces="figure 1: paths through a recurrent grid, their growth, and their gradients",
    doc="Twenty-five grids of recurrent units and three of weighted paths.",
    param_space={
        "stage": grid("pascal", "binomial"),
        "gradients": {
            "when": {"stage": "pascal"},
            "then": {
                "grid_layers": 10,
                "grid_steps": 100,
                "rho": grid(0.3, 0.5, 0.7, 1.0, 1.2),
                "grid_rule": grid("linear", "he"),
                # Random weights differ by seed; the linear grid has none.
                "draws": {
                    "when": {"grid_rule": "he"},
                    "then": {"seed": grid(0, 1, 2, 3)},
                    "else": {"seed": 0},
                },
            },
            "else": {
                "grid_layers": 10,
                "grid_steps": 100,
                "weights": {
                    "zip": {
                        "rho_t": [1.0, 0.5, "T/(L+T)"],
                        "rho_l": [1.0, 0.5, "L/(L+T)"],
                    }
                },
            },
        },
    },
    select={"over": "seed"},
    smoke={"grid_layers": 4, "grid_steps": 20, "seed": 0},
    figures=("figure1a", "figure1b", "figure1c"),
)

COVARIANCE = Space(
    reproduces="the covariance plots: do radii along a path vary together?",
    param_space={
        "stage": "covariance",
        "task": grid("mnist", "cifar10"),
        "cov_net": grid("lstm", "gru", "alif"),
        "seed": grid(0, 1, 2, 3, 4, 5),
    },
    select={"over": "seed"},
    smoke={"task": "digits", "cov_side": 6, "cov_batch": 16, "cov_order": 3, "seed": [0, 1]},
    figures=("covariance",),
)

DECAY = Space(
    reproduces="the decaying covariance plots: how fast does a radius forget?",
    param_space={
        "stage": "decay",
        "task": grid("sl_mnist", "heidelberg"),
        "model": grid("lstm", "malsnn"),
        "depth": 2,
        "decay_steps": 100,
        "burn": {"when": {"task": "sl_mnist"}, "then": {"decay_burn_in": 10}},
        "seed": 0,
    },
    smoke={
        "task": "spikes", "bins": 20, "channels": 20, "classes": 4, "n_train": 64, "n_val": 32,
        "n_test": 32, "batch_size": 32, "widths": "8", "decay_steps": 10,
    },
    figures=("decay",),
)  # fmt: skip
