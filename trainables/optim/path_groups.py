"""Groups of parameters by their paths: masks for weight decay, labels for rates of groups.

A path is what the store shows: `layers.0.kernel` is tensor `kernel` of layer `layers.0`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import jax
import optax

from trainables.core.layout import path_text
from trainables.declarations import PartError

Pattern = str | Sequence[str] | Callable[[str, Any], bool]
"""Patterns such as "kernel" or "layers.*.bias", any of which must match; or a function of a path
and its array."""


def matches(pattern: str, path: str) -> bool:
    """Whether a pattern with `*`, `?` or `[...]` matches a path.

    One with a dot must match the whole path; one without a dot any of its names, as in .gitignore:
    "kernel" matches layers.0.kernel, "norm*" matches norm_1.scale.
    """
    if "." in pattern:
        return fnmatchcase(path, pattern)
    return any(fnmatchcase(name, pattern) for name in path.split("."))


def path_mask(select: Pattern) -> Callable[[Any], Any]:
    """A function that marks parameters by their paths, for whatever of optax takes a `mask`.

        optax.adamw(hparams["lr"], weight_decay=0.1, mask=path_mask("kernel"))
        optax.masked(optax.add_decayed_weights(0.1), path_mask(lambda path, leaf: leaf.ndim > 1))

    Args:
      select: patterns (`matches`), or a function of (path, array).

    Returns:
      params -> a tree like them, True for what is selected.

    Raises:
      PartError: when it is called, a pattern matches no parameter.
    """

    def mask(params: Any) -> Any:
        paths = _paths(params)
        marks = [_selected(select, path, leaf) for path, leaf in paths]
        _refuse_idle(select, paths, params)
        return jax.tree.unflatten(jax.tree.structure(params), marks)

    return mask


def path_labels(groups: Mapping[str, Pattern], default: str = "default") -> Callable[[Any], Any]:
    """A function that gives parameters the name of their group, for `optax.multi_transform`.

        optax.multi_transform(
            {"slow": optax.adam(0.1 * hparams["lr"]), "default": optax.adam(hparams["lr"])},
            path_labels({"slow": "embedding"}),
        )

    Args:
      groups: name -> patterns, or a function of (path, array); the first that matches counts.
      default: name of all others.

    Returns:
      params -> a tree like them of names.

    Raises:
      PartError: when it is called, a pattern matches no parameter.
    """

    def labels(params: Any) -> Any:
        paths = _paths(params)
        names = [
            next((name for name, own in groups.items() if _selected(own, path, leaf)), default)
            for path, leaf in paths
        ]
        for own in groups.values():
            _refuse_idle(own, paths, params)
        return jax.tree.unflatten(jax.tree.structure(params), names)

    return labels


def _paths(params: Any) -> list[tuple[str, Any]]:
    leaves = jax.tree_util.tree_flatten_with_path(params)[0]
    return [(path_text(path).replace("/", "."), leaf) for path, leaf in leaves]


def _selected(select: Pattern, path: str, leaf: Any) -> bool:
    if callable(select):
        return bool(select(path, leaf))
    patterns = [select] if isinstance(select, str) else select
    return any(matches(pattern, path) for pattern in patterns)


def _refuse_idle(select: Pattern, paths: Sequence[tuple[str, Any]], params: Any) -> None:
    """Raises PartError for a pattern that matches nothing, but within a group of parameters, of
    which optax shows the others as MaskedNode."""
    if callable(select) or _is_group(params):
        return
    for pattern in [select] if isinstance(select, str) else select:
        if not any(matches(pattern, path) for path, _ in paths):
            known = ", ".join(path for path, _ in paths[:12])
            more = ", ..." if len(paths) > 12 else ""
            raise PartError(
                f"the pattern {pattern!r} matches no parameter of the model, which has "
                f"{known}{more}; give a function of (path, array) for what a model may lack"
            )


def _is_group(params: Any) -> bool:
    def masked(node: Any) -> bool:
        return isinstance(node, optax.MaskedNode)

    return any(masked(node) for node in jax.tree.leaves(params, is_leaf=masked))
