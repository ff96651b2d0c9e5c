"""Launches replayed on simulated clusters, and one of them against a real launch."""

from __future__ import annotations

import importlib
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.cli import app as cli
from orchestrator.errors import RequestError
from orchestrator.plan.packs import Lane, PackSpec
from orchestrator.queue.losses import MAX_DEATHS
from orchestrator.simulate.cluster import Cluster
from orchestrator.simulate.pace import Pace
from orchestrator.simulate.publishing import LaneWork
from orchestrator.simulate.replay import HANDOVER_S, Replay
from orchestrator.simulate.simulate import simulate

STUDY = str(Path(__file__).parents[2] / "support" / "tiny_study.py")
PACE_S = Pace(pack_s=1.0, lane_s=0.0, compile_s=4.0, cached_s=1.0)
NEVER = 1e9
"""Seconds between resume points that no pack lives to see."""


def pack(
    name: str,
    lanes: int = 1,
    program: str | None = None,
    parents: Sequence[str | None] = (None,),
) -> PackSpec:
    """A pack of trials `name.0`, `name.1`, ...; of a program of its own unless one is named."""
    slots = [Lane(f"{name}.{lane}", {}, parents[lane % len(parents)]) for lane in range(lanes)]
    return PackSpec(name, program or name, slots, lanes, "default")


def play(
    packs: Sequence[PackSpec],
    cluster: Cluster,
    epochs: int | dict[str, int] = 10,
    pace: Pace = PACE_S,
) -> Replay:
    names = [lane.trial_id for one in packs for lane in one.lanes]
    each = epochs if isinstance(epochs, dict) else dict.fromkeys(names, epochs)
    work = {name: LaneWork(each[name], (("epochs", 1.0),)) for name in names}
    # A queue changes the packs it is given.
    fresh = [PackSpec.from_json(one.to_json()) for one in packs]
    replay = Replay(cluster, fresh, work, {one.program: pace for one in packs}, dict(each))
    replay.run()
    return replay


# ---- without preemptions: what can be said on paper ------------------------------------------


@pytest.mark.parametrize(
    ("count", "nodes", "slots"), [(1, 1, 1), (7, 1, 2), (24, 3, 4), (25, 3, 4)]
)
def test_equal_packs_take_a_round_each(count: int, nodes: int, slots: int) -> None:
    cluster = Cluster(nodes=nodes, slots=slots, startup_s=20.0)
    tally = play([pack(f"p{n}", 3) for n in range(count)], cluster).tally
    rounds = math.ceil(count / (nodes * slots))
    one = HANDOVER_S + 4.0 + 10 * 1.0
    assert tally.makespan_s == pytest.approx(20.0 + rounds * one)
    assert tally.paid_s == pytest.approx(tally.makespan_s * nodes * slots)
    assert tally.train_s == pytest.approx(count * 10)
    assert tally.start_s == pytest.approx(count * (HANDOVER_S + 4))
    assert tally.rows == {"trials": 6 * count, "epochs": 30 * count}
    assert (tally.compiled, tally.cached) == (count, 0)


def test_the_first_pack_of_a_program_compiles_and_the_others_wait_for_it() -> None:
    packs = [pack(f"p{n}", program="same") for n in range(5)]
    replay = play(packs, Cluster(slots=8, startup_s=0.0))
    assert (replay.tally.compiled, replay.tally.cached) == (1, 4)
    assert replay.started == {f"p{n}.0": 0.0 for n in range(5)}
    compiled, cached = HANDOVER_S + 4.0, HANDOVER_S + 1.0
    ends = {f"p{n}.0": pytest.approx(compiled + (cached if n else 0.0) + 10.0) for n in range(5)}
    assert replay.ended == ends


@pytest.mark.parametrize("shared", [False, True])
def test_each_node_compiles_for_itself_unless_they_share_a_cache(shared: bool) -> None:
    packs = [pack(f"p{n}", program="same") for n in range(9)]
    cluster = Cluster(nodes=3, startup_s=0.0, shared_cache=shared)
    assert play(packs, cluster).tally.compiled == (1 if shared else 3)


def test_lanes_end_at_their_own_epochs_and_children_start_then() -> None:
    parents = pack("parent", 2)
    children = [pack("early", parents=["parent.0"]), pack("late", parents=["parent.1"])]
    epochs = {"parent.0": 3, "parent.1": 8, "early.0": 1, "late.0": 1, "other.0": 1}
    packs = [parents, pack("other"), *children]
    replay = play(packs, Cluster(slots=2, startup_s=0.0), epochs)
    begun = HANDOVER_S + 4.0
    assert replay.ended["parent.0"] == replay.started["early.0"] == pytest.approx(begun + 3)
    assert replay.ended["parent.1"] == replay.started["late.0"] == pytest.approx(begun + 8)


def test_a_trial_takes_the_slot_of_one_that_has_ended() -> None:
    """Two slots of one program: 9 epochs, while 3, 4 and 2 follow one another; no pack starts."""
    one = replace(pack("p", 4), width=2)
    epochs = {"p.0": 9, "p.1": 3, "p.2": 4, "p.3": 2}
    replay = play([one], Cluster(startup_s=0.0), epochs)
    begun = HANDOVER_S + 4.0
    ends = {"p.0": 9, "p.1": 3, "p.2": 7, "p.3": 9}
    assert replay.ended == {name: pytest.approx(begun + end) for name, end in ends.items()}
    assert replay.started["p.2"] == replay.ended["p.1"]
    tally = replay.tally
    assert (tally.attempts, tally.compiled) == (1, 1)
    assert tally.rows == {"trials": 8, "epochs": pytest.approx(18)}
    assert tally.train_s == pytest.approx(9)


@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=30),
    st.integers(1, 4),
    st.integers(1, 4),
    st.floats(0, 10),
)
def test_more_nodes_are_never_slower_on_independent_packs(
    epochs: list[int], nodes: int, slots: int, start: float
) -> None:
    packs = [pack(f"p{n}") for n in range(len(epochs))]
    each = {f"p{n}.0": count for n, count in enumerate(epochs)}
    spans = []
    for more in (0, 1, 5):
        cluster = Cluster(nodes=nodes + more, slots=slots)
        tally = play(packs, cluster, each, Pace(1.0, 0.0, start, start)).tally
        spans.append(tally.makespan_s)
        assert (tally.redone_epochs, tally.redone_s, tally.redone_rows) == (0, 0.0, 0.0)
        assert (tally.preemptions, tally.lost_packs) == (0, 0)
        assert tally.attempts == len(packs)
    assert spans == sorted(spans, reverse=True)


# ---- with them ---------------------------------------------------------------------------------


@st.composite
def forests(draw: st.DrawFn) -> list[PackSpec]:
    """Packs whose lanes may wait for lanes of packs before them, of a few programs."""
    packs: list[PackSpec] = []
    for number in range(draw(st.integers(1, 8))):
        before = [lane.trial_id for one in packs for lane in one.lanes]
        choice = st.sampled_from([None, *before])
        lanes = draw(st.integers(1, 3))
        parents = [draw(choice) for _ in range(lanes)]
        packs.append(pack(f"p{number}", lanes, draw(st.sampled_from("abc")), parents))
    return packs


clusters = st.builds(
    Cluster,
    nodes=st.integers(1, 3),
    slots=st.integers(1, 3),
    preempt_rate=st.sampled_from([0.0, 5.0, 60.0]),
    restart_s=st.sampled_from([0.0, 100.0]),
    detect_s=st.sampled_from([0.0, 15.0, 200.0]),
    startup_s=st.sampled_from([0.0, 5.0]),
    checkpoint_s=st.sampled_from([0.0, 5.0]),  # else a launch may never end: no death counts
    seed=st.integers(0, 1000),
)


@given(forests(), clusters, st.data())
def test_every_trial_ends_exactly_once_and_after_its_parent(
    packs: list[PackSpec], cluster: Cluster, data: st.DataObject
) -> None:
    lanes = [lane for one in packs for lane in one.lanes]
    epochs = {lane.trial_id: data.draw(st.integers(0, 40)) for lane in lanes}
    replay = play(packs, cluster, epochs)  # asserts by itself that none ends twice
    queue, tally = replay.queue, replay.tally
    assert queue.outcomes.keys() == epochs.keys()
    assert not queue.running
    done = {name for name, status in queue.outcomes.items() if status == "done"}
    assert done == replay.ended.keys()
    for lane in lanes:
        if lane.parent_id and lane.trial_id in replay.started:
            assert replay.started[lane.trial_id] >= replay.ended[lane.parent_id]
        if lane.parent_id and queue.outcomes[lane.parent_id] != "done":
            assert queue.outcomes[lane.trial_id] == "blocked"
    assert tally.attempts >= tally.lost_packs
    assert tally.compiled + tally.cached <= tally.attempts
    assert tally.train_s + tally.start_s <= tally.paid_s * (1 + 1e-9) + 1e-6
    if not cluster.preempt_rate:
        assert len(done) == len(lanes)
        assert (tally.redone_epochs, tally.lost_packs) == (0, 0)
    if len(done) == len(lanes):
        wanted = sum(max(count, 1) for count in epochs.values())
        assert tally.rows["epochs"] == pytest.approx(wanted + tally.redone_rows)


@given(st.integers(0, 1000))
def test_the_same_seed_gives_the_same_launch(seed: int) -> None:
    packs = [pack(f"p{n}", 2, "same") for n in range(20)]
    cluster = Cluster(nodes=2, slots=2, preempt_rate=60.0, checkpoint_s=3.0, seed=seed)
    found = [asdict(play(packs, one).tally) for one in (cluster, replace(cluster), cluster)]
    assert found[0] == found[1] == found[2]


def test_another_seed_gives_another_launch() -> None:
    packs = [pack(f"p{n}") for n in range(20)]
    cluster = Cluster(nodes=2, preempt_rate=30.0)
    spans = {play(packs, replace(cluster, seed=seed)).tally.makespan_s for seed in range(8)}
    assert len(spans) > 1


def test_preemptions_come_as_often_as_asked() -> None:
    packs = [pack(f"p{n}", program="same") for n in range(3000)]
    cluster = Cluster(nodes=10, preempt_rate=6.0, restart_s=0.0, startup_s=0.0, checkpoint_s=0.0)
    tally = play(packs, cluster, epochs=100).tally
    hours = tally.paid_s / 3600
    assert hours > 80
    assert tally.preemptions == pytest.approx(6 * hours, rel=0.15)
    # A pack saves after every epoch, so half of one is under way when its node goes.
    assert tally.redone_epochs == 0
    assert 0.3 < tally.redone_s / tally.lost_packs < 0.7


def test_resume_points_limit_what_is_redone() -> None:
    packs = [pack(f"p{n}") for n in range(40)]
    cluster = Cluster(nodes=4, preempt_rate=10.0, seed=3)
    often, seldom = (
        play(packs, replace(cluster, checkpoint_s=every), epochs=100).tally
        for every in (10.0, NEVER)
    )
    assert 0 < often.redone_epochs < seldom.redone_epochs
    assert often.redone_epochs <= 11 * often.lost_packs


def test_a_pack_that_no_node_outlives_is_an_error() -> None:
    """Preemptions are no failures, so a launch would try for ever."""
    cluster = Cluster(preempt_rate=600.0, checkpoint_s=NEVER)
    with pytest.raises(RequestError, match=r"no pack ever gets further: .* --checkpoint-seconds"):
        play([pack("long"), pack("child", parents=["long.0"])], cluster, epochs=2_000)


def test_nodes_that_never_come_up_are_an_error() -> None:
    with pytest.raises(RequestError, match=r"no pack ever gets further: .* lower --preempt-rate"):
        play([pack("p")], Cluster(preempt_rate=1e7))


def test_preemptions_are_no_failures() -> None:
    cluster = Cluster(preempt_rate=60.0, checkpoint_s=5.0)
    replay = play([pack("long")], cluster, epochs=2000)
    assert replay.queue.outcomes == {"long.0": "done"}
    assert replay.tally.lost_packs > 2 * MAX_DEATHS


# ---- plans -------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [0.0, 120.0])
def test_a_plan_with_stages_runs_whole(rate: float) -> None:
    cluster = Cluster(
        nodes=2, preempt_rate=rate, restart_s=10.0, startup_s=1.0, checkpoint_s=0.0, seed=1
    )
    grid = {"seed": list(range(6)), "epochs": 4}
    found = simulate(
        "tiny/staged", cluster, seconds_per_epoch=5.0, compile_s=2.0, study=STUDY, set=grid
    )
    (one,) = found.plans
    tally = found.tally
    assert found.outcomes == {"done": len(one.to_run)} == {"done": 18}
    assert (tally.lost_packs > 0) == (rate > 0)
    rows = {table: round(tally.rows[table]) for table in one.rows}
    begun_again = rows.pop("trials") - one.rows["trials"]
    assert 0 <= begun_again <= 12 * tally.lost_packs
    assert rows == {table: count for table, count in one.rows.items() if table != "trials"}
    # The six warm-ups are two packs, one for each node, whose last weights the children need.
    assert tally.saves == 2
    assert found.resident >= found.held


def test_spaces_that_share_trials_run_them_once() -> None:
    found = simulate("tiny", Cluster(slots=2), seconds_per_epoch=1.0, study=STUDY)
    distinct = {trial.id for one in found.plans for trial in one.to_run}
    assert found.outcomes == {"done": len(distinct)}
    assert found.tally.rows["trials"] == 2 * len(distinct)


# ---- the command -------------------------------------------------------------------------------


def said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str
) -> tuple[int, str, str]:
    """Exit status and output of `gradsweep simulate tiny/grid ...`."""
    request = ["simulate", "tiny/grid", "--study", STUDY, "--store", "none", *words]
    monkeypatch.setenv("GRADSWEEP_TRACEBACK", "")
    monkeypatch.setattr(sys, "argv", ["gradsweep", *request])
    importlib.import_module("orchestrator.cli.simulate")
    with pytest.raises(SystemExit) as ended:
        cli.main()
    shown = capsys.readouterr()
    return int(ended.value.code or 0), shown.out, shown.err


CLUSTER = ["--nodes", "2", "--gpus-per-node", "4", "--preempt-rate", "20"]
PACE = ["--seconds-per-epoch", "30", "--compile-seconds", "10"]


def test_the_command_prints_lines_or_json(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    status, text, _ = said(capsys, monkeypatch, *CLUSTER, *PACE)
    assert status == 0
    for word in ("makespan", "device-hours", "preemptions", "redone", "compiles", "driver"):
        assert word in text
    assert "1 as given (30 s an epoch of a pack" in text
    assert "--show" not in text  # an option of `plan`
    status, text, _ = said(capsys, monkeypatch, *CLUSTER, *PACE, "--json")
    assert status == 0
    found = json.loads(text)
    assert found["cluster"]["nodes"] == 2
    assert found["cluster"]["slots"] == 4
    assert found["outcomes"] == {"done": 4}
    assert found["programs"] == 1
    assert found["programs_measured"] == 0


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (CLUSTER, "1 of 1 program has no finished attempt on a GPU in this store"),
        ([*PACE, "--preempt-rate", "inf"], "preempt rate of a cluster"),
        ([*PACE, "--startup-seconds", "inf"], "startup of a cluster"),
        ([*PACE, "--cpus", "9" * 400], "slots of a cluster: at least 1 and at most 100,000"),
        ([*PACE, "--nodes", "0"], "--nodes"),
        ([*PACE, "--nodes", "1000000000"], "nodes of a cluster: at least 1 and at most 100,000"),
        ([*PACE, "--preempt-rate", "-1"], "--preempt-rate"),
        (["--seconds-per-epoch", "0"], "--seconds-per-epoch"),
        (["--seconds-per-epoch", "1e308"], "seconds per epoch: at least 1e-06 and at most 1e+09"),
        ([*PACE, "--lanes", "some"], "--lanes must be"),
    ],
)
def test_a_wrong_request_is_one_sentence(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    why: str,
) -> None:
    status, text, error = said(capsys, monkeypatch, *words)
    assert status == 2
    assert text == ""
    assert why in error
    assert "Traceback" not in error
