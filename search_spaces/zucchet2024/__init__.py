"""zucchet2024: the curse of memory. Scans of a linear student that learns a linear teacher.

The published grids of "Recurrent neural networks: vanishing and exploding gradients are not the end
of the story" (arXiv 2405.21064). Where the published program has defects, and what was measured:
docs/studies/zucchet2024.md.
"""

from search_spaces.study import Space, Study, grid
from search_spaces.zucchet2024.analyses import ANALYSES
from search_spaces.zucchet2024.claims import CLAIMS, DRAWN

SEEDS = grid(*range(2023, 2033))
MEMORIES = grid(0.36, 0.68, 0.84, 0.92, 0.96, 0.98, 0.99)
PHASES = grid(3.14, 0.993, 0.314, 0.0993, 0.0314)

# 10,000 steps: 100 epochs of 100 batches, which are all new. A teacher has the student's min_nu and
# max_phase. The published program stops on NaN alone; 1e9 is a million times any teacher's energy.
_TRAINING = {
    "task": "teacher_student",
    "optimizer": "adam",
    "lr_end": 1e-7,
    "epochs": 100,
    "diverge_above": 1e9,
    "effective_lr_every": 1,
    "moduli_every": 0,
    "max_phase": 3.14,
}
_LRU = {**_TRAINING, "model": "lru"}
_COMPLEX = {**_TRAINING, "model": "lru", "lru_param": "default", "lru_gamma": "none"}
_RNN = {**_TRAINING, "model": "linear_rnn"}
_HARD = {"min_nu": 0.99}

# As published: the learning rate of the lowest mean loss of the last epoch, mean and standard error
# over seeds. `--average published` skips diverged seeds in that mean, as the source does.
_SELECT = {
    "choose": "lr", "metric": "loss", "mode": "min", "report": "loss_ratio", "over": "seed",
}  # fmt: skip
_SMALL = {
    "epochs": 2, "steps_per_epoch": 5, "seq_len": 50, "batch_size": 16, "eval_batches": 1,
    "seed": [2023, 2024],
}  # fmt: skip
_FIGURES = ("effective_lr", "training_loss", "grad_norms", "grad_per_layer", "timeline")


def _scan(reproduces, param_space, figures, doc="", smoke=None, select=None, extension=False):
    return Space(
        reproduces=reproduces,
        doc=doc,
        param_space={**param_space, "seed": SEEDS},
        select=_SELECT if select is None else select,
        smoke={**_SMALL, **(smoke or {})},
        figures=(*figures, *_FIGURES),
        extension=extension,
    )


COMPARISON_LRU = _scan(
    "figure 3A: LRU",
    {**_LRU, "lr": grid(0.32, 0.1, 0.032, 0.01, 0.0032), "min_nu": MEMORIES},
    smoke={"lr": [0.01, 0.0032], "min_nu": [0.36, 0.99]},
    figures=("curse_of_memory",),
)
COMPARISON_RNN = _scan(
    "figure 3A and the first bar of 3B: dense RNN",
    {**_RNN, "lr": grid(3.2e-3, 1e-3, 3.2e-4, 1e-4, 3.2e-5), "min_nu": MEMORIES},
    smoke={"lr": [1e-3, 3.2e-4], "min_nu": [0.36, 0.99]},
    figures=("curse_of_memory",),
)
COMPARISON_BASELINE = _scan(
    "a first epoch of LRU, which the source loads and does not draw",
    {
        **_LRU,
        "lr": 1e-3,
        "epochs": 1,
        "batch_size": 1024,
        "min_nu": grid(0.32, 0.68, 0.84, 0.92, 0.96, 0.98, 0.99),
    },
    doc="Its easiest memory is .32, where that of the other scans is .36: as published.",
    select={"metric": "loss", "mode": "min", "report": "loss_ratio", "over": "seed"},
    smoke={"min_nu": [0.32, 0.99]},
    figures=(),
)
ABLATION_P1 = _scan(
    "figure 3B: complex diagonal, with gamma, LRU",
    {
        **_LRU,
        **_HARD,
        "lr": grid(0.1, 0.032, 0.01, 0.0032, 0.001, 3.2e-4, 1e-4),
        "lru_param": grid("exp", "default"),
        "lru_gamma": grid("learned", "none"),
    },
    doc="The published gamma of lru_param default starts at sqrt(1 - Re(lambda)^2): --set "
    "compat=true.",
    smoke={"lr": [0.01, 0.0032]},
    figures=("ablation",),
)
_BLOCK_RATES = grid(0.01, 0.0032, 0.001, 3.2e-4)
ABLATION_P2 = _scan(
    "figure 3B: block-diagonal, 32 blocks of 2 units",
    {**_RNN, **_HARD, "heads": 32, "lr": _BLOCK_RATES},
    smoke={"lr": [0.01, 0.0032]},
    figures=("ablation",),
)
ABLATION_P3 = _scan(
    "figure 3B: more neurons, 64 blocks of 2 units",
    {**_RNN, **_HARD, "width": 128, "heads": 64, "lr": _BLOCK_RATES},
    smoke={"lr": [0.01, 0.0032]},
    figures=("ablation",),
)
SHRINK_P1 = _scan(
    "figure 10: LRU",
    {
        **_LRU,
        **_HARD,
        "lr": grid(1.0, 0.32, 0.1, 0.032, 0.01, 0.0032, 0.001, 3.2e-4),
        "max_phase": PHASES,
    },
    smoke={"lr": [0.01, 0.0032], "max_phase": [3.14, 0.0314]},
    figures=("concentration",),
)
SHRINK_P2 = _scan(
    "figure 10: complex diagonal",
    {**_COMPLEX, **_HARD, "lr": _BLOCK_RATES, "max_phase": PHASES},
    smoke={"lr": [0.01, 0.0032], "max_phase": [3.14, 0.0314]},
    figures=("concentration",),
)
SHRINK_P3 = _scan(
    "figure 10: dense RNN",
    {**_RNN, **_HARD, "lr": grid(0.001, 3.2e-4, 1e-4, 3.2e-5), "max_phase": PHASES},
    smoke={"lr": [0.001, 3.2e-4], "max_phase": [3.14, 0.0314]},
    figures=("concentration",),
)
HEADS = _scan(
    "figure 11: the dense RNN's matrix in 1 to 32 blocks",
    {
        **_RNN,
        **_HARD,
        "lr": grid(0.032, 0.01, 0.0032, 0.001, 1e-4),
        "heads": grid(1, 2, 4, 8, 16, 32),
    },
    smoke={"lr": [0.0032, 0.001], "heads": [1, 32]},
    figures=("heads",),
)

TEACHERS = _scan(
    "students that start with another memory than the teacher's, and other teachers",
    {
        **_LRU,
        "lr": grid(0.01, 0.0032),
        "teacher_min_nu": 0.99,
        "min_nu": grid(0.0, 0.9, 0.99),
        "teacher_form": grid("dense", "diagonal_complex"),
    },
    doc="Several inputs and outputs: --set d_input=2 --set d_output=2; noise, means and constant "
    "inputs likewise.",
    smoke={"lr": 0.01, "min_nu": [0.0, 0.99]},
    figures=(),
    extension=True,
)
RATES = Space(
    reproduces="figures 4 and 9: the effective learning rate of every weight after training",
    doc="At a constant learning rate. Eigenvectors of the loss's Hessian are recorded too.",
    param_space={
        **{n: v for n, v in _TRAINING.items() if n != "lr_end"},
        **_HARD,
        "lr": 1e-3,
        "seed": 2023,
        "weight_rates_every": 0,
        "hessian_top": 5,
        "model": grid("linear_rnn", "lru", "s4"),
        "forms": {
            "when": {"model": "lru"},
            "then": {
                "form": {"zip": {"lru_param": ["default", "exp"], "lru_gamma": ["none", "learned"]}}
            },
        },
        "steps": {"when": {"model": "s4"}, "then": {"delta": "state"}},
    },
    select={"metric": "loss", "mode": "min", "report": "loss_ratio", "over": "seed"},
    smoke={**_SMALL, "seed": 2023, "width": 8},
    figures=("weight_rates", "hessian_spectrum", *_FIGURES),
)

_DEEP = {"depth": 2, "width": 64, "pooling": "none", "norm": "layer"}
DEEP_STUDENTS = _scan(
    "deep recurrent networks that learn the linear teacher",
    {
        **{n: v for n, v in _TRAINING.items() if n not in ("max_phase", "moduli_every")},
        **_HARD,
        "lr": grid(3.2e-3, 1e-3, 3.2e-4),
        "model": grid("deep_lru", "deep_linear_rnn", "deep_diagonal_rnn", "deep_recurrent"),
        "blocks": {
            "when": {"model": "deep_recurrent"},
            "then": {n: v for n, v in {**_DEEP, "memory": 100.0}.items() if n != "pooling"},
            "else": {**_DEEP, "d_model": 32},
        },
        "phases": {"when": {"model": "deep_lru"}, "then": {"model.max_phase": grid(3.14, 0.314)}},
    },
    doc="An LRU's first phases are model.max_phase and the teacher's task.max_phase, as both parts "
    "declare the key max_phase.",
    smoke={"lr": 0.001, "width": 8},
    figures=(),
    extension=True,
)

STUDY = Study(
    name="zucchet2024",
    title="Recurrent neural networks: vanishing and exploding gradients are not the end of the "
    "story",
    arxiv="2405.21064",
    doc="A linear student learns a linear teacher of longer and longer memory.",
    spaces={
        "comparison_lru": COMPARISON_LRU,
        "comparison_rnn": COMPARISON_RNN,
        "comparison_baseline": COMPARISON_BASELINE,
        "ablation_p1": ABLATION_P1,
        "ablation_p2": ABLATION_P2,
        "ablation_p3": ABLATION_P3,
        "shrink_p1": SHRINK_P1,
        "shrink_p2": SHRINK_P2,
        "shrink_p3": SHRINK_P3,
        "heads": HEADS,
        "rates": RATES,
        "teachers": TEACHERS,
        "deep_students": DEEP_STUDENTS,
        **ANALYSES,
    },
    claims=CLAIMS,
    drawn=DRAWN,
)
