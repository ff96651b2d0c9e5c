"""How many packs run at once, and what each is granted, on this machine or on a cluster."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from orchestrator.errors import RequestError
from orchestrator.option_checks import count_problems, number_problems, require, share_problems


@dataclass(frozen=True)
class Room:
    """Room for `packs` at once, each with these Ray resources; `gpu` is its share of a GPU."""

    packs: int
    resources: dict[str, float]
    gpu: float = 0.0


def cpus_here() -> int:
    """CPUs that this process may use; all of the machine where the system does not say (macOS)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def gpus_here() -> int:
    """NVIDIA devices of this machine, without importing JAX."""
    return len(list(Path("/dev").glob("nvidia[0-9]*")))


def memory_free() -> float:
    """Bytes that processes here may still take."""
    return float(psutil.virtual_memory().available)


def check_amounts(
    cpus_per_pack: int, cpus: int | None, gpus: float | None, gpus_per_pack: float | None
) -> None:
    """Raises RequestError for amounts that no machine could serve; see `find_room`."""
    require(
        count_problems("cpus_per_pack", cpus_per_pack),
        count_problems("cpus", cpus),
        number_problems("gpus", gpus),
        share_problems(gpus_per_pack),
    )


def find_room(
    there: Mapping[str, float] | None = None,
    cpus_per_pack: int = 1,
    cpus: int | None = None,
    gpus: float | None = None,
    gpus_per_pack: float | None = None,
) -> Room:
    """The room for a launch.

    Args:
      there: resources of a cluster as it is now, CPU and GPU among them; None for this machine.
      cpus_per_pack: of each worker. gpus_per_pack: 1 where there are GPUs, or a fraction.
      cpus, gpus: to use; None for all there are. A cluster may come to have more than it has now.

    Raises:
      RequestError: more is asked for than this machine has or a pack can use, or a cluster has
        nothing yet and nobody says how much it may come to have.
    """
    here = there is None
    has = {"CPU": float(cpus_here()), "GPU": float(gpus_here())} if there is None else there
    check_amounts(cpus_per_pack, cpus, gpus, gpus_per_pack)
    problems = []
    if here and gpus and not has["GPU"]:
        problems.append("--gpus was given and this machine has no GPU; leave it out to use the CPU")
    elif here and gpus and gpus > has["GPU"]:
        problems.append(
            f"--gpus {gpus:g}: this machine has {has['GPU']:g}; leave it out to use all"
        )
    if here and cpus and cpus > has["CPU"]:
        problems.append(f"--cpus {cpus}: this machine has {has['CPU']:g}; leave it out to use all")
    most = has.get("CPU", 0.0) if cpus is None else float(cpus)
    if most and cpus_per_pack > most:
        where = "this machine has" if here else "the cluster has"
        available = f"--cpus is {cpus}" if cpus is not None else f"{where} {most:g}"
        problems.append(
            f"--cpus-per-pack {cpus_per_pack}: {available}; a pack needs no more than 1"
        )
    gpus = has.get("GPU", 0.0) if gpus is None else gpus
    share = (1.0 if gpus else 0.0) if gpus_per_pack is None else gpus_per_pack
    if share and not gpus:
        where = "this machine has none" if here else "the cluster has none now: say --gpus N"
        problems.append(f"--gpus-per-pack needs a GPU and {where}; or leave it out")
    if problems:
        raise RequestError(problems)
    resources = {"CPU": float(cpus_per_pack), **({"GPU": share} if share else {})}
    if share:
        return Room(max(1, int(gpus / share)), resources, share)
    room = (has.get("CPU", 0.0) if cpus is None else cpus) // cpus_per_pack
    if not room and not here and cpus is None:
        raise RequestError(
            "the cluster has no CPU for a pack now; say how many CPUs or GPUs it may grow to with "
            "--cpus or --gpus, or wait until its workers are up"
        )
    return Room(max(1, int(room)), resources)
