"""Random kills of workers, nodes and drivers, until a number of them is reached:

    python -m tests.support.ray.chaos --kills 100 --seed 0

One smoke sweep on a cluster of two nodes is launched again and again until it is whole; then its
store must equal that of a sweep that nothing disturbed, row by row and bit by bit. Then the next
one begins.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.support.launches import Begun
from tests.support.ray.clusters import RayCluster
from tests.support.stores import differing, published, redone, rows, whole

EPOCHS = 150
NODES = 2
LONGEST_S = 12.0
"""Between two kills, at most."""


@dataclass
class Report:
    """What the kills did. `differing` counts rows that one store shows more often than the other:
    lost, doubled or changed."""

    seed: int
    kills: Counter[str] = field(default_factory=Counter)
    sweeps: int = 0
    launches: int = 0
    differing: int = 0
    redone_epochs: int = 0
    rows: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        kinds = ", ".join(f"{n} {kind}" for kind, n in sorted(self.kills.items()))
        return (
            f"{sum(self.kills.values())} kills ({kinds}) over {self.sweeps} sweeps in "
            f"{self.launches} launches, seed {self.seed}, {self.seconds:.0f} s: {self.rows} rows "
            f"of epochs, {self.differing} lost, doubled or differing rows in all tables, "
            f"{self.redone_epochs} published epochs trained again"
        )


class Chaos:
    """One run of it. `say` takes a line per kill and sweep. `reference` is a store that nothing
    disturbed, of as many epochs; without one it is launched first."""

    def __init__(
        self,
        seed: int,
        folder: Path,
        say: Callable[[str], None],
        epochs: int = EPOCHS,
        reference: Path | None = None,
    ):
        self.report = Report(seed)
        self._draw = random.Random(seed)
        self._folder = folder
        self._say = say
        self._epochs = f"epochs={epochs}"
        self._reference = reference
        self._names = 0

    def run(self, kills: int, cluster: RayCluster) -> Report:
        begun = time.monotonic()
        cluster.ensure("n1", "n2")
        reference = self._reference or self._folder / "reference"
        if self._reference is None:
            cluster.launch(reference, self._epochs).ended()
        while sum(self.report.kills.values()) < kills:
            store = self._folder / f"sweep-{self.report.sweeps}"
            self._sweep(store, kills, cluster)
            self._compare(reference, store)
        self.report.seconds = time.monotonic() - begun
        return self.report

    def _sweep(self, store: Path, kills: int, cluster: RayCluster) -> None:
        """Launches until the sweep is whole."""
        for _ in range(10 * kills):
            launch = cluster.launch(store, self._epochs)
            self.report.launches += 1
            while launch.poll() is None:
                if sum(self.report.kills.values()) >= kills:
                    launch.wait()
                else:
                    self._wait(launch)
                    self._kill(launch, store, cluster)
            if launch.returncode == 0:
                return
            assert launch.returncode in (1, -9), launch.said()
        raise AssertionError("the sweep does not end")

    def _wait(self, launch: Begun) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            launch.wait(self._draw.uniform(0.0, LONGEST_S))

    def _kill(self, launch: Begun, store: Path, cluster: RayCluster) -> None:
        if launch.poll() is not None:
            return
        kind = self._draw.choice(["worker", "node", "driver"])
        names = [name for name in cluster.nodes if name != "head"]
        name = self._draw.choice(names)
        if kind == "worker":
            busy = [worker for each in names for worker in cluster.nodes[each].workers()]
            if not busy:
                return  # none has started yet: another moment
            with contextlib.suppress(psutil.NoSuchProcess):
                self._draw.choice(busy).kill()
        elif kind == "node":
            cluster.nodes.pop(name).kill()
        else:
            launch.kill()
        self.report.kills[kind] += 1
        number = sum(self.report.kills.values())
        self._say(f"kill {number}: {kind}, {published(store)} rows published")
        if kind == "node":
            self._names += 1
            cluster.add(f"n{NODES + self._names}")
        elif kind == "driver":
            launch.wait()

    def _compare(self, reference: Path, store: Path) -> None:
        whole(store)
        report = self.report
        report.sweeps += 1
        found = differing(reference, store)
        report.differing += sum(found.values())
        report.redone_epochs += redone(store).epochs
        report.rows += rows(store)
        self._say(f"sweep {report.sweeps} is whole: {report}")
        assert found == {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=None, help="drawn if left out")
    given = parser.parse_args()
    seed = random.SystemRandom().randrange(2**31) if given.seed is None else given.seed
    print(f"seed {seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder, RayCluster() as cluster:
        chaos = Chaos(seed, Path(folder), lambda line: print(line, flush=True))
        print(chaos.run(given.kills, cluster))


if __name__ == "__main__":
    main()
