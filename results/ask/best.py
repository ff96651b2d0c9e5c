"""Select, then average: per cell the best value of a key, then centre and spread over seeds."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from results.ask.named_queries import space_of, targets_of
from results.ask.seeds import CONFIDENCE, intervals, spread
from results.ask.trial_values import best_first, metric_sql, rows_at, sortable
from results.ask.units import metrics_of, reported, with_unit
from results.errors import StoreError
from results.store.metric_columns import MetricColumn, better_end

if TYPE_CHECKING:
    import pandas as pd

    from results.store.store import Store

Row = dict[str, Any]


def best(
    store: Store,
    space: str | Mapping[str, Any],
    *,
    metric: str | None = None,
    mode: Literal["min", "max"] | None = None,
    choose: str | None = None,
    over: str | Sequence[str] | None = None,
    by: Sequence[str] | None = None,
    report: str | None = None,
    average: Literal["median", "published"] = "median",
    at: Literal["last", "best"] | None = None,
    confidence: float | None = CONFIDENCE,
) -> pd.DataFrame:
    """One row per cell, the best first: the chosen value, and the reported metric's centre and
    spread.

    A cell is one combination of the swept keys other than `choose` and `over`. Arguments left out
    come from the space's own selection rule.

    Compared are trials that have ended with a result. A pruned one is known up to an epoch, so it
    is neither better nor worse than others: it is no candidate and in no mean, and is counted.

    Args:
      space: `study/space`, or the space's JSON.
      metric: what ranks the values of `choose`: a column of `epochs`, or a metric by name.
      mode: "min" or "max". If None what the space's rule says of its own metric, of another what
        the task declares; where nothing does, "max" for an accuracy and else "min".
      choose: the key selected, such as lr.
      over: the key or keys averaged over, such as seed.
      by: the keys that make a cell.
      report: the metric reported at the chosen value.
      average: "median" ranks by the median over seeds, a diverged seed counting as the worst
        possible; "published" ranks by the mean, diverged seeds skipped, as the papers do.
      at: the epoch whose metrics count: "last" of a trial, or the one "best" in `metric`.
      confidence: of the intervals; None for none, which is quicker.

    Returns:
      Columns: the cell's keys; `choose`; `median` (a diverged seed as the worst, so there is none
      where half of them diverged); `mean`, `stderr` and `n` over the seeds that did not diverge;
      `n_diverged`; `n_missing` (trials without a result, over the whole cell); `partial` (the mean
      leaves diverged or pruned seeds out). Where any trial of the space was pruned also `n_pruned`
      (seeds at the chosen value) and `cell_pruned` (trials of the whole cell; if these are all it
      has, nothing is chosen). Last the bootstrap intervals `median_low`, `median_high`,
      `mean_low` and `mean_high`, and the interquartile mean `iqm` with `iqm_low` and `iqm_high`
      (`results.ask.seeds`): NaN of one seed, or where a diverged one is that end. Rows go by the
      median, or by the mean if that is what chooses. What was chosen on and what is reported is
      `attrs["says"]`.

    Raises:
      StoreError: unknown space, key or metric; no trial of the space has a result.
    """
    data = space_of(store, space) if isinstance(space, str) else dict(space)
    recipe: dict[str, Any] = data.get("select") or {}
    declared = metrics_of(store, targets_of(data))
    ranked = str(metric or recipe.get("metric") or "val_loss")
    end = str(mode or _ranking_mode(ranked, recipe, declared))
    choose = choose or recipe.get("choose")
    shown = str(report or recipe.get("report") or ranked)
    seeds = over if over is not None else recipe.get("over", "seed")
    averaged = [seeds] if isinstance(seeds, str) else list(seeds or ())
    if end not in ("min", "max") or average not in ("median", "published"):
        raise StoreError(
            f"mode is min or max and average is median or published; got {end}, {average}."
        )
    swept = list(by) if by is not None else list(data.get("swept") or ())
    cells = [key for key in swept if key != choose and key not in averaged]
    keys = [*cells, choose] if choose else cells
    if confidence is not None and not 0 < confidence < 1:
        raise StoreError(f"confidence is a share between 0 and 1, such as 0.95; got {confidence}.")
    moment = at or str(recipe.get("at") or "last")
    if moment not in ("last", "best"):
        raise StoreError(f"at is last or best; got {moment}.")
    newest = f"{metric_sql(ranked)} IS NULL, epoch DESC"
    order = newest if moment == "last" else best_first(ranked, end)
    rows = rows_at(store, data, keys, ranked, shown, order)
    rule = _Rule(end, average, _report_mode(shown, recipe, ranked, end, declared))
    frame = _table(rows, cells, choose, rule, confidence)
    over_keys = [key for key in averaged if key in store.config_columns]
    what = reported(store, data, report, metric)
    unit = declared[ranked].unit if ranked in declared and shown != ranked else ""
    on = with_unit(ranked, unit) if unit else ranked
    said = _says(rule, on, what, choose, over_keys, moment)
    pruned = sum(row["pruned"] for row in rows)
    if pruned:
        said += (
            f" {pruned} of {len(targets_of(data))} trials were pruned: known up to an epoch only, "
            "they are in no choice and in no mean."
        )
    frame.attrs["says"] = said
    return frame


class _Rule:
    def __init__(self, mode: str, average: str, report_mode: str):
        self.mode = mode
        self.report_mode = report_mode
        self.sign = 1 if mode == "min" else -1
        self.average = average
        self.worst = math.inf if mode == "min" else -math.inf
        self.report_worst = math.inf if report_mode == "min" else -math.inf

    def rank(self, rows: Sequence[Row]) -> float:
        """How good the rows of one value of `choose` are; smaller is better."""
        if self.average == "published":
            kept = [row["metric"] for row in rows if not row["diverged"]]
            value = statistics.fmean(kept) if kept else self.worst
        else:
            value = statistics.median(self.worst if r["diverged"] else r["metric"] for r in rows)
        return self.sign * value

    def place(self, line: Row) -> tuple[bool, float]:
        """Where a cell stands among the others, those without a number last."""
        value = line["mean" if self.average == "published" else "median"]
        known = math.isfinite(value)
        return not known, (value if self.report_mode == "min" else -value) if known else 0.0


def _says(
    rule: _Rule, metric: str, report: str, choose: str | None, over: Sequence[str], at: str
) -> str:
    """What was chosen on, what is reported, and over what, as a sentence."""
    centre = "mean" if rule.average == "published" else "median"
    ends = {"min": "lowest", "max": "highest"}
    when = f"the epoch of its {ends[rule.mode]} {metric}" if at == "best" else "its last epoch"
    across = f" over {' and '.join(over)}" if over else ""
    first = f"the {ends[rule.report_mode]} {centre} comes first"
    of = f"each trial at {when}"
    if choose is None:
        return f"{report}{across}, {of}; {first}."
    chosen = f"{choose} is chosen by the {ends[rule.mode]} {centre} {metric}{across}, {of}"
    return f"{chosen}; reported is {report} at the chosen {choose}, {first}."


def _ranking_mode(
    metric: str, recipe: Mapping[str, Any], declared: Mapping[str, MetricColumn]
) -> str:
    """Which end of the ranking metric is better, where nobody asks for one."""
    own = recipe.get("mode") if metric == recipe.get("metric", "val_loss") else None
    return str(own or better_end(metric, None, declared))


def _report_mode(
    report: str,
    recipe: Mapping[str, Any],
    metric: str,
    mode: str,
    declared: Mapping[str, MetricColumn],
) -> str:
    """Which end of the reported metric is better: a diverged seed has the other one's place."""
    if report == metric:
        return mode
    own = recipe.get("report_mode") if report == recipe.get("report") else None
    return str(own or better_end(report, None, declared))


def _table(
    rows: Sequence[Row],
    cells: Sequence[str],
    choose: str | None,
    rule: _Rule,
    confidence: float | None,
) -> pd.DataFrame:
    import pandas as pd

    groups: dict[tuple, dict[Any, list[Row]]] = defaultdict(lambda: defaultdict(list))
    lost: dict[tuple, int] = defaultdict(int)
    pruned: dict[tuple, list[Any]] = defaultdict(list)
    for row in rows:
        cell = tuple(row["key"][key] for key in cells)
        if row["missing"]:
            lost[cell] += 1
        elif row["pruned"]:
            pruned[cell].append(row["key"].get(choose))
        else:
            groups[cell][row["key"].get(choose)].append(row)
    any_pruned = bool(pruned)
    out: list[Row] = []
    for cell in sorted({*groups, *lost, *pruned}, key=lambda c: tuple(sortable(v) for v in c)):
        line: Row = dict(zip(cells, cell, strict=True))
        values = groups.get(cell)
        if values:
            # Of equally good values the smallest, so that the choice does not depend on order.
            ranked = [(rule.rank(chosen), sortable(v), v) for v, chosen in values.items()]
            value = min(ranked, key=lambda entry: entry[:2])[2]
            line |= {choose: value} if choose else {}
            sample = [row["report"] for row in values[value] if not row["diverged"]]
            diverged = len(values[value]) - len(sample)
            early = pruned[cell].count(value)
        else:
            sample, diverged, early = [], 0, 0
            line |= {choose: None} if choose else {}
        line |= spread(sample, diverged, rule.report_worst)
        line |= {"partial": diverged > 0 or early > 0, "n_missing": lost[cell]}
        line |= {"n_pruned": early, "cell_pruned": len(pruned[cell])} if any_pruned else {}
        if confidence is not None:
            line |= intervals(sample, diverged, rule.report_worst, confidence)
        out.append(line)
    return pd.DataFrame(sorted(out, key=rule.place))
