"""Tables as LaTeX."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

_ESCAPES = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}  # fmt: skip


def escaped(text: str) -> str:
    """Text as LaTeX prints it, line ends as spaces."""
    return "".join(_ESCAPES.get(sign, sign) for sign in " ".join(text.split()))


def latex_table(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A `tabular` of rows; it needs no package.

    Args:
      names: of the columns.
      rows: numbers, which are set to the right with four digits, texts, and None, which is a dash.
    """
    body = [list(row) for row in rows]
    numeric = [
        all(isinstance(row[i], int | float | None) for row in body) for i in range(len(names))
    ]
    sides = "".join("r" if number else "l" for number in numeric)
    lines = [" & ".join(map(escaped, names)), *(" & ".join(map(_cell, row)) for row in body)]
    head, *others = (rf"{line} \\" for line in lines)
    return "\n".join(
        [rf"\begin{{tabular}}{{{sides}}}", r"\hline", head, r"\hline", *others, r"\hline",
         r"\end{tabular}", ""]
    )  # fmt: skip


def _cell(value: Any) -> str:
    if value is None or value != value:
        return "--"
    if isinstance(value, float):
        text = f"{value:.4g}"
        digits, e, power = text.partition("e")
        return rf"${digits} \cdot 10^{{{int(power)}}}$" if e else text
    return escaped(str(value))
