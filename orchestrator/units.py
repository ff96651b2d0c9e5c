"""Numbers as a person reads them: bytes and seconds."""

from __future__ import annotations


def counted(count: int, word: str, plural: str | None = None) -> str:
    """`1 trial`, `2 trials`."""
    return f"{count} {word if count == 1 else plural or word + 's'}"


def size_text(count: int) -> str:
    """Bytes in the unit that suits."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} TB"


def duration(seconds: float) -> str:
    """`1:02:03`, `2:03` or `45 s`."""
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    if hours:
        return f"{hours}:{minutes:02d}:{left:02d}"
    return f"{minutes}:{left:02d}" if minutes else f"{left} s"
