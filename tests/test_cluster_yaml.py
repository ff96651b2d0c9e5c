"""cluster.yaml, by Ray's own schema and by what it promises."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "cluster.yaml").read_text()


@pytest.fixture(scope="module")
def cluster() -> dict[str, Any]:
    """The file as Ray completes it, after Ray's own validation."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(copy.deepcopy(yaml.safe_load(TEXT)))
    validate_config(prepared)
    return prepared


def test_rays_validation_would_notice(cluster: dict[str, Any]) -> None:
    """That validation is not a formality: an unknown field and too many workers are refused."""
    from jsonschema import ValidationError
    from ray.autoscaler._private.util import validate_config

    with pytest.raises(ValidationError, match="no_such_field"):
        validate_config({**cluster, "no_such_field": 1})
    crowded = copy.deepcopy(cluster)
    crowded["available_node_types"]["gpu_worker"]["min_workers"] = cluster["max_workers"] + 1
    with pytest.raises(ValueError, match="max_workers"):
        validate_config(crowded)


def test_head_is_on_demand_and_never_trains(cluster: dict[str, Any]) -> None:
    head = cluster["available_node_types"][cluster["head_node_type"]]
    assert head["resources"]["CPU"] == 0
    assert "InstanceMarketOptions" not in head["node_config"]


def test_gpu_workers_are_spot_and_come_from_nothing(cluster: dict[str, Any]) -> None:
    workers = [
        node
        for name, node in cluster["available_node_types"].items()
        if name != cluster["head_node_type"]
    ]
    assert workers
    for worker in workers:
        assert worker["min_workers"] == 0
        assert 0 < worker["max_workers"] <= cluster["max_workers"]
        assert worker["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert 0 < cluster["idle_timeout_minutes"] <= 15


def test_nothing_faces_a_network_without_a_token(cluster: dict[str, Any]) -> None:
    for commands in ("head_start_ray_commands", "worker_start_ray_commands"):
        starts = [line for line in cluster[commands] if "ray start" in line]
        assert starts
        assert all("RAY_AUTH_MODE=token" in line for line in starts)
    (head,) = [line for line in cluster["head_start_ray_commands"] if "ray start" in line]
    assert "--dashboard-host=127.0.0.1" in head
    assert "0.0.0.0" not in TEXT
    assert "/home/ubuntu/.ray/auth_token" in cluster["file_mounts"]


def test_every_node_has_the_ray_of_the_lock(cluster: dict[str, Any]) -> None:
    (locked,) = re.findall(r"^ray==(\S+)", (ROOT / "requirements.lock").read_text(), re.M)
    assert set(re.findall(r"ray\[default\]==([\d.]+)", TEXT)) == {locked}
    mounted = {Path(local).name for local in cluster["file_mounts"].values()}
    assert {"requirements.lock", "requirements-cuda.lock"} <= mounted


def test_what_a_user_edits_is_marked_and_on_top() -> None:
    top, below = TEXT.split("# ---- nothing to edit below")
    assert "EDIT" not in below
    for key in ("cluster_name", "region", "max_workers", "InstanceType", "ImageId"):
        assert re.search(rf"EDIT.*\n?.*{key}|{key}.*EDIT", top), key
