"""What ribeiro2020 claims, its numbers and figures (docs/specs/ribeiro2020.md).

The paper's tables were not at hand: numbers are of its figures' shape, or of our own computation
by another program ("reference").
"""

from search_spaces.claims import ENDED, Claim, Number, PaperFigure


def _minima(low: float, high: float) -> str:
    """Local minima of the cost along the line, between two values of s."""
    return (
        f"SELECT sum((cost < a AND cost < b AND s > {low} AND s < {high})::INT) FROM "
        "(SELECT s, cost, lag(cost) OVER (ORDER BY s) AS a, lead(cost) OVER (ORDER BY s) AS b "
        "FROM chaos_cost JOIN trials USING (trial_id) WHERE scan_points >= 4999)"
    )


def _curves(cell: str) -> str:
    """Inputs whose orbits all end in a closed curve at the last snapshot, mean over seeds."""
    return (
        "SELECT avg(curves) FROM (SELECT trial_id, count(*) FILTER (curve) AS curves FROM (SELECT "
        "trial_id, input, bool_and(kind = 'quasi_periodic') AS curve FROM attractors a JOIN trials "
        f"t USING (trial_id) WHERE t.variant = '{cell}' AND t.task = 'sine' AND t.width = 32 "
        "AND t.epochs = 1000 AND a.epoch = 999 GROUP BY ALL) GROUP BY trial_id)"
    )


def _order(variant: str) -> str:
    return (
        f"SELECT max(val_accuracy) FROM runs r JOIN trials t USING (trial_id) WHERE t.variant = "
        f"'{variant}' AND t.task = 'temporal_order' AND t.seq_len = 60 AND t.epochs = 100 "
        f"AND t.{ENDED}"
    )


CLAIMS = (
    Claim(
        text="On a line of LSTMs through a chaotic one, orbits bifurcate and the cost is not "
        "smooth.",
        place="figures of the chaotic LSTM",
        spaces=("chaos",),
        numbers=(
            Number(
                name="largest Lyapunov exponent at s = 1", published=0.169, rule="within",
                tolerance=0.006, unit="nats/step", origin="reference",
                sql="SELECT avg(lyapunov1) FROM chaos_scan WHERE start = 'standard' AND "
                "abs(s - 1) < 1e-6",
            ),
            Number(
                name="least s with an orbit of period 3", published=0.7465, rule="within",
                tolerance=0.0025, origin="reference",
                sql="SELECT min(s) FROM chaos_scan WHERE start = 'standard' AND period = 3",
            ),
            Number(
                name="local minima of the cost, 0.9 < s < 1.1", published=100, rule="at_least",
                origin="reference", sql=_minima(0.9, 1.1),
            ),
            Number(
                name="local minima of the cost, 1.5 < s < 2", published=5, rule="at_most",
                origin="reference", sql=_minima(1.5, 2),
            ),
        ),
        commands=("gradsweep launch ribeiro2020/chaos",),
        figure="bifurcation",
    ),
    Claim(
        text="An LSTM that learns sines goes from fixed points to closed curves; a stable one "
        "stays at fixed points and learns nothing.",
        place="figure 4",
        spaces=("sine_small",),
        numbers=(
            Number(name="inputs on closed curves, LSTM", published=9, rule="at_least", unit="of 10",
                   origin="figure 4a", sql=_curves("LSTM")),
            Number(name="inputs on closed curves, stable LSTM", published=0, rule="at_most",
                   unit="of 10", origin="the authors' figures", sql=_curves("sLSTM")),
            Number(name="loss of the stable LSTM", published=0.4846, rule="within", tolerance=0.01,
                   origin="reference",
                   sql="SELECT avg(loss) FROM runs r JOIN trials t USING (trial_id) WHERE "
                   "t.variant = 'sLSTM' AND t.task = 'sine' AND t.width = 32 AND r.epoch = 999"),
        ),
        commands=("gradsweep launch ribeiro2020/sine_small --set model=torch_lstm --set seed=0",),
        differs="32 units, 200 steps and 1,000 epochs in place of 200, 400 and 10,000, so that it "
        "takes minutes on two cores; one seed.",
        smaller="32 units and 1,000 epochs",
        figure="attractors",
    ),
    Claim(
        text="Remembering a symbol takes several attractors: a stable LSTM fails where an LSTM and "
        "an orthogonal net succeed.",
        place="figures of the sequence task",
        spaces=("sequence_small",),
        numbers=(
            Number(name="validation accuracy, LSTM", published=0.99, rule="at_least",
                   origin="reference", sql=_order("LSTM")),
            Number(name="validation accuracy, orthogonal net", published=0.99, rule="at_least",
                   origin="reference", sql=_order("oRNN")),
            Number(name="validation accuracy, stable LSTM", published=0.9, rule="at_most",
                   origin="reference", sql=_order("sLSTM")),
        ),
        commands=("gradsweep launch ribeiro2020/sequence_small",),
        differs="sequences of 60 steps in place of 200. A stable LSTM solves them after 119 to 139 "
        "epochs, and these have 100.",
        smaller="60 steps",
        figure="training_loss",
    ),
    Claim(
        text="A language model of an orthogonal net has one fixed point for a constant token.",
        place="figure 8",
        spaces=("language",),
        numbers=(
            Number(name="attractors per token and snapshot, orthogonal net", published=1,
                   rule="at_most", origin="figure 8c",
                   sql="SELECT max(n) FROM (SELECT count(DISTINCT attractor) AS n FROM attractors "
                   "a JOIN trials t USING (trial_id) WHERE t.variant = 'oRNN' AND "
                   "t.task = 'word_lm' AND t.width = 800 AND t.corpus = 'wikitext2' "
                   "GROUP BY trial_id, a.epoch, input)"),
        ),
        commands=("gradsweep launch ribeiro2020/language",),
        needs="WikiText-2 (gradsweep data fetch wikitext2) and a GPU: 9 trials, each about 240 "
        "hours of a core",
        figure="orbit1d",
    ),
)  # fmt: skip

_NO_PAPER = "the paper's full text was not at hand"
DRAWN = (
    PaperFigure(place="chaotic LSTM: orbits", shows="orbit diagram along a line of weights",
                figure="bifurcation", space="chaos"),
    PaperFigure(place="chaotic LSTM: attractor", shows="states (h1, h2) of the two units",
                figure="attractor_plane", space="chaos"),
    PaperFigure(place="chaotic LSTM: cost", shows="cost along that line", figure="cost_profile",
                space="chaos"),
    PaperFigure(place="chaotic LSTM: contour", shows="cost over a plane", figure="cost_plane",
                space="chaos"),
    PaperFigure(place="figure 4", shows="orbits of the sine task in three dimensions",
                figure="orbit2d", space="sine"),
    PaperFigure(place="figure 8", shows="orbits of the language model", figure="orbit1d",
                space="language"),
    PaperFigure(place="transient orbits", shows="outputs over time at one epoch",
                figure="transient", space="sine"),
    PaperFigure(place="tables of accuracy and perplexity", shows="the three tasks by net",
                reason=f"{_NO_PAPER}; `best` gives ours"),
)  # fmt: skip
