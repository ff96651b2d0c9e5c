"""Trials in which one rule of bursts, frozen or dead layers, or a rising loss decides alone."""

from __future__ import annotations

import numpy as np

from tests.support.verdicts.cases import (
    BAD,
    EVEN,
    INF,
    NAN,
    PLATEAU,
    UNDETERMINED,
    UNKNOWN,
    Case,
    N,
    Shows,
    falling,
    since,
    stuck,
)

TINY = since(0, "vanishing_abs plateau")
EXPLODED = since(2, "exploding plateau burst", "exploding")
EDGE = 2.0**-20
"""A float32 of about 1e-6."""

SCALES = {
    # ---- bursts
    "an infinite norm and nothing finite": Case(
        since(0, "exploding diverged plateau? burst", "exploding"), [NAN],
        extra={0: {**BAD, "finite_steps": 0, "grad_norm": NAN, "grad_norm_max": INF}},
    ),
    "an infinite loss without a chance loss": Case(
        since(0, "exploding diverged plateau? burst", "exploding"), [NAN], chance_loss=None,
        extra={0: {**BAD, "finite_steps": 0, "loss_first": INF, "grad_norm_max": NAN}},
    ),
    "a burst, learned, and non-finite at last": Case(
        since(2, "exploding diverged healthy burst", "exploding"), falling(), [EVEN] * N,
        extra={2: {"grad_norm_max": 3e3}, 5: BAD},
    ),
    "a burst of a gradient that sums 10 losses": Case(
        PLATEAU, stuck(), extra={2: {"grad_norm_max": 3e3}}, loss_terms=10
    ),
    "a stage without a loss has no scale that a norm could be far above": Case(
        Shows("undetermined", None, "plateau?"), [None] * N, [EVEN] * N, [5e3] * N,
        chance_loss=None,
    ),
    "a burst from a norm of 10": Case(
        PLATEAU, stuck(), norms=[10.0, *[12.0] * 5],
        extra={0: {"grad_norm_min": None}, 2: {"grad_norm_max": 9e3}},
    ),
    "a burst from the least norm of the first epoch": Case(
        EXPLODED, stuck(), norms=[20.0, *[1.0] * 5],
        extra={0: {"grad_norm_min": 5.0}, 2: {"grad_norm_max": 6e3}},
    ),
    "a burst from a loss of 0, just not": Case(
        UNKNOWN, [0.0, *[1e-4] * 5], norms=[1e-6] * N, chance_loss=None,
        extra={2: {"grad_norm_max": 1.0}},
        edge="least_loss", below=since(2, "exploding plateau? burst", "exploding"),
    ),
    # ---- frozen and dead
    "below a layer that has only biases": Case(
        since(0, "vanishing_depth vanishing_abs plateau"), stuck(), [[0.0, 0.0, 1.0, 1.0]] * N,
        idle={2},
    ),
    "below a layer of which only the loop learns": Case(
        since(0, "vanishing_depth vanishing_abs plateau"), stuck(), [[0.0, 0.0, 1.0, 1.0]] * N,
        deaf={2},
    ),
    "a readout that is frozen": Case(PLATEAU, stuck(), [EVEN] * N, readout=0.0),
    "frozen below a layer just strong enough": Case(
        PLATEAU, [EDGE * 1e6] * N, [[0.0, EDGE, EDGE, EDGE]] * N, chance_loss=EDGE * 1e6
    ),
    "at 0 below a layer just too weak": Case(
        since(0, "vanishing_depth vanishing_abs plateau"), [EDGE * 1e6] * N,
        [[0.0, *[float(np.nextafter(np.float32(EDGE), np.float32(0)))] * 3]] * N,
        chance_loss=EDGE * 1e6, edge="abs_norm", at=PLATEAU, above=PLATEAU, below=PLATEAU,
    ),
    "frozen below a layer that was at 0 first": Case(
        PLATEAU, stuck(), [[0.0, 0.0, 1.0, 1.0], *[[0.0, 1.0, 1.0, 1.0]] * 5]
    ),
    "whole layers at 0, no tensors known": Case(
        TINY, stuck(), [[0.0] * 4] * N, tensors=False
    ),
    "dead from epoch 3 on, and still at last": Case(
        since(3, "dead vanishing_abs plateau", "dead"), stuck(), [EVEN] * 3 + [[0.0] * 4] * 3,
        idle={4}, norms=[1.0] * 5 + [0.0],
    ),
    "dead at first": Case(PLATEAU, stuck(), [[0.0] * 4] + [EVEN] * 5, idle={4}),
    "solved from the start, which a ratio says too": Case(
        UNKNOWN, [0.0] * N, norms=[0.0] * N, chance_loss=None, each={"loss_ratio": 0.0}
    ),
    "solved from the start": Case(UNKNOWN, [0.0] * N, norms=[0.0] * N, chance_loss=None),
    # ---- rising
    "risen, and once just not": Case(
        Shows("rising", 4, "rising"), [1.0, 1.0, 1.25, 1.25, 2.0, 2.0], chance_loss=1.0,
        edge="rising_loss", below=Shows("rising", 2, "rising"),
    ),
    "risen by a quarter of where it started, not of chance": Case(
        UNDETERMINED, [*[0.9] * 5, 1.14], chance_loss=1.0
    ),
    "risen from 0, just not": Case(
        UNKNOWN, [0.0, *[2.5e-4] * 5], norms=[1e-6] * N, chance_loss=None,
        edge="least_loss", below=Shows("rising", 1, "rising plateau?"),
    ),
    "risen from below 0 by less": Case(UNKNOWN, [*[-1.0] * 5, -0.8], chance_loss=None),
    "risen to where it has still learned": Case(UNDETERMINED, [*[0.1] * 5, 1.0]),
    "just not risen": Case(
        PLATEAU, [1.0] * 5 + [1.25], chance_loss=1.0,
        edge="rising_loss", below=Shows("rising", 5, "rising"),
    ),
}  # fmt: skip
