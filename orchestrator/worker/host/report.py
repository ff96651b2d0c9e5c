"""What the function of a host trainable is given: the `report` that takes its epochs in."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import numpy as np

from orchestrator.worker.host.state import StateError, from_bytes, to_bytes
from trainables.declarations.core.keys import shown
from trainables.declarations.training.base import kept_every

Message = dict[str, Any]
Talk = Callable[[Message], Mapping[str, Any]]
"""Hands one epoch over and gives the answer: {} to go on, {"stop": reason} to end."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class ReportError(ValueError):
    """A report that cannot be taken in: one sentence, raised at the line that made it."""


class TrialStopped(BaseException):  # no error: the trial has ended
    """Raised by `report` where the trial has ended, to end the function that made it."""


class Report:
    """Takes in the epochs of one trial, one call each.

        for epoch in range(report.epoch, config["epochs"]):
            ...
            report(loss=loss, val_loss=val_loss, layers={"rnn.0": norm}, state=state)

    Attributes:
      epoch: number of the coming epoch; that of the first one is 0, or where a resumed trial goes
        on.
      restored: the `state` that the trial goes on from, as it stood after epoch `epoch - 1`; None
        where it starts anew. Arrays of JAX come back as NumPy's.
      stopped: why the trial has ended; None while it runs.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        talk: Talk,
        columns: Mapping[str, tuple[str, ...]],
        epoch: int = 0,
        state: bytes = b"",
        artifact: bool = False,
    ):
        """
        Args:
          columns: of the tables `epochs` and `layers` that a report may fill, and names that are
            `taken`.
          state: of a resume point, as `state.to_bytes` gave it.
          artifact: the last weights are kept whatever `keep_weights` says.
        """
        self.epoch = epoch
        self.stopped: str | None = None
        self._config, self._talk, self._columns = dict(config), talk, columns
        self._state = state
        self._artifact = artifact
        self._layers: dict[str, tuple[str, ...]] | None = None

    @property
    def restored(self) -> Any:
        return from_bytes(self._state) if self._state else None

    def __call__(
        self,
        *,
        loss: Any = None,
        layers: Mapping[str, Any] | None = None,
        steps: Any = None,
        state: Any = None,
        weights: Any = None,
        **metrics: Any,
    ) -> None:
        """One epoch, as it has ended.

        Args:
          loss: mean training loss of the epoch. One that is not finite ends the trial as diverged.
          layers: gradient norm by layer, the layer nearest the input first, or a dict of columns of
            the table `layers` (`grad_norm`, `param_norm`, ...) and of its tensors, each again a
            norm or a dict of columns: `{"rnn.0": {"w_hh": 0.1, "w_ih": 0.2}, "readout": 0.3}`.
            What is not given of a layer, or of all, is the norm of its parts joined.
          steps: optimizer steps of the epoch; 1 where it is left out.
          state: what the trial would go on from after a fault: arrays, numbers and strings in any
            dicts, lists and tuples; bytes; or the `pathlib.Path` of a folder. The newest one is
            kept in the store every `--checkpoint-seconds`, and when a launch is stopped.
          weights: arrays by name, which `keep_weights` keeps; or a function that gives them, which
            is called when they are needed.
          metrics: any other number: a column of `epochs` by its name (`val_loss`, `accuracy`,
            `grad_norm`, ...), else a metric. None leaves one out.

        Raises:
          ReportError: one of them is not what it must be.
        """
        if self.stopped is not None:
            raise TrialStopped(self.stopped)
        numbers = {
            name: _number(name, value)
            for name, value in {"loss": loss, **metrics}.items()
            if value is not None
        }
        found_layers = None if layers is None else self._layers_of(layers)
        if found_layers:
            whole = [layer["columns"] for layer in found_layers.values()]
            numbers = _joined(whole) | numbers
        if not numbers and not found_layers:
            raise ReportError("report was given no number; give it a loss, a metric or layers")
        self._check_names(numbers)
        self._check_watched(numbers)
        known = [name for name in numbers if name in self._columns["epochs"]]
        message: Message = {
            "epochs": {name: numbers[name] for name in known},
            "metrics": {name: value for name, value in numbers.items() if name not in known},
            "steps": _steps(steps),
            "layers": found_layers,
            "state": b"" if state is None else _kept(state),
            "weights": self._weights(weights),
        }
        self.epoch += 1
        why = self._talk(message).get("stop")
        if why is not None:
            self.stopped = why
            raise TrialStopped(why)

    def save(self, *_: Any, **__: Any) -> NoReturn:
        """Refused: an epoch and the state after it are one report."""
        raise ReportError("a state belongs to an epoch; pass it as report(loss=..., state=...)")

    def _check_names(self, numbers: Mapping[str, float]) -> None:
        lowered = {column.lower(): column for column in self._columns["epochs"]}
        for name in numbers:
            if name in self._columns["epochs"]:
                continue
            if not _NAME.fullmatch(name):
                raise ReportError(
                    f"{shown(name)} is no name of a column; use letters, digits and underscores"
                )
            if name.lower() in lowered:
                raise ReportError(f"{name} is written {lowered[name.lower()]} in the store")
            if name.lower() in self._columns["taken"]:
                raise ReportError(f"{name} is filled by gradsweep; give the metric another name")

    def _check_watched(self, numbers: Mapping[str, float]) -> None:
        config, keep = self._config, str(self._config.get("keep_weights", "none"))
        watch = str(config.get("monitor") or "val_loss")
        wanted = {}
        if config.get("early_stopping") is not None:
            wanted["early_stopping"] = watch
        if keep == "best":
            wanted["keep_weights=best"] = watch
        if config.get("stop_below") is not None:
            wanted["stop_below"] = str(config.get("stop_on"))
        if config.get("diverge_above") is not None:
            wanted["diverge_above"] = "loss"
        for key, name in wanted.items():
            if name not in numbers:
                raise ReportError(
                    f"{key} watches {name}, and report was given none; pass {name}=... or leave "
                    f"{key.partition('=')[0]} out"
                )

    def _weights(self, weights: Any) -> bytes:
        keep = str(self._config.get("keep_weights", "none"))
        every = kept_every(keep)
        if not self._artifact and (keep == "none" or (every and (self.epoch + 1) % every)):
            return b""
        if callable(weights) and not isinstance(weights, Mapping):
            weights = weights()
        if not weights:
            raise ReportError(
                f"keep_weights={keep}, and report was given no weights; pass "
                "report(weights={name: array})"
            )
        if not isinstance(weights, Mapping):
            raise ReportError(f"weights must be arrays by name; got {shown(weights)}")
        return _kept({str(name): _array(name, value) for name, value in weights.items()})

    def _layers_of(self, layers: Any) -> dict[str, Any]:
        if not isinstance(layers, Mapping) or not layers:
            raise ReportError(f"layers must be norms by name of the layer; got {shown(layers)}")
        found = {str(name): self._layer(str(name), value) for name, value in layers.items()}
        named = {name: tuple(layer["tensors"]) for name, layer in found.items()}
        self._layers = self._layers or named
        for name in named.keys() ^ self._layers.keys():
            was = "lacks" if name in self._layers else "has"
            raise ReportError(
                f"epoch {self.epoch} {was} the layer {name}, unlike the first report; each must "
                "have the same layers"
            )
        for name, tensors in named.items():
            if tensors != self._layers[name]:
                raise ReportError(
                    f"epoch {self.epoch} has other tensors of the layer {name} than the first "
                    "report; each must have the same, in one order"
                )
        # In the first report's order, since layers are numbered by it.
        return {name: found[name] for name in self._layers}

    def _layer(self, name: str, given: Any) -> dict[str, Any]:
        """{"columns": of the whole layer, "tensors": {tensor: columns}}."""
        if not isinstance(given, Mapping):
            return {"columns": {"grad_norm": _norm(name, given)}, "tensors": {}}
        own = {n: _norm(f"{name}.{n}", v) for n, v in given.items() if self._is_column(n)}
        tensors = {}
        for tensor, value in given.items():
            if self._is_column(tensor):
                continue
            where = f"{name}.{tensor}"
            if not isinstance(value, Mapping):
                tensors[str(tensor)] = {"grad_norm": _norm(where, value)}
                continue
            odd = [n for n in value if not self._is_column(n)]
            if odd:
                known = ", ".join(self._columns["layers"])
                raise ReportError(f"{where} has no column {shown(odd[0])}; there are {known}")
            tensors[str(tensor)] = {n: _norm(f"{where}.{n}", v) for n, v in value.items()}
        if not own and not tensors:
            raise ReportError(f"the layer {name} has no number")
        return {"columns": _joined(list(tensors.values())) | own, "tensors": tensors}

    def _is_column(self, name: Any) -> bool:
        return name in self._columns["layers"]


def _joined(parts: list[dict[str, float]]) -> dict[str, float]:
    """The norms of several tensors, or layers, as one: those that each of them has."""
    return {
        column: float(np.sqrt(np.sum(np.square([part[column] for part in parts]))))
        for column in ("grad_norm", "param_norm", "update_norm")
        if parts and all(column in part for part in parts)
    }


def _number(name: str, value: Any) -> float:
    try:
        if isinstance(value, (str, bytes)):
            raise TypeError
        return float(value)
    except (TypeError, ValueError, RuntimeError, OverflowError):  # torch raises RuntimeError
        raise ReportError(
            f"{name} must be a number; got {shown(value)} of type {type(value).__name__}"
        ) from None


def _norm(name: str, value: Any) -> float:
    found = _number(f"layers[{name}]", value)
    if found < 0:
        raise ReportError(f"layers[{name}] is {found:g}; a norm is not negative")
    return found


def _steps(steps: Any) -> int:
    found = 1.0 if steps is None else _number("steps", steps)
    if not found >= 1 or found != int(found):
        raise ReportError(f"steps must be a whole number from 1; got {shown(steps)}")
    return int(found)


def _array(name: Any, value: Any) -> np.ndarray:
    if hasattr(value, "detach"):  # a tensor of torch that has a gradient, or lies on a device
        value = value.detach().cpu()
    found = np.asarray(value)
    if found.dtype.kind not in "biufcV":
        raise ReportError(f"weights[{name!r}] must be an array of numbers; got {shown(value)}")
    return found


def _kept(state: Any) -> bytes:
    try:
        return to_bytes(state)
    except StateError as error:
        raise ReportError(str(error)) from None
