"""The trials of a launch that wait for a slot: which are ready, in which packs they go out."""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from orchestrator.plan.packs import Lane, PackSpec, has_any, pack_name


@dataclass(eq=False)
class Group:
    """Trials that may be lanes of one pack.

    Attributes:
      key: what tells it from others. like: a pack of the group.
      ready: lanes that may start, in order.
      held: how many wait for a parent or for a verdict.
    """

    key: tuple[Any, ...]
    like: PackSpec
    ready: deque[Lane] = field(default_factory=deque)
    held: int = 0

    @property
    def waits(self) -> bool:
        return bool(self.ready) or self.held > 0

    def pack(self, lanes: list[Lane], **changes: Any) -> PackSpec:
        """A pack of these lanes."""
        return replace(self.like, id=pack_name(lanes), lanes=lanes, **changes)

    def take(self, most: int, step: int | None = None) -> list[Lane]:
        """Removes up to `most` ready lanes, the first in line. Those of one pack that start within
        an epoch start at the same `step`, by default that of the first."""
        if not self.ready or most <= 0:
            return []
        step = self.ready[0].resumes_at[1] if step is None else step
        taken, others = [], []
        while self.ready and len(taken) < most:
            lane = self.ready.popleft()
            (taken if lane.resumes_at[1] == step else others).append(lane)
        self.ready.extendleft(reversed(others))
        return taken


class Waiting:
    """Trials that wait, by group in the order in which groups were declared; what comes again is
    first in line. A lane is ready when its parent has passed."""

    def __init__(self) -> None:
        self.groups: dict[tuple[Any, ...], Group] = {}
        self.apart: list[PackSpec] = []
        """Packs that go out as they are: none joins their lanes."""
        self._children: dict[str, list[tuple[Group, Lane]]] = defaultdict(list)
        self._widest: dict[str, int] = {}

    def group(self, pack: PackSpec) -> Group:
        """The group that lanes of this pack belong to."""
        width = min(pack.width, self._widest.get(pack.program, pack.width))
        key = (pack.group or pack.program, width)
        if key not in self.groups:
            like = replace(pack, lanes=[], width=width, generation="", alone=False)
            self.groups[key] = Group(key, like)
        return self.groups[key]

    def add(self, group: Group, lanes: Sequence[Lane]) -> None:
        """Lanes that are ready, last in line."""
        group.ready.extend(lanes)

    def again(self, group: Group, lanes: Sequence[Lane]) -> None:
        """Lanes that are ready, first in line."""
        group.ready.extendleft(reversed(lanes))
        self.groups = {group.key: group} | self.groups

    def hold(self, group: Group, lane: Lane, parent: str) -> None:
        """A lane that becomes ready as its parent passes."""
        group.held += 1
        self._children[parent].append((group, lane))

    def children(self, parent: str) -> list[tuple[Group, Lane]]:
        """Removes and returns the lanes that waited for this parent."""
        found = self._children.pop(parent, [])
        for group, _ in found:
            group.held -= 1
        return found

    @property
    def ready(self) -> bool:
        """Whether any lane may start."""
        return bool(self.apart) or any(group.ready for group in self.groups.values())

    def next(self, idle: int) -> PackSpec | None:
        """Removes and returns the first pack, for one of `idle` workers that have none."""
        if self.apart:
            return self.apart.pop(0)
        for group in self.groups.values():
            if group.ready:
                return group.pack(group.take(min(group.like.width, self._fair(group, idle))))
        return None

    def grant(self, group: Group, most: int, idle: int) -> list[Lane]:
        """Removes and returns up to `most` lanes for free slots of a pack of the group, while
        `idle` other workers have no pack."""
        if not group.ready or most <= 0:
            return []
        return group.take(min(most, self._fair(group, idle + 1)), step=0)

    def _fair(self, group: Group, idle: int) -> int:
        """How many lanes of a group one of `idle` workers may take: where others of them would find
        nothing else to do, its share."""
        if idle > 1:
            idle -= len(self.apart)
        for other in self.groups.values():
            if idle <= 1:
                break
            if other is not group:
                idle -= math.ceil(len(other.ready) / other.like.width)
        return math.ceil(len(group.ready) / max(idle, 1))

    def narrow(self, program: str, width: int) -> None:
        """No pack of the program has more lanes than this from now on."""
        self._widest[program] = width
        groups, self.groups = self.groups, {}
        for group in groups.values():
            if group.like.program == program and group.like.width > width:
                group.like = replace(group.like, width=width)
                group.key = (group.key[0], width)
                while group.key in groups or group.key in self.groups:
                    group.key += (0,)
            self.groups[group.key] = group
        apart, self.apart = self.apart, []
        for pack in apart:
            if pack.program != program or pack.width <= width:
                self.apart.append(pack)
            else:
                self.put_apart(pack, pack.lanes, width)

    def put_apart(self, pack: PackSpec, lanes: Sequence[Lane], size: int) -> None:
        """Packs like this one, at most `size` of the lanes each, that no other lane joins."""
        found = []
        width = min(pack.width, self._widest.get(pack.program, pack.width))
        for first in range(0, len(lanes), size):
            part = list(lanes[first : first + size])
            found.append(replace(pack, id=pack_name(part), lanes=part, width=width, alone=True))
        self.apart = [*found, *self.apart]

    def remove(self, program: str, of: Sequence[dict[str, Any]]) -> list[PackSpec]:
        """Removes the lanes of a program whose config has all of any of these values, as packs."""
        lost = []
        for group in self.groups.values():
            if group.like.program == program:
                bad = [lane for lane in group.ready if has_any(lane.config, of)]
                group.ready = deque(lane for lane in group.ready if not has_any(lane.config, of))
                lost += [group.pack(bad)] if bad else []
        for parent, waiting in list(self._children.items()):
            for group, lane in waiting:
                if group.like.program == program and has_any(lane.config, of):
                    group.held -= 1
                    lost.append(group.pack([lane]))
                    self._children[parent].remove((group, lane))
        apart, self.apart = self.apart, []
        for pack in apart:
            bad = [lane for lane in pack.lanes if has_any(lane.config, of)]
            bad = bad if pack.program == program else []
            lost += [replace(pack, lanes=bad)] if bad else []
            if left := [lane for lane in pack.lanes if lane not in bad]:
                self.apart.append(replace(pack, id=pack_name(left), lanes=left))
        return lost

    def work(self, left: Callable[[Lane], int]) -> list[tuple[str, int]]:
        """(program, work that is left) of each pack that waits, in the order of their starts."""
        found = [(pack.program, sum(map(left, pack.lanes))) for pack in self.apart]
        held = defaultdict(list)
        for waiting in self._children.values():
            for group, lane in waiting:
                held[group.key].append(lane)
        for group in self.groups.values():
            lanes, width = [*group.ready, *held[group.key]], group.like.width
            found += [
                (group.like.program, sum(map(left, lanes[first : first + width])))
                for first in range(0, len(lanes), width)
            ]
        return found
