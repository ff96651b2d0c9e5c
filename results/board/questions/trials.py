"""A space's trials: one a row, in groups, and how some of them differ."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from results.board.questions.words import column_list, literal, of_space, of_trials, quoted, tidy

_ABSENT = "'\u2205'"


def different_values(space: str, keys: Sequence[str]) -> str:
    """How many values each key has among the trials of a space; no value is one too."""
    counts = ",\n    ".join(
        f"count(DISTINCT coalesce({quoted(key)}::VARCHAR, {_ABSENT})) AS {quoted(key)}"
        for key in keys
    )
    return f"SELECT\n    {counts}\nFROM all_trials WHERE {of_space(space)}"


def recorded(space: str, metrics: Iterable[str]) -> str:
    """How many epochs of a space have each metric."""
    counts = ", ".join(f"count({quoted(name)}) AS {quoted(name)}" for name in metrics)
    return f"SELECT {counts} FROM epochs WHERE {of_space(space)}"


def trials(space: str, keys: Sequence[str], metrics: Sequence[str], verdicts: bool) -> str:
    """One row per trial of a space: keys, status, verdict if asked for, and of each metric the last
    value that was recorded."""
    lasts = "".join(f", arg_max({quoted(m)}, epoch) AS {quoted(m)}" for m in metrics)
    verdict = "d.verdict, " if verdicts else ""
    join = "\nLEFT JOIN diagnosis d USING (trial_id)" if verdicts else ""
    return tidy(
        f"""
        SELECT
            s.trial_id, {column_list(keys, "t.")}
            coalesce(t.status, 'not started') AS status, {verdict}
            e.epochs_run, {column_list(metrics, "e.")}t.seconds, t.reason
        FROM (SELECT DISTINCT trial_id FROM space_trials WHERE space = {literal(space)}) s
        LEFT JOIN all_trials t USING (trial_id){{join}}
        LEFT JOIN (
            SELECT trial_id, max(epoch) + 1 AS epochs_run{lasts}
            FROM all_epochs WHERE {of_space(space)} GROUP BY trial_id
        ) e USING (trial_id)
        ORDER BY s.trial_id
        """
    ).replace("{join}", join)


def groups(space: str, by: Sequence[str], metrics: Sequence[str]) -> str:
    """One row per group of trials: how many, how many of them ended badly, and of each metric's
    last values the median, the least and the greatest, without those that are not finite."""
    numbers = "".join(
        f",\n    count({m}) FILTER (isfinite({m})) AS {quoted(name + '_count')}, "
        f"median({m}) FILTER (isfinite({m})) AS {quoted(name + '_median')}, "
        f"min({m}) FILTER (isfinite({m})) AS {quoted(name + '_min')}, "
        f"max({m}) FILTER (isfinite({m})) AS {quoted(name + '_max')}"
        for name, m in ((name, quoted(name)) for name in metrics)
    )
    return (
        f"SELECT\n    {column_list(by)}count(*) AS trials, "
        "count(*) FILTER (status = 'diverged') AS diverged, "
        "count(*) FILTER (status = 'pruned') AS pruned, "
        "count(*) FILTER (status IN ('failed', 'gate_failed')) AS failed, "
        f"count(*) FILTER (epochs_run IS NULL) AS missing{numbers}\n"
        f"FROM (\n{trials(space, by, metrics, False)}\n)\nGROUP BY ALL ORDER BY ALL"
    )


def configs(trial_ids: Iterable[str], keys: Sequence[str]) -> str:
    """Every key of some trials."""
    return (
        f"SELECT trial_id, {column_list(keys)}status, versions\n"
        f"FROM all_trials WHERE {of_trials(trial_ids)} ORDER BY trial_id"
    )
