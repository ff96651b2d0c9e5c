"""Tables as HTML, for pages and notebooks."""

from __future__ import annotations

import html
from collections.abc import Container, Iterable, Sequence
from typing import Any

from results.config_values import value_texts
from results.errors import printable


def table_of(
    columns: Sequence[str], rows: Iterable[Sequence[Any]], keys: Container[str] = ()
) -> str:
    """An HTML table; numbers to four digits, nothing for null. Columns among `keys` hold values of
    configs."""
    by_column = [
        texts_of(list(values), name in keys)
        for name, values in zip(columns, zip(*rows, strict=True), strict=False)
    ]
    head = "".join(f"<th>{escaped(column)}</th>" for column in columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{escaped(text)}</td>" for text in row) + "</tr>"
        for row in zip(*by_column, strict=True)
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def escaped(text: str) -> str:
    """Text as HTML shows it, with what would steer it spelled out."""
    return printable(html.escape(text))


def texts_of(values: list[Any], of_configs: bool) -> list[str]:
    """The cells of a column: nothing for null, values of configs made distinct."""
    texts = value_texts(values) if of_configs else map(cell_of, values)
    return ["" if value is None else text for value, text in zip(values, texts, strict=True)]


def cell_of(value: Any) -> str:
    """A value as the text of a cell."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)
