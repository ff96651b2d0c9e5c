"""Which lane strategy a pack has on which device."""

from __future__ import annotations

from types import SimpleNamespace

import jax
import pytest

from orchestrator.worker.lane_strategy import strategy_here


@pytest.mark.parametrize(("platform", "chosen"), [("cpu", "sequential"), ("gpu", "vmap")])
def test_the_device_decides_where_nobody_does(
    monkeypatch: pytest.MonkeyPatch, platform: str, chosen: str
) -> None:
    monkeypatch.setattr(jax, "devices", lambda: [SimpleNamespace(platform=platform)])
    assert strategy_here("default") == chosen
    assert [strategy_here(word) for word in ("sequential", "vmap")] == ["sequential", "vmap"]
