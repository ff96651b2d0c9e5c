"""What JAX is told before it starts on a GPU, so that its numbers are those of float32 and come out
the same everywhere. Measured on an H100 (`benchmarks/results/gpu_choices.json`)."""

from collections.abc import Iterable

PRECISION = "JAX_DEFAULT_MATMUL_PRECISION"
XLA_FLAGS = (
    # Without it XLA times several ways of every product and takes the fastest: another process,
    # which compiled anew, found other bits. 28 lanes of a network took .346 s with it, .344 not.
    "--xla_gpu_deterministic_ops=true",
)
MATMUL_PRECISION = "float32"
"""JAX's own default there rounds the inputs of products to 10 bits (TF32), which moved loss and
norms of a 30-layer network's first steps by up to 2 % against single runs. PyTorch's is float32."""


def with_flags(given: str, flags: Iterable[str]) -> str:
    """XLA_FLAGS as given, then those of `flags` that it does not set."""
    return " ".join([given, *(f for f in flags if f.partition("=")[0] not in given)]).strip()
