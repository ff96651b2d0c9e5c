"""What declarations of analyses share: stages of one epoch that train nothing and fill probes."""

from __future__ import annotations

from collections.abc import Callable

from trainables.declarations.core.keys import Key
from trainables.declarations.core.parts import Config, Stage, nothing


def analysis(
    name: str,
    doc: str,
    build: str,
    probes: tuple[str, ...],
    *keys: Key,
    check: Callable[[Config], list[str]] | None = None,
    version: int = 1,
    dataset: Callable[[Config], str | None] = nothing,
) -> Stage:
    """A stage that reads no other part; `build` names its engine, as for every `Stage`, which gets
    the arrays of `dataset`, or None, in the place of a task."""
    return Stage(
        name=name, version=version, doc=doc, build=build, reads=(), epochs_key=None,
        task_loss=False, probes=probes, keys=keys, check=check, dataset=dataset,
    )  # fmt: skip
