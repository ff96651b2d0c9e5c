"""Errors whose text is one sentence for the user, with the remedy."""

from __future__ import annotations

from collections.abc import Iterable


class RequestError(Exception):
    """The request was wrong: exit status 2. Holds every problem found, not only the first."""

    def __init__(self, problems: str | Iterable[str]):
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))


class NodeError(Exception):
    """This machine cannot run the pack, and another one may: the text says why and on which."""
