"""What a paper claims, as data: its numbers, how ours come out of a store, when the two agree; and
which of its figures are drawn."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Rule = Literal["factor", "within", "at_least", "at_most"]

ENDED = "status NOT IN ('running', 'interrupted', 'failed', 'paused', 'pruned')"
"""In SQL on `runs` or `trials`: the trial has run to its end, so that its last value counts."""


@dataclass(frozen=True, kw_only=True)
class Number:
    """One number of a claim.

    Attributes:
      name: what is measured, and under which setting.
      published: the paper's number, or the bound that its sentence sets.
      sql: one SELECT of one number from a store's tables, null where the store lacks the trials. It
        names every key that the published setting fixes, so that smaller trials do not count.
      rule: `factor`: the two differ by at most a factor of `tolerance`. `within`: by at most
        `tolerance`. `at_least`, `at_most`: ours is not below, or not above, the published one.
      tolerance: of `factor` and `within`.
      unit: of both numbers.
      origin: where the published one stands: "table 8", "figure 3A, read off to 5 %"; or
        "reference", of a number that is not the paper's but of docs/specs/<study>.md.
    """

    name: str
    published: float
    sql: str
    rule: Rule
    tolerance: float = 0.0
    unit: str = ""
    origin: str = "paper"

    def agrees(self, measured: float) -> bool:
        """Whether a number of ours agrees with the published one."""
        if not math.isfinite(measured):
            return False
        if self.rule == "at_least":
            return measured >= self.published
        if self.rule == "at_most":
            return measured <= self.published
        if self.rule == "within":
            return abs(measured - self.published) <= self.tolerance
        if measured * self.published <= 0:
            return False
        return abs(math.log(measured / self.published)) <= math.log(self.tolerance)

    def describe(self) -> str:
        """The rule in words."""
        unit = f" {self.unit}" if self.unit else ""
        return {
            "factor": f"within a factor of {self.tolerance:g}",
            "within": f"within {self.tolerance:g}{unit}",
            "at_least": "ours is not below it",
            "at_most": "ours is not above it",
        }[self.rule]


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A sentence of a paper that numbers can confirm.

    Attributes:
      text: the claim, one plain sentence of our own.
      place: where the paper makes it: "figure 3A", "abstract".
      spaces: spaces of the study whose trials its numbers are read from.
      numbers: what is compared.
      commands: that make the trials.
      differs: how ours differs from the paper's setting, and why.
      smaller: what ours is smaller in than the paper's setting, such as "digits in place of MNIST".
        Numbers that all agree then reproduce the claim partly.
      needs: why it may not have been run: "a GPU", "the data".
      figure: the figure that shows it, drawn of the first of the spaces.
    """

    text: str
    place: str
    spaces: tuple[str, ...]
    numbers: tuple[Number, ...]
    commands: tuple[str, ...]
    differs: str = ""
    smaller: str = ""
    needs: str = ""
    figure: str | None = None


@dataclass(frozen=True, kw_only=True)
class PaperFigure:
    """A figure or table of a paper, and the figure that draws it; or the reason why none does.

    Attributes:
      place: "figure 3A".
      shows: what it shows.
      figure: its name in `plot`.
      space: a space of the study that has it.
      reason: why `plot` cannot draw it; given where there is no figure.
    """

    place: str
    shows: str
    figure: str | None = None
    space: str | None = None
    reason: str = ""
