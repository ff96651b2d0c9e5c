"""The loss around the optimum of one unit that learns another, in float64 on the host.

See docs/specs/zucchet2024.md, 5.2 and 5.3: the paper's figure 6 along one parameter, and the upper
row of its figure 7 over both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from trainables.analyses import closed_forms
from trainables.analyses.hessians import TARGETS, Drawn
from trainables.core.engine import SharedColumns
from trainables.core.hparams import constants
from trainables.declarations import Trial

TARGET = 0.99, np.pi / 100
"""Modulus and phase to learn."""
START = 0.99, np.pi / 4
"""Modulus and phase of the student's start."""
FORMS = ("polar", "exp", "opt")


def phase_scale(nu: Any) -> Any:
    """d theta / d w of form opt: (1 - nu^2) / (nu sqrt(1 + nu^2)), which makes the curvature 1."""
    return (1 - nu**2) / (nu * np.sqrt(1 + nu**2))


def phase_of(w: Any, nu: Any, form: str) -> Any:
    """theta of the parameter w of a form."""
    if form == "exp":
        return np.exp(w)
    return w * phase_scale(nu) if form == "opt" else w


class LandscapeMap(Drawn):
    """Stage `landscape_map`: the loss that stage `landscape` descends, over its two parameters.

    Phases go from 0 (.005 where the logarithm is the parameter) to a quarter beyond the start's.
    """

    def __init__(self, trial: Trial, task: None, values: Mapping[str, Any]):
        config: Any = constants(trial)
        points, form = int(config["map_points"]), str(config["phase_form"])
        modulus = 1 - np.geomspace(0.1, 1e-3, points)
        nu, start = START
        most = 1.25 * start
        ends = {"polar": (0, most), "exp": (np.log(0.005), np.log(most)),
                "opt": (0, most / phase_scale(nu))}  # fmt: skip
        low, high = ends[form]
        w = np.linspace(low, high, 2 * points)
        r, x = (v.ravel() for v in np.meshgrid(modulus, w, indexing="ij"))
        theta = phase_of(x, r, form)
        target = TARGET[0] * np.exp(1j * TARGET[1])
        self.shared_columns: Mapping[str, SharedColumns] = {
            "landscape_map": {
                "coordinate": x,
                "modulus": r,
                "phase": theta,
                "loss": closed_forms.student_loss(r * np.exp(1j * theta), target),
                "target_modulus": np.full(len(x), TARGET[0]),
                "target_phase": np.full(len(x), TARGET[1]),
            }
        }


def modulus_derivatives(nu: np.ndarray, s: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The normalised loss 1 - sqrt(1 - s^2) u v, u = sqrt(1 - nu^2) and v = 1 / (1 - nu s), and its
    first and second derivative by nu, at the target's phase."""
    q, u, v = np.sqrt(1 - s**2), np.sqrt(1 - nu**2), 1 / (1 - nu * s)
    u1, u2, v1, v2 = -nu / u, -1 / u**3, s * v**2, 2 * s**2 * v**3
    return 1 - q * u * v, -q * (u1 * v + u * v1), -q * (u2 * v + 2 * u1 * v1 + u * v2)


def phase_derivatives(turn: np.ndarray, s: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The normalised loss 1 - (1 - p) Re z, z = 1 / (1 - p exp(i turn)) and p = s^2, and its first
    and second derivative by the phase's distance from the target's, at the target's modulus."""
    p = s**2
    e = p * np.exp(1j * turn)
    z = 1 / (1 - e)
    first, second = 1j * e * z**2, -e * z**2 - 2 * e**2 * z**3
    q = 1 - p
    return 1 - q * z.real, -q * first.real, -q * second.real


def _line(s: float, form: str, direction: str, points: int) -> dict[str, np.ndarray]:
    """offset, value, loss and curvature along one parameter."""
    far = np.linspace(-3, 3, 2 * points + 1)
    phase = TARGET[1]
    if direction == "nu":
        if form == "polar":
            offset = np.concatenate([np.linspace(-s, 0, points + 1),
                                     np.linspace(0, 0.9 * (1 - s), points + 1)[1:]])  # fmt: skip
            nu = s + offset
            rise, bend = np.ones_like(nu), np.zeros_like(nu)
        elif form == "exp":
            offset = far
            nu = np.exp(-np.exp(np.log(-np.log(s)) + far))
            rise = nu * np.log(nu)
            bend = rise * (1 + np.log(nu))
        else:
            offset = far
            nu = np.tanh(np.arctanh(s) + far)
            rise = 1 - nu**2
            bend = -2 * nu * rise
        value, (loss, slope, second) = nu, modulus_derivatives(nu, s)
    else:
        offset = far
        rise = {"polar": 1.0, "exp": phase * np.exp(far), "opt": phase_scale(s)}[form]
        value = phase * np.exp(far) if form == "exp" else phase + rise * far
        bend = rise if form == "exp" else 0.0
        loss, slope, second = phase_derivatives(value - phase, s)
    return {
        "shift": offset,
        "value": value,
        "loss": loss,
        "curvature": second * rise**2 + slope * bend,
    }


class UnitLines(Drawn):
    """Stage `unit_lines`: the normalised loss and its curvature along modulus and phase (figure 6),
    for targets of growing memory, in three parametrisations."""

    def __init__(self, trial: Trial, task: None, values: Mapping[str, Any]):
        config: Any = constants(trial)
        points = int(config["map_points"])
        rows: dict[str, list[np.ndarray]] = {}
        for gap in TARGETS:
            for form in FORMS:
                for direction in ("nu", "theta"):
                    line = _line(1 - gap, form, direction, points)
                    count = len(line["shift"])
                    line |= {
                        "target": np.full(count, 1 - gap),
                        "form": np.full(count, form, object),
                        "direction": np.full(count, direction, object),
                    }
                    for name, column in line.items():
                        rows.setdefault(name, []).append(column)
        self.shared_columns: Mapping[str, SharedColumns] = {
            "unit_lines": {name: np.concatenate(found) for name, found in rows.items()}
        }
