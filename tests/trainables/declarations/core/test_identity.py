"""The id of a trial, over drawn configs; skipped where Hypothesis is not installed."""

from __future__ import annotations

from typing import Any

import pytest

from trainables.declarations import builtin_registry

hypothesis = pytest.importorskip("hypothesis")
st = pytest.importorskip("hypothesis.strategies")

configs = st.fixed_dictionaries(
    {"model": st.sampled_from(["vanilla_rnn", "residual_rnn"]), "task": st.just("gaussian")},
    optional={
        "seed": st.integers(0, 2**31 - 1),
        "lr": st.floats(0, 10, allow_nan=False),
        "depth": st.integers(1, 50),
        "width": st.integers(1, 300),
        "init": st.sampled_from(["default", "xavier", "he"]),
        "clip_norm": st.none() | st.floats(0.001, 10),
        "optimizer": st.sampled_from(["sgd", "adam"]),
        "pretrain": st.sampled_from(["none", "warmup"]),
        "epochs": st.integers(1, 9),
        "timeline_every": st.integers(0, 5),
    },
)


REGISTRY = builtin_registry()


@hypothesis.given(config=configs, data=st.data())
def test_the_id_depends_on_neither_order_nor_spelled_out_defaults(
    config: dict[str, Any], data: Any
) -> None:
    registry = REGISTRY
    trial = registry.resolve(config)
    shuffled = dict(data.draw(st.permutations(list(config.items()))))
    assert registry.resolve(shuffled).id == trial.id
    spelled = data.draw(st.sets(st.sampled_from(sorted(trial.config))))
    whole = {**{name: trial.config[name] for name in spelled}, **shuffled}
    again = registry.resolve(whole)
    assert again.id == trial.id
    assert again.config == trial.config
    as_floats = {n: float(v) if type(v) is int else v for n, v in whole.items()}
    assert registry.resolve(as_floats).id == trial.id
    assert registry.resolve(trial.config).config == trial.config
    if trial.parent:
        assert registry.resolve(trial.parent.config).id == trial.parent.id
