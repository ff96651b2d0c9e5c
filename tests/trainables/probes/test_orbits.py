"""Probes of orbits: what they record, and that training does not notice
(docs/specs/ribeiro2020.md, checks 14 and 20)."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from orchestrator.datasets import text
from tests.support.small_trials import assert_same_lane, assert_same_state, state_of
from trainables.declarations import ConfigError, PartError, Trial, builtin_registry
from trainables.packs.pack import Pack
from trainables.probes import driven_net
from trainables.probes.orbits import orbits, output_count, shown_outputs

SMALL = {
    "task": "sine", "optimizer": "torch_adam", "width": 6, "seq_len": 20, "n_sequences": 20,
    "epochs": 4, "orbit_inputs": 3, "orbit_starts": 2, "orbit_steps": 30, "orbit_burn_in": 20,
    "attractor_steps": 2048,
}  # fmt: skip


def trial(**config: Any) -> Trial:
    found = {"model": "torch_lstm", **SMALL, **config}
    if found["task"] == "word_lm":
        del found["n_sequences"]
    return builtin_registry().resolve(found)


def ready(one: Trial, arrays: Any = None) -> Pack:
    pack = Pack([one], arrays or {})
    pack.init()
    return pack


def own(columns: Any) -> dict[str, np.ndarray]:
    return {n: v if v.ndim == 1 else v[0] for n, v in columns.items()}


@pytest.mark.slow
@pytest.mark.parametrize("model", ["torch_lstm", "torch_gru", "ornn"])
def test_an_orbit_is_what_its_weights_make_of_it(model: str) -> None:
    """Simulated again from the kept weights and the recorded starts, with the net's own call."""
    one = trial(model=model, orbit_std="0.5:2")
    pack = ready(one)
    pack.epoch(0)
    rows = own(pack.probe("orbits"))
    assert len(rows["y"]) == 2 * 2 * 3 * 10
    assert set(rows["t"]) == set(range(20, 30))
    assert set(rows["std"]) == {0.5, 2.0}
    engine: Any = pack._engine
    state = jax.tree.map(lambda leaf: leaf[0], pack._state)
    module = driven_net.module_of(engine, state["params"], state["rest"])
    key = driven_net.lane_key({"seed": jnp.int32(0)})
    shared = driven_net.orbit_columns(one, 3)
    h = driven_net.first_states(key, shared, driven_net.state_size(module))
    omega = np.linspace(np.pi / 16, np.pi / 8, 3)
    for orbit in range(12):
        value = float(omega[shared["input"][orbit]])
        x = jnp.full((1, 30, 1), value)
        outputs, _ = module._run(x, [h[orbit : orbit + 1]], None)
        mine = (rows["input"] == shared["input"][orbit]) & (rows["start"] == shared["start"][orbit])
        mine &= rows["std"] == shared["std"][orbit]
        np.testing.assert_allclose(rows["y"][mine], outputs[0, 20:, 0], rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(rows["input_value"][mine], value, rtol=1e-6)


def test_each_step_of_an_orbit_has_a_row_for_each_output() -> None:
    one = trial(task="temporal_order", seq_len=60, orbit_starts=2)
    network: Any = Pack([one], {})._engine
    shared, _ = orbits(network, one) or ({}, None)
    begin = driven_net.orbit_columns(one, len(np.unique(shared["input"])))
    outputs, steps = output_count(one.sizes.classes), 10
    rows = np.stack([shared[name] for name in ("input", "start", "std", "t", "output")], axis=1)
    want = [
        (*start, 20 + step, output)
        for start in zip(begin["input"], begin["start"], begin["std"], strict=True)
        for step in range(steps)
        for output in range(outputs)
    ]
    assert outputs > 1
    np.testing.assert_array_equal(rows, want)


def test_starts_are_the_same_at_every_snapshot_and_scaled_copies() -> None:
    one = trial(orbit_std="0.1:10", orbit_steps=1, orbit_burn_in=0)
    shared = driven_net.orbit_columns(one, 3)
    keys = [driven_net.lane_key({"seed": jnp.int32(s)}) for s in (4, 5, 4)]
    a, b, again = (driven_net.first_states(key, shared, 12) for key in keys)
    np.testing.assert_array_equal(a, again)
    assert np.abs(np.asarray(a - b)).max() > 1
    np.testing.assert_allclose(a[6:], 100 * a[:6], rtol=1e-5)
    pack = ready(one)
    first = own(pack.probe("orbits"))
    assert np.array_equal(first["y"], own(pack.probe("orbits"))["y"])
    pack.epoch(0)
    assert not np.array_equal(first["y"], own(pack.probe("orbits"))["y"])


def test_recording_leaves_training_as_it_is() -> None:
    """Bit for bit, dropout included: what is recorded has random keys of its own."""
    config = {"dropout": 0.3, "model": "torch_lstm"}
    plain, recorded = ready(trial(**config)), ready(trial(**config))
    for epoch in range(3):
        for name in ("orbits", "attractors", "contraction"):
            assert recorded.probe(name) is not None
        assert_same_lane(plain.epoch(epoch), 0, recorded.epoch(epoch), 0)
    assert_same_state(state_of(plain, 0), state_of(recorded, 0))


@pytest.mark.slow
def test_a_stable_net_has_one_fixed_point_for_every_input() -> None:
    pack = ready(trial(stabilize="row_project"))
    pack.epoch(0)
    rows = own(pack.probe("attractors"))
    assert set(rows["kind"]) == {"fixed_point"}
    assert set(rows["attractor"]) == {0}
    assert rows["lyapunov"].max() < 0
    assert rows["amplitude"].max() < 1e-6
    found = own(pack.probe("contraction"))
    assert found["certificate"].max() < 1
    assert found["decay_rate"].max() < 0
    assert np.isnan(found["bound"]).all()


def test_attractors_are_counted_where_a_network_has_two(seed: int) -> None:
    """Check 20: the readout tells them apart, whatever the spread of starts."""
    one = trial(model="torch_rnn", width=1, orbit_inputs=1, min_freq=0.0, max_freq=0.0,
                orbit_starts=12, orbit_std="0.1:1:100", seed=seed)  # fmt: skip
    pack = ready(one)
    w = {n: np.zeros_like(v) for n, v in pack.weights(0).items()}
    w["rnn.0.w_hh"][:] = 2.0
    w["readout.w"][:] = 1.0
    pack.init({0: w})
    rows = own(pack.probe("attractors"))
    for std in (0.1, 1.0, 100.0):
        mine = rows["std"] == std
        assert set(rows["attractor"][mine]) == {0, 1}
        assert set(rows["kind"][mine]) == {"fixed_point"}
    found = own(pack.probe("contraction"))
    assert found["bound"][0] == pytest.approx(2, rel=1e-6)


def test_an_orthogonal_state_may_grow_or_turn_but_is_not_forgotten() -> None:
    pack = ready(trial(model="ornn", orbit_std="1"))
    assert own(pack.probe("contraction"))["bound"][0] == np.inf
    w = pack.weights(0)
    w["rnn.0.b"] = np.zeros_like(w["rnn.0.b"])
    pack.init({0: w})
    found = own(pack.probe("contraction"))
    assert found["bound"][0] == 1
    np.testing.assert_allclose(found["decay_rate"], 0, atol=2e-3)


@pytest.mark.slow
def test_smoothness_has_a_row_for_each_length() -> None:
    pack = ready(trial(seq_len=60, width=4))
    rows = own(pack.probe("smoothness"))
    assert rows["length"].tolist() == [25, 50]
    assert rows["cost"].dtype == np.float64
    found = pack.epoch(0)
    assert rows["cost"][-1] == pytest.approx(found.epochs["loss_first"][0], rel=0.05)
    for column in ("grad_norm", "curvature", "lipschitz", "beta"):
        assert np.all(rows[column] > 0)
    np.testing.assert_allclose(rows["lipschitz"], rows["grad_norm"], rtol=0.2)
    assert np.all(rows["beta"] <= 1.05 * rows["curvature"])


@pytest.mark.parametrize("config", [
    {"task": "temporal_order", "n_sequences": 20, "n_sequences_val": 0, "batch_size": 20,
     "seq_len": 50, "width": 4},
    {"task": "word_lm", "corpus": "tiny", "batch_size": 10, "seq_len": 20, "width": 4},
])  # fmt: skip
@pytest.mark.slow
def test_other_tasks_name_their_inputs(config: dict[str, Any], seed: int) -> None:
    mine = {n: v for n, v in SMALL.items() if n not in config and n != "n_sequences"}
    one = builtin_registry().resolve({"model": "torch_lstm", **mine, **config})
    rng = np.random.default_rng(seed)
    arrays = {
        f"{part}_tokens": rng.integers(one.sizes.features, size=n).astype(np.int32)
        for part, n in (("train", 2240), ("val", 480), ("test", 480))
    }
    pack = ready(one, arrays if one.sizes.tokens else None)
    rows = own(pack.probe("orbits"))
    inputs = 6 if config["task"] == "temporal_order" else 3
    outputs = output_count(one.sizes.classes)
    assert len(rows["y"]) == 2 * inputs * 10 * outputs
    assert np.isfinite(rows["y"]).all()
    kinds = own(pack.probe("attractors"))["kind"]
    assert len(kinds) == 2 * inputs


def test_many_outputs_are_summed_up() -> None:
    y = jnp.arange(40.0)
    found = shown_outputs(y, jax.random.key(0))
    assert found.shape == (output_count(40),)
    assert float(found[0]) == pytest.approx(19.5)
    np.testing.assert_array_equal(found[3:], [0, 16, 17, 13, 15, 22, 26, 35, 25, 2, 9])
    np.testing.assert_array_equal(shown_outputs(y[:4], jax.random.key(0)), y[:4])
    assert output_count(33_278) == 15
    # A projection of equal outputs is that output times the mean of its weights, which is 1.
    projections = shown_outputs(jnp.full(33_278, 2.5), jax.random.key(0))[1:3]
    np.testing.assert_allclose(projections, 2.5, rtol=0.02)


def test_wrong_words_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"orbit_std must be numbers such as"):
        trial(orbit_std="a:b")
    with pytest.raises(ConfigError, match="orbit_burn_in must be less than"):
        trial(orbit_burn_in=30)
    with pytest.raises(ConfigError, match="readout=tied needs embedding=6"):
        trial(readout="tied", embedding=4)


def test_a_model_without_inputs_of_its_own_has_no_orbits() -> None:
    one = builtin_registry().resolve(
        {"model": "torch_rnn", "task": "gaussian", "width": 4, "seq_len": 5}
    )
    assert ready(one).probe("orbits") is None


def test_an_orbit_with_feedback_reads_what_it_has_answered() -> None:
    """Against a loop in NumPy: the token of the highest logit is the next input."""
    one = trial(
        model="torch_rnn", task="word_lm", corpus="tiny", batch_size=10,
        orbit_feedback=True, orbit_std="1", orbit_steps=12, orbit_burn_in=4,
    )  # fmt: skip
    pack = ready(one, text.tiny())
    rows = own(pack.probe("orbits"))
    w = {name: value.astype(float) for name, value in pack.weights(0).items()}
    begin = driven_net.orbit_columns(one, 3)
    h = np.asarray(driven_net.first_states(driven_net.lane_key({"seed": jnp.int32(0)}), begin, 6))
    h = h.astype(float)
    tokens = rows["input_value"][(rows["t"] == 4) & (rows["output"] == 0)].astype(int)
    assert len(tokens) == 6
    for t in range(12):
        z = w["embedding.w"][tokens] @ w["rnn.0.w_ih"].T + w["rnn.0.b_ih"] + w["rnn.0.b_hh"]
        h = np.tanh(z + h @ w["rnn.0.w_hh"].T)
        logits = h @ w["readout.w"].T + w["readout.b"]
        tokens = logits.argmax(1)
        if t >= 4:
            at = rows["t"] == t
            assert rows["y"][at & (rows["output"] == -1)].tolist() == tokens.tolist()
            np.testing.assert_allclose(
                rows["y"][at & (rows["output"] == 0)], logits.mean(1), rtol=1e-4, atol=1e-5
            )
    with pytest.raises(PartError, match="has 4 outputs and 6 inputs; leave it out"):
        ready(trial(task="temporal_order", seq_len=60, orbit_feedback=True)).probe("orbits")
