"""Weights of torch modules as a trial's, against those modules written out in NumPy."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from gradsweep import export_weights, import_weights, open_store
from orchestrator.debug import debug
from orchestrator.errors import RequestError
from orchestrator.weight_files import files
from orchestrator.weight_files.torch_names import from_torch, to_torch
from tests.support.numpy_cells import torch_outputs, torch_state
from tests.support.small_trials import module_of
from trainables.declarations import builtin_registry

SINE = {"seq_len": 12, "n_sequences": 20, "orbits_every": None, "attractors_every": None,
        "contraction_every": None}  # fmt: skip


@pytest.mark.parametrize(
    ("model", "kind"),
    [("torch_lstm", "LSTM"), ("torch_gru", "GRU"), ("torch_rnn", "RNN"), ("lstm", "LSTM"),
     ("gru", "GRU")],
)  # fmt: skip
def test_a_model_with_these_weights_gives_what_torch_gives(
    model: str, kind: str, seed: int
) -> None:
    """Two layers; names and gate orders are those of torch's manual."""
    rng = np.random.default_rng(seed)
    state = torch_state(kind, rng, 2, 5, 2, 3)
    config: dict[str, Any] = {"task": "gaussian", "model": model, "features": 2, "classes": 3,
                              "seq_len": 7, "depth": 2}  # fmt: skip
    config |= {"widths": "5"} if model in ("lstm", "gru") else {"width": 5}
    module = module_of(builtin_registry().resolve(config))
    tensors = from_torch(model, state)
    slots = {slot.name: slot for slot in module.slots()}
    assert set(tensors) == set(slots)
    for name, value in tensors.items():
        place: Any = module
        for step in slots[name].path.split("/")[:-1]:
            place = place[int(step)] if step.isdigit() else getattr(place, step)
        blocks = slots[name].blocks
        if blocks is not None:  # as a store lays it out, and the module computes with it
            parts = np.split(value, len(blocks))
            value = np.concatenate([parts[i] for i in np.argsort(blocks)])
        getattr(place, slots[name].path.rsplit("/", 1)[1])[...] = value
    module.eval()
    x = rng.normal(size=(3, 7, 2)).astype(np.float32)
    want = torch_outputs(kind, state, x) @ state["decoder.weight"].T + state["decoder.bias"]
    np.testing.assert_allclose(module(x), want, rtol=1e-4, atol=1e-5)
    back = to_torch(model, tensors)
    if model != "lstm":  # whose one bias is the sum of torch's two
        assert {n.replace("readout", "decoder"): v.tolist() for n, v in back.items()} == {
            name: value.tolist() for name, value in state.items()
        }
    again = from_torch(model, back)
    assert all(np.array_equal(again[name], value) for name, value in tensors.items())


def test_a_published_net_is_probed_and_trained_on(tmp_path: Path, seed: int) -> None:
    """From a file into a store, into a trial that trains nothing, into one that trains; its weights
    and loss are those of the file."""
    rng = np.random.default_rng(seed)
    state = torch_state("LSTM", rng, 1, 4, 1, 1)
    file, store = tmp_path / "model.safetensors", str(tmp_path / "store")
    save_file(state, file)
    sets = {"model": "torch_lstm", "stabilize": "none", "width": 4, **SINE}
    found = import_weights(file, "ribeiro2020/sine_small", store=store, set=sets)
    assert found.shapes["rnn.0.w_ih"] == (16, 1)
    np.savez(tmp_path / "model.npz", **state)  # type: ignore[reportArgumentType]
    other = import_weights(tmp_path / "model.npz", "ribeiro2020/sine_small", store=store, set=sets)
    assert other.name == found.name, "the same content has the same name"
    still = {**sets, "weights_from": found.name, "lr": 0, "epochs": 1, "keep_weights": "last"}
    still |= {"lr_milestones": "", "batch_size": 20}
    ran = debug("ribeiro2020/sine_small", store=store, set=still, record=True)
    assert ran.status == "done"
    kept = open_store(store).weights(ran.trial.id)
    np.testing.assert_array_equal(kept["rnn.0.w_hh"], state["rnn.weight_hh_l0"])
    omega = np.linspace(np.pi / 16, np.pi / 8, 20)
    x = np.repeat(omega[:, None, None], 12, 1)
    y = torch_outputs("LSTM", state, x) @ state["decoder.weight"].T + state["decoder.bias"]
    want = np.mean((y[..., 0] - np.sin(omega[:, None] * np.arange(1, 13))) ** 2)
    (row,) = open_store(store).sql("SELECT loss FROM runs").rows()
    assert row["loss"] == pytest.approx(want, rel=1e-4)
    shapes = export_weights(store, ran.trial.id, tmp_path / "back.safetensors")
    assert shapes["rnn.weight_hh_l0"] == (16, 4)
    back = load_file(tmp_path / "back.safetensors")
    np.testing.assert_array_equal(back["readout.weight"], state["decoder.weight"])
    lost = {**still, "weights_from": "imported-0123456789abcdef"}
    with pytest.raises(RequestError, match="this store has no such weights; `gradsweep import"):
        debug("ribeiro2020/sine_small", store=store, set=lost)


def test_what_does_not_fit_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    state = torch_state("LSTM", rng, 1, 4, 1, 1)
    sets = {"model": "torch_lstm", "stabilize": "none", **SINE}

    def importing(tensors: dict[str, np.ndarray], **more: Any) -> None:
        save_file(tensors, tmp_path / "model.safetensors")
        space, store = "ribeiro2020/sine_small", str(tmp_path / "store")
        import_weights(tmp_path / "model.safetensors", space, store=store, set=sets, **more)

    with pytest.raises(RequestError, match=r"rnn.0.w_ih has the shape \[16, 1\], and the model"):
        importing(state)
    odd = {**state, "proj.weight": state["decoder.weight"]}
    del odd["decoder.weight"]
    with pytest.raises(RequestError, match=r"not known what .* proj.weight \[1, 4\]; say so by"):
        importing(odd)
    assert "readout.w" in from_torch("torch_lstm", odd, {"proj.weight": "readout.w"})
    with pytest.raises(RequestError, match="torch_gru stacks 3 gates of as many rows as columns"):
        from_torch("torch_gru", state)
    with pytest.raises(RequestError, match="model ffn has no counterpart in torch"):
        from_torch("ffn", state)
    (tmp_path / "model.pt").write_bytes(b"PK")

    def no_torch(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", no_torch)
    with pytest.raises(RequestError, match="torch, which is not installed here; install torch, or"):
        files.read(tmp_path / "model.pt")
    with pytest.raises(
        RequestError, match=r"no file of weights; give one that ends in \.safetensors"
    ):
        files.read(tmp_path / "model.h5")


def test_an_orthogonal_net_by_its_published_names() -> None:
    rng = np.random.default_rng(1)
    state = {
        "rnn.recurrent_kernel.A": rng.normal(size=(4, 4)).astype(np.float32),
        "rnn.input_kernel.weight": rng.normal(size=(4, 1)).astype(np.float32),
        "rnn.nonlinearity.b": rng.normal(size=4).astype(np.float32),
        "linear.weight": rng.normal(size=(1, 4)).astype(np.float32),
        "linear.bias": rng.normal(size=1).astype(np.float32),
    }
    found = from_torch("ornn", state)
    assert set(found) == {"rnn.0.a", "rnn.0.w_in", "rnn.0.b", "readout.w", "readout.b"}
    assert np.array_equal(found["rnn.0.a"], state["rnn.recurrent_kernel.A"])
    assert "rnn.0.recurrent_kernel.A" in to_torch("ornn", found)
