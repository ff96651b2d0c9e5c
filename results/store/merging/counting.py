"""Which parts of a table count, when `compact` has merged some, twice at once or in copies of a
store that were put together again."""

from __future__ import annotations

from dataclasses import dataclass, field

import pyarrow as pa

from results.store.paths import MERGED


@dataclass(frozen=True)
class Part:
    """One readable part, as its footer describes it.

    `replaces` has the parts that it was merged from, and what those replaced; `owned` says whether
    each of its rows names the launch that wrote it.
    """

    path: str
    size: int
    rows: int
    schema: pa.Schema
    replaces: tuple[str, ...] = ()
    owned: bool = False

    @property
    def name(self) -> str:
        return self.path.rsplit("/", 1)[-1]


@dataclass
class Listing:
    """The parts of one table: those that count, and merged ones that came second and do not.

    `overlapping` says that rows may be in two of those that count: copies of a store were compacted
    apart, so neither of two merged parts holds all that the other does.
    """

    live: list[Part] = field(default_factory=list)
    merged: list[Part] = field(default_factory=list)
    replaced: dict[str, Part] = field(default_factory=dict)
    rejected: list[Part] = field(default_factory=list)
    overlapping: bool = False

    @property
    def owned(self) -> bool:
        """Whether every row that counts names its launch."""
        return all(part.owned for part in self.live)


def counted(parts: list[Part]) -> Listing:
    """Which parts count.

    Of two merged parts that replace a part in common the one published first holds. The other is
    passed over if all it replaces is elsewhere, as after two `compact` runs at once; what it held
    stays visible. If not both count, and overlap.
    """
    listing = Listing()
    claimed: dict[str, str] = {}
    """Name of a part -> the last merged part that counts and replaces it."""
    present = {part.name for part in parts}
    for part in sorted((p for p in parts if p.name.startswith(MERGED)), key=lambda p: p.name):
        own = set(part.replaces)
        rivals = {claimed[name] for name in own & claimed.keys()} - own
        if rivals and all(name in claimed or name in present for name in own):
            listing.rejected.append(part)
            continue
        listing.merged.append(part)
        claimed |= dict.fromkeys(own, part.name)
    passed_over = {part.name for part in listing.rejected}
    for part in parts:
        if part.name in claimed:
            listing.replaced[part.name] = part
        elif part.name not in passed_over:
            listing.live.append(part)
    merged = {part.name for part in listing.merged}
    held = [name for p in listing.live if p.name in merged for name in dict.fromkeys(p.replaces)]
    listing.overlapping = len(held) > len(set(held))
    return listing
