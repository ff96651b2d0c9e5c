"""Analyses that need no sweep (docs/specs/zucchet2024.md, 5.1 to 5.5, 5.8 and 5.9)."""

from search_spaces.study import Space, grid

SIGNALS = Space(
    reproduces="figures 1A and 2: energy of one unit's state and of its derivative, against memory",
    param_space={"stage": "scalar_signals", "signal_samples": 4000},
    smoke={"signal_steps": 400, "signal_samples": 500},
    figures=("signal_energy",),
)
UNIT = Space(
    reproduces="figures 1BC and 6: the loss of one unit that learns another",
    param_space={"stage": grid("unit_loss", "unit_lines"), "map_points": 100},
    smoke={"map_points": 20},
    figures=("unit_loss", "unit_lines"),
)
LANDSCAPE = Space(
    reproduces="figure 7: training that unit, by the gradient's sign as published, and by Adam",
    doc="The published program drops Adam's averages at every step, which leaves the sign.",
    param_space={
        "stage": grid("landscape", "landscape_map"),
        "phase_form": grid("polar", "exp", "opt"),
        "rules": {
            "when": {"stage": "landscape"},
            "then": {"landscape_rule": grid("sign", "adam")},
        },
    },
    smoke={"landscape_steps": 2000},
    figures=("landscape", "landscape_path"),
)
HESSIAN_DIAGONAL = Space(
    reproduces="figures 8 and 10, left: how eigenvalues of a diagonal system are coupled",
    doc="The published coupling has (1 - rho) for (1 - rho^2): --set compat_coupling=true.",
    param_space={
        "stage": grid("coupling", "diagonal_hessian"),
        "sectors": {
            "when": {"stage": "diagonal_hessian"},
            "then": {"sector": grid(0.031415927, 0.31415927, 3.1415926)},
        },
    },
    smoke={"draws": 5, "map_points": 10},
    figures=("coupling", "sector_hessian", "hessian_matrix"),
)
HESSIAN_OPTIMAL = Space(
    reproduces="figures 4 and 9: spectra and participation ratios at the optimum, by coordinates",
    param_space={
        "stage": "optimal_hessian",
        "coordinates": grid("rnn", "complex", "lru", "s4"),
    },
    smoke={"draws": 5},
    figures=("optimal_hessian", "hessian_matrix", "hessian_vectors"),
)
_MEMORY = grid(1.0, 3.1622777, 10.0, 31.622777, 100.0)
DEEP = Space(
    reproduces="figures 5 and 13: outputs and gradients of deep networks against memory",
    doc="On word-like noise of the published autocorrelation; the paper has BERT's embeddings.",
    param_space={
        "stage": "deep_signals",
        "memory": _MEMORY,
        "deep_cell": grid("complex", "lru", "gru"),
        "norms": {
            "when": {"deep_cell": "complex"},
            "then": {"norm": grid("none", "layer", "batch")},
        },
        "seed": grid(0, 1, 2),
    },
    select={"over": "seed"},
    smoke={"memory": [1.0, 10.0], "signal_width": 16, "signal_steps": 64, "seed": 0},
    figures=("deep_signals",),
)
GRU = Space(
    reproduces="figures 12, 14 and 15: a GRU at initialisation against the theory of leaky units",
    param_space={
        "stage": "gated_signals",
        "memory_max": grid(1.0, 16.0, 256.0),
        "scale_h": grid(0.0, 1.0, 3.0),
        "seed": grid(0, 1),
    },
    select={"over": "seed"},
    smoke={"memory_max": [1.0, 16.0], "signal_width": 8, "signal_steps": 32, "seed": 0},
    figures=("gru_jacobian", "gru_theory"),
)
GATES = Space(
    reproduces="figures 14 and 15: a GRU whose gates read inputs and states, against the theory",
    doc="On word-like noise; --set input_file=FILE.npy takes inputs of yours, and their fit.",
    param_space={
        "stage": "gated_network",
        "gate_memory": grid(2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0),
        "gates": {"zip": {"scale_x": [0.0, 1.0, 0.0, 1.0], "scale_h": [0.0, 0.0, 1.0, 1.0]}},
        "seed": grid(0, 1),
    },
    select={"over": "seed"},
    smoke={"gate_memory": [2.0, 16.0], "signal_width": 8, "signal_steps": 64, "seed": 0},
    figures=("gated_theory",),
)
INPUTS = Space(
    reproduces="the autocorrelation of inputs that figures 5 and 14 rest on, and its fit",
    doc="Of a file of yours: --set input_file=FILE.npy.",
    param_space={"stage": "autocorrelation", "signal_steps": 2000},
    smoke={"signal_steps": 200},
    figures=("autocorrelation",),
)

ANALYSES = {
    "signals": SIGNALS,
    "unit": UNIT,
    "landscape": LANDSCAPE,
    "hessian_diagonal": HESSIAN_DIAGONAL,
    "hessian_optimal": HESSIAN_OPTIMAL,
    "deep": DEEP,
    "gru": GRU,
    "gates": GATES,
    "inputs": INPUTS,
}
