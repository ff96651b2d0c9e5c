"""What bar2025 and the LRU paper claim, their numbers and figures (docs/specs/bar2025.md).

The accuracies of bar2025's own tables and its figures were not at hand: where a claim has numbers
of training, they are the LRU paper's (Orvieto et al., arXiv 2303.06349).
"""

from search_spaces.claims import ENDED, Claim, Number, PaperFigure, Rule

_DATA_AND_GPU = (
    "files of the Long Range Arena, which are not included, and a GPU: 9 trials of 101,000 to "
    "500,000 steps"
)


def _radii(init: str, what: str, width: int = 256) -> str:
    return (
        f"SELECT {what} FROM radii r JOIN trials t USING (trial_id) WHERE r.init = '{init}' "
        f"AND t.matrix_width = {width}"
    )


def _remembered(init: str, bound: float, rule: Rule) -> Number:
    return Number(
        name=f"R^2 of the input of 20 steps ago, {init}, n = 256", published=bound, rule=rule,
        origin="reference",
        sql="SELECT median(r2) FROM delay_memory JOIN trials USING (trial_id) WHERE delay = 20 AND "
        f"init = '{init}' AND matrix_width = 256",
    )  # fmt: skip


def _overflowing(init: str) -> str:
    return (
        "SELECT avg((o.overflow_step >= 0)::DOUBLE) FROM overflow o JOIN trials t USING (trial_id) "
        f"WHERE t.init = '{init}' AND t.matrix_width = 256 AND t.length = 4096"
    )


def _accuracy(task: str, published: float, where: str, setting: str = "") -> Number:
    """Mean test accuracy of the epochs best on validation."""
    return Number(
        name=f"test accuracy, {task}{setting}", published=published, rule="within",
        tolerance=1.0, unit="%", origin="LRU paper",
        sql="SELECT 100 * avg(test) FROM (SELECT arg_max(test_accuracy, val_accuracy) AS test "
        f"FROM runs WHERE task = '{task}' AND model = 'deep_lru' AND depth = 6 AND {where} "
        f"AND {ENDED} GROUP BY trial_id)",
    )  # fmt: skip


CLAIMS = (
    Claim(
        text="The spectral radius of a Glorot matrix lies above 1 at every width, and follows its "
        "edge law.",
        place="abstract",
        spaces=("radii",),
        numbers=(
            Number(name="mean radius, n = 256", published=1.0383, rule="within", tolerance=0.006,
                   origin="reference", sql=_radii("glorot", "avg(radius)")),
            Number(name="share above 1, n = 256", published=0.95, rule="at_least",
                   origin="reference", sql=_radii("glorot", "avg((radius > 1)::DOUBLE)")),
            Number(name="share above 1 once rescaled, n = 256", published=0.03, rule="at_most",
                   origin="reference", sql=_radii("rescaled", "avg((radius > 1)::DOUBLE)")),
            Number(name="mean radius over the edge law's, n = 512", published=1.0, rule="within",
                   tolerance=0.01, origin="abstract",
                   sql=_radii("glorot", "avg(radius) / any_value(edge_mean)", 512)),
        ),
        commands=("gradsweep launch bar2025/radii",),
        differs="the paper's tables and figures were not at hand.",
        figure="radius_law",
    ),
    Claim(
        text="Over a long sequence a Glorot recurrence explodes; a rescaled one stays finite.",
        place="abstract",
        spaces=("divergence",),
        numbers=(
            Number(name="share of glorot layers that leave float32, n = 256, 4,096 steps",
                   published=0.6, rule="at_least", origin="reference", sql=_overflowing("glorot")),
            Number(name="share of rescaled ones", published=0.0, rule="at_most",
                   origin="reference", sql=_overflowing("rescaled")),
        ),
        commands=("gradsweep launch bar2025/divergence",),
        differs="one layer without training is measured; the paper trains networks, which diverge.",
        smaller="one layer without training",
        figure="growth",
    ),
    Claim(
        text="A rescaled recurrence remembers longer than one that is divided by sqrt 2.",
        place="a review of the paper",
        spaces=("memory",),
        numbers=(_remembered("rescaled", 0.7, "at_least"),
                 _remembered("halved_glorot", 0.1, "at_most")),
        commands=("gradsweep launch bar2025/memory",),
        differs="a linear map reads one layer's state; the paper's accuracies were not at hand.",
        smaller="one layer without training",
        figure="delay_memory",
    ),
    Claim(
        text="The copying task is solved within two to four epochs.",
        place="README of minimal-LRU, from which the source was made",
        spaces=("copy",),
        numbers=(
            Number(name="bit accuracy after two epochs, ring [0.9, 0.999]", published=1.0,
                   rule="within", tolerance=0.001, origin="README",
                   sql="SELECT avg(val_accuracy) FROM runs WHERE task = 'copy' AND epoch = 1 AND "
                   "r_min = 0.9 AND r_max = 0.999 AND width = 64 AND n_train = 20000"),
        ),
        commands=("gradsweep launch bar2025/copy",),
        differs="two blocks of 64 units in place of four of 128. The source's loss is ours divided "
        "by 48, which is the metric published_loss.",
        smaller="two blocks of 64 units",
        figure="accuracy",
    ),
    Claim(
        text="On sequential CIFAR a ring near 1 and gamma take an LRU to 89 %.",
        place="LRU paper, ablation of its parts",
        spaces=("lru_ablation",),
        numbers=(
            _accuracy("scifar", 89.0, "lru_gamma = 'learned' AND r_min = 0.9 AND r_max = 0.999 "
                      "AND epochs = 182 AND max_train IS NULL AND layout = 'pixels'",
                      ", ring [0.9, 0.999] with gamma"),
            _accuracy("scifar", 86.2, "lru_gamma = 'none' AND lru_param = 'exp' AND r_min = 0.0 "
                      "AND r_max = 0.9 AND epochs = 182 AND max_train IS NULL "
                      "AND layout = 'pixels'", ", ring [0, 0.9] without gamma"),
        ),
        commands=("gradsweep launch bar2025/lru_ablation",),
        needs="a GPU: 81 trials of 180,180 steps, each 3.1 hours on an A100 at the LRU paper's "
        "15.9 steps/s",
        figure="lru_ablation",
    ),
    Claim(
        text="An LRU solves Pathfinder, PathX and Retrieval.",
        place="LRU paper, results by task",
        spaces=("pathfinder", "pathx", "aan"),
        numbers=(
            _accuracy("pathfinder", 95.1, "n_train = 160000 AND resolution = 32"),
            _accuracy("pathx", 94.2, "n_train = 160000"),
            _accuracy("aan", 89.9, "n_train = 147086 AND seq_len = 4000"),
        ),
        commands=(
            "gradsweep launch bar2025/pathfinder",
            "gradsweep launch bar2025/pathx",
            "gradsweep launch bar2025/aan",
        ),
        differs="the head that compares two papers is ours.",
        needs=_DATA_AND_GPU,
        figure="accuracy",
    ),
)  # fmt: skip

_NOT_AT_HAND = "the paper's figures were not at hand"
DRAWN = (
    PaperFigure(place="bar2025: growth of states", shows="state norm over time by init",
                figure="growth", space="divergence"),
    PaperFigure(place="bar2025: edge law", shows="spectral radius by width and init",
                figure="radius_law", space="radii"),
    PaperFigure(place="bar2025: accuracies", shows="tables of three tasks",
                reason=f"{_NOT_AT_HAND}; `accuracy` draws ours beside the LRU paper's"),
    PaperFigure(place="LRU paper, results by task", shows="accuracies by task", figure="accuracy",
                space="cifar"),
    PaperFigure(place="LRU paper, ablation of its parts", shows="stability, ring and gamma",
                figure="lru_ablation", space="lru_ablation"),
    PaperFigure(place="LRU paper, eigenvalues", shows="eigenvalues at the start and trained",
                figure="eigenvalue_plane", space="copy"),
)  # fmt: skip
