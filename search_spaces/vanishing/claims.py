"""What the source of study vanishing claims, its numbers and plots (docs/specs/vanishing.md)."""

from search_spaces.claims import ENDED, Claim, Number, PaperFigure

_START = (
    "t.model = 'vanilla_rnn' AND t.activation = 'tanh' AND t.init = 'default' AND t.width = 64 "
    "AND t.task = 'gaussian' AND t.seq_len = 64"
)


_DEPTH = (
    "gradsweep launch vanishing/depth --set model=vanilla_rnn --set activation=tanh "
    "--set init=default"
)


def _smallest(depth: int) -> str:
    return (
        "SELECT median(e.grad_norm_smallest) FROM epochs e JOIN trials t USING (trial_id) WHERE "
        f"{_START} AND t.depth = {depth} AND e.epoch = 0"
    )


def _loss(where: str) -> str:
    """Last training loss on the digits, 20 layers of 64 units."""
    return (
        "SELECT median(loss) FROM (SELECT arg_max(loss, epoch) AS loss FROM runs WHERE task = "
        f"'digits' AND layout = 'pixels' AND depth = 20 AND width = 64 AND {where} AND {ENDED} "
        "GROUP BY trial_id)"
    )


CLAIMS = (
    Claim(
        text="In 20 layers the smallest gradient norms lie below 1e-6.",
        place="README",
        spaces=("depth",),
        numbers=(
            Number(name="smallest norm of a tensor, 20 layers, median", published=1e-6,
                   rule="at_most", origin="README", sql=_smallest(20)),
        ),
        commands=(_DEPTH,),
        differs="64 units, 64 steps and noise as input, which change the decay by layer little. "
        "The README's sentence does not hold as written: it takes about 31 layers.",
        figure="depth",
    ),
    Claim(
        text="Gradients become smaller towards the first layer, exponentially in depth.",
        place="README",
        spaces=("depth",),
        numbers=(
            Number(name="decades per layer between 10 and 20 layers, smallest norm",
                   published=0.15, rule="at_least", origin="reference",
                   sql=f"SELECT (log10(({_smallest(10)})) - log10(({_smallest(20)}))) / 10"),
            Number(name="smallest norm of a tensor, 40 layers, median", published=1e-6,
                   rule="at_most", origin="reference", sql=_smallest(40)),
        ),
        commands=(_DEPTH,),
        differs="64 units, 64 steps and noise as input in place of CIFAR-10's 3,072 steps, which "
        "take a GPU.",
        smaller="64 units and 64 steps",
        figure="depth",
    ),
    Claim(
        text="A start by Xavier takes the net off its plateau.",
        place="README, experiment vanilla_tanh_xavier",
        spaces=("mitigation",),
        numbers=(
            Number(name="loss, default start", published=2.2, rule="at_least", unit="nats",
                   origin="reference",
                   sql=_loss("model = 'vanilla_rnn' AND init = 'default' AND clip_norm IS NULL AND "
                             "coalesce(min_norm, 0) = 0")),
            Number(name="loss, Xavier", published=1.2, rule="at_most", unit="nats",
                   origin="reference",
                   sql=_loss("model = 'vanilla_rnn' AND init = 'xavier'")),
        ),
        commands=("gradsweep launch vanishing/mitigation --set seed=0",),
        differs="64-step digits in place of CIFAR-10's 3,072 steps, which take a GPU.",
        smaller="digits in place of CIFAR-10",
        figure="training_loss",
    ),
    Claim(
        text="Residual connections with ReLU let 20 layers train.",
        place="README, experiment residual_relu",
        spaces=("mitigation",),
        numbers=(
            Number(name="loss, skips of weight 1, clipped", published=2.2, rule="at_most",
                   unit="nats", origin="README",
                   sql=_loss("model = 'residual_rnn' AND activation = 'relu' AND "
                             "residual_scale = 1")),
            Number(name="loss, skips of weight 1/sqrt(L)", published=2.2, rule="at_most",
                   unit="nats", origin="reference",
                   sql=_loss("model = 'residual_rnn' AND activation = 'relu' AND "
                             "residual_scale < 1")),
        ),
        commands=("gradsweep launch vanishing/mitigation --set seed=0",),
        differs="digits in place of CIFAR-10. The published net explodes in its second step and is "
        "clipped here; with the sum of layers scaled by 1/sqrt(L) it trains.",
        smaller="digits in place of CIFAR-10",
        figure="training_loss",
    ),
    Claim(
        text="The same on CIFAR-10, pixel by pixel.",
        place="README, plots",
        spaces=("readme",),
        numbers=(
            Number(name="last loss, vanilla net with the default start", published=2.2,
                   rule="at_least", unit="nats", origin="README",
                   sql="SELECT arg_max(loss, epoch) FROM runs WHERE task = 'cifar10' AND layout = "
                   f"'pixels' AND depth = 20 AND width = 256 AND init = 'default' AND {ENDED}"),
        ),
        commands=("gradsweep launch vanishing/readme",),
        needs="CIFAR-10 (gradsweep data fetch cifar10) and a GPU: 3 trials of 31,250 steps on "
        "3,072 time steps",
        figure="training_loss",
    ),
)  # fmt: skip

DRAWN = (
    PaperFigure(place="training_loss", shows="loss by epoch", figure="training_loss",
                space="readme"),
    PaperFigure(place="grad_norms", shows="total and smallest gradient norm by epoch",
                figure="grad_norms", space="readme"),
    PaperFigure(place="grad_per_layer", shows="gradient norm of each tensor",
                figure="grad_per_layer", space="readme"),
    PaperFigure(place="grad_norms_last_10", shows="norms of the last ten batches",
                figure="grad_norms_last_10", space="readme"),
    PaperFigure(place="grad_heatmap", shows="norms by tensor and epoch", figure="grad_heatmap",
                space="readme"),
    PaperFigure(place="later studies", shows="mean, spread and saturation of each layer",
                figure="activation_profile", space="convolutions"),
    PaperFigure(place="later studies", shows="activations by layer and epoch",
                figure="activations", space="convolutions"),
    PaperFigure(place="later studies", shows="updates against weights by layer and epoch",
                figure="update_ratio", space="convolutions"),
)  # fmt: skip
