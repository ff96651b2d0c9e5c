"""The study's numbers, through `launch` and SQL alone; means over three seeds."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from orchestrator.launch import launch
from results import Store, open_store

pytestmark = pytest.mark.ray


def _launch(store: Path, space: str, **sets: object) -> None:
    result = launch(space, store=str(store), set=sets, progress="none", say=lambda text: None)
    assert result.exit_status == 0


def _one(store: Store, sql: str) -> float:
    return float(store.sql(sql).fetchall()[0][0])


VANILLA = {"model": "vanilla_rnn", "activation": "tanh"}
RESIDUAL = {"model": "residual_rnn", "activation": "relu"}


@pytest.fixture(scope="module")
def twenty_layers(ray_session: str, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Gradients at initialisation on N(0,1) input with random labels; one program."""
    path = tmp_path_factory.mktemp("twenty") / "store"
    _launch(path, "vanishing/depth", **VANILLA, init=["default", "xavier"], depth=20)
    return open_store(str(path))


@pytest.fixture(scope="module")
def at_init(ray_session: str, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The same of other depths, and of nets with skips."""
    path = tmp_path_factory.mktemp("study") / "store"
    _launch(path, "vanishing/depth", **VANILLA, init="default")
    _launch(path, "vanishing/depth", **RESIDUAL, init="xavier", depth=20)
    return open_store(str(path))


_SLOPES = """
    SELECT avg(slope) FROM (
        SELECT t.seed, regr_slope(log10(l.grad_norm), l.layer) AS slope
        FROM layers l JOIN trials t USING (trial_id)
        WHERE l.tensor = '*' AND l.layer_name LIKE 'rnn%' AND t.model = 'vanilla_rnn'
            AND t.init = '{init}' AND t.depth = 20
        GROUP BY t.seed
    )
"""

_SMALLEST = """
    SELECT t.depth, avg(s.grad_norm_smallest) FROM steps s JOIN trials t USING (trial_id)
    WHERE s.step = 0 AND t.model = 'vanilla_rnn' AND t.init = 'default' GROUP BY 1 ORDER BY 1
"""


@pytest.mark.slow
def test_slope_over_depth(twenty_layers: Store) -> None:
    assert _one(twenty_layers, _SLOPES.format(init="default")) == pytest.approx(0.165, abs=0.03)
    assert abs(_one(twenty_layers, _SLOPES.format(init="xavier"))) < 0.08


@pytest.mark.study
def test_smallest_norm_falls_with_depth(at_init: Store) -> None:
    smallest = dict(at_init.sql(_SMALLEST).fetchall())
    values = [smallest[depth] for depth in (5, 10, 20, 30, 40)]
    assert values == sorted(values, reverse=True)
    assert 1e-5 < smallest[20] < 3e-4
    assert smallest[40] < 1e-6 < smallest[20]
    absolute = dict(
        at_init.sql(
            "SELECT t.depth, bool_and(d.vanishing_abs) FROM diagnosis d JOIN trials t "
            "USING (trial_id) WHERE t.model = 'vanilla_rnn' AND t.init = 'default' GROUP BY 1"
        ).fetchall()
    )
    assert absolute[40]
    assert not absolute[20]


@pytest.mark.study
def test_residual_scale(at_init: Store) -> None:
    found = at_init.sql(
        "SELECT t.residual_scale = 1 AS published, min(loss_first), max(loss_first), "
        "bool_and(d.verdict = 'exploding') FROM runs t JOIN diagnosis d USING (trial_id) "
        "WHERE t.model = 'residual_rnn' GROUP BY 1 ORDER BY 1"
    ).fetchall()
    (_, _, largest, exploding), (_, smallest, _, all_exploding) = found
    assert largest < 6
    assert not exploding
    assert smallest > 1e3
    assert all_exploding


@pytest.mark.study
def test_three_epochs_of_digits(ray_session: str, tmp_path: Path) -> None:
    path = tmp_path / "store"
    sets = {"layout": "pixels", "depth": 20, "pretrain": "none", "lr": 0.01, "epochs": 3}
    _launch(path, "vanishing/warmup", **sets, init=["default", "xavier"])
    found = open_store(str(path)).sql(
        "SELECT r.init, avg(r.loss), max(abs(r.loss - ln(10))), list(DISTINCT d.verdict), count(*) "
        "FROM runs r JOIN diagnosis d USING (trial_id) WHERE r.epoch = 2 GROUP BY 1 ORDER BY 1"
    )
    default, xavier = found.fetchall()
    assert default[2] < 0.02 * math.log(10)
    assert default[3:] == (["vanishing"], 3)
    assert xavier[1] < 1.2
    assert xavier[3:] == (["healthy"], 3)
