"""Every figure is refused where it would draw trials as one that differ in more than it says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from results import Store, StoreError
from results.ask.restricted import restricted
from results.figures.declaration import Figure
from results.figures.selection import labels, select_trials
from results.plotting import FIGURES, figure, unfit
from tests.support.made_up_rows import attempt_row, epoch_row, layer_rows, space_of, table

DECLARED = {name: own for name, own in FIGURES.items() if isinstance(own, Figure)}
OWN = {name: own for name, own in DECLARED.items() if not own.reads}
READERS = {name: own for name, own in DECLARED.items() if own.reads}
METRICS: dict[str, Any] = {
    "val_loss": 1.0,
    "val_accuracy": 0.5,
    "test_accuracy": 0.5,
    "loss_ratio": 0.5,
}


@pytest.fixture
def store(new_store: Callable[[], Store]) -> Store:
    return new_store()


def put(store: Store, own: Figure, configs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Trials that have a row each of what the figure reads: id -> config."""
    first = len(store.attempts())
    ids = [f"{first + i:04x}".ljust(16, "0") for i in range(len(configs))]
    keys = [{"trial_id": i, "attempt": 0, "epoch": 0} for i in ids]
    store.publish("epochs", table([epoch_row(i, 0, 1.0, **METRICS) for i in ids]))
    if own.table == "layers":
        store.publish("layers", table([row for i in ids for row in layer_rows(i, 0, [1.0])]))
    elif own.table == "steps":
        store.publish("steps", table([{**key, "step": 0, "loss": 1.0} for key in keys]))
    elif own.table == "timeline":
        wave = {"layer": 0, "t": 0, "grad_norm": 1.0}
        store.publish("probes/timeline", table([{**key, **wave} for key in keys]))
    elif own.table != "epochs":
        store.publish(f"probes/{own.table}", table([{**key, "x": 1.0} for key in keys]))
    ends = [attempt_row(i, config=dict(c), rows={}) for i, c in zip(ids, configs, strict=True)]
    store.publish("trials", table(ends))
    return dict(zip(ids, map(dict, configs), strict=True))


def grid(trials: Mapping[str, Mapping[str, Any]], name: str = "grid") -> dict[str, Any]:
    """The space of these trials."""
    configs = list(trials.values())
    swept = sorted({k for c in configs for k in c if len({o.get(k) for o in configs}) > 1})
    select = {"over": "seed", "choose": "lr"}
    return space_of([*trials], study="s", space=name, swept=swept, targets=[*trials], select=select)


def test_every_figure_of_ours_declares_what_it_keeps_apart() -> None:
    assert FIGURES.keys() == DECLARED.keys()


@pytest.mark.parametrize("name", OWN)
def test_what_is_kept_apart_may_vary_and_nothing_else(store: Store, name: str) -> None:
    own = OWN[name]
    needed = [key for key in own.by or () if isinstance(key, str)]
    base = {"seed": 0, "foreign": "a", **dict.fromkeys((*needed, *own.regardless), 1.0)}
    changes = {"": {}, "foreign": {"foreign": "b"}, "seed": {"seed": 1}}
    changes |= {key: {key: 2.0} for key in (*needed, *own.regardless)}
    lacking = {key: value for key, value in base.items() if key != (needed or [""])[-1]}
    trials = put(store, own, [*({**base, **change} for change in changes.values()), lacking])
    *ids, poor = trials
    of = dict(zip(changes, ids, strict=True))

    def why(*given: str) -> str | None:
        return unfit(store, grid({i: trials[i] for i in given}), own)

    assert why(*(i for key, i in of.items() if key not in ("foreign", "seed"))) is None
    apart = own.by is None or own.apart("foreign")
    mixed = why(of[""], of["foreign"])
    if apart:
        assert mixed is None, "each trial, or each of its values, stands by itself"
    else:
        assert str(mixed).startswith(f"{name} ")
        ends = "differ in foreign as one; hold it at one value: --where foreign=a."
        assert str(mixed).endswith(ends)
        space = grid({i: trials[i] for i in (of[""], of["foreign"])})
        with pytest.raises(StoreError, match="--where foreign=a"):
            figure(store, space, name)
        assert unfit(store, restricted(store, space, ["foreign=a"]), own) is None
    seeds = why(of[""], of["seed"])
    assert seeds is None or (not own.averages and "differ in seed as one" in seeds)
    assert (seeds is None) == (own.averages or own.by is None or own.apart("seed"))
    if needed:
        assert why(poor) == f"{name} needs the key {needed[-1]}, which no trial of s/grid has."


def test_a_metric_that_no_trial_has_is_named(store: Store) -> None:
    space = space_of(["a"], study="s", space="grid")
    store.publish("epochs", table([epoch_row("a", 0, 1.0)]))
    store.publish("trials", table([attempt_row("a", rows={})]))
    for name in ("accuracy", "bar2025_curves"):
        why = unfit(store, space, DECLARED[name])
        assert why == f"{name} needs val_accuracy, which no trial of s/grid has."


@pytest.mark.parametrize("name", READERS)
def test_scans_are_judged_each(store: Store, name: str) -> None:
    own = READERS[name]
    space = {"space": "other", "study": "s", "trials": []}
    assert "which were not launched into this store" in str(unfit(store, space, own))
    scan, keys = next(iter(own.reads.items()))
    cell = dict.fromkeys(keys, 1.0)
    rates = [{**cell, "lr": r, "seed": s} for r in (1.0, 2.0) for s in (0, 1)]
    store.write_space(f"s/{scan}", grid(put(store, own, rates), scan))
    assert unfit(store, space, own) is None
    widths = [{**cell, "lr": 1.0, "seed": 0, "width": w} for w in (8, 16)]
    store.write_space(f"s/{scan}", grid(put(store, own, widths), scan))
    assert f"trials of s/{scan} that differ in width as one" in str(unfit(store, space, own))
    assert unfit(store, {**space, "where": {"width": [8]}}, own) is None


QUICKSTART = [
    {"task": "digits", "model": m, "activation": a, "init": i, "residual_scale": r, "lr": 0.01,
     "seed": seed}
    for m, a, i, r in (("vanilla_rnn", "tanh", "default", None),
                       ("vanilla_rnn", "tanh", "xavier", None),
                       ("residual_rnn", "relu", "xavier", 1.0),
                       ("residual_rnn", "relu", "xavier", 0.25))
    for seed in (0, 1)
]  # fmt: skip


def test_figure2_does_not_average_over_inits(store: Store) -> None:
    own = DECLARED["figure2"]
    space = grid(put(store, own, QUICKSTART), "quickstart")
    with pytest.raises(StoreError) as refused:
        figure(store, space, "figure2")
    assert str(refused.value) == (
        "figure2 keeps trials apart by activation, task, start and lr only, and would draw trials "
        "of s/quickstart that differ in init and residual_scale as one; hold each at one value: "
        "--where init=default --where residual_scale=null."
    )
    # As it says; and the panel of one trial is judged by the trials of the panel.
    fig: Any = figure(store, space, "figure2", where=["init=default", "residual_scale=null"])
    assert [trace.customdata for trace in fig.data if trace.customdata] == [([0, 2, "0.01"],)]
    relu = space["targets"][4]
    with pytest.raises(StoreError, match="differ in residual_scale as one"):
        figure(store, space, "figure2", relu)


def test_pretrainings_that_differ_in_more_than_their_name_are_no_pairs(store: Store) -> None:
    own = DECLARED["figure3"]
    configs = [{"pretrain": "lsc", "lsc_steps": n, "seed": 0} for n in (10, 20)]
    none = {"pretrain": "none", "lsc_steps": None, "seed": 0}
    space = grid(put(store, own, [*configs, none]))
    assert "figure3 would draw trials of s/grid that differ in lsc_steps as one" in str(
        unfit(store, space, own)
    )


def test_values_that_print_alike_in_six_digits_are_told_apart(store: Store) -> None:
    near = [0.99999, 0.9999901]
    assert labels([{"lr": near[0]}, {"lr": 0.5}], ["lr"]) == ["lr 0.99999", "lr 0.5"]
    space = grid(put(store, DECLARED["depth"], [{"rate": v, "seed": 0} for v in near]))
    cells = select_trials(store, space, None).cells
    assert list(cells) == ["rate 0.99999", "rate 0.9999901"]
    fig: Any = figure(store, space, "depth")
    names = {trace.name for trace in fig.data if trace.name}
    assert {"rate 0.99999", "rate 0.9999901"} <= names
