"""A study of trials that take milliseconds, for tests of everything around training."""

from search_spaces import Space, Study

_TINY = {
    "task": "gaussian",
    "model": "vanilla_rnn",
    "seq_len": 6,
    "batch_size": 4,
    "steps_per_epoch": 3,
    "depth": 2,
    "width": 4,
    "epochs": 2,
}

GRID = Space(
    reproduces="tests",
    param_space={
        **_TINY,
        "lr": {"grid_search": [0.1, 0.01]},
        "seed": {"grid_search": [0, 1]},
    },
    select={"metric": "loss", "mode": "min", "choose": "lr", "over": "seed", "report": "val_loss"},
    smoke={"epochs": 1, "seed": 0},
)

STAGED = Space(
    reproduces="tests of stages",
    param_space={
        **_TINY,
        "pretrain": "warmup",
        "warmup_epochs": 1,
        "lr": {"grid_search": [0.1, 0.01]},
    },
)

STUDY = Study(
    name="tiny", title="Tests", spaces={"grid": GRID, "staged": STAGED}, doc="Milliseconds."
)
