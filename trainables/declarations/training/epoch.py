"""Declarations of the built-in stages."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from trainables.declarations.core.keys import Key, shown
from trainables.declarations.core.parts import Config, Stage
from trainables.declarations.probes.hessian import HESSIAN
from trainables.declarations.probes.sharpness import SHARPNESS
from trainables.declarations.probes.weight_histogram import WEIGHT_HISTOGRAM

_STOP = (
    Key("stop_below", "float", None, "host",
        "Stop after `stop_patience` epochs in a row whose `stop_on` is below this.",
        nullable=True, aliases=("vanishing_threshold",)),
    Key("stop_patience", "int", 3, "host", "Epochs in a row before stopping.", unit="epochs", low=1,
        aliases=("vanishing_patience",)),
    Key("stop_on", "str", "grad_norm", "host",
        "Column of epochs, or metric of the task, that `stop_below` is compared with. grad_norm: "
        "the mean total as published (it hardly ever vanishes); grad_norm_smallest: the smallest "
        "non-zero tensor."),
)  # fmt: skip

_WATCH = (
    Key("monitor", "str", "val_loss", "host",
        "Column of epochs, or metric of the task, that `early_stopping` and `keep_weights=best` "
        "watch, such as val_rmse."),
    Key("monitor_mode", "str", "auto", "host",
        "Which end of `monitor` is better: min, max, or auto, which is what the task declares of "
        "it; where nothing does, max if `accuracy` is in its name, else min.",
        choices=("auto", "min", "max")),
)  # fmt: skip

_IMPORTED = re.compile(r"imported-[0-9a-f]{16}")


def _start_check(config: Config) -> list[str]:
    given = config["weights_from"]
    if given is None:
        return []
    if not _IMPORTED.fullmatch(given):
        names = "a name that `gradsweep import-weights` gave, such as imported-0123456789abcdef"
        return [f"weights_from must be {names}; got {shown(given)}"]
    if config["pretrain"] != "none":
        both = f"weights_from and pretrain={config['pretrain']}"
        return [f"{both} both give the first weights; choose one"]
    return []


AVERAGE = (
    Key("average_weights", "str", "none", "static",
        "Weights that are evaluated, kept and handed on in place of the last ones. ema: their "
        "exponential average over steps; swa: the mean of those at the end of each epoch.",
        choices=("none", "ema", "swa"), added=True),
    Key("average_from", "int", 0, "traced", "Epochs before anything is averaged.", unit="epochs",
        low=0),
    Key("average_decay", "float", 0.999, "traced", "What a step keeps of an ema.", low=0, high=1,
        open_high=True),
)  # fmt: skip


def _average_check(config: Config) -> list[str]:
    kind = config["average_weights"]
    found = [
        f"{name} is not read with average_weights={kind}; leave it out, or choose {others}"
        for name, readers, default, others in (
            ("average_from", ("ema", "swa"), 0, "ema or swa"),
            ("average_decay", ("ema",), 0.999, "ema"),
        )
        if kind not in readers and config[name] != default
    ]
    if config["average_from"] >= config["epochs"]:
        found.append("average_from must be below epochs, for anything to be averaged")
    return found


TRAIN = Stage(
    name="train",
    version=1,
    build="trainables.training.epoch:Training",
    doc="Train the model on the task.",
    keys=(
        Key("epochs", "int", 50, "host", "Passes over the training set.", unit="epochs", low=1,
            aliases=("num_epochs",)),
        Key("pretrain", "str", "none", "init", "Stage whose weights training starts from."),
        Key("weights_from", "str", None, "init",
            "Imported weights that training starts from, by the name that `gradsweep "
            "import-weights` gave them; null: drawn ones.", nullable=True),
        *_STOP,
        *_WATCH,
        Key("diverge_above", "float", None, "host",
            "A trial whose loss at the end of an epoch is above this ends as diverged; null: only "
            "one that is not finite does.", low=0, nullable=True),
        Key("early_stopping", "int", None, "host",
            "Stop after this many epochs without a better `monitor`; null: never.", unit="epochs",
            low=1, nullable=True, aliases=("patience",)),
        *AVERAGE,
    ),
    check=lambda config: [*_start_check(config), *_average_check(config)],
    parent=lambda config: None if config.get("pretrain", "none") == "none" else config["pretrain"],
    probes=(SHARPNESS, HESSIAN, WEIGHT_HISTOGRAM),
)  # fmt: skip


def _warmup_gate(config: Config, row: Mapping[str, Any]) -> str | None:
    loss, ceiling = row.get("loss"), config["warmup_gate"]
    if ceiling is None or (loss is not None and loss <= ceiling):
        return None
    return f"warm-up ended at loss {loss}, above warmup_gate {ceiling}"


WARMUP = Stage(
    name="warmup",
    version=1,
    build="trainables.training.epoch:Training",
    doc="Train with the gradient norm held up to a minimum, to leave the plateau of deep stacks.",
    reads=("model", "task"),
    keys=(
        Key("warmup_epochs", "int", 2, "host", "Passes over the training set.", unit="epochs",
            low=1),
        Key("warmup_lr", "float", 0.01, "traced", "Learning rate of the warm-up.", low=0),
        Key("warmup_min_norm", "float", 1.0, "traced", "Smallest total gradient norm.", low=0),
        Key("warmup_gate", "float", None, "host",
            "Children start only when the last mean loss is at most this.", low=0, nullable=True),
    ),
    epochs_key="warmup_epochs",
    gate=_warmup_gate,
    # The shared training loop reads an optimizer's keys; a warm-up is plain SGD with these.
    rename={"lr": "warmup_lr", "min_norm": "warmup_min_norm"},
)  # fmt: skip
