"""What study ribeiro2020 claims of training, through `launch` and SQL alone.

Bounds are those of docs/specs/ribeiro2020.md, checks 12, 13, 15 and 16.
"""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from results import Store, open_store
from results.figures.ribeiro2020.orbits import EVENTS
from tests.support.launches import run, start, wait_for
from tests.support.stores import differing, published, rows, whole

pytestmark = pytest.mark.ray

SINE = "ribeiro2020/sine_small"
LEARNING = (
    "model=torch_lstm",
    "orbits_every=null",
    "contraction_every=null",
    "attractors_every=50",
)


@pytest.fixture(scope="module")
def learned(ray_session: str, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """LSTM and stable LSTM, three seeds and one, at the space's own size."""
    path = tmp_path_factory.mktemp("sine") / "store"
    for sets in (("stabilize=none",), ("stabilize=column_exact", "seed=0")):
        assert run(path, *LEARNING, *sets, space=SINE, tiny=()).exit_status == 0
    return open_store(str(path))


@pytest.mark.study
def test_sine_is_learned_by_acquiring_cycles(learned: Store) -> None:
    """Check 12 of the LSTM."""
    found = learned.sql(
        "WITH last AS (SELECT trial_id, max(epoch) AS epoch FROM epochs GROUP BY ALL) "
        "SELECT trial_id, any_value(e.loss) AS loss, "
        "count(DISTINCT input) FILTER (kind = 'quasi_periodic') AS cycles, "
        "median(abs(omega / input_value - 1)) FILTER (kind = 'quasi_periodic') AS off "
        "FROM last JOIN epochs e USING (trial_id, epoch) JOIN attractors a USING (trial_id, epoch) "
        "JOIN trials t USING (trial_id) WHERE t.variant = 'LSTM' GROUP BY ALL"
    ).rows()
    print(found)
    assert len(found) == 3
    good = [r for r in found if r["loss"] < 0.08 and r["cycles"] >= 9 and r["off"] < 0.03]
    assert len(good) >= 2
    events = learned.sql(f"SELECT trial_id, count(*) AS n FROM ({EVENTS}) GROUP BY ALL").rows()
    eventful = {row["trial_id"] for row in events}
    assert {row["trial_id"] for row in found} <= eventful


@pytest.mark.study
def test_a_stable_net_never_has_a_cycle_and_does_not_learn(learned: Store) -> None:
    """Check 12 of the stable LSTM."""
    loss, kinds = learned.sql(
        "SELECT arg_max(e.loss, e.epoch), list(DISTINCT a.kind) FROM epochs e "
        "JOIN trials t USING (trial_id) JOIN attractors a USING (trial_id) "
        "WHERE t.variant = 'sLSTM'"
    ).fetchall()[0]
    print(loss, kinds)
    assert 0.47 <= loss <= 0.50
    assert kinds == ["fixed_point"]


@pytest.mark.study
def test_gradients_are_large_around_bifurcations(learned: Store) -> None:
    """Before clipping: more than 50 times those of the plateau before."""
    found = learned.sql(
        "SELECT trial_id, max(grad_norm) FILTER (epoch >= 200) AS high, "
        "median(grad_norm) FILTER (epoch BETWEEN 50 AND 150) AS calm "
        "FROM epochs JOIN trials t USING (trial_id) WHERE t.variant = 'LSTM' GROUP BY ALL"
    ).rows()
    print(found)
    assert all(row["high"] > 50 * row["calm"] for row in found)


@pytest.mark.study
def test_order_is_learned_within_a_hundred_epochs(ray_session: str, tmp_path: Path) -> None:
    """Check 13: LSTM and oRNN over 60 steps, from chance."""
    store = tmp_path / "store"
    off = [f"{name}_every=null" for name in ("orbits", "attractors", "contraction")]
    space = "ribeiro2020/sequence_small"
    for sets in (("model=torch_lstm", "stabilize=none"), ("model=ornn",)):
        assert run(store, *off, *sets, space=space, tiny=()).exit_status == 0
    found = open_store(str(store)).sql(
        "SELECT t.variant, min(e.epoch) FILTER (e.val_accuracy >= 0.99) AS solved, "
        "arg_min(e.loss_first, e.epoch) AS loss, arg_min(e.val_accuracy, e.epoch) AS accuracy "
        "FROM epochs e JOIN trials t USING (trial_id) GROUP BY ALL"
    )
    by_net = {row["variant"]: row for row in found.rows()}
    print(by_net)
    assert all(row["solved"] < 100 for row in by_net.values())
    assert by_net["LSTM"]["loss"] == pytest.approx(math.log(4), abs=0.02)
    assert by_net["LSTM"]["accuracy"] == pytest.approx(0.25, abs=0.05)
    assert 2 <= by_net["oRNN"]["loss"] <= 3.4


@pytest.mark.slow
def test_a_grid_of_six_is_what_each_is_alone_and_survives_a_kill(
    ray_session: str, tmp_path: Path
) -> None:
    """Checks 15 and 16: three nets, two seeds, two at a time; a driver killed with -9."""
    brief = ("epochs=6", "seed=0,1", "attractors_every=null", "orbits_every=3")
    together, alone = tmp_path / "together", tmp_path / "alone"
    driver = start(together, *brief, address=None, space=SINE, tiny=())
    wait_for(lambda: published(together) >= 8, of=driver)
    driver.killed()
    assert 8 <= rows(together) < 6 * 6
    assert run(together, *brief, space=SINE, tiny=()).exit_status == 0
    whole(together)
    found = open_store(str(together)).sql(
        "SELECT count(*), count(DISTINCT (trial_id, epoch)), count(DISTINCT trial_id), "
        "count(grad_norm), count(grad_norm_clipped), count(metrics['lr']), "
        "count(metrics['clip_fraction']) FROM epochs"
    )
    assert found.fetchall() == [(36, 36, 6, 36, 36, 36, 36)]
    assert run(alone, *brief, space=SINE, tiny=(), width=1).exit_status == 0
    assert differing(together, alone) == {}
