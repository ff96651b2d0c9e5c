"""The shell commands of cluster.yaml and deploy/on-premises.yaml; the latter as a whole."""

from __future__ import annotations

import copy
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.command_parsers import ROOT, cluster_file, parse_ray

CLUSTERS = ("cluster.yaml", "deploy/on-premises.yaml")
SHELLCHECK = str(Path(sys.executable).with_name("shellcheck"))


def bash(script: str, home: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "--norc", "-c", script],
        capture_output=True,
        text=True,
        env={"HOME": str(home), "PATH": os.environ["PATH"]},
        check=False,
    )


def commands(cluster: Mapping[str, Any]) -> list[str]:
    """Every shell command of a completed cluster file."""
    lists = ("initialization", "head_setup", "worker_setup", "head_start_ray", "worker_start_ray")
    return [line for name in lists for line in cluster[f"{name}_commands"]]


@pytest.mark.parametrize("name", CLUSTERS)
def test_shell_commands_are_sound(name: str, tmp_path: Path) -> None:
    script = tmp_path / "commands.sh"
    script.write_text("#!/bin/bash\n" + "\n".join(commands(cluster_file(name))) + "\n")
    # Ray gives RAY_HEAD_IP; the sourced file is written by the first commands; the quoted $HOME is
    # meant for a later shell; no path here has a space.
    known = "--exclude=SC1090,SC1091,SC2016,SC2086,SC2154"
    done = subprocess.run(
        [SHELLCHECK, known, str(script)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", CLUSTERS)
def test_ray_knows_every_option_it_is_started_with(name: str) -> None:
    starts = [line for line in commands(cluster_file(name)) if "ray start" in line]
    assert len(starts) == 2
    for line in starts:
        words = shlex.split(line.partition("ray start")[2].replace("$RAY_HEAD_IP", "192.0.2.1"))
        given = parse_ray("start", words)
        assert given["head"] == (line in cluster_file(name)["head_start_ray_commands"])
        if given["head"]:
            assert given["dashboard_host"] == "127.0.0.1"
            assert given["disable_usage_stats"]
        assert "RAY_AUTH_MODE=token" in line


@pytest.mark.parametrize("name", CLUSTERS)
def test_a_node_ends_up_with_the_variables(name: str, tmp_path: Path) -> None:
    """Runs the first commands of a node for real, in a home of their own."""
    cluster = cluster_file(name)
    (tmp_path / ".bashrc").write_text("case $- in *i*) ;; *) return ;; esac\n")  # as Ubuntu's
    first = [c for c in cluster["head_setup_commands"] if ".bashrc" in c]
    for _ in range(2):  # `ray up` may run them again
        done = bash("\n".join([*cluster["initialization_commands"], *first]), tmp_path)
        assert done.returncode == 0, done.stderr
    shown = bash(". ~/.gradsweep.env; env", tmp_path).stdout
    assert "RAY_AUTH_MODE=token" in shown
    assert re.search(r"^GRADSWEEP_STORE=(s3://|/)", shown, re.M)
    if first:
        assert (tmp_path / ".bashrc").read_text().count(".gradsweep.env") == 1
        assert "GRADSWEEP_STORE=" in bash(". ~/.bashrc; env", tmp_path).stdout


@pytest.mark.parametrize("name", CLUSTERS)
def test_mounted_files_are_here(name: str) -> None:
    for local in cluster_file(name)["file_mounts"].values():
        assert local == "~/.ray/auth_token" or (ROOT / local).is_file(), local


# ---- on premises -------------------------------------------------------------------------------


def test_on_premises_is_valid_and_uses_every_machine() -> None:
    from ray.autoscaler._private.util import validate_config

    cluster = cluster_file("deploy/on-premises.yaml")
    validate_config(cluster)
    (node,) = cluster["available_node_types"].values()
    machines = len(cluster["provider"]["worker_ips"])
    assert node["min_workers"] == node["max_workers"] == cluster["max_workers"] == machines
    with pytest.raises(Exception, match="extra"):
        validate_config({**copy.deepcopy(cluster), "extra": 1})


def test_on_premises_marks_what_to_edit() -> None:
    top, below = (
        (ROOT / "deploy/on-premises.yaml").read_text().split("# ---- nothing to edit below")
    )
    assert "EDIT" not in below
    for key in ("head_ip", "worker_ips", "min_workers", "ssh_user", "GRADSWEEP_STORE"):
        assert re.search(rf"EDIT.*\n?.*{key}|{key}.*EDIT", top), key
