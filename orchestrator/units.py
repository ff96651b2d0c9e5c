"""Numbers as a person reads them: bytes and seconds."""

from __future__ import annotations

import re

_SPAN = re.compile(
    r"(?:(\d+(?:\.\d+)?)d)?(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?"
)
_SECONDS = (86400, 3600, 60, 1)


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


def seconds_of(span: float | str) -> float | None:
    """Seconds of a span of time: a number of them, or text such as `600`, `90s`, `10m`, `2h`,
    `1h30m`, `2d`. None for anything else."""
    if isinstance(span, (int, float)) and not isinstance(span, bool):
        return float(span)
    text = str(span).strip().lower()
    try:
        return float(text)
    except ValueError:
        found = _SPAN.fullmatch(text)
    if not text or found is None:
        return None
    return sum(float(n) * unit for n, unit in zip(found.groups(), _SECONDS, strict=True) if n)


def span_text(seconds: float) -> str:
    """A span as a person says it, in its largest whole unit: `10 min`, `90 s`, `2 h`."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:.10g} s"
