"""`python -m benchmarks`: every measurement has a name there, and a line in its page."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_an_unknown_name_is_told_those_of_all_measurements() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "nothing"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    listed = re.fullmatch(r"error: no benchmark 'nothing'; choose from (.*)\n", done.stderr)
    assert listed
    there = {
        path.stem
        for path in ROOT.glob("benchmarks/*/*.py")
        if path.parent.name != "gpu" and re.search(r"^def run\(", path.read_text(), re.M)
    }
    assert set(listed[1].split(", ")) == there
    shown = (ROOT / "docs/benchmarks.md").read_text()
    assert [name for name in there if f"`{name}`" not in shown] == []
