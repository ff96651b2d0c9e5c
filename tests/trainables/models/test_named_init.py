"""Initial matrices by name against the variances and identities that define them."""

from __future__ import annotations

import math
from typing import Any

import jax
import numpy as np
import pytest

from tests.support.small_trials import module_of
from trainables.declarations import builtin_registry
from trainables.declarations.models.named_init import INITS
from trainables.models.named_init import named_init

OUT, IN = 80, 200
VARIANCE = {"glorot": 2 / (OUT + IN), "he": 2 / IN, "lecun": 1 / IN}


@pytest.mark.parametrize("name", INITS)
def test_a_name_means_what_the_papers_say(name: str, seed: int) -> None:
    both = np.asarray(named_init(name, stacked=True)(jax.random.key(seed), (3, OUT, IN)))
    assert both.shape == (3, OUT, IN)
    family, _, shape = name.rpartition("_")
    if family:
        assert np.var(both) == pytest.approx(VARIANCE[family], rel=0.05)
        deviation = math.sqrt(VARIANCE[family])
        # A uniform law ends at sqrt 3 deviations; one cut at 2 is rescaled by 1 / 0.8796.
        most = math.sqrt(3) if shape == "uniform" else 2 / 0.87962566
        assert 0.98 * most < np.abs(both).max() / deviation <= most * 1.0001
        assert abs(np.corrcoef(both[0].ravel(), both[1].ravel())[0, 1]) < 0.05
    elif name == "orthogonal":
        for one in both:
            np.testing.assert_allclose(one @ one.T, np.eye(OUT), atol=1e-5)
    else:
        want = np.eye(OUT, IN) if name == "identity" else np.zeros((OUT, IN))
        np.testing.assert_array_equal(both, np.stack([want] * 3))


def of_recurrent(model: str, **config: Any) -> dict[str, np.ndarray]:
    one = builtin_registry().resolve(
        {"model": model, "task": "spikes", "widths": "16", "depth": 1, "bins": 10, "channels": 30,
         **config}
    )  # fmt: skip
    return {n: np.asarray(w) for n, w in module_of(one).rnn[0].values().items()}


@pytest.mark.parametrize(("model", "gates"), [("lstm", 4), ("gru", 3), ("malsnn", 1)])
def test_recurrent_matrices_are_drawn_gate_by_gate(model: str, gates: int) -> None:
    """And nothing else is drawn otherwise."""
    plain = of_recurrent(model)
    named = of_recurrent(model, recurrent_init="identity", input_init="he_uniform")
    np.testing.assert_array_equal(named["w_hh"], np.concatenate([np.eye(16)] * gates))
    assert np.abs(named["w_ih"]).max() == pytest.approx(math.sqrt(6 / 30), rel=0.05)
    for name in plain.keys() - {"w_hh", "w_ih"}:
        np.testing.assert_array_equal(plain[name], named[name])
    turned = of_recurrent(model, recurrent_init="orthogonal")["w_hh"].reshape(gates, 16, 16)
    for one in turned:
        np.testing.assert_allclose(one @ one.T, np.eye(16), atol=1e-5)
