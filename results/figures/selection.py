"""Which trials a figure shows, how it calls them, and what it must say is missing."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from results.ask.named_queries import nothing_yet, space_name, targets_of
from results.ask.units import one_unit, with_unit
from results.config_values import value_texts
from results.errors import StoreError
from results.schema import CENSORED, FINISHED

if TYPE_CHECKING:
    from results.store.store import Store


@dataclass(frozen=True)
class Shown:
    """One trial of a figure. `cell` is its name without the keys averaged over."""

    id: str
    cell: str
    seed: str
    status: str
    verdict: str
    bad_epoch: int | None
    config: dict[str, Any] = field(default_factory=dict, compare=False)
    loss_unit: str | None = None
    epochs: tuple[int | None, int | None] = (None, None)
    """Done, and planned."""

    @property
    def censored(self) -> bool:
        """It is known up to its last epoch only: what it would have come to is not."""
        return self.status in CENSORED

    @property
    def state(self) -> str:
        """Its status in words, and how far a censored one came."""
        done, planned = self.epochs
        of = f" after {done} of {planned} epochs" if self.censored and planned else ""
        return self.status.replace("_", " ") + of

    @property
    def name(self) -> str:
        return ", ".join(part for part in (self.cell, self.seed) if part) or self.id[:8]


@dataclass(frozen=True)
class Selection:
    """The trials of a figure that have rows, in the space's order, and those that have none."""

    title: str
    trials: list[Shown]
    missing: list[str]
    unfinished: int
    asked: int
    left_out: Sequence[Shown] = ()

    def ended(self) -> Selection:
        """Without the trials that were pruned or are paused, for a figure that compares what trials
        came to; all where there are no others."""
        kept = [trial for trial in self.trials if not trial.censored]
        if not kept or len(kept) == len(self.trials):
            return self
        early = [trial for trial in self.trials if trial.censored]
        return replace(self, trials=kept, left_out=early)

    @property
    def ids(self) -> list[str]:
        return [trial.id for trial in self.trials]

    def loss(self, words: str) -> str:
        """A title of losses, with their unit where it is known."""
        return with_unit(words, one_unit(trial.loss_unit for trial in self.trials))

    @property
    def cells(self) -> dict[str, list[Shown]]:
        """Trials by cell, in order of first appearance."""
        found: dict[str, list[Shown]] = {}
        for trial in self.trials:
            found.setdefault(trial.cell, []).append(trial)
        return found

    def notes(self) -> list[str]:
        """What is shown and what is not, as sentences."""
        if self.asked == 1 and len(self.trials) == 1:
            only = self.trials[0]
            notes = [f"Trial {only.id} ({only.name}), {only.state}, verdict {only.verdict}."]
        else:
            notes = [f"{len(self.trials)} of {self.asked} trials."]
        if self.missing:
            some = ", ".join(trial[:8] for trial in self.missing[:6])
            more = f" and {len(self.missing) - 6} more" if len(self.missing) > 6 else ""
            notes.append(f"Missing, without a row: {some}{more}.")
        if self.unfinished:
            notes.append(f"{self.unfinished} not finished.")
        if self.left_out:
            notes.append(f"{_early(self.left_out)}: known up to an epoch only, left out.")
        early = [trial for trial in self.trials if trial.censored]
        if early and self.asked > 1:
            notes.append(f"{_early(early)}.")
        bad = [trial for trial in self.trials if trial.bad_epoch is not None]
        if bad and self.asked > 1:
            notes.append(f"{len(bad)} became non-finite.")
        return [" ".join(notes)]


def select_trials(
    store: Store, space: Mapping[str, Any], trial: str | None, table: str = "epochs"
) -> Selection:
    """The trials a figure of this space shows: those with a row in `table`.

    Args:
      trial: unique prefix of one trial's id; None for all trials that are not only parents.
      table: `epochs`, or the probe an analysis fills.

    Raises:
      StoreError: the prefix fits none or several; nothing has a row yet.
    """
    name = space_name(space)
    asked = targets_of(space) if trial is None else [_one(store, space, trial)]
    if not store.has(table):
        raise StoreError(nothing_yet(store, name, asked, f"rows of {table}"))
    rows = store.sql(
        "SELECT t.*, d.verdict AS _verdict "
        "FROM all_trials t LEFT JOIN diagnosis d USING (trial_id) "
        "WHERE trial_id IN (SELECT unnest($ids)) "
        f"AND trial_id IN (SELECT trial_id FROM all_{table})",
        {"ids": asked},
    ).rows()
    found = {row["trial_id"]: row for row in rows}
    if table != "epochs":  # of several analyses in one space each fills tables of its own
        absent = [trial_id for trial_id in asked if trial_id not in found]
        others = store.sql(
            "SELECT trial_id FROM all_trials WHERE trial_id IN (SELECT unnest($ids)) "
            "AND status IN (SELECT unnest($finished))",
            {"ids": absent, "finished": list(FINISHED)},
        ).rows()
        elsewhere = {row["trial_id"] for row in others}
        asked = [trial_id for trial_id in asked if trial_id not in elsewhere]
    if not found:
        kind = "a row" if table == "epochs" else f"rows of {table}"
        raise StoreError(nothing_yet(store, name, asked, kind))
    columns = store.config_columns
    averaged = averaged_keys(space, default=())
    swept = [key for key in space.get("swept") or () if key in columns]
    rows = [found[trial_id] for trial_id in asked if trial_id in found]
    configs = [{key: row[column] for key, column in columns.items()} for row in rows]
    cells = labels(configs, [key for key in swept if key not in averaged])
    own_unit = {trial_id: space.get("loss_unit") for trial_id in targets_of(space)}
    seeds = labels(configs, [key for key in averaged if key in columns])
    shown = [
        Shown(
            row["trial_id"],
            cell,
            seed,
            row["status"],
            row["_verdict"] or "undetermined",
            row["bad_epoch"],
            config,
            row["loss_unit"] or own_unit.get(row["trial_id"]),
            (row["epochs_done"], row["epochs_planned"]),
        )
        for row, config, cell, seed in zip(rows, configs, cells, seeds, strict=True)
    ]
    missing = [trial_id for trial_id in asked if trial_id not in found]
    unfinished = sum(t.status not in (*FINISHED, *CENSORED) for t in shown)
    return Selection(name, shown, missing, unfinished, len(asked))


def _early(trials: Sequence[Shown]) -> str:
    """How many were pruned, and how many are paused."""
    counts = [(s, sum(trial.status == s for trial in trials)) for s in CENSORED]
    return joined([f"{count} {status}" for status, count in counts if count])


def _one(store: Store, space: Mapping[str, Any], prefix: str) -> str:
    own = [trial for trial in space.get("trials") or () if trial.startswith(prefix)]
    return own[0] if len(own) == 1 else store.resolve(prefix)


def averaged_keys(space: Mapping[str, Any], default: Sequence[str] = ("seed",)) -> list[str]:
    """The keys that the space averages over; `default` where it names none."""
    over = (space.get("select") or {}).get("over") or default
    return [over] if isinstance(over, str) else list(over)


def joined(words: Sequence[str], last: str = "and") -> str:
    """`a, b and c`."""
    return f" {last} ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def labels(configs: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> list[str]:
    """The values of `keys` in words, of each config: a name by itself, others with their key in
    front. Two configs are labelled alike only where they have the same values."""
    words: list[list[str]] = [[] for _ in configs]
    for key in keys:
        values = [config.get(key) for config in configs]
        for own, config, value, text in zip(
            words, configs, values, value_texts(values), strict=True
        ):
            if value is None or value == "":
                continue
            if isinstance(value, str):
                speaks = value[0].isalpha() and value != "none"
                own.append(value if speaks else f"{key} {value}")
            elif isinstance(value, bool):
                own.append(key if value else f"no {key}")
            else:
                own.append(f"{key} {'1/√depth' if _is_tied(value, config) else text}")
    return [", ".join(own) for own in words]


def _is_tied(value: float, config: Mapping[str, Any]) -> bool:
    """Whether a scale is tied to depth: one setting, whatever number it comes to at each depth."""
    depth = config.get("depth") or 1
    tied = isinstance(value, float) and depth > 1
    return tied and math.isclose(value, 1 / math.sqrt(depth), rel_tol=1e-9)


def series(
    store: Store, table: str, columns: str, ids: Sequence[str], where: str = "true", order: str = ""
) -> dict[str, list[dict[str, Any]]]:
    """Rows of a view by trial: `columns` of `all_<table>`, filtered and ordered."""
    rows = store.sql(
        f"SELECT trial_id, {columns} FROM all_{table} "
        f"WHERE trial_id IN (SELECT unnest($ids)) AND {where} "
        f"ORDER BY trial_id{', ' + order if order else ''}",
        {"ids": list(ids)},
    ).rows()
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["trial_id"], []).append(row)
    return found


def known(value: Any) -> bool:
    """Whether a cell is a finite number."""
    return value is not None and math.isfinite(value)


def medians(rows: Sequence[Mapping[str, Any]], x: str, y: str) -> tuple[list[float], list[float]]:
    """Medians, over seeds, of a column at each value of another, where it is a number."""
    values: dict[float, list[float]] = {}
    for row in rows:
        if row[y] is not None and row[y] == row[y]:
            values.setdefault(row[x], []).append(row[y])
    return sorted(values), [statistics.median(values[key]) for key in sorted(values)]


Row = dict[str, Any]


def rows_of(store: Store, chosen: Selection, probe: str) -> list[Row]:
    """All rows of a probe, with each trial's config."""
    found = series(store, probe, "* EXCLUDE (trial_id)", chosen.ids)
    configs = {shown.id: shown.config for shown in chosen.trials}
    return [{**configs[i], **row} for i, rows in found.items() for row in rows]
