"""Options that a figure declares, as they are typed: `plot SPACE orbit1d --input 3 --from-epoch 9`.

Which ones there are is known once the figure is, so `plot` sets aside what it does not know and
hands it to the figure, which refuses what it does not know either.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from typer.core import TyperCommand

from orchestrator.errors import RequestError

_ASKED = "figure options"
_NUMBERS = re.compile(r"-?[0-9]+(,-?[0-9]+)*")


class PlotCommand(TyperCommand):
    """Keeps options that it does not declare, each with its value, in `ctx.meta`.

    `--output 3` is a number of an output, where the figure has that option; a file it would be has
    an ending.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        own = {flag for p in self.params for flag in (*p.opts, *p.secondary_opts)} | {"--help"}
        left, asked, at = [], {}, 0
        while at < len(args):
            word, sign, value = args[at].partition("=")
            following = args[at + 1] if at + 1 < len(args) else None
            number = value if sign else following
            is_output = word == "--output" and number and _NUMBERS.fullmatch(number)
            if args[at] == "--":
                left += args[at:]
                break
            if not word.startswith("--") or (word in own and not is_output):
                left.append(args[at])
                at += 1
                continue
            if not sign and (following is None or following.startswith("--")):
                value = ""
            elif not sign:
                value, at = str(following), at + 1
            asked[word] = value
            at += 1
        ctx.meta[_ASKED] = asked
        return super().parse_args(ctx, left)


def taken(
    ctx: Any, figure: str | None, figures: Mapping[str, Any], every: bool = False
) -> tuple[dict[str, str], Path | None]:
    """Options of the figure by name as they were typed, and the folder that `--output` gave if the
    figure has no option of that name.

    Args:
      figure: its name among `figures`; None where none is drawn.
      every: whether all are drawn.

    Raises:
      RequestError: neither `plot` nor the figure has an option; one has no value; or every figure
        is drawn.
    """
    from results.errors import nearest

    asked: Mapping[str, str] = ctx.meta.get(_ASKED, {})
    options = {name: _spellings(one) for name, one in figures.items()}
    known = options.get(figure or "", {})
    found, place = {}, None
    for word, value in asked.items():
        if word == "--output" and word not in known:
            place = Path(value)
            continue
        if word not in known:
            others = [name for name, own in options.items() if word in own]
            if figure and others:
                raise RequestError(
                    f"the figure {figure} has no option {word}; these have it: {', '.join(others)}"
                )
            own = [spelling for param in ctx.command.params for spelling in param.opts]
            there = f"; the figure {figure} has {', '.join(known)}" if known else ""
            raise RequestError(f"plot has no option {word}{nearest(word, [*own, *known])}{there}")
        if every:
            raise RequestError(f"--all draws every figure of the space; leave out --all or {word}")
        if not value:
            raise RequestError(f"{word} needs a value, such as {word} 1")
        found[known[word]] = value
    return found, place


def _spellings(figure: Any) -> dict[str, str]:
    return {option.spelling: option.name for option in getattr(figure, "options", ())}
