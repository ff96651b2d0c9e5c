"""Small learning spaces of study bar2025, for two cores."""

from search_spaces.bar2025.common import FIGURES, SELECT, SMALL_LISTOPS, TRAINING
from search_spaces.study import Space, grid

_TINY = {
    **TRAINING, "model": "deep_lru", "depth": 2, "d_model": 64, "width": 64, "dropout": 0.0,
    "eigenvalues_every": 0,
}  # fmt: skip
COPY = Space(
    reproduces="copying 20 steps of bits: what a ring near 1 is for",
    param_space={
        **_TINY,
        "task": "copy",
        "pooling": "none",
        "epochs": 2,
        "lr_factor": 0.5,
        "max_phase": 6.2831853,
        "ring": {"zip": {"r_min": [0.9, 0.0], "r_max": [0.999, 0.99999]}},
        "seed": grid(0, 1, 2),
    },
    select=SELECT,
    smoke={"n_train": 64, "n_val": 32, "n_test": 32, "d_model": 8, "width": 8, "batch_size": 16,
           "epochs": 1, "seed": [0]},
    figures=FIGURES,
    extension=True,
)  # fmt: skip
MINI_LISTOPS = Space(
    reproduces="ListOps of four levels and at most 63 tokens",
    param_space={
        **_TINY,
        "task": "listops",
        **SMALL_LISTOPS,
        "n_train": 12_000,
        "n_val": 1_000,
        "n_test": 1_000,
        "batch_size": 50,
        "epochs": 6,
        "r_min": 0.5,
        "r_max": 0.99,
        "max_phase": 6.2831853,
        "lr": 2e-3,
        "lr_factor": 0.5,
        "seed": grid(0, 1, 2),
    },
    select=SELECT,
    smoke={"n_train": 64, "n_val": 32, "n_test": 32, "d_model": 8, "width": 8, "batch_size": 16,
           "epochs": 1, "seed": [0]},
    figures=FIGURES,
    extension=True,
)  # fmt: skip
_BUDGET = {"d_model": 32, "width": 32, "lr_factor": 0.5, "max_phase": 6.2831853,
           "seed": grid(0, 1, 2)}  # fmt: skip
SMNIST_ROWS = Space(
    reproduces="sequential MNIST in 28 steps of an image row",
    param_space={
        **_TINY,
        **_BUDGET,
        "task": "smnist",
        "layout": "rows",
        "epochs": 3,
        "r_min": 0.5,
        "r_max": 0.99,
        "lr": 2e-3,
    },
    select=SELECT,
    smoke={"max_train": 64, "max_held": 64, "epochs": 1, "seed": [0]},
    figures=FIGURES,
    extension=True,
)
IMDB_512 = Space(
    reproduces="IMDb, the first 512 characters",
    param_space={
        **_TINY,
        **_BUDGET,
        "task": "imdb",
        "seq_len": 512,
        "batch_size": 50,
        "epochs": 3,
        "r_min": 0.5,
        "r_max": 0.99,
        "lr": 2e-3,
    },
    select=SELECT,
    smoke={"seq_len": 32, "max_train": 100, "max_held": 50, "epochs": 1, "seed": [0]},
    figures=FIGURES,
    extension=True,
)
# Of few steps layer norm makes more: batch norm's running averages are near their start then.
_FEW = {**_TINY, **_BUDGET, "norm": "layer", "r_min": 0.5, "r_max": 0.99, "lr": 2e-3}
PIXEL_ORDERS = Space(
    reproduces="sequential MNIST at 14 x 14 pixels: which order of pixels is easiest to read",
    param_space={
        **_FEW, "task": "smnist", "resolution": 14, "max_train": 6_400, "max_held": 2_000,
        "epochs": 3, "pixel_order": grid("raster", "snake", "transposed", "hilbert",
                                         "bit_reversed"),
    },
    select=SELECT,
    smoke={"max_train": 64, "max_held": 64, "epochs": 1, "seed": [0], "d_model": 8, "width": 8,
           "resolution": 7},
    figures=FIGURES,
    extension=True,
)  # fmt: skip
IMDB_WORDS = Space(
    reproduces="IMDb by words, the first 128 of a review",
    param_space={**_FEW, "task": "imdb", "level": "words", "seq_len": 128, "batch_size": 50,
                 "epochs": 2},
    select=SELECT,
    smoke={"seq_len": 16, "max_train": 100, "max_held": 50, "epochs": 1, "seed": [0]},
    figures=FIGURES,
    extension=True,
)  # fmt: skip
AUGMENTED = Space(
    reproduces="the CIFAR-10 subset row by row, as it is or cropped and flipped",
    param_space={**_FEW, "task": "scifar_4k", "layout": "rows", "epochs": 20,
                 "augment": grid("none", "crop_flip")},
    select=SELECT,
    smoke={"max_train": 64, "max_held": 64, "epochs": 1, "seed": [0], "d_model": 8, "width": 8,
           "batch_size": 16},
    figures=FIGURES,
    extension=True,
)  # fmt: skip

SMALL_SPACES = {
    "copy": COPY,
    "mini_listops": MINI_LISTOPS,
    "smnist_rows": SMNIST_ROWS,
    "imdb_512": IMDB_512,
    "imdb_words": IMDB_WORDS,
    "pixel_orders": PIXEL_ORDERS,
    "augmented": AUGMENTED,
}
