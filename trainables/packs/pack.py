"""A pack: trials of one program trained together along a leading axis of lanes.

    pack = Pack(trials, arrays, lanes="sequential")
    pack.init()
    for epoch in range(epochs):
        result = pack.epoch(epoch)

The only module of this package with effects: it holds the state on the device.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import jax
import numpy as np

from trainables.core.host_arrays import from_host, shape_and_type, to_host
from trainables.core.hparams import lane_values, stack_lanes
from trainables.core.lanes import Strategy
from trainables.core.layout import LayerRow, by_path
from trainables.core.length_reads import length_readers
from trainables.core.module_state import kept_state, restored
from trainables.core.stepwise import stepwise
from trainables.declarations import Trial
from trainables.packs.probe_columns import require_brought
from trainables.packs.programs import programs_for
from trainables.packs.streamed_epoch import StreamedEpoch
from trainables.tasks.base import make_data
from trainables.tasks.streaming import Source
from trainables.training.epoch import Training, first_shown, kept_steps
from trainables.training.loop import LoopEngine
from trainables.training.nonfinite import broken_input, culprit
from trainables.training.weight_average import judged


@dataclass(frozen=True)
class EpochResult:
    """One epoch of a pack, on the host. Columns are those of `results/schema.py`.

    Lanes that were not active hold NaN (-1 for counts). Means, minima and maxima are over the steps
    before a lane's bad step; counts include that step.

    Lanes may be at different epochs: each trains the one that is next for it.

    Attributes:
      epochs: column -> (width,).
      layers: column -> (width, rows), rows as in `Pack.layer_rows`.
      steps: column -> (width, K). The bad step holds its values as computed, later steps NaN.
      step_index: (K,) the first and the last ten steps of an epoch.
      first_step: (width,) the first of them that is kept: of epoch 0 all are, of later ones the
        last ten.
      bad_step: (width,) first step whose loss, gradient or update was not finite, or -1.
      finished: (width,) whether the stage's own stop rule ended the lane.
      metrics: further metrics by name -> (width,).
      probes: probe -> column -> (rows,) shared by all lanes or (width, rows); rows where the
        boolean column `shown` (width, rows) is False are left out.

    A stage that has no such rows leaves `epochs`, `layers` or `steps` empty.
    """

    epochs: dict[str, np.ndarray]
    layers: dict[str, np.ndarray]
    steps: dict[str, np.ndarray]
    step_index: np.ndarray
    first_step: np.ndarray
    bad_step: np.ndarray
    finished: np.ndarray
    metrics: dict[str, np.ndarray]
    probes: dict[str, dict[str, np.ndarray]]


class Pack:
    """Trials sharing `trial.program`, one lane each.

    Attributes:
      trials: lane i trains trials[i]; another one after `place`.
      width: number of lanes; those beyond the trials are padding, copies of lane 0 that never run,
        until a trial is placed there.
      lanes: "vmap" or "sequential". Within one strategy and width a lane's numbers do not depend,
        to the last bit, on its neighbours, its position or padding.
      active: bool (width,), False for padding and for lanes that are frozen or not finite any more.
      layer_rows: what the last axis of `EpochResult.layers` means.
      parameter_count: trained numbers of one lane, without frozen ones.
      steps: optimizer steps of an epoch.
    """

    def __init__(
        self,
        trials: Sequence[Trial],
        arrays: Mapping[str, np.ndarray],
        *,
        width: int | None = None,
        lanes: Strategy = "sequential",
        device: Any = None,
    ):
        """
        Args:
          trials: at least one, all of one program.
          arrays: the task's data set by name (train_images, ...); may be empty for other tasks.
          width: at least len(trials), which is the default.
          lanes: strategy.
          device: the `jax.Device` to run on; JAX's first if None.

        Raises:
          ValueError: the trials differ in program, the width is too small, the strategy is unknown,
            or the arrays do not fit the task.
        """
        if not trials:
            raise ValueError("a pack needs at least one trial")
        if len({t.program for t in trials}) > 1:
            raise ValueError("the trials of a pack must share one program")
        if lanes not in ("vmap", "sequential"):
            raise ValueError(f"lanes must be vmap or sequential; got {lanes!r}")
        self.width = len(trials) if width is None else width
        if self.width < len(trials):
            raise ValueError(f"width {self.width} is less than the {len(trials)} trials")
        self.lanes: Strategy = lanes
        self.device = device or jax.devices()[0]
        self.trials = [*trials, *[trials[0]] * (self.width - len(trials))]
        self._real = np.arange(self.width) < len(trials)
        self.active = self._real.copy()
        self._own = [lane_values(t) for t in trials]
        self._own += [self._own[0]] * (self.width - len(trials))
        data = make_data(trials[0], arrays)
        self._programs = programs_for(trials[0], self._own[0], data, self.width, lanes, self.device)
        self._values = self._put(stack_lanes(self._own))
        self._state: Any = None
        self._probes_fit = False
        self._engine = self._programs.engine
        self._stream: StreamedEpoch | None = None
        if isinstance(data, Source):
            self._stream = StreamedEpoch(self._programs, trials[0], data, self._own, self._values)
        else:
            self._data = self._put(data)
        self._layout = self._engine.layout
        self.layer_rows: tuple[LayerRow, ...] = self._layout.rows if self._layout else ()
        self.steps = self._engine.steps
        frozen = self._layout.frozen if self._layout else ()
        params = by_path(self._programs.shapes["params"])
        self.parameter_count = sum(p.size for path, p in params.items() if path not in frozen)

    def _put(self, tree: Any) -> Any:
        return jax.device_put(tree, self.device)

    @cached_property
    def _data(self) -> Any:
        """The task's data on the device; of data that stream, what probes use."""
        assert self._stream is not None
        return self._stream.probe_table()

    @property
    def position(self) -> int:
        """Steps done of an epoch under way, as data that stream leave it; 0 between epochs."""
        return self._stream.position if self._stream else 0

    def _ready(self) -> Any:
        if self._state is None:
            raise RuntimeError("this pack has no state; call init() or load() first")
        return self._state

    def init(self, weights: Mapping[int, Mapping[str, np.ndarray]] | None = None) -> None:
        """Fresh states for all lanes.

        Args:
          weights: lane -> tensors by name as `weights` gives them, in place of the drawn ones.

        Raises:
          ValueError: given weights do not fit the model.
        """
        known = weights or {}
        real = np.flatnonzero(self._real).tolist()
        states = {lane: self._first_state(lane, known.get(lane)) for lane in real}
        padding = {**states[real[0]], "alive": np.bool_(False)}
        every = [states.get(lane, padding) for lane in range(self.width)]
        # On the host: every shape that `jnp.stack` meets is a program to compile.
        self._state = self._put(jax.tree.map(_stacked, *every))
        if self._stream:
            self._stream.reset()
        self.active = self._real.copy()

    def _first_state(self, lane: int, weights: Mapping[str, np.ndarray] | None) -> Any:
        values = self._put(self._own[lane])
        state = self._programs.init(self.trials[lane])(values)
        if weights is None:
            return state
        state = self._engine.restart(state, self._given(state["params"], weights), values)
        # Our own models start from a parent's parameters alone.
        if "rest" in state and not getattr(self._engine, "own_layers", True):
            state["rest"] = restored(self._layout, state["rest"], weights)
        return state

    def place(
        self, lane: int, trial: Trial, weights: Mapping[str, np.ndarray] | None = None
    ) -> None:
        """Another trial of the program in a lane that is not active, with a fresh state. Neither
        the new lane's numbers nor its neighbours' depend on it.

        Args:
          weights: tensors by name, in place of the drawn ones.

        Raises:
          ValueError: the lane is active, an epoch is under way, the trial is of another program, or
            given weights do not fit the model.
        """
        if self.active[lane] or self.position:
            raise ValueError(f"lane {lane} is not free")
        if trial.program != self.trials[lane].program:
            raise ValueError("the trials of a pack must share one program")
        own = lane_values(trial)
        before = self.trials[lane], self._own[lane]
        self.trials[lane], self._own[lane] = trial, own
        try:
            state = self._first_state(lane, weights)
        except BaseException:
            self.trials[lane], self._own[lane] = before
            raise
        self._values = _set_lane(self._values, np.int32(lane), self._put(own))
        self._state = _set_lane(self._ready(), np.int32(lane), state)
        if self._stream:
            self._stream.place(lane, own, self._values)
            self.__dict__.pop("_data", None)  # the samples that probes use
        self._real, self.active = self._real.copy(), self.active.copy()
        self._real[lane] = self.active[lane] = True

    def _given(self, params: Any, weights: Mapping[str, np.ndarray]) -> Any:
        if self._layout is None:
            raise ValueError("this stage has no model to give weights to")
        like = {path: np.asarray(leaf) for path, leaf in by_path(params).items()}
        leaves = self._layout.leaves(weights, like).values()
        return self._put(jax.tree.unflatten(jax.tree.structure(params), list(leaves)))

    def compile(self, probes: Sequence[str] = ()) -> None:
        """Compiles the epoch and these probes now rather than at their first calls."""
        self._epoch_programs()
        for name in probes:
            self._programs.probe(name, self.trials[0], self._values, self._data)

    def _epoch_programs(self) -> list[Any]:
        if self._stream:
            return self._stream.compiled()
        return [self._programs.epoch(self._values, self._data)]

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of `EpochResult.epochs`, known once the epoch is compiled."""
        return self._recorded()[0]

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of `EpochResult.metrics`, known once the epoch is compiled."""
        return self._recorded()[1]

    def _recorded(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        if self._stream:
            return self._stream.recorded()
        return self._programs.recorded(self._values, self._data)

    def length_readers(self, lane: int) -> list[str]:
        """Whoever reads how long a lane's trial is, in words, as far as programs are traced."""
        return length_readers(self.trials[lane], self._engine)

    def broken_input(self, lane: int, epoch: int, step: int) -> str | None:
        """Says in a sentence which input was not finite at a lane's bad step; None where all were.

        Of tasks of a user's: those that are built in draw none that is not.
        """
        trial, engine = self.trials[lane], self._engine
        if not isinstance(engine, Training | LoopEngine) or engine.task is None:
            return None
        task = trial.task
        own = task.build or task.augment or task.steps is not None
        if not own and str(task.runtime).startswith("trainables.tasks."):
            return None
        values = jax.tree.map(lambda leaf: leaf[lane], self._values)
        data = self._stream.step_table(lane, epoch, step) if self._stream else self._data
        name = broken_input(engine.task, values, data, epoch, step)
        if name is None:
            return None
        return f"input {name} of task {task.name} is not finite at epoch {epoch}, step {step}"

    def blame(self, lane: int, epoch: int, step: int) -> str:
        """What first went non-finite at a lane's bad step: layer and pass, in words."""
        engine = self._engine
        if not isinstance(engine, Training | LoopEngine):
            return f"epoch {epoch}, step {step}: a value of stage {self.trials[lane].stage.name}"
        broken = self.broken_input(lane, epoch, step)
        if broken:
            return broken
        state, values = jax.tree.map(lambda leaf: leaf[lane], (self._ready(), self._values))
        if isinstance(engine, LoopEngine):
            what = engine.culprit(state, values, self._data, epoch, step)
        else:
            own = self._stream.step_table(lane, epoch, step) if self._stream else self._data
            what = culprit(engine, state, values, own, epoch, step)
        return f"epoch {epoch}, step {step}: {what}"

    def epoch(self, epoch: int | np.ndarray) -> EpochResult:
        """Trains every active lane for one epoch; one compiled call, one transfer to the host. Of
        data that stream: what is left of the epoch, in several calls.

        Args:
          epoch: which one, of all lanes or of each (width,).

        Raises:
          RuntimeError: no state yet.
        """
        while True:
            found = self.advance(epoch)
            if found is not None:
                return found

    def advance(self, epoch: int | np.ndarray) -> EpochResult | None:
        """One call of the compiled epoch; None where others must follow, as data stream.

        Raises:
          RuntimeError: no state yet.
          PartError: data that stream cannot be read, or are not what the task declares.
        """
        self._ready()
        epochs = np.broadcast_to(np.asarray(epoch, np.int32), self.width)
        if self._stream:
            self._state, found = self._stream.advance(self._taken, epochs, self.active)
        else:
            program = self._programs.epoch(self._values, self._data)
            given = self._values, self._put(epochs), self._data
            self._state, found = program(self._taken(), *given)
        return None if found is None else self._result(epochs, found)

    def _taken(self) -> Any:
        """The state, whose buffers are donated: after a failed call there is none any more."""
        state, self._state = self._ready(), None
        return state

    def _result(self, epochs: np.ndarray, found: Any) -> EpochResult:
        found = jax.device_get(found)
        nothing = np.full(self.width, -1, np.int32)
        bad = found.get("bad_step", nothing)
        finished = found.get("finished", np.zeros(self.width, bool)).astype(bool) & self.active
        self.active = self.active & (bad < 0)
        brought = found.get("probes", {})
        shared = self._engine.shared_columns
        probes = {name: {**shared.get(name, {}), **columns} for name, columns in brought.items()}
        if not self._probes_fit:
            require_brought(self.trials[0], shared, brought)
            self._probes_fit = True
        return EpochResult(
            epochs=found.get("epochs", {}),
            layers=found.get("layers", {}),
            steps=found.get("steps", {}),
            step_index=kept_steps(self.steps),
            first_step=np.array([first_shown(self.steps, epoch) for epoch in epochs]),
            bad_step=bad,
            finished=finished,
            metrics=found.get("metrics", {}),
            probes=probes,
        )

    def probe(self, name: str) -> dict[str, np.ndarray] | None:
        """One probe's rows at the current weights; None for models that have no such probe.

        Returns:
          Columns shared by all lanes (R,), and measured ones (width, R), NaN for padding.
        """
        found = self._programs.probe(name, self.trials[0], self._values, self._data)
        if found is None:
            return None
        shared, measure = found
        columns = measure(self._ready(), self._values, self._put(self._real), self._data)
        return {**shared, **jax.device_get(columns)}

    def freeze(self, lane: int) -> None:
        """Ends a lane's training: its state changes no more."""
        state = self._ready()
        self._state = {**state, "alive": state["alive"].at[lane].set(False)}
        self.active = self.active.copy()
        self.active[lane] = False

    def weights(self, lane: int) -> dict[str, np.ndarray]:
        """A lane's tensors by name ("rnn.0.w_ih"), layers unstacked, and what the module carries
        beside them ("state/bn.mean")."""
        if self._layout is None:
            return {}
        state = self._ready()
        own = jax.tree.map(lambda leaf: leaf[lane], (judged(state), state.get("rest", {})))
        params = self._layout.named(by_path(jax.device_get(own[0])))
        return {**params, **kept_state(self._layout, own[1])}

    def state(self) -> dict[str, np.ndarray]:
        """All state by path, leading axis the lane: what a checkpoint holds."""
        found = {path: to_host(leaf) for path, leaf in by_path(self._ready()).items()}
        return {**found, **self._stream.leaves()} if self._stream else found

    def load(self, lane: int, leaves: Mapping[str, np.ndarray]) -> None:
        """Puts one lane's leaves (no lane axis) of any pack of the same program into `lane`.

        Without `init` before it, lanes never loaded stay inactive.

        Raises:
          ValueError: a leaf is missing, or has another shape; or the lane is padding.
        """
        if not 0 <= lane < self.width or not self._real[lane]:
            raise ValueError(f"lane {lane} is not one of the {self._real.sum()} trials")
        shapes = self._programs.shapes
        new = []
        for path, want in by_path(shapes).items():
            shape, dtype = shape_and_type(want)
            if path not in leaves or np.shape(leaves[path]) != shape:
                raise ValueError(f"the checkpoint does not fit: {path} should have shape {shape}")
            new.append(from_host(np.asarray(leaves[path], dtype), want))
        if self._state is None:
            self._state = self._put(jax.tree.map(partial(_blank, self.width), shapes))
            self.active = np.zeros(self.width, bool)
        own = self._put(jax.tree.unflatten(jax.tree.structure(shapes), new))
        self._state = _set_lane(self._state, np.int32(lane), own)
        self.active = self.active.copy()
        under_way = self._stream.load(self._state, lane, leaves) if self._stream else False
        self.active[lane] = bool(leaves["alive"]) or under_way

    def memory_bytes(self) -> int:
        """Device memory of the epoch program: arguments, results and temporaries, in bytes."""
        found = self._memory()
        if any(one is None for one in found):
            trees = (self._values, self._data, [self._programs.shapes] * (2 * self.width))
            return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(trees))
        return max(one.argument_size_in_bytes + _rise(one) for one in found)

    def rise_bytes(self) -> int:
        """What an epoch takes beside what the pack holds already: results and temporaries, and
        samples where they stream; 0 where XLA does not say."""
        found = self._memory()
        most = 0 if any(one is None for one in found) else max(map(_rise, found))
        return most + (self._stream.buffers if self._stream else 0)

    def _memory(self) -> list[Any]:
        """Of each program of an epoch; None where XLA does not say, or nothing is compiled."""
        programs = self._epoch_programs()
        return [None if stepwise() else program.memory_analysis() for program in programs]


def _rise(found: Any) -> int:
    written = found.output_size_in_bytes - found.alias_size_in_bytes
    return written + found.temp_size_in_bytes


def _stacked(*leaves: Any) -> Any:
    return from_host(np.stack([to_host(leaf) for leaf in leaves]), leaves[0])


def _blank(width: int, like: Any) -> Any:
    shape, dtype = shape_and_type(like)
    return from_host(np.zeros((width, *shape), dtype), like)


@partial(jax.jit, donate_argnums=0)
def _set_lane(state: Any, lane: Any, own: Any) -> Any:
    return jax.tree.map(lambda every, new: every.at[lane].set(new), state, own)
