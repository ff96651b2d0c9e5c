"""How often a probe measures: the key that each probe declares of itself."""

from __future__ import annotations

from trainables.declarations.core.keys import Key


def cadence(probe: str, what: str, *aliases: str) -> Key:
    """Key `<probe>_every` of a probe that is measured between epochs.

    Args:
      what: is recorded, as the object of "Record".
    """
    return Key(
        f"{probe}_every", "int", None, "recording",
        f"Record {what} every k-th epoch; 0: at the first and last epoch only; null: never.",
        unit="epochs", low=0, nullable=True, aliases=aliases,
    )  # fmt: skip
