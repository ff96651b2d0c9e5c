"""Probes of a study's own: a function of (model, batch, config) that fills a typed table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from orchestrator.plan.checks.parts import probe_problems
from orchestrator.plan.estimate import rows_per_trial
from orchestrator.worker.recorder import Recorder
from tests.support.small_trials import SMALL, same
from tests.support.user_parts import user_registry
from trainables.core.layout import by_path
from trainables.declarations import (
    Column,
    Key,
    Loop,
    Model,
    Objective,
    PartError,
    Probe,
    Registry,
    Trial,
    builtin_registry,
)
from trainables.packs.pack import Pack

USER = {"model": "conv", "task": "blobs", "lr": 0.05, "units": 3}


def _norms(model: Any, batch: Any, config: Mapping[str, Any]) -> dict[str, Any]:
    stem = model.stem.kernel[...]
    return {
        "tensor": ["stem", "readout"],
        "rank": jnp.arange(2),
        "norm": jnp.stack([jnp.linalg.norm(stem), jnp.linalg.norm(model.a_readout.kernel[...])]),
        "gain": config["gain"],
        "samples": len(batch["weight"]),
    }


COLUMNS = (
    Column("tensor", "string", "Tensor."),
    Column("rank", "int32", "Number."),
    Column("norm", "float64", "2-norm."),
    Column("gain", "float32", "Of the config."),
    Column("samples", "int64", "In the batch."),
)
NORMS = Probe("norms", COLUMNS, measure=_norms, rows=2)


def trials(probe: Probe, *configs: Mapping[str, Any], registry: Registry | None = None) -> Any:
    registry = registry or user_registry()
    registry.add_probes(probe)
    return [registry.resolve({**USER, f"{probe.name}_every": 1, **one}) for one in configs or [{}]]


def measured(probe: Probe, *configs: Mapping[str, Any], **options: Any) -> tuple[Pack, Any]:
    pack = Pack(trials(probe, *configs), {}, **options)
    pack.init()
    return pack, pack.probe(probe.name)


@pytest.mark.parametrize("lanes", ["sequential", "vmap"])
def test_a_function_fills_a_table_for_each_trial(lanes: Any) -> None:
    pack, columns = measured(
        NORMS, {"seed": 1, "gain": 0.25}, {"seed": 2, "gain": 4.0}, width=3, lanes=lanes
    )
    assert columns["tensor"].tolist() == ["stem", "readout"]
    assert columns["samples"].tolist() == [8, 8]
    assert columns["rank"][:2].tolist() == [[0, 1], [0, 1]]
    assert columns["gain"][:2].tolist() == [[0.25] * 2, [4.0] * 2]
    for lane in (0, 1):
        weights = pack.weights(lane)
        want = [np.linalg.norm(weights[f"{name}.kernel"]) for name in ("stem", "a_readout")]
        assert columns["norm"][lane] == pytest.approx(want, rel=1e-6)
    recorder = Recorder(None, ["a", "b"], [0, 0], probes={"norms": [vars(c) for c in COLUMNS]})
    recorder.add_probe("norms", 3, np.array([0, 1]), columns)
    recorder.flush()
    (table,) = recorder.kept["norms"]
    assert table.column("tensor").to_pylist() == ["stem", "readout"] * 2
    kinds = {c.name: str(table.schema.field(c.name).type) for c in COLUMNS}
    assert kinds == {
        "tensor": "string", "rank": "int32", "norm": "double", "gain": "float", "samples": "int64",
    }  # fmt: skip


def test_the_model_is_in_evaluation_mode_and_measuring_changes_nothing() -> None:
    """Dropout and batch norm of the user's module must neither draw nor count."""

    def outputs(model: Any, batch: Any, config: Any) -> dict[str, Any]:
        first, second = model(batch["x"]), model(batch["x"])
        return {"apart": jnp.max(jnp.abs(first - second)), "mean": jnp.mean(first)}

    columns = (Column("apart", "float64", "."), Column("mean", "float64", "."))
    pack, found = measured(Probe("outputs", columns, measure=outputs))
    assert found["apart"].tolist() == [[0.0]]
    before = pack.state()
    assert same(pack.probe("outputs")["mean"], found["mean"])  # type: ignore[index]
    assert all(same(leaf, pack.state()[path]) for path, leaf in before.items())


def test_a_built_in_model_fills_it_too() -> None:
    def logits(model: Any, batch: Any, config: Any) -> dict[str, Any]:
        return {"mean": jnp.mean(model(batch["x"]), 0), "label": batch["y"][:4]}

    columns = (Column("mean", "float64", "."), Column("label", "int32", "."))
    probe = Probe("logits", columns, measure=logits)
    registry = builtin_registry()
    registry.add_probes(probe)
    pack = Pack([registry.resolve({**SMALL, "logits_every": 0})], {})
    pack.init()
    columns = pack.probe("logits")
    assert columns is not None
    assert columns["mean"].shape == (1, 4)
    assert np.isfinite(columns["mean"]).all()


def test_of_an_objective_the_model_is_its_tree_and_of_a_loop_its_state() -> None:
    def init(key: jax.Array, config: Any) -> Any:
        return {"net": {"w": jnp.arange(3.0)}}

    def first(key: jax.Array, config: Any) -> Any:
        return {"params": init(key, config), "count": 5}

    objective = Objective(
        name="bowl", init=init, loss=lambda tree, batch, key, config: jnp.sum(tree["net"]["w"] ** 2)
    )
    loop = Loop(
        name="idle", init=first, step=lambda state, batch, key, config: (state, {}), reads=()
    )
    probe = Probe(
        "inside",
        (Column("w", "float32", "."), Column("there", "bool", ".")),
        measure=lambda model, batch, config: {
            "w": model.get("params", model)["net"]["w"],
            "there": batch is not None,
        },
    )
    registry = builtin_registry()
    registry.add(objective, loop)
    registry.add_probes(probe)
    for config, there in (({"objective": "bowl"}, True), ({"stage": "idle"}, False)):
        pack = Pack([registry.resolve({**config, "inside_every": 0})], {})
        pack.init()
        columns = pack.probe("inside")
        assert columns is not None
        assert columns["w"].tolist() == [[0.0, 1.0, 2.0]]
        assert columns["there"].tolist() == [there] * 3


def test_on_the_host_it_is_numpy_in_float64() -> None:
    def exact(model: Any, batch: Any, config: Any) -> dict[str, Any]:
        assert isinstance(batch["x"], np.ndarray)
        w = np.asarray(model.stem.kernel[...], np.float64)
        values = np.linalg.svd(w, compute_uv=False)
        return {"value": values, "name": [f"unit {i}" for i in range(len(values))]}

    columns = (Column("value", "float64", "."), Column("name", "string", "."))
    probe = Probe("exact", columns, measure=exact, on_host=True)
    pack, found = measured(probe, {"seed": 1}, {"seed": 2}, width=3)
    for lane in (0, 1):
        w = pack.weights(lane)["stem.kernel"].astype(np.float64)
        assert found["value"][lane].tolist() == np.linalg.svd(w, compute_uv=False).tolist()
        assert found["name"][lane].tolist() == ["unit 0", "unit 1", "unit 2"]


def test_its_cadence_is_declared_for_it_and_is_no_part_of_a_trials_identity() -> None:
    registry = user_registry()
    plain = registry.resolve(USER)
    (one,) = trials(NORMS, {"norms_every": 4, "epochs": 10})
    (other,) = trials(NORMS, {"norms_every": None, "epochs": 10})
    assert one.id == other.id
    assert one.program == other.program == plain.program
    assert one.keys["norms_every"].kind == "recording"
    assert rows_per_trial(one)["norms"] == 2 * 4  # epochs 0, 4, 8 and 9
    assert "norms" not in rows_per_trial(other)


def test_a_probe_reads_its_own_keys() -> None:
    probe = Probe(
        "counted",
        (Column("i", "int32", "."),),
        keys=(Key("counted_rows", "int", 3, "recording"),),
        measure=lambda model, batch, config: {"i": jnp.arange(config["counted_rows"])},
        rows=lambda config: config["counted_rows"],
    )
    _, found = measured(probe, {"counted_rows": 5})
    assert found["i"].tolist() == [[0, 1, 2, 3, 4]]
    (one,) = trials(probe, {"counted_rows": 5, "epochs": 1})
    assert rows_per_trial(one)["counted"] == 5


def test_who_fills_it_may_be_said() -> None:
    """Of a study's probes all models are offered those that are functions; else those named."""
    named = replace(NORMS, every_model=False)
    registry = builtin_registry()
    registry.add(Model(name="mine", build=lambda *given: None, probes=(named,)))
    registry.add_probes(named)
    offered = [m for m in registry.names("model") if named in registry.parts["model", m].probes]
    assert offered == ["mine"]
    everywhere = builtin_registry()
    everywhere.add_probes(NORMS)
    for name in everywhere.names("model"):
        assert NORMS in everywhere.copy().parts["model", name].probes


def test_rows_may_be_left_out_by_shown() -> None:
    _, found = measured(_changed(shown=jnp.array([True, False])))
    recorder = Recorder(None, ["a"], [0], probes={"norms": [vars(c) for c in COLUMNS]})
    recorder.add_probe("norms", 0, np.array([0]), found)
    recorder.flush()
    assert recorder.kept["norms"][0].column("tensor").to_pylist() == ["stem"]


def _changed(on_host: bool = False, **columns: Any) -> Probe:
    """`NORMS` with other columns; None leaves one out."""

    def measure(*given: Any) -> dict[str, Any]:
        found = {**_norms(*given), **columns}
        return {name: value for name, value in found.items() if value is not None}

    return replace(NORMS, measure=measure, on_host=on_host)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "missing": ({"norm": None}, "probe norms lacks column norm: it declares tensor, rank, norm, "),
    "unknown": ({"more": jnp.ones(2)}, "probe norms has no column more: it declares tensor, "),
    "matrix": (
        {"norm": jnp.ones((2, 3))},
        "column norm of probe norms has the shape (2, 3); it must be (rows,)",
    ),
    "length": (
        {"rank": jnp.arange(5)},
        "columns of probe norms have different numbers of rows: 2 of tensor, 5 of rank",
    ),
    "float for int": (
        {"rank": jnp.ones(2)},
        "column rank of probe norms is declared as int32, but measured as float32",
    ),
    "nan for int": (
        {"rank": np.array([np.nan, 1.0])},
        "column rank of probe norms is declared as int32, but measured as float64",
    ),
    "bool for float": ({"norm": jnp.ones(2, bool)}, "is declared as float64, but measured as bool"),
    "complex": (
        {"norm": jnp.ones(2, jnp.complex64)},
        "column norm of probe norms is complex; give its real and imaginary parts as two columns",
    ),
    "word for number": ({"norm": ["a", "b"]}, "declared as float64, but measured as <U1"),
    "number for word": ({"tensor": jnp.arange(2)}, "declared as string, but measured as int32"),
    "too great": ({"rank": np.array([0, 2**40])}, "declared as int32, but measured as int64"),
}


@pytest.mark.parametrize("on_host", [False, True], ids=["compiled", "on the host"])
@pytest.mark.parametrize("name", WRONG)
def test_wrong_columns_are_one_sentence(name: str, on_host: bool) -> None:
    changes, said = WRONG[name]
    with pytest.raises(PartError) as error:
        measured(_changed(on_host, **changes))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_what_is_no_dict_is_refused() -> None:
    with pytest.raises(PartError, match="probe norms returned a list; it must return a dict"):
        measured(replace(NORMS, measure=lambda model, batch, config: [1.0]))


def test_columns_of_a_build_function_are_checked_too() -> None:
    def build(engine: Any, trial: Trial) -> Any:
        return {"tensor": np.array(["a"], object)}, lambda state, values, data: {
            "size": jnp.float32(len(by_path(state["params"])))
        }

    columns = (Column("tensor", "string", "."), Column("size", "float64", "."))
    cadence = Key("sizes_every", "int", None, "recording", nullable=True)
    probe = Probe("sizes", columns, build=build, keys=(cadence,), every_model=True)
    with pytest.raises(PartError, match=r"column size of probe sizes has the shape \(\);"):
        measured(probe)


DECLARED: dict[str, tuple[Probe, str]] = {
    "name": (replace(NORMS, name="my norms"), "the name of a probe must be a word"),
    "view": (replace(NORMS, name="layers"), "a probe cannot be called layers: a view has that"),
    "type": (
        replace(NORMS, columns=(Column("x", "float", "."),)),
        "column x of probe norms has the unknown type 'float'; choose one of bool, int32,",
    ),
    "owned": (replace(NORMS, columns=(Column("epoch", "int32", "."),)), "is the store's own"),
    "twice": (replace(NORMS, columns=(COLUMNS[0], COLUMNS[0])), "declares column tensor twice"),
    "none": (replace(NORMS, columns=()), "probe norms declares no column"),
    "both": (replace(NORMS, build=lambda engine, trial: None), "declares both measure and build"),
    "arguments": (
        replace(NORMS, measure=lambda params: {}),
        "measure of probe norms is called with model, batch, config",
    ),
    "kind": (
        replace(NORMS, keys=(Key("norms_rows", "int", 3),)),
        "key norms_rows of probe norms must be of kind recording; it is static",
    ),
}


@pytest.mark.parametrize("name", DECLARED)
def test_what_is_declared_wrongly_is_refused_before_anything_runs(name: str) -> None:
    probe, said = DECLARED[name]
    (found,) = probe_problems(probe)
    assert said in found
    assert probe_problems(NORMS) == []
