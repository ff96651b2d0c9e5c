"""Planning grids of a thousand to a million trials, against Ray Tune's expansion of as many."""

from __future__ import annotations

import resource
import subprocess
import sys
import time

from benchmarks.timing import alternate
from orchestrator.plan.plan import plan

SEEDS = {"1e3": 12, "1e5": 1_112}
MILLION = 11_112
"""Of vanishing/depth, which has 90 trials a seed."""


def run() -> tuple[dict[str, float], dict[str, float]]:
    """Seconds to resolve, check, identify and pack 1,080, 100,080 and 1,000,080 trials of
    vanishing/depth, the million in a process of its own; and of Ray Tune's generate_variants, which
    only draws the dicts of a grid of as many. Compare trials of a number."""
    found: dict[str, float] = {}
    for name, seeds in SEEDS.items():
        ways = {
            f"plan, {name} trials": lambda seeds=seeds: planned(seeds),
            f"generate_variants, {name} dicts": lambda seeds=seeds: _variants(seeds),
        }
        found |= alternate(ways, rounds=5 if seeds < 100 else 1)
    words = [sys.executable, "-m", "benchmarks.launching.planner"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    seconds, megabytes = map(float, done.stdout.split())
    return {**found, "plan, 1e6 trials": seconds}, {"plan, 1e6 trials, peak MB": megabytes}


def planned(seeds: int) -> int:
    """How many trials there are."""
    (one,) = plan("vanishing/depth", store=None, set=[f"seed=range({seeds})"])
    return len(one.trials)


def _variants(seeds: int) -> int:
    from ray.tune.search.variant_generator import generate_variants

    axes = {"depth": 5, "model": 2, "activation": 2, "init": 3, "seed": 3 * seeds // 2}
    space = {name: {"grid_search": list(range(count))} for name, count in axes.items()}
    fixed = {"seq_len": 64, "batch_size": 32, "width": 64, "epochs": 1, "task": "gaussian"}
    return sum(1 for _ in generate_variants({**space, **fixed}))


if __name__ == "__main__":
    begun = time.perf_counter()
    planned(MILLION)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(time.perf_counter() - begun, peak)
