"""Keys of how a training step computes, the same in every stage that trains by gradient steps."""

from __future__ import annotations

from collections.abc import Mapping

from trainables.declarations.core.keys import Key, Scalar

ACCUMULATE = Key(
    "accumulate", "int", 1, "static",
    "Equal parts of a batch that are computed one after another, so that a batch of any size fits "
    "in memory; the step is that of the whole batch.", unit="parts", low=1,
    aliases=("accumulate_grad_batches",),
)  # fmt: skip
COMPUTE_DTYPE = Key(
    "compute_dtype", "str", "float32", "static",
    "Type of the numbers of forward and backward pass; parameters, losses, statistics and the "
    "optimizer stay float32. float16 scales the loss.",
    choices=("float32", "bfloat16", "float16"),
)  # fmt: skip
STEP_KEYS = (ACCUMULATE, COMPUTE_DTYPE)
_NAMES = {
    **{key.name: key.default for key in STEP_KEYS},
    "dropout": 0.0,
    "first_std": 0.0,
    "val_seq_len": None,
}
"""Static keys that programs of before do not know, with the values at which they change nothing."""


def of_program(statics: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """What the hash of a program is made of: without the keys at their defaults that stores of
    before do not know."""
    return {name: v for name, v in statics.items() if name not in _NAMES or v != _NAMES[name]}


def uneven(accumulate: int, batch_size: int) -> str | None:
    """Why a batch cannot be divided so; None where it can."""
    if batch_size % accumulate == 0:
        return None
    return (
        f"accumulate={accumulate} must divide the batch into equal parts, and batch_size is "
        f"{batch_size}; choose a divisor of {batch_size}"
    )
