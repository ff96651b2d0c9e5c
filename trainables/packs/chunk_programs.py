"""Programs of epochs whose data stream: some steps a call, with samples that come as arguments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from trainables.core.lanes import nothing, over_lanes
from trainables.core.random_keys import trial_key
from trainables.core.stepwise import stepwise
from trainables.declarations import Trial
from trainables.packs.programs import EPOCH_NAME, Programs, recorded_in
from trainables.tasks.streaming import Source, chunk_steps
from trainables.training.epoch import STEP_COLUMNS, Training, UnderWay, kept_steps


@dataclass(frozen=True)
class Pass:
    """How the batches of training or of an evaluation are cut into calls of one program.

    Attributes:
      batches: in all. each: of one call. copies: places of a call's samples on the device: one for
        each lane, or one for all lanes where they see the same.
    """

    batches: int
    each: int
    copies: int


class ChunkPrograms:
    """The compiled functions of streamed epochs, for all packs that share `Programs`.

    Attributes:
      training, evaluation: how each pass is cut.
    """

    def __init__(self, programs: Programs, trial: Trial, source: Source, values: Any):
        """`values` are those of all lanes, (width,) by key."""
        self._programs, self._values = programs, values
        engine: Any = programs.engine
        self._engine: Training = engine
        self._task: Any = engine.task
        self._rows = source.shapes
        self._batch = trial.sizes.batch_size
        lane = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), values)
        self._orders = {
            "training": jax.eval_shape(self._order, lane, jnp.int32(0)),
            "evaluation": jax.eval_shape(self._held_order, lane),
        }
        width, bytes_ = programs.width, self._batch * source.sample_bytes
        # Other lanes' seeds must not change the program, so that every lane has a place of its own;
        # in an evaluation all see the same samples unless each draws its split.
        copies = {"training": width, "evaluation": width if "split_seed" in values else 1}
        self.passes: dict[str, Pass] = {}
        for name, order in self._orders.items():
            batches = order["weight"].shape[0]
            wanted = trial.task.stream_steps
            each = chunk_steps(batches, bytes_ * copies[name], wanted)
            self.passes[name] = Pass(batches, each, copies[name])
        self.orders = {
            "training": jax.jit(lambda v, epoch: _raw(self._order(v, epoch))),
            "evaluation": jax.jit(lambda v, epoch: _raw(self._held_order(v))),
        }
        self.probe_index = jax.jit(lambda v: self._task.probe(trial_key(v["seed"]), v)["index"])
        self.begin = jax.jit(jax.vmap(self._begin))
        self.chunk_bytes = max(p.each * p.copies * bytes_ for p in self.passes.values())
        self._compiled: dict[str, Any] = {}
        self._results: dict[str, Any] = {}
        self._names: tuple[str, ...] = ("loss", "accuracy")

    # Of one lane.

    def _order(self, values: Any, epoch: Any) -> Any:
        return dict(self._task.training(trial_key(values["seed"]), values, epoch))

    def _held_order(self, values: Any) -> Any:
        order = dict(self._task.evaluation(trial_key(values["seed"]), values))
        segments = jnp.moveaxis(order["segments"], 0, 1)
        return {**order, "segments": segments, "total": jnp.sum(segments, (0, 2))}

    def _begin(self, state: Any) -> dict[str, Any]:
        part = self._engine.begin(state)._asdict()
        del part["state"]
        kept = jnp.full((len(kept_steps(self._engine.steps)), len(STEP_COLUMNS)), jnp.nan)
        return {**part, "kept": kept}

    # Of all lanes.

    @property
    def state(self) -> Any:
        """All lanes' state, abstract."""
        return self._programs.abstract_state()

    def train(self) -> Any:
        """(state, part, values, (numbers, order), rows) -> (state, part), both donated."""

        def run(state: Any, part: Any, values: Any, entries: Any, rows: Any) -> Any:
            def one(carry: Any, given: Any) -> Any:
                state, part = carry
                values, (numbers, order) = given
                order = _typed(order, self._orders["training"])
                kept = part["kept"]
                before = UnderWay(state, part["running"], part["tally"], part["bad"])
                after, scalars = self._engine.advance(
                    before, values, (numbers, order), rows, filled=True
                )
                place = kept_steps(self._engine.steps) - numbers[0]
                here = (place >= 0) & (place < len(numbers))
                seen = scalars[jnp.clip(place, 0, len(numbers) - 1)]
                part = {**after._asdict(), "kept": jnp.where(here[:, None], seen, kept)}
                return (part.pop("state"), part), ()

            given = values, entries
            lanes = self._programs.lanes
            return over_lanes(one, (state, part), given, state["alive"], lanes)[0]

        def lowered() -> Any:
            run.__name__ = EPOCH_NAME
            part = jax.eval_shape(self.begin, self.state)
            entries, rows = self._given("training")
            jitted = jax.jit(run, donate_argnums=(0, 1))
            return jitted.lower(self.state, self._on(part), self._values, entries, rows)

        return self._made("train", run, lowered)

    def judge(self) -> Any:
        """(state, (sums, rest), values, (segments, order), rows) -> (sums, rest)."""

        def run(state: Any, held: Any, values: Any, entries: Any, rows: Any) -> Any:
            def one(held: Any, given: Any) -> Any:
                state, values, entries = given
                return self._judge(state, values, entries, rows, held)[1], ()

            given = state, values, entries
            return over_lanes(one, held, given, state["alive"], self._programs.lanes)[0]

        def lowered() -> Any:
            run.__name__ = "pack_evaluation"
            entries, rows = self._given("evaluation")
            held = jax.ShapeDtypeStruct((self._programs.width, len(self.names()), 2), jnp.float32)
            held = self._on(held), self.state["rest"]
            return jax.jit(run).lower(self.state, held, self._values, entries, rows)

        return self._made("judge", run, lowered)

    def _judge(self, state: Any, values: Any, entries: Any, rows: Any, held: Any) -> Any:
        segments, order = entries
        order = _typed(order, self._orders["evaluation"])
        return self._engine.judge(state, values, (segments, order), rows, held)

    def names(self) -> tuple[str, ...]:
        """What an evaluation measures."""
        if self.passes["evaluation"].batches and "names" not in self._compiled:
            entries, rows = self._given("evaluation")
            lane = jax.tree.map(
                lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype),
                (self.state, self._values, entries),
            )

            def traced(state: Any, values: Any, entries: Any, rows: Any) -> Any:
                self._names, held = self._judge(state, values, entries, rows, None)
                return held

            jax.eval_shape(traced, *lane, rows)
            self._compiled["names"] = True
        return self._names

    def finish(self) -> Any:
        """(state, part, sums, totals, values, started) -> (state, result), state donated."""

        def run(state: Any, part: Any, sums: Any, totals: Any, values: Any, started: Any) -> Any:
            def one(state: Any, given: Any) -> Any:
                part, sums, total, values = given
                held = self._engine.held_means(self.names(), sums / total)
                held = jax.tree.map(partial(jnp.where, state["alive"]), held, nothing(held))
                whole = UnderWay(state, part["running"], part["tally"], part["bad"])
                return self._engine.finish(whole, values, part["kept"], held)

            given = part, sums, totals, values
            return over_lanes(one, state, given, started, self._programs.lanes)

        def lowered() -> Any:
            run.__name__ = "pack_summary"
            width = self._programs.width
            part = self._on(jax.eval_shape(self.begin, self.state))
            sums = jax.ShapeDtypeStruct((width, len(self.names()), 2), jnp.float32)
            totals = jax.ShapeDtypeStruct((width, 2), jnp.float32)
            started = jax.ShapeDtypeStruct((width,), bool)
            sums, totals, started = self._on((sums, totals, started))
            jitted = jax.jit(run, donate_argnums=0)
            return jitted.lower(self.state, part, sums, totals, self._values, started)

        return self._made("finish", run, lowered)

    def compiled(self) -> list[Any]:
        """All programs, made now where they are not yet."""
        with_held = [self.judge()] if self.passes["evaluation"].batches else []
        return [self.train(), *with_held, self.finish()]

    def _made(self, name: str, run: Any, lowered: Any) -> Any:
        if stepwise():
            return run
        if name not in self._compiled:
            found = lowered()
            self._results[name] = found.out_info
            self._compiled[name] = found.compile()
        return self._compiled[name]

    def recorded(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Names of the columns of `epochs`, and of the metrics, that an epoch ends with."""
        self.finish()
        return recorded_in(self._results["finish"][1])

    def _on(self, tree: Any) -> Any:
        return jax.tree.map(lambda s: self._programs.abstract(s.shape, s.dtype), tree)

    def _given(self, name: str) -> tuple[Any, Any]:
        """Entries and rows of a call, abstract."""
        cut, order = self.passes[name], jax.eval_shape(_raw, self._orders[name])
        lead = self._programs.width, cut.each
        order = {
            n: self._programs.abstract((*lead, *s.shape[1:]), s.dtype)
            for n, s in order.items()
            if n != "total"
        }
        first = (
            order.pop("segments")
            if name == "evaluation"
            else self._programs.abstract(lead, jnp.int32)
        )
        count = cut.copies * cut.each * self._batch
        rows = jax.tree.map(
            lambda s: jax.ShapeDtypeStruct((count, *s.shape[1:]), s.dtype), self._rows
        )
        return (first, order), self._on(rows)


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _raw(tree: Any) -> Any:
    """A tree with random keys as their words."""
    return jax.tree.map(lambda leaf: jax.random.key_data(leaf) if _is_key(leaf) else leaf, tree)


def _typed(order: Mapping[str, Any], like: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `_raw`, for an order by name."""
    return {
        name: jax.random.wrap_key_data(leaf) if _is_key(like[name]) else leaf
        for name, leaf in order.items()
    }
