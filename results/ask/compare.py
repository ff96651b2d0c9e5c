"""Two sides of a question, trial by trial: a paired test, and how probable an improvement is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from results.ask.aggregate import diverged_words
from results.ask.best import best
from results.ask.named_queries import space_name, space_of, targets_of
from results.ask.restricted import Where, restricted, spelled
from results.ask.seeds import (
    CONFIDENCE,
    Diverged,
    finite,
    improvement,
    interval,
    permutation_p,
    stratified_interval,
)
from results.ask.trial_values import Row, best_first, metric_sql, rows_at, sortable
from results.ask.units import metrics_of, reported
from results.errors import StoreError
from results.store.metric_columns import better_end

if TYPE_CHECKING:
    import pandas as pd

    from results.store.store import Store

Side = str | tuple[str | Mapping[str, Any], Where]
"""A space, some of its trials as `study/space:key=value:key=value`, or both parts as a pair."""


@dataclass(frozen=True)
class _Read:
    """A side: its space, the keys that its conditions hold, and its name in words."""

    data: dict[str, Any]
    held: tuple[str, ...]
    name: str


def compare(
    store: Store,
    a: Side,
    b: Side,
    *,
    metric: str | None = None,
    mode: Literal["min", "max"] | None = None,
    choose: str | None = None,
    over: str | Sequence[str] | None = None,
    by: Sequence[str] = (),
    report: str | None = None,
    at: Literal["last", "best"] | None = None,
    diverged: Diverged = "worst",
    confidence: float = CONFIDENCE,
) -> pd.DataFrame:
    """Whether the trials of one side are better than those of another, pair by pair.

    A pair is a trial of each side with the same values of the swept keys that neither side holds
    at a value; at each side only the trials at the chosen value of `choose` count, as in `best`.

    Args:
      a, b: the sides, such as `("demo/grid", {"init": "xavier"})` or `"demo/grid:init=xavier"`.
      metric, mode, choose, over, at: as in `best`; left out, what A's space says.
      by: the keys that make a row; one row over all pairs if there are none.
      report: the metric compared.
      diverged: "worst" counts a diverged trial as worse than every number; "left_out" leaves its
        pair out.
      confidence: of the intervals.

    Returns:
      Columns: the keys `by`; `n`, pairs; `median_a`, `median_b`; `difference`, the mean of A - B
      over pairs of two numbers, with `difference_low` and `difference_high`; `p_value`, two-sided,
      of a paired permutation test (`scipy.stats.permutation_test`) of the mean difference, or of
      ranks where a diverged trial counts; `p_improvement`, how probable it is that a trial of A is
      better than one of B of the same cell, with `p_improvement_low` and `p_improvement_high`;
      `n_diverged_a`, `n_diverged_b` among the pairs; `n_unpaired`, trials that have no partner with
      a result. What was compared is `attrs["says"]`.

    Raises:
      StoreError: unknown space, key or metric; two trials of a side that would be one partner; no
        pair at all.
    """
    import pandas as pd

    sides = [_read(store, side) for side in (a, b)]
    recipe: dict[str, Any] = sides[0].data.get("select") or {}
    if diverged not in ("worst", "left_out"):
        raise StoreError(f"diverged is worst or left_out; got {diverged}.")
    ranked = str(metric or recipe.get("metric") or "val_loss")
    shown = str(report or metric or recipe.get("report") or ranked)
    declared = metrics_of(store, [i for side in sides for i in targets_of(side.data)])
    own_mode = recipe.get("report_mode") if shown == recipe.get("report") else None
    own_mode = recipe.get("mode") if shown == recipe.get("metric") else own_mode
    end = better_end(shown, (mode if shown == ranked else None) or own_mode, declared)
    choose = choose or recipe.get("choose")
    seeds = over if over is not None else recipe.get("over", "seed")
    averaged = [seeds] if isinstance(seeds, str) else list(seeds or ())
    held = {key for side in sides for key in side.held}
    swept = dict.fromkeys(key for side in sides for key in side.data.get("swept") or ())
    pair = [key for key in swept if key not in held and key != choose]
    cells = [key for key in pair if key not in averaged]
    strange = [key for key in by if key not in cells]
    if strange:
        there = f"keys that pairs share are {', '.join(cells)}" if cells else "pairs share no key"
        raise StoreError(f"cannot make rows by {strange[0]}: {there} besides those averaged over.")
    moment = at or str(recipe.get("at") or "last")
    order = f"{metric_sql(ranked)} IS NULL, epoch DESC"
    if moment == "best":
        order = best_first(ranked, better_end(ranked, mode or recipe.get("mode"), declared))
    found = []
    for side in sides:
        rows = rows_at(store, side.data, [*pair, *([choose] if choose else [])], ranked, shown,
                       order)  # fmt: skip
        if choose:
            rows = _at_choice(store, side, rows, cells, choose, metric=ranked, mode=mode,
                              over=averaged, at=moment)  # fmt: skip
        found.append(_by_pair(rows, pair, side))
    groups = _groups(found, pair, cells, by, diverged)
    if not any(strata for strata, _ in groups.values()):
        raise StoreError(
            f"no trial of {sides[0].name} has the same {', '.join(pair) or 'keys'} as one of "
            f"{sides[1].name} where both have {shown}; hold a key on which they differ at one "
            "value on each side, as SPACE:KEY=VALUE."
        )
    sign = 1.0 if end == "min" else -1.0
    lines = []
    for key in sorted(groups, key=lambda key: tuple(map(sortable, key))):
        strata, lost = groups[key]
        line = dict(zip(by, key, strict=True))
        lines.append(line | _numbers(strata, sign, confidence) | {"n_unpaired": lost})
    frame = pd.DataFrame(lines)
    when = "last epoch" if moment == "last" else f"epoch best in {ranked}"
    left_out = sum(row["diverged"] for side in found for row in side.values())
    first = (
        f"A is {sides[0].name}, B is {sides[1].name}: "
        f"{reported(store, sides[0].data, shown, None)} of each trial at its {when}, "
        f"{'lower' if end == 'min' else 'higher'} is better, in pairs by {', '.join(pair)}."
    )
    second = f"{choose} is chosen at each side by {ranked}, as `best` does." if choose else ""
    said = _says(lines, left_out if diverged == "left_out" else 0)
    frame.attrs["says"] = " ".join(text for text in (first, second, *said) if text)
    return frame


def _says(lines: Sequence[Row], left_out: int) -> list[str]:
    """What diverged trials count as, what was tested, and what the test cannot say."""
    bad = sum(line["n_diverged_a"] + line["n_diverged_b"] for line in lines)
    ranks = ", of its ranks where a trial diverged" if bad else ""
    says = [
        diverged_words(left_out or bad, "left_out" if left_out else "worst"),
        f"p_value is of the mean difference of pairs{ranks}.",
    ]
    fewest = min(line["n"] for line in lines)
    least = min(2 / 2**fewest, 1.0)
    if least > 0.05:
        pairs = "1 pair allows" if fewest == 1 else f"{fewest} pairs allow"
        says.append(f"{pairs} no p below {least:.3g}.")
    if len(lines) > 1:
        says.append(f"p values are not corrected for {len(lines)} tests.")
    lost = sum(line["n_unpaired"] for line in lines)
    if lost:
        says.append(f"Trials without a partner that has a result: {lost}.")
    return says


def _read(store: Store, side: Side) -> _Read:
    space, where = side if isinstance(side, tuple) else (side, ())
    if isinstance(space, str):
        space, *texts = space.split(":")
        where = where or texts
        data = space_of(store, space)
    else:
        data = dict(space)
    own = restricted(store, data, where)
    wanted: Mapping[str, Sequence[Any]] = own.get("where") or {} if where else {}
    held = " ".join(f"{key}={','.join(map(spelled, v))}" for key, v in wanted.items())
    name = space_name(data) or "this space"
    return _Read(own, tuple(wanted), f"{name} with {held}" if held else name)


def _at_choice(
    store: Store, side: _Read, rows: list[Row], cells: Sequence[str], choose: str, **how: Any
) -> list[Row]:
    """The trials at the value of `choose` that `best` takes in their cell."""
    frame = best(store, side.data, choose=choose, by=cells, confidence=None, **how)
    chosen = {
        tuple(_text(line[k]) for k in cells): line[choose] for line in frame.to_dict("records")
    }
    return [
        row
        for row in rows
        if row["key"][choose] == chosen.get(tuple(_text(row["key"][key]) for key in cells))
    ]


def _text(value: Any) -> str:
    """A value of a key as pandas and DuckDB both have it: null is null in either."""
    return "null" if value is None or value != value else str(value)


def _by_pair(rows: Sequence[Row], pair: Sequence[str], side: _Read) -> dict[tuple, Row]:
    found: dict[tuple, Row] = {}
    for row in rows:
        key = tuple(row["key"][name] for name in pair)
        if key in found:
            values = ", ".join(f"{k}={spelled(v)}" for k, v in zip(pair, key, strict=True))
            raise StoreError(
                f"two trials of {side.name} have {values or 'no key that tells them apart'} "
                f"({found[key]['trial_id'][:8]} and {row['trial_id'][:8]}), and only one can have "
                "the partner; hold each key of a side at one value."
            )
        found[key] = row
    return found


_Strata = dict[tuple, list[tuple[Row, Row]]]


def _groups(
    found: Sequence[Mapping[tuple, Row]],
    pair: Sequence[str],
    cells: Sequence[str],
    by: Sequence[str],
    diverged: Diverged,
) -> dict[tuple, tuple[_Strata, int]]:
    """Pairs with a result by row of the answer and by cell, and the trials without a partner."""
    groups: dict[tuple, tuple[_Strata, int]] = {}
    for key in {**found[0], **found[1]}:
        named = dict(zip(pair, key, strict=True))
        own = tuple(named[name] for name in by)
        strata, lost = groups.setdefault(own, ({}, 0))
        both = [side[key] for side in found if key in side]
        fit = [row for row in both if not (row["missing"] or row["pruned"])]
        if diverged == "left_out":
            fit = [row for row in fit if not row["diverged"]]
        if len(fit) == 2:
            cell = tuple(named[name] for name in cells)
            strata.setdefault(cell, []).append((fit[0], fit[1]))
        else:
            groups[own] = (strata, lost + len(fit))
    return groups


def _numbers(strata: _Strata, sign: float, confidence: float) -> dict[str, Any]:
    """The row of a group; values times `sign` are better the smaller they are."""
    values = {
        cell: np.array([[_value(row, sign) for row in one] for one in pairs])
        for cell, pairs in strata.items()
    }
    every = np.concatenate([*values.values()]) if values else np.empty((0, 2))
    whole = every[np.isfinite(every).all(axis=1)]
    differences = list(sign * (whole[:, 0] - whole[:, 1]))
    low, high = interval(differences, np.mean, confidence)
    samples: list[Any] = [own[:, column] for own in values.values() for column in (0, 1)]
    better = float(improvement(*samples)) if samples else math.nan
    bounds = stratified_interval(samples, improvement, confidence)
    tested: Any = every
    if len(whole) < len(every):
        from scipy import stats

        tested = stats.rankdata(every).reshape(every.shape)
    medians = [finite(sign * float(np.median(every[:, i]))) if len(every) else math.nan
               for i in (0, 1)]  # fmt: skip
    return {
        "n": len(every),
        "median_a": medians[0],
        "median_b": medians[1],
        "difference": float(np.mean(differences)) if differences else math.nan,
        "difference_low": low,
        "difference_high": high,
        "p_value": permutation_p(tested[:, 0], tested[:, 1]),
        "p_improvement": better,
        "p_improvement_low": bounds[0],
        "p_improvement_high": bounds[1],
        "n_diverged_a": int(np.isinf(every[:, 0]).sum()),
        "n_diverged_b": int(np.isinf(every[:, 1]).sum()),
    }


def _value(row: Row, sign: float) -> float:
    return math.inf if row["diverged"] else sign * row["report"]
