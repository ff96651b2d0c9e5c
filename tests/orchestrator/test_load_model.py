"""A trial's model comes back with the weights and the state that its launch kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from gradsweep import RequestError, load_model, measure, open_store
from tests.orchestrator.cli.test_app import many
from tests.support.module_kinds_study import arrays

STUDY = str(Path(__file__).parents[1] / "support" / "module_kinds_study.py")
KINDS = ("nnx", "linen", "equinox")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A store with a trial of each kind, and one that kept nothing, by id."""
    folder = tmp_path_factory.mktemp("kept")
    words = ["debug", "kinds", "--study", STUDY, "--record", "--json"]
    kept = ["--set", "keep_weights=every:1"]
    asked = [[*words, "--set", f"kind={kind}", *kept] for kind in KINDS]
    found, _ = many([*asked, [*words, "--set", "kind=nnx", "--set", "seed=7"]], folder)
    assert [said.status for said in found] == [0] * 4, found
    ids = [json.loads(said.out)["trial_id"] for said in found]
    return folder / "store", dict(zip((*KINDS, "nothing"), ids, strict=True))


def called(kind: str, model: Any, x: jax.Array) -> jax.Array:
    """As a user calls a module of that kind."""
    if kind == "linen":
        assert isinstance(model, nn.Module)
        return model(x, train=False)
    if kind == "equinox":
        assert isinstance(model, eqx.Module)
        called: Any = model
        return jax.vmap(called)(x)
    assert isinstance(model, nnx.Module)
    return model(x)


@pytest.mark.parametrize("kind", KINDS)
def test_a_models_test_loss_is_the_recorded_one(recorded: Any, kind: str) -> None:
    """Which needs parameters, running statistics, traced values and evaluation mode."""
    path, ids = recorded
    store = open_store(str(path))
    rows = store.sql(
        f"SELECT test_loss FROM epochs WHERE trial_id = '{ids[kind]}' ORDER BY epoch"
    ).df()
    data = arrays({})
    x, y = jnp.asarray(data["x_test"]), jnp.asarray(data["y_test"])
    for epoch, given in ((0, store), (1, str(path)), (None, path)):
        model = load_model(given, ids[kind][:12], study=STUDY, epoch=epoch)
        logits = called(kind, model, x)
        loss = jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, y))
        np.testing.assert_allclose(
            loss, rows["test_loss"][1 if epoch is None else epoch], rtol=1e-5
        )


def test_what_cannot_be_loaded_is_said_with_the_remedy(recorded: Any, tmp_path: Path) -> None:
    path, ids = recorded
    cases = {
        "kept no weights; launch it again with --set keep_weights=last": (path, ids["nothing"], {}),
        "kept no weights at epoch 5; it has those of epochs 0, 1": (path, ids["nnx"], {"epoch": 5}),
        "there is no store at ": (tmp_path / "none", ids["nnx"], {}),
        "zzz": (path, "zzz", {}),
    }
    for said, (store, trial, more) in cases.items():
        with pytest.raises(RequestError) as caught:
            load_model(store, trial, study=STUDY, **more)
        assert said in str(caught.value)
    with pytest.raises(RequestError, match="if it belongs to a study file of yours, give --study"):
        load_model(path, ids["nnx"])


def test_a_trial_of_another_version_is_refused(recorded: Any, tmp_path: Path) -> None:
    path, ids = recorded
    changed = tmp_path / "study.py"
    changed.write_text(
        Path(STUDY).read_text().replace('"kinds_net", version=1', '"kinds_net", version=2')
    )
    with pytest.raises(RequestError, match="was run by another version of the code"):
        load_model(path, ids["nnx"], study=str(changed))


@pytest.mark.slow
def test_a_probe_measures_kept_weights_as_it_did_in_training(tmp_path: Path) -> None:
    sets = ["min_nu=0.36", "lr=0.01", "seed=2023", "width=4", "hessian_top=3", "hessian_every=1",
            "keep_weights=every:1"]  # fmt: skip
    words = ["debug", "zucchet2024/comparison_lru", "--smoke", "--record", "--json"]
    (said,), _ = many([[*words, *(w for text in sets for w in ("--set", text))]], tmp_path)
    assert said.status == 0, said.err
    trial = json.loads(said.out)["trial_id"]
    store = open_store(str(tmp_path / "store"))
    recorded = store.sql(
        f"SELECT rank, tensor, eigenvalue, share FROM hessian WHERE trial_id = '{trial}' "
        "AND epoch = 0 ORDER BY rank, tensor"
    ).df()
    found = measure(store, trial, "hessian", epoch=0)
    order = np.lexsort((found["tensor"].astype(str), found["rank"]))
    assert found["tensor"][order].tolist() == recorded["tensor"].tolist()
    for column in ("eigenvalue", "share"):
        want = recorded[column].to_numpy()
        assert found[column][order] == pytest.approx(want, rel=1e-3, abs=1e-5)
    assert len(set(measure(store, trial, "hessian", set={"hessian_top": 5})["rank"])) == 5
    for request, text in (
        (["effective_lr"], "than the weights that are kept; record it while the trial trains"),
        (["hesian"], r"has no probe hesian (did you mean hessian?)"),
        (["hessian", "--set", "lr=1"], "lr is no recording key of trial"),
    ):
        (said,), _ = many([["measure", trial, *request]], tmp_path)
        assert (said.status, text in said.err) == (2, True), said.err
