"""What a page shows, as its address says it: `/curves?store=runs&space=a/b&metric=loss`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlencode

Values = Mapping[str, tuple[str, ...]]

EVERYWHERE = ("store", "space", "theme")
"""Names that a link to another page takes along."""


@dataclass(frozen=True)
class Address:
    """A page and the values of its names.

    A name with no value at all has its default; `name=` says that it has none by choice.
    """

    page: str
    values: Values = field(default_factory=dict)

    @classmethod
    def read(cls, path: str | None, search: str | None) -> Address:
        """The address of a path such as `/curves` and a search such as `?metric=loss`."""
        found = parse_qs((search or "").removeprefix("?"), keep_blank_values=True)
        return cls((path or "").strip("/"), {name: tuple(texts) for name, texts in found.items()})

    def first(self, name: str, default: str = "") -> str:
        """The value of a name that has one value."""
        texts = self.values.get(name, ())
        return texts[0] if texts and texts[0] else default

    def several(self, name: str, default: Iterable[str] = ()) -> list[str]:
        """The values of a name that may have several."""
        if name not in self.values:
            return list(default)
        return [text for text in self.values[name] if text]

    def number(self, name: str, default: int) -> int:
        """The value of a name that is a whole number; the default where it is none."""
        try:
            return int(self.first(name))
        except ValueError:
            return default

    def has(self, name: str, text: str) -> bool:
        """Whether `text` is among the values of a name."""
        return text in self.values.get(name, ())

    def changed(self, values: Mapping[str, object], page: str | None = None) -> Address:
        """The address with other values: a text, a list of texts, or None for the default."""
        merged = dict(self.values)
        for name, value in values.items():
            if value is None or value == "":
                merged.pop(name, None)
            elif isinstance(value, (list, tuple)):
                merged[name] = tuple(str(text) for text in value) or ("",)
            else:
                merged[name] = (str(value),)
        return Address(self.page if page is None else page, merged)

    def elsewhere(self, page: str, **values: object) -> Address:
        """The address of another page on the same stores and space."""
        kept = {name: self.values[name] for name in EVERYWHERE if name in self.values}
        return Address(page, kept).changed(values)

    @property
    def search(self) -> str:
        """`?name=value&...`, names in alphabetical order; empty if there are none."""
        pairs = [(name, text) for name in sorted(self.values) for text in self.values[name]]
        return "?" + urlencode(pairs) if pairs else ""

    @property
    def href(self) -> str:
        return f"/{self.page}{self.search}"
