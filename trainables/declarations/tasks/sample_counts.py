"""How many samples the long-sequence tasks train, validate and test on."""

from __future__ import annotations

from trainables.declarations.core.keys import Key
from trainables.declarations.core.parts import Config
from trainables.declarations.tasks.base import SPLIT, with_default

SPLIT_42 = with_default(SPLIT, 42)
CAPS = (
    Key("max_train", "int", None, "static", "Number of training samples that are used; null: all.",
        unit="samples", low=1, nullable=True),
    Key("max_held", "int", None, "static",
        "Number of validation samples that are used, and of test samples.",
        unit="samples", low=1, nullable=True),
)  # fmt: skip


def shares(config: Config, pool: int, n_test: int) -> tuple[int, int, int]:
    """Samples of training, validation and test: the split of `pool`, then the caps."""
    train = int(pool * (1 - config["val_fraction"]))
    most, held = config["max_train"], config["max_held"]
    parts = train, pool - train, n_test
    caps = (most or train, held or pool, held or n_test)
    train, val, test = (min(n, cap) for n, cap in zip(parts, caps, strict=True))
    return train, val, test


def whole_batches(config: Config, parts: tuple[int, int, int]) -> tuple[int, int, int]:
    """`parts` with the training samples of an epoch: those of its whole batches."""
    train, val, test = parts
    return train // config["batch_size"] * config["batch_size"], val, test


def too_few(config: Config, train: int) -> list[str]:
    """A problem where the training samples do not fill a batch."""
    if train >= config["batch_size"]:
        return []
    return [f"{train} training samples are less than a batch of {config['batch_size']}"]


def own_counts(train: int, val: int, test: int) -> tuple[Key, ...]:
    """Keys n_train, n_val and n_test with these defaults."""
    words = {"n_train": ("Training", train), "n_val": ("Validation", val), "n_test": ("Test", test)}
    return tuple(
        Key(name, "int", default, "static", f"{word} samples.", unit="samples", low=1)
        for name, (word, default) in words.items()
    )


def own_parts(config: Config) -> tuple[int, int, int]:
    """The values of those keys."""
    return config["n_train"], config["n_val"], config["n_test"]
