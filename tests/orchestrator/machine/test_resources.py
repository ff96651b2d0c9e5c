"""How many packs run at once."""

from __future__ import annotations

import math

import pytest

from orchestrator.errors import RequestError
from orchestrator.machine import resources as room
from orchestrator.machine.resources import find_room


@pytest.fixture
def eight(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of eight CPUs and no GPU."""
    monkeypatch.setattr(room, "cpus_here", lambda: 8)
    monkeypatch.setattr(room, "gpus_here", lambda: 0)


@pytest.mark.usefixtures("eight")
@pytest.mark.parametrize(
    ("given", "packs", "resources"),
    [
        ({}, 8, {"CPU": 1.0}),
        ({"cpus_per_pack": 3}, 2, {"CPU": 3.0}),
        ({"cpus": 2}, 2, {"CPU": 1.0}),
        ({"cpus_per_pack": 8}, 1, {"CPU": 8.0}),
        ({"there": {}, "cpus": 16, "cpus_per_pack": 16}, 1, {"CPU": 16.0}),
        ({"there": {"CPU": 40.0}}, 40, {"CPU": 1.0}),
        ({"there": {"CPU": 40.0, "GPU": 4.0}}, 4, {"CPU": 1.0, "GPU": 1.0}),
        ({"there": {"CPU": 40.0, "GPU": 4.0}, "gpus": 0.0}, 40, {"CPU": 1.0}),
        ({"there": {}, "gpus": 3.0, "gpus_per_pack": 0.5}, 6, {"CPU": 1.0, "GPU": 0.5}),
        ({"there": {}, "cpus": 9, "cpus_per_pack": 2}, 4, {"CPU": 2.0}),
    ],
)
def test_room(given: dict[str, object], packs: int, resources: dict[str, float]) -> None:
    found = find_room(**given)  # type: ignore[arg-type]
    assert (found.packs, found.resources) == (packs, resources)
    assert found.gpu == resources.get("GPU", 0.0)


@pytest.mark.usefixtures("eight")
@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"gpus": 1.0}, "this machine has no GPU"),
        ({"cpus_per_pack": 9}, "--cpus-per-pack 9: this machine has 8"),
        ({"cpus_per_pack": 3, "cpus": 2}, "--cpus-per-pack 3: --cpus is 2"),
        ({"cpus_per_pack": 9, "there": {"CPU": 8.0}}, "--cpus-per-pack 9: the cluster has 8"),
        ({"gpus_per_pack": 2}, "--gpus-per-pack 2: the program of a pack uses one GPU; give 1, or"),
        ({"gpus_per_pack": 1.5, "there": {"GPU": 4.0}}, "--gpus-per-pack 1.5: the program of a"),
        ({"gpus_per_pack": 10**5000}, "--gpus-per-pack a value of type int: the program of a pack"),
        ({"gpus_per_pack": 1e-9, "there": {"GPU": 1.0}}, "must be a number from 0.0001 to 1; got"),
        *(
            ({name: value}, f"--{name.replace('_', '-')} must be a")
            for name in ("cpus", "gpus", "cpus_per_pack", "gpus_per_pack")
            for value in (math.nan, -1, "2", True, math.inf)
        ),
        *(({"cpus": value}, "--cpus must be a whole") for value in (0, 1.5, 2**31, 10**5000)),
        ({"cpus": 9}, "this machine has 8"),
        ({"gpus_per_pack": 0.5}, "this machine has none"),
        ({"there": {"CPU": 4.0}, "gpus_per_pack": 0.5}, "the cluster has none now"),
        ({"there": {}}, "how many CPUs or GPUs it may grow to"),
    ],
)
def test_no_room(given: dict[str, object], error: str) -> None:
    with pytest.raises(RequestError, match=error):
        find_room(**given)  # type: ignore[arg-type]
