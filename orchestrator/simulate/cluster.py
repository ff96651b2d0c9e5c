"""The machines of a simulated launch."""

from __future__ import annotations

import math
from dataclasses import dataclass

from orchestrator.errors import RequestError

DETECT_S = 15.0
"""Until a vanished node is found dead: about five of Ray's health checks, three seconds apart."""


MAX_NODES = 100_000
"""Each is a process of the simulation, so a slip of the hand must not fill the memory."""


@dataclass(frozen=True)
class Cluster:
    """Machines to simulate.

    Attributes:
      nodes: machines. slots: packs each runs at once.
      preempt_rate: preemptions per node and hour, at random moments.
      restart_s: until a new node takes a preempted one's place.
      detect_s: until the driver knows that a node is gone.
      startup_s: of Ray and the workers on a new node, and of the launch itself.
      checkpoint_s: between resume points.
      shared_cache: nodes share one compile cache instead of each having its own.
      seed: of the preemptions.

    Raises:
      RequestError: a value that no cluster can have.
    """

    nodes: int = 1
    slots: int = 1
    preempt_rate: float = 0.0
    restart_s: float = 120.0
    detect_s: float = DETECT_S
    startup_s: float = 15.0
    checkpoint_s: float = 60.0
    shared_cache: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        problems = []
        for name, value in vars(self).items():
            least = 1 if name in ("nodes", "slots") else 0
            if name != "seed" and not (math.isfinite(value) and value >= least):
                what = name.removesuffix("_s").replace("_", " ")
                problems.append(f"{what} of a cluster: must be at least {least}, got {value:g}")
        if not problems and self.nodes > MAX_NODES:
            problems = [f"nodes of a cluster: at most {MAX_NODES:,} can be simulated"]
        if problems:
            raise RequestError(problems)
