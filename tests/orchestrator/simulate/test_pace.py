"""The pace of packs, from attempts as a store holds them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import RequestError
from orchestrator.plan.plan import plan
from orchestrator.simulate.cluster import Cluster
from orchestrator.simulate.pace import CACHED_SHARE, Pace, find_paces, measured_paces
from orchestrator.simulate.simulate import simulate

STUDY = str(Path(__file__).parents[2] / "support" / "tiny_study.py")
BEGUN = datetime(2026, 1, 1, tzinfo=UTC)


def attempts(
    pack: str,
    lanes: int,
    *,
    program: str = "p",
    epochs: int = 10,
    seconds: float = 20.0,
    other: float = 8.0,
    strategy: str = "sequential",
    device: str = "cpu",
    width: int = 4,
    after: float = 0.0,
) -> list[dict[str, Any]]:
    """Rows of one pack: `seconds` of each lane, and `other` seconds of the pack beside training.
    It starts `after` seconds."""
    begun = BEGUN + timedelta(seconds=after)
    span = timedelta(seconds=lanes * seconds + other)
    return [
        {
            "program": program,
            "launch_id": "launch",
            "pack": pack,
            "lane": lane,
            "device": f"{device}:{device}",
            "signature": json.dumps({"width": width, "strategy": strategy}),
            "first_epoch": 0,
            "epochs_done": epochs,
            "seconds": seconds,
            "compile_seconds": other / 2,
            "host": "here",
            "started": begun,
            "ended": begun + span,
        }
        for lane in range(lanes)
    ]


def test_lanes_in_sequence_cost_each_their_time() -> None:
    rows = [
        *attempts("a", 4, other=30),
        *attempts("b", 2, other=2, after=50),
        *attempts("c", 4, other=4, after=50),
    ]
    pace = measured_paces(rows, gpu=False, widths={"p": 8})["p"]
    assert (pace.pack_s, pace.compile_s, pace.cached_s) == (0.0, 30.0, 3.0)
    assert pace.measured
    assert pace.epoch_s(3) == pytest.approx(6.0)


def test_a_pack_that_waited_for_the_compiler_did_not_start_slowly() -> None:
    waited = attempts("b", 2, other=28, after=5)
    for row in waited:
        row["compile_seconds"] = 1.0
    elsewhere = [{**row, "host": "there"} for row in waited]
    pace = measured_paces([*attempts("a", 4, other=30), *waited], gpu=False, widths={"p": 4})["p"]
    assert (pace.compile_s, pace.cached_s) == (30.0, 3.0)
    pace = measured_paces([*attempts("a", 4, other=30), *elsewhere], gpu=False, widths={"p": 4})
    assert pace["p"].cached_s == 28.0


def test_lanes_under_vmap_cost_their_width() -> None:
    rows = attempts("a", 2, strategy="vmap", device="gpu", width=4, other=10)
    pace = measured_paces(rows, gpu=True, widths={"p": 8})["p"]
    # Two lanes of 2 s an epoch were a pack of width 4 that took 4 s; a pack of width 8 takes 8 s.
    assert pace.epoch_s(1) == pace.epoch_s(8) == pytest.approx(8.0)
    assert pace.cached_s == pytest.approx(10 * CACHED_SHARE)


def test_trials_that_followed_one_another_in_a_slot_were_not_side_by_side() -> None:
    rows = attempts("a", 4, strategy="vmap", device="gpu", width=2, other=10)
    for row in rows:  # two slots, each of which had two trials: 20 epochs that took 80 s
        row["lane"] //= 2
    pace = measured_paces(rows, gpu=True, widths={"p": 2})["p"]
    assert pace.epoch_s(2) == pytest.approx(4.0)


def test_a_program_seen_once_starts_from_the_cache_as_the_others_do() -> None:
    rows = [
        *attempts("a", 1, other=10),
        *attempts("b", 1, other=5, after=30),
        *attempts("c", 1, program="q", other=40),
    ]
    paces = measured_paces(rows, gpu=False, widths={"p": 1, "q": 1})
    assert paces["q"].cached_s == pytest.approx(20.0)


def test_another_device_unfinished_attempts_and_other_programs_tell_nothing() -> None:
    running = [{**row, "ended": None} for row in attempts("a", 2)]
    killed = [{**row, "epochs_done": 0} for row in attempts("b", 2)]
    rows = [*running, *killed, *attempts("c", 2, program="q"), *attempts("d", 2, device="gpu")]
    assert measured_paces(rows, gpu=False, widths={"p": 4}) == {}


def test_what_was_never_measured_needs_a_figure() -> None:
    plans = plan("tiny/grid", store=None, study=STUDY)
    with pytest.raises(RequestError, match=r"1 of 1 program .* on a GPU .* --seconds-per-epoch"):
        find_paces(plans, None, gpu=True)
    (pace,) = find_paces(plans, None, True, seconds_per_epoch=3.0, compile_s=20.0).values()
    assert pace == Pace(3.0, 0.0, 20.0, 20.0 * CACHED_SHARE)


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf")])
def test_a_pace_is_a_positive_number(seconds: float) -> None:
    with pytest.raises(RequestError, match="seconds per epoch"):
        simulate("tiny/grid", Cluster(), seconds_per_epoch=seconds, study=STUDY)
