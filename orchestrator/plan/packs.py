"""Packs: trials that compile to one program, grouped, sized and ready to hand to a worker."""

from __future__ import annotations

import base64
import json
import math
import zlib
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trainables.declarations import HostTrainable, Trial, digest
from trainables.declarations.core.structure import Structure

MAX_WIDTH = 16
"""Lanes in a pack unless forced: enough to share a compile, small enough to lose little."""

MAX_WIDTH_SHORT = 64
"""The same of short trials, as long as every worker still gets four packs of the group: a pack
costs the driver 16 ms and its worker some seconds, however wide it is."""

SHORT = 100
"""Optimizer steps of a short training. What a pack's epoch of all lanes takes, it takes to report
and to end on Ctrl-C, too."""

MAX_WIDTH_GPU = 128
"""The same on a GPU, where lanes advance together: 28 of a 20-layer RNN took an H100 1.2 times as
long as one. A pack that does not fit comes again in halves."""

CHECKPOINT_S = 60.0

NARROWED = "-narrow"
"""What stands in the id of a pack after that of the wider pack whose trials it goes on with."""

HOST = "process"
"""The strategy of a pack of one trial that is a function of the user's, in a separate process."""


@dataclass(slots=True)
class Lane:
    """One trial's slot in a pack, and where it resumes from."""

    trial_id: str
    config: dict[str, Any]
    parent_id: str | None = None
    attempt: int = 0
    first_epoch: int = 0
    checkpoint: str | None = None
    checkpoint_lane: int = 0
    memo: dict[str, Any] = field(default_factory=dict)
    artifact: bool = False
    """Its last weights are saved whatever keep_weights says: a child starts from them."""
    follows: list[tuple[int, str]] = field(default_factory=list)
    """Attempts, each with its launch, that this one comes after; first the one it goes on from."""
    rungs: list[int] = field(default_factory=list)
    """Counts of done epochs after which it asks for a verdict, of those still to come."""
    metric: str | None = None
    """The column of `epochs`, or the metric, whose value it is judged by."""
    continues: str | None = None
    """A shorter trial, equal but for its length, whose epochs before `first_epoch` are its own."""

    @property
    def resumes_at(self) -> tuple[int, int]:
        """Epoch, and step within it where data stream."""
        return self.first_epoch, int(self.memo.get("step", 0))

    def to_json(self) -> dict[str, Any]:
        # Not `asdict`, which copies every value of every config.
        return {name: getattr(self, name) for name in Lane.__slots__}


@dataclass
class PackSpec:
    """What a worker needs to run one pack; plain JSON, so it travels.

    A pack has `width` slots, one lane each. When a lane's trial ends, a waiting trial of the same
    `group` takes its slot.
    """

    id: str
    program: str
    lanes: list[Lane]
    width: int
    strategy: str
    generation: str = ""
    group: str = ""
    """What trials must share to be lanes of one pack: program and recording keys."""
    alone: bool = False
    """No other trial may take a slot of it: one of its lanes may be what kills its workers."""

    @property
    def trial_ids(self) -> list[str]:
        return [lane.trial_id for lane in self.lanes]

    @property
    def parents(self) -> set[str]:
        return {lane.parent_id for lane in self.lanes if lane.parent_id}

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "lanes": [lane.to_json() for lane in self.lanes]}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> PackSpec:
        lanes = [Lane(**lane) for lane in data["lanes"]]
        return PackSpec(**{**data, "lanes": lanes})

    def to_text(self) -> str:
        """One short word: Tune copies, flattens and keeps a trial's config several times over, and
        the configs of a pack say nearly the same."""
        return base64.b64encode(zlib.compress(json.dumps(self.to_json()).encode())).decode()

    @staticmethod
    def from_text(text: str) -> PackSpec:
        return PackSpec.from_json(json.loads(zlib.decompress(base64.b64decode(text))))


@dataclass
class Context:
    """What a launch tells each worker beside its pack.

    Attributes:
      threads, gpu: CPU threads, and share of a GPU. checkpoint_s: between resume points.
      versions: installed on the driver; a node with others must not take part.
      fetch: a missing data set is downloaded, as on a cluster's nodes, which nobody has prepared.
      trial_seconds: how long a trial may take; None for as long as it likes.
      words: a folder of this machine where workers leave what they did when they died.
      keep_pruned: the last state of a pruned trial is kept, so that it can go on.
    """

    launch_id: str = ""
    space: str = ""
    threads: int = 1
    checkpoint_s: float = CHECKPOINT_S
    gpu: float = 0.0
    versions: dict[str, str] = field(default_factory=dict)
    fetch: bool = False
    trial_seconds: float | None = None
    words: str | None = None
    keep_pruned: bool = True


def choose_width(
    count: int,
    groups: int,
    devices: int,
    forced: int | None = None,
    gpu: bool = False,
    short: bool = False,
) -> int:
    """Lanes per pack for a group of `count` trials among `groups` groups on `devices` workers.

    As few packs as keep every device busy and no pack over MAX_WIDTH (or its like for a `gpu` and
    for `short` trials); then as little padding as that number of packs allows.
    """
    if forced is not None:
        return forced
    widest = MAX_WIDTH_GPU if gpu else MAX_WIDTH
    if short and not gpu:
        widest = max(MAX_WIDTH, min(MAX_WIDTH_SHORT, count // (4 * devices)))
    packs = max(math.ceil(count / widest), min(count, math.ceil(devices / max(groups, 1))))
    return math.ceil(count / packs)


def make_packs(
    trials: Sequence[Trial],
    resume: Mapping[str, Lane],
    signatures: Mapping[str, Mapping[str, Any]],
    *,
    devices: int,
    gpu: bool = False,
    lanes: str = "auto",
    width: int | None = None,
    needed_as_parents: frozenset[str] = frozenset(),
) -> list[PackSpec]:
    """Groups trials by program and recording keys, and cuts each group into packs of one width:
    those that would be handed out first if no trial took the slot of another.

    Args:
      resume: trial id -> a Lane holding its attempt and checkpoint.
      signatures: program -> the signature its first launch recorded, which is kept.
      devices: packs that can run at once. gpu: whether on GPUs.
      lanes: auto, vmap or sequential. width: lanes per pack; both force a new signature.
    """
    groups: dict[str, list[Trial]] = defaultdict(list)
    named: dict[tuple[Any, ...], str] = {}
    observed = {one: _observed(one) for one in {trial.structure for trial in trials}}
    for trial in trials:
        names = observed[trial.structure]
        key = (trial.program, names, tuple([trial.config[name] for name in names]))
        if key not in named:
            named[key] = f"{trial.program}-{digest(dict(zip(names, key[2], strict=True)), 8)}"
        groups[named[key]].append(trial)
    sizes: dict[str, int] = defaultdict(int)
    longest: dict[str, float] = defaultdict(float)
    for members in groups.values():
        program = members[0].program
        sizes[program] = max(sizes[program], len(members))
        # How long another stage takes, its steps do not tell.
        steps = _steps(members[0]) if members[0].stage.task_loss else math.inf
        longest[program] = max(longest[program], steps * max(trial.epochs for trial in members))
    running = {trial.id for trial in trials}
    packs = []
    for group, members in groups.items():
        program = members[0].program
        known = signatures.get(program, {})
        count, short = sizes[program], longest[program] <= SHORT
        chosen = width or known.get("width")
        chosen = chosen or choose_width(count, len(groups), devices, gpu=gpu, short=short)
        strategy = lanes if lanes != "auto" else known.get("strategy") or "default"
        if isinstance(members[0].stage, HostTrainable):
            chosen, strategy = 1, HOST
        for chunk in _chunks(members, resume, running, chosen):
            made = [_lane(trial, resume, needed_as_parents) for trial in chunk]
            packs.append(PackSpec(pack_name(made), program, made, chosen, strategy, group=group))
    return packs


def _chunks(
    members: Sequence[Trial], resume: Mapping[str, Lane], running: Collection[str], width: int
) -> Iterator[list[Trial]]:
    """At most `width` trials at a time: those that wait for a parent after those that do not, and
    within an epoch of data that stream only those at the same step."""
    kinds: dict[tuple[bool, int], list[Trial]] = defaultdict(list)
    for trial in members:
        waits = trial.parent is not None and trial.parent.id in running
        step = resume[trial.id].resumes_at[1] if trial.id in resume else 0
        kinds[waits, step].append(trial)
    for kind in sorted(kinds):
        # Children of one parent pack sit together, so that they become ready together.
        ordered = sorted(kinds[kind], key=lambda t: t.parent.program if t.parent else "")
        for first in range(0, len(ordered), width):
            yield ordered[first : first + width]


def _observed(structure: Structure) -> tuple[str, ...]:
    """What must be equal for lanes to share their probes' programs: recording keys other than
    what each lane follows by itself, its cadences and kept weights."""
    return tuple(
        [
            name
            for name in structure.of_kind("recording")
            if not name.endswith("_every") and name != "keep_weights"
        ]
    )


def _steps(trial: Trial) -> int:
    """Optimizer steps of an epoch."""
    return trial.sizes.steps if "task" in trial.parts else 1


def _lane(trial: Trial, resume: Mapping[str, Lane], needed: frozenset[str]) -> Lane:
    lane = resume.get(trial.id) or Lane(trial.id, trial.config)
    lane.config = trial.config
    lane.parent_id = trial.parent.id if trial.parent else None
    lane.artifact = trial.id in needed
    return lane


def has_any(config: Mapping[str, Any], of: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a config has all values of any of these mappings; an empty one has none to lack."""
    return any(all(config.get(name) == value for name, value in one.items()) for one in of)


def pack_name(lanes: Sequence[Lane]) -> str:
    """Id of a pack: another one for each attempt at its trials."""
    return digest([[lane.trial_id, lane.attempt] for lane in lanes], 12)


def signature_text(signature: Mapping[str, Any]) -> str:
    """Canonical JSON of a signature, equal text for equal bits."""
    return json.dumps(signature, sort_keys=True, separators=(",", ":"))
