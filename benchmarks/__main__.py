"""`python -m benchmarks [NAME ...]`: prints each measurement and writes benchmarks/results/."""

from __future__ import annotations

import importlib
import json
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks.timing import ratios
from orchestrator.machine import environment
from orchestrator.machine.resources import cpus_here
from orchestrator.worker.provenance import git_commit, versions

SHORT = {
    "launching": ("planner",),
    "store": ("ingest", "queries"),
    "training": (
        "epoch_loop", "execution", "lanes", "metrics", "network", "recurrent_step", "sequences",
    ),
}  # fmt: skip
LONG = {
    "launching": ("compiles", "driver", "first_row", "overhead", "packs", "pruning", "slots"),
    "store": ("queries_large",),
    "training": (
        "full_size_bar2025", "full_size_ribeiro2020", "half_dead", "lanes_by_study",
        "lanes_by_width", "steady",
    ),
}  # fmt: skip
"""Minutes each: run only where they are named."""


def _places(names: dict[str, tuple[str, ...]]) -> dict[str, str]:
    """name -> module."""
    return {one: f"benchmarks.{folder}.{one}" for folder, own in names.items() for one in own}


def main(names: list[str]) -> None:
    environment.prepare()
    places = _places(SHORT) | _places(LONG)
    unknown = [name for name in names if name not in places]
    if unknown:
        sys.exit(f"error: no benchmark {unknown[0]!r}; choose from {', '.join(sorted(places))}")
    for name in names or _places(SHORT):
        module = importlib.import_module(places[name])
        print(f"{name}: {(module.run.__doc__ or '').strip()}", flush=True)
        found = module.run()
        seconds, facts = found if isinstance(found, tuple) else (found, {})
        relative = ratios(seconds)
        for way, value in seconds.items():
            print(f"  {way:<36} {value * 1e3:10.1f} ms   x {relative[way]:.2f}")
        for what, value in facts.items():
            print(f"  {what:<36} {value:14,.1f}")
        record = {
            "benchmark": name,
            "seconds": seconds,
            "ratios": relative,
            **({"measured": facts} if facts else {}),
            "machine": f"{platform.machine()}, {cpus_here()} cores",
            "versions": {"python": platform.python_version(), **versions(), **_others()},
            "commit": git_commit(),
            "day": datetime.now(UTC).date().isoformat(),
        }
        folder = Path(__file__).parent / "results"
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")


def _others() -> dict[str, str]:
    return {name: version(name) for name in ("ray", "pyarrow", "duckdb", "pandas")}


main(sys.argv[1:])
