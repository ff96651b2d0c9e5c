"""Published sizes and settings of recurrent networks, by task, cell and depth.

docs/specs/herranz2023.md, 2.4: `paper` has the widths of each cell that the program chose if none
was given, by which most have about as many parameters, `readme` the same width for all. Models read
the widths; search spaces the rest.
"""

from __future__ import annotations

from dataclasses import dataclass

PRESETS = ("paper", "readme")

_LIKE = {"spikes": "heidelberg", "rsimplernn": "simple", "ssimplernn": "simple"}
_LIKE |= {"malsnn": "spiking", "malsnnb": "spiking", "lsnn": "spiking", "psmnist": "smnist"}

_EQUAL = {  # every layer has this width, whatever the depth
    ("heidelberg", "lstm"): 94,
    ("heidelberg", "gru"): 117,
    ("heidelberg", "simple"): 256,
    ("heidelberg", "spiking"): 256,
    ("heidelberg", "indrnn"): 353,
    ("heidelberg", "lmu"): 256,
    ("sl_mnist", "lstm"): 42,
    ("sl_mnist", "gru"): 53,
    ("sl_mnist", "simple"): 128,
    ("sl_mnist", "spiking"): 128,
    ("sl_mnist", "indrnn"): 160,
    ("sl_mnist", "lmu"): 128,
    ("smnist", "lstm"): 42,
    ("smnist", "gru"): 53,
    ("smnist", "simple"): 128,
    ("smnist", "spiking"): 128,
    ("smnist", "indrnn"): 58,
    ("smnist", "lmu"): 128,
}
_TEXT = {  # widths of two layers, and of five where the paper has them
    "lstm": ((500, 300), (500, 100, 500, 100, 300)),
    "gru": ((625, 300), (625, 125, 625, 125, 300)),
    "simple": ((1300, 300), (1300, 260, 1300, 260, 300)),
    "spiking": ((1300, 300), (1300, 260, 1300, 260, 300)),
    "indrnn": ((4250, 300), None),
    "lmu": ((1300, 300), None),
}
_README = {"heidelberg": 256, "sl_mnist": 128, "smnist": 128, "wordptb": 1300, "charptb": 1300}


def preset_widths(preset: str, task: str, cell: str, depth: int) -> tuple[int, ...] | None:
    """Units of each layer, or None where the study ran no such network.

    Args:
      preset: "paper" or "readme".
      task, cell: names of parts.
      depth: recurrent layers.
    """
    task, cell = _LIKE.get(task, task), _LIKE.get(cell, cell)
    if preset == "readme":
        return (_README[task],) * depth if task in _README else None
    if (task, cell) in _EQUAL:
        return (_EQUAL[task, cell],) * depth
    if task in ("wordptb", "charptb") and cell in _TEXT:
        two, five = _TEXT[cell]
        return {2: two, 5: five if task == "wordptb" else None}.get(depth)
    return None


@dataclass(frozen=True)
class Published:
    """How a network was trained.

    Attributes:
      batch_size: sequences of a training step.
      lr: learning rate of the training.
      lsc_batch: sequences of a pretraining step.
    """

    batch_size: int
    lr: float
    lsc_batch: int


def published(task: str, cell: str, depth: int) -> Published | None:
    """The settings of a task, cell and depth; None where the study has none."""
    task, cell = _LIKE.get(task, task), _LIKE.get(cell, cell)
    if task == "heidelberg":
        batch = 32 if depth in (3, 5, 7) else 100
        return Published(batch, 1e-3, batch)
    if task in ("sl_mnist", "smnist"):
        return Published(256, 1e-3 if cell == "spiking" else 1e-2, 256)
    if task == "wordptb":
        lsc_batch = {"simple": 16, "spiking": 3}.get(cell, 8)
        return Published(32, 1e-3 if cell == "spiking" else 3.16e-4, lsc_batch)
    return None
