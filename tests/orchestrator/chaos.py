"""Random kills of workers, nodes and drivers, until a number of them is reached:

    python -m tests.orchestrator.chaos --kills 100 --seed 0

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

from results import open_store
from tests.orchestrator.clusters import RayCluster
from tests.orchestrator.launches import TABLES, count, except_counts, redone, rows, whole

EPOCHS = 150
NODES = 2
LONGEST_S = 12.0
"""Between two kills, at most."""


@dataclass
class Report:
    """What the kills did. `differing` counts rows that one store shows and the other does not."""

    seed: int
    kills: Counter[str] = field(default_factory=Counter)
    sweeps: int = 0
    launches: int = 0
    differing: int = 0
    doubled: int = 0
    redone_epochs: int = 0
    rows: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        kinds = ", ".join(f"{n} {kind}" for kind, n in sorted(self.kills.items()))
        return (
            f"{sum(self.kills.values())} kills ({kinds}) over {self.sweeps} sweeps in "
            f"{self.launches} launches, seed {self.seed}, {self.seconds:.0f} s: {self.rows} rows "
            f"of epochs, {self.differing} lost or differing rows in all tables, {self.doubled} "
            f"doubled, {self.redone_epochs} published epochs trained again"
        )


class Chaos:
    """One run of it. `say` takes a line per kill and sweep."""

    def __init__(self, seed: int, folder: Path, say: Callable[[str], None]):
        self.report = Report(seed)
        self._draw = random.Random(seed)
        self._folder = folder
        self._say = say
        self._names = 0

    def run(self, kills: int, cluster: RayCluster) -> Report:
        begun = time.monotonic()
        reference = self._folder / "reference"
        cluster.ensure("c0", "c1")
        calm = cluster.launch(reference, f"epochs={EPOCHS}")
        output, _ = calm.communicate(timeout=600)
        assert calm.returncode == 0, output
        while sum(self.report.kills.values()) < kills:
            store = self._folder / f"sweep-{self.report.sweeps}"
            self._sweep(store, kills, cluster)
            self._compare(reference, store)
        self.report.seconds = time.monotonic() - begun
        return self.report

    def _sweep(self, store: Path, kills: int, cluster: RayCluster) -> None:
        """Launches until the sweep is whole."""
        for _ in range(10 * kills):
            launch = cluster.launch(store, f"epochs={EPOCHS}")
            self.report.launches += 1
            with self._reading(launch):
                while launch.poll() is None:
                    if sum(self.report.kills.values()) >= kills:
                        launch.wait(600)
                    else:
                        self._wait(launch)
                        self._kill(launch, store, cluster)
            if launch.returncode == 0:
                return
        raise AssertionError("the sweep does not end")

    @contextlib.contextmanager
    def _reading(self, launch: subprocess.Popen[str]):
        """Nothing waits for a full pipe; what a launch that fails has said is shown."""
        log = self._folder / f"launch-{self.report.launches}.log"
        assert launch.stdout is not None
        with log.open("wb") as file:
            reader = subprocess.Popen(["cat"], stdin=launch.stdout, stdout=file)
            yield
            reader.wait(60)
        launch.stdout.close()
        if launch.returncode not in (0, 1, -9):
            raise AssertionError(log.read_text())

    def _wait(self, launch: subprocess.Popen[str]) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            launch.wait(self._draw.uniform(0.0, LONGEST_S))

    def _kill(self, launch: subprocess.Popen[str], store: Path, cluster: RayCluster) -> None:
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
        self._say(f"kill {sum(self.report.kills.values())}: {kind}, {rows(store)} rows published")
        if kind == "node":
            self._names += 1
            cluster.add(f"c{NODES + self._names}")
        elif kind == "driver":
            launch.wait(60)

    def _compare(self, reference: Path, store: Path) -> None:
        whole(store)
        report = self.report
        report.sweeps += 1
        report.differing += sum(except_counts(reference, store).values())
        for table in TABLES:
            counted = f"SELECT count(*) FROM {table}"
            report.doubled += max(0, count(store, counted) - count(reference, counted))
            report.differing += max(0, count(reference, counted) - count(store, counted))
        report.redone_epochs += redone(store).epochs
        report.rows += rows(store)
        keys = "SELECT trial_id, status, epochs_done FROM trials ORDER BY ALL"
        one, other = (open_store(str(s)).sql(keys).fetchall() for s in (reference, store))
        assert one == other
        self._say(f"sweep {report.sweeps} is whole: {report}")
        assert (report.differing, report.doubled) == (0, 0)


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
