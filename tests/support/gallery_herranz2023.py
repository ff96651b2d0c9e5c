"""Made-up trials of study herranz2023, with seeds, gaps, ties and divergence, for its figures."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from results.store.store import Store
from tests.support.made_up_rows import attempt_row, epoch_row, layer_rows, space_of, table

STARTS = {
    "LSC, ρ = 1": {"pretrain": "lsc", "init": "glorot_normal", "lsc_target": 1.0},
    "Glorot": {"pretrain": "none", "init": "glorot_normal"},
    "He": {"pretrain": "none", "init": "he_normal"},
}
TARGETS = {
    "LSC, ρ = 1": {"pretrain": "lsc", "lsc_target": 1.0},
    "LSC, ρ = ½": {"pretrain": "lsc", "lsc_target": 0.5},
    "default start": {"pretrain": "none"},
}
UNBALANCED = {
    **TARGETS,
    "LSC, ρ<sub>t</sub> = T/(L+T)": {
        "pretrain": "lsc", "lsc_target": 0.5, "lsc_balance": "unbalanced"
    },
}  # fmt: skip
SELECT = {"metric": "val_loss", "mode": "min", "at": "best", "over": "seed"}


class Made:
    """Rows of many trials, gathered and then published at once."""

    def __init__(self, seed: int):
        self.rng = np.random.default_rng(seed)
        self.rows: dict[str, list[dict[str, Any]]] = {}
        self.ids: list[str] = []
        self.configs: dict[str, dict[str, Any]] = {}
        self.parents: dict[str, str] = {}

    def _add(self, name: str, *rows: dict[str, Any]) -> None:
        self.rows.setdefault(name, []).extend(rows)

    def trial(
        self,
        config: Mapping[str, Any],
        values: list[dict[str, Any]],
        layers: list[list[float]] | None = None,
        parent: str | None = None,
        **columns: Any,
    ) -> str:
        """A trial whose epochs have these columns; returns its id."""
        trial = f"{len(self.ids):06x}".ljust(16, "f")
        self.ids.append(trial)
        self.configs[trial] = {"stage": "train", **config}
        for epoch, own in enumerate(values):
            self._add("epochs", epoch_row(trial, epoch, **{"loss": 1.0, **own}))
            if layers:
                self._add("layers", *layer_rows(trial, epoch, layers[epoch], tensors=("w", "b")))
        self._add(
            "trials",
            attempt_row(
                trial, config=self.configs[trial], epochs_done=len(values), rows={},
                parent_id=parent, **columns,
            ),
        )  # fmt: skip
        if parent:
            self.parents[trial] = parent
        return trial

    def pretraining(self, config: Mapping[str, Any], kinds: list[str], layers: int) -> str:
        """A pretraining whose radii approach their target; some iterations not finite."""
        target, steps = float(config.get("lsc_target", 1.0)), 200
        trial = self.trial(
            {**config, "stage": "lsc"},
            [{"loss": 0.1, "metrics": [("radius", target + 0.01), ("radius_std", 0.04)]}],
            stage="lsc",
        )
        for step, kind, layer in itertools.product(range(steps), kinds, range(layers)):
            if kind == "block" and layer != step % layers:
                continue
            wide = self.rng.normal(0, 0.05)
            radius = target + (0.4 - 0.1 * kinds.index(kind)) * math.exp(-step / 50) + wide
            self._add(
                "probes/lsc",
                {"trial_id": trial, "attempt": 0, "epoch": 0, "iteration": step, "kind": kind,
                 "layer": layer, "radius": math.nan if step == 7 else radius, "target": target},
            )  # fmt: skip
        return trial

    def publish(self, store: Store, name: str, **changes: Any) -> dict[str, Any]:
        for part, rows in self.rows.items():
            store.publish(part, table(rows))
        targets = [t for t in self.ids if t not in set(self.parents.values())]
        swept = sorted(
            key
            for key in {k for c in self.configs.values() for k in c}
            if len({repr(c.get(key)) for c in self.configs.values()}) > 1
        )
        space = space_of(
            [*self.ids, *changes.pop("more", [])], targets=[*targets, *changes.pop("gone", [])],
            space=name, study="herranz2023", parents=self.parents, swept=swept,
            **{"select": SELECT, **changes},
        )  # fmt: skip
        store.write_space(f"herranz2023/{name}", space)
        return space


def figure2(store: Store, seed: int, tasks: tuple[str, ...] = ("mnist", "cifar10", "cifar100"),
            activations: tuple[str, ...] = ("sin", "relu", "cos"), epochs: int = 4,
            depth: int = 6) -> Made:  # fmt: skip
    """A small figure 2: one corner never run, one trial diverged at once, one asked for and absent.

    Accuracy at the last epoch is wrong on purpose; the best validation loss is one epoch earlier.
    """
    made = Made(seed)
    for task, activation, own in itertools.product(tasks, activations, range(3)):
        base = {"model": "ffn", "task": task, "activation": activation, "depth": depth,
                "width": 16, "seed": own}  # fmt: skip
        parent = made.pretraining({**base, "lsc_target": 1.0}, ["block"], depth)
        for lr, (start, keys) in itertools.product((1e-5, 1e-4, 1e-3, 1e-2), STARTS.items()):
            if (activation, lr, start) == ("cos", 1e-2, "Glorot"):
                continue
            top = {"mnist": 0.95, "cifar10": 0.5}.get(task, 0.2)
            good = {"LSC, ρ = 1": 1.0, "He": 0.9}.get(start, 0.2 if activation == "cos" else 0.8)
            accuracy = top * good * (1 - abs(math.log10(lr) + 3.5) / 6)
            values = []
            slope = {"LSC, ρ = 1": 0.0, "He": -0.1}.get(start, 0.15)
            for epoch in range(epochs):
                gain = min(epoch + 1, epochs - 1) / (epochs - 1)
                wrong = epoch == epochs - 1
                values.append(
                    {"loss": 2.3 - gain, "val_loss": 2.3 - gain + (0.5 if wrong else 0.0),
                     "val_accuracy": accuracy * gain,
                     "test_accuracy": 0.0 if wrong else
                     float(np.clip(accuracy * gain + made.rng.normal(0, 0.01), 0, 1))}
                )  # fmt: skip
            layers = [
                list(10 ** (slope * (np.arange(depth) - depth) + made.rng.normal(0, 0.03, depth)))
                for _ in range(epochs)
            ]
            bad = (activation, lr, start, own) == ("sin", 1e-2, "He", 0)
            if bad:
                values = [{"loss": math.nan, "val_loss": math.nan, "test_accuracy": 0.1}]
                layers = [[0.0, math.nan, *layers[0][2:]]]
            made.trial(
                {**base, "lr": lr, **keys}, values, layers,
                parent if keys["pretrain"] == "lsc" else None,
                status="diverged" if bad else "done", bad_epoch=0 if bad else None,
            )  # fmt: skip
    made.publish(
        store, "figure2", gone=["abcd000000000000"], more=["abcd000000000000"],
        select={**SELECT, "choose": "lr"},
    )  # fmt: skip
    return made


def figure3(store: Store, seed: int) -> Made:
    """Recurrent nets at random, with ties, a missing trial and one that never was finite."""
    made = Made(seed)
    nets = ("lstm", "gru", "rsimplernn", "malsnn")
    for task, model, depth, own in itertools.product(
        ("wordptb", "heidelberg"), nets, (2, 5), range(4)
    ):
        for start, keys in TARGETS.items():
            if (task, model, depth, own, start) == ("wordptb", "gru", 2, 0, "default start"):
                continue
            config = {"model": model, "task": task, "depth": depth, "seed": own, **keys}
            if keys["pretrain"] == "lsc" and own == 0 and task == "heidelberg" and depth == 2:
                parent = made.pretraining(config, ["rec", "enc", "depth", "dec"], 2)
            else:
                parent = None
            best = float(made.rng.uniform(0.6, 0.9))
            if own == 3:
                best = 0.75  # ties
            name = "batch_perplexity" if task == "wordptb" else "mode_accuracy"
            value = 100 * (1 - best) + 60 if task == "wordptb" else best
            dead = (task, model, depth, own, start) == ("heidelberg", "malsnn", 5, 1, "LSC, ρ = ½")
            values = [
                {"loss": math.nan if dead else 3.0 - epoch, "val_loss": 3.0 - epoch,
                 "val_accuracy": 0.1, "test_accuracy": 0.1,
                 "metrics": [(f"val_{name}", math.nan if dead else value + step),
                             (f"test_{name}", value + step)]}
                for epoch, step in enumerate((0.05 if task == "wordptb" else -0.05, 0.0))
            ]  # fmt: skip
            made.trial(config, values, parent=parent, status="diverged" if dead else "done",
                       bad_epoch=0 if dead else None)  # fmt: skip
    made.publish(store, "figure3")
    return made


def figure4(store: Store, seed: int, epochs: int = 12) -> Made:
    """Perplexity curves of two depths, clipped or not, each seed stopping when it likes."""
    made = Made(seed)
    for depth, clip, own in itertools.product((3, 6), (None, 1.0), range(4)):
        for start, keys in UNBALANCED.items():
            if (depth, clip, start, own) == (6, 1.0, "LSC, ρ = 1", 2):
                continue
            end = epochs - int(made.rng.integers(0, 5))
            level = 90 + 12 * list(UNBALANCED).index(start) + 10 * (depth == 6) - 3 * (clip or 0)
            values = []
            for epoch in range(end):
                value = level + 700 * math.exp(-epoch / 2) + 4 * abs(epoch - end + 3)
                value += float(made.rng.normal(0, 1))
                values.append(
                    {"loss": math.log(value), "val_loss": math.log(value) - 0.01,
                     "metrics": [("val_batch_perplexity", value),
                                 ("test_batch_perplexity", 0.95 * value)]}
                )  # fmt: skip
            made.trial(
                {"model": "lru_stack", "task": "wordptb", "depth": depth, "seed": own, "lr": 0.01,
                 "clip_norm": clip, **keys},
                values,
            )  # fmt: skip
    made.publish(store, "figure4")
    return made
