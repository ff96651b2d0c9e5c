"""A small GPT on characters: warm-up and cosine, decay of kernels alone, dropout, accumulation.
Which peak rate learns that verbs agree with their subjects, and does bfloat16 cost any loss?"""

import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from gradsweep import Key, Model, Optimizer, Space, Study, Task, path_mask, scaled_schedule

NOUNS = ("cat", "dog", "bird", "child", "queen", "river")
VERBS = ("see", "hear", "follow", "like", "find")
PLACES = ("near the old house", "in the garden", "that a fox will like", "of the north")
CHARACTERS = "".join(sorted({*" .", *"".join((*NOUNS, *VERBS, *PLACES))}))


def sentence(draw):  # the verb agrees with a subject that stands some twenty characters before it
    many = draw.integers(2)
    subject, verb, other = draw.choice(NOUNS), draw.choice(VERBS), draw.choice(NOUNS)
    place = draw.choice(PLACES) + " " if draw.integers(2) else ""
    return f"the {subject}{'s' * many} {place}{verb}{'' if many else 's'} a {other}. "


def text(config):  # each character is asked for, given those before it in its window
    draw, context = np.random.default_rng(0), config["context"]
    letters = "".join(sentence(draw) for _ in range(4000))
    numbers = np.array([CHARACTERS.index(letter) for letter in letters], np.int32)
    windows = numbers[: len(numbers) // context * context - context + 1]
    windows = np.lib.stride_tricks.sliding_window_view(windows, context + 1)[::context]
    return {"x": windows[:, :-1], "y": windows[:, 1:]}


class Block(nnx.Module):
    def __init__(self, width, heads, dropout, rngs):
        self.norms = nnx.List([nnx.LayerNorm(width, rngs=rngs) for _ in range(2)])
        self.attention = nnx.MultiHeadAttention(
            heads, width, use_bias=False, decode=False, rngs=rngs
        )
        self.up = nnx.Linear(width, 4 * width, rngs=rngs)
        self.down = nnx.Linear(4 * width, width, rngs=rngs)
        self.dropout = nnx.Dropout(dropout, rngs=rngs)

    def __call__(self, h, mask):
        h = h + self.dropout(self.attention(self.norms[0](h), mask=mask))
        return h + self.dropout(self.down(nnx.gelu(self.up(self.norms[1](h)))))


class GPT(nnx.Module):
    def __init__(self, config, sizes, rngs):
        width, heads = config["width"], config["heads"]
        self.tokens = nnx.Embed(len(CHARACTERS), width, rngs=rngs)
        self.positions = nnx.Embed(config["context"], width, rngs=rngs)
        blocks = (Block(width, heads, config["dropout"], rngs) for _ in range(config["depth"]))
        self.blocks = nnx.List(blocks)
        self.norm = nnx.LayerNorm(width, rngs=rngs)
        self.readout = nnx.Linear(width, len(CHARACTERS), rngs=rngs)

    def __call__(self, x):  # characters (batch, context) -> logits (batch, context, characters)
        h = self.tokens(x) + self.positions(jnp.arange(x.shape[1]))
        for block in self.blocks:
            h = block(h, nnx.make_causal_mask(x))
        return self.readout(self.norm(h))


def rule(config, hparams):
    total = config["total_steps"]  # a whole number, since a schedule is made of such
    shape = optax.warmup_cosine_decay_schedule(0.0, 1.0, total // 10, total, 0.1)
    rate, decay = scaled_schedule(shape, hparams["lr"]), hparams["weight_decay"]
    adam = optax.adamw(rate, b2=0.98, weight_decay=decay, mask=path_mask("kernel"))
    return optax.chain(optax.clip_by_global_norm(1.0), adam)


SHAPE = (Key("depth", "int", 2, low=1), Key("width", "int", 64, low=1), Key("heads", "int", 4))
GPT_MODEL = Model(name="gpt", build=GPT, keys=(*SHAPE, Key("dropout", "float", 0.05, "static")))
TEXT = Task(name="sentences", build=text, keys=(Key("context", "int", 64, low=2),), batch_size=64,
            split={"val": 0.1}, chance_loss=lambda config: np.log(len(CHARACTERS)))  # fmt: skip
RULE = Optimizer(name="warmed_adamw", build=rule, keys=(
    Key("lr", "float", 1e-3, "traced", "Peak of the learning rate.", low=0),
    Key("weight_decay", "float", 0.1, "traced", "Decay of kernels.", low=0)))  # fmt: skip
GRID = {"model": "gpt", "task": "sentences", "optimizer": "warmed_adamw", "epochs": 6,
        "accumulate": 2, "compute_dtype": {"grid_search": ["bfloat16", "float32"]},
        "lr": {"grid_search": [1e-3, 1e-2, 1e-1]}}  # fmt: skip
SELECT = {"choose": "lr", "metric": "val_loss", "mode": "min"}
SMALL = {
    "depth": 1,
    "width": 8,
    "heads": 2,
    "context": 32,
    "epochs": 1,
    "compute_dtype": "bfloat16",
}
RATES = Space(param_space=GRID, select=SELECT, smoke=SMALL, figures=("metric",))
STUDY = Study(name="gpt", title="A GPT on characters", spaces={"rates": RATES},
              parts=(GPT_MODEL, TEXT, RULE))  # fmt: skip
