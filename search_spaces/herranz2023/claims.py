"""What herranz2023 claims, its numbers and figures (docs/specs/herranz2023.md).

The numbers of the paper's tables and bars were not at hand: claims of trainings are held against
the bound that their sentence sets.
"""

from search_spaces.claims import ENDED, Claim, Number, PaperFigure


def _pascal(rho: float, published: float) -> Number:
    return Number(
        name=f"gradient of the first input, grid of 10 x 100, rho {rho:g}", published=published,
        rule="factor", tolerance=1.001, origin="reference",
        sql="SELECT arg_min(abs(gradient), t) FROM pascal JOIN trials USING (trial_id) WHERE "
        f"abs(rho - {rho}) < 1e-6 AND grid_rule = 'linear' AND grid_layers = 10 "
        "AND grid_steps = 100",
    )  # fmt: skip


def _best_of(pretrain: str, init: str) -> str:
    """Test accuracy at the least validation loss, by activation and seed."""
    return (
        "SELECT activation, seed, arg_min(test_accuracy, val_loss) AS accuracy FROM runs WHERE "
        f"task = 'digits' AND stage = 'train' AND depth = 30 AND width = 128 AND lr = 1e-4 AND "
        f"pretrain = '{pretrain}' AND init = '{init}' AND {ENDED} GROUP BY ALL"
    )


_LSC, _GLOROT, _HE = (
    _best_of(*start)
    for start in (("lsc", "glorot_normal"), ("none", "glorot_normal"), ("none", "he_normal"))
)
CLAIMS = (
    Claim(
        text="Gradients through a grid of layers and time grow with the number of paths, and a "
        "radius of one half stops that.",
        place="figure 1",
        spaces=("figure1",),
        numbers=(
            _pascal(0.5, 1.0),
            _pascal(0.7, 4783.74),
            _pascal(1.0, 4.263422e13),
        ),
        commands=("gradsweep launch herranz2023/figure1",),
        figure="figure1c",
    ),
    Claim(
        text="Pre-training without labels brings the radius of every layer's Jacobian to 1.",
        place="abstract, figure 2",
        spaces=("digits", "mnist", "figure2"),
        numbers=tuple(
            Number(
                name=f"mean radius of 30 layers, {activation}", published=1.0, rule="within",
                tolerance=0.02, origin="the authors' gate",
                sql="SELECT avg(radius) FROM (SELECT arg_max(e.metrics['radius'], e.epoch) AS "
                "radius FROM epochs e JOIN trials t USING (trial_id) WHERE t.stage = 'lsc' AND "
                f"t.activation = '{activation}' AND t.depth = 30 AND t.width = 128 AND t.{ENDED} "
                "GROUP BY t.trial_id)",
            )
            for activation in ("relu", "sin", "cos")
        ),
        commands=("gradsweep launch herranz2023/digits --set lr=1e-4 --set seed=0",),
        differs="scikit-learn's digits in place of MNIST and CIFAR; one seed of four.",
        smaller="digits in place of MNIST and CIFAR",
        figure="lsc_radius",
    ),
    Claim(
        text="A pre-trained start trains as well as the better of the fixed starts, for every "
        "activation.",
        place="figure 2",
        spaces=("digits",),
        numbers=(
            Number(
                name="share of pairs in which it beats Glorot", published=0.5, rule="at_least",
                origin="abstract",
                sql="SELECT avg((a.accuracy > b.accuracy)::DOUBLE) FROM "
                f"({_LSC}) a JOIN ({_GLOROT}) b USING (activation, seed)",
            ),
            Number(
                name="share of pairs in which it beats He", published=0.5, rule="at_least",
                origin="abstract",
                sql="SELECT avg((a.accuracy > b.accuracy)::DOUBLE) FROM "
                f"({_LSC}) a JOIN ({_HE}) b USING (activation, seed)",
            ),
            Number(
                name="worst test accuracy of any activation", published=0.7, rule="at_least",
                origin="reference",
                sql="SELECT min(accuracy) FROM (SELECT activation, avg(accuracy) AS accuracy FROM "
                f"({_LSC}) GROUP BY activation)",
            ),
        ),
        commands=("gradsweep launch herranz2023/digits --set lr=1e-4 --set seed=0",),
        differs="scikit-learn's digits in place of three data sets, one learning rate of seven, "
        "one seed of four; the percentages of the paper's bars were not at hand.",
        smaller="digits in place of MNIST and CIFAR",
        figure="figure2",
    ),
    Claim(
        text="A target of one half serves deep recurrent nets better than a target of 1.",
        place="figure 3",
        spaces=("figure3",),
        numbers=(
            Number(
                name="share of pairs, depth 5", published=0.5, rule="at_least", origin="figure 3",
                sql="SELECT avg((a.value > b.value)::DOUBLE) FROM "
                + " JOIN ".join(
                    "(SELECT task, model, seed, max(coalesce(metrics['val_mode_accuracy'], "
                    "val_accuracy)) AS value FROM runs WHERE stage = 'train' AND depth = 5 AND "
                    f"task IN ('heidelberg', 'sl_mnist') AND pretrain = 'lsc' AND lsc_target = "
                    f"{target} AND {ENDED} GROUP BY ALL) {name}"
                    for target, name in ((0.5, "a"), (1.0, "b"))
                )
                + " USING (task, model, seed)",
            ),
        ),
        commands=("gradsweep launch herranz2023/figure3",),
        needs="the Spiking Heidelberg Digits (gradsweep data fetch heidelberg) and a GPU: 720 "
        "trials of 146,880 epochs in all",
        figure="figure3",
    ),
    Claim(
        text="Balanced targets give Linear Recurrent Units on words a lower perplexity.",
        place="figure 4, table 1",
        spaces=("table1",),
        numbers=(
            Number(
                name="best validation perplexity, rho 1/2 over default", published=1.0,
                rule="at_most", origin="table 1",
                sql="SELECT exp(min(val_loss) FILTER (pretrain = 'lsc' AND lsc_target = 0.5) - "
                "min(val_loss) FILTER (pretrain = 'none')) FROM runs WHERE stage = 'train' AND "
                f"model = 'lru_stack' AND task = 'wordptb' AND width = 256 AND {ENDED}",
            ),
        ),
        commands=("gradsweep launch herranz2023/table1",),
        needs="a GPU: 88 trials of 16,120 epochs in all",
        figure="table1",
    ),
)  # fmt: skip

DRAWN = (
    PaperFigure(place="figure 1a", shows="paths through a grid", figure="figure1a",
                space="figure1"),
    PaperFigure(place="figure 1b", shows="growth of their number", figure="figure1b",
                space="figure1"),
    PaperFigure(place="figure 1c", shows="gradients of grids", figure="figure1c",
                space="figure1"),
    PaperFigure(place="figure 2", shows="feed-forward networks by start and learning rate",
                figure="figure2", space="figure2"),
    PaperFigure(place="figure 3", shows="paired wins of recurrent nets", figure="figure3",
                space="figure3"),
    PaperFigure(place="figure 4", shows="perplexity by epoch", figure="figure4",
                space="figure4"),
    PaperFigure(place="table 1", shows="perplexities", figure="table1", space="table1"),
    PaperFigure(place="the authors' plot scripts", shows="bars by net and task",
                figure="start_bars", space="figure3"),
    PaperFigure(place="the authors' plot scripts", shows="variance of radii over pretraining",
                figure="lsc_variance", space="figure2"),
    PaperFigure(place="the authors' plot scripts", shows="weights before and after pretraining",
                figure="weight_histograms", space="figure2"),
    PaperFigure(place="the authors' plot scripts", shows="interactions of radii by order",
                figure="covariance", space="covariance"),
    PaperFigure(place="the authors' plot scripts", shows="covariance of radii over time",
                figure="decay", space="decay"),
)  # fmt: skip
