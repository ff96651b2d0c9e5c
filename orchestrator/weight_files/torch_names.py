"""A torch `state_dict` as tensors by the names of a recurrent model here, and back.

torch's LSTM stacks its gates i, f, g, o and its GRU r, z, n; kept weights of `torch_lstm` and
`torch_gru` have the same order, and so have two bias vectors each. A layer of `lstm`, `rsimplernn`
and `ssimplernn` has one bias, the sum of torch's two; `gru` stacks its gates z, r, n.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

import numpy as np

from orchestrator.errors import RequestError

Tensors = dict[str, np.ndarray]

GATES = {"torch_lstm": 4, "torch_gru": 3, "torch_rnn": 1, "lstm": 4, "gru": 3, "rsimplernn": 1,
         "ssimplernn": 1}  # fmt: skip
"""Models that torch has too, and how many gates their layers stack."""
MODELS = (*GATES, "ornn")
_OTHER_ORDER = {"gru": (1, 0, 2)}
"""Where our gates stand in torch's order."""
_ONE_BIAS = ("lstm", "rsimplernn", "ssimplernn")
_LAYER = re.compile(r"(?:.*\.)?(weight|bias)_(ih|hh)(?:_l([0-9]+))?")
_ORNN = {"recurrent_kernel.A": "a", "input_kernel.weight": "w_in", "nonlinearity.b": "b"}
"""Tensors of the published orthogonal layer (Lezcano-Casado and Martinez-Rubio, 1901.08428)."""
_EMBEDDING = ("embedding", "embeddings", "embed", "emb", "encoder", "lookup")
_READOUT = ("readout", "decoder", "linear", "fc", "output", "out", "head", "dense", "classifier",
            "projection")  # fmt: skip


def from_torch(
    model: str, state: Mapping[str, np.ndarray], renamed: Mapping[str, str] | None = None
) -> Tensors:
    """Tensors by our names.

    Args:
      model: one of `MODELS`.
      state: a torch `state_dict`, as NumPy arrays.
      renamed: our name of tensors whose torch name says nothing.

    Raises:
      RequestError: the model has no counterpart in torch, or a tensor's place is not known.
    """
    _require(model)
    found: Tensors = {}
    unknown = []
    for name, value in state.items():
        own = (renamed or {}).get(name) or _own_name(model, name)
        if own is None:
            unknown.append(f"{name} {list(value.shape)}")
        elif own in found:
            raise RequestError(f"two tensors stand for {own}, one of them {name}; rename one")
        else:
            found[own] = np.asarray(value, np.float32)
    if unknown:
        raise RequestError(
            f"it is not known what these tensors are in {model}: {', '.join(unknown[:6])}; say so "
            "by --rename NAME=OURS, such as --rename out_proj.weight=readout.w"
        )
    tied = found.get("embedding.w")
    if tied is not None and np.array_equal(tied, found.get("readout.w", np.empty(0))):
        del found["embedding.w"]  # one matrix under two names
    return _arranged(model, found)


def to_torch(model: str, tensors: Mapping[str, np.ndarray]) -> Tensors:
    """A torch `state_dict`: embedding.weight, rnn.weight_ih_l0, ..., readout.weight.

    Raises:
      RequestError: the model has no counterpart in torch.
    """
    _require(model)
    found: Tensors = {}
    order = _OTHER_ORDER.get(model)
    for name, value in tensors.items():
        layer, tensor = name.rsplit(".", 1)
        if not layer.startswith("rnn."):
            found[f"{layer}.{'weight' if tensor == 'w' else 'bias'}"] = np.asarray(value)
            continue
        number = layer.split(".")[1]
        if model == "ornn":
            word = next(torch for torch, own in _ORNN.items() if own == tensor)
            found[f"rnn.{number}.{word}"] = np.asarray(value)
            continue
        value = value if order is None else _blocks(value, order)
        if tensor == "b":
            found[f"rnn.bias_ih_l{number}"] = np.asarray(value)
            found[f"rnn.bias_hh_l{number}"] = np.zeros_like(value)
        else:
            kind = {"w": "weight", "b": "bias"}[tensor[0]]
            found[f"rnn.{kind}_{tensor[2:]}_l{number}"] = np.asarray(value)
    return found


def _require(model: str) -> None:
    if model not in MODELS:
        raise RequestError(
            f"model {model} has no counterpart in torch; those that have are {', '.join(MODELS)}"
        )


def _own_name(model: str, name: str) -> str | None:
    layer = _LAYER.fullmatch(name)
    if layer and model != "ornn":
        return f"rnn.{layer[3] or 0}.{layer[1][0]}_{layer[2]}"
    if model == "ornn":
        for torch, own in _ORNN.items():
            if name == torch or name.endswith(f".{torch}"):
                number = re.search(r"\.([0-9]+)\.", f".{name}")
                return f"rnn.{number[1] if number else 0}.{own}"
    words = name.split(".")
    tensor = {"weight": "w", "bias": "b"}.get(words[-1])
    if tensor and len(words) > 1:
        if words[-2] in _EMBEDDING and tensor == "w":
            return "embedding.w"
        if words[-2] in _READOUT:
            return f"readout.{tensor}"
    return None


def _arranged(model: str, found: Tensors) -> Tensors:
    """Recurrent layers in our order of gates, with as many biases as ours have."""
    if model == "ornn":
        return found
    order, gates = _OTHER_ORDER.get(model), GATES[model]
    layers: Collection[str] = {name.rsplit(".", 1)[0] for name in found if name.startswith("rnn.")}
    arranged = {n: v for n, v in found.items() if not n.startswith("rnn.")}
    for layer in sorted(layers):
        own = {n.rsplit(".", 1)[1]: v for n, v in found.items() if n.startswith(f"{layer}.")}
        if "w_hh" not in own or "w_ih" not in own:
            raise RequestError(f"layer {layer} lacks weight_ih or weight_hh")
        if len(own["w_hh"]) != gates * own["w_hh"].shape[1]:
            raise RequestError(
                f"weight_hh of layer {layer} has the shape {own['w_hh'].shape}; {model} stacks "
                f"{gates} gate{'s' if gates > 1 else ''} of as many rows as columns"
            )
        none = np.zeros(len(own["w_hh"]), np.float32)  # a layer of torch made with bias=False
        biases = {name: own.pop(name, none) for name in ("b_ih", "b_hh")}
        if model in _ONE_BIAS:
            own["b"] = biases["b_ih"] + biases["b_hh"]
        else:
            own |= biases
        for name, value in own.items():
            back = None if order is None else tuple(np.argsort(order).tolist())
            arranged[f"{layer}.{name}"] = value if back is None else _blocks(value, back)
    return arranged


def _blocks(value: np.ndarray, order: tuple[int, ...]) -> np.ndarray:
    parts = np.split(value, len(order))
    return np.concatenate([parts[block] for block in order])
