"""The LRU paper's tasks on files of the Long Range Arena, at its sizes (arXiv 2303.06349)."""

from search_spaces.bar2025.common import FIGURES, SELECT, SMALL, TRAINING
from search_spaces.study import Space, grid

_LRU = {**TRAINING, "model": "deep_lru", "depth": 6, "seed": grid(0, 1, 2)}
PATHFINDER = Space(
    reproduces="the LRU paper's Pathfinder: 500,000 steps on images of 32 x 32",
    doc="Reads the files of the Long Range Arena, which are not included: see "
    "docs/studies/bar2025.md.",
    param_space={
        **_LRU, "task": "pathfinder", "epochs": 200, "lr_warmup": 20, "batch_size": 64,
        "d_model": 192, "width": 256, "lr_factor": 0.25, "dropout": 0.0, "r_min": 0.9,
        "r_max": 0.999, "max_phase": 6.2831853,
    },
    select=SELECT,
    smoke={**SMALL, "init": "ring", "n_train": 16, "n_val": 8, "n_test": 8, "epochs": 1},
    figures=FIGURES,
)  # fmt: skip
PATHX = Space(
    reproduces="the LRU paper's PathX: 250,000 steps on images of 128 x 128",
    doc="As for pathfinder.",
    param_space={
        **_LRU, "task": "pathx", "epochs": 50, "lr_warmup": 5, "batch_size": 32, "d_model": 128,
        "width": 256, "lr_factor": 0.25, "dropout": 0.0, "r_min": 0.999, "r_max": 0.9999,
        "max_phase": 0.31415927,
    },
    select=SELECT,
    smoke={**SMALL, "init": "ring", "n_train": 16, "n_val": 8, "n_test": 8, "epochs": 1},
    figures=FIGURES,
)  # fmt: skip
AAN = Space(
    reproduces="the LRU paper's Retrieval: whether two papers cite each other, 101,000 steps",
    doc="As for pathfinder. The head that compares two texts is ours; the source has none.",
    param_space={
        **_LRU, "task": "aan", "epochs": 44, "lr_warmup": 4, "batch_size": 64, "d_model": 128,
        "width": 256, "lr_factor": 0.5, "dropout": 0.1, "r_min": 0.5, "r_max": 0.9,
        "max_phase": 6.2831853,
    },
    select=SELECT,
    smoke={**SMALL, "init": "ring", "seq_len": 64, "n_train": 16, "n_val": 8, "n_test": 8,
           "epochs": 1},
    figures=FIGURES,
)  # fmt: skip

LONG_RANGE = {"pathfinder": PATHFINDER, "pathx": PATHX, "aan": AAN}
