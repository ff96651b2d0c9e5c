"""Declaration of the stage `lsc`: pretraining to the Local Stability Condition.

See docs/specs/herranz2023.md, 1. Keys that may be null take the value published for the model's
family, which its engine knows (`trainables.lsc.feedforward`, `recurrent`, `lru_stack`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from trainables.declarations.core.keys import Key, in_full
from trainables.declarations.core.parts import Column, Config, Probe, Stage
from trainables.declarations.models.rnn import FURTHER, RECURRENT
from trainables.declarations.probes.weight_histogram import WEIGHT_HISTOGRAM

NORMS = (
    "radius", "logradius", "supnpsd", "supsubnpsd", "entrywise",
    "induced_1", "induced_2", "induced_inf", "probes",
)  # fmt: skip
FAMILIES = {
    "ffn": "feed-forward",
    "cnn": "convolutional",
    **{model.name: "recurrent" for model in (*RECURRENT, *FURTHER)},
    "lru_stack": "linear",
}
"""Models that can be pretrained, and the family each is of."""

_ONE_WAY = ("ffn", "cnn")
_KEYS = (
    Key("lsc_epochs", "int", 10, "host", "Epochs, each of lsc_steps iterations.", unit="epochs",
        low=1),
    Key("lsc_steps", "int", 100, "static", "Iterations of an epoch.", unit="steps", low=1),
    Key("lsc_batch", "int", 4, "static",
        "Samples whose Jacobians an iteration takes; published: a training batch.", unit="samples",
        low=1),
    Key("lsc_norm", "str", "radius", "static",
        "What is brought to the target: the spectral radius, 1 + its logarithm, sums over "
        "eigenvalues (supnpsd, supsubnpsd), or a matrix norm.", choices=NORMS),
    Key("lsc_estimate", "str", "exact", "static",
        "How radii are found: all eigenvalues, or power iteration, for large states.",
        choices=("exact", "power")),
    Key("lsc_kinds", "str", "all", "static",
        "Jacobians of a recurrent net that count: all, or those of one kind (see probe radius).",
        choices=("all", "rec", "enc", "depth", "dec")),
    Key("lsc_multiplier", "bool", True, "static",
        "Rescale weights by target / radius, clipped, beside the gradient steps."),
    Key("lsc_shuffle", "bool", True, "static", "Permute the entries of weights now and then."),
    Key("lsc_optimizer", "str", "adabelief", "static",
        "Rule of the gradient steps; adabelief within Lookahead.", choices=("adabelief", "adamw")),
    Key("lsc_balance", "str", "equal", "static",
        "Targets of steps through time and over depth. equal: both lsc_target; unbalanced: T/(L+T) "
        "and L/(L+T), whose sum is 1 as that of two targets of 1/2, so with lsc_target=0.5 only.",
        choices=("equal", "unbalanced")),
    Key("lsc_compat", "str", "none", "static",
        "published: what the source does and this stage otherwise does not, defects included; each "
        "engine says which.",
        choices=("none", "published")),
    Key("lsc_target", "float", 1.0, "traced", "Target of the radius.", low=0, open_low=True,
        aliases=("targetnorm",)),
    Key("lsc_lr", "float", None, "traced", "Learning rate of the gradient steps.", low=0,
        nullable=True, aliases=("lsclr",)),
    Key("lsc_weight_decay", "float", None, "traced", "Their weight decay.", low=0, nullable=True),
    Key("lsc_tolerance", "float", None, "traced",
        "A radius this close to its target is there.", low=0, nullable=True),
    Key("lsc_spread", "float", None, "traced",
        "Moving average of the squared distance from target below which weights may be saved, "
        "before the second save; .1 from then on.", low=0, nullable=True),
    Key("lsc_patience", "int", None, "traced",
        "End after more than this many iterations in a row near the target.", low=0,
        nullable=True),
    Key("gate_radius", "float", 0.02, "host",
        "Children start only when the mean radius is this close to its target.", low=0),
    Key("gate_std", "float", 0.2, "host",
        "Children start only when the standard deviation of the radii is at most this.", low=0),
)  # fmt: skip


def _check(config: Config) -> list[str]:
    problems = []
    model, batch = config.get("model"), config.get("batch_size")
    if model not in FAMILIES:
        known = ", ".join(FAMILIES)
        problems.append(f"stage lsc cannot pretrain model {model}; it can {known}")
    if batch is not None and config["lsc_batch"] > batch:
        problems.append(f"lsc_batch must be at most batch_size, which is {batch}")
    if model in _ONE_WAY and config["depth"] < 2:
        problems.append(
            f"stage lsc needs a depth of at least 2 for model {model}, to have square layers"
        )
    if model in _ONE_WAY and config["lsc_balance"] != "equal":
        problems.append(
            f"lsc_balance must be equal for model {model}, which has no steps through time"
        )
    elif config["lsc_balance"] == "unbalanced" and config["lsc_target"] != 0.5:
        problems.append(
            "lsc_balance=unbalanced shares out twice 1/2, so it needs lsc_target=0.5; got "
            f"lsc_target={config['lsc_target']:g}"
        )
    if FAMILIES.get(str(model)) == "linear":
        problems += [
            f"stage lsc knows only {key}={only} for model {model}"
            for key, only in (("lsc_norm", "radius"), ("lsc_kinds", "all"))
            if config[key] != only
        ]
        if config["depth"] < 2:
            problems.append(
                f"stage lsc needs depth of at least 2: it pairs layers of model {model}"
            )
    return problems


def _gate(config: Config, row: Mapping[str, Any]) -> str | None:
    metrics = row.get("metrics") or {}
    gap, std = metrics.get("radius_gap"), metrics.get("radius_std")
    for name, found, most in (
        ("the mean radius is {} from its target", gap, config["gate_radius"]),
        ("the radii have a standard deviation of {}", std, config["gate_std"]),
    ):
        if found is None or not math.isfinite(found):
            return "the pretraining ended without finite radii"
        if found > most:
            return f"{name.format(f'{found:.3g}')}, above the {in_full(most)} allowed"
    return None


LSC_PROBE = Probe(
    name="lsc",
    doc="What each iteration of the stage lsc measured, before it changed the weights.",
    columns=(
        Column("iteration", "int32", "Iteration of the trial, 0 first."),
        Column("kind", "string", "As in radius; block: a pair of consecutive operations of a "
               "feed-forward network, of which each iteration takes one."),
        Column("layer", "int32", "Layer whose weights enter the Jacobian, 0 nearest the input."),
        Column("radius", "float64", "Mean over samples of lsc_norm, by default the radius."),
        Column("target", "float64", "What it should be."),
    ),
)  # fmt: skip

LSC = Stage(
    name="lsc",
    version=1,
    build="trainables.lsc.engine:engine",
    doc="Bring the spectral radius of every one-step Jacobian to a target, without labels.",
    reads=("model", "task"),
    keys=_KEYS,
    epochs_key="lsc_epochs",
    gate=_gate,
    check=_check,
    task_loss=False,
    probes=(LSC_PROBE, WEIGHT_HISTOGRAM),
)
