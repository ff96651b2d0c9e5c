"""Which entry of which parameter leaf is which named tensor of which layer."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from trainables.core.norms import safe_norm, segment_norms


@dataclass(frozen=True)
class LayerRow:
    """One row of the `layers` table; tensor "*" and tensor_index -1 mean the whole layer.

    Attributes:
      frozen: no gradient reaches it, by what the model declares or how it is written; of a whole
        layer, none of its tensors.
    """

    layer: int
    layer_name: str
    tensor: str
    tensor_index: int
    frozen: bool = False


@dataclass(frozen=True)
class Slot:
    """A tensor: leaf `path`, or entry `index` of its leading axis where layers are stacked.

    Attributes:
      blocks: where it is stored with the equal blocks of its first axis in another order, their
        numbers in that order.
    """

    path: str
    index: int | None
    layer: int
    layer_name: str
    tensor: str
    blocks: tuple[int, ...] | None = None

    @property
    def name(self) -> str:
        return f"{self.layer_name}.{self.tensor}" if self.layer_name else self.tensor


class LayerOutput(NamedTuple):
    """What a layer hands on in a forward pass.

    Attributes:
      values: with time first, or where not `timed` without an axis of time.
      what: they are called; "state" of what the layer keeps to itself.
    """

    layer_name: str
    values: jax.Array
    timed: bool = True
    what: str = "output"


def reordered(value: np.ndarray, blocks: tuple[int, ...] | None) -> np.ndarray:
    """The equal blocks of an array's first axis in another order; None: as they are."""
    if blocks is None:
        return value
    parts = np.split(value, len(blocks))
    return np.concatenate([parts[block] for block in blocks])


def path_text(path: Sequence[Any]) -> str:
    """A tree path as text, "a/0/b", without the `.value` that Flax adds to variables."""
    parts = []
    for entry in path:
        if isinstance(entry, jax.tree_util.GetAttrKey):
            parts.append(entry.name)
        elif isinstance(entry, jax.tree_util.SequenceKey):
            parts.append(str(entry.idx))
        else:
            parts.append(str(getattr(entry, "key", entry)))
    if parts and parts[-1] == "value" and isinstance(path[-1], jax.tree_util.GetAttrKey):
        parts.pop()
    return "/".join(parts)


def by_path(tree: Any) -> dict[str, Any]:
    """Leaves of a tree by path, in flattening order."""
    return {path_text(path): leaf for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]}


def _in_order_of_definition(
    node: Any, path: tuple[str, ...], above: tuple[int, ...], found: list[tuple[str, Any]]
) -> None:
    if id(node) in above:  # a module that holds the one it is in
        return
    above = (*above, id(node))
    # Layers have a dtype too, in which they compute.
    array = hasattr(node, "dtype") and not isinstance(node, nnx.Module)
    if isinstance(node, nnx.Variable) or array:
        found.append(("/".join(path), node))
        return
    if isinstance(node, nnx.Module):
        items = enumerate(node) if isinstance(node, nnx.List) else vars(node).items()
    elif isinstance(node, Mapping):
        items = node.items()
    elif isinstance(node, (list, tuple)):
        items = enumerate(node)
    else:
        return
    for name, child in items:
        _in_order_of_definition(child, (*path, str(name)), above, found)


def variable_order(module: Any) -> dict[str, str]:
    """Paths of the variables of a module, or of a tree's arrays, in the order in which they were
    set, each with its first one: a variable that two places share has two.

    Flax and JAX sort by name when they take modules and dicts apart: this must see the original.
    """
    found: list[tuple[str, Any]] = []
    _in_order_of_definition(module, (), (), found)
    first: dict[int, str] = {}
    for path, variable in found:
        first.setdefault(id(variable), path)
    return {path: first[id(variable)] for path, variable in found}


def slots_of(params: Any, order: Mapping[str, str]) -> tuple[Slot, ...]:
    """Slots of any module's parameters, in the given `variable_order`.

    The last element of a parameter's path is the tensor, the others joined by "." the layer; layers
    are numbered by first appearance. A parameter that is shared has its first name.
    """
    known = by_path(params)
    # Flax keeps a shared variable under the path that is first by the alphabet.
    kept = {order[path]: path for path in order if path in known}
    named = {first: kept[first] for first in order if first in kept}
    named |= {path: path for path in known if path not in order}
    layers: dict[str, int] = {}
    slots = []
    for name, path in named.items():
        *above, tensor = name.split("/")
        layer_name = ".".join(above)
        layer = layers.setdefault(layer_name, len(layers))
        slots.append(Slot(path, None, layer, layer_name, tensor))
    return tuple(slots)


class Layout:
    """Rows of the `layers` table and the norms that fill them.

    Attributes:
      slots: one per tensor, in registration order.
      rows: a row per tensor, then a row "*" per layer.
      frozen: paths of the leaves that are not trained.
      unreached: paths of those that are, but that no gradient reaches.
      state: paths of what a module carries beside its parameters and is kept with its weights.
    """

    def __init__(
        self,
        slots: Sequence[Slot],
        params: Any,
        frozen: Collection[str] = (),
        state: Collection[str] = (),
        unreached: Collection[str] = (),
    ):
        self.slots = tuple(slots)
        self.frozen = frozenset(frozen)
        self.unreached = frozenset(unreached)
        still = self.frozen | self.unreached
        self.state = tuple(state)
        names = dict.fromkeys((s.layer, s.layer_name) for s in self.slots)
        tensors = [
            LayerRow(s.layer, s.layer_name, s.tensor, i, s.path in still)
            for i, s in enumerate(self.slots)
        ]
        trained = {row.layer for row in tensors if not row.frozen}
        layers = [LayerRow(i, name, "*", -1, i not in trained) for i, name in names]
        self.rows = (*tensors, *layers)
        rank = {layer: i for i, (layer, _) in enumerate(names)}
        self._segments = np.array([rank[s.layer] for s in self.slots])
        self._layers = len(names)
        self._stacked = {s.path for s in self.slots if s.index is not None}
        # Position of each slot in the concatenation of all leaves' norms, leaf after leaf.
        offset, start = 0, {}
        for path, leaf in by_path(params).items():
            start[path] = offset
            offset += leaf.shape[0] if path in self._stacked else 1
        self._order = np.array([start[s.path] + (s.index or 0) for s in self.slots])

    @property
    def tensors(self) -> int:
        """Number of tensors; the rows after them are whole layers."""
        return len(self.slots)

    def norms(self, tree: Any) -> jax.Array:
        """2-norm of every row, for one lane's tree shaped like the parameters. Shape (rows,)."""
        parts = []
        for path, leaf in by_path(tree).items():
            if path in self._stacked:
                parts.append(safe_norm(leaf, axis=tuple(range(1, leaf.ndim))))
            else:
                parts.append(safe_norm(leaf)[None])
        tensors = jnp.concatenate(parts)[self._order]
        layers = segment_norms(tensors, jnp.asarray(self._segments), self._layers)
        return jnp.concatenate([tensors, layers])

    def zeros(self, norms: jax.Array) -> jax.Array:
        """Which rows' gradient norms are exactly 0, (rows,); none of a frozen one, which has no
        gradient."""
        zero = norms == 0
        frozen = np.array([row.frozen for row in self.rows])
        return zero & ~frozen if frozen.any() else zero

    def trained(self, params: Any) -> Any:
        """A tree like the parameters, True where a leaf is trained."""
        marks = [path not in self.frozen for path in by_path(params)]
        return jax.tree.unflatten(jax.tree.structure(params), marks)

    def named(self, leaves: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Tensors by name from one lane's leaves by path, layers unstacked; as they are stored."""
        return {
            s.name: reordered(
                leaves[s.path] if s.index is None else leaves[s.path][s.index], s.blocks
            )
            for s in self.slots
        }

    def leaves(
        self, tensors: Mapping[str, np.ndarray], like: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """The inverse of `named`; `like` gives shapes.

        Raises:
          ValueError: a tensor is missing or has another shape.
        """
        found = {path: np.array(leaf) for path, leaf in like.items()}
        for slot in self.slots:
            leaf = found[slot.path]
            want = leaf.shape if slot.index is None else leaf.shape[1:]
            if slot.name not in tensors:
                raise ValueError(f"the given weights lack {slot.name}")
            given = np.asarray(tensors[slot.name])
            if given.shape != want:
                raise ValueError(f"{slot.name} has shape {given.shape}; this model needs {want}")
            back = None if slot.blocks is None else tuple(np.argsort(slot.blocks).tolist())
            leaf[... if slot.index is None else slot.index] = reordered(given, back)
        return found
