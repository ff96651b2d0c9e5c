"""A file of 1 GB adds no more than its batches to the private memory of a worker."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[3] / "examples" / "streamed.py"
MEASURED = """
import json, sys
from pathlib import Path

from orchestrator.plan.plan import plan
from trainables.packs.pack import Pack


def kilobytes(name):
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name + ":"))


asked = {"width": 8, "lr": 0.003, "epochs": 1}
trials = plan("streamed/width", study=sys.argv[1], set=asked)[0].trials
file = next(Path(sys.argv[2]).rglob("x-1000000.npy"), None)
assert file is None, "planning makes no data"
pack = Pack(trials, {})
file = next(Path(sys.argv[2]).rglob("x-1000000.npy"))
pack.init()
pack.compile()
pack.advance(0)  # what JAX and the allocator take once
before, most, read, calls = kilobytes("Anonymous"), 0, set(), 1
while True:
    result = pack.advance(0)
    calls += 1
    most = max(most, kilobytes("Anonymous"))
    if result is not None:
        break
print(json.dumps({
    "bytes": file.stat().st_size,
    "blocks": file.stat().st_blocks * 512,
    "calls": calls,
    "grown": (most - before) * 1024,
    "chunk": pack._stream.buffers // 2,
    "mapped": (kilobytes("Rss") - kilobytes("Anonymous")) * 1024,
    "lanes": len(trials),
    "loss": result.epochs["test_loss"].tolist(),
}))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux")
def test_a_gigabyte_adds_no_more_than_its_batches(tmp_path: Path) -> None:
    """Two lanes read a real file of 1.02 GB, each in an order of its own."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, str(EXAMPLE), str(tmp_path)],
        env={**os.environ, "GRADSWEEP_CACHE": str(tmp_path), "JAX_PLATFORMS": "cpu"},
        cwd=EXAMPLE.parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["bytes"] > 1e9
    assert found["blocks"] > 0.99e9, "the file is no sparse one"
    assert (found["lanes"], found["calls"] > 20) == (2, True)
    # The call under way and the next, and one that the allocator has not given back yet.
    assert found["grown"] < 3 * found["chunk"] < 0.2 * found["bytes"]
    assert found["mapped"] > 0.9e9, "all of the file was looked at, in the page cache"
