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
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from trainables.lanes import Strategy, over_lanes
from trainables.layout import LayerRow, by_path
from trainables.settings import init_constants, lane_values, stack_lanes
from trainables.spec import Trial
from trainables.tasks import make_task
from trainables.training import Program, kept_steps


@dataclass(frozen=True)
class EpochResult:
    """One epoch of a pack, on the host. Columns are those of `results/schema.py`.

    Lanes that were not active hold NaN (-1 for counts). Means, minima and maxima are over the steps
    before a lane's bad step; counts include that step.

    Attributes:
      epochs: column -> (width,).
      layers: column -> (width, rows), rows as in `Pack.layer_rows`.
      steps: column -> (width, K). The bad step holds its values as computed, later steps NaN.
      step_index: (K,) the last ten steps of the epoch, and the first ten in epoch 0.
      bad_step: (width,) first step whose loss, gradient or update was not finite, or -1.
      metrics: further task metrics by name -> (width,).
    """

    epochs: dict[str, np.ndarray]
    layers: dict[str, np.ndarray]
    steps: dict[str, np.ndarray]
    step_index: np.ndarray
    bad_step: np.ndarray
    metrics: dict[str, np.ndarray]


class Pack:
    """Trials sharing `trial.program`, one lane each.

    Attributes:
      trials: lane i trains trials[i].
      width: number of lanes; those beyond the trials are padding, copies of lane 0 that never run.
      lanes: "vmap" or "sequential". Within one strategy and width a lane's numbers do not depend,
        to the last bit, on its neighbours, its position or padding.
      active: bool (width,), False for padding and for lanes that are frozen or not finite any more.
      layer_rows: what the last axis of `EpochResult.layers` means.
    """

    def __init__(
        self,
        trials: Sequence[Trial],
        arrays: Mapping[str, np.ndarray],
        *,
        width: int | None = None,
        lanes: Strategy = "sequential",
        device: jax.Device | None = None,
    ):
        """
        Args:
          trials: at least one, all of one program.
          arrays: the task's data set by name (train_images, ...); may be empty for other tasks.
          width: at least len(trials), which is the default.
          lanes: strategy.
          device: where to run; JAX's default device if None.

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
        self.trials = tuple(trials)
        self.width = len(trials) if width is None else width
        if self.width < len(trials):
            raise ValueError(f"width {self.width} is less than the {len(trials)} trials")
        self.lanes: Strategy = lanes
        self.device = device or jax.devices()[0]
        self.active = np.arange(self.width) < len(trials)
        own = [lane_values(t) for t in trials]
        own += [own[0]] * (self.width - len(trials))
        task = make_task(trials[0], arrays)
        self._program = Program(trials[0], task, own[0])
        self._values = self._put(stack_lanes(own))
        self._data = self._put(task.data)
        self._state: Any = None
        self._epoch: Any = None
        self._timeline: Any = None
        lane = jax.tree.map(lambda leaf: leaf[0], self._values)
        self._shapes = jax.eval_shape(lambda v: self._program.init(self.trials[0], v), lane)

    def _put(self, tree: Any) -> Any:
        return jax.device_put(tree, self.device)

    @property
    def layer_rows(self) -> tuple[LayerRow, ...]:
        return self._program.layout.rows

    @property
    def parameter_count(self) -> int:
        """Trained numbers of one lane."""
        return sum(leaf.size for leaf in jax.tree.leaves(self._shapes["params"]))

    def init(self, weights: Mapping[int, Mapping[str, np.ndarray]] | None = None) -> None:
        """Fresh states for all lanes.

        Args:
          weights: lane -> tensors by name as `weights` gives them, in place of the drawn ones.

        Raises:
          ValueError: given weights do not fit the model.
        """
        programs: dict[str, Any] = {}
        states = []
        for lane, trial in enumerate(self.trials):
            scheme = repr(sorted(init_constants(trial).items()))
            if scheme not in programs:
                programs[scheme] = jax.jit(lambda values, trial=trial: self._program.init(trial, values))
            state = programs[scheme](jax.tree.map(lambda leaf: leaf[lane], self._values))
            if weights and lane in weights:
                state["params"] = self._replaced(state["params"], weights[lane])
            states.append(state)
        states += [{**states[0], "alive": jnp.bool_(False)}] * (self.width - len(states))
        self._state = self._put(jax.tree.map(lambda *leaves: jnp.stack(leaves), *states))
        self.active = np.arange(self.width) < len(self.trials)

    def _replaced(self, params: Any, weights: Mapping[str, np.ndarray]) -> Any:
        like = {path: np.asarray(leaf) for path, leaf in by_path(params).items()}
        leaves = self._program.layout.leaves(weights, like)
        return jax.tree.unflatten(jax.tree.structure(params), [jnp.asarray(v) for v in leaves.values()])

    def _ready(self) -> Any:
        if self._state is None:
            raise RuntimeError("call init() or load() first")
        return self._state

    def _compiled(self) -> Any:
        if self._epoch is None:

            def run(state: Any, values: Any, epoch: jax.Array, data: Any) -> Any:
                def one(state: Any, values: Any) -> Any:
                    return self._program.epoch(state, values, epoch, data)

                return over_lanes(one, state, values, state["alive"], self.lanes)

            jitted = jax.jit(run, donate_argnums=0)
            shapes = jax.tree.map(lambda s: self._abstract((self.width, *s.shape), s.dtype), self._shapes)
            epoch = self._abstract((), jnp.int32)
            self._epoch = jitted.lower(shapes, self._values, epoch, self._data).compile()
        return self._epoch

    def _abstract(self, shape: tuple[int, ...], dtype: Any) -> jax.ShapeDtypeStruct:
        sharding = jax.sharding.SingleDeviceSharding(self.device)
        return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)

    def epoch(self, epoch: int) -> EpochResult:
        """Trains every active lane for one epoch; one compiled call, one transfer to the host.

        Raises:
          RuntimeError: no state yet.
        """
        state, program = self._ready(), self._compiled()
        # The old state's buffers are donated, so it must not be kept if the call fails.
        self._state = None
        self._state, found = program(state, self._values, self._put(np.int32(epoch)), self._data)
        found = jax.device_get(found)
        self.active = self.active & (found["bad_step"] < 0)
        index = kept_steps(self._program.steps)
        shown = np.ones(len(index), bool) if epoch == 0 else index >= self._program.steps - 10
        steps = {name: column[:, shown] for name, column in found["steps"].items()}
        return EpochResult(
            found["epochs"], found["layers"], steps, index[shown], found["bad_step"], {}
        )

    def timeline(self) -> dict[str, np.ndarray] | None:
        """Norms of dL/dh^l_t on the probe batch at the current weights; None for other models.

        Returns:
          layer (R,), t (R,) and grad_norm (width, R); NaN for padding.
        """
        if self._program.depth is None:
            return None
        if self._timeline is None:
            points = max(int(t.config["timeline_points"] or 2) for t in self.trials)
            times, measure = self._program.timeline(points)
            real = jnp.arange(self.width) < len(self.trials)

            def run(state: Any, values: Any, data: Any) -> jax.Array:
                def one(state: Any, values: Any) -> Any:
                    return (), measure(values[0], values[1], data)

                return over_lanes(one, (), (state, values), real, self.lanes)[1]

            self._timeline = times, jax.jit(run)
        times, run = self._timeline
        norms = np.asarray(run(self._ready(), self._values, self._data))
        depth = self._program.depth
        return {
            "layer": np.repeat(np.arange(depth, dtype=np.int32), len(times)),
            "t": np.tile(times.astype(np.int32), depth),
            "grad_norm": norms.reshape(self.width, -1),
        }

    def freeze(self, lane: int) -> None:
        """Ends a lane's training: its state changes no more."""
        state = self._ready()
        self._state = {**state, "alive": state["alive"].at[lane].set(False)}
        self.active = self.active.copy()
        self.active[lane] = False

    def weights(self, lane: int) -> dict[str, np.ndarray]:
        """A lane's tensors by name ("rnn.0.w_ih"), layers unstacked."""
        own = jax.tree.map(lambda leaf: leaf[lane], self._ready()["params"])
        return self._program.layout.named(by_path(jax.device_get(own)))

    def state(self) -> dict[str, np.ndarray]:
        """All state by path, leading axis the lane: what a checkpoint holds."""
        return {path: _plain(leaf) for path, leaf in by_path(self._ready()).items()}

    def load(self, lane: int, leaves: Mapping[str, np.ndarray]) -> None:
        """Puts one lane's leaves (no lane axis) of any pack of the same program into `lane`.

        Without `init` before it, lanes never loaded stay inactive.

        Raises:
          ValueError: a leaf is missing, or has another shape; or the lane is padding.
        """
        if not 0 <= lane < len(self.trials):
            raise ValueError(f"lane {lane} is not one of the {len(self.trials)} trials")
        if self._state is None:
            blank = lambda s: _typed(np.zeros((self.width, *_host(s)[0]), _host(s)[1]), s)  # noqa: E731
            self._state = self._put(jax.tree.map(blank, self._shapes))
            self.active = np.zeros(self.width, bool)
        new = []
        for path, want in by_path(self._shapes).items():
            shape, dtype = _host(want)
            if path not in leaves or np.shape(leaves[path]) != shape:
                raise ValueError(f"the checkpoint does not fit: {path} should have shape {shape}")
            new.append(_typed(np.asarray(leaves[path], dtype), want))
        own = self._put(jax.tree.unflatten(jax.tree.structure(self._shapes), new))
        self._state = _set_lane(self._state, np.int32(lane), own)
        self.active = self.active.copy()
        self.active[lane] = bool(leaves["alive"])

    def memory_bytes(self) -> int:
        """Device memory of the epoch program: arguments, results and temporaries."""
        sizes = self._compiled().memory_analysis()
        if sizes is None:
            trees = (self._shapes,) * (2 * self.width)
            return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(trees))
        total = sizes.argument_size_in_bytes + sizes.output_size_in_bytes + sizes.temp_size_in_bytes
        return total - sizes.alias_size_in_bytes


def _host(leaf: Any) -> tuple[tuple[int, ...], Any]:
    """Shape and type of a leaf as NumPy holds it; random keys become their words."""
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        words = jax.eval_shape(jax.random.key_data, leaf)
        return words.shape, words.dtype
    return leaf.shape, leaf.dtype


def _plain(leaf: jax.Array) -> np.ndarray:
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    return np.array(leaf)


def _typed(value: np.ndarray, like: Any) -> Any:
    if jnp.issubdtype(like.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(jnp.asarray(value))
    return value


@jax.jit
def _set_lane_copy(state: Any, lane: Any, own: Any) -> Any:
    return jax.tree.map(lambda all_, new: all_.at[lane].set(new), state, own)


_set_lane = jax.jit(_set_lane_copy, donate_argnums=0)
