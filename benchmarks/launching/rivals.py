"""What a researcher would use instead of packs: plain Ray Tune, and a shell loop. Their trials run
the very programs of ours, one lane each: what differs is all around them.

    python -m benchmarks.launching.rivals WAY CONFIGS FOLDER

WAY is tune (plain Ray Tune, one trial per actor), reused (the same with reuse_actors=True), asha
(reused, under Tune's ASHAScheduler; the file's first line says how), or one (one trial, for a shell
loop).

CONFIGS is a file of one JSON config per line, or for `one` such a line. A last word, GPU, is the
share of a GPU that each trial has; none without it.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from ray import tune

from orchestrator.machine import environment


class OneTrial(tune.Trainable):
    """A trial as Tune's guide writes it: built in `setup`, an epoch in each `step`."""

    def setup(self, config: dict[str, Any]) -> None:
        self._build(config["trial"], config["gpu"])

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._build(new_config["trial"], new_config["gpu"])
        return True

    def _build(self, config: dict[str, Any], gpu: float) -> None:
        environment.prepare(1, gpu)
        # Only now: these import JAX.
        from orchestrator.worker.pack_run import load_arrays
        from trainables.declarations import builtin_registry
        from trainables.packs.pack import Pack

        trial = builtin_registry().resolve(config)
        self._pack = Pack([trial], load_arrays(trial)[0])
        self._pack.init()
        self._epoch, self._epochs = 0, trial.epochs

    def step(self) -> dict[str, Any]:
        from benchmarks.flat import flat_epoch

        result = self._pack.epoch(self._epoch)
        self._epoch += 1
        found = flat_epoch(replace(result, steps={}), self._pack.layer_rows, 0)
        return {**found, "done": self._epoch == self._epochs}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        return None


def run_tune(
    configs: list[dict[str, Any]],
    folder: Path,
    reuse: bool,
    gpu: float,
    asha: dict[str, Any] | None = None,
) -> None:
    """Every config as one Tune trial, with Tune's own JSON and CSV loggers.

    Args:
      asha: `metric`, `grace` and `factor` of Tune's ASHAScheduler, and `seconds`, after which Tune
        stops (null for no limit).
    """
    import ray

    variables = environment.worker_environment(1, gpu)
    ray.init(include_dashboard=False, runtime_env={"env_vars": variables}, log_to_driver=False)
    tuner = tune.Tuner(
        tune.with_resources(OneTrial, {"CPU": 1, "GPU": gpu}),
        param_space={"trial": tune.grid_search(configs), "gpu": gpu},
        tune_config=tune.TuneConfig(
            reuse_actors=reuse,
            scheduler=_asha(asha, max(config["epochs"] for config in configs)) if asha else None,
            time_budget_s=asha["seconds"] if asha else None,
        ),
        run_config=tune.RunConfig(storage_path=str(folder), verbose=0),
    )
    found = tuner.fit()
    if found.num_errors:
        sys.exit(f"{found.num_errors} trials failed")


def _asha(options: dict[str, Any], epochs: int) -> Any:
    from ray.tune.schedulers import ASHAScheduler

    return ASHAScheduler(
        metric=options["metric"],
        mode="min",
        max_t=epochs,
        grace_period=options["grace"],
        reduction_factor=options["factor"],
    )


def run_one(config: dict[str, Any], folder: Path, gpu: float) -> None:
    """One trial in this process, a line of JSON an epoch."""
    trial = OneTrial.__new__(OneTrial)
    trial._build(config, gpu)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{config['lr']}-{config['seed']}.json").open("w", encoding="utf-8") as lines:
        found: dict[str, Any] = {"done": False}
        while not found["done"]:
            begun = time.monotonic()
            found = trial.step()
            found["time_this_iter_s"] = time.monotonic() - begun
            lines.write(json.dumps(found) + "\n")


def main(way: str, what: str, folder: str, gpu: str = "0") -> None:
    if way == "one":
        run_one(json.loads(what), Path(folder), float(gpu))
    else:
        lines = [json.loads(line) for line in Path(what).read_text(encoding="utf-8").splitlines()]
        asha = lines.pop(0) if way == "asha" else None
        run_tune(lines, Path(folder), way in ("reused", "asha"), float(gpu), asha)


if __name__ == "__main__":
    main(*sys.argv[1:])
