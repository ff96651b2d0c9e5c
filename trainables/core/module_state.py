"""What a module carries beside its parameters, as it is kept with a trial's weights.

Running statistics, caches and random streams, by names that no parameter can have: "state/bn.mean"
is variable `mean` of module `bn`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from flax import nnx

from trainables.core.host_arrays import from_host, shape_and_type, to_host
from trainables.core.layout import Layout, by_path, path_text
from trainables.core.variables import Carried, Setting

_PREFIX = "state/"
"""Names of parameters are paths with their slashes made dots."""


def _name(path: str) -> str:
    return _PREFIX + path.replace("/", ".")


def kept_paths(rest: Any, own_layers: bool) -> tuple[str, ...]:
    """Paths in `rest` of what is kept with the weights.

    Neither hyperparameters nor hidden state, which starts at 0 in every epoch; and of the models
    that name their layers (`own_layers`), all of them ours, no random streams.
    """
    never = (Setting, Carried, nnx.RngState) if own_layers else (Setting, Carried)
    nodes = jax.tree_util.tree_flatten_with_path(
        rest, is_leaf=lambda node: isinstance(node, nnx.Variable)
    )[0]
    paths: list[str] = []
    for path, node in nodes:
        if not isinstance(node, never):
            inside = by_path(node)
            paths += ["/".join(filter(None, (path_text(path), own))) for own in inside]
    return tuple(paths)


def kept_state(layout: Layout, rest: Any) -> dict[str, np.ndarray]:
    """The kept state of one lane, by name."""
    leaves = by_path(rest) if layout.state else {}
    return {_name(path): to_host(leaves[path]) for path in layout.state}


def restored(layout: Layout | None, rest: Any, tensors: Mapping[str, np.ndarray]) -> Any:
    """`rest` with the state that `tensors` hold, on the host; what they lack stays as it is, since
    weights kept by an older version hold no state.

    Raises:
      ValueError: one has another shape than the model's.
    """
    found = by_path(rest)
    for path in layout.state if layout else ():
        name = _name(path)
        if name not in tensors:
            continue
        shape, dtype = shape_and_type(found[path])
        if tensors[name].shape != shape:
            raise ValueError(f"{name} has shape {tensors[name].shape}; this model needs {shape}")
        found[path] = from_host(np.asarray(tensors[name], dtype), found[path])
    return jax.tree.unflatten(jax.tree.structure(rest), list(found.values()))
