"""A study and its spaces: what a paper runs, as plain data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from trainables.spec import Part, Probe


@dataclass(frozen=True, kw_only=True)
class Space:
    """One named grid of a study.

    Attributes:
      param_space: keys of a trial, in Ray Tune's vocabulary (`{"grid_search": [...]}`,
        `tune.loguniform(...)`), with the two forms of `search_spaces.expansion` beside it.
      feeds: the figure or table of the paper it feeds.
      defaults: `{"when": {...}, "then": {...}}` forms that fill only keys left open.
      select: which key is chosen on which metric, and which is averaged over:
        `{"choose": "lr", "metric": "val_loss", "mode": "min", "report": "test_loss",
        "over": "seed"}`. With `"at": "best"` metrics are those of the epoch best in `metric`, and
        not of the last one.
      smoke: overrides that make it a run of under a minute on two cores.
      samples, sample_seed: how many configs a sampled space draws, and from which seed.
      figures: names of the figure recipes; the first is drawn by default.
      ours: not in the paper, so marked as ours wherever it is listed.
    """

    param_space: Mapping[str, Any]
    feeds: str
    doc: str = ""
    defaults: tuple[Mapping[str, Any], ...] = ()
    select: Mapping[str, Any] = field(default_factory=dict)
    smoke: Mapping[str, Any] = field(default_factory=dict)
    samples: int | None = None
    sample_seed: int = 0
    figures: tuple[str, ...] = ("overview",)
    ours: bool = False


@dataclass(frozen=True, kw_only=True)
class Study:
    """A paper's set of experiments, or a user's own.

    `parts` are models, tasks, optimizers and stages the built-in ones lack; `figures` are functions
    `(store, space, trial) -> plotly figure` by name. `scheduler` exists to be refused: Tune's trial
    schedulers see packs, not lanes.
    """

    name: str
    title: str
    spaces: Mapping[str, Space]
    arxiv: str | None = None
    doc: str = ""
    parts: tuple[Part, ...] = ()
    probes: tuple[Probe, ...] = ()
    figures: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    scheduler: Any = None
