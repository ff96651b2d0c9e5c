"""Spaces of study bar2025 that train nothing: radii, growth, and memory at initialisation."""

from search_spaces.study import Space, grid

RADII = Space(
    reproduces="spectral radii of Glorot matrices by width and init, against their edge law",
    param_space={
        "stage": "radii",
        "matrix_width": grid(64, 128, 192, 256, 384, 512),
        "draws_of": {
            "when": {"matrix_width": 512},
            "then": {"draws": 40},
            "else": {"draws": 100},
        },
    },
    smoke={"matrix_width": [16, 192], "draws": 3},
    figures=("radius_law",),
    extension=True,
)
_INITS = grid("glorot", "rescaled", "halved_glorot")
DIVERGENCE = Space(
    reproduces="the paper's claim in miniature: one layer's state and gradient over a long input",
    doc="A glorot trial that overflows is a result: it ends as diverged, with all its rows.",
    param_space={
        "stage": "divergence",
        "size": {"zip": {"matrix_width": [192, 256, 384], "length": [2048, 4096, 1024]}},
        "init": _INITS,
        "seed": grid(*range(20)),
    },
    select={"over": "seed"},
    smoke={"matrix_width": 168, "length": 256, "seed": [0, 1]},
    figures=("growth", "overflow_steps"),
    extension=True,
)
GRADIENTS = Space(
    reproduces="the gradient of one dense layer's matrix at initialisation",
    param_space={
        "stage": "divergence",
        "recurrence": "dense",
        "matrix_width": 256,
        "length": 512,
        "init": _INITS,
        "seed": grid(*range(8)),
    },
    select={"over": "seed"},
    smoke={"matrix_width": 168, "length": 64, "seed": [0, 1]},
    figures=("growth",),
    extension=True,
)
MEMORY = Space(
    reproduces="why not divide by sqrt 2: decoding an input of some steps ago",
    param_space={
        "stage": "delay_memory",
        "matrix_width": grid(256, 384),
        "init": grid("rescaled", "calibrated", "halved_glorot"),
        "seed": grid(0, 1, 2),
    },
    select={"over": "seed"},
    smoke={"matrix_width": 168, "fit_steps": 1000, "held_steps": 500, "seed": [0]},
    figures=("delay_memory",),
    extension=True,
)

ANALYSES = {
    "radii": RADII,
    "divergence": DIVERGENCE,
    "gradients": GRADIENTS,
    "memory": MEMORY,
}
