"""Which epoch's weights are kept, and that what the store gives back are those."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from orchestrator.plan.packs import Context, Lane, PackSpec, make_packs
from orchestrator.plan.studies import catalogue
from orchestrator.worker.pack_run import PackRun
from orchestrator.worker.weight_keeper import Keeper
from results import Store, create_store
from tests.support import tiny_study
from tests.support.small_trials import same, trial
from tests.support.stores import kept_epochs
from trainables.packs.pack import EpochResult, Pack

TINY = str(Path(__file__).parents[2] / "support" / "tiny_study.py")
TINY_CONFIG = {**tiny_study.GRID.param_space, "epochs": 5}
NAN = float("nan")


class Stand:
    """In the place of a pack: lane l's weights after epoch e are 100 l + e."""

    epoch = 0

    def weights(self, lane: int) -> dict[str, np.ndarray]:
        return {"w": np.array([100 * lane + self.epoch], np.float32)}


class Kept:
    """A keeper of lanes with these rules, its pack, and the store that it saves to."""

    def __init__(self, folder: Path, *rules: str, artifact: bool = False, attempt: int = 0):
        self.trials = [trial(keep_weights=rule, seed=seed) for seed, rule in enumerate(rules)]
        lanes = [
            Lane(one.id, one.config, attempt=attempt, artifact=artifact) for one in self.trials
        ]
        self.spec = PackSpec("pack", "program", lanes, len(lanes), "sequential")
        self.folder = folder / "store"
        self.store: Store = create_store(self.folder)
        self.calls = 0
        self.keeper = Keeper(self.spec, self.trials, self.store, self.guard)
        self.stand = Stand()
        self.pack = cast(Pack, self.stand)

    def guard(self) -> None:
        self.calls += 1

    def epoch(self, number: int, *losses: float) -> None:
        """An epoch of the first lanes, as many as there are losses; then what is due is saved."""
        self.stand.epoch = number
        result = EpochResult(
            epochs={"val_loss": np.array(losses)}, layers={}, steps={},
            step_index=np.array([], int),
            first_step=np.zeros(1, int), bad_step=np.full(len(losses), -1),
            finished=np.zeros(len(losses), bool), metrics={}, probes={},
        )  # fmt: skip
        self.keeper.after_epoch(number, range(len(losses)), self.pack, result)
        self.keeper.save()

    def end(self, lane: int, number: int, status: str = "done") -> None:
        self.keeper.at_end(lane, number, status, self.pack)
        self.keeper.save()

    def saved(self, lane: int = 0) -> dict[int, float]:
        """Epoch -> the weight that the store holds of the lane's trial."""
        found: dict[int, float] = {}
        for index in self.store.list_artifacts():
            for position, entry in enumerate(index["lanes"]):
                if entry["trial_id"] == self.trials[lane].id:
                    assert entry["epoch"] not in found
                    (value,) = self.store.load_lane(index["path"], position)["w"]
                    found[entry["epoch"]] = float(value)
        return found


@pytest.mark.parametrize(
    ("losses", "best"),
    [
        ([0.5, 0.25, 0.75], 1),
        ([0.5, 0.25, 0.25, 0.25], 1),  # the first of equal ones
        ([0.25, 0.25], 0),
        ([0.75, 0.5, 0.25], 2),
        ([NAN, 0.5, NAN, 0.5], 1),
        ([0.0, -0.0], 0),
    ],
)
def test_best_is_the_first_epoch_of_the_lowest_loss(
    tmp_path: Path, losses: list[float], best: int
) -> None:
    kept = Kept(tmp_path, "best")
    for number, loss in enumerate(losses):
        kept.epoch(number, loss)
    assert kept.saved() == {}, "nothing before the end but what a resume point needs"
    kept.end(0, len(losses) - 1)
    assert kept.saved() == {best: float(best)}


def test_best_of_losses_that_are_no_numbers_is_none(tmp_path: Path) -> None:
    kept = Kept(tmp_path, "best")
    kept.epoch(0, NAN)
    kept.epoch(1, float("inf"))
    kept.end(0, 1, "diverged")
    assert kept.saved() == {}


@pytest.mark.parametrize(
    ("rule", "epochs"), [("every:1", [0, 1, 2, 3, 4]), ("every:2", [1, 3]), ("every:5", [4]),
                         ("every:6", []), ("every:10", [])],
)  # fmt: skip
def test_every_k_is_after_each_kth_epoch_and_not_at_the_end(
    tmp_path: Path, rule: str, epochs: list[int]
) -> None:
    kept = Kept(tmp_path, rule)
    for number in range(5):
        kept.epoch(number, 1.0)
        assert list(kept.saved()) == [e for e in epochs if e <= number], "saved at once"
    kept.end(0, 4)
    assert kept.saved() == {e: float(e) for e in epochs}


@pytest.mark.parametrize("status", ["done", "stopped", "diverged", "gate_failed"])
def test_last_is_the_epoch_that_ended_it_however(tmp_path: Path, status: str) -> None:
    kept = Kept(tmp_path, "last")
    for number in range(3):
        kept.epoch(number, 1.0)
    assert kept.saved() == {}
    kept.end(0, 2, status)
    assert kept.saved() == {2: 2.0}


@pytest.mark.parametrize(
    ("rule", "artifact", "status", "epochs"),
    [
        ("none", False, "done", []),
        ("none", True, "done", [2]),
        ("none", True, "stopped", [2]),
        ("none", True, "gate_failed", []),
        ("best", True, "done", [1, 2]),
        ("best", True, "gate_failed", [1]),
        ("last", True, "done", [2]),
        ("every:2", True, "done", [1, 2]),
    ],
)
def test_what_a_child_starts_from_is_kept_unless_the_gate_refused_it(
    tmp_path: Path, rule: str, artifact: bool, status: str, epochs: list[int]
) -> None:
    kept = Kept(tmp_path, rule, artifact=artifact)
    for number, loss in enumerate([0.5, 0.25, 0.75]):
        kept.epoch(number, loss)
    kept.end(0, 2, status)
    assert kept.saved() == {e: float(e) for e in epochs}


def test_lanes_follow_their_own_rules_and_share_a_file(tmp_path: Path) -> None:
    kept = Kept(tmp_path, "best", "last", "every:2", "none")
    kept.epoch(0, 0.25, 1.0, 1.0, 1.0)
    kept.epoch(1, 0.5, 1.0, 1.0, 1.0)
    for lane in range(4):
        kept.keeper.at_end(lane, 1, "done", kept.pack)
    kept.keeper.save()
    assert [kept.saved(lane) for lane in range(4)] == [{0: 0.0}, {1: 101.0}, {1: 201.0}, {}]
    names = [index["path"] for index in kept.store.list_artifacts()]
    assert names == ["artifacts/pack-000001-2", "artifacts/pack-000001-0-1"]


def test_saves_of_two_launches_have_two_names_and_say_whose_they_are(tmp_path: Path) -> None:
    """Packs of the same attempts have one id in every store, and one may be copied into another."""
    kept = Kept(tmp_path, "last")
    for launch in ("0123456789abcdef", "fedcba9876543210"):
        kept.keeper.launch_id = launch
        kept.keeper.at_end(0, 1, "done", kept.pack)
        kept.keeper.save()
    saved = kept.store.list_artifacts()
    assert [index["path"] for index in saved] == [
        "artifacts/pack-0123456789ab-000001-0", "artifacts/pack-fedcba987654-000001-0",
    ]  # fmt: skip
    assert [index["lanes"][0]["launch_id"] for index in saved] == [
        "0123456789abcdef", "fedcba9876543210",
    ]  # fmt: skip


def test_a_resume_point_takes_the_best_so_far_along(tmp_path: Path) -> None:
    kept = Kept(tmp_path, "best", "best")
    kept.epoch(0, 0.5, 0.25)
    kept.epoch(1, 0.25, 0.75)
    kept.keeper.save(with_best=True)
    assert [kept.saved(lane) for lane in (0, 1)] == [{1: 1.0}, {0: 100.0}]
    assert kept.keeper.best == {0: 0.25, 1: 0.25}
    kept.epoch(2, 0.25, 0.125)  # equal to the best of lane 0: nothing new is kept of it
    for lane in (0, 1):
        kept.end(lane, 2)
    assert [kept.saved(lane) for lane in (0, 1)] == [{1: 1.0}, {0: 100.0, 2: 102.0}]


def test_a_resumed_lane_keeps_only_what_is_better_than_before(tmp_path: Path) -> None:
    kept = Kept(tmp_path, "best", "best", attempt=3)
    kept.keeper.best[0] = kept.keeper.best[1] = 0.25  # as `PackRun.start` takes it from the memo
    kept.epoch(4, 0.25, 0.125)
    kept.end(0, 4)
    kept.end(1, 4)
    assert [kept.saved(lane) for lane in (0, 1)] == [{}, {4: 104.0}]
    ((entry,),) = [index["lanes"] for index in kept.store.list_artifacts()]
    assert entry["attempt"] == 3


def test_the_guard_is_asked_before_each_save_and_can_stop_it(tmp_path: Path) -> None:
    kept = Kept(tmp_path, "every:2")
    kept.epoch(0, 1.0)
    assert kept.calls == 0, "nothing to save, nothing to ask"
    kept.epoch(1, 1.0)
    assert kept.calls == 1

    def refuse() -> None:
        raise PermissionError

    keeper = Keeper(kept.spec, kept.trials, kept.store, refuse)
    keeper.at_end(0, 2, "done", kept.pack)  # every:2 does not ask for it
    keeper.save()
    result: Any = None
    keeper.after_epoch(3, [0], kept.pack, result)
    with pytest.raises(PermissionError):
        keeper.save()
    assert list(kept.saved()) == [1]


def test_without_a_store_nothing_piles_up(tmp_path: Path) -> None:
    kept = Kept(tmp_path, "every:1")
    keeper = Keeper(kept.spec, kept.trials, None, kept.guard)
    result: Any = None
    for epoch in range(3):
        keeper.after_epoch(epoch, [0], kept.pack, result)
        keeper.save()
        assert keeper._gathered == []
    assert kept.calls == 0


def test_the_store_gives_back_the_weights_of_the_epochs_that_were_asked_for(
    tmp_path: Path,
) -> None:
    """A real pack: its four lanes keep what they are told to, bit for bit."""
    store, found = create_store(tmp_path / "store"), catalogue(TINY)
    # The third has its lowest loss in the middle; the last one never learns, so all are equal.
    rules = [("every:2", 1.0, 0), ("last", 1.0, 1), ("best", 1.0, 2), ("best", 0.0, 0)]
    trials = [
        found.registry.resolve({**TINY_CONFIG, "keep_weights": rule, "lr": lr, "seed": seed})
        for rule, lr, seed in rules
    ]
    (spec,) = make_packs(trials, {}, {}, devices=1, width=4)
    run = PackRun(spec, found.registry, store, Context())
    run.start()
    weights: list[list[dict[str, np.ndarray]]] = []
    losses: list[np.ndarray] = []
    done = False
    while not done:
        done = run.step().done
        assert run.last is not None
        losses.append(run.last.epochs["val_loss"])
        weights.append([run.pack.weights(lane) for lane in range(4)])
    best = int(np.argmin([loss[2] for loss in losses]))
    assert best == 2, "else the case does not tell the rules apart"
    assert len({loss[3] for loss in losses}) == 1
    kept = {0: [1, 3], 1: [4], 2: [best], 3: [0]}
    for lane, epochs in kept.items():
        trial_id = spec.lanes[lane].trial_id
        assert kept_epochs(store)[trial_id] == epochs
        for epoch in epochs:
            found_weights = store.weights(trial_id, epoch)
            assert found_weights.keys() == weights[epoch][lane].keys()
            for name, value in weights[epoch][lane].items():
                assert same(found_weights[name], value)
