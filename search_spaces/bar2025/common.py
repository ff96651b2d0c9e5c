"""What spaces of study bar2025 share: training, selection, figures, smoke variants."""

from search_spaces.study import grid

TRAINING = {"optimizer": "adamw_groups", "lr": 1e-3, "weight_decay": 0.05, "spectrum_every": 1}
PUBLISHED = {
    **TRAINING, "model": "deep_diagonal_rnn", "depth": 6, "init": "rescaled",
    "seed": grid(0, 1, 2),
}  # fmt: skip
SELECT = {
    "metric": "val_accuracy", "mode": "max", "at": "best", "report": "test_accuracy",
    "over": "seed",
}  # fmt: skip
CHOOSE = {**SELECT, "choose": "lr"}
FIGURES = ("accuracy", "bar2025_curves", "eigenvalue_plane", "grad_norms", "timeline")
SMALL = {
    "depth": 1, "d_model": 8, "width": 8, "init": "glorot", "epochs": 2, "lr_warmup": 0.5,
    "batch_size": 8, "seed": [0],
}  # fmt: skip
SMALL_CIFAR = {
    **SMALL, "task": "scifar_4k", "layout": "rows", "max_train": 16, "max_held": 16,
}  # fmt: skip
SMALL_LISTOPS = {
    "max_depth": 4, "max_args": 5, "min_length": 10, "max_length": 64, "seq_len": 64,
    "n_train": 64, "n_val": 32, "n_test": 32,
}  # fmt: skip
