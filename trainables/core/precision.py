"""Mixed precision: what forward and backward pass compute in, beside parameters of float32."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from trainables.core.layout import path_text
from trainables.core.variables import Carried
from trainables.declarations import PartError

_DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16, "float16": jnp.float16}


class Precision:
    """Casts around a call of a module; none at float32.

    Only float32 is cast: integers, complex numbers, parameters that a model itself made smaller,
    and the float64 of probes stay as they are. So do statistics and settings of a module, which are
    no parameters.

    Attributes:
      name: of the type.
      lowers: whether it is not float32.
      scales: whether losses must be scaled, so that gradients do not vanish in the type.
    """

    def __init__(self, name: str, full: Sequence[str] = ()):
        """`full` names tensors that stay float32, as a module's `float32_tensors`: eigenvalues and
        time constants, which are near 1 where memory is long (0.999 is 1 in bfloat16)."""
        self.name, self.dtype, self._full = name, _DTYPES[name], frozenset(full)
        self.lowers = name != "float32"
        self.scales = name == "float16"

    def params(self, params: Any) -> Any:
        """Parameters as a module is to be called with them."""
        if not self.lowers:
            return params

        def one(path: Any, leaf: Any) -> Any:
            full = path_text(path).rpartition("/")[2] in self._full
            return leaf if full else self._lowered(leaf)

        return jax.tree_util.tree_map_with_path(one, params)

    def inputs(self, x: Any) -> Any:
        """Inputs, a tree, as a module is to be called with them."""
        return jax.tree.map(self._lowered, x) if self.lowers else x

    def rest(self, rest: Any) -> Any:
        """What a module carries, its hidden states in the type."""
        if not self.lowers:
            return rest

        def one(node: Any) -> Any:
            return jax.tree.map(self._lowered, node) if isinstance(node, Carried) else node

        return jax.tree.map(one, rest, is_leaf=lambda node: isinstance(node, nnx.Variable))

    def kept(self, new: Any, old: Any) -> Any:
        """What a module carries on, in the types that it had before."""
        if not self.lowers or jax.tree.structure(new) != jax.tree.structure(old):
            return new
        return jax.tree.map(_as, new, old)

    @contextmanager
    def explained(self, whose: str) -> Iterator[None]:
        """Turns JAX's page about a carry that changes its type into a sentence.

        Raises:
          PartError: in its place.
        """
        try:
            yield
        except TypeError as error:
            if not (self.lowers and "carry" in str(error) and "types" in str(error)):
                raise
            raise PartError(
                f"{whose} cannot compute in {self.name}: a loop starts from numbers of another "
                f"type than its steps give ({str(error).splitlines()[0][:200]}); start it with "
                "zeros in the dtype of its input, jnp.zeros(shape, x.dtype), or leave "
                "compute_dtype at float32"
            ) from error

    def _lowered(self, leaf: Any) -> Any:
        if getattr(leaf, "dtype", None) != jnp.float32:
            return leaf
        return leaf.astype(self.dtype)


def _as(new: Any, old: Any) -> Any:
    floating = jnp.issubdtype(new.dtype, jnp.floating) and jnp.issubdtype(old.dtype, jnp.floating)
    return new.astype(old.dtype) if floating else new
