"""Inputs from a file of the user's, and the task of predicting them."""

from __future__ import annotations

import re

from trainables.declarations.core.keys import Key
from trainables.declarations.core.parts import Config, Sizes, Task
from trainables.declarations.tasks.base import BATCH, SEQ_LEN, needs_every_step

INPUT_NAME = re.compile(r"npy-[0-9a-f]{16}-([0-9]+)-([0-9]+)-([0-9]+)")
"""Of a file that is kept: a digest of its content, then samples, time steps and features."""
INPUT_FILE = Key("input_file", "str", None, "static",
                 "Inputs: a .npy file of shape (samples, time, features), (time, features) or "
                 "(time,), which is kept under a name made of its content; null: noise of the "
                 "autocorrelation of BERT's embeddings of Wikipedia.", nullable=True)  # fmt: skip


NOISE_SHAPE = 64, 512, 16
"""Sequences, time steps and features of the noise that the task predicts without a file."""


def input_shape(name: str | None) -> tuple[int, int, int] | None:
    """(samples, time steps, features) of a file by the name it is kept under; None without one."""
    found = INPUT_NAME.fullmatch(name or "")
    return (int(found[1]), int(found[2]), int(found[3])) if found else None


def input_problems(config: Config) -> list[str]:
    """What is wrong with the value of `input_file`."""
    given = config["input_file"]
    if given is None or input_shape(given):
        return []
    return [f"input_file={given} is no .npy file, nor the name of one that is kept; give a path"]


def input_dataset(config: Config) -> str | None:
    """Name of the data set that `input_file` asks for."""
    given = config["input_file"]
    return given if input_shape(given) else None


def _sizes(config: Config) -> Sizes:
    samples, steps, features = input_shape(config["input_file"]) or NOISE_SHAPE
    windows = samples * max((steps - config["lead"]) // config["seq_len"], 0)
    held = int(windows * config["val_fraction"])
    shape = config["seq_len"], features, features
    return Sizes(*shape, windows - 2 * held, held, held, config["batch_size"])


def _check(config: Config) -> list[str]:
    found = [*input_problems(config), *needs_every_step(config, SEQUENCE_FILE.name)]
    shape = input_shape(config["input_file"]) or NOISE_SHAPE
    if shape[1] < config["seq_len"] + config["lead"]:
        found.append(
            f"sequences of {shape[1]} time steps hold no window of seq_len={config['seq_len']} and "
            f"lead={config['lead']} more; lower seq_len"
        )
    if config.get("pooling", "none") != "none":
        found.append("task sequence_file needs an output at every step; set pooling=none")
    return found


SEQUENCE_FILE = Task(
    name="sequence_file",
    version=1,
    runtime="trainables.tasks.sequence_file:SequenceFile",
    doc="Predict sequences of a file of yours: half the mean squared error.",
    keys=(
        BATCH,
        SEQ_LEN,
        INPUT_FILE,
        Key("lead", "int", 1, "static", "Steps ahead that are predicted.", unit="time steps",
            low=0),
        Key("val_fraction", "float", 0.1, "static",
            "Part of the windows that validates; as many more, the last ones, test.",
            low=0, high=0.49),
    ),
    sizes=_sizes,
    dataset=input_dataset,
    check=_check,
    loss_unit="half squared error",
)  # fmt: skip
