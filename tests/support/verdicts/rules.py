"""Trials in which one rule of the diagnosis decides alone, and trials at its thresholds."""

from __future__ import annotations

from tests.support.verdicts.cases import (
    BAD,
    EVEN,
    FADED,
    FADING,
    HEALTHY,
    INF,
    NAN,
    OPEN,
    PLATEAU,
    STEEP,
    UNDETERMINED,
    UNKNOWN,
    WIDE,
    Case,
    N,
    Shows,
    decades,
    falling,
    rising,
    since,
    stuck,
)
from tests.support.verdicts.scales import EXPLODED, SCALES, TINY

DEPTH = since(0, "vanishing_depth plateau")
OVER = since(1, "vanishing_epochs plateau")
MILD = since(1, "vanishing_epochs", "vanishing_mild")
MILD_DEPTH = since(0, "vanishing_depth healthy", "vanishing_mild")
PLATEAU_0 = since(0, "plateau", "plateau")
CONVERGED = Shows("healthy", None, "healthy converged")
CONVERGED_ALONE = Shows("healthy", None, "healthy converged plateau?")
RESTED = Shows("undetermined", None, "converged")
SMALL = [1e-7] * 4
SLOW = [100.0, 99.0, 98.0, 97.0, 96.0, 95.1]
"""Falls by less than 5 % over all, and by more than 1 % in the window."""


def slope(fall: float) -> list[float]:
    """Norms that fall by so many decades an epoch."""
    return decades(*(-fall * epoch for epoch in range(N)))


CROOKED = decades(0.0, -0.5, -0.4, -1.0, -0.7, -1.2)
BENT = decades(0.0, -0.5, -0.45, -0.95, -0.75, -1.2)
"""Fall fast enough, by just no line and by just about one: R2 of 0.79 and 0.85."""

DECISIONS = SCALES | {
    # ---- finite: which epochs count, and the norms taken from them
    "an epoch's greatest norm counts, not its mean": Case(
        EXPLODED, stuck(), extra={2: {"grad_norm_max": 3e3}}
    ),
    "without a greatest norm the mean counts": Case(
        EXPLODED, stuck(), [WIDE] * N, extra={2: {"grad_norm": 3e3, "grad_norm_max": None}}
    ),
    "one tensor at 0 is the smallest norm": Case(TINY, stuck(), each={"zero_tensors": 1}),
    "no tensor at 0, no layers": Case(PLATEAU, stuck()),
    "the smallest tensor where there are no layers": Case(
        TINY, stuck(), each={"grad_norm_smallest": 1e-7}
    ),
    "layers count before the smallest tensor": Case(
        PLATEAU, stuck(), [EVEN] * N, each={"grad_norm_smallest": 1e-7}
    ),
    "an epoch whose loss is not finite is left out": Case(
        since(5, "diverged plateau", "diverged"), [*stuck(5), NAN]
    ),
    "an epoch without a finite step is left out": Case(
        since(5, "diverged plateau", "diverged"), [*stuck(5), 0.0], extra={5: {"finite_steps": 0}}
    ),
    "an epoch with one finite step counts": Case(
        since(5, "diverged healthy converged", "diverged"), [*stuck(5), 0.0],
        extra={5: {"finite_steps": 1}},
    ),
    "an epoch that counted no steps counts": Case(PLATEAU, stuck(), each={"finite_steps": None}),
    # ---- spearman and depth: how many points they need
    "two epochs have no trend": Case(UNDETERMINED, [2.3, 1.9], [EVEN] * 2),
    "three epochs have one": Case(HEALTHY, [2.3, 2.1, 1.9], [EVEN] * 3),
    "two layers have no slope": Case(
        PLATEAU, stuck(), [[0.1, 1.0]] * N
    ),
    "three layers have one": Case(DEPTH, stuck(), [rising(0.16, layers=3)] * N),
    "a layer that is not finite is left out": Case(
        HEALTHY, falling(), [[1.0, INF, 1.0, 1.0]] * N
    ),
    # ---- bad: each sign of it alone
    "bad: a step": Case(
        since(2, "diverged plateau", "diverged"), stuck(),
        extra={epoch: {"bad_step": 3} for epoch in (2, 4)},
    ),
    "bad: a tensor": Case(
        since(2, "diverged plateau", "diverged"), stuck(), extra={2: {"nonfinite_tensors": 1}}
    ),
    "bad: one step fewer": Case(
        since(2, "diverged plateau", "diverged"), stuck(), extra={2: {"finite_steps": 9}}
    ),
    "bad: the loss": Case(
        since(2, "diverged healthy", "diverged"), [*falling()[:2], NAN, *falling()[3:]], [EVEN] * N
    ),
    "bad: the norm": Case(
        since(2, "diverged plateau", "diverged"), stuck(),
        extra={2: {"grad_norm": NAN, "grad_norm_max": 1.0}},
    ),
    # ---- judged: depth by its line or by its ratio
    "steep and no line": Case(PLATEAU, stuck(), [[0.1, 1.0, 0.1, 1.0]] * N),
    "a line and not steep": Case(PLATEAU, stuck(), [rising(0.099)] * N),
    "a line just steep enough": Case(
        DEPTH, stuck(), [rising(0.101)] * N, edge="depth_slope", above=PLATEAU
    ),
    "just no line": Case(PLATEAU, stuck(), [[0.1, 0.603, 0.661, 2.0]] * N),
    "a line just straight enough": Case(
        DEPTH, stuck(), [[0.1, 0.562, 0.631, 2.0]] * N, edge="depth_r2", above=PLATEAU
    ),
    "a ratio just low enough": Case(
        DEPTH, stuck(), [[0.0198, 2.0, 2.0, 2.0]] * N, edge="depth_ratio", at=PLATEAU, below=PLATEAU
    ),
    "a ratio just too high": Case(PLATEAU, stuck(), [[0.0202, 2.0, 2.0, 2.0]] * N),
    "a norm just small enough": Case(
        TINY, [1.0] * N, chance_loss=1.0, each={"grad_norm_smallest": 9.9e-7},
        edge="abs_norm", at=PLATEAU, below=PLATEAU,
    ),
    "a norm just too great": Case(PLATEAU, stuck(), each={"grad_norm_smallest": 2.4e-6}),
    # ---- profile: in which of the last epochs
    "deep in half of the last epochs": Case(
        DEPTH, stuck(4), [STEEP] * 2 + [EVEN] * 2
    ),
    "tiny in half of the last epochs": Case(TINY, stuck(4), [SMALL] * 2 + [EVEN] * 2),
    "deep in two of all five": Case(
        PLATEAU_0, stuck(5), [STEEP] * 2 + [EVEN] * 3,
        edge="recent_share", at=DEPTH, above=PLATEAU_0, below=DEPTH,
    ),
    "tiny in two of all five": Case(
        PLATEAU_0, stuck(5), [SMALL] * 2 + [EVEN] * 3,
        edge="recent_share", at=TINY, above=PLATEAU_0, below=TINY,
    ),
    "deep in two of the last five": Case(
        PLATEAU, stuck(), [STEEP] * 3 + [EVEN] * 3,
        edge="recent_epochs", at=DEPTH, above=DEPTH, below=DEPTH,
    ),
    "tiny in two of the last five": Case(
        PLATEAU, stuck(), [SMALL] * 3 + [EVEN] * 3,
        edge="recent_epochs", at=TINY, above=TINY, below=TINY,
    ),
    "deep in three of five": Case(
        since(1, "vanishing_depth plateau"), stuck(), [EVEN] + [STEEP] * 3 + [EVEN] * 2
    ),
    "epochs without layers are not deep": Case(PLATEAU, stuck(), [None] * 5 + [FADED]),
    # ---- course: where it starts, where it bursts
    "starts at the first step": Case(
        CONVERGED_ALONE, [1.0] * N, chance_loss=None,
        extra={0: {"loss_first": 20.0}},
    ),
    "starts at the first epoch where the first step is not finite": Case(
        UNKNOWN, [1.0] * N, chance_loss=None,
        extra={0: {"loss_first": NAN}},
    ),
    "starts at the first epoch where the first step is unknown": Case(
        CONVERGED_ALONE, [20.0, *[1.0] * 5], chance_loss=None,
        extra={0: {"loss_first": None}},
    ),
    "a norm that is no number is no explosion": Case(
        since(2, "diverged plateau", "diverged"), stuck(),
        extra={2: {**BAD, "grad_norm_max": NAN}},
    ),
    "an infinite norm is one": Case(
        since(2, "exploding diverged plateau burst", "exploding"), stuck(),
        extra={2: {**BAD, "grad_norm_max": INF}},
    ),
    "non-finite before it explodes": Case(
        since(1, "diverged plateau burst", "diverged"), stuck(),
        extra={1: BAD, 3: {"grad_norm_max": 3e3}},
    ),
    "an epoch's mean loss explodes": Case(
        EXPLODED, [*stuck()[:2], 24.0, *stuck()[3:]], extra={2: {"loss_last": 1.0}}
    ),
    "an epoch's last loss explodes": Case(EXPLODED, stuck(), extra={2: {"loss_last": 24.0}}),
    "a last loss that is no number does not": Case(
        since(2, "diverged plateau", "diverged"), stuck(), extra={2: {**BAD, "loss_last": NAN}}
    ),
    "a last loss that is unknown does not": Case(PLATEAU, stuck(), each={"loss_last": None}),
    "ten times chance is what counts": Case(PLATEAU, [15.0] * N, chance_loss=2.0),
    "a norm at the threshold": Case(
        PLATEAU, [1.0] * N, chance_loss=1.0, extra={2: {"grad_norm_max": 1e3}},
        edge="explode_growth", below=EXPLODED,
    ),
    "a loss at the threshold": Case(
        PLATEAU, [1.0, 1.0, 10.0, 1.0, 1.0, 1.0], chance_loss=1.0,
        edge="explode_loss", below=EXPLODED,
    ),
    "dead from the start": Case(
        since(0, "dead plateau", "dead"), stuck(), norms=[0.0] * N, each={"grad_norm_smallest": 1.0}
    ),
    "alive again": Case(
        PLATEAU, stuck(), norms=[0.0] * 4 + [1.0, 0.1], each={"grad_norm_smallest": 1.0}
    ),
    "dead and learned": Case(
        Shows("undetermined", None, "converged"), [*falling(), 0.8, 0.8, 0.8, 0.8],
        norms=[1.0] * 6 + [0.0] * 4, each={"grad_norm_smallest": 1.0},
    ),
    # ---- course and falls: the plateau's window
    "falls at the window's first step": Case(
        UNDETERMINED, [2.5, 2.4, *stuck()[2:]], [WIDE] * N
    ),
    "falls before the window": Case(PLATEAU, [2.5, *stuck()[1:]], [WIDE] * N),
    "two epochs are a window": Case(PLATEAU_0, stuck(2)),
    "the window is a fifth of thirty": Case(
        since(24, "plateau", "plateau"), [2.5] * 24 + stuck(6), [WIDE] * 30,
        edge="plateau_share", above=UNDETERMINED,
    ),
    "the window falls by just less": Case(
        PLATEAU, [100.0, *[100.0] * 4, 99.1], chance_loss=100.0
    ),
    "the window falls by just that": Case(
        UNDETERMINED, [100.0, *[100.0] * 4, 99.0], chance_loss=100.0,
        edge="plateau_fall", above=PLATEAU,
    ),
    "the window starts at 1": Case(PLATEAU, [1.0] * N, chance_loss=1.0),
    "the window starts at 0": Case(
        UNKNOWN, [1.0, 0.0, 1.0, 0.0, 1.0, 1.0], [WIDE] * N, chance_loss=1.0
    ),
    "losses below 0": Case(CONVERGED, [-1.0, -2.0, -3.0], chance_loss=None),
    "the window of what was stopped is a fifth of what it did": Case(
        since(22, "plateau", "plateau"), [2.5] * 22 + stuck(6), [WIDE] * 28, status="stopped",
        planned=60,
    ),
    # ---- pruned: nothing is said for want of epochs
    "pruned before it could be flat": Case(
        OPEN, stuck(5), [WIDE] * 5, status="pruned", planned=28
    ),
    "paused before it could be flat": Case(
        OPEN, stuck(4), [WIDE] * 4, status="paused", planned=10
    ),
    "pruned, and flat for as long as it takes": Case(
        PLATEAU_0, stuck(6), [WIDE] * 6, status="pruned", planned=28
    ),
    "pruned, of an unknown length": Case(
        since(22, "plateau", "plateau"), [2.5] * 22 + stuck(6), [WIDE] * 28, status="pruned"
    ),
    "pruned with gradients that vanish": Case(
        since(0, "vanishing_depth plateau?", "vanishing_mild"), stuck(3), [STEEP] * 3,
        status="pruned", planned=28,
    ),
    "pruned while it fell": Case(
        HEALTHY, falling(3), [EVEN] * 3, status="pruned", planned=28
    ),
    "pruned, and hardly fell": Case(
        OPEN, [2.303, 2.302, 2.301], [EVEN] * 3, status="pruned", planned=28
    ),
    "pruned, neither flat nor healthy": Case(
        Shows("open"), [2.3, 2.2, 2.1], [WIDE] * 3, status="pruned", planned=28
    ),
    # ---- learned
    "learned by chance": Case(RESTED, [1.8] * N),
    "just not learned by chance": Case(PLATEAU, [1.85] * N),
    "at the plateau's level": Case(
        RESTED, [0.8] * N, chance_loss=1.0, edge="plateau_loss", below=PLATEAU
    ),
    "learned by half": Case(
        CONVERGED_ALONE, [2.0, *[1.0] * 5], chance_loss=None,
        edge="learned_fall", above=UNKNOWN,
    ),
    "just not learned by half": Case(
        UNKNOWN, [2.0, *[1.01] * 5], chance_loss=None
    ),
    "a start at 0 has no fall": Case(
        Shows("rising", 1, "rising plateau?"), [0.0, *[1.0] * 5], chance_loss=None
    ),
    "a start at 1 has one": Case(CONVERGED_ALONE, [1.0, *[0.05] * 5], chance_loss=None),
    "learned and nothing known of its fall": Case(
        UNDETERMINED, [0.0] * N
    ),
    "learned and nothing known of its window": Case(UNDETERMINED, [1.0]),
    "rested, not fallen far": Case(RESTED, [2.0, *[1.2] * 5], [STEEP] * N),
    "fallen far, not rested": Case(
        CONVERGED, [10.0, 5.0, 3.0, 2.0, 1.5, 0.9], [[1e-7, *STEEP[1:]]] * N, chance_loss=None
    ),
    "just not fallen far": Case(
        Shows("healthy", None, "healthy"), [10.0, 5.0, 3.0, 2.0, 1.5, 1.01], [WIDE] * N,
        chance_loss=None,
    ),
    "fallen just far enough": Case(
        CONVERGED, [10.0, 5.0, 3.0, 2.0, 1.5, 1.0], [WIDE] * N, chance_loss=None,
        edge="converged_fall", above=HEALTHY,
    ),
    "tiny, learned, not at rest": Case(
        HEALTHY, falling(), norms=[0.9, 1.0] * 3, each={"grad_norm_smallest": 1e-7}
    ),
    # ---- fading: each rule of it alone
    "four epochs are too few to fade": Case(
        PLATEAU_0, stuck(4), norms=FADING[:4]
    ),
    "five are enough": Case(
        since(0, "vanishing_epochs plateau"), stuck(5), norms=FADING[:5],
        edge="epochs_min", above=PLATEAU_0,
    ),
    "the total fades": Case(OVER, stuck(), [EVEN] * N, FADING),
    "the first layer fades": Case(OVER, stuck(), [[n, *EVEN[1:]] for n in FADING]),
    "the total fades too slowly": Case(PLATEAU, stuck(), norms=slope(0.049)),
    "the total fades just fast enough": Case(
        OVER, stuck(), [EVEN] * N, slope(0.051), edge="epochs_slope", below=PLATEAU
    ),
    "the first layer fades too slowly": Case(
        PLATEAU, stuck(), [[n, *EVEN[1:]] for n in slope(0.049)]
    ),
    "the first layer fades just fast enough": Case(
        OVER, stuck(), [[n, *EVEN[1:]] for n in slope(0.051)], edge="epochs_slope", below=PLATEAU
    ),
    "the total fades on no line": Case(PLATEAU, stuck(), norms=CROOKED),
    "the total fades just on a line": Case(
        OVER, stuck(), [EVEN] * N, BENT, edge="epochs_r2", above=PLATEAU
    ),
    "the first layer fades on no line": Case(
        PLATEAU, stuck(), [[n, *EVEN[1:]] for n in CROOKED]
    ),
    "the first layer fades just on a line": Case(
        OVER, stuck(), [[n, *EVEN[1:]] for n in BENT], edge="epochs_r2", above=PLATEAU
    ),
    "fading, the loss falls by just less": Case(
        MILD, SLOW, norms=FADING, chance_loss=100.0
    ),
    "fading, the loss falls by just that": Case(
        UNDETERMINED, [100.0, 99.0, 98.0, 97.0, 96.0, 95.0], norms=FADING, chance_loss=100.0,
        edge="epochs_loss_fall", above=MILD,
    ),
    "fading from a loss of 1": Case(OVER, [1.0] * N, norms=FADING, chance_loss=1.0),
    "fading from a loss of 0": Case(
        since(1, "rising plateau", "rising"), [0.0, *[1.0] * 5], norms=FADING, chance_loss=1.0
    ),
    "fading, losses fall below 0": Case(
        since(0, "exploding burst", "exploding"), [-1.0, -1.1, -1.2, -1.3, -1.35, -1.4],
        norms=FADING, chance_loss=-2.0,
    ),
    "fading and learned": Case(RESTED, [1.0] * N, norms=FADING),
    # ---- healthy
    "still, and fallen just far enough": Case(
        CONVERGED, [10.0, 5.0, 3.0, 2.0, 1.5, 1.0], [WIDE] * N, [1.0] * 5 + [0.0],
        chance_loss=None, edge="converged_fall", above=UNDETERMINED,
    ),
    "still, and just not fallen far": Case(
        UNDETERMINED, [10.0, 5.0, 3.0, 2.0, 1.5, 1.0 + 5e-6], [WIDE] * N, [1.0] * 5 + [0.0],
        chance_loss=None,
    ),
    "only biases move, and learned": Case(
        RESTED, [*falling(), 0.8, 0.8, 0.8, 0.8], [EVEN] * 6 + [[0.0] * 4] * 4, idle={4}
    ),
    "just not halved": Case(RESTED, [2.0, *[1.0 + 1e-7] * 5], [WIDE] * N, chance_loss=2.0),
    "a trend, uneven": Case(UNDETERMINED, falling(to=1.5), [WIDE] * N),
    "a trend, uneven, and halved": Case(HEALTHY, falling(), [WIDE] * N),
    "a trend, flat, with no chance loss": Case(
        UNKNOWN, [2.301, 2.3, 2.299, 2.298, 2.297, 2.296], [EVEN] * N, chance_loss=None
    ),
    "just even enough": Case(
        HEALTHY, falling(to=1.5), [[100.0, 10.0, 1.0, 10.0]] * N,
        edge="healthy_spread", below=UNDETERMINED,
    ),
    "a trend just clear enough": Case(
        HEALTHY, [2.3, 2.2, 2.0, 2.1, 1.9], [EVEN] * 5, edge="healthy_rho", below=UNDETERMINED
    ),
    "a trend just not clear enough": Case(
        UNDETERMINED, [2.3, 2.1, 1.9, 2.2, 2.0], [EVEN] * 5
    ),
    "losses that tie": Case(HEALTHY, [2.3, 2.3, 2.1, 2.0, 1.9], [EVEN] * 5),
    # ---- vanishing, each of the three alone, and no plateau
    "mild by depth": Case(MILD_DEPTH, SLOW, [STEEP] * N, chance_loss=100.0),
    "mild by size": Case(
        since(0, "vanishing_abs healthy", "vanishing_mild"), SLOW, [SMALL] * N,
        chance_loss=100.0,
    ),
}  # fmt: skip

EDGES: tuple[dict[str, tuple[str, str] | float], ...] = (
    {
        "plateau_share": 0.2,
        "explode_growth": 1e3,
        "rising_loss": 0.25,
        "least_loss": 1e-3,
        "explode_loss": 10.0,
        "depth_slope": ("a line just steep enough", "depth_slope"),
        "depth_r2": ("a line just straight enough", "depth_r2"),
        "depth_ratio": ("a ratio just low enough", "depth_ratio"),
        "abs_norm": ("a norm just small enough", "smallest_norm"),
        "recent_epochs": 5.0,
        "recent_share": 0.4,
    },
    {
        "epochs_slope": ("the total fades just fast enough", "total_slope"),
        "epochs_r2": ("the total fades just on a line", "total_r2"),
        "epochs_min": 5.0,
        "epochs_loss_fall": 0.05,
        "plateau_fall": 0.01,
        "plateau_loss": 0.8,
        "healthy_spread": 2.0,
        "healthy_rho": ("a trend just clear enough", "loss_spearman"),
        "learned_fall": 0.5,
        "converged_fall": 0.9,
    },
)
"""Each threshold exactly at what a trial above has: a number, or what the trial's evidence says.
The second lot is of CTEs that come after those of the first. Two are in neither: `plateau_epochs`,
as a window of no whole number has no start, and `floor_norm`, which nothing is compared with."""
