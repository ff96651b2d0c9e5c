"""Which lane strategy a pack settles on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.worker import lane_strategy
from trainables.declarations import builtin_registry

REGISTRY = builtin_registry()
PACE = {"sequential": 10.0, "vmap": 7.0}


class Machine:
    """A clock and packs that only let it advance; notes every epoch."""

    def __init__(self, pace: dict[str, float], start: float = 0.0):
        self.now, self.pace, self.start, self.epochs = 0.0, pace, start, list[str]()

    def monotonic(self) -> float:
        return self.now

    def pack(self, trials: Any, arrays: Any, *, width: int, lanes: str) -> Any:
        machine = self

        class Pack:
            steps = trials[0].sizes.steps

            def init(self) -> None: ...

            def epoch(self, epoch: int) -> None:
                machine.epochs.append(lanes)
                whole = machine.pace[lanes]
                # A sequence skips the lanes that nobody has.
                own = whole if lanes == "vmap" else whole * len(trials) / width
                machine.now += machine.start + own

        return Pack()


@pytest.fixture
def settle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`settle` for a pack of so many epochs, on a machine of a given pace."""
    monkeypatch.setenv("GRADSWEEP_CACHE", str(tmp_path))

    def found(
        pace: dict[str, float], strategy: str = "calibrate", epochs: int = 1000, width: int = 4,
        threads: int = 1, steps: int = 10_000, start: float = 0.0,
    ) -> tuple[str, list[str]]:  # fmt: skip
        machine = Machine(pace, start)
        monkeypatch.setattr(lane_strategy, "Pack", machine.pack)
        monkeypatch.setattr(lane_strategy, "time", machine)
        config = {"model": "vanilla_rnn", "task": "gaussian", "epochs": epochs}
        config["steps_per_epoch"] = steps
        trials = [REGISTRY.resolve({**config, "seed": seed}) for seed in range(width)]
        return lane_strategy.settle(strategy, trials, {}, width, threads), machine.epochs

    return found


def test_a_named_strategy_is_taken_and_the_default_on_a_cpu_is_a_sequence(settle: Any) -> None:
    assert settle(PACE, "vmap") == ("vmap", [])
    assert settle(PACE, "default") == ("sequential", [])
    assert settle(PACE, width=1) == ("sequential", [])


def test_a_long_pack_takes_the_faster_way_timed_in_turns(settle: Any) -> None:
    fast = {name: value / 10 for name, value in PACE.items()}
    chosen, epochs = settle(fast)
    assert chosen == "vmap"
    assert epochs == ["sequential"] * 2 + ["vmap", "sequential"] * 4


def test_slow_epochs_are_timed_fewer_times_and_by_one_lane(settle: Any) -> None:
    slow = {name: value * 10 for name, value in PACE.items()}
    chosen, epochs = settle(slow, steps=20_000)
    assert (chosen, epochs) == ("vmap", ["sequential"] * 2 + ["vmap"] * 2 + ["sequential"])


def test_quick_epochs_are_timed_for_a_second_and_their_start_counts_once(settle: Any) -> None:
    chosen, epochs = settle({"sequential": 0.1, "vmap": 0.11}, start=0.01, epochs=3000)
    assert chosen == "sequential"
    assert epochs.count("vmap") == epochs.count("sequential") - 2 == 6


def test_a_small_gain_is_not_worth_computing_ended_lanes(settle: Any) -> None:
    assert settle({"sequential": 10.0, "vmap": 9.7})[0] == "sequential"


def test_long_steps_are_arithmetic_which_vmap_does_not_save(settle: Any) -> None:
    assert settle(PACE, steps=100) == ("sequential", ["sequential"] * 2)


def test_a_short_pack_never_compiles_the_other_way(settle: Any) -> None:
    assert settle(PACE, epochs=5) == ("sequential", ["sequential"] * 2)


def test_the_choice_is_remembered_for_its_width_and_threads(settle: Any) -> None:
    assert settle(PACE)[0] == "vmap"
    assert settle(PACE) == ("vmap", [])
    slower = {"sequential": 10.0, "vmap": 13.0}
    assert settle(slower, width=16)[0] == "sequential"
    assert settle(slower, threads=2)[0] == "sequential"
    assert settle(slower) == ("vmap", [])
