"""Every table the store holds: column names, types, units and formulas. The one truth."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import pyarrow as pa

FORMAT = 1
"""Version of the store's layout and schemas, kept in store.json."""

LOSS_UNIT = "loss_unit"
"""The unit that stands for what each trial's losses are in, as that column of `trials` says."""

TYPES: dict[str, pa.DataType] = {
    "bool": pa.bool_(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "float32": pa.float32(),
    "float64": pa.float64(),
    "string": pa.string(),
    "timestamp": pa.timestamp("us", tz="UTC"),
    "map": pa.map_(pa.string(), pa.float64()),
}


@dataclass(frozen=True)
class Column:
    """One column: its Arrow type by name (see `TYPES`), what it means, and its unit."""

    name: str
    type: str
    doc: str
    unit: str = ""

    def field(self) -> pa.Field:
        """The Arrow field, with `doc` and `unit` as metadata."""
        return pa.field(self.name, TYPES[self.type], metadata={"doc": self.doc, "unit": self.unit})


def columns_of(text: str) -> tuple[Column, ...]:
    """Columns from lines `name | type | unit | doc`; a line without bars goes on with the doc."""
    lines: list[str] = []
    for line in text.strip().splitlines():
        if "|" in line:
            lines.append(line)
        else:
            lines[-1] += " " + line.strip()
    rows = [[cell.strip() for cell in line.split("|", 3)] for line in lines]
    return tuple(Column(name, kind, doc, unit) for name, kind, unit, doc in rows)


KEYS = columns_of("""
    trial_id | string | | Trial: hash of its config and of its parts' versions.
    attempt  | int32  | | Which try at the trial wrote the row; later ones supersede earlier ones.
    epoch    | int32  | epochs | Epoch of training, 0 first.
""")
"""What every row must have of a table that is not one of `RECORDS`."""

OWNER = columns_of("""
    launch_id | string | | Launch that wrote the row; null in rows of older versions.
""")
"""What tells rows of one trial apart that were written into different stores and then copied into
one: attempts are numbered from 0 in each."""

TRIALS = columns_of("""
    trial_id | string | | Trial: hash of its config and of its parts' versions.
    attempt | int32 | | Number of this try, 0 first.
    event | int32 | | 0 start, 1 end; of one attempt the row with the greatest event counts.
    status | string | | running, done, diverged, stopped, failed, gate_failed, interrupted, pruned
        (ended early by a pruning rule; it can go on), or paused (waits for a rung's verdict).
    reason | string | | Why it has that status, in words.
    error | string | | Traceback of a failed attempt.
    stage | string | | Stage the trial runs, such as train or warmup.
    parent_id | string | | Trial whose weights this one started from; null for none.
    config | string | | Every config key and its value, as JSON.
    config_id | string | | Hash of the config without versions: shared by stale and newer trials.
    versions | string | | Versions of the trial's parts, as JSON.
    labels | string | | Names a paper has for the trial, such as comment flags, as JSON; each is a
        column of its own too.
    program | string | | Hash of the compiled program; equal for trials that can share a pack.
    first_epoch | int32 | epochs | First epoch this attempt writes.
    epochs_done | int32 | epochs | Epochs trained when the row was written.
    epochs_planned | int32 | epochs | Epochs the config asks for.
    bad_epoch | int32 | epochs | Epoch of the first non-finite step; null if none.
    bad_step | int32 | steps | First non-finite step within bad_epoch; null if none.
    chance_loss | float64 | loss_unit | Loss of a uniform guess, ln(classes), or of
        answering 0; null where undefined.
    loss_unit | string | | What the trial's losses are in, such as nats or squared error; null where
        its stage has a loss of another kind, and in stores of older versions.
    loss_terms | int64 | terms | Losses that a step's gradient sums, over samples and time; 1 where
        it is that of their mean, null in rows of older versions.
    parameters | int64 | | Number of trained scalars.
    rows | string | | Visible rows to expect from epoch 0 to the end, by table, as JSON.
    started | timestamp | UTC | When the attempt started.
    ended | timestamp | UTC | When the attempt ended; null while it runs.
    seconds | float64 | s | The pack's wall time divided by its active lanes.
    compile_seconds | float64 | s | Time the pack spent compiling. Each of its lanes has the same:
        sum it in packs or launches.
    device | string | | Kind of device it ran on.
    signature | string | | What fixes the lane's bits: strategy, width, device, flags; as JSON.
    pack | string | | Pack the lane belonged to.
    lane | int32 | | Slot within the pack.
    launch_id | string | | Launch that ran the attempt.
    follows | string | | Attempts that this one follows, each [attempt, launch_id], as JSON: first
        the one whose epochs before first_epoch it goes on from; null if an older version wrote it.
    host | string | | Machine it ran on.
    git_commit | string | | Commit of the code; '+' marks uncommitted changes.
    data_checksum | string | | Checksum of the data set.
    space | string | | Space whose launch ran the attempt, as study/space.
    metric_columns | string | | Metrics that it records, each with its unit and its better end (min,
        max, or null where nothing says it), as JSON; null in rows of older versions. Each is a
        column of epochs and runs.
    length_readers | string | | Parts that were seen to read how many epochs the trial has, as it
        was traced, joined by "; "; empty for none; null in rows of older versions.
    continues | string | | Shorter trial, equal but for its length, whose epochs before first_epoch
        are this trial's too; null for none.
    continues_attempt | string | | Attempt of that trial whose state it goes on from, as JSON:
        [attempt, launch_id]; null for none.
""")

DECISIONS = columns_of("""
    space | string | | Space whose launch took the decision, as study/space.
    rule | string | | Pruning rule: asha, halving, hyperband or median.
    trial_id | string | | Trial that was judged.
    rung | int32 | | Number of the rung, 0 first.
    epoch | int32 | epochs | Epochs that the trial had done.
    metric | string | | Column of epochs, or metric, that was compared.
    value | float64 | | Its value: of the trial, or of its seeds where these are judged together.
    against | string | | Values that it was compared with, by trial, as JSON.
    verdict | string | | go or prune.
    launch_id | string | | Launch that took the decision.
    decided | timestamp | UTC | When it was taken.
""")

EPOCHS = (
    KEYS
    + columns_of("""
    steps | int32 | steps | Optimizer steps the epoch has.
    finite_steps | int32 | steps | Steps that ended finite; float16's skipped ones are among them.
    loss | float64 | loss_unit | Mean over finite steps of the batch loss, before each update.
    loss_first | float64 | loss_unit | Loss of the epoch's first step.
    loss_last | float64 | loss_unit | Loss of the epoch's last finite step.
    loss_ratio | float64 | | loss divided by that of answering 0, such as half a teacher's mean
        squared output; null where the task has no such scale.
    accuracy | float64 | fraction | Mean training accuracy over finite steps.
    val_loss | float64 | loss_unit | Mean loss on the validation set after the epoch.
    val_accuracy | float64 | fraction | Accuracy on the validation set after the epoch.
    test_loss | float64 | loss_unit | Mean loss on the test set after the epoch.
    test_accuracy | float64 | fraction | Accuracy on the test set after the epoch.
    grad_norm | float64 | loss/param | Mean over finite steps of the total 2-norm, before clipping.
    grad_norm_min | float64 | loss/param | Smallest of those norms.
    grad_norm_max | float64 | loss/param | Largest of those norms.
    grad_norm_last | float64 | loss/param | That norm at the last finite step.
    grad_norm_clipped | float64 | loss/param | As grad_norm, after clipping and rescaling.
    grad_norm_clipped_min | float64 | loss/param | Smallest of those norms.
    grad_norm_clipped_max | float64 | loss/param | Largest of those norms.
    grad_norm_clipped_last | float64 | loss/param | That norm at the last finite step.
    grad_norm_smallest | float64 | loss/param | Mean over steps of the least non-zero tensor norm.
    zero_tensors | int32 | | Pairs (tensor, step) whose gradient norm was exactly 0.
    nonfinite_tensors | int32 | | Pairs (tensor, step) whose gradient was not finite.
    update_norm | float64 | param | Mean over finite steps of the 2-norm of the update.
    param_norm | float64 | param | 2-norm of all parameters after the epoch.
    bad_step | int32 | steps | First non-finite step of the epoch; null if none.
    seconds | float64 | s | Wall time of the pack's epoch divided by its active lanes.
    metrics | map | | Further metrics, by name. Each that metric_columns of trials names is a column
        too.
""")
    + OWNER
)

LAYERS = (
    KEYS
    + columns_of("""
    layer | int32 | | Layer, 0 nearest the input; the last one is the readout.
    layer_name | string | | Name of the layer.
    tensor | string | | Parameter tensor; '*' for the whole layer (norm of all its tensors joined).
    tensor_index | int32 | | Position of the tensor in registration order; -1 for '*'.
    grad_norm | float32 | loss/param | Mean over finite steps of the 2-norm, before clipping.
    grad_norm_min | float32 | loss/param | Smallest of those norms.
    grad_norm_max | float32 | loss/param | Largest of those norms.
    grad_norm_last | float32 | loss/param | That norm at the last finite step.
    zero_steps | int32 | steps | Steps at which the norm was exactly 0.
    nonfinite_steps | int32 | steps | Steps at which the gradient was not finite.
    update_norm | float32 | param | Mean over finite steps of the 2-norm of the update.
    param_norm | float32 | param | 2-norm of the parameters after the epoch.
    frozen | bool | | Whether the model declares the tensor as not trained, or all tensors of the
        layer; null in rows of older versions, which means false.
""")
    + OWNER
)

STEPS = (
    KEYS
    + columns_of("""
    step | int32 | steps | Step within the epoch, 0 first.
    loss | float32 | loss_unit | Batch loss before the update.
    grad_norm | float32 | loss/param | Total 2-norm before clipping.
    grad_norm_clipped | float32 | loss/param | Total 2-norm after clipping and rescaling.
    grad_norm_smallest | float32 | loss/param | Smallest non-zero tensor norm.
    update_norm | float32 | param | 2-norm of the update.
""")
    + OWNER
)

TIMELINE = (
    KEYS
    + columns_of("""
    layer | int32 | | Recurrent layer, 0 nearest the input.
    t | int32 | time steps | Time step, 0 first.
    grad_norm | float64 | loss per unit of h | 2-norm over batch and units of dL/dh_t.
""")
    + OWNER
)

DIAGNOSIS = columns_of("""
    trial_id | string | | Trial.
    verdict | string | | exploding, diverged, dead, rising, vanishing, vanishing_mild, plateau,
        healthy or undetermined: the first whose rule holds. open: none does so far, in a trial
        that was pruned or is paused.
    first_bad_epoch | int32 | epochs | First epoch at which the verdict's rule held; null for
        healthy, undetermined and open.
    exploding | bool | | A burst before anything non-finite, in a trial that became non-finite or
        has not learned.
    diverged | bool | | A loss or gradient was not finite.
    dead | bool | | In every step of the last finite epoch the gradient of all tensors that are no
        bias is exactly 0, and the trial has not learned.
    vanishing_depth | bool | | In recent_share of the last recent_epochs: depth_slope and R2 at
        least as the rules say, or depth_ratio below its rule.
    vanishing_abs | bool | | In recent_share of the last recent_epochs the smallest layer norm
        is below abs_norm * loss_scale; false without a guess_loss.
    vanishing_epochs | bool | | log10 of the total or the first layer's norm falls by
        epochs_slope per epoch while the loss falls by less than epochs_loss_fall; false without
        a guess_loss.
    plateau | bool | | window_fall < plateau_fall, risen by no more than rising_loss, and loss_end >
        plateau_loss * guess_loss; null without a guess_loss if the loss is flat, and if it is flat
        in a censored trial that ended before it had as many epochs as the window asks for.
    healthy | bool | | spread <= healthy_spread, loss_spearman <= healthy_rho and the loss is not
        flat; or learned, and the loss fell by learned_fall, or by converged_fall where no
        weight has a gradient any more.
    converged | bool | | Learned, and the loss fell by converged_fall or has stopped changing:
        never called dead or vanishing.
    epochs | int64 | epochs | Epochs with a finite step.
    loss_start | float64 | loss_unit | Loss of the first step.
    loss_end | float64 | loss_unit | Mean loss of the last finite epoch.
    loss_fall | float64 | fraction | (loss_start - loss_end) / loss_start.
    window_fall | float64 | fraction | The same over the last min(max(plateau_epochs,
        plateau_share * epochs), epochs) epochs; the share of a censored trial is that of
        epochs_planned.
    loss_spearman | float64 | | Spearman's rank correlation of epoch and loss.
    chance_loss | float64 | loss_unit | Loss of a uniform guess, or of answering 0.
    largest_norm | float64 | loss/param | Greatest finite gradient norm of any step.
    smallest_norm | float64 | loss/param | Least layer norm of the last finite epoch, frozen layers
        left out; of any tensor where layers were not recorded.
    depth_slope | float64 | decades/layer | Least-squares slope of log10 layer norm against
        layer, readout left out, last epoch.
    depth_r2 | float64 | | R2 of that line.
    depth_ratio | float64 | | Norm of the first layer divided by that of the last before the
        readout.
    spread | float64 | decades | Greatest minus least log10 layer norm, readout left out, last
        epoch.
    total_slope | float64 | decades/epoch | Slope of log10 grad_norm against epoch.
    first_slope | float64 | decades/epoch | Slope of log10 of the first layer's norm against epoch.
    bad_epoch | int32 | epochs | First epoch with something not finite.
    rising | bool | | loss_end - loss_start > rising_loss * the greater of |loss_start| and
        guess_loss (least_loss without one), and the trial has not learned.
    burst | bool | | Some step's gradient norm > explode_growth * the greater of norm_start and
        loss_scale, some loss > explode_loss * guess_loss, or one of them was infinite.
    burst_epoch | int32 | epochs | First epoch with such a step.
    norm_start | float64 | loss/param | Least gradient norm of a step of the first epoch.
    loss_scale | float64 | loss | guess_loss, or without one the greater of |loss_start| and
        least_loss, times the losses that a gradient sums.
    guess_loss | float64 | loss_unit | Loss of one that knows nothing: chance_loss, or that of
        answering 0 where loss_ratio is recorded; null where neither is.
    frozen_layers | string | | Layers that the model declares frozen, and those whose gradient was
        exactly 0 in every step of every epoch while the next one above learned: frozen by design.
        They count in no other rule.
    censored | bool | | The trial was pruned or is paused: it is known up to its last epoch, and
        what the rules say holds up to there.
    epochs_planned | int32 | epochs | Epochs that its config asks for.
    monitor | string | | Column of epochs, or metric, that the trial watches: its key monitor, or
        val_loss where it has none. No verdict reads it.
    monitor_start | float64 | | Its value in the first epoch that has one.
    monitor_end | float64 | | Its value in the last epoch that has one.
    monitor_best | float64 | | Its best value: the greatest or the least, as monitor_mode says, or
        the metric's declaration.
    evidence | string | | These numbers and every threshold, as JSON.
""")
"""Columns of the view `diagnosis`; the thresholds named are those of `diagnosis.RULES`."""

TABLES: dict[str, tuple[Column, ...]] = {
    "trials": TRIALS,
    "decisions": DECISIONS,
    "epochs": EPOCHS,
    "layers": LAYERS,
    "steps": STEPS,
    "probes/timeline": TIMELINE,
}

RECORDS = ("trials", "decisions")
"""Tables whose rows are none of an epoch."""

REQUIRED: dict[str, tuple[str, ...]] = {
    "trials": ("trial_id", "attempt", "event", "status", "config", "rows"),
    "decisions": ("rule", "trial_id", "rung", "verdict"),
    "epochs": ("trial_id", "attempt", "epoch", "loss"),
    "layers": ("trial_id", "attempt", "epoch", "layer", "tensor"),
    "steps": ("trial_id", "attempt", "epoch", "step"),
    "probes/timeline": ("trial_id", "attempt", "epoch", "layer", "t"),
}
"""Columns that tell a part of a table from any other file. Every part has had them."""

MEASURED = tuple(
    column.name
    for column in EPOCHS
    if column.type in ("float64", "int32") and column.name not in ("attempt", "epoch", "bad_step")
)
"""Columns of `epochs` that are measured: what may be ranked, watched and drawn, as metrics may."""

FINISHED = ("done", "diverged", "stopped", "gate_failed")
"""Statuses that need no further attempt: each is a result."""

CENSORED = ("pruned", "paused")
"""Statuses of trials that are known up to an epoch and can go on from a kept state."""


_VIEWS = {
    "trials", "decisions", "epochs", "layers", "steps", "runs", "diagnosis", "launches", "packs",
    "attempts", "conflicts", "spaces", "space_trials", "configs", "visible", "lines",
    "run_origins", "run_verdicts", "kept_diagnosis", "numbered_epochs", "numbered_layers",
    "monitors", "monitored",
}  # fmt: skip


def is_view(name: str) -> bool:
    """Whether a view or table of SQL that is no probe's has that name, in any case of letters."""
    return name.lower() in _VIEWS or name.lower().startswith(
        ("all_", "arrow_", "counts_", "files_")
    )


def table_name(name: str) -> str:
    """`name` as a folder of the store: a bare probe name gets its 'probes/' in front."""
    return name if name in TABLES or name.startswith("probes/") else f"probes/{name}"


@cache
def arrow_schema(table: str) -> pa.Schema | None:
    """The pinned Arrow schema of a built-in table; None for a user's probe."""
    columns = TABLES.get(table)
    return pa.schema([column.field() for column in columns]) if columns else None


def probe_schema(columns: Iterable[Mapping[str, Any]]) -> pa.Schema:
    """Schema of a probe table from its declaration (`{name, type, doc, unit}` each), keys and owner
    added."""
    own = [Column(c["name"], c["type"], c.get("doc", ""), c.get("unit", "")) for c in columns]
    return pa.schema([column.field() for column in (*KEYS, *own, *OWNER)])
