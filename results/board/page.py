"""What a page of the board is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from results.board.address import Address
from results.board.stores import Stores

Importance = Callable[[Sequence[Mapping[str, Any]], Sequence[float]], Mapping[str, float]]
"""Configs and a number of each -> the share of each key in the number's variance."""


@dataclass(frozen=True)
class View:
    """What the parts of a page are drawn from."""

    stores: Stores
    at: Address
    importance: Importance | None = None


Draw = Callable[[View], list[Any]]


def nothing(view: View) -> list[Any]:
    return []


@dataclass(frozen=True)
class Page:
    """A page, in three parts. A part is drawn again when a name that it reads changes, or a store.

    Attributes:
      name: its path.
      title: its name in the list of pages.
      controls: what the reader chooses by.
      main: what is shown.
      aside: what is shown of what was selected in `main`.
      main_reads, controls_reads, aside_reads: names of the address, beside store, space and theme.
    """

    name: str
    title: str
    main: Draw
    main_reads: tuple[str, ...]
    controls: Draw = nothing
    controls_reads: tuple[str, ...] = ()
    aside: Draw = nothing
    aside_reads: tuple[str, ...] = ()
