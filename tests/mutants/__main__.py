"""`python -m tests.mutants --seed 7 --count 200`: how many mutants of the core the tests kill."""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.mutants import copies, report, sampling
from tests.mutants.run import Run

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent


def options(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="draws the sample; default: 0")
    parser.add_argument("--count", type=int, default=200, help="mutants; default: 200")
    parser.add_argument("--jobs", type=int, default=2, help="copies side by side; default: 2")
    parser.add_argument(
        "--budget",
        type=float,
        default=60.0,
        help="seconds of tests, as they take without a mutant, for each mutant at most; those that "
        "survive say how many tests were left out; 0: all of them; default: 60",
    )
    parser.add_argument(
        "--patience",
        type=float,
        default=30.0,
        help="a test hangs that takes this many seconds and ten times what it takes without a "
        "mutant; default: 30",
    )
    parser.add_argument(
        "--only",
        nargs="*",
        default=[],
        help="of the sample, those whose path holds this",
    )
    parser.add_argument("--tests", nargs="*", default=["tests"], help="folders or files of tests")
    parser.add_argument("--root", type=Path, default=ROOT, help="the checkout; default: this one")
    parser.add_argument("--cache", type=Path, default=ROOT / ".cache" / "mutants")
    parser.add_argument("--compiled", type=Path, help="compile cache; default: below --cache")
    parser.add_argument("--json", type=Path, help="writes the report there too")
    parser.add_argument("--list", action="store_true", help="only lists the sample")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> int:
    asked = options(words)
    mutants = sampling.draw(asked.root.resolve(), asked.seed, asked.count)
    if asked.only:
        mutants = [m for m in mutants if any(part in m.path for part in asked.only)]
    if asked.list:
        print("\n".join(map(str, mutants)))
        return 0
    for name in (signal.SIGTERM, signal.SIGINT):  # a shell's background jobs ignore the second
        signal.signal(name, signal.default_int_handler)
    folder = Path(tempfile.mkdtemp(prefix="mutants-"))
    run = Run(asked, folder)
    run.cache.mkdir(parents=True, exist_ok=True)
    try:
        run.prepare()
        run.measure()
        found = run.mutants(mutants)
    except (KeyboardInterrupt, copies.StoppedError):
        print("\nstopped; the same command goes on from here")
        return 130
    finally:
        run.end()
        shutil.rmtree(folder, ignore_errors=True)
    known = report.equivalents(HERE / "equivalent.toml")
    left = len(mutants) - len(found)
    print("\n" + "\n".join(report.summary(found, known, left)))
    if asked.json:
        about = {"seed": asked.seed, "count": asked.count, "budget": asked.budget, "left": left}
        asked.json.write_text(json.dumps(report.as_json(found, known, **about), indent=1))
    return 130 if left else 0


if __name__ == "__main__":
    sys.exit(main())
