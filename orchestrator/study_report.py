"""Pages about studies: what their papers claim, held against a store."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.errors import RequestError
from orchestrator.plan.studies import catalogue
from search_spaces import Study
from trainables.declarations import nearest

if TYPE_CHECKING:
    from results import Store


def study_report(
    store: Store,
    study: str | Study | None = None,
    *,
    output: str | Path | None = None,
    figures: Mapping[str, Any] | None = None,
) -> Path:
    """Writes the page of a study, or of all studies a table of what is reproduced, and returns its
    path.

    Args:
      store: which our numbers are read from.
      study: a study's name, or a study of yours with `claims`; None: all built-in ones.
      output: the file to write, ending in `.html` or `.md`, or an existing folder.
      figures: functions by name; the built-in ones if None.

    Raises:
      RequestError: no study is called so.
      StoreError: the study makes no claim, or the place is not writable.
    """
    from results.study_page import overview, study_page

    if isinstance(study, Study):
        return study_page(store, study, output=output, figures=figures)
    known = catalogue().studies
    if study is None:
        return overview(store, known.values(), output=output)
    if study not in known:
        names = ", ".join(known)
        raise RequestError(f"unknown study {study!r}{nearest(study, known)}; known: {names}")
    return study_page(store, known[study], output=output, figures=figures)
