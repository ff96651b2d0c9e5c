"""The loss around one unit's optimum, against sums over time and differences of closed forms
(docs/specs/zucchet2024.md, 5.2 and 5.3)."""

from __future__ import annotations

import numpy as np
import pytest

from tests.trainables.analyses.test_linear_unit import rows
from trainables.analyses import closed_forms
from trainables.analyses.linear_unit import stored_phase


@pytest.mark.parametrize("form", ["polar", "exp", "opt"])
def test_the_map_is_the_distance_of_two_responses(form: str) -> None:
    """Half the sum over time of |l^t - s^t|^2, for white inputs; the lowest cell is near."""
    found = rows(stage="landscape_map", phase_form=form, map_points=30)["landscape_map"]
    target = found["target_modulus"][0] * np.exp(1j * found["target_phase"][0])
    t = np.arange(20_000)[:, None]
    some = np.random.default_rng(3).choice(len(found["loss"]), 40)
    lam = found["modulus"][some] * np.exp(1j * found["phase"][some])
    want = 0.5 * np.sum(np.abs(lam**t - target**t) ** 2, 0)
    assert found["loss"][some] == pytest.approx(want, rel=1e-6)
    for at in some:
        w = stored_phase(float(found["modulus"][at]), float(found["phase"][at]) or 1e-9, form)
        assert found["coordinate"][at] == pytest.approx(w, rel=1e-6, abs=1e-8)
    best = np.argmin(found["loss"])
    assert found["modulus"][best] == pytest.approx(0.99, abs=0.005)
    assert found["phase"][best] == pytest.approx(np.pi / 100, abs=0.02)


def _value(w: float, form: str, direction: str, s: float) -> float:
    if direction == "nu":
        return {"polar": lambda: w, "exp": lambda: np.exp(-np.exp(w)), "opt": lambda: np.tanh(w)}[
            form
        ]()
    scale = (1 - s**2) / (s * np.sqrt(1 + s**2))
    return {"polar": w, "exp": np.exp(w), "opt": w * scale}[form]


def _at_optimum(form: str, direction: str, s: float) -> float:
    theta = np.pi / 100
    if direction == "nu":
        return {"polar": s, "exp": np.log(-np.log(s)), "opt": np.arctanh(s)}[form]
    scale = (1 - s**2) / (s * np.sqrt(1 + s**2))
    return {"polar": theta, "exp": np.log(theta), "opt": theta / scale}[form]


def test_lines_are_the_loss_and_its_second_differences() -> None:
    found = rows(stage="unit_lines", map_points=12)["unit_lines"]
    rng = np.random.default_rng(4)
    for at in rng.choice(len(found["loss"]), 150, replace=False):
        s = float(found["target"][at])
        form, direction = (str(found[n][at]) for n in ("form", "direction"))
        start, offset = _at_optimum(form, direction, s), float(found["shift"][at])

        def loss(w: float, s: float = s, form: str = form, direction: str = direction) -> float:
            value = _value(w, form, direction, s)
            nu, theta = (value, np.pi / 100) if direction == "nu" else (s, value)
            own = s * np.exp(1j * np.pi / 100)
            return closed_forms.normalised_loss(nu * np.exp(1j * theta), own)

        w = start + offset
        assert found["value"][at] == pytest.approx(_value(w, form, direction, s), abs=1e-9)
        assert found["loss"][at] == pytest.approx(loss(w), rel=1e-8, abs=1e-12)
        step = 2e-3 * (1 - s) if form == "polar" else 1e-3
        bend = (-loss(w + 2 * step) + 16 * loss(w + step) - 30 * loss(w) + 16 * loss(w - step)
                - loss(w - 2 * step)) / (12 * step**2)  # fmt: skip
        scale = np.abs(found["curvature"]).max() if form == "polar" else 1
        assert found["curvature"][at] == pytest.approx(bend, rel=2e-3, abs=1e-6 * scale)


def test_curvature_at_the_optimum_is_the_published() -> None:
    found = rows(stage="unit_lines", map_points=12)["unit_lines"]
    hard = np.isclose(found["target"], 0.99) & (np.abs(found["shift"]) < 1e-12)
    seen = {(f, d): c for f, d, c in zip(found["form"][hard], found["direction"][hard],
                                         found["curvature"][hard], strict=True)}  # fmt: skip
    want = {("polar", "nu"): 2525, ("exp", "nu"): 0.24999, ("opt", "nu"): 1,
            ("polar", "theta"): 4901, ("opt", "theta"): 1,
            ("exp", "theta"): (np.pi / 100) ** 2 * 4901}  # fmt: skip
    assert seen == pytest.approx(want, rel=1e-3)
