"""Pathfinder's files in their published form, generated: each row of pixels filtered anew."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np

FOLDER = "pathfinder/pathfinder32/curv_contour_length_14"


def png(pixels: np.ndarray, filters: list[int]) -> bytes:
    """A PNG file of (H, W, samples) bytes, row y by filter `filters[y % len]`, byte by byte."""
    height, width, samples = pixels.shape
    rows = pixels.reshape(height, -1).astype(int)
    out = bytearray()
    for y in range(height):
        kind = filters[y % len(filters)]
        out.append(kind)
        for x in range(width * samples):
            left = rows[y, x - samples] if x >= samples else 0
            up = rows[y - 1, x] if y else 0
            corner = rows[y - 1, x - samples] if y and x >= samples else 0
            nearest = min((left, up, corner), key=lambda v, p=left + up - corner: abs(p - v))
            guess = (0, left, up, (left + up) // 2, nearest)[kind]
            out.append(int(rows[y, x] - guess) % 256)

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    colour = {1: 0, 3: 2, 2: 4, 4: 6}[samples]
    head = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    squeezed = zlib.compress(bytes(out))
    parts = (squeezed[:50], squeezed[50:])  # the format lets the pixels come in several chunks
    data = b"".join(chunk(b"IDAT", part) for part in parts)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + data + chunk(b"IEND", b"")


def write_pathfinder(
    root: Path, seed: int, side: int = 32, count: int = 12
) -> tuple[np.ndarray, np.ndarray, Path]:
    """Images in three tables, of which the eleventh is coloured, their labels, and the folder."""
    rng = np.random.default_rng(seed)
    images, labels = rng.integers(0, 256, (count, side, side), np.uint8), rng.integers(0, 2, count)
    folder = root / FOLDER.replace("32", str(side))
    (folder / "metadata").mkdir(parents=True)
    for table, rows in ((0, range(2)), (2, range(2, 5)), (10, range(5, count))):
        (folder / f"imgs/{table}").mkdir(parents=True)
        lines = []
        for i in rows:
            shown = images[i][..., None] if i != 10 else np.stack([images[i]] * 3, -1)
            name = f"sample_{i}.png"
            (folder / f"imgs/{table}/{name}").write_bytes(png(shown, [i % 5, 4, 3, 0, 1, 2]))
            lines.append(f"imgs/{table} {name} {i} {labels[i]} 1.8 14 1 2 3.0 5\n")
        (folder / f"metadata/{table}.npy").write_text("".join(lines))
    return images, labels, folder
