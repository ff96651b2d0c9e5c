"""How lanes run together: vmap, or a sequential map inside one program."""

from __future__ import annotations

import jax

from trainables.core.lanes import Strategy

_NAMED: dict[str, Strategy] = {"sequential": "sequential", "vmap": "vmap"}


def strategy_here(wanted: str) -> Strategy:
    """The strategy of that name; for any other word, such as "default", vmap on an accelerator and
    sequential on a CPU.

    On a CPU vmap took 1.24 to 4 times as long in six spaces of the studies (docs/benchmarks.md).
    """
    on_cpu = jax.devices()[0].platform == "cpu"
    return _NAMED.get(wanted, "sequential" if on_cpu else "vmap")
