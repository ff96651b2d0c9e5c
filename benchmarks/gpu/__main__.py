"""`python -m benchmarks.gpu`: packs on a bare machine with one GPU."""

from __future__ import annotations

import sys

from benchmarks.gpu.bare_packs import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
