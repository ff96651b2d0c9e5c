"""Trials by which every rule of `results/store/sql/diagnosis.sql` decides a verdict once, alone."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from results import Store
from tests.support.made_up_rows import LN10, attempt_row, epoch_row, layer_rows, table

FLAGS = ("exploding", "diverged", "dead", "vanishing_depth", "vanishing_abs", "vanishing_epochs",
         "plateau", "healthy", "converged", "rising", "burst")  # fmt: skip
NAN, INF = math.nan, math.inf
N = 6
LAYERS = 4
"""Below the readout. The plateau's window is the last five of the six epochs: from epoch 1."""


@dataclass(frozen=True)
class Shows:
    """What a trial must show: its verdict, the first bad epoch, and the rules that hold.

    `rules` are separated by blanks; one with a question mark is null, all others are false.
    """

    verdict: str
    since: int | None = None
    rules: str = ""

    @property
    def flags(self) -> tuple[bool | None, ...]:
        words = self.rules.split()
        assert {word.rstrip("?") for word in words} <= set(FLAGS), words
        return tuple(None if f"{flag}?" in words else flag in words for flag in FLAGS)


@dataclass(frozen=True)
class Case:
    """A trial's course, and what it shows by the thresholds as shipped.

    `idle` are layers of which no weight has a gradient, but their biases have; `deaf` those of
    which the weights of what is below have none; `readout` is the gradient norm of the last layer;
    without `tensors` rows are of whole layers only. `declared` are layers that the model says are
    frozen, `fixed` those of which it says so of the tensor w_ih only. `planned` are the epochs that
    its config asks for.

    `edge` names a threshold that makes a difference to it; `at`, `above` and `below`: what it shows
    where that is as `rules.EDGES` says, or the next number above or below.
    """

    shows: Shows
    losses: Sequence[float | None]
    layers: Sequence[Sequence[float] | None] | None = None
    norms: Sequence[float] | None = None
    each: Mapping[str, Any] = field(default_factory=dict)
    extra: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    chance_loss: float | None = LN10
    loss_terms: int | None = None
    idle: Collection[int] = ()
    deaf: Collection[int] = ()
    declared: Collection[int] = ()
    fixed: Collection[int] = ()
    readout: float = 0.3
    tensors: bool = True
    status: str = "done"
    planned: int | None = None
    edge: str = ""
    at: Shows | None = None
    above: Shows | None = None
    below: Shows | None = None

    def expected(self, side: str = "", moved: Collection[str] = ()) -> Shows:
        """What it must show where these thresholds are moved to that side of their edges."""
        other = getattr(self, side) if self.edge in moved else None
        return other or self.shows

    def epochs(self) -> list[dict[str, Any]]:
        """Its rows of `epochs`, but for the keys."""
        rows = []
        for epoch, loss in enumerate(self.losses):
            norm = self.norms[epoch] if self.norms else 1.0
            rows.append({"loss": loss, "grad_norm": norm, **self.each, **self.extra.get(epoch, {})})
        return rows

    def profiles(self) -> list[list[dict[str, Any]]]:
        """Its rows of `layers` by epoch, but for the trial; empty of an epoch without."""
        norms = list(self.layers or [None] * len(self.losses))
        return [self._profile(epoch, each) for epoch, each in enumerate(norms)]

    def _profile(self, epoch: int, norms: Sequence[float] | None) -> list[dict[str, Any]]:
        if norms is None:
            return []
        rows = layer_rows("", epoch, norms, self.readout, attempt=1)
        for row in rows:
            silent = row["layer"] in self.idle and row["tensor"].startswith("w")
            if silent or (row["layer"] in self.deaf and row["tensor"] == "w_ih"):
                row |= {"grad_norm": 0.0, "grad_norm_max": 0.0, "zero_steps": 10}
            if row["layer"] in self.declared or (
                row["layer"] in self.fixed and row["tensor"] == "w_ih"
            ):
                row["frozen"] = True
        return [row for row in rows if self.tensors or row["tensor"] == "*"]


def publish(store: Store, cases: Mapping[str, Case], **config: Any) -> None:
    """All cases, a part a table; to each an earlier attempt and an older version, of no account."""
    trials, epochs, layers = [], [], []
    for name, case in cases.items():
        own = {"config": {"stage": "train", **config}, "chance_loss": case.chance_loss,
               "loss_terms": case.loss_terms, "status": case.status,
               "epochs_planned": case.planned}  # fmt: skip
        trials.append(attempt_row(name, 0, chance_loss=1e-9))
        trials.append(attempt_row(name, 1, versions={"model:rnn": 2}, **own))
        trials.append(attempt_row(f"old {name}", config_id=f"c-{name}"))
        for epoch, (row, profile) in enumerate(zip(case.epochs(), case.profiles(), strict=True)):
            epochs.append(epoch_row(name, epoch, attempt=1, **row))
            epochs.append(epoch_row(f"old {name}", epoch, 1.0))
            layers += [{**each, "trial_id": name} for each in profile]
    for what, rows in {"trials": trials, "epochs": epochs, "layers": layers}.items():
        store.publish(what, table(rows))


def rising(slope: float, top: float = 1.0, layers: int = LAYERS) -> list[float]:
    """Layer norms that rise by `slope` decades per layer up to `top`."""
    return [top * 10 ** (slope * (layer - layers + 1)) for layer in range(layers)]


def stuck(n: int = N) -> list[float]:
    """Losses that stay where chance is, up and down by a thousandth."""
    return [LN10 * (1.001 - 0.001 * (i % 2)) for i in range(n)]


def falling(n: int = N, to: float = 0.8) -> list[float]:
    return list(np.linspace(LN10, to, n))


def decades(*logarithms: float) -> list[float]:
    """Powers of ten, rounded as `layers` holds them."""
    return [float(np.float32(10**each)) for each in logarithms]


EVEN, STEEP = rising(0.0), rising(0.16)
FADED = [1e-3, 1.0, 1.0, 1.0]
WIDE = [1.0, 1e3, 1.0, 1.0]
"""Layers of which one is three decades above the others: too far for healthy, with no slope."""
FADING = decades(*(-0.3 * epoch for epoch in range(N)))
BAD = {"bad_step": 2, "finite_steps": 2, "nonfinite_tensors": 3}
HEALTHY = Shows("healthy", None, "healthy")
PLATEAU = Shows("plateau", 1, "plateau")
UNDETERMINED = Shows("undetermined")
UNKNOWN = Shows("undetermined", None, "plateau?")
OPEN = Shows("open", None, "plateau?")


def since(epoch: int, rules: str, verdict: str = "vanishing") -> Shows:
    return Shows(verdict, epoch, rules)


COURSES = {
    "healthy": Case(HEALTHY, falling(), [rising(0.02)] * N),
    "healthy without a chance loss": Case(
        HEALTHY, falling(), [rising(0.02)] * N, chance_loss=None
    ),
    "decay with depth, loss stuck": Case(
        since(0, "vanishing_depth plateau"), stuck(), [STEEP] * N
    ),
    "decay with depth from epoch 2 on": Case(
        since(2, "vanishing_depth plateau"), stuck(), [EVEN] * 2 + [STEEP] * 4
    ),
    "three epochs of digits": Case(
        since(0, "vanishing_depth plateau"), [2.311, 2.309, 2.307], [STEEP] * 3
    ),
    "first to last ratio, no line": Case(
        since(0, "vanishing_depth plateau"), stuck(), [FADED] * N
    ),
    "all layers below 1e-6": Case(since(0, "vanishing_abs plateau"), stuck(), [[1e-7] * 4] * N),
    "a layer at exactly 0": Case(
        since(3, "vanishing_depth vanishing_abs plateau"), stuck(),
        [EVEN] * 3 + [[0.0, 1.0, 1.0, 1.0]] * 3,
    ),
    "a layer at exactly 0 from the start": Case(PLATEAU, stuck(), [[0.0, 1.0, 1.0, 1.0]] * N),
    "frozen features": Case(HEALTHY, falling(), [[0.0, 0.0, 1.0, 1.0]] * N),
    "layers that the model declares frozen": Case(
        HEALTHY, falling(), [[0.0, 0.0, 1.0, 1.0]] * N, declared={0, 1}, fixed={2}, deaf={2}
    ),
    "a readout that the model declares frozen": Case(
        since(0, "vanishing_depth plateau"), stuck(), [STEEP] * N, declared={4}, readout=0.0
    ),
    "no weight has a gradient": Case(
        since(0, "dead vanishing_abs plateau", "dead"), stuck(), [[0.0] * 4] * N, idle={4}
    ),
    "exponential decay over epochs": Case(
        since(1, "vanishing_epochs plateau"), stuck(), [[n] * 4 for n in FADING], FADING
    ),
    "decay with depth, still learning": Case(
        since(0, "vanishing_depth healthy", "vanishing_mild"), falling(to=1.5), [STEEP] * N
    ),
    "decay with depth, no chance loss": Case(
        since(0, "vanishing_depth plateau?", "vanishing_mild"), stuck(), [STEEP] * N,
        chance_loss=None,
    ),
    "flat loss, even gradients": Case(PLATEAU, stuck(), [EVEN] * N),
    "flat at last only": Case(
        since(5, "plateau", "plateau"), [3.0, 2.8, 2.6, 2.4, 2.31, *[2.3] * 5], [WIDE] * 10
    ),
    "NaN at epoch 3": Case(
        since(3, "diverged healthy", "diverged"), falling(4), [EVEN] * 4, extra={3: BAD}
    ),
    "nothing finite from the start": Case(
        since(0, "diverged plateau?", "diverged"), [NAN],
        extra={0: {**BAD, "finite_steps": 0, "grad_norm": NAN, "grad_norm_max": NAN}},
    ),
    "NaN after an explosion": Case(
        since(3, "exploding diverged rising burst", "exploding"), [*falling(3), 40.0], [EVEN] * 4,
        [1.0, 1.0, 1.0, 1e5], extra={3: BAD},
    ),
    "a thousand times the first norm": Case(
        since(4, "exploding plateau burst", "exploding"), stuck(), norms=[1.0] * 4 + [3e3, 1.0]
    ),
    "the same on the way to a solution": Case(
        Shows("healthy", None, "healthy converged burst"), falling(to=0.1),
        [EVEN] * N, [1.0] * 4 + [3e3, 1.0],
    ),
    "loss above ten times chance": Case(
        since(0, "exploding burst", "exploding"), [6e3, 3e3, 330.0]
    ),
    "overflow in the first step": Case(
        since(0, "exploding diverged plateau? burst", "exploding"), [NAN],
        extra={0: {**BAD, "loss_first": INF, "finite_steps": 0, "grad_norm": NAN,
                   "grad_norm_max": NAN}},
    ),
    "rising": Case(since(2, "rising", "rising"), [2.3, 2.6, 4.0, 8.0, 16.0, 20.0]),
    "rising without a chance loss": Case(
        since(2, "rising", "rising"), [2.4, 2.6, 4.0, 5.0, 6.0, 7.3], chance_loss=None
    ),
    "a regression that starts converged": Case(
        UNKNOWN, [0.01] * N, [[n * 1e-9] * 4 for n in FADING], FADING, chance_loss=None
    ),
    "a teacher's energy and a great norm": Case(
        Shows("healthy", None, "healthy converged"), [304.6, 20.0, 3.0, 0.4, 0.05, 0.017],
        norms=[2e4] + [1e4] * 5, chance_loss=None,
        extra={0: {"loss_ratio": 0.98}, 5: {"loss_ratio": 6e-5}},
    ),
    "a great loss without a chance loss": Case(
        Shows("healthy", None, "healthy converged"), [6e3, 3e3, 330.0], chance_loss=None
    ),
    "gradients exactly 0": Case(
        since(3, "dead plateau", "dead"), stuck(), [[0.0] * 4] * N, [1.0] * 3 + [0.0] * 3,
    ),
    "converged, gradients small everywhere": Case(
        Shows("healthy", None, "healthy converged"), [LN10 * 10 ** (-0.4 * e) for e in range(N)],
        [[10.0**-e] * 4 for e in range(N)], [10.0**-e for e in range(N)],
    ),
    "converged and flat, gradients tiny and uneven": Case(
        Shows("healthy", None, "healthy converged"), [2.0, 1.0, 0.1, *[0.01] * 5],
        [rising(0.2, 1e-7)] * 8, [1e-7] * 8,
    ),
    "converged to exactly 0": Case(
        Shows("healthy", None, "healthy converged"), [2.0, 1.0, *[0.0] * 6], [[0.0] * 4] * 8,
        [1.0, 0.5, *[0.0] * 6],
    ),
    "converged without a chance loss": Case(
        Shows("healthy", None, "healthy converged plateau?"), [2.0, 1.0, 0.1, *[0.01] * 5],
        [[1e-9] * 4] * 8, chance_loss=None,
    ),
    "one epoch": Case(UNKNOWN, [LN10], [EVEN]),
    "erratic": Case(UNDETERMINED, [2.3, 1.6, 2.2, 1.5, 2.1, 1.4], [EVEN] * N),
    "no epochs": Case(UNKNOWN, []),
}  # fmt: skip
