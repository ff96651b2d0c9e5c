"""ribeiro2020: attractors, smoothness and orbit diagrams of recurrent nets that learn.

The published experiments of "Beyond exploding and vanishing gradients: analysing RNN training using
attractors and smoothness" (arXiv 1906.08482), and small variants on which two cores can see the
same. What differs from the published programs, and what was measured: docs/studies/ribeiro2020.md.
"""

from search_spaces.ribeiro2020.claims import CLAIMS, DRAWN
from search_spaces.study import Space, Study, grid

# LSTM, stable LSTM, oRNN: the label `variant` names them in `trials`.
_CELLS = {
    "model": grid("torch_lstm", "ornn"),
    "stable": {
        "when": {"model": "torch_lstm"},
        "then": {"stabilize": grid("none", "column_exact")},
    },
}
_CLIPPED = {"optimizer": "torch_adam", "clip_norm": 0.25, "keep_weights": "last"}
_ADAM = {**_CLIPPED, "lr": 1e-3}
_SEEDS = grid(2, 3, 4)
_OVER_SEEDS = {"metric": "loss", "mode": "min", "report": "loss", "over": "seed"}
_BY_ACCURACY = {
    "metric": "val_accuracy", "mode": "max", "report": "val_accuracy", "over": "seed",
}  # fmt: skip
_ORBIT_FIGURES = ("attractors", "orbit1d", "orbit2d", "transient")
_FIGURES = (*_ORBIT_FIGURES, "training_loss", "grad_norms", "grad_per_layer", "timeline")

# ---- sine generation ---------------------------------------------------------------------------

SINE = Space(
    reproduces="figure 4: orbit diagrams of a net that learns to turn a frequency into a sine",
    param_space={
        **_ADAM,
        **_CELLS,
        "task": "sine",
        "width": 200,
        "epochs": 10_000,
        "lr_milestones": "500:1000:2000:8000:15000:25000",
        "seed": _SEEDS,
        "orbits_every": 100,
        "attractors_every": 50,
        "contraction_every": 50,
        "smoothness_every": 1000,
    },
    select=_OVER_SEEDS,
    smoke={
        "width": 8, "seq_len": 40, "n_sequences": 20, "epochs": 3, "seed": 2, "orbit_inputs": 3,
        "orbit_starts": 2, "orbit_steps": 60, "orbit_burn_in": 20, "attractor_steps": 1024,
        "orbits_every": 1, "attractors_every": 1, "smoothness_every": None,
    },
    figures=_FIGURES,
)  # fmt: skip

_SMALL_SINE = {
    **_CLIPPED,
    "task": "sine",
    "seq_len": 200,
    "n_sequences": 20,
    "orbit_starts": 2,
    "orbit_steps": 800,
    "orbit_burn_in": 600,
    "orbits_every": 25,
    "attractors_every": 25,
    "contraction_every": 25,
}
_SMALL_DEFAULTS = (
    {
        "when": {"model": "ornn"},
        "then": {"width": 64, "lr": 3e-3, "epochs": 600, "orbit_std": "0.1"},
    },
    {
        "when": {"model": ["torch_lstm", "torch_gru", "torch_rnn"]},
        "then": {"width": 32, "lr": 1e-3, "epochs": 1000, "lr_milestones": "500"},
    },
)
_SMOKE_SINE = {
    "width": 8, "seq_len": 40, "epochs": 3, "seed": [0, 1], "orbit_inputs": 3, "orbit_starts": 2,
    "orbit_steps": 60, "orbit_burn_in": 20, "attractor_steps": 1024, "orbits_every": 1,
    "attractors_every": 1,
}  # fmt: skip
SINE_SMALL = Space(
    reproduces="figure 4 at a tenth of the size: minutes on two cores",
    doc="Cycles appear around epoch 250, collapse to fixed points around 400, and come back.",
    param_space={
        **_SMALL_SINE,
        **_CELLS,
        "seed": grid(0, 1, 2),
    },
    defaults=_SMALL_DEFAULTS,
    select=_OVER_SEEDS,
    smoke=_SMOKE_SINE,
    figures=_FIGURES,
    extension=True,
)
SINE_STD = Space(
    reproduces="how much an orbit diagram depends on where its orbits start",
    doc="Every snapshot starts orbits from N(0, .1^2), N(0, 1) and N(0, 100^2); the last is as "
    "published, though |h| < 1 in an LSTM.",
    param_space={
        **_SMALL_SINE,
        "model": grid("torch_lstm", "torch_gru", "torch_rnn", "ornn"),
        "orbit_std": "0.1:1:100",
        "attractors_every": 100,
        "orbits_every": 100,
        # Not those of sine_small: what is recorded is no part of a trial's identity.
        "seed": grid(3, 4, 5),
    },
    defaults=_SMALL_DEFAULTS,
    select=_OVER_SEEDS,
    smoke={**_SMOKE_SINE, "seed": 3},
    figures=_FIGURES,
    extension=True,
)

# ---- temporal order ----------------------------------------------------------------------------

_ORDER = {
    **_ADAM,
    **_CELLS,
    "task": "temporal_order",
    "width": 50,
    "lr_milestones": "500:1000:2000",
    "lr_gamma": 0.25,
    "orbit_starts": 10,
    "orbit_steps": 800,
    "orbit_burn_in": 400,
}
SEQUENCE = Space(
    reproduces="the paper's sequence classification: two symbols remembered for 150 steps",
    param_space={
        **_ORDER,
        "epochs": 10_000,
        "seed": _SEEDS,
        "orbits_every": 100,
        "attractors_every": 50,
        "contraction_every": 50,
        "smoothness_every": 1000,
    },
    select=_BY_ACCURACY,
    smoke={
        "width": 8, "seq_len": 60, "n_sequences": 100, "n_sequences_val": 100, "epochs": 2,
        "seed": 2, "orbit_starts": 2, "orbit_steps": 60, "orbit_burn_in": 20,
        "attractor_steps": 1024, "orbits_every": 1, "attractors_every": 1,
        "smoothness_every": None,
    },
    figures=_FIGURES,
)  # fmt: skip
SEQUENCE_SMALL = Space(
    reproduces="the same over 60 steps: minutes on two cores",
    param_space={
        **_ORDER,
        "seq_len": 60,
        "epochs": 100,
        "seed": grid(2),
        "orbit_starts": 4,
        "orbits_every": 20,
        "attractors_every": 20,
        "contraction_every": 10,
    },
    select=_BY_ACCURACY,
    smoke={
        "width": 8, "n_sequences": 100, "n_sequences_val": 100, "epochs": 2, "orbit_starts": 2,
        "orbit_steps": 60, "orbit_burn_in": 20, "attractor_steps": 1024,
    },
    figures=_FIGURES,
    extension=True,
)  # fmt: skip

# ---- word language model -----------------------------------------------------------------------

_LANGUAGE = {
    **_ADAM,
    **_CELLS,
    "task": "word_lm",
    "dropout": 0.5,
    "lr_patience": 7,
    "keep_weights": "best",
    "orbit_inputs": 2,
    "orbit_starts": 5,
    "orbit_steps": 1600,
    "orbit_burn_in": 0,
}
_SELECT_LM = {
    "metric": "val_loss", "mode": "min", "at": "best", "report": "test_loss", "over": "seed",
}  # fmt: skip
_LM_FIGURES = ("training_loss", *_ORBIT_FIGURES, "grad_norms", "grad_per_layer")
LANGUAGE = Space(
    reproduces="figure 8: a word language model on WikiText-2",
    doc="58.4 million parameters: for a GPU.",
    param_space={
        **_LANGUAGE,
        "corpus": "wikitext2",
        "width": 800,
        "epochs": 100,
        "seed": _SEEDS,
        "orbits_every": 10,
        "attractors_every": 10,
    },
    select=_SELECT_LM,
    smoke={
        "corpus": "tiny", "width": 8, "batch_size": 10, "seq_len": 20, "epochs": 2, "seed": 2,
        "orbit_steps": 40, "orbit_burn_in": 20, "attractor_steps": 1024, "orbit_starts": 2,
    },
    figures=_LM_FIGURES,
)  # fmt: skip
LANGUAGE_SMALL = Space(
    reproduces="the same at 64 units for one epoch, on Penn Treebank and WikiText-2's valid part",
    doc="corpus=wikitext2_valid trains on WikiText-2's validation text and is held out on its test "
    "text: not WikiText-2's perplexity.",
    param_space={
        **_LANGUAGE,
        "corpus": grid("ptb", "wikitext2_valid"),
        "dropout": 0.2,
        "width": 64,
        "batch_size": 20,
        "seq_len": 35,
        "epochs": 1,
        "seed": 2,
    },
    select=_SELECT_LM,
    smoke={"corpus": "tiny", "width": 8, "seq_len": 20},
    figures=_LM_FIGURES,
    extension=True,
)

LAST_WORD = Space(
    reproduces="the last word of a passage from those before it, as LAMBADA asks",
    doc="On the bundled text; --set corpus=FOLDER reads train.txt, valid.txt and test.txt, a "
    "passage a line. The published width: --set width=800.",
    param_space={
        **_ADAM,
        **_CELLS,
        "task": "last_word",
        "corpus": "tiny",
        "seq_len": 100,
        "batch_size": 20,
        "width": 64,
        "epochs": 10,
        "lr": 0.01,
        "seed": _SEEDS,
        "orbits_every": 5,
        "orbit_feedback": True,
        "orbit_inputs": 3,
        "orbit_starts": 2,
        "orbit_std": "1",
        "orbit_steps": 120,
        "orbit_burn_in": 60,
    },
    select={
        "metric": "val_accuracy", "mode": "max", "report": "test_accuracy", "over": "seed",
    },
    smoke={"width": 8, "seq_len": 10, "epochs": 2, "seed": 2, "max_passages": 40},
    figures=("training_loss", "orbit1d", "transient", "grad_norms", "grad_per_layer"),
    extension=True,
)  # fmt: skip
LONGER = Space(
    reproduces="validation on sequences longer than those that train, from states that are not 0",
    param_space={
        **_SMALL_SINE,
        **_CELLS,
        "val_seq_len": 800,
        "first_std": grid(0.0, 0.5),
        "seed": grid(0, 1, 2),
    },
    defaults=_SMALL_DEFAULTS,
    select={"metric": "val_loss", "mode": "min", "report": "val_loss", "over": "seed"},
    smoke={**_SMOKE_SINE, "val_seq_len": 80, "seed": 0},
    figures=("training_loss", "metric", *_ORBIT_FIGURES),
    extension=True,
)

# ---- the chaotic LSTM: no training -------------------------------------------------------------

CHAOS = Space(
    reproduces="an LSTM of two units on a line through chaos, and its cost along the line",
    doc="Orbit diagram and exponents, cost profiles in one and two dimensions, growth with length.",
    param_space={
        "stage": grid("chaos_scan", "chaos_cost", "chaos_length", "chaos_plane"),
        "scan": {
            "when": {"stage": "chaos_scan"},
            "then": {"scan_points": 601, "scan_starts": "both"},
        },
        "line": {"when": {"stage": "chaos_cost"}, "then": {"scan_points": 5001}},
    },
    smoke={"scan_points": 31, "scan_steps": 4096, "plane_points": 21, "most_steps": 60},
    figures=("bifurcation", "attractor_plane", "cost_profile", "cost_growth", "cost_plane"),
)
TOY = Space(
    reproduces="slope and curvature by length where both are known: x_t = s^t",
    param_space={"stage": "chaos_length", "family": "power", "at": "0.9:1:1.05"},
    smoke={"most_steps": 60},
    figures=("cost_growth",),
    extension=True,
)

STUDY = Study(
    name="ribeiro2020",
    title="Beyond exploding and vanishing gradients: analysing RNN training using attractors and "
    "smoothness",
    arxiv="1906.08482",
    doc="What a recurrent net ends in under constant input, and how smooth its cost is.",
    spaces={
        "sine": SINE,
        "sine_small": SINE_SMALL,
        "sine_std": SINE_STD,
        "sequence": SEQUENCE,
        "sequence_small": SEQUENCE_SMALL,
        "language": LANGUAGE,
        "language_small": LANGUAGE_SMALL,
        "last_word": LAST_WORD,
        "longer": LONGER,
        "chaos": CHAOS,
        "toy": TOY,
    },
    claims=CLAIMS,
    drawn=DRAWN,
)
