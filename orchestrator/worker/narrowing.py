"""A pack with few trials left goes on in fewer slots, once no trial waits for the others."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.plan.packs import NARROWED
from orchestrator.worker.pack_run import PackRun

WORTH = 2.0
"""What narrowing must save, as a multiple of what compiling took. Moving the states costs too, and
trials may end sooner than they could."""


def pays(run: PackRun) -> bool:
    """Whether the trials that are left would end sooner in a narrower pack.

    Only where lanes advance together, since lanes in sequence are skipped once they have ended; and
    on a CPU, where an epoch takes as long as it is wide (`half_dead` in docs/benchmarks.md). On a
    GPU a narrower pack takes nearly as long.
    """
    active, width = run.active_lanes(), run.spec.width
    together = run.signature["strategy"] == "vmap" and run.signature["device"].startswith("cpu")
    timed = run.context.trial_seconds is not None  # a new pack would not know what they have taken
    if not together or timed or not active or 2 * len(active) > width or run.pack.position:
        return False
    left = max(run.trials[lane].epochs - int(run.epochs[lane]) for lane in active)
    saved = left * run.epoch_seconds * (1 - len(active) / width)
    return saved > WORTH * max(run.compile_seconds, 1.0)


def narrowed(run: PackRun) -> PackRun:
    """The same trials as their next attempts, in a pack of as many slots, to the state; `run` has
    ended them as interrupted. Another width has another signature, so that an attempt is one
    segment of `debug --exact`.

    Raises:
      StoreError: the store cannot be written.
    """
    lanes, states = run.leave(f"goes on in a pack of {len(run.active_lanes())}")
    name = f"{run.spec.id.partition(NARROWED)[0]}{NARROWED}{len(lanes)}"
    spec = replace(
        run.spec, id=name, lanes=lanes, width=len(lanes), strategy=run.signature["strategy"]
    )
    new = run.like(spec, states)
    new.start()
    new.checkpoint()
    run.drop_points()
    return new
