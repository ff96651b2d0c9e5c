"""The judge of a launch: the rules of its spaces, with the store that holds their decisions."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Protocol

from orchestrator.pruning.asynchronous import Asynchronous
from orchestrator.pruning.decisions import (
    Decision,
    decisions_of,
    last_decided,
    publish,
    recorded_decisions,
)
from orchestrator.pruning.halving import Halving
from orchestrator.pruning.judge import Judge, Reached, Verdict
from orchestrator.pruning.judged import (
    ENDED_BADLY,
    ENDED_WELL,
    Judged,
    Known,
    known_of,
    read_values,
)
from orchestrator.pruning.rule import Rule, rungs_of
from results import Store
from trainables.declarations import Trial

_ENDS = ENDED_WELL | ENDED_BADLY | {"failed"}


class PlanLike(Protocol):
    """What is read of the plan of a space."""

    judged: Judged | None
    to_run: list[Trial]
    continued: dict[str, tuple[str, int]]


def judge_for(store: Store, plans: Iterable[PlanLike], launch_id: str) -> Judge | None:
    """The judge of a launch, or None where nothing is pruned.

    Of two spaces that share a trial the first one that runs it judges it, as its packs run it; the
    other compares its own trials with it.
    """
    rules: list[Rule] = []
    owners: dict[str, Rule | None] = {}
    for one in plans:
        own = [] if one.judged is None else rules_of(store, one.judged, one.continued)
        rules += own
        rule_of = {trial_id: rule for rule in own for trial_id in rule.judged.epochs}
        for trial in one.to_run:
            owners.setdefault(trial.id, rule_of.get(trial.id))
    return LaunchJudge(store, rules, owners, launch_id) if rules else None


def rules_of(
    store: Store, judged: Judged, continued: Mapping[str, tuple[str, int]] | None = None
) -> list[Rule]:
    """A space's rule for each of its groups, with all that a store knows, as of now.

    Args:
      continued: trials that go on from a shorter one: its id, and from which epoch on.
    """
    store.refresh()
    known, recorded = known_of(store, judged), recorded_decisions(store, judged)
    shorter = Known()
    read_values(store, judged, shorter, [one for one, _ in (continued or {}).values()])
    for trial_id, (one, first) in (continued or {}).items():
        for epochs, value in shorter.values.get(one, {}).items():
            if epochs <= first:
                known.values.setdefault(trial_id, {}).setdefault(epochs, value)
    make = Halving if judged.pruning.rule == "halving" else Asynchronous

    def read(ids: Collection[str]) -> None:
        store.refresh()
        read_values(store, judged, known, ids)

    return [make(group, known, decisions_of(recorded, group), read) for group in judged.groups()]


class LaunchJudge:
    """See `judge.Judge`."""

    def __init__(
        self,
        store: Store,
        rules: Sequence[Rule],
        owners: Mapping[str, Rule | None],
        launch_id: str,
    ):
        self._store, self._rules, self._owners = store, rules, owners
        self._launch_id = launch_id
        self._place = {trial_id: place for place, trial_id in enumerate(owners)}
        self._after = last_decided(store)
        self._waiting: dict[str, int] = {}

    def rungs(self, trial_id: str) -> list[int]:
        """Counts of done epochs after which the trial is judged, ascending; empty if it is not."""
        rule = self._owners.get(trial_id)
        return [] if rule is None else rungs_of(rule, trial_id)

    def metric(self, trial_id: str) -> str | None:
        """The column of `epochs`, or the metric, that the trial is judged by, if it is."""
        rule = self._owners.get(trial_id)
        return None if rule is None else rule.judged.pruning.metric

    def ask(self, reached: Sequence[Reached]) -> dict[str, Verdict]:
        """A verdict for each of these trials; those that come at once, in the plan's order.

        Raises:
          StoreError: the store cannot be written.
        """
        for one in sorted(reached, key=lambda r: (r.epochs, self._place.get(r.trial_id, 0))):
            self._waiting[one.trial_id] = one.epochs
            for rule in self._rules:
                if one.trial_id in rule.judged.epochs:
                    rule.hear(one)
        found: dict[str, Verdict] = dict.fromkeys((one.trial_id for one in reached), "wait")
        return found | self._ripe(found)

    def ended(self, trial_id: str, status: str) -> None:
        """The trial has ended otherwise, so that no rung waits for it."""
        if status in _ENDS:
            self._waiting.pop(trial_id, None)
            for rule in self._rules:
                if trial_id in rule.judged.epochs:
                    rule.ended(trial_id, status)

    def settled(self) -> dict[str, Verdict]:
        """Verdicts, since the last call, of trials that were told to wait.

        Raises:
          StoreError: the store cannot be written.
        """
        return self._ripe(list(self._waiting))

    def _ripe(self, ids: Iterable[str]) -> dict[str, Verdict]:
        """The verdicts there are on waiting trials, once they are in the store."""
        self._write()
        found: dict[str, Verdict] = {}
        for trial_id in ids:
            rule = self._owners.get(trial_id)
            verdict = "go" if rule is None else rule.verdict(trial_id, self._waiting[trial_id])
            if verdict is not None:
                found[trial_id] = "prune" if verdict == "prune" else "go"
                del self._waiting[trial_id]
        return found

    def _write(self) -> None:
        taken: list[tuple[Judged, Decision]] = [
            (rule.judged, one)
            for rule in self._rules
            for one in rule.taken
            if self._owners.get(one.trial_id, rule) is rule
        ]
        if taken:
            self._after = publish(self._store, taken, self._launch_id, self._after)
        for rule in self._rules:
            rule.taken.clear()
