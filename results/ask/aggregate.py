"""A metric over seeds, cell by cell, with nothing chosen."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from results.ask.named_queries import space_of, targets_of
from results.ask.restricted import Where, restricted
from results.ask.seeds import CONFIDENCE, Diverged, intervals, spread
from results.ask.trial_values import best_first, metric_sql, rows_at, sortable
from results.ask.units import metrics_of, reported
from results.errors import StoreError
from results.store.metric_columns import better_end

if TYPE_CHECKING:
    import pandas as pd

    from results.store.store import Store


def aggregate(
    store: Store,
    space: str | Mapping[str, Any],
    *,
    by: Sequence[str] | None = None,
    metric: str | None = None,
    over: str | Sequence[str] = "seed",
    mode: Literal["min", "max"] | None = None,
    at: Literal["last", "best"] | None = None,
    diverged: Diverged = "worst",
    where: Where = (),
    confidence: float = CONFIDENCE,
) -> pd.DataFrame:
    """One row per cell, in the order of its keys: a metric's centre, spread and intervals.

    Args:
      space: `study/space`, or the space's JSON.
      by: the keys that make a cell; the swept ones that are not averaged over if None.
      metric: a column of `epochs`, or a metric by name; what the space reports if None.
      over: the key or keys averaged over.
      mode: which end is better; what is declared of the metric if None.
      at: the epoch that counts: the "last" of a trial, or its "best" in the metric.
      diverged: "worst" counts a diverged trial as worse than every number in the median and in the
        interquartile mean; "left_out" leaves it out of these too.
      where: values of config keys, as in `figure`; other trials are left out.
      confidence: of the intervals.

    Returns:
      Columns: the cell's keys; `median`; `mean`, `stderr` and `n` over the trials that did not
      diverge; `n_diverged`, `n_pruned` and `n_missing`, the last two in no number; `median_low`,
      `median_high`, `mean_low`, `mean_high`, `iqm`, `iqm_low`, `iqm_high`, as `best` has them.
      What the numbers are of, and what is left out, is `attrs["says"]`.

    Raises:
      StoreError: unknown space, key or metric; no trial of the space has a result.
    """
    import pandas as pd

    data = space_of(store, space) if isinstance(space, str) else dict(space)
    data = restricted(store, data, where)
    recipe: dict[str, Any] = data.get("select") or {}
    if diverged not in ("worst", "left_out"):
        raise StoreError(f"diverged is worst or left_out; got {diverged}.")
    name = str(metric or recipe.get("report") or recipe.get("metric") or "val_loss")
    declared = recipe.get("report_mode" if name == recipe.get("report") else "mode")
    asked = mode or (declared if name in (recipe.get("report"), recipe.get("metric")) else None)
    end = better_end(name, asked, metrics_of(store, targets_of(data)))
    averaged = [over] if isinstance(over, str) else list(over)
    swept = list(data.get("swept") or ())
    cells = list(by) if by is not None else [key for key in swept if key not in averaged]
    moment = at or str(recipe.get("at") or "last")
    newest = f"{metric_sql(name)} IS NULL, epoch DESC"
    order = newest if moment == "last" else best_first(name, end)
    groups: dict[tuple, list[dict[str, Any]]] = defaultdict(list)
    rows = rows_at(store, data, cells, name, name, order)
    for row in rows:
        groups[tuple(row["key"][key] for key in cells)].append(row)
    worst = float("inf") if end == "min" else -float("inf")
    lines: list[dict[str, Any]] = []
    for cell in sorted(groups, key=lambda cell: tuple(map(sortable, cell))):
        own = groups[cell]
        ended = [row for row in own if not (row["missing"] or row["pruned"])]
        sample = [row["report"] for row in ended if not row["diverged"]]
        bad = len(ended) - len(sample)
        counted = bad if diverged == "worst" else 0
        line = dict(zip(cells, cell, strict=True)) | spread(sample, counted, worst)
        line |= {
            "n_diverged": bad,
            "n_pruned": sum(row["pruned"] for row in own),
            "n_missing": sum(row["missing"] for row in own),
        }
        lines.append(line | intervals(sample, counted, worst, confidence))
    frame = pd.DataFrame(lines)
    when = "last epoch" if moment == "last" else f"epoch of its {_ENDS[end]} {name}"
    says = [f"{reported(store, data, name, None)} of each trial at its {when}."]
    pooled = [key for key in swept if key not in (*cells, *averaged)]
    if pooled:
        says.append(f"Trials that differ in {' or '.join(pooled)} are one cell.")
    says.append(diverged_words(sum(line["n_diverged"] for line in lines), diverged))
    lost = {
        "pruned": sum(line["n_pruned"] for line in lines),
        "without a result": sum(line["n_missing"] for line in lines),
        "not started": len(targets_of(data)) - len(rows),
    }
    if any(lost.values()):
        counts = ", ".join(f"{count} {word}" for word, count in lost.items() if count)
        says.append(f"In no number: {counts}.")
    frame.attrs["says"] = " ".join(text for text in says if text)
    return frame


_ENDS = {"min": "lowest", "max": "highest"}


def diverged_words(count: int, diverged: Diverged) -> str:
    """What the diverged trials of an answer count as, as a sentence; "" where there are none."""
    if not count:
        return ""
    many = "1 diverged trial" if count == 1 else f"{count} diverged trials"
    if diverged == "left_out":
        return f"{many} {'is' if count == 1 else 'are'} left out."
    if count == 1:
        return f"{many} counts as worse than every number, and is in no mean."
    return f"{many} count as worse than every number, and are in no mean."
