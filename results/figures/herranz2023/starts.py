"""Trials by what they started from: a default start, or weights pretrained to a target radius.

Values are those of the epoch that is best on validation; the test set never chooses.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from results.config_values import value_text
from results.errors import StoreError
from results.figures.selection import Selection, Shown, select_trials

if TYPE_CHECKING:
    from results.store.store import Store

DEFAULT = "default start"
_INITS = {"glorot_normal": "Glorot", "he_normal": "He"}
_ORDER = ("LSC, ρ = 1", "LSC, ρ = ½", "LSC, ρ<sub>t</sub> = T/(L+T)", "Glorot", "He", DEFAULT)

TOLD_BY_START = ("pretrain", "init", "stage")
"""Keys, beside those of the pretraining, that the name of a start stands for."""


def start_of(config: Mapping[str, Any]) -> str:
    """What a trial started from, in words."""
    if config.get("pretrain") != "lsc" and config.get("stage") != "lsc":
        return _INITS.get(str(config.get("init")), DEFAULT)
    if config.get("lsc_balance") == "unbalanced":
        return _ORDER[2]
    target = config.get("lsc_target")
    return (
        f"LSC, ρ = {'½' if target == 0.5 else f'{value_text(1.0 if target is None else target)}'}"
    )


BY_START = ("start", start_of)
BY_CLIPPING = ("clipping", lambda config: config.get("clip_norm") is not None)
"""What figures keep trials apart by (`results.figures.declaration`)."""


def in_order(starts: Sequence[str]) -> list[str]:
    """Names of starts, pretrained ones first, each once."""
    known = [name for name in _ORDER if name in starts]
    others = sorted(set(starts) - set(known))
    pretrained = [name for name in others if name.startswith("LSC")]
    return [*pretrained, *known, *(name for name in others if name not in pretrained)]


def told_by_start(key: str) -> bool:
    """Whether a key is part of what `start_of` says."""
    return key in TOLD_BY_START or key.startswith(("lsc_", "gate_"))


@dataclass(frozen=True)
class Outcome:
    """A trial and its value at the epoch best on validation.

    Attributes:
      value: the test metric; None without a finite epoch.
      validation: the same metric on validation.
      metric: its name without `test_`.
      epoch: the epoch, 0 first.
    """

    shown: Shown
    start: str
    metric: str
    value: float | None
    validation: float | None
    epoch: int | None

    @property
    def clipped(self) -> bool:
        return self.shown.config.get("clip_norm") is not None

    def key(self, name: str) -> Any:
        return self.shown.config.get(name)

    @property
    def lower_is_better(self) -> bool:
        return self.metric in LOWER_IS_BETTER


LOWER_IS_BETTER = ("batch_perplexity", "loss")

# What a task is judged by: the first of these that its trials have.
_JUDGED = ("batch_perplexity", "mode_accuracy")


def outcomes(
    store: Store,
    space: Mapping[str, Any],
    trial: str | None = None,
    metric: str | None = None,
    by: str | None = None,
    early: bool = False,
) -> tuple[Selection, list[Outcome]]:
    """Every trial of a space (or one) with its value at its best epoch.

    Args:
      early: with those that were pruned, which might have had a better one.
      metric: a column of `epochs` without its `val_` and `test_`, the same for all trials; else
        what each trial's task is judged by: perplexity, accuracy of the mean output, or accuracy.
      by: what ranks the epochs, likewise; `metric` if None. Always that of the validation set.

    Raises:
      StoreError: nothing has a row yet, or `trial` fits none or several.
    """
    chosen = select_trials(store, space, trial)
    chosen = chosen if early else chosen.ended()
    if metric is None:
        maps = " ".join(f"WHEN metrics['val_{n}'] IS NOT NULL THEN '{n}'" for n in _JUDGED)
        name = f"CASE {maps} ELSE 'accuracy' END"
        plain = ("metrics['val_' || metric]", "metrics['test_' || metric]")
        columns = [
            f"CASE WHEN metric = 'accuracy' THEN {split}_accuracy ELSE {value} END AS {split}"
            for split, value in zip(("val", "test"), plain, strict=True)
        ]
    else:
        name = f"'{metric}'"
        columns = [f"{split}_{metric} AS {split}" for split in ("val", "test")]
    lower = ", ".join(f"'{n}'" for n in LOWER_IS_BETTER)
    rank = f"CASE WHEN metric IN ({lower}) THEN val ELSE -val END"
    if by is not None:
        rank = f"val_{by}" if by in LOWER_IS_BETTER else f"-val_{by}"
    rows = store.sql(
        f"""
        WITH named AS (
            SELECT *, {name} AS metric FROM all_epochs
            WHERE trial_id IN (SELECT unnest($ids))
        ),
        judged AS (SELECT *, {", ".join(columns)} FROM named)
        SELECT trial_id, epoch, metric, val, test FROM judged
        WHERE isfinite({rank})
        QUALIFY row_number() OVER (PARTITION BY trial_id ORDER BY {rank}, epoch) = 1
        """,
        {"ids": chosen.ids},
    ).rows()
    found = {row["trial_id"]: row for row in rows}
    return chosen, [_outcome(shown, found.get(shown.id)) for shown in chosen.trials]


def _outcome(shown: Shown, row: Mapping[str, Any] | None) -> Outcome:
    start = start_of(shown.config)
    if row is None:
        return Outcome(shown, start, "", None, None, None)
    values = [
        float(row[split]) if row[split] is not None and math.isfinite(row[split]) else None
        for split in ("test", "val")
    ]
    return Outcome(shown, start, str(row["metric"]), values[0], values[1], int(row["epoch"]))


def mean_and_spread(values: Sequence[float]) -> tuple[float, float]:
    """Mean and standard deviation (of the sample; 0 for a single value)."""
    mean = math.fsum(values) / len(values)
    if len(values) == 1:
        return mean, 0.0
    return mean, math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1))


def of_trial(
    store: Store, found: Sequence[Outcome], trial: str | None, keys: Sequence[str]
) -> Callable[[Outcome], bool] | None:
    """Whether an outcome belongs to the panel of one trial; None where none is named."""
    if trial is None:
        return None
    trial_id = store.resolve(trial)
    own = next((one for one in found if one.shown.id == trial_id), None)
    if own is None:
        raise StoreError(f"trial {trial_id} is not one of this figure's.")
    return lambda one: all(one.key(key) == own.key(key) for key in keys)


def values_of(found: Sequence[Outcome], key: str, first: Sequence[Any] = ()) -> list[Any]:
    """Values of a key among the trials, those of `first` in its order, then the others."""
    seen = {one.key(key) for one in found}
    return [v for v in first if v in seen] + sorted(seen - set(first), key=lambda v: (str(v), v))
