"""A study and its spaces: what a paper runs, as plain data."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import InitVar, dataclass, field
from typing import Any

from search_spaces.claims import Claim, PaperFigure
from trainables.declarations import Part, Probe
from trainables.declarations.core.keys import shown


def grid(*values: Any) -> dict[str, list[Any]]:
    """Every one of these values, in Ray Tune's words."""
    return {"grid_search": list(values)}


@dataclass(frozen=True, kw_only=True)
class Space:
    """One named grid of a study.

    Attributes:
      param_space: keys of a trial, in Ray Tune's vocabulary (`{"grid_search": [...]}`,
        `tune.loguniform(...)`), with the two forms of `search_spaces.expansion` beside it.
      reproduces: the figure or table of the paper that it is for, or a question of your own.
      defaults: `{"when": {...}, "then": {...}}` forms that fill only keys left open.
      select: which key is chosen on which metric, and which is averaged over:
        `{"choose": "lr", "metric": "val_loss", "mode": "min", "report": "test_loss",
        "over": "seed"}`. With `"at": "best"` metrics are those of the epoch best in `metric`, and
        not of the last one.
      prune: how bad trials are ended early, as `launch --prune` does:
        `{"rule": "halving", "metric": "val_loss", "mode": "min", "grace": 5, "factor": 3, "over":
        "seed", "within": "depth"}`, of which only the rule must be there.
      smoke: overrides that make it a run of under a minute on two cores.
      samples, sample_seed: how many configs a sampled space draws, and from which seed.
      figures: names of the figure recipes; the first is drawn by default.
      extension: not in the paper, and marked so wherever it is listed.
      feeds, ours: former names of `reproduces` and `extension`, which are still read.
    """

    param_space: Mapping[str, Any]
    reproduces: str = ""
    doc: str = ""
    defaults: tuple[Mapping[str, Any], ...] = ()
    select: Mapping[str, Any] = field(default_factory=dict)
    prune: Mapping[str, Any] | None = None
    smoke: Mapping[str, Any] = field(default_factory=dict)
    samples: int | None = None
    sample_seed: int = 0
    figures: tuple[str, ...] = ("overview",)
    extension: bool = False
    feeds: InitVar[str | None] = None
    ours: InitVar[bool | None] = None

    def __post_init__(self, feeds: str | None, ours: bool | None) -> None:
        if feeds is not None:
            object.__setattr__(self, "reproduces", feeds)
        if ours is not None:
            object.__setattr__(self, "extension", ours)

    def problems(self) -> list[str]:
        """What is not of its type, a sentence each; values of keys are checked by the plan."""
        keyed = {"param_space": self.param_space, "select": self.select, "smoke": self.smoke}
        found = [
            f"{n} must be a dict with strings as keys" for n, v in keyed.items() if not _dict(v)
        ]
        if self.prune is not None and not _dict(self.prune):
            found.append("prune must be None or a dict such as {'rule': 'halving'}")
        if _dict(self.select) and not all(_words(v) for v in self.select.values()):
            found.append("select must have strings, or lists of strings, as values")
        if not isinstance(self.defaults, (tuple, list)) or not all(map(_is_default, self.defaults)):
            found.append("defaults must be a tuple of {'when': {...}, 'then': {...}} dicts")
        if self.samples is not None and (type(self.samples) is not int or self.samples < 1):
            found.append("samples must be None or an integer >= 1")
        if not isinstance(self.sample_seed, int):
            found.append("sample_seed must be an integer")
        if not isinstance(self.figures, (tuple, list)) or not _words(self.figures):
            found.append("figures must be a tuple of strings")
        texts = {"reproduces": self.reproduces, "doc": self.doc}
        found += [f"{name} must be a string" for name, value in texts.items() if not _text(value)]
        if not isinstance(self.extension, bool):
            found.append("extension must be True or False")
        return found


@dataclass(frozen=True, kw_only=True)
class Study:
    """A paper's set of experiments, or a user's own.

    `parts` are models, tasks, optimizers and stages the built-in ones lack; `figures` are functions
    `(store, space, trial) -> plotly figure` by name. `claims` are what `gradsweep report` holds a
    store against, `drawn` the paper's figures.
    """

    name: str
    title: str
    spaces: Mapping[str, Space]
    arxiv: str | None = None
    doc: str = ""
    parts: tuple[Part, ...] = ()
    probes: tuple[Probe, ...] = ()
    figures: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    claims: tuple[Claim, ...] = ()
    drawn: tuple[PaperFigure, ...] = ()

    def problems(self) -> list[str]:
        """What is not of its type, in the study and its spaces, a sentence each."""
        names = "must be made of letters, digits and . _ + = @ - only"  # files are called so
        found = [] if _name(self.name) else [f"name {names}"]
        texts = {"title": self.title, "doc": self.doc, "arxiv": self.arxiv or ""}
        found += [f"{name} must be a string" for name, value in texts.items() if not _text(value)]
        kinds = {"parts": Part, "probes": Probe, "claims": Claim, "drawn": PaperFigure}
        for name, kind in kinds.items():
            value = getattr(self, name)
            if not isinstance(value, (tuple, list)) or any(not isinstance(v, kind) for v in value):
                found.append(f"{name} must be a tuple of {kind.__name__} objects")
        if not _dict(self.figures) or not all(map(callable, self.figures.values())):
            found.append("figures must be a dict of functions")
        if not isinstance(self.spaces, Mapping):
            return [*found, "spaces must be a dict of Space objects"]
        for name, space in self.spaces.items():
            if not _name(name):
                found.append(f"the name of a space {names}; got {shown(name)}")
            elif not isinstance(space, Space):
                found.append(f"space {name} must be a Space; got {shown(space)}")
            else:
                found += [f"space {name}: {problem}" for problem in space.problems()]
        return found


def _text(value: Any) -> bool:
    return isinstance(value, str) and not re.search("[\ud800-\udfff]", value)


def _name(value: Any) -> bool:
    return isinstance(value, str) and bool(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+=@-]*", value))


def _dict(value: Any) -> bool:
    return isinstance(value, Mapping) and all(map(_text, value))


def _words(value: Any) -> bool:
    several = isinstance(value, (tuple, list)) and all(map(_text, value))
    return value is None or _text(value) or several


def _is_default(value: Any) -> bool:
    return _dict(value) and all(_dict(value.get(name)) for name in ("when", "then"))
