"""The key that says how a linear recurrence runs over time."""

from __future__ import annotations

from trainables.declarations.core.keys import Key

SCAN_MODE = Key(
    "scan_mode", "str", "auto", "static",
    "Form of a linear recurrence over time. scan: one step after the other; associative: in "
    "O(log T) dependent steps; auto: associative on a GPU for diagonal matrices, else scan.",
    choices=("auto", "scan", "associative"),
)  # fmt: skip
