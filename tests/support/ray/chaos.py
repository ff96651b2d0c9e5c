"""Random kills of workers, nodes and drivers, until a number of them is reached:

    python -m tests.support.ray.chaos --kills 100 --seed 0

One smoke sweep on a cluster of two nodes is launched again and again until it is whole; then its
store must equal that of a sweep that nothing disturbed, row by row and bit by bit. Then the next
one begins.

With `--prune halving` or `--prune asha` bad trials are pruned, and kills come right after rows of
decisions, trials or epochs are published; some are a notice to a worker (SIGTERM) or Ctrl-C. A
store of `halving` must equal that of a launch that nothing disturbed. One of `asha` must hold what
its decisions say, and no row but those of trials that ran to their ends.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.support import pruned_sweeps
from tests.support.launches import Begun
from tests.support.ray.clusters import RayCluster
from tests.support.stores import differing, parts, published, redone, rows, whole

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
    disturbed, of as many epochs; without one it is launched first. With a `rule` trials are pruned
    by it: the reference is of the same launch then, or of one without pruning for `asha`."""

    def __init__(
        self,
        seed: int,
        folder: Path,
        say: Callable[[str], None],
        epochs: int = EPOCHS,
        reference: Path | None = None,
        rule: str | None = None,
    ):
        self.report = Report(seed)
        self._draw = random.Random(seed)
        self._folder = folder
        self._say = say
        self._rule = rule
        self._changes = [f"epochs={epochs}"] if rule is None else [*pruned_sweeps.CHANGES]
        self._words = [] if rule is None else pruned_sweeps.words(rule)
        self._kinds = ["worker", "node", "driver"]
        self._kinds += [] if rule is None else ["notice", "Ctrl-C"]
        self._reference = reference
        self._names = 0

    def run(self, kills: int, cluster: RayCluster) -> Report:
        begun = time.monotonic()
        cluster.ensure("n1", "n2")
        reference = self._reference or self._folder / "reference"
        if self._reference is None:
            words = pruned_sweeps.words(None) if self._rule == "asha" else self._words
            cluster.launch(reference, *self._changes, words=words).ended()
        while sum(self.report.kills.values()) < kills:
            store = self._folder / f"sweep-{self.report.sweeps}"
            self._sweep(store, kills, cluster)
            self._compare(reference, store)
        self.report.seconds = time.monotonic() - begun
        return self.report

    def _sweep(self, store: Path, kills: int, cluster: RayCluster) -> None:
        """Launches until the sweep is whole."""
        for _ in range(10 * kills):
            launch = cluster.launch(store, *self._changes, words=self._words)
            self.report.launches += 1
            while launch.poll() is None:
                if sum(self.report.kills.values()) >= kills:
                    launch.wait()
                else:
                    self._wait(launch, store)
                    self._kill(launch, store, cluster)
            if launch.returncode == 0:
                return
            assert launch.returncode in (1, -9, 130), launch.said()
        raise AssertionError("the sweep does not end")

    def _wait(self, launch: Begun, store: Path) -> None:
        """For a while, or for some more parts of a table."""
        if self._rule is None or self._draw.random() < 0.2:
            with contextlib.suppress(subprocess.TimeoutExpired):
                launch.wait(self._draw.uniform(0.0, LONGEST_S))
            return
        table = self._draw.choice(["decisions", "trials", "epochs"])
        wanted = len(parts(store, table)) + self._draw.randint(1, 2)
        while launch.poll() is None and len(parts(store, table)) < wanted:
            time.sleep(0.01)

    def _kill(self, launch: Begun, store: Path, cluster: RayCluster) -> None:
        if launch.poll() is not None:
            return
        kind = self._draw.choice(self._kinds)
        names = [name for name in cluster.nodes if name != "head"]
        name = self._draw.choice(names)
        if kind in ("worker", "notice"):
            busy = [worker for each in names for worker in cluster.nodes[each].workers()]
            if not busy:
                return  # none has started yet: another moment
            with contextlib.suppress(psutil.NoSuchProcess):
                how = signal.SIGKILL if kind == "worker" else signal.SIGTERM
                self._draw.choice(busy).send_signal(how)
        elif kind == "node":
            cluster.nodes.pop(name).kill()
        else:
            launch.send_signal(signal.SIGKILL if kind == "driver" else signal.SIGINT)
        self.report.kills[kind] += 1
        number = sum(self.report.kills.values())
        self._say(f"kill {number}: {kind}, {published(store)} rows published")
        if kind == "node":
            self._names += 1
            cluster.add(f"n{NODES + self._names}")
        elif kind in ("driver", "Ctrl-C"):
            launch.wait()

    def _compare(self, reference: Path, store: Path) -> None:
        whole(store)
        report = self.report
        report.sweeps += 1
        if self._rule is not None:
            pruned_sweeps.check_ends(store)
            pruned_sweeps.check_decisions(store, self._rule)
        compare = pruned_sweeps.rows_of_another if self._rule == "asha" else differing
        found = compare(reference, store)
        report.differing += sum(found.values())
        report.redone_epochs += redone(store).epochs
        report.rows += rows(store)
        self._say(f"sweep {report.sweeps} is whole: {report}")
        assert found == {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=None, help="drawn if left out")
    parser.add_argument("--prune", choices=["halving", "asha"], default=None)
    given = parser.parse_args()
    seed = random.SystemRandom().randrange(2**31) if given.seed is None else given.seed
    print(f"seed {seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder, RayCluster() as cluster:
        chaos = Chaos(seed, Path(folder), lambda line: print(line, flush=True), rule=given.prune)
        print(chaos.run(given.kills, cluster))


if __name__ == "__main__":
    main()
