"""A host trainable's trial in the place of a pack: its reports as the results of epochs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from orchestrator.plan.packs import HOST
from orchestrator.worker.host.process import HostProcess, Returned
from orchestrator.worker.host.report import Message
from orchestrator.worker.host.state import from_bytes
from orchestrator.worker.stop_rules import non_finite
from results.ask.explanation import RUNS
from results.schema import EPOCHS, KEYS, LAYERS
from trainables.core.layout import LayerRow
from trainables.declarations import Trial
from trainables.declarations.training.length_readers import declared_readers
from trainables.packs.pack import EpochResult

_OURS = {
    "trial_id", "attempt", "launch_id", "epoch", "steps", "bad_step", "seconds", "metrics",
    "layer", "layer_name", "tensor", "tensor_index", "frozen",
}  # fmt: skip
COLUMNS = {
    table: tuple(column.name for column in columns if column.name not in _OURS)
    for table, columns in (("epochs", EPOCHS), ("layers", LAYERS))
} | {"taken": tuple({column.name.lower() for column in (*KEYS, *EPOCHS, *RUNS)})}
"""What a report may fill, by table; and the names that no metric may have."""
_COUNTS = {c.name for c in (*EPOCHS, *LAYERS) if c.type.startswith("int")}


class HostPack:
    """What `PackRun` asks of a pack, answered by the reports of one function.

    Attributes:
      state: the newest state reported, as bytes; empty where there is none.
      fresh: whether it came with the last epoch.
    """

    width, lanes = 1, HOST
    parameter_count: int | None = None
    position = 0

    def __init__(self, trial: Trial, process: HostProcess | None):
        self.trials = (trial,)
        self.process = process
        self.active = np.array([True])
        self.layer_rows: tuple[LayerRow, ...] = ()
        self.steps = 1
        self.state = b""
        self.fresh = False
        self.reported = False
        self.returned = False
        self._given: Message | None = None
        self._unanswered = False
        self._weights = b""

    def length_readers(self, lane: int) -> list[str]:
        """As of `Pack`: the function, which is given the trial's length."""
        return declared_readers(self.trials[lane])

    def put(self, message: Message) -> None:
        """The report of a function that runs in this process."""
        self._given = message

    def advance(self, epochs: np.ndarray) -> EpochResult:
        """The next report as it came. After the last one of a trial whose length is known, the
        function may do what it does at its end.

        Raises:
          Returned: the function has returned. HostError: it raised, or its process ended.
        """
        (epoch,) = epochs.tolist()
        result = self._result(self._next(epoch))
        if self._is_last(epoch) and non_finite(0, result) is None:
            self._wait_for_return(epoch)
        return result

    def _next(self, epoch: int) -> Message:
        if self.process is None:
            assert self._given is not None
            message, self._given = self._given, None
            return message
        if self._unanswered:
            self.process.answer({})
        self._unanswered = False
        message = self.process.message(epoch)
        self._unanswered = True
        return message

    def _is_last(self, epoch: int) -> bool:
        (trial,) = self.trials
        key = trial.stage.epochs_key
        return bool(key) and trial.config[key] is not None and epoch + 1 >= trial.epochs

    def _wait_for_return(self, epoch: int) -> None:
        if self.process is None:
            return
        try:
            self.process.answer({})
            self.process.message(epoch)
        except Returned:
            self.returned = True

    def _result(self, message: Message) -> EpochResult:
        self.reported, self.fresh = True, bool(message["state"])
        self.steps = message["steps"]
        if message["state"]:
            self.state = message["state"]
        if message["weights"]:
            self._weights = message["weights"]
        epochs = {"steps": self.steps, **message["epochs"]}
        if self.steps == 1 and "loss" in epochs:  # the only step is the first and the last
            epochs = {"loss_first": epochs["loss"], "loss_last": epochs["loss"], **epochs}
        return EpochResult(
            epochs={n: np.array([v], _type(n)) for n, v in epochs.items()},
            layers=self._layers(message["layers"]),
            steps={},
            step_index=np.zeros(0, int),
            first_step=np.zeros(1, int),
            bad_step=np.array([-1]),
            finished=np.array([False]),
            metrics={name: np.array([value]) for name, value in message["metrics"].items()},
            probes={},
        )

    def _layers(self, layers: dict[str, Any] | None) -> dict[str, np.ndarray]:
        """Columns (1, rows) of `layers`: a row for each tensor, then one for each layer."""
        if not layers:
            return {}
        tensors = [
            (number, name, tensor, columns)
            for number, (name, layer) in enumerate(layers.items())
            for tensor, columns in layer["tensors"].items()
        ]
        whole = [(i, name, "*", layer["columns"]) for i, (name, layer) in enumerate(layers.items())]
        self.layer_rows = tuple(
            LayerRow(number, name, tensor, -1 if tensor == "*" else index)
            for index, (number, name, tensor, _) in enumerate((*tensors, *whole))
        )
        rows = [columns for *_, columns in (*tensors, *whole)]
        names = [name for name in COLUMNS["layers"] if any(name in columns for columns in rows)]
        return {name: _column(name, [columns.get(name) for columns in rows]) for name in names}

    def freeze(self, lane: int) -> None:
        self.active = np.array([False])

    def weights(self, lane: int) -> dict[str, np.ndarray]:
        """The newest arrays reported, by name."""
        found = from_bytes(self._weights) if self._weights else {}
        return {name: np.asarray(value) for name, value in found.items()}

    def end(self, why: str | None = None) -> None:
        """Ends the function's process; with a reason it may clean up first."""
        if self.process is not None:
            self.process.end(why)


def _type(name: str) -> Any:
    return np.int32 if name in _COUNTS else np.float64


def _column(name: str, values: Sequence[float | None]) -> np.ndarray:
    """A column (1, rows), masked where a row has no value."""
    missing = [[value is None for value in values]]
    numbers = np.array([[0 if value is None else value for value in values]], _type(name))
    return np.ma.MaskedArray(numbers, missing) if any(*missing) else numbers
