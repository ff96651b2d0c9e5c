"""The added parts as a study: grids are plain data."""

from search_spaces.study import Space, Study, grid

ALL = Space(
    reproduces="a question of the test",
    figures=("last_losses",),
    param_space={
        "model": "minimal_gated", "widths": "4:3", "optimizer": "sign_descent", "task": "drift",
        "seq_len": 6, "batch_size": 30, "epochs": 3, "weight_scale_every": 1, "radius_every": 0,
        "seed": grid(0, 1),
    },
)  # fmt: skip
STUDY = Study(name="added", title="Added parts", spaces={"all": ALL})
