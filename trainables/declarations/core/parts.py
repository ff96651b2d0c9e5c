"""The parts a trial is made of: base, stage, model, task, optimizer. Declarations only, no JAX."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

from trainables.declarations.core.keys import Key, Scalar, cadence
from trainables.declarations.core.rate_keys import rate_keys
from trainables.declarations.core.step_keys import STEP_KEYS

Config = Mapping[str, Any]
Code = Callable[..., Any] | str
"""A function or class, or its place as "package.module:name", which is imported when first used."""


class PartError(ValueError):
    """A part is not what it declares, or does not fit another: one sentence, with the remedy."""


def nothing(config: Config) -> None:
    return None


def _one(config: Config) -> int:
    return 1


def loaded(code: Code) -> Callable[..., Any]:
    """The function or class that `code` is or names."""
    if not isinstance(code, str):
        return code
    module, _, name = code.partition(":")
    return getattr(importlib.import_module(module), name)


@dataclass(frozen=True)
class Column:
    """One column of a probe's table. `type` is an Arrow name: int32, int64, float32, float64,
    string, bool."""

    name: str
    type: str
    doc: str
    unit: str = ""


@dataclass(frozen=True)
class Probe:
    """A table of measurements, and how often a trial makes them.

        def spectrum(model, batch, config):
            return {"value": jnp.linalg.svd(model.readout.kernel[...], compute_uv=False)}

        Probe("spectrum", (Column("value", "float64", "Singular value."),), measure=spectrum)

    `measure(model, batch, config) -> {column: array}` gives the rows: arrays of shape (rows,), or a
    number that all rows share. It runs between epochs, compiled, for each trial alone. `model` is
    the module, ready to call, in evaluation mode; of a `Loop` it is the state that `step` gets.
    `batch` is a fixed batch of the training set, a dict of arrays with "weight" (batch,) among
    them, or None without a task. `config` holds the trial's static, traced and recording keys. What
    is no JAX array, such as a list of names, is the same for all trials of a program.

    Attributes:
      columns: of its table; the store adds trial_id, attempt and epoch.
      measure: what fills the rows, as above.
      build: in place of `measure`, for what needs more than that:
        `build(engine, trial) -> (shared columns, measure) | None` gives the columns that all lanes
        share, and a `trainables.core.engine.Measure`; None where the engine has nothing to measure.
        A probe that its stage fills during epochs has neither.
      keys: what a trial says of it. `<probe>_every` is its cadence: 0 at the first and last epoch
        only, k also every k-th, null never. With `measure` it is there without being declared.
      check: impossible combinations of its keys, as sentences.
      every_model: every model can fill it, without naming it; so it is of a probe with `measure`
        in `Study(probes=...)` unless this is False.
      on_host: `measure` runs outside any compiled program, and is given and returns NumPy arrays.
      rows: how many it has each time, a number or a function of the config; `plan` estimates by it.
    """

    name: str
    columns: tuple[Column, ...]
    doc: str = ""
    build: Code | None = None
    keys: tuple[Key, ...] = ()
    check: Callable[[Config], list[str]] | None = None
    every_model: bool | None = None
    measure: Code | None = None
    on_host: bool = False
    rows: int | Callable[[Config], int] | None = None

    def __post_init__(self) -> None:
        names = [getattr(key, "name", None) for key in self.keys]
        if self.measure is not None and f"{self.name}_every" not in names:
            object.__setattr__(self, "keys", (cadence(self.name, f"probe {self.name}"), *self.keys))


@dataclass(frozen=True)
class Metric:
    """A number that a task measures beside its loss, as tables and figures present it.

    Attributes:
      name: as the task's `metrics` function returns it. Columns are `name` (mean over the training
        steps of an epoch), `val_name` and `test_name`.
      unit: what its values are in; "" where they have none.
      mode: "min" where a lower value is better, "max" where a higher one is.
    """

    name: str
    unit: str = ""
    mode: Literal["min", "max"] = "min"
    doc: str = ""


@dataclass(frozen=True, kw_only=True)
class Part:
    """A named, versioned set of keys.

    Attributes:
      name: as written in a config.
      keys: every key this part reads, each declared here and nowhere else.
      version: raised when the part's numbers or a default change; part of the trial id. None in a
        user's file means: versioned by what it depends on in the user's own code.
      check: impossible combinations of its keys, as sentences.
      aliases: the papers' spellings of `name`.
      build: what makes the part, a function or its place; its signature is given in the docstring
        of each subclass.
      probes: the tables it can fill, as probes or their names; a trial of it has their keys too.
      variants: names a paper has for a trial of it, by column of `trials`; no part of its identity.
      undeclared: keys that its functions read and that it does not declare, which a trial has where
        its config gives them and none of its parts declares them; found as a study is read.
    """

    role: ClassVar[str] = "base"
    name: str
    keys: tuple[Key, ...] = ()
    version: int | str | None = None
    doc: str = ""
    check: Callable[[Config], list[str]] | None = None
    aliases: tuple[str, ...] = ()
    build: Code | None = None
    probes: tuple[Probe | str, ...] = ()
    variants: Callable[[Config], Mapping[str, str]] | None = None
    undeclared: tuple[Key, ...] | None = None

    def builder(self) -> Callable[..., Any]:
        """The function that makes the part.

        Raises:
          ValueError: it declares none.
        """
        if self.build is None:
            raise ValueError(f"{self.role} {self.name} declares no build function; give it one")
        return loaded(self.build)


Split = Literal["pool", "apart", "shares", "drawn"]


@dataclass(frozen=True)
class Sizes:
    """Shapes of a task, known without its data. `steps` is optimizer steps per epoch.

    Inputs are numbers (batch, seq_len, features); where `tokens`, integers (batch, seq_len) below
    `features`, the size of the vocabulary; where `padded`, token 0 fills short samples up. A task
    of other inputs leaves seq_len, features and classes at 1. With `documents` of 2, inputs are
    pairs of texts, integers (batch, 2, seq_len).

    Attributes:
      split: where validation and test samples lie. "pool": validation is drawn from the first
        n_train + n_val samples, the test set follows them. "apart": training, validation and test
        samples follow each other. "shares": validation and test are drawn from all samples.
        "drawn": every batch is drawn anew.
    """

    seq_len: int = 1
    features: int = 1
    classes: int = 1
    n_train: int = 0
    n_val: int = 0
    n_test: int = 0
    batch_size: int = 32
    tokens: bool = False
    padded: bool = False
    split: Split = "pool"
    documents: int = 1

    @property
    def steps(self) -> int:
        return -(-self.n_train // self.batch_size)


@dataclass(frozen=True, kw_only=True)
class Model(Part):
    """A network. `build(config, sizes, rngs)` gives a `flax.nnx.Module`, called as `module(x)`, x
    of shape (batch, seq_len, features), giving logits of shape (batch, classes); or a
    `flax.linen.Module`; or an `equinox.Module`, which is called with one sample.

    Attributes:
      frozen: layers that are not trained, by name or pattern: "features" (and all within it),
        "features.*", "*.bias"; several in a tuple; or a function (config) -> names, which reads
        static keys.
      every_step: its logits may be (batch, seq_len, classes); a label (batch,) then holds at every
        time step, and the losses are averaged. Without it such logits are refused.
      cell: of a model that stacks one recurrent layer: `cell(units, config, sizes)` gives it, a
        `trainables.layers.gated.Cell`, and `build` gets that function as `cell`.
      rows: numbers of parameter tensors and of layers, without building the model, which `plan`
        estimates rows by; it may be left out.
      tree: `build(key, config)` gives a tree of arrays, as an Objective's `init` does.
    """

    role: ClassVar[str] = "model"
    every_step: bool = False
    frozen: tuple[str, ...] | str | Callable[[Config], Sequence[str]] = ()
    cell: Code | None = None
    rows: Callable[[Config, Sizes], tuple[int, int]] | None = None
    tree: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.frozen, list):  # parts are keys of what is compiled, and a list is none
            object.__setattr__(self, "frozen", tuple(self.frozen))

    def builder(self) -> Callable[..., Any]:
        build = super().builder()
        if self.tree:
            return partial(loaded("trainables.models.plain_tree:tree_model"), init=build)
        return partial(build, cell=loaded(self.cell)) if self.cell else build


@dataclass(frozen=True, kw_only=True)
class Task(Part):
    """Data, loss and metrics.

    `build(config) -> dict of arrays`, each of any type and shape (n, ...), or a dict of such dicts:
    `{"x": ..., "y": ...}`. The model is called with `x`, or with the whole batch where no array has
    that name. A test set may be given as `x_test`, `y_test`, or training, validation and test set
    apart: `{"train": {...}, "val": {...}, "test": {...}}`. With `dataset`, the arrays of that data
    set are a second argument.

    Attributes:
      loss: `loss(outputs, batch, config)`, a number for each sample (batch,) or one for the whole
        batch. Without it: the cross-entropy of logits and the whole numbers `y`.
      metrics: `metrics(outputs, batch, config) -> {name: number}`, each (batch,) or a scalar.
        `batch` is a dict of arrays as `build` named them, and "weight" (batch,): 0 for the samples
        that only fill the last batch up.
      augment: `augment(key, batch) -> batch`, for training batches, on the device.
      batch_size: samples of a batch, or a function of the config; for a task without `sizes`.
      split: shares of the samples that validate and test, `{"val": 0.2, "test": 0.1}`; for a task
        without `sizes` whose arrays are not given apart. `{"val": 0.2}` where nothing is said.
      steps: steps of an epoch, or a function of the config, of a task without arrays.
      sizes: `sizes(config)`, or a Sizes. Without it the data are built once to see.
      classes: how many there are, where the task has no `sizes`; one more than the greatest label
        where nothing is said.
      stream: data stay where `build` left them and are read batch by batch, for what is larger than
        the device or than memory. `build` then returns memory-mapped arrays
        (`np.load(file, mmap_mode="r")`), any objects with `shape` and `dtype` that take an array of
        row numbers as an index, or one that gives samples singly, `len(source)` and `source[i]`, a
        dict of arrays, such as a data source of Grain.
      stream_steps: steps of one call of the compiled program, and so between two checks for a stop
        or a checkpoint; without it as many as 64 MB of samples for all lanes.
      dataset: name of a built-in data set.
      runtime: a class with `of(trial)`, which gives the task's functions
        (`trainables.tasks.base.TaskRuntime`), and `data(trial, arrays)`, the arrays they read.
      chance_loss: the loss of a guess; None where there is none.
      loss_unit: what its losses are in: nats for a cross-entropy, which is said where there is no
        `loss`, a word such as squared error, or a function of the config.
      loss_terms: losses that a step's gradient sums, over samples and time; 1 where it is that of
        their mean.
      metric_columns: unit and better end of what its metrics function returns.
    """

    role: ClassVar[str] = "task"
    runtime: Code = "trainables.tasks.user_task:UserTask"
    loss: Callable[..., Any] | None = None
    metrics: Callable[..., Any] | None = None
    augment: Callable[..., Any] | None = None
    batch_size: int | Callable[[Config], int] = 32
    split: Mapping[str, float] | None = None
    steps: int | Callable[[Config], int] | None = None
    sizes: Callable[[Config], Sizes] | Sizes | None = None
    classes: int | None = None
    stream: bool = False
    stream_steps: int | None = None
    dataset: Callable[[Config], str | None] = nothing
    chance_loss: Callable[[Config], float | None] = nothing
    loss_unit: str | Callable[[Config], str | None] | None = None
    loss_terms: Callable[[Config], int] = _one
    metric_columns: tuple[Metric, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Objective(Part):
    """A model and its task as two plain functions of JAX, without a class.

    A config names it once, `{"objective": "name"}`, for both.

        def init(key, config):
            return {"w": jax.random.normal(key, (3,))}

        def loss(tree, batch, key, config):
            return jnp.mean((batch["x"] @ tree["w"] - batch["y"]) ** 2)

    Attributes:
      init: `init(key, config) -> tree` of arrays; the layers of the store are named by its paths.
      loss: `loss(tree, batch, key, config) -> scalar`, or `(scalar, {metric: scalar})`. `batch` is
        a dict of arrays, with "weight" as for a Task; empty without `data`. `key` is another one
        in every step.
      data: `data(config) -> dict of arrays`, as `build` of a Task.
      steps: steps of an epoch where there are no data.
      batch_size, split, sizes, stream, stream_steps, loss_unit, chance_loss, metric_columns: as for
        a Task.
    """

    role: ClassVar[str] = "objective"
    init: Callable[..., Any]
    loss: Callable[..., Any]
    data: Callable[..., Any] | None = None
    steps: int | Callable[[Config], int] | None = None
    batch_size: int | Callable[[Config], int] = 32
    split: Mapping[str, float] | None = None
    sizes: Callable[[Config], Sizes] | Sizes | None = None
    stream: bool = False
    stream_steps: int | None = None
    loss_unit: str | None = None
    chance_loss: Callable[[Config], float | None] = nothing
    metric_columns: tuple[Metric, ...] = ()

    def parts(self) -> tuple[Model, Task]:
        """The model and the task that it stands for, both of its name and version."""
        shared: dict[str, Any] = {
            "name": self.name, "keys": self.keys, "version": self.version, "doc": self.doc,
            "undeclared": self.undeclared,
        }  # fmt: skip
        drawn = self.data is None
        model = Model(
            **shared, build=self.init, tree=True, check=self.check, probes=self.probes,
            variants=self.variants,
        )  # fmt: skip
        task = Task(
            **shared,
            build=self.data,
            runtime="trainables.tasks.objective:ObjectiveTask",
            loss=self.loss,
            steps=(self.steps or 100) if drawn else None,
            batch_size=1 if drawn else self.batch_size,
            split=self.split,
            sizes=self.sizes,
            stream=self.stream,
            stream_steps=self.stream_steps,
            loss_unit=self.loss_unit,
            chance_loss=self.chance_loss,
            metric_columns=self.metric_columns,
        )
        return model, task


_CONSTANT = "trainables.optim.schedules:Constant"


@dataclass(frozen=True, kw_only=True)
class Optimizer(Part):
    """An update rule. `build(config, hparams) -> optax.GradientTransformation`; every traced key is
    an array in `hparams`.

    One that has the traced key `lr` has the keys of schedules and of the warm-up too
    (`trainables.declarations.core.rate_keys`), and `hparams["lr"]` is the rate of the step.

    Attributes:
      schedule: `schedule(config)` gives how `lr` changes with `lr_schedule=auto`: a
        `trainables.optim.schedules.Constant`, which is the default, or one of its kind.
      groups: further rates that `hparams` then has, of groups of parameters, each with the key that
        says which share of `lr` it is; they change as `lr` does.
      reads_length: `config` also has the trial's `epochs`, `steps_per_epoch` and `total_steps` as
        whole numbers, so that any schedule of optax can be made of them; trials of other lengths
        then are other programs. `hparams` has the three as arrays. False: neither, and one program
        serves all lengths.
    """

    role: ClassVar[str] = "optimizer"
    schedule: Code = _CONSTANT
    reads_length: bool = True
    groups: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        ours = isinstance(self.build, str) and self.build.startswith("trainables.")
        if isinstance(self.keys, tuple | list) and (ours or self.schedule == _CONSTANT):
            object.__setattr__(self, "keys", (*self.keys, *rate_keys(self.keys, ours)))


_TRAINING = "trainables.training.epoch:Training"
Gate = Callable[[Config, Mapping[str, Any]], str | None]


@dataclass(frozen=True, kw_only=True)
class Stage(Part):
    """What is done to a model: training, or a pretraining another stage starts from.

    Attributes:
      reads: roles of the other parts it reads.
      parent: the stage whose artifact this one starts from, given the config; None for none. The
        child's config then holds the parent's keys too.
      epochs_key: the host key that says how many epochs it runs; None for an analysis, which runs
        once and fills probes only.
      gate: judged on the last row of `epochs` (`row["metrics"]` is a dict); a reason why children
        must not start, or None.
      rename: this stage's own keys by the names the shared training code reads
        (`{"lr": "pretrain_lr"}`).
      task_loss: whether its loss is the task's, so that a chance loss means something.
      dataset: name of the data set that a stage without a task reads.

    `build(trial, task, values) -> trainables.core.engine.Engine` gives the loop: plain training by
    default, which has the keys `accumulate` and `compute_dtype`. `task` is the task's functions,
    `values` those of one lane.
    """

    role: ClassVar[str] = "stage"
    own_weights: ClassVar[bool] = False
    """Whether it makes its weights itself, without a model."""
    build: Code | None = _TRAINING
    reads: tuple[str, ...] = ("model", "task", "optimizer")
    parent: Callable[[Config], str | None] = nothing
    epochs_key: str | None = "epochs"
    gate: Gate | None = None
    rename: Mapping[str, str | Scalar] | None = None
    task_loss: bool = True
    dataset: Callable[[Config], str | None] = nothing

    def __post_init__(self) -> None:
        if self.build == _TRAINING:
            own = {key.name for key in self.keys}
            added = (key for key in STEP_KEYS if key.name not in own)
            object.__setattr__(self, "keys", (*self.keys, *added))
