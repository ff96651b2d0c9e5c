"""Ray's autoscaler with the node types of `cluster.yaml`, on nodes that are processes here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from results import open_store
from tests.support.launches import wait_for
from tests.support.ray.clusters import RayCluster

ROOT = Path(__file__).parents[3]


AS_RAYS_OWN_TESTS: dict[str, Any] = {
    **dict.fromkeys(("disable_node_updaters", "disable_launch_config_check"), True),
    **dict.fromkeys(("foreground_node_launch", "use_internal_ips", "use_node_id_as_ip"), True),
    "worker_liveness_check": False,
}
"""Nobody logs in to these nodes, nothing is installed on them, and they share an address."""


def fake(cluster: dict[str, Any]) -> dict[str, Any]:
    """`cluster.yaml` with machines that Ray pretends to rent. Its worker has what matters of its
    instance type: CPUs; there is no GPU here. The provider wants the head to be called so.

    No more than one worker node comes at a time: these nodes share a disk, and each new one
    deletes the unpacked code bundle and unpacks it again while workers of the others import it."""
    types = cluster["available_node_types"]
    head = {**types[cluster["head_node_type"]], "node_config": {}, "max_workers": 0}
    worker = {**types["gpu_worker"], "node_config": {}, "resources": {"CPU": 2}}
    # Nothing is done on these machines, and Ray wants to be told so.
    commands = [
        *("initialization_commands", "setup_commands", "head_setup_commands"),
        *("worker_setup_commands", "head_start_ray_commands", "worker_start_ray_commands"),
    ]
    return {
        **{key: [] for key in (*commands, "cluster_synced_files", "rsync_exclude")},
        **{key: {} for key in ("file_mounts", "docker")},
        "file_mounts_sync_continuously": False,
        **{key: cluster[key] for key in ("cluster_name", "upscaling_speed")},
        "max_workers": 1,
        "provider": {"type": "fake_multinode", **AS_RAYS_OWN_TESTS},
        "available_node_types": {"ray.head.default": head, "gpu_worker": worker},
        "head_node_type": "ray.head.default",
        "idle_timeout_minutes": 0.1,
        "auth": {},
    }


@pytest.mark.ray
@pytest.mark.slow
def test_packs_bring_nodes_up_and_idleness_takes_them_down(tmp_path: Path) -> None:
    config = fake(yaml.safe_load((ROOT / "cluster.yaml").read_text()))
    store = tmp_path / "store"
    with RayCluster(config) as cluster:
        head = cluster.nodes["head"]
        assert len(head.raylets()) == 1
        # Nothing is there yet, so a launch must be told how much may come.
        refused = cluster.launch(store, "epochs=20").ended(status=2)
        assert "how many CPUs or GPUs it may grow to" in refused
        launch = cluster.launch(store, "epochs=20", words=("--cpus", "2", "--width", "2"))
        wait_for(lambda: len(head.raylets()) > 1, of=launch)
        launch.ended()
        assert len(open_store(str(store)).attempts()) >= 8
        wait_for(lambda: len(head.raylets()) == 1, of=head.process)
