"""Compiled programs, kept for the life of the process.

A worker that is handed pack after pack of one program traces and compiles it once; learning rates
and all other traced values are arguments.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from trainables.core.engine import Engine, OnHost, SharedColumns
from trainables.core.hparams import init_constants, lane_values, optimizer_of
from trainables.core.lanes import Strategy, over_lanes
from trainables.core.stepwise import stepwise
from trainables.declarations import Probe, Trial
from trainables.declarations.core.parts import loaded
from trainables.packs.probe_columns import require_columns, require_equal_rows
from trainables.tasks.base import abstract, make_data, make_task
from trainables.training.measured import measured

EPOCH_NAME = "pack_epoch"
"""What JAX calls the compiled epoch, in profiles and in `jax.monitoring`."""
_KEPT = 16
_CODE = (
    "build", "cell", "frozen", "runtime", "schedule", "init", "step", "evaluate", "restart",
    "measure", "loss", "metrics", "augment", "stream", "stream_steps",
)  # fmt: skip
"""Fields of declarations that are functions or name some."""
_known: OrderedDict[Any, Programs] = OrderedDict()


@dataclass
class Programs:
    """The functions of a pack, each compiled on first use for one width, strategy and device.

    Attributes:
      shapes: one lane's state, abstract.
      streamed: those of data that stream (`chunk_programs.ChunkPrograms`), once there are such.
    """

    engine: Engine
    shapes: Any
    width: int
    lanes: Strategy
    device: Any
    streamed: Any = None
    _epoch: Any = None
    _found: Any = None
    _inits: dict[str, Callable[..., Any]] = field(default_factory=dict)
    _probes: dict[Any, tuple[SharedColumns, Callable[..., Any]] | None] = field(
        default_factory=dict
    )

    def init(self, trial: Trial) -> Callable[..., Any]:
        """Function of one lane's values that gives its first state."""
        scheme = repr(sorted(init_constants(trial).items()))
        if scheme not in self._inits:
            self._inits[scheme] = jax.jit(lambda values: self.engine.init(trial, values))
        return self._inits[scheme]

    def epoch(self, values: Any, data: Any) -> Any:
        """The compiled epoch: (state, values, epochs, data) -> (state, result), state donated;
        `epochs` (width,) says which one each lane trains."""
        if self._epoch is None:

            def run(state: Any, values: Any, epochs: jax.Array, data: Any) -> Any:
                def one(state: Any, own: Any) -> Any:
                    values, epoch = own
                    return self.engine.epoch(state, values, epoch, data)

                return over_lanes(one, state, (values, epochs), state["alive"], self.lanes)

            if stepwise():
                self._epoch = run
                return run
            run.__name__ = EPOCH_NAME
            jitted = jax.jit(run, donate_argnums=0)
            epochs = self.abstract((self.width,), jnp.int32)
            lowered = jitted.lower(self.abstract_state(), values, epochs, data)
            self._found = lowered.out_info[1]
            self._epoch = lowered.compile()
        return self._epoch

    def recorded(self, values: Any, data: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Names of the columns of `epochs`, and of the metrics, that the compiled epoch gives."""
        self.epoch(values, data)
        return recorded_in(self._found)

    def abstract(self, shape: tuple[int, ...], dtype: Any) -> jax.ShapeDtypeStruct:
        """An array on the device, abstract."""
        on_device = jax.sharding.SingleDeviceSharding(self.device)
        return jax.ShapeDtypeStruct(shape, dtype, sharding=on_device)

    def abstract_state(self) -> Any:
        """All lanes' state, abstract."""
        return jax.tree.map(lambda s: self.abstract((self.width, *s.shape), s.dtype), self.shapes)

    def probe(
        self, name: str, trial: Trial, values: Any, data: Any
    ) -> tuple[SharedColumns, Callable[..., Any]] | None:
        """Shared columns of a probe, and the compiled (state, values, real, data) -> columns
        (width, rows); `real` (width,) is False for lanes to leave out. None where the model has no
        such probe."""
        # Recording keys may say what is measured, and are no part of the hash of a program.
        key = name, tuple(sorted(trial.recordings().items()))
        if key not in self._probes:
            probe = trial.probes.get(name)
            found = built_probe(probe, self.engine, trial) if probe else None
            if probe is None or found is None:
                self._probes[key] = None
            else:
                shared, measure = found
                run = self._over_lanes(probe, shared, measure, values, data)
                self._probes[key] = shared, run
        return self._probes[key]

    def _over_lanes(
        self, probe: Probe, shared: SharedColumns, measure: Any, values: Any, data: Any
    ) -> Callable[..., Any]:
        if isinstance(measure, OnHost):
            return partial(_on_host, probe, shared, measure)

        def run(state: Any, values: Any, real: jax.Array, data: Any) -> Any:
            def one(_: Any, lane: Any) -> Any:
                return (), measure(*lane, data)

            return over_lanes(one, (), (state, values), real, self.lanes)[1]

        if stepwise():
            return run
        real = self.abstract((self.width,), bool)
        lowered = jax.jit(run).lower(self.abstract_state(), values, real, data)
        own = {n: jax.ShapeDtypeStruct(s.shape[1:], s.dtype) for n, s in lowered.out_info.items()}
        require_columns(probe, {**shared, **own})
        return lowered.compile()


def built_probe(probe: Probe, engine: Engine, trial: Trial) -> tuple[SharedColumns, Any] | None:
    """What a probe's functions give to measure it by; None where there is nothing to measure."""
    if probe.measure is not None:
        return measured(probe, engine, trial)
    return loaded(probe.build)(engine, trial.as_read_by("model")) if probe.build else None


def _on_host(
    probe: Probe,
    shared: SharedColumns,
    measure: OnHost,
    state: Any,
    values: Any,
    real: jax.Array,
    data: Any,
) -> Any:
    """Columns (width, rows) of a measure that runs on the host; padding repeats a real lane."""
    state, values = jax.device_get((state, values))
    found: dict[int, Mapping[str, Any]] = {}
    for lane in np.flatnonzero(np.asarray(real)).tolist():
        own_state, own_values = jax.tree.map(lambda leaf, lane=lane: leaf[lane], (state, values))
        columns = measure.measure(own_state, own_values, data)
        found[lane] = {name: np.asarray(column) for name, column in columns.items()}
        require_columns(probe, {**shared, **found[lane]})
    one = next(iter(found.values()))
    every = [found.get(lane, one) for lane in range(len(real))]
    for other in every:
        require_equal_rows(probe, one, other)
    return {name: np.stack([columns[name] for columns in every]) for name in one}


def recorded_in(found: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the columns of `epochs`, and of the metrics, of an epoch's result."""
    return tuple(found.get("epochs", ())), tuple(found.get("metrics", ()))


def check_start(trial: Trial, arrays: Mapping[str, np.ndarray]) -> None:
    """Makes a trial's engine and first state, abstractly: what it raises, every trial of the same
    program and init constants would raise.

    Args:
      arrays: of the data set that its task names.
    """
    _traced(trial, lane_values(trial), make_data(trial, arrays))


def _traced(trial: Trial, values: Mapping[str, np.ndarray], data: Any) -> tuple[Engine, Any]:
    """A trial's engine, and the shapes of its state."""
    engine = trial.stage.builder()(trial, make_task(trial, data), values)
    return engine, jax.eval_shape(lambda v: engine.init(trial, v), dict(values))


def programs_for(
    trial: Trial,
    values: Mapping[str, np.ndarray],
    data: Any,
    width: int,
    lanes: Strategy,
    device: Any,
) -> Programs:
    """The programs of a pack, shared with every earlier pack of the same kind in this process.

    Args:
      values: one lane's traced values, read for their types.
      data: the task's, read for their shapes.
    """
    # Functions a user redefines in a notebook are other functions, so they are part of the key.
    declared = (*trial.parts.values(), optimizer_of(trial), *trial.probes.values())
    builds = tuple(getattr(part, name, None) for part in declared for name in _CODE)
    rename = repr(sorted((trial.stage.rename or {}).items()))
    sizes = trial.sizes if "task" in trial.parts else None
    like = str(abstract(data))
    key = (trial.program, sizes, builds, rename, width, lanes, device, like, stepwise())
    if key not in _known:
        _known[key] = Programs(*_traced(trial, values, data), width, lanes, device)
        if len(_known) > _KEPT:
            _known.popitem(last=False)
    _known.move_to_end(key)
    return _known[key]
