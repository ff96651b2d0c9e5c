"""What a figure declares: which rows it reads, which keys it needs, and which it keeps apart.

A figure that takes means or medians, or draws one line through several trials, is right only where
those trials differ in nothing but the keys averaged over. So it says here what it keeps apart, and
is refused by name where trials differ in more.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from results.ask.named_queries import space_name, targets_of
from results.ask.restricted import restricted, spelled
from results.ask.trial_values import metric_sql
from results.ask.units import loss_unit
from results.errors import StoreError, nearest
from results.figures.selection import averaged_keys, joined
from results.schema import MEASURED

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from results.store.store import Store

FigureFunction = Callable[..., "go.Figure"]
"""(store, space, trial), and a keyword for each option -> figure."""
Config = Mapping[str, Any]
By = str | tuple[str, Callable[[Config], Hashable]]
"""A key; or a word, and the function of a config that gives what it means."""


def metric_of(space: Mapping[str, Any]) -> str:
    """The metric that a figure is asked to draw of a space: `space["metric"]`, else the one that
    the space's rule ranks by."""
    return str(space.get("metric") or (space.get("select") or {}).get("metric") or "val_loss")


def _nothing(key: str) -> bool:
    return False


@dataclass(frozen=True)
class FigureOption:
    """What can be asked of a figure: `plot SPACE FIGURE --name VALUE`.

    Attributes:
      name: of the function's keyword; on a command line with "-" for "_".
      kind: of its value; "ints" is one or several whole numbers, as 0 or 0,4,9.
      default: the value where nothing is asked; None where the figure chooses.
      doc: what it does.
    """

    name: str
    kind: Literal["int", "float", "ints", "str"]
    doc: str
    default: Any = None

    @property
    def spelling(self) -> str:
        return f"--{self.name.replace('_', '-')}"

    def read(self, figure: str, value: Any) -> Any:
        """A value as it is typed, or given in Python, as what the function takes.

        Raises:
          StoreError: it is none of this kind.
        """
        words = {"int": "a whole number", "float": "a number",
                 "ints": "whole numbers such as 0 or 0,4", "str": "a word"}  # fmt: skip
        try:
            if self.kind == "ints":
                parts = value.split(",") if isinstance(value, str) else value
                parts = parts if isinstance(parts, (list, tuple)) else [parts]
                return tuple(int(part) for part in parts)
            return {"int": int, "float": float, "str": str}[self.kind](value)
        except (TypeError, ValueError):
            raise StoreError(
                f"{self.spelling} of {figure} must be {words[self.kind]}; got {value!r}."
            ) from None


FROM_EPOCH = FigureOption("from_epoch", "int", "First epoch that is shown.", 0)
EPOCH = FigureOption("epoch", "int", "Epoch that is shown; the last if left out.")


@dataclass(frozen=True)
class Figure:
    """A figure function and its declaration; called as the function is.

    Attributes:
      table: the table whose rows it reads: `epochs`, `layers`, `steps` or a probe.
      parents: it reads the rows of pretrainings, where the space has any.
      metrics: metrics of `epochs`, of each of which some trial needs a value.
      chooses_metric: it draws the metric that is asked for, which `metric_of` gives.
      loss_unit: what losses must be in.
      by: what it keeps trials apart by; it needs the keys among these. None where each trial has a
        line, a point or a panel to itself, or where the figure names the trial that it shows.
      apart: further keys that are kept apart.
      regardless: keys that do not change what is drawn.
      averages: whether trials that differ only in the keys averaged over are drawn as one.
      panel: keys; with a trial named, the figure is of all trials that share its values of them.
      reads: spaces of the study, read whichever of them is named, each with its cells' keys.
      options: what can be asked of it; its function takes each as a keyword, and a space says what
        was asked, `space["options"]`.
    """

    draw: FigureFunction
    table: str = "epochs"
    parents: bool = False
    metrics: tuple[str, ...] = ()
    chooses_metric: bool = False
    loss_unit: str | None = None
    by: tuple[By, ...] | None = None
    apart: Callable[[str], bool] = _nothing
    regardless: tuple[str, ...] = ()
    averages: bool = True
    panel: tuple[str, ...] | None = None
    reads: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    options: tuple[FigureOption, ...] = ()

    @property
    def name(self) -> str:
        return self.draw.__name__

    def __call__(
        self, store: Store, space: Mapping[str, Any], trial: str | None = None
    ) -> go.Figure:
        """Draws it.

        Raises:
          StoreError: the space does not fit (`misfit`), or lacks the rows.
        """
        why = self.misfit(store, space, trial)
        if why:
            raise StoreError(why)
        return self.draw(store, space, trial, **self._chosen(space.get("options") or {}))

    def _chosen(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """The function's keywords.

        Raises:
          StoreError: it has no such option, or one is given what is none.
        """
        known = {option.name: option for option in self.options}
        for name in asked:
            if name not in known:
                spelt = [option.spelling for option in self.options]
                flag = f"--{name.replace('_', '-')}"
                there = f"has {joined(spelt)}" if spelt else "has no options"
                raise StoreError(
                    f"{self.name} has no option {flag}{nearest(flag, spelt)}; it {there}."
                )
        return {
            name: option.read(self.name, asked[name]) if name in asked else option.default
            for name, option in known.items()
        }

    def lacking(self, store: Store, space: Mapping[str, Any]) -> str | None:
        """Why there is nothing to draw yet, as a sentence; None where there is something."""
        study = space_name(space).partition("/")[0]
        names = [f"{study}/{name}" for name in self.reads]
        if names and not any(name in store.spaces() for name in names):
            return f"it is drawn from {joined(names)}, which were not launched into this store."
        if names or self._configs(store, space):
            return None
        return f"no trial of {space_name(space) or 'this space'} has rows of {self.table} yet."

    def misfit(
        self, store: Store, space: Mapping[str, Any], trial: str | None = None
    ) -> str | None:
        """Why the space is none for this figure, as a sentence; None where it is one.

        Raises:
          StoreError: the trial's prefix fits none or several.
        """
        if self.reads:
            for scan, keys in self.reads.items():
                own = store.spaces().get(f"{space_name(space).partition('/')[0]}/{scan}")
                if own is not None:
                    own = restricted(store, own, space.get("where") or {})
                    choose = (own.get("select") or {}).get("choose")
                    by = (*keys, str(choose)) if choose else keys
                    why = self._mixed(own, self._configs(store, own), by)
                    if why:
                        return why
            return None
        configs = self._configs(store, space)
        if trial is not None:
            only = store.resolve(trial)
            if self.panel is None:
                configs = {i: config for i, config in configs.items() if i == only}
            elif only in configs:
                own = [configs[only].get(key) for key in self.panel]
                configs = {
                    i: config
                    for i, config in configs.items()
                    if [config.get(key) for key in self.panel] == own
                }
        if not configs:
            return None
        name = space_name(space) or "this space"
        for key in (key for key in self.by or () if isinstance(key, str)):
            if all(config.get(key) is None for config in configs.values()):
                return f"{self.name} needs the key {key}, which no trial of {name} has."
        for metric in (*self.metrics, *([metric_of(space)] if self.chooses_metric else ())):
            (found,) = store.sql(
                f"SELECT count({metric_sql(metric)}) FROM all_epochs "
                "WHERE trial_id IN (SELECT unnest($ids))",
                {"ids": list(configs)},
            ).fetchall()[0]
            if not found:
                known = [*MEASURED, *store.metrics]
                close = "" if metric in known else nearest(metric, known)
                return f"{self.name} needs {metric}{close}, which no trial of {name} has."
        if self.loss_unit is not None:
            unit = loss_unit(store, configs, space.get("loss_unit"))
            if unit not in ("", self.loss_unit):
                return f"{self.name} needs losses in {self.loss_unit}; {name} has {unit}."
        return None if self.by is None else self._mixed(space, configs, self.by)

    def _configs(self, store: Store, space: Mapping[str, Any]) -> dict[str, Config]:
        """Configs of the trials that have the rows."""
        if not store.has(self.table):
            return {}
        ids = targets_of(space)
        if self.parents:
            ids = list(dict.fromkeys((space.get("parents") or {}).values())) or ids
        rows = store.sql(
            "SELECT t.* FROM all_trials t WHERE trial_id IN (SELECT unnest($ids)) "
            f"AND trial_id IN (SELECT trial_id FROM all_{self.table})",
            {"ids": ids},
        ).rows()
        columns = store.config_columns
        found = {r["trial_id"]: {key: r[c] for key, c in columns.items()} for r in rows}
        return {trial: found[trial] for trial in ids if trial in found}

    def _mixed(
        self, space: Mapping[str, Any], configs: Mapping[str, Config], by: Sequence[By]
    ) -> str | None:
        """The keys that tell apart what would be drawn as one."""
        swept = list(space.get("swept") or ())
        averaged = averaged_keys(space) if self.averages else []
        apart = [key for key in swept if self.apart(key) and key not in averaged]
        known = {*apart, *averaged, *self.regardless, *by}
        free = [key for key in swept if key not in known]
        groups: dict[Hashable, list[Config]] = {}
        for config in configs.values():
            told = [config.get(one) if isinstance(one, str) else one[1](config) for one in by]
            told += [config.get(key) for key in apart]
            groups.setdefault(tuple(told), []).append(config)
        mixed = [
            key
            for key in free
            if any(len({config.get(key) for config in own}) > 1 for own in groups.values())
        ]
        if not mixed:
            return None
        own = next(o for o in groups.values() if len({c.get(mixed[0]) for c in o}) > 1)
        held = [shlex.quote(f"{key}={spelled(own[0].get(key))}") for key in mixed]
        names = [one if isinstance(one, str) else one[0] for one in by]
        keeps = f" keeps trials apart by {joined(names)} only, and" if names else ""
        return (
            f"{self.name}{keeps if self.apart is _nothing else ''} would draw trials of "
            f"{space_name(space) or 'this space'} that differ in {joined(mixed)} as one; hold "
            f"{'it' if len(mixed) == 1 else 'each'} at one value: "
            f"{' '.join(f'--where {text}' for text in held)}."
        )
