"""A metric along training: of each trial, or of groups with a median and a band."""

from __future__ import annotations

from collections.abc import Sequence

from results.board.questions.words import column_list, of_space, of_trials, quoted, tidy

ALONG = {
    "epoch": "epoch",
    "step": "sum(steps) OVER (PARTITION BY trial_id ORDER BY epoch)",
    "seconds": "sum(seconds) OVER (PARTITION BY trial_id ORDER BY epoch)",
}
"""What a curve is drawn along: epochs, optimizer steps or seconds up to the end of the epoch."""

_FINITE = "FILTER (isfinite(y))"

BANDS = {
    "quartiles": (f"quantile_cont(y, 0.25) {_FINITE}", f"quantile_cont(y, 0.75) {_FINITE}"),
    "range": (f"min(y) {_FINITE}", f"max(y) {_FINITE}"),
    "sd": (
        f"avg(y) {_FINITE} - stddev_samp(y) {_FINITE}",
        f"avg(y) {_FINITE} + stddev_samp(y) {_FINITE}",
    ),
    "none": ("NULL::DOUBLE", "NULL::DOUBLE"),
}
"""Lower and upper end of a band over trials, by name."""


def _rows(space: str, metric: str, along: str, trials: Sequence[str]) -> str:
    kept = f"{of_space(space)} AND {of_trials(trials)}" if trials else of_space(space)
    return (
        f"SELECT trial_id, epoch, {ALONG[along]} AS x, {quoted(metric)} AS y\n"
        f"    FROM epochs WHERE {kept}"
    )


def curves(
    space: str, metric: str, along: str, by: Sequence[str], band: str,
    smooth: int = 1, trials: Sequence[str] = (),
) -> str:  # fmt: skip
    """One row per group and epoch: x, the median, the band, and how many trials were finite.

    Args:
      by: keys that make a group.
      band: a key of `BANDS`.
      smooth: each value is the mean of so many epochs up to its own; 1 smooths nothing.
      trials: only these; all of the space if empty.
    """
    own = column_list(by)
    low, high = BANDS[band]
    window = (
        f"OVER (PARTITION BY {own}true ORDER BY epoch "
        f"ROWS BETWEEN {smooth - 1} PRECEDING AND CURRENT ROW)"
    )
    numbers = [
        name if smooth <= 1 else f"avg({name}) {window} AS {name}"
        for name in ("median", "low", "high")
    ]
    return tidy(
        f"""
        WITH measured AS (
            {_rows(space, metric, along, trials)}
        ),
        grouped AS (
            SELECT
                {column_list(by, "c.")}m.epoch, median(m.x) AS x,
                median(y) FILTER (isfinite(y)) AS median, {low} AS low, {high} AS high,
                count(y) FILTER (isfinite(y)) AS finite,
                count(y) FILTER (NOT isfinite(y)) AS not_finite
            FROM measured m JOIN configs c USING (trial_id)
            WHERE y IS NOT NULL
            GROUP BY ALL
        )
        SELECT {own}epoch, x, {", ".join(numbers)}, finite, not_finite FROM grouped
        ORDER BY {own}epoch
        """
    )


def ends(space: str, by: Sequence[str], trials: Sequence[str] = ()) -> str:
    """Of each group how many trials it has, and when some of them became non-finite or were pruned.

    `ended` is the last epoch that shows; null in the row that counts the whole group.
    """
    kept = f"t.{of_space(space)}" + (f" AND t.{of_trials(trials)}" if trials else "")
    return tidy(
        f"""
        WITH lasts AS (
            SELECT {column_list(by, "t.")}t.trial_id, t.status, max(e.epoch) AS ended
            FROM trials t JOIN epochs e USING (trial_id)
            WHERE {kept}
            GROUP BY ALL
        )
        SELECT {column_list(by)}NULL::VARCHAR AS status, NULL::INTEGER AS ended, count(*) AS trials
        FROM lasts GROUP BY ALL
        UNION ALL
        SELECT {column_list(by)}status, ended, count(*) AS trials
        FROM lasts WHERE status IN ('diverged', 'pruned') GROUP BY ALL
        ORDER BY ALL
        """
    )
