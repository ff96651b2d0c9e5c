"""Which entry of which parameter leaf is which named tensor of which layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from trainables.core.norms import safe_norm, segment_norms


@dataclass(frozen=True)
class LayerRow:
    """One row of the `layers` table; tensor "*" and tensor_index -1 mean the whole layer."""

    layer: int
    layer_name: str
    tensor: str
    tensor_index: int


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


def _in_order_of_definition(node: Any, path: tuple[str, ...], found: list[str]) -> None:
    if isinstance(node, nnx.Variable):
        found.append("/".join(path))
    elif isinstance(node, nnx.Module):
        items = enumerate(node) if isinstance(node, nnx.List) else vars(node).items()
        for name, child in items:
            _in_order_of_definition(child, (*path, str(name)), found)
    elif isinstance(node, Mapping):
        for name, child in node.items():
            _in_order_of_definition(child, (*path, str(name)), found)
    elif isinstance(node, (list, tuple)):
        for i, child in enumerate(node):
            _in_order_of_definition(child, (*path, str(i)), found)
    elif hasattr(node, "dtype"):
        found.append("/".join(path))


def variable_order(module: nnx.Module) -> list[str]:
    """Paths of a module's variables in the order its attributes were set.

    Flax sorts attributes by name when it takes a module apart, so this must see the original.
    """
    found: list[str] = []
    _in_order_of_definition(module, (), found)
    return list(dict.fromkeys(found))


def tree_order(tree: Any) -> list[str]:
    """Paths of a tree's leaves in the order in which its dicts, lists and modules were filled.

    Dicts are sorted by name when JAX takes a tree apart, so this must see the original.
    """
    found: list[str] = []
    _in_order_of_definition(tree, (), found)
    return found


def slots_of(params: Any, order: Sequence[str]) -> tuple[Slot, ...]:
    """Slots of any module's parameters, in the given `variable_order`.

    The last element of a parameter's path is the tensor, the others joined by "." the layer; layers
    are numbered by first appearance.
    """
    known = by_path(params)
    paths = [p for p in order if p in known]
    paths += [p for p in known if p not in paths]
    layers: dict[str, int] = {}
    slots = []
    for path in paths:
        *above, tensor = path.split("/")
        layer_name = ".".join(above)
        layer = layers.setdefault(layer_name, len(layers))
        slots.append(Slot(path, None, layer, layer_name, tensor))
    return tuple(slots)


class Layout:
    """Rows of the `layers` table and the norms that fill them.

    Attributes:
      slots: one per tensor, in registration order.
      rows: a row per tensor, then a row "*" per layer.
    """

    def __init__(self, slots: Sequence[Slot], params: Any):
        self.slots = tuple(slots)
        names = dict.fromkeys((s.layer, s.layer_name) for s in self.slots)
        tensors = [LayerRow(s.layer, s.layer_name, s.tensor, i) for i, s in enumerate(self.slots)]
        self.rows = (*tensors, *(LayerRow(layer, name, "*", -1) for layer, name in names))
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
