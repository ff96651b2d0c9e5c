"""Keys of how a training step computes, the same in every stage that trains by gradient steps."""

from __future__ import annotations

from trainables.declarations.core.keys import Key

ACCUMULATE = Key(
    "accumulate", "int", 1, "static",
    "Equal parts of a batch that are computed one after another, so that a batch of any size fits "
    "in memory; the step is that of the whole batch.", unit="parts", low=1,
    aliases=("accumulate_grad_batches",), added=True,
)  # fmt: skip
COMPUTE_DTYPE = Key(
    "compute_dtype", "str", "float32", "static",
    "Type of the numbers of forward and backward pass; parameters, losses, statistics and the "
    "optimizer stay float32. float16 scales the loss.",
    choices=("float32", "bfloat16", "float16"), added=True,
)  # fmt: skip
STEP_KEYS = (ACCUMULATE, COMPUTE_DTYPE)


def uneven(accumulate: int, batch_size: int) -> str | None:
    """Why a batch cannot be divided so; None where it can."""
    if batch_size % accumulate == 0:
        return None
    return (
        f"accumulate={accumulate} must divide the batch into equal parts, and batch_size is "
        f"{batch_size}; choose a divisor of {batch_size}"
    )
