"""deploy/slurm.sh: its parts by their parsers, and run as a whole with stand-ins for Slurm."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.command_parsers import ROOT, parse_gradsweep, parse_ray

SLURM = ROOT / "deploy/slurm.sh"
SHELLCHECK = str(Path(sys.executable).with_name("shellcheck"))


def test_slurm_script_is_sound() -> None:
    for checker in (["bash", "-n"], [SHELLCHECK]):
        done = subprocess.run([*checker, str(SLURM)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_slurm_reads_every_directive_before_the_first_command() -> None:
    lines = SLURM.read_text().splitlines()
    first = next(i for i, line in enumerate(lines) if line and not line.startswith("#"))
    directives = {i: line for i, line in enumerate(lines) if line.startswith("#SBATCH")}
    assert len(directives) > 5
    assert max(directives) < first
    for line in directives.values():  # one option, one word: a comment here would be its value
        assert re.fullmatch(r"#SBATCH --[a-z-]+(=\S+)?", line), line


STUBS = {
    "scontrol": 'echo "scontrol $*" >> "$CALLS"; if [ "$1" = show ]; then printf "n1\\nn2\\n"; fi',
    # Like the real one on the head: runs what follows the separator.
    "srun": 'echo "srun $*" >> "$CALLS"; while [ "$1" != -- ]; do shift; done; shift; "$@"',
    # Like the real one: stops cleanly and says so by its status when asked to.
    "gradsweep": """
trap 'echo asked to stop >> "$CALLS"; exit 1' TERM
env >> "$CALLS.env"; echo "gradsweep $*" >> "$CALLS"
for _ in $(seq "${STEPS:-0}"); do sleep 0.05; done
""",
}


@pytest.fixture
def slurm(tmp_path: Path) -> dict[str, str]:
    """The environment Slurm gives a batch script, and stand-ins for the programs it calls."""
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    for name, body in STUBS.items():
        (bin_ / name).write_text(f"#!/bin/bash\n{body}\n")
        (bin_ / name).chmod(0o755)
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/bin/activate").touch()
    path = f"{bin_}:{Path(sys.executable).parent}:/usr/bin:/bin"
    return {
        "PATH": path,
        "HOME": str(tmp_path),
        "CALLS": str(tmp_path / "calls"),
        "SLURM_SUBMIT_DIR": str(tmp_path),
        "SLURM_JOB_ID": "17",
        "SLURM_JOB_NUM_NODES": "2",
        "SLURM_JOB_NODELIST": "n[1-2]",
        "SLURM_CPUS_PER_TASK": "16",
        "SLURM_GPUS_ON_NODE": "4",
    }


def calls(slurm: Mapping[str, str]) -> list[str]:
    path = Path(slurm["CALLS"])
    return path.read_text().splitlines() if path.exists() else []


def run(slurm: Mapping[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    command = ["bash", str(SLURM), *words]
    return subprocess.run(command, env=slurm, capture_output=True, text=True, check=False)


def test_slurm_starts_ray_on_every_node_and_one_launch(slurm: dict[str, str]) -> None:
    words = ["vanishing/depth", "--set", "seed=0,1"]
    done = run(slurm, *words)
    assert done.returncode == 0, done.stderr
    (srun,) = [line for line in calls(slurm) if line.startswith("srun")]
    ray, _, _ = srun.partition("ray symmetric-run")[2].partition(" -- ")
    given = parse_ray("symmetric-run", shlex.split(ray))
    assert (given["address"], given["min_nodes"]) == ("n1:6379", 2)
    # What is left goes to `ray start`, on the head and on the others.
    for role in (["--head", "--port=6379"], ["--address=n1:6379", "--block"]):
        started = parse_ray("start", [*role, *given["ray_args_and_entrypoint"]])
        assert (started["num_cpus"], started["num_gpus"]) == (16, 4)
    (launch,) = [line for line in calls(slurm) if line.startswith("gradsweep")]
    parsed = parse_gradsweep(shlex.split(launch)[1:])
    assert (parsed["address"], parsed["gpus"]) == ("n1:6379", 8)
    assert launch.startswith("gradsweep launch vanishing/depth --set seed=0,1 ")
    environment = Path(slurm["CALLS"] + ".env").read_text()
    assert "RAY_AUTH_MODE=token" in environment
    assert re.search(r"^RAY_AUTH_TOKEN=[0-9a-f]{64}$", environment, re.M)
    assert f"GRADSWEEP_STORE={slurm['SLURM_SUBMIT_DIR']}/store" in environment
    assert not any("requeue" in line for line in calls(slurm))


def test_slurm_passes_a_failure_on(slurm: dict[str, str]) -> None:
    (Path(slurm["HOME"]) / "bin/gradsweep").write_text("#!/bin/bash\nexit 2\n")
    assert run(slurm, "x").returncode == 2
    calls_before = calls(slurm)
    assert "usage: sbatch" in run(slurm).stderr  # without a space
    assert calls(slurm) == calls_before


def test_slurm_job_near_its_time_limit_stops_the_launch_and_queues_again(
    slurm: dict[str, str],
) -> None:
    job = subprocess.Popen(
        ["bash", str(SLURM), "x"], env={**slurm, "STEPS": "100000"}, start_new_session=True
    )
    try:
        while not any(line.startswith("gradsweep") for line in calls(slurm)):
            assert job.poll() is None, calls(slurm)
            time.sleep(0.02)
        job.send_signal(signal.SIGUSR1)
        assert job.wait() == 1
    finally:
        if job.poll() is None:  # with the stand-ins that it has started
            os.killpg(job.pid, signal.SIGKILL)
            job.wait()
    assert calls(slurm)[-2:] == ["asked to stop", "scontrol requeue 17"]
