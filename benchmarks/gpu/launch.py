"""A pack of 84 lanes on a GPU under `launch`, from the command to the last row, against one process
per trial there, alone and eight at a time: `python -m benchmarks.gpu.launch --help`.

Trials are those of `benchmarks.packs_study`. Rivals run fewer and shorter ones, after their first
compile, and only the time of their epochs counts: not their start, their data, their compile.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.gpu.bare_packs import surroundings
from benchmarks.launching.packs import RIVALS, Case, Sweep

OUT = Path(__file__).parents[1] / "results" / "packs_gpu.json"


def measured(case: Case, at_once: int, rival_epochs: int) -> dict[str, Any]:
    """The record of one case.

    Returns:
      launch_s: of the whole command, with an empty compile cache.
      alone_s, together_s: median seconds of a rival's epoch, with the GPU to itself and among
        `at_once` of them.
      rival_s: what all trials' epochs take at the better of the two paces.
      of_rival: rival_s in launches.
    """
    rival = Case(case.space, at_once, rival_epochs)
    configs = [json.dumps(dict(trial.config)) for trial in rival.resolved()]
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        launch_s = Sweep(case, place).timed("launch")
        one, many = place / "one", place / "many"
        _rivals(place, "one", configs[0], str(one), "1")
        (place / "configs").write_text("\n".join(configs), encoding="utf-8")
        _rivals(place, "reused", str(place / "configs"), str(many), str(1 / at_once))
        rows = {"alone_s": _lines(one, "*.json"), "together_s": _lines(many, "result.json")}
    found = {name: statistics.median(seconds) for name, seconds in rows.items()}
    pace = min(found["alone_s"], found["together_s"] / at_once)
    rival_s = pace * case.trials * case.epochs
    return {
        "space": case.space, "trials": case.trials, "epochs": case.epochs, "at_once": at_once,
        "launch_s": launch_s, **found, "rival_s": rival_s, "of_rival": rival_s / launch_s,
        "trials_per_hour": 3600 * case.trials / launch_s,
    }  # fmt: skip


def _rivals(place: Path, *words: str) -> None:
    """Runs `benchmarks.launching.rivals`; all of a place share its compile cache."""
    own = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(place / "rivals-cache")}
    subprocess.run([sys.executable, "-m", RIVALS, *words], env=own, check=True)


def _lines(folder: Path, pattern: str) -> list[float]:
    """Seconds of every epoch but each trial's first, which compiles."""
    files = folder.rglob(pattern)
    text = [one.read_text(encoding="utf-8").splitlines()[1:] for one in files]
    lines = [json.loads(line) for own in text for line in own]
    return [line["time_this_iter_s"] for line in lines]


def main(arguments: list[str]) -> int:
    """The command line; its exit status."""
    text, _, rest = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        "python -m benchmarks.gpu.launch", description=text, epilog=rest
    )
    add = parser.add_argument
    add("--space", choices=("vanishing", "network"), default="vanishing")
    add("--trials", type=int, default=84, help="a multiple of four; default 84")
    add("--epochs", type=int, default=200, help="of each; default 200")
    add(
        "--at-once",
        type=int,
        default=8,
        help="rivals that share the GPU, a multiple of four; default 8",
    )
    add("--rival-epochs", type=int, default=40, help="of each rival's trial; default 40")
    add("--out", type=Path, default=OUT, help="JSON; default: benchmarks/results/packs_gpu.json")
    options = parser.parse_args(arguments)
    case = Case(options.space, options.trials, options.epochs, ())
    record = measured(case, options.at_once, options.rival_epochs)
    print(json.dumps(record, indent=1))
    record = {"benchmark": "packs_gpu", **surroundings(), **record}
    options.out.write_text(json.dumps(record, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
