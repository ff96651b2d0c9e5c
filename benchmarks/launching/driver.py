"""What a trial costs the driver of a launch, if it trains in no time; against plain Ray Tune."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any
from unittest import mock

import psutil
from ray import tune

from orchestrator.machine.resources import find_room
from orchestrator.plan.packs import Context, Lane, PackSpec
from orchestrator.plan.plan import plan
from orchestrator.queue.lease import Lease
from orchestrator.ray_backend.local import local_ray
from orchestrator.ray_backend.tune_run import drive
from orchestrator.ray_backend.tune_trainable import PackTrainable
from orchestrator.ray_backend.watch import RayWatch
from orchestrator.stopping import Stopping
from orchestrator.store_queue import store_queue
from orchestrator.worker.provenance import versions
from results import create_store

SPACE = "vanishing/depth"
SEEDS = 112
"""Of a space with 90 trials a seed: 10,080 trials."""

ALONE = 6
"""Seeds for packs of one, and 90 trials of plain Ray Tune for each."""

ROUNDS = 3
WARM = 0.1
"""Share of the trials that go before the clock starts: workers start, Tune settles."""


class InstantTrainable(PackTrainable):
    """The worker of a launch, whose lanes are all done after an epoch that computes nothing."""

    def _open(self) -> Any:
        return Instant(PackSpec.from_text(self._text), self._job["context"]["versions"])

    def _stop_wanted(self) -> bool:
        return False


@dataclass
class Instant:
    """Says what a `PackRun` says of a pack whose trials have one epoch."""

    spec: PackSpec
    versions: dict[str, str]
    idle: bool = False

    @property
    def signature(self) -> dict[str, Any]:
        return {"strategy": "sequential", "width": self.spec.width, "versions": self.versions}

    @property
    def epochs(self) -> list[int]:
        return [0] * self.spec.width

    def start(self) -> None:
        return None

    def free(self) -> list[int]:
        return list(range(0 if self.idle else len(self.spec.lanes), self.spec.width))

    def step(self) -> Any:
        from orchestrator.worker.run_progress import Progress

        self.idle = True
        ended = dict.fromkeys(self.spec.trial_ids, "done")
        return Progress(0, ended, signature=self.signature, done=True, trained=len(ended))

    def take(self, lanes: list[Lane]) -> dict[str, Any]:
        self.spec.lanes, self.idle = lanes, False
        return {}

    def close(self) -> None:
        return None


class PlainTrainable(tune.Trainable):
    """A trial as Ray Tune's users write it, that ends at once."""

    def setup(self, config: dict[str, Any]) -> None:
        self._seed = config["seed"]

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        return {"loss": float(self._seed), "done": True}


@dataclass
class Marks:
    """The driver's clocks and memory as each report of a pack comes, or a plain trial starts."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    rss: list[int] = field(default_factory=list)

    def mark(self, *_: object, **__: object) -> None:
        self.wall.append(time.perf_counter())
        self.cpu.append(time.process_time())
        self.rss.append(psutil.Process().memory_info().rss)

    def per_trial(self, values: list[Any], trials: int) -> float:
        """Growth of a value for each trial, the first ones left out."""
        first = int(len(values) * WARM)
        return (values[-1] - values[first]) / (trials * (1 - first / len(values)))


def run() -> tuple[dict[str, float], dict[str, float]]:
    """Seconds a trial, from the first tenth of the trials, when workers have started, to the last:
    10,080 trials of vanishing/depth through queue, fences, Tune and reports, in packs as planned
    for this machine; 540 in packs of one; and 540 of plain Ray Tune with `reuse_actors`, without
    loggers and checkpoints. Their workers answer at once. Also the driver's CPU time of a trial,
    all its threads together, and what its memory grows by, most of all rounds."""
    ways: dict[str, Callable[[Marks], int]] = {
        "packs as planned": lambda marks: _packs(marks, SEEDS),
        "packs of one": lambda marks: _packs(marks, ALONE, width=1),
        "plain Ray Tune": _plain,
    }
    found: dict[str, list[tuple[float, ...]]] = {name: [] for name in ways}
    with local_ray(find_room(), 1):
        for _ in range(ROUNDS):
            for name, work in ways.items():
                marks = Marks()
                trials = work(marks)
                growth = (marks.wall, marks.cpu, marks.rss)
                found[name].append(tuple(marks.per_trial(values, trials) for values in growth))
    medians = {n: [statistics.median(v) for v in zip(*r, strict=True)] for n, r in found.items()}
    facts = {}
    for name, (_, cpu, _) in medians.items():
        facts[f"{name}, CPU ms a trial"] = cpu * 1e3
        # Later rounds fill memory that earlier ones gave back.
        facts[f"{name}, bytes a trial"] = max(memory for *_, memory in found[name])
    return {name: wall for name, (wall, *_) in medians.items()}, facts


def _packs(marks: Marks, seeds: int, width: int | None = None) -> int:
    """A launch from its plan to the end of its queue; how many trials it had."""
    room = find_room()
    plans = plan(SPACE, store=None, set=[f"seed=range({seeds})"], width=width, devices=room.packs)
    with tempfile.TemporaryDirectory() as folder:
        store = create_store(folder)
        with Lease(store) as lease:
            context = Context(lease.id, SPACE, versions=versions())
            job = {"store": folder, "study": None, "context": asdict(context)}
            queue = store_queue(store, plans, lease, context, keep_going=False)
            talk = queue.talk

            def marked(runner: str, message: Mapping[str, Any]) -> dict[str, Any]:
                marks.mark()
                return talk(runner, message)

            queue.talk = marked
            patched = mock.patch(
                "orchestrator.ray_backend.tune_trainable.PackTrainable", InstantTrainable
            )
            with patched, Stopping() as stop:
                drive(
                    queue, job, lease, room.resources, room.packs, "plain", lambda text: None, stop,
                    RayWatch(), patient=False,
                )  # fmt: skip
    done = queue.snapshot().counts["done"]
    assert done == len(plans[0].trials), queue.reasons
    return done


def _plain(marks: Marks) -> int:
    """As many trials in the same Ray, with the same of Tune's options; how many."""

    class Starts(tune.Callback):
        on_trial_start = marks.mark

    trials = ALONE * 90
    with tempfile.TemporaryDirectory() as folder:
        tuner = tune.Tuner(
            tune.with_resources(PlainTrainable, find_room().resources),
            param_space={"seed": tune.grid_search(list(range(trials)))},
            tune_config=tune.TuneConfig(reuse_actors=True),
            run_config=tune.RunConfig(
                storage_path=folder,
                verbose=0,
                callbacks=[Starts()],
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        )
        results = tuner.fit()
    assert results.num_terminated == trials
    return trials
