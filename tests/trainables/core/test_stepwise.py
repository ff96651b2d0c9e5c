"""Programs run operation by operation give what compiled ones give, and show numbers meanwhile."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from tests.support.small_trials import trial
from trainables.core.lanes import if_active, over_lanes
from trainables.core.stepwise import step_by_step, stepwise
from trainables.packs.pack import EpochResult, Pack


def raise_inside() -> None:
    with step_by_step():
        assert stepwise()
        raise ZeroDivisionError("inside")


def test_it_ends_with_its_block() -> None:
    before = (lax.scan, jax.eval_shape)
    with pytest.raises(ZeroDivisionError, match="inside"):
        raise_inside()
    assert not stepwise()
    assert (lax.scan, jax.eval_shape) == before


@pytest.mark.parametrize("steps", [0, 3])
def test_a_loop_of_any_length_gives_what_it_gives_compiled(steps: int) -> None:
    def total(a: jax.Array) -> jax.Array:
        def step(carry: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
            return carry * a + x, carry

        last, every = lax.scan(step, a, jnp.arange(steps, dtype=jnp.float32))
        return last + jnp.sum(every)

    want = jax.jit(jax.value_and_grad(total))(2.0)
    with step_by_step():
        found = jax.value_and_grad(total)(2.0)
    np.testing.assert_allclose(found, want, rtol=1e-6)


@pytest.mark.parametrize("strategy", ["vmap", "sequential"])
def test_lanes_run_in_turn_and_inactive_ones_stay(strategy: Any) -> None:
    def function(state: jax.Array, value: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        seen.append(value)
        return state + value, {"twice": 2 * value, "count": jnp.int32(1)}

    seen: list[Any] = []
    given = (jnp.arange(3.0), jnp.array([5.0, 6.0, 7.0]), jnp.array([True, False, True]))
    want = over_lanes(function, *given, strategy)
    seen.clear()
    with step_by_step():
        found = over_lanes(function, *given, strategy)
    assert [float(one) for one in seen] == [5.0, 7.0]
    jax.tree.map(np.testing.assert_array_equal, found, want)


def test_what_is_active_is_called_once_with_numbers() -> None:
    seen: list[float] = []

    def function(x: jax.Array) -> jax.Array:
        seen.append(float(x))
        return 2 * x

    with step_by_step():
        assert if_active(jnp.bool_(True), function, jnp.float32(3)) == 6
        assert jax.eval_shape(function, jnp.float32(4)).dtype == jnp.float32
        shape = jax.ShapeDtypeStruct((), jnp.float32)
        assert jax.eval_shape(function, shape) == shape
    assert seen == [3.0, 4.0, 0.0]
    with step_by_step():
        assert np.isnan(if_active(jnp.bool_(False), lambda x: 2 * x, jnp.float32(3)))


TINY = {"depth": 2, "seq_len": 2, "steps_per_epoch": 2}


def epoch_of(config: dict[str, Any]) -> EpochResult:
    pack = Pack([trial(**{**TINY, **config})], {})
    pack.init()
    return pack.epoch(0)


@pytest.mark.slow
def test_an_epoch_is_the_compiled_one_up_to_rounding() -> None:
    config = {"optimizer": "adam", "clip_norm": 0.1}
    want = epoch_of(config)
    with step_by_step():
        found = epoch_of(config)
    for table in ("epochs", "layers", "steps", "metrics"):
        wanted = getattr(want, table)
        assert wanted.keys() == getattr(found, table).keys()
        for column, values in getattr(found, table).items():
            np.testing.assert_allclose(values, wanted[column], rtol=2e-4, atol=1e-6, err_msg=column)
