"""Packs on a GPU. Each module is a command: `python -m benchmarks.gpu.launch`."""
