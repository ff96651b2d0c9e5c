"""PNG files of grey or coloured pixels of 8 bits, many of one size at once (W3C, PNG 3rd edition).

The project has no imaging library, and reads 200,000 small files: so the sequential filters run
over all images together, byte by byte of a row.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

import numpy as np

from orchestrator.datasets.images import FormatError

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_SAMPLES = {0: 1, 2: 3, 4: 2, 6: 4}
"""Colour type -> numbers of a pixel: grey, colour, and each with opacity."""


def _unpacked(content: bytes) -> tuple[tuple[int, int, int], bytes]:
    """(width, height, numbers of a pixel), and the filtered rows.

    Raises:
      FormatError: no PNG, or of a kind that is not read.
    """
    if content[:8] != _SIGNATURE or content[12:16] != b"IHDR":
        raise FormatError("it is no PNG file")
    width, height, bits, colour, _, _, interlaced = struct.unpack(">IIBBBBB", content[16:29])
    if bits != 8 or colour not in _SAMPLES or interlaced:
        raise FormatError("only PNG files of 8 bits, grey or coloured and not interlaced, are read")
    at, data = 8, []
    while at + 8 <= len(content):
        length, kind = struct.unpack(">I4s", content[at : at + 8])
        if kind == b"IDAT":
            data.append(content[at + 8 : at + 8 + length])
        at += 12 + length
    raw = zlib.decompress(b"".join(data))
    samples = _SAMPLES[colour]
    if len(raw) != height * (1 + width * samples):
        raise FormatError("its pixels do not fill its rows")
    return (width, height, samples), raw


def _paeth(left: np.ndarray, up: np.ndarray, corner: np.ndarray) -> np.ndarray:
    """Of three neighbours the one nearest to left + up - corner."""
    a, b, c = (np.abs(v) for v in (up - corner, left - corner, left + up - 2 * corner))
    return np.where((a <= b) & (a <= c), left, np.where(b <= c, up, corner))


def _unfiltered(rows: np.ndarray, step: int) -> np.ndarray:
    """Bytes of filtered rows (N, H, 1 + W): the first of a row is its filter.

    Args:
      step: bytes of a pixel.
    """
    n, height, width = rows.shape[0], rows.shape[1], rows.shape[2] - 1
    out = np.zeros((n, height + 1, step + width), np.int16)  # a row and a pixel of zeros before
    for y in range(height):
        kind, line, above = rows[:, y, 0], rows[:, y, 1:].astype(np.int16), out[:, y]
        if int(kind.max()) > 4:
            raise FormatError("a row has an unknown filter")
        out[:, y + 1, step:] = (line + np.where(kind[:, None] == 2, above[:, step:], 0)) & 255
        for which in (1, 3, 4):
            images = np.flatnonzero(kind == which)
            if not len(images):
                continue
            own, over = line[images], above[images]
            done = np.zeros((len(images), step + width), np.int16)
            for x in range(width):
                left, up, corner = done[:, x], over[:, x + step], over[:, x]
                if which == 1:
                    guess = left
                else:
                    guess = (left + up) // 2 if which == 3 else _paeth(left, up, corner)
                done[:, x + step] = (own[:, x] + guess) & 255
            out[images, y + 1] = done
    return out[:, 1:, step:].astype(np.uint8)


def grey_images(contents: Sequence[bytes], side: int) -> np.ndarray:
    """Luminance (N, side, side), uint8, of PNG files; what they say of opacity is left out.

    Raises:
      FormatError: a file is no PNG, is of an unread kind, or of another size; the text has its
        place among the files.
    """
    found = np.empty((len(contents), side, side), np.uint8)
    for start in range(0, len(contents), 8192):
        by_kind: dict[int, list[tuple[int, bytes]]] = {}
        for at, content in enumerate(contents[start : start + 8192], start):
            try:
                (width, height, samples), raw = _unpacked(content)
            except (FormatError, struct.error, zlib.error) as error:
                raise FormatError(f"image {at + 1}: {error}") from error
            if (width, height) != (side, side):
                raise FormatError(f"image {at + 1} has {width} x {height} pixels, not {side}")
            by_kind.setdefault(samples, []).append((at, raw))
        for samples, images in by_kind.items():
            raw = np.frombuffer(b"".join(raw for _, raw in images), np.uint8)
            pixels = _unfiltered(raw.reshape(len(images), side, -1), samples)
            pixels = pixels.reshape(len(images), side, side, samples).astype(np.uint32)
            if samples >= 3:  # ITU-R BT.601 in 16 bits
                light = pixels[..., :3] @ np.array([19595, 38470, 7471], np.uint32)
                pixels = ((light + 0x8000) >> 16)[..., None]
            found[[at for at, _ in images]] = pixels[..., 0]
    return found
