"""Pruned launches against the full grid, and against Ray Tune's ASHAScheduler over the same
programs."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.plan.plan import plan
from results import open_store
from results.ask.best import best

RIVALS = "benchmarks.launching.rivals"
SEEDS = 3


@dataclass(frozen=True)
class Case:
    """A space with a reduced budget.

    Attributes:
      sets: overrides; `seeds` gives the values of `seed` in each round.
      options: of the pruned launches, by way.
    """

    space: str
    sets: tuple[str, ...]
    seeds: int
    options: dict[str, tuple[str, ...]]
    grace: int
    factor: int
    metric: str
    tune: bool = True

    def settings(self, round_: int) -> list[str]:
        first = 1000 * round_
        return [*self.sets, f"seed=range({first}, {first + self.seeds})"]


def _ways(*shared: str) -> dict[str, tuple[str, ...]]:
    return {
        "full": (),
        "halving": ("--prune", "halving", "--over", "seed", *shared),
        "asha": ("--prune", "asha", "--over", "seed", *shared),
    }


# Grace and factor were chosen on a grid of other seeds, to train at most a third of its epochs.
CASES = {
    "zucchet2024/comparison_rnn": Case(
        "zucchet2024/comparison_rnn",
        ("epochs=50", "steps_per_epoch=20", "seq_len=60", "batch_size=16", "eval_batches=1"),
        10,
        _ways("--grace", "5", "--factor", "2"),
        5,
        2,
        "loss",
    ),
    # Six learning rates: of the three published ones a third is one, all at once.
    "herranz2023/mnist": Case(
        "herranz2023/mnist",
        ("epochs=27", "depth=10", "width=48", "task=digits", "batch_size=64", "lsc_epochs=2",
         "lsc_steps=20", "gate_radius=10", "gate_std=10", "lr=1e-2,3e-3,1e-3,3e-4,1e-4,1e-5"),
        4,
        _ways("--grace", "3", "--factor", "3"),
        3,
        3,
        "val_loss",
        tune=False,
    ),
}  # fmt: skip


def run() -> tuple[dict[str, float], dict[str, float]]:
    """Seconds of launches of the whole grid, pruned by halving and by asha, and of Ray Tune's
    ASHAScheduler with one trial of the same jitted program in each actor, which it uses again; the
    compile cache is warm. Means of three rounds, each with other seeds of all trials. The facts are
    lane-epochs in per cent of the full grid's; cells whose winner is the full grid's, in per cent;
    how much worse in the full grid these winners are than its own, median over cells; trials an
    hour that were judged or ended; and regret: how much worse the best trial that has trained to
    its end is than the full grid's best, in per cent, when as much time has passed as the halved
    launch takes."""
    seconds: dict[str, float] = {}
    facts: dict[str, float] = {}
    for name, case in CASES.items():
        found: dict[str, list[dict[str, float]]] = {}
        with tempfile.TemporaryDirectory() as folder:
            for round_ in range(-1, SEEDS):  # the first one warms the caches
                for way, measured in _round(case, round_, Path(folder)).items():
                    if round_ >= 0:
                        found.setdefault(way, []).append(measured)
        for way, rounds in found.items():
            for what in rounds[0]:
                value = statistics.fmean(one[what] for one in rounds)
                if what == "seconds":
                    seconds[f"{name}: {way}"] = value
                    spread = max(one[what] for one in rounds) - min(one[what] for one in rounds)
                    facts[f"{name}: {way}, spread of seconds"] = spread
                else:
                    facts[f"{name}: {way}, {what}"] = value
    return seconds, facts


def _round(case: Case, round_: int, folder: Path) -> dict[str, dict[str, float]]:
    settings = case.settings(max(round_, 0)) if round_ >= 0 else [*case.sets, "seed=7"]
    found, stores = {}, {}
    for way, options in case.options.items():
        stores[way] = place = folder / f"{case.space.replace('/', '-')}-{way}-{round_}"
        spent = _launch(case, settings, options, place, folder)
        found[way] = {"seconds": spent, **_compared(case, place, stores["full"], spent)}
    if case.tune:
        limit = found["halving"]["seconds"] if round_ >= 0 else None
        found["Tune's ASHA, equal time"] = _tuned(case, settings, stores["full"], folder, limit)
    print(f"  {case.space} {settings[-1]}: {json.dumps(found)}", flush=True)
    return found


def _launch(
    case: Case, settings: Sequence[str], options: Sequence[str], place: Path, folder: Path
) -> float:
    sets = [word for one in settings for word in ("--set", one)]
    words = ["launch", case.space, *sets, "--store", str(place), *options]
    return _timed([sys.executable, "-m", "orchestrator", *words], folder)


def _timed(words: Sequence[str], folder: Path) -> float:
    cache = str(folder / "cache")
    places = dict.fromkeys(("GRADSWEEP_CACHE", "JAX_COMPILATION_CACHE_DIR"), cache)
    own = {**os.environ, **places, "RAY_worker_niceness": "0"}
    begun = time.perf_counter()
    done = subprocess.run(words, env=own, capture_output=True, text=True, check=False)
    # Trials that diverge are results; a gate that some did not pass is none of a launch's faults.
    if done.returncode not in (0, 1):
        sys.exit(f"{words} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return time.perf_counter() - begun


def _compared(case: Case, place: Path, full: Path, spent: float) -> dict[str, float]:
    """What a launch took and found, against the full grid."""
    ours, whole = open_store(str(place)), open_store(str(full))
    rows = [
        one.sql("SELECT count(*) FROM all_epochs JOIN trials USING (trial_id) "
                "WHERE stage = 'train'").fetchall()[0][0]
        for one in (ours, whole)
    ]  # fmt: skip
    winners = [_winners(case, one) for one in (ours, whole)]
    equal = sum(winners[0].get(cell) == winner for cell, winner in winners[1].items())
    ended = ours.sql("SELECT count(*) FROM trials WHERE stage = 'train'").fetchall()[0][0]
    return {
        "lane-epochs, per cent": 100 * rows[0] / rows[1],
        "same winner, per cent": 100 * equal / len(winners[1]),
        "regret of winners, per cent": _regret_of_winners(winners[0], _medians(case, whole)),
        "trials an hour": 3600 * ended / spent,
        "regret, per cent": _regret(case, _best(case, ours), whole),
    }


def _winners(case: Case, store: Any) -> dict[str, Any]:
    """The chosen value of each cell."""
    frame = best(store, case.space)
    choose, cells = store.spaces()[case.space]["select"]["choose"], _cells(store, case.space)
    found = {}
    for row in frame.to_dict("records"):
        cell = json.dumps({key: row.get(key) for key in cells}, default=str)
        found[cell] = row.get(choose)
    return found


def _cells(store: Any, space: str) -> list[str]:
    """Keys whose values make the cells in which the space chooses."""
    record = store.spaces()[space]
    chosen = {record["select"]["choose"], record["select"]["over"]}
    return [key for key in record["swept"] if key not in chosen]


def _medians(case: Case, store: Any) -> dict[str, dict[Any, float]]:
    """Of each cell and value that may be chosen, the median over seeds that `best` goes by."""
    select = store.spaces()[case.space]["select"]
    keys, choose = _cells(store, case.space), select["choose"]
    value = (
        f"min({case.metric})" if select.get("at") == "best" else f"arg_max({case.metric}, epoch)"
    )
    rows = store.sql(
        f"SELECT {', '.join([*keys, choose])}, median(value) FROM trials JOIN (SELECT trial_id, "
        f"{value} AS value FROM epochs GROUP BY 1) USING (trial_id) WHERE stage = 'train' "
        "GROUP BY ALL"
    ).fetchall()
    found: dict[str, dict[Any, float]] = {}
    for *cell, chosen, median in rows:
        named = dict(zip(keys, cell, strict=True))
        found.setdefault(json.dumps(named, default=str), {})[chosen] = median
    return found


def _regret_of_winners(winners: dict[str, Any], medians: dict[str, dict[Any, float]]) -> float:
    """How much worse the chosen values are in the full grid than its best: the median over cells,
    in per cent."""
    return statistics.median(
        100 * (values[winners[cell]] / min(values.values()) - 1) for cell, values in medians.items()
    )


def _best(case: Case, store: Any) -> float:
    """The best value of the metric that a trial ended with."""
    (found,) = store.sql(
        f"SELECT min(last) FROM (SELECT arg_max(e.{case.metric}, e.epoch) AS last "
        "FROM epochs e JOIN trials t USING (trial_id) "
        "WHERE t.status IN ('done', 'stopped') AND t.stage = 'train' GROUP BY e.trial_id)"
    ).fetchall()[0]
    return float("nan") if found is None else float(found)


def _regret(case: Case, value: float, whole: Any) -> float:
    floor = _best(case, whole)
    return 100 * (value - floor) / floor


def _tuned(
    case: Case, settings: Sequence[str], full: Path, folder: Path, limit: float | None
) -> dict[str, float]:
    """Tune's ASHAScheduler over the grid's trials, stopped after `limit` seconds."""
    (one,) = plan(case.space, store=None, set=settings)
    place = folder / f"tune-{time.monotonic_ns()}"
    place.mkdir()
    options = {
        "metric": case.metric, "grace": case.grace, "factor": case.factor, "seconds": limit,
    }  # fmt: skip
    lines = [options, *(dict(trial.config) for trial in one.targets)]
    (place / "configs").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    words = [sys.executable, "-m", RIVALS, "asha", str(place / "configs"), str(place / "results")]
    spent = _timed(words, folder)
    longest = max(trial.epochs for trial in one.targets)
    lengths, finals = [], []
    for path in (place / "results").rglob("result.json"):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        lengths.append(len(rows))
        if len(rows) == longest:
            finals.append(float(rows[-1][case.metric]))
    least = min((value for value in finals if value == value), default=float("nan"))
    return {
        "seconds": spent,
        "lane-epochs, per cent": 100 * sum(lengths) / (longest * len(one.targets)),
        "trials an hour": 3600 * len(lengths) / spent,
        "regret, per cent": _regret(case, least, open_store(str(full))),
    }
