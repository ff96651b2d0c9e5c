"""Declaration of the task of identifying a linear system (docs/specs/zucchet2024.md, 2)."""

from __future__ import annotations

from dataclasses import replace

from trainables.declarations.core.keys import Key
from trainables.declarations.core.parts import Config, Sizes, Task
from trainables.declarations.core.presets import Meaning, Preset
from trainables.declarations.models.linear_rnn import MAX_PHASE, MIN_NU, SCALAR_TASK, flag
from trainables.declarations.tasks.base import BATCH, SEQ_LEN, needs_every_step, with_default


def _sizes(config: Config) -> Sizes:
    batch = config["batch_size"]
    held = config["eval_batches"] * batch
    shape = config["seq_len"], config["d_input"], config["d_output"]
    return Sizes(*shape, config["steps_per_epoch"] * batch, held, held, batch)


def _check(config: Config) -> list[str]:
    found = needs_every_step(config, SCALAR_TASK)
    if config.get("pooling", "none") != "none":
        found.append(f"task {SCALAR_TASK} needs an output at every step; set pooling=none")
    order, sides = config["teacher_order"], (config["d_input"], config["d_output"])
    if not config["teacher_maps"] and sides != (order, order):
        found.append(
            "teacher_maps=false makes inputs and outputs the teacher's states: set d_input and "
            f"d_output to teacher_order={order}"
        )
    if config["teacher_form"] != "dense" and config["prng"] == "original":
        found.append(
            f"teacher_form={config['teacher_form']} is drawn by JAX's generator of today only; "
            "leave prng out"
        )
    least = config["teacher_min_nu"]
    least = config["min_nu"] if least is None else least
    if least > config["teacher_max_nu"]:
        found.append(
            f"the teacher's moduli lie from {least:g} to teacher_max_nu="
            f"{config['teacher_max_nu']:g}, which is nowhere; lower teacher_min_nu or min_nu"
        )
    return found


OWN_RING = Preset(
    name="force_lsi_min_nu_model",
    read=lambda value, config: Meaning(
        {}, {} if flag(value) else {"teacher_min_nu": 0.0, "teacher_max_phase": 3.14}
    ),
    doc="As the published program writes it: true, the teacher has the student's min_nu and "
    "max_phase, as where it is left out; false, it has lsi_min_nu and lsi_max_phase.",
)
TEACHER_STUDENT = Task(
    name=SCALAR_TASK,
    version=1,
    runtime="trainables.tasks.teacher_student:TeacherStudent",
    doc="Identify a random linear system from white noise: the squared error of every output.",
    keys=(
        with_default(BATCH, 128),
        replace(SEQ_LEN, default=300, doc="Time steps T.", aliases=(*SEQ_LEN.aliases, "lsi_T")),
        Key("steps_per_epoch", "int", 100, "static", "Batches drawn for each epoch.", low=1,
            aliases=("n_batches_per_epoch",)),
        Key("eval_batches", "int", 2, "static",
            "Batches of validation and as many of test, fixed; their loss is the training loss's, "
            "as every training batch is new.", low=0),
        Key("teacher_seed", "int", 42, "traced", "Draws the teacher; 42 as published, whatever the "
            "trial's seed.", low=0, high=2**31 - 1),
        Key("teacher_order", "int", 10, "static", "Units of the teacher.", low=1,
            aliases=("lsi_d_hidden",)),
        Key("prng", "str", "partitionable", "static",
            "How JAX draws the teacher. partitionable: as today; original: as at the paper's time "
            "(jax_threefry_partitionable=False), which gives another teacher of the same seed.",
            choices=("partitionable", "original")),
        MIN_NU,
        MAX_PHASE,
        Key("teacher_min_nu", "float", None, "traced",
            "Smallest modulus of the teacher's eigenvalues; null: that of the student.", low=0,
            high=1, open_high=True, nullable=True, aliases=("lsi_min_nu",)),
        Key("teacher_max_nu", "float", 1.0, "traced",
            "Largest modulus of the teacher's eigenvalues.", low=0, high=1, open_low=True,
            aliases=("lsi_max_nu",)),
        Key("teacher_max_phase", "float", None, "traced",
            "Largest phase of the teacher's eigenvalues; null: that of the student.", unit="rad",
            low=0, high=3.1415927, nullable=True, aliases=("lsi_max_phase",)),
        Key("teacher_form", "str", "dense", "static",
            "dense: real, A of Gaussian entries with its eigenvalues moved into the ring; "
            "diagonal_complex: eigenvalues uniform in modulus and phase, complex B and C, and the "
            "real part as output.", choices=("dense", "diagonal_complex"),
            aliases=("lsi_parametrization",)),
        Key("teacher_maps", "bool", True, "static",
            "false: the teacher's B and C are the identity and its D is 0.",
            aliases=("lsi_use_B_C_D",)),
        Key("teacher_norm", "str", "none", "static",
            "Factor on the input of each of the teacher's modes: L2: sqrt(1 - |lambda|^2); L1: "
            "1 - |lambda|; none: 1.", choices=("none", "L1", "L2"),
            aliases=("lsi_normalization",)),
        Key("d_input", "int", 1, "static", "Inputs of a time step.", low=1),
        Key("d_output", "int", 1, "static", "Outputs of a time step.", low=1),
        Key("input_type", "str", "gaussian", "static",
            "gaussian: independent inputs at every step; constant: the first one at every step.",
            choices=("gaussian", "constant"), aliases=("lsi_input_type",)),
        Key("input_mean", "float", 0.0, "traced", "Mean of the inputs.",
            aliases=("lsi_input_mean",)),
        Key("input_std", "float", 1.0, "traced", "Standard deviation of the inputs.", low=0,
            aliases=("lsi_input_std",)),
        Key("output_noise", "float", 0.0, "static",
            "Standard deviation of Gaussian noise on every output of the teacher.", low=0,
            aliases=("lsi_noise_std",)),
    ),
    sizes=_sizes,
    loss_unit="half squared error",
    check=_check,
    aliases=("lsi", "linear-system-identification"),
)  # fmt: skip
