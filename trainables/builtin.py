"""Built-in parts by name: the functions behind the declarations of `trainables.spec`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from trainables import models, optimizers
from trainables.spec import Part

_BUILDS: dict[tuple[str, str], Callable[..., Any]] = {
    ("model", "vanilla_rnn"): models.vanilla_rnn,
    ("model", "residual_rnn"): models.residual_rnn,
    ("optimizer", "sgd"): optimizers.sgd,
    ("optimizer", "adam"): optimizers.adam,
}


def build_of(part: Part) -> Callable[..., Any]:
    """The part's own `build`, or the built-in one of its name.

    Raises:
      ValueError: neither exists.
    """
    found = part.build or _BUILDS.get((part.role, part.name))
    if found is None:
        raise ValueError(f"{part.role} {part.name} declares no build function; give it one")
    return found
