"""An epoch whose data stream: samples of some steps are read while those before them train."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import numpy as np

from trainables.core.layout import by_path
from trainables.core.stepwise import stepwise
from trainables.declarations import PartError, Trial
from trainables.packs.chunk_programs import ChunkPrograms
from trainables.packs.programs import Programs
from trainables.tasks.streaming import Source, Table
from trainables.training.epoch import Training

UNDER_WAY = "under_way"
"""What the leaves of a checkpoint within an epoch are called before their paths."""
_POSITION = f"{UNDER_WAY}/position"
Lane = Mapping[str, np.ndarray]


class StreamedEpoch:
    """An epoch under way of a pack whose data stream.

    Attributes:
      position: steps done of the epoch under way; 0 between epochs.
    """

    def __init__(
        self,
        programs: Programs,
        trial: Trial,
        source: Source,
        own: Sequence[Lane],
        values: Any,
    ):
        """
        Args:
          own: one lane's values each, of padding too. values: of all lanes, on the device.

        Raises:
          PartError: the stage makes its epochs itself, from all data at once.
        """
        engine = programs.engine
        if not isinstance(engine, Training) or type(engine).epoch is not Training.epoch:
            raise PartError(
                f"task {trial.task.name} streams, and stage {trial.stage.name} reads all of its "
                "data at once; leave stream out, or use a stage that trains step by step, as train"
            )
        if stepwise():
            raise PartError(
                f"task {trial.task.name} streams, which --no-jit cannot do; leave stream out"
            )
        if programs.streamed is None:
            programs.streamed = ChunkPrograms(programs, trial, source, values)
        self._made: ChunkPrograms = programs.streamed
        self._source, self._own, self._values = source, own, values
        self._device = programs.device
        self._width = programs.width
        self._batch = trial.sizes.batch_size
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="gather")
        self._held_orders: list[dict[str, np.ndarray]] = []
        self.reset()

    def place(self, lane: int, own: Lane, values: Any) -> None:
        """Another trial's values in a lane, between two epochs; `values` are those of all lanes."""
        self._own = [*self._own[:lane], own, *self._own[lane + 1 :]]
        self._values = values
        self._held_orders = []

    def reset(self) -> None:
        """No epoch is under way."""
        self.position = self._judged = 0
        self._part: Any = None
        self._held: Any = None
        self._orders: list[dict[str, np.ndarray]] = []
        self._next: tuple[tuple[str, int], Future[Any]] | None = None

    @property
    def buffers(self) -> int:
        """Bytes of samples on the device: of the call under way, and of the next."""
        return 2 * self._made.chunk_bytes

    def compiled(self) -> list[Any]:
        """The programs of an epoch, made now where they are not yet."""
        return self._made.compiled()

    def recorded(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Names of the columns of `epochs`, and of the metrics, that an epoch ends with."""
        return self._made.recorded()

    def advance(
        self, take_state: Callable[[], Any], epochs: np.ndarray, started: np.ndarray
    ) -> tuple[Any, Any]:
        """One call further.

        Args:
          take_state: gives all lanes' state, whose buffers are donated.
          epochs: which one each lane trains, (width,).
          started: which lanes train in this epoch, (width,).

        Returns:
          The new state, and None or, of the call that ends the epoch, its result.

        Raises:
          PartError: data cannot be read, or are not what the task declares; nothing is donated.
        """
        training, evaluation = (self._made.passes[n] for n in ("training", "evaluation"))
        if not self._orders:
            self._orders = self._ordered("training", epochs)
            self._held_orders = self._held_orders or self._ordered("evaluation", epochs)
        if self.position < training.batches:
            given = self._gathered("training", self.position)
            state = take_state()
            if self._part is None:
                self._part = self._made.begin(state)
            state, self._part = self._made.train()(state, self._part, self._values, *given)
            self.position = min(self.position + training.each, training.batches)
            jax.block_until_ready(self._part)
        elif self._judged < evaluation.batches:
            given = self._gathered("evaluation", self._judged)
            state = take_state()
            held = self._held or (self._sums(), state["rest"])
            self._held = self._made.judge()(state, held, self._values, *given)
            self._judged = min(self._judged + evaluation.each, evaluation.batches)
            jax.block_until_ready(self._held)
        else:
            state = take_state()
        if self.position < training.batches or self._judged < evaluation.batches:
            return state, None
        totals = self._put(np.stack([order["total"] for order in self._held_orders]))
        sums = self._held[0] if self._held else self._sums()
        finish = self._made.finish()
        found = finish(state, self._part, sums, totals, self._values, self._put(started))
        self.reset()
        return found

    def _sums(self) -> Any:
        return self._put(np.zeros((self._width, len(self._made.names()), 2), np.float32))

    def _put(self, tree: Any) -> Any:
        return jax.device_put(tree, self._device)

    # Samples.

    def _ordered(self, name: str, epochs: np.ndarray) -> list[dict[str, np.ndarray]]:
        """Each lane's order of samples, on the host; what is equal is held once."""
        seen: dict[bytes, np.ndarray] = {}

        def once(leaf: Any) -> np.ndarray:
            array = np.asarray(leaf)
            return seen.setdefault(hashlib.blake2b(array.tobytes()).digest(), array)

        order = self._made.orders[name]
        found = [
            {n: once(leaf) for n, leaf in order(self._put(dict(own)), np.int32(epoch)).items()}
            for own, epoch in zip(self._own, epochs, strict=True)
        ]
        if "index" not in found[0]:
            raise PartError("a task that streams must have arrays; this one draws its batches")
        if self._made.passes[name].copies == 1 and len({id(one["index"]) for one in found}) > 1:
            raise PartError(
                "the lanes of a task that streams differ in which samples they evaluate, without "
                "a key split_seed; name the key so"
            )
        return found

    def _gathered(self, name: str, first: int) -> tuple[Any, Any]:
        """What a call is given; the reader then turns to the next one."""
        known, self._next = self._next, None
        found = (
            known[1].result() if known and known[0] == (name, first) else self._gather(name, first)
        )
        coming = name, first + self._made.passes[name].each
        if coming[1] >= self._made.passes[name].batches:
            coming = "evaluation", 0
        last = name == "evaluation" and coming == ("evaluation", 0)
        if not last and self._made.passes[coming[0]].batches:
            self._next = coming, self._reader.submit(self._gather, *coming)
        return found

    def _gather(self, name: str, first: int) -> tuple[Any, Any]:
        """The entries of a call, and its samples, on the device."""
        cut = self._made.passes[name]
        orders = self._orders if name == "training" else self._held_orders
        # Beyond the end the last batch is repeated: such steps are skipped, and such batches of an
        # evaluation have the weight 0.
        which = np.minimum(np.arange(first, first + cut.each), cut.batches - 1)
        past = np.arange(first, first + cut.each) >= cut.batches
        entries = {
            n: np.stack([order[n][which] for order in orders])
            for n in orders[0]
            if n not in ("total", "index")
        }
        if name == "evaluation":
            lead = entries.pop("segments")
            lead[:, past] = 0
        else:
            lead = np.tile(np.arange(first, first + cut.each, dtype=np.int32), (self._width, 1))
        count = cut.each * self._batch
        places = np.arange(count, dtype=np.int32).reshape(cut.each, self._batch)
        lanes = (
            np.arange(self._width, dtype=np.int32)
            if cut.copies > 1
            else np.zeros(self._width, np.int32)
        )
        entries["index"] = places[None] + count * lanes[:, None, None]
        rows = self._rows([orders[i]["index"] for i in range(cut.copies)], which)
        return self._put((lead, entries)), self._put(rows)

    def _rows(self, orders: Sequence[np.ndarray], which: np.ndarray) -> Any:
        """The samples of some batches, one order after the other; what is equal is read once."""
        read = self._source.take(orders[0][which].reshape(-1))
        if len(orders) == 1:
            return read
        count = which.size * self._batch
        places = [slice(i * count, (i + 1) * count) for i in range(len(orders))]
        # Filled place by place, so that never more than one lane's samples are held twice.
        found = jax.tree.map(
            lambda leaf: np.empty((count * len(orders), *leaf.shape[1:]), leaf.dtype), read
        )
        leaves, first = jax.tree.leaves(found), {}
        for place, order in zip(places, orders, strict=True):
            known = first.setdefault(id(order), place)
            if known is not place:
                own = [leaf[known] for leaf in leaves]
            else:
                if place.start:
                    read = self._source.take(order[which].reshape(-1))
                own = jax.tree.leaves(read)
            for leaf, rows in zip(leaves, own, strict=True):
                leaf[place] = rows
        return found

    def probe_table(self) -> Table:
        """The samples that any lane's probes use."""
        index = [np.asarray(self._made.probe_index(self._put(dict(own)))) for own in self._own]
        one = self._made.passes["evaluation"].copies == 1
        return self._table(np.concatenate(index[:1] if one else index, axis=None))

    def step_table(self, lane: int, epoch: int, step: int) -> Table:
        """The samples of one lane's step."""
        order = self._made.orders["training"](self._put(dict(self._own[lane])), np.int32(epoch))
        return self._table(np.asarray(order["index"])[step])

    def _table(self, index: np.ndarray) -> Table:
        rows = np.unique(index)
        # As many as were asked for, so that seeds do not change the shape.
        rows = np.concatenate([rows, np.repeat(rows[-1:], index.size - rows.size)])
        return Table(self._put(rows.astype(np.int32)), self._put(self._source.take(rows)))

    # Checkpoints.

    def leaves(self) -> dict[str, np.ndarray]:
        """What an epoch under way has come to, by path, lane first; nothing between epochs."""
        if self._part is None:
            return {}
        position = np.full(self._width, self.position, np.int32)
        part = {f"{UNDER_WAY}/{path}": np.array(leaf) for path, leaf in by_path(self._part).items()}
        return {_POSITION: position, **part}

    def load(self, state: Any, lane: int, leaves: Mapping[str, np.ndarray]) -> bool:
        """Takes in one lane's leaves; True where a step of this epoch was not finite.

        Raises:
          ValueError: they do not fit, or belong to another step than those of other lanes.
        """
        position = int(leaves[_POSITION]) if _POSITION in leaves else 0
        if not position:
            return False
        if self._part is None:
            self._part, self.position = self._made.begin(state), position
        if position != self.position:
            raise ValueError(f"lanes stand at steps {position} and {self.position} of an epoch")
        for path, leaf in by_path(self._part).items():
            given = leaves.get(f"{UNDER_WAY}/{path}")
            if given is None or given.shape != leaf.shape[1:]:
                raise ValueError(
                    f"the checkpoint does not fit: {path} should have shape {leaf.shape[1:]}"
                )
        new = [
            leaf.at[lane].set(leaves[f"{UNDER_WAY}/{path}"])
            for path, leaf in by_path(self._part).items()
        ]
        self._part = jax.tree.unflatten(jax.tree.structure(self._part), new)
        return int(leaves[f"{UNDER_WAY}/bad"]) >= 0
