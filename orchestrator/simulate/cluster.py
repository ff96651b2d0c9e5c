"""The machines of a simulated launch."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.errors import RequestError

DETECT_S = 15.0
"""Until a vanished node is found dead: about five of Ray's health checks, three seconds apart."""


MOST = 100_000
"""Nodes, each a process of the simulation, and slots of each: a slip of the hand must not fill the
memory."""

LONGEST_S = 1e9
"""Thirty years, and no figure of a cluster is larger: sums stay finite."""


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
            least, most = (1, MOST) if name in ("nodes", "slots") else (0, LONGEST_S)
            if name != "seed" and not least <= value <= most:
                what = name.removesuffix("_s").replace("_", " ")
                problems.append(
                    f"{what} of a cluster: at least {least} and at most {most:,.0f}, got {value}"
                )
        if problems:
            raise RequestError(problems)
