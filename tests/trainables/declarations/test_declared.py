"""The built-in parts declare what they have declared before, and old ids are found again."""

from __future__ import annotations

import difflib

from tests.trainables.declarations.declared import FILE, first_trial, lines
from trainables import declarations, spec
from trainables.declarations import builtin_registry


def test_declarations_and_the_ids_of_trials_are_as_recorded() -> None:
    """A store holds trials by their id, and a config leaves defaults out. So a default that changes
    without a version gives a new meaning to what is stored, and an id that changes loses it."""
    changed = list(
        difflib.unified_diff(
            FILE.read_text().splitlines(), lines(), "as recorded", "as declared", "", "", 1, ""
        )
    )
    why = (
        "what the parts declare has changed. Where a number changes with it, raise the part's "
        "`version`; then run `python -m tests.trainables.declarations.declared`"
    )
    assert not changed, "\n".join([why, *changed])


def test_every_part_goes_with_some_other() -> None:
    registry = builtin_registry()
    alone = [
        (role, name)
        for role, name in registry.parts
        if role != "base" and first_trial(registry, role, name) is None
    ]
    assert alone == []


def test_study_files_may_use_the_former_name() -> None:
    for name in declarations.__all__:
        assert getattr(spec, name) is getattr(declarations, name)
