"""Update rules against the same rules written out in float64
(docs/specs/herranz2023.md, checks 11 and 12)."""

from __future__ import annotations

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from tests.support.small_trials import trial
from trainables.optim.adabelief import _averaged, adabelief, adabelief_optax
from trainables.optim.adam import adam, adamw
from trainables.optim.lookahead import lookahead, on_slow_weights, restricted
from trainables.optim.sgd import sgd
from trainables.packs.pack import Pack

STEPS = 200


def _stream(seed: int) -> np.ndarray:
    return 1 + 0.5 * np.random.default_rng(seed).standard_normal(STEPS)


def _belief(g: np.ndarray, lr: float, decay: float = 0.0, w: float = 1.0) -> np.ndarray:
    """The published rule, one number at a time."""
    m = v = 0.0
    path = []
    longest = 2 / (1 - 0.999) - 1
    for t, now in enumerate(g, 1):
        m = 0.9 * m + 0.1 * now
        v = 0.999 * v + 0.001 * (now - m) ** 2 + 1e-14
        m_hat, v_hat = m / (1 - 0.9**t), v / (1 - 0.999**t)
        length = longest - 2 * t * 0.999**t / (1 - 0.999**t)
        update = m_hat
        if length >= 5:
            top = (length - 4) * (length - 2) * longest
            update *= np.sqrt(top / ((longest - 4) * (longest - 2) * length))
            update /= np.sqrt(v_hat) + 1e-14
        w -= lr * (update + decay * w)
        path.append(w)
    return np.array(path)


def _plain_belief(g: np.ndarray, lr: float) -> np.ndarray:
    m = v = 0.0
    w, path = 1.0, []
    for t, now in enumerate(g, 1):
        m = 0.9 * m + 0.1 * now
        v = 0.999 * v + 0.001 * (now - m) ** 2 + 1e-16
        w -= lr * m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t) + 1e-16) + 1e-16)
        path.append(w)
    return np.array(path)


def _adamw(g: np.ndarray, lr: float, decay: float) -> np.ndarray:
    m = v = 0.0
    w, path = 1.0, []
    for t, now in enumerate(g, 1):
        m, v = 0.9 * m + 0.1 * now, 0.999 * v + 0.001 * now**2
        w -= lr * (m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8) + decay * w)
        path.append(w)
    return np.array(path)


def _with_penalty(g: np.ndarray, lr: float, decay: float, adam: bool) -> np.ndarray:
    """Torch's L2 penalty: the decay is part of the gradient, also of what Adam averages."""
    m = v = 0.0
    w, path = 1.0, []
    for t, now in enumerate(g, 1):
        now = now + decay * w
        m, v = 0.9 * m + 0.1 * now, 0.999 * v + 0.001 * now**2
        step = m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        w -= lr * (step if adam else now)
        path.append(w)
    return np.array(path)


def _looked_ahead(g: np.ndarray, lr: float, decay: float) -> np.ndarray:
    """`_belief` with slow weights that meet the fast ones every sixth step."""
    fast = slow = 1.0
    path, m, v = [], 0.0, 0.0
    longest = 2 / (1 - 0.999) - 1
    for t, now in enumerate(g, 1):
        m = 0.9 * m + 0.1 * now
        v = 0.999 * v + 0.001 * (now - m) ** 2 + 1e-14
        update = m / (1 - 0.9**t)
        length = longest - 2 * t * 0.999**t / (1 - 0.999**t)
        if length >= 5:
            top = (length - 4) * (length - 2) * longest
            update *= np.sqrt(top / ((longest - 4) * (longest - 2) * length))
            update /= np.sqrt(v / (1 - 0.999**t)) + 1e-14
        fast -= lr * (update + decay * fast)
        if t % 6 == 0:
            fast = slow = slow + 0.5 * (fast - slow)
        path.append(fast)
    return np.array(path)


@cache
def _program(build: Any, **config: Any) -> Any:
    """(rates, gradients) -> path of one weight, for all rates and gradients."""

    @jax.jit
    def run(hparams: Any, g: jax.Array) -> jax.Array:
        rule = build(config, hparams)
        w = jnp.float32(1)

        def step(carry: Any, now: jax.Array) -> Any:
            w, state = carry
            update, state = rule.update(now, state, w)
            w = optax.apply_updates(w, update)
            return (w, state), w

        return jax.lax.scan(step, (w, rule.init(w)), g)[1]

    return run


def _run(build: Any, g: np.ndarray, lr: float, decay: float = 0.0, **config: Any) -> np.ndarray:
    rates = {"lr": np.float32(lr), "weight_decay": np.float32(decay)}
    return np.asarray(_program(build, **config)(rates, g.astype(np.float32)), np.float64)


def _streams(seed: int) -> list[np.ndarray]:
    return [_stream(0), _stream(seed + 1)]


@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_adabelief_takes_the_published_path(seed, decay):
    for g in _streams(seed):
        found = _run(adabelief, g, 1e-3, decay, lookahead=False)
        np.testing.assert_allclose(found, _belief(g, 1e-3, decay), rtol=1e-5)


def test_adabelief_with_lookahead(seed):
    for g in _streams(seed):
        found = _run(adabelief, g, 1e-2, 0.1, lookahead=True)
        np.testing.assert_allclose(found, _looked_ahead(g, 1e-2, 0.1), rtol=1e-5)


def test_plain_rules(seed):
    for g in _streams(seed):
        found = _run(adabelief_optax, g, 1e-3)
        np.testing.assert_allclose(found, _plain_belief(g, 1e-3), rtol=1e-5)
        found = _run(adamw, g, 1e-2, 0.2)
        np.testing.assert_allclose(found, _adamw(g, 1e-2, 0.2), rtol=1e-5, atol=2e-5)
        for rule, is_adam in ((sgd, False), (adam, True)):
            want = _with_penalty(g, 1e-2, 0.2, is_adam)
            np.testing.assert_allclose(_run(rule, g, 1e-2, 0.2), want, rtol=1e-5, atol=2e-5)


def test_rectification_changes_how_far_it_goes():
    """The numbers of check 11, which differ by more than a factor of four."""
    g = _stream(0)
    published = _run(adabelief, g, 1e-3, lookahead=False)[-1] - 1
    plain = _run(adabelief_optax, g, 1e-3)[-1] - 1
    assert published == pytest.approx(-0.0893, abs=5e-5)
    assert plain == pytest.approx(-0.4062, abs=5e-5)


def test_rectification_for_any_number_of_steps(seed):
    """Against the closed form in float64, which float32 would lose for few steps."""
    t = np.unique(np.r_[1:30, 990:1010, np.random.default_rng(seed).integers(1, 10**6, 50)])
    power = 0.999 ** t.astype(np.float64)
    want = 1999 - 2 * t * power / (1 - power)
    found = np.asarray(jax.jit(_averaged)(t.astype(np.float32)), np.float64)
    np.testing.assert_allclose(found, want, rtol=2e-6)
    assert (found >= 5)[t == 6].all()
    assert not (found >= 5)[t <= 5].any()


def test_lookahead_of_plain_descent(seed):
    """Slow weights in the state, fast ones as parameters, on a tree of tensors."""
    rng = np.random.default_rng(seed)
    params = {"a": rng.normal(size=(2, 3)), "b": rng.normal(size=4)}
    rule = lookahead(optax.sgd(0.1), period=3, step=0.25)
    fast, slow = dict(params), dict(params)
    ours: Any = jax.tree.map(np.float32, params)
    state: Any = rule.init(ours)

    @jax.jit
    def stepped(gradients: Any, state: Any, ours: Any) -> Any:
        updates, state = rule.update(gradients, state, ours)
        return optax.apply_updates(ours, updates), state

    for t in range(1, 11):
        gradients = {name: rng.normal(size=x.shape) for name, x in params.items()}
        for name in fast:
            fast[name] = fast[name] - 0.1 * gradients[name]
            if t % 3 == 0:
                slow[name] = fast[name] = slow[name] + 0.25 * (fast[name] - slow[name])
        ours, state = stepped(jax.tree.map(np.float32, gradients), state, ours)
        for name in fast:
            np.testing.assert_allclose(ours[name], fast[name], rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(state.slow[name], slow[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["adabelief", "adamw"])
def test_a_masked_step_moves_nothing_else(seed, name):
    """One row of one tensor at a time: the rest, its moments and its slow weights stay."""
    rng = np.random.default_rng(seed)
    hparams = {"lr": jnp.float32(0.01), "weight_decay": jnp.float32(0.1)}
    build = {"adabelief": adabelief, "adamw": adamw}[name]
    rule = restricted(build({"lookahead": True}, hparams))
    params = nnx.State(
        {"w": nnx.Param(jnp.ones((3, 2))), "b": nnx.Param(jnp.ones(2)), "c": nnx.Param(jnp.ones(1))}
    )
    state = rule.init(params)
    names = [jax.tree_util.keystr(p) for p, _ in jax.tree_util.tree_leaves_with_path(params)]

    @jax.jit
    def step(params: Any, state: Any, gradients: Any, mask: Any) -> Any:
        updates, state = rule.update(gradients, state, params, mask=mask)
        return optax.apply_updates(params, updates), state

    w_row = next(i for i, n in enumerate(names) if "w" in n)
    for t in range(13):
        gradients = jax.tree.map(lambda p: rng.normal(size=p.shape).astype("float32"), params)
        row = t % 3
        masks: list[Any] = [np.bool_(False)] * len(names)
        masks[w_row] = (np.arange(3) == row)[:, None]
        mask = jax.tree.unflatten(jax.tree.structure(params), masks)
        before, old = jax.tree.leaves(params), state
        params, state = step(params, state, gradients, mask)
        for i, (a, b) in enumerate(zip(before, jax.tree.leaves(params), strict=True)):
            moved = np.asarray(a) != np.asarray(b)
            assert moved[row].all() if i == w_row else not moved.any()
            assert not (i == w_row and np.delete(moved, row, 0).any())
        # Of the state only that row of w and the counters change.
        for a, b in zip(jax.tree.leaves(old), jax.tree.leaves(state), strict=True):
            changed = np.asarray(np.asarray(a) != np.asarray(b))
            if changed.ndim == 0:
                assert changed
            elif changed.shape == (3, 2):
                assert not np.delete(changed, row, 0).any()
            else:
                assert not changed.any()
    assert int(jax.tree.leaves(state)[0]) == 13


@pytest.mark.parametrize("name", ["adabelief", "adabelief_optax", "adamw"])
@pytest.mark.slow
def test_clipping_reaches_the_rule(name):
    """The first moment after one step is a tenth of what the rule was given."""
    given = {}
    for clip in (None, 0.05):
        one = trial(optimizer=name, lr=0.01, clip_norm=clip, steps_per_epoch=1, width=32)
        pack = Pack([one], {})
        pack.init()
        before = pack.weights(0)
        result = pack.epoch(0)
        moments = [
            leaf for path, leaf in pack.state().items() if "/mean/" in path or "/mu/" in path
        ]
        given[clip] = 10 * np.sqrt(sum((m.astype(np.float64) ** 2).sum() for m in moments))
        assert given[clip] == pytest.approx(result.epochs["grad_norm_clipped"][0], rel=1e-5)
        moved = max(np.abs(pack.weights(0)[n] - w).max() for n, w in before.items())
        assert 0 < moved < 0.1
    assert given[None] > 0.05
    assert given[0.05] == pytest.approx(0.05, rel=1e-5)


def test_slow_weights_change_with_the_weights_and_nothing_else_does():
    """A permutation or a factor of the weights reaches the copy that Lookahead keeps."""
    w = {"w": np.ones(3, np.float32)}
    state: Any = lookahead(optax.sgd(0.1)).init(w)
    found: Any = on_slow_weights(state, lambda tree: jax.tree.map(lambda x: 2 * x, tree))
    assert found.slow["w"].tolist() == [2, 2, 2]
    assert (found.count, found.fast) == (state.count, state.fast)
    plain = optax.sgd(0.1).init(w)
    assert on_slow_weights(plain, lambda tree: None) is plain


def test_keys_of_the_rules():
    one = trial(optimizer="adabelief")
    assert one.config["lookahead"] is True
    assert one.config["lr"] == 1e-3
    assert trial(optimizer="AdaBeliefLA").id == one.id
    assert trial(optimizer="adabelief", lookahead=False).program != one.program
    assert trial(optimizer="adabelief", lr=0.1).program == one.program


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_is_torch_s(seed, nesterov):
    """buf = m buf + g, g the gradient with the L2 penalty; Nesterov's step is g + m buf."""
    for g in _streams(seed):
        w, buffer, path = 1.0, 0.0, []
        for now in g:
            now = now + 0.1 * w
            buffer = 0.9 * buffer + now
            w -= 0.01 * (now + 0.9 * buffer if nesterov else buffer)
            path.append(w)
        run = _program(sgd, momentum_given=True, nesterov=nesterov)
        hparams = {"lr": 0.01, "weight_decay": 0.1, "momentum": 0.9}
        found = run({n: np.float32(v) for n, v in hparams.items()}, g.astype(np.float32))
        np.testing.assert_allclose(np.asarray(found), path, rtol=1e-4, atol=1e-6)


def test_plain_descent_keeps_no_momentum():
    """So that stores of before it was there go on as they were."""
    plain, heavy = ({}, {"momentum_given": True, "nesterov": False})
    values = {"lr": 0.1, "weight_decay": 0.0, "momentum": 0.9}
    hparams = {name: jnp.float32(value) for name, value in values.items()}
    sizes = [len(jax.tree.leaves(sgd(c, hparams).init(jnp.ones(3)))) for c in (plain, heavy)]
    assert sizes == [0, 1]
