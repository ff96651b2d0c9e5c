"""Stages with loops of their own: an analysis without a model, run through a pack."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trainables.core.engine import Analysis, State
from trainables.declarations import Column, Key, PartError, Probe, Stage, Trial, builtin_registry
from trainables.packs.pack import Pack


class Powers(Analysis):
    """Rows k, base^k; the rows past `shown_to` are left out."""

    def __init__(self, trial: Trial, task: None, values: Mapping[str, Any]):
        assert task is None
        self.count = int(trial.config["count"] or 0)
        self.shared_columns = {"powers": {"k": np.arange(self.count, dtype=np.int32)}}

    def epoch(
        self, state: State, values: Mapping[str, jax.Array], epoch: jax.Array, data: Any
    ) -> tuple[State, dict[str, Any]]:
        k = jnp.arange(self.count)
        columns = {"value": values["base"] ** k, "shown": k <= values["shown_to"]}
        return state, {"probes": {"powers": columns}, "finished": jnp.bool_(True)}


POWERS = Stage(
    name="powers",
    version=1,
    reads=(),
    epochs_key=None,
    probes=("powers",),
    build=Powers,
    keys=(
        Key("base", "float", 2.0, "traced"),
        Key("shown_to", "int", 100, "traced"),
        Key("count", "int", 5, "static"),
    ),
)


COLUMNS = (Column("k", "int32", "Exponent."), Column("value", "float64", "Power."))


def trials(*bases: float, columns: tuple[Column, ...] = COLUMNS, **config: Any) -> list[Trial]:
    registry = builtin_registry()
    registry.add_probes(Probe("powers", columns))
    registry.add(POWERS)
    return [registry.resolve({"stage": "powers", "base": base, **config}) for base in bases]


@pytest.mark.parametrize("lanes", ["vmap", "sequential"])
def test_an_analysis_is_one_epoch_whose_rows_are_its_probe(lanes: Any) -> None:
    found = trials(2.0, 3.0)
    pack = Pack(found, {}, width=3, lanes=lanes)
    pack.init()
    result = pack.epoch(0)
    assert found[0].epochs == 1
    assert list(found[0].probes) == ["powers"]
    assert (result.epochs, result.layers, result.steps) == ({}, {}, {})
    assert result.finished.tolist() == [True, True, False]
    rows = result.probes["powers"]
    assert rows["k"].tolist() == [0, 1, 2, 3, 4]
    assert rows["value"][:2].tolist() == [[1, 2, 4, 8, 16], [1, 3, 9, 27, 81]]
    assert np.isnan(rows["value"][2]).all()
    assert pack.layer_rows == ()
    assert (pack.weights(0), pack.parameter_count, pack.probe("powers")) == ({}, 0, None)


def test_an_analysis_takes_no_weights() -> None:
    pack = Pack(trials(2.0), {})
    with pytest.raises(ValueError, match="no model to give weights to"):
        pack.init({0: {"w": np.zeros(2)}})


def test_traced_keys_of_an_analysis_share_a_program() -> None:
    a, b = trials(2.0, 3.0)
    assert a.program == b.program
    assert a.program != trials(2.0, count=6)[0].program
    assert a.id != b.id


def test_columns_that_an_epoch_brings_are_those_of_its_probe() -> None:
    whole = (COLUMNS[0], Column("value", "int32", "Power."))
    for columns, said in ((COLUMNS[:1], "has no column value"), (whole, "measured as float32")):
        pack = Pack(trials(2.0, columns=columns), {})
        pack.init()
        with pytest.raises(PartError, match=said):
            pack.epoch(0)
