"""Starts test processes quickly: imports what nearly every test imports, then forks for each.

Run as a script in a copy; needs nothing of this repository and imports none of it, so a child sees
the mutated module. JAX must not be forked once it has computed anything; here it is only imported.
Each line of standard input asks for one run; the answers are its process id and its exit status.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import sys
import traceback
from typing import Any

HEAVY = (
    *("numpy", "jax", "jax.numpy", "jax.experimental.sparse", "optax", "flax.linen", "flax.nnx"),
    *("pytest", "pandas", "pyarrow.parquet", "xdist.plugin", "xdist.looponfail", "execnet"),
    *("hypothesis", "hypothesis.extra.numpy", "hypothesis.strategies", "_hypothesis_pytestplugin"),
    *("pyarrow.dataset", "pyarrow.fs", "duckdb", "safetensors.numpy", "typer", "rich.console"),
    *("sklearn.datasets", "h5py", "simpy", "ray", "ray.tune", "pooch", "psutil", "filelock"),
    *("plotly.graph_objects", "coverage"),
)


def _child(asked: dict[str, Any]) -> None:
    os.setsid()  # the run and its children are ended as one group
    log = os.open(asked["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for new, old in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(new, old)
    os.environ.update(asked["variables"])
    sys.argv = ["pytest", *asked["words"]]
    status = 3
    try:
        measured = None
        if "COVERAGE_PROCESS_START" in os.environ:
            coverage: Any = importlib.import_module("coverage")
            measured = coverage.process_startup()
        pytest: Any = importlib.import_module("pytest")
        status = int(pytest.main(asked["words"]))
        if measured is not None:
            measured.stop()
            measured.save()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def main() -> None:
    sys.path[0] = ""  # as `python -m pytest` has it
    for name in HEAVY:
        with contextlib.suppress(ImportError):  # another checkout may need less
            importlib.import_module(name)
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    answers.write("ready\n")
    gc.freeze()  # what is here stays: no child need look through it
    for line in sys.stdin:
        asked = json.loads(line)
        child = os.fork()
        if not child:
            _child(asked)
        answers.write(f"{child}\n")
        answers.write(f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\n")


if __name__ == "__main__":
    main()
