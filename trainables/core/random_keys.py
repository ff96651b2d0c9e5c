"""Random keys by name. A trial's numbers come from its seed, never from its lane, pack or host."""

from __future__ import annotations

import zlib

import jax


def named_key(key: jax.Array, name: str, *counters: int | jax.Array) -> jax.Array:
    """The key for one purpose, and one epoch or step of it.

    Args:
      key: a typed key, usually `jax.random.key(seed)` (threefry).
      name: the purpose ("shuffle", "init"); its CRC-32 is folded in, so that adding a purpose
        changes no other.
      counters: folded in after the name, in order.
    """
    key = jax.random.fold_in(key, zlib.crc32(name.encode()))
    for counter in counters:
        key = jax.random.fold_in(key, counter)
    return key


def trial_key(seed: int | jax.Array) -> jax.Array:
    """The root key of a trial."""
    return jax.random.key(seed)
