"""W&B sweep files as spaces: every form of a parameter, and what has no counterpart."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest
from ray import tune

from search_spaces import expand
from search_spaces.wandb_sweep import Imported, SweepError, read_sweep


def read(parameters: dict[str, Any], method: str = "grid", **more: Any) -> Imported:
    given = {k: more.pop(k) for k in ("samples", "renames", "dropped") if k in more}
    sweep = {"method": method, "parameters": parameters, **more}
    return read_sweep(sweep, lambda name: None if name.startswith("x_") else name, **given)


def test_a_grid_with_constants_and_steps() -> None:
    found = read(
        {
            "lr": {"values": [0.1, 0.01]},
            "depth": {"value": 3},
            "width": {"distribution": "q_uniform", "min": 8, "max": 24, "q": 8},
            "heads": {"min": 1, "max": 3},
            "mode": {"distribution": "constant", "value": "fast"},
            "use_wandb": {"value": True},
        },
        command=["${env}", "python", "${program}", "--epochs=5", "--batch-size", "16", "${args}"],
    )
    assert found.param_space == {
        "lr": {"grid_search": [0.1, 0.01]},
        "depth": 3,
        "width": {"grid_search": [8, 16, 24]},
        "heads": {"grid_search": [1, 2, 3]},
        "mode": "fast",
        "epochs": "5",
        "batch_size": "16",
    }
    assert (found.samples, found.notes) == (None, ["left out: use_wandb"])
    assert len(expand(found.param_space)) == 18


def test_distributions_are_drawn_from_their_ranges() -> None:
    """Ranges by W&B's own definitions; a hundred draws lie in them and spread out."""
    bounds: dict[str, tuple[dict[str, Any], float, float]] = {
        "a": ({"min": 0.0, "max": 2.0}, 0, 2),
        "b": ({"min": 2, "max": 5}, 2, 5),
        "c": ({"distribution": "log_uniform_values", "min": 1e-4, "max": 1e-1}, 1e-4, 1e-1),
        "d": ({"distribution": "log_uniform", "min": -3, "max": 0}, math.exp(-3), 1),
        "e": ({"distribution": "inv_log_uniform", "min": 0, "max": 3}, math.exp(-3), 1),
        "f": ({"distribution": "q_uniform", "min": 0, "max": 1, "q": 0.25}, 0, 1),
        "g": ({"distribution": "q_log_uniform_values", "min": 2, "max": 64, "q": 2}, 2, 64),
        "h": ({"distribution": "normal", "mu": 100, "sigma": 1}, 95, 105),
    }
    found = read({n: form for n, (form, _, _) in bounds.items()}, "random", run_cap=100)
    configs = expand(found.space(tune).param_space, samples=found.samples)
    for name, (_, low, high) in bounds.items():
        values = [config[name] for config in configs]
        assert len(values) == 100
        assert all(low - 1e-9 <= v <= high + 1e-9 for v in values), name
        assert max(values) - min(values) > 0.5 * (high - low) * (name != "h"), name
    assert {config["b"] for config in configs} == {2, 3, 4, 5}
    assert {config["f"] for config in configs} <= {0, 0.25, 0.5, 0.75, 1}
    logs = sorted(math.log10(config["c"]) for config in configs)
    assert logs[50] == pytest.approx(-2.5, abs=0.4), "log-uniform, not uniform"
    assert repr(found.param_space["f"]) == "tune.quniform(0.0, 1.0, 0.25)"


def test_probabilities_are_kept() -> None:
    form = {"values": ["a", "b", "c"], "probabilities": [0.5, 0.3, 0.2]}
    found = read({"init": form}, "random", samples=1)
    ((kind, values),) = found.param_space["init"].items()
    assert kind == "choice"
    shares = Counter(values)
    assert [shares[v] / len(values) for v in "abc"] == pytest.approx([0.5, 0.3, 0.2])


def test_nested_parameters_are_keys_of_their_own() -> None:
    found = read(
        {
            "optimizer": {
                "parameters": {
                    "name": {"values": ["sgd", "adam"]},
                    "schedule": {"parameters": {"lr": {"value": 0.1}}},
                }
            },
            "net": {"value": {"depth": 3, "x_old": 4}},
        },
        renames={"net.x_old": "width"},
    )
    # Nobody knows a key of the whole dotted name here, and so `read` takes it for one.
    assert set(found.param_space) == {"optimizer", "optimizer.schedule.lr", "net.depth", "width"}
    leaf = read_sweep(
        {"parameters": {"opt": {"parameters": {"lr": {"value": 0.1}}}}},
        lambda name: name if name == "lr" else None,
    )
    assert leaf.param_space == {"lr": 0.1}


@pytest.mark.parametrize(
    ("parameters", "more", "said"),
    [
        ({"x_a": {"value": 1}, "x_b": {"value": 1}}, {}, "no key of ours is called x_a, x_b; give"),
        ({"lr": 0.1}, {}, "lr: must be a mapping such as {value: 1}; got 0.1"),
        ({"lr": {"values": 3}}, {}, "lr: values must be a list; got 3"),
        ({"lr": {"min": 0.0, "max": 1.0}}, {}, "lr: a grid cannot go through the distribution"),
        ({"lr": {"values": [1]}}, {"method": "random"}, "say how many trials: --samples N"),
        ({"lr": {"distribution": "beta", "min": 0, "max": 1}}, {"method": "random", "samples": 2},
         "the distribution beta has no counterpart here"),
        ({"lr": {"distribution": "uniform", "min": 0}}, {"method": "random", "samples": 2},
         "distribution uniform needs a number max; got None"),
        ({"lr": {"value": 1}}, {"method": "hunt"}, "method must be one of grid, random, bayes"),
        ({"a": {"parameters": {"b": {"value": 1}}}, "lr": {"value": 1}}, {"renames": {"a.b": "lr"}},
         "a.b and lr both mean the key lr"),
    ],
)  # fmt: skip
def test_what_cannot_be_read(parameters: Any, more: dict[str, Any], said: str) -> None:
    with pytest.raises(SweepError) as caught:
        read(parameters, **more)
    assert any(said in problem for problem in caught.value.problems), caught.value.problems


def test_early_ends_and_metrics() -> None:
    sweep = {
        "parameters": {"seed": {"values": [1, 2]}},
        "metric": {"name": "Validation loss", "goal": "minimize"},
        "early_terminate": {"type": "hyperband", "s": 2, "eta": 3, "max_iter": 27},
    }
    found = read_sweep(sweep, str, metric_of=lambda name: "val_loss")
    assert found.select == {"metric": "val_loss", "mode": "min", "over": "seed"}
    assert found.prune == {"rule": "hyperband", "factor": 3, "grace": 3}
    left = read_sweep(sweep, str)
    assert left.notes == ["left out: metric Validation loss, which no column is called"]
