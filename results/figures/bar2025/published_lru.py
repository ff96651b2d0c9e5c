"""Accuracies that the LRU paper reports (Orvieto et al., arXiv 2303.06349), in per cent.

Its tables are what study `bar2025` can be held against: the accuracies of that paper itself were
not at hand. Means over three seeds on whole data sets.
"""

from __future__ import annotations

REPORTED: dict[str, dict[str, tuple[float, float]]] = {
    "scifar": {
        "RNN-ReLU": (69.7, 0.2), "RNN-tanh": (69.9, 0.3), "dense linear, Glorot": (72.2, 0.2),
        "diagonal, unit disk": (86.5, 0.1), "exp": (85.4, 0.7), "stable exp": (87.2, 0.4),
        "ring": (88.1, 0.0), "LRU": (89.0, 0.1),
    },
    "listops": {
        "RNN-ReLU": (37.6, 8.0), "RNN-tanh": (43.9, 0.1), "dense linear, Glorot": (50.4, 0.2),
        "diagonal, unit disk": (58.8, 0.3), "exp": (60.5, 0.3), "stable exp": (59.4, 0.3),
        "ring": (59.4, 0.3), "LRU": (60.2, 0.8),
    },
    "imdb": {
        "RNN-ReLU": (88.0, 0.1), "RNN-tanh": (87.2, 0.1), "dense linear, Glorot": (89.1, 0.1),
        "diagonal, unit disk": (87.4, 0.3), "exp": (86.5, 0.4), "stable exp": (87.6, 0.3),
        "ring": (89.4, 0.1), "LRU": (89.4, 0.1),
    },
    "aan": {
        "RNN-ReLU": (88.5, 0.1), "RNN-tanh": (88.9, 0.2), "dense linear, Glorot": (89.1, 0.1),
        "diagonal, unit disk": (87.8, 0.5), "exp": (89.4, 0.1), "stable exp": (89.1, 0.2),
        "ring": (90.1, 0.1), "LRU": (89.9, 0.1),
    },
    "pathfinder": {
        "exp": (65.4, 9.0), "stable exp": (93.5, 0.5), "ring": (94.4, 0.3), "LRU": (95.1, 0.1),
    },
    "pathx": {"LRU": (94.2, 0.4)},
}  # fmt: skip
"""Task -> model -> (mean, standard error); of Pathfinder and PathX the others stay at chance."""

CLOSEST = {"deep_lru": "LRU", "deep_linear_rnn": "dense linear, Glorot",
           "deep_diagonal_rnn": "diagonal, unit disk"}  # fmt: skip
"""The reported model nearest to each of ours; none starts from a rescaled matrix."""

R_MAX, R_MIN = (0.9, 0.99, 0.999), (0.0, 0.5, 0.9)
ABLATION = {  # (lru_param, lru_gamma) -> rows r_max, columns r_min
    ("log", "none"): ((87.6, 87.8, 87.9), (83.8, 85.8, 81.9), (83.9, 84.8, 84.8)),
    ("exp", "none"): ((86.2, 86.6, 87.3), (87.8, 87.7, 88.1), (87.4, 87.4, 87.5)),
    ("exp", "learned"): ((86.4, 86.5, 88.3), (88.1, 88.4, 89.0), (88.1, 88.6, 89.0)),
}
"""Sequential CIFAR by stability, gamma and ring."""


def is_whole(task: str, config: dict[str, object]) -> bool:
    """Whether a trial's data set is the whole published one, and nothing smaller or easier."""
    own = _SIZES.get(task)
    if own is not None:
        return all(config.get(key) == value for key, value in own.items())
    return (
        task in REPORTED
        and config.get("max_train") is None
        and config.get("layout") in (None, "pixels")
        and config.get("resolution") is None
        and config.get("level") in (None, "chars")
        and config.get("seq_len") in (None, 4096)
    )


_SIZES: dict[str, dict[str, int]] = {
    "listops": {"n_train": 96_000, "seq_len": 2048},
    "aan": {"n_train": 147_086, "seq_len": 4000},
    "pathfinder": {"n_train": 160_000, "resolution": 32},
    "pathx": {"n_train": 160_000, "resolution": 128},
}
"""Keys of a task's whole published data set."""
