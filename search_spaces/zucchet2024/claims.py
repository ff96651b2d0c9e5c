"""What zucchet2024 claims, its numbers and figures (docs/specs/zucchet2024.md)."""

from search_spaces.claims import Claim, Number, PaperFigure

_READ_OFF = "read off a figure, to 5 % of a decade"


def _signal(name: str, column: str, rho: float, published: float) -> Number:
    return Number(
        name=f"{name}, lambda 0.99, rho {rho:g}", published=published, rule="factor",
        tolerance=1.01, origin="equations 5 and 6",
        sql=f"SELECT any_value({column}) FROM scalar_signals "
        f"WHERE abs(\"lambda\" - 0.99) < 1e-4 AND abs(rho - {rho}) < 1e-6",
    )  # fmt: skip


def _first_step(form: str, published: float) -> Number:
    return Number(
        name=f"first step with a loss below 0.01, {form} phase", published=published,
        rule="within", tolerance=5, unit="steps", origin="reference",
        sql="SELECT max(first_below) FROM landscape JOIN trials USING (trial_id) WHERE "
        f"landscape_rule = 'sign' AND phase_form = '{form}' AND first_below >= 0",
    )  # fmt: skip


def _top(coordinates: str, published: float) -> Number:
    return Number(
        name=f"log10 of the top eigenvalue, {coordinates}, median", published=published,
        rule="within", tolerance=0.5, origin=f"figure 4, {_READ_OFF}",
        sql="SELECT median(top) FROM (SELECT log10(max(eigenvalue)) AS top FROM optimal_hessian "
        f"JOIN trials USING (trial_id) WHERE coordinates = '{coordinates}' GROUP BY draw)",
    )  # fmt: skip


def _least_loss(model: str) -> str:
    """Of 10,000 steps, divided by the teacher's energy, at the best learning rate."""
    return (
        "SELECT min(mean) FROM (SELECT avg(loss_ratio) AS mean FROM runs WHERE "
        f"model = '{model}' AND min_nu = 0.99 AND width = 64 AND epochs = 100 AND epoch = 99 "
        "GROUP BY lr)"
    )


def _loss(model: str, published: float) -> Number:
    return Number(
        name=f"loss over the teacher's energy, {model}, min_nu 0.99", published=published,
        rule="factor", tolerance=10, origin=f"figure 3A, {_READ_OFF}", sql=_least_loss(model),
    )  # fmt: skip


def _deep(cell: str, column: str, memory: float) -> str:
    return (
        f"(SELECT avg({column}) FROM deep_signals JOIN trials USING (trial_id) WHERE deep_cell = "
        f"'{cell}' AND norm = 'none' AND layer = 3 AND memory = {memory})"
    )


_GROWTH = "output of the last block, memory 100 over memory 1"
_PART = "--set min_nu=0.99 --set seed=2023,2024"
CLAIMS = (
    Claim(
        text="The energy of a unit's state and of its derivative explodes as its memory grows, and "
        "faster where inputs are correlated.",
        place="figures 1A and 2",
        spaces=("signals",),
        numbers=(
            _signal("E[h^2]", "energy", 0.0, 50.25),
            _signal("E[h^2]", "energy", 0.99, 5000),
            _signal("E[(dh/dlambda)^2]", "sensitivity", 0.0, 2.513e5),
            _signal("E[(dh/dlambda)^2]", "sensitivity", 0.99, 3.75e7),
        ),
        commands=("gradsweep launch zucchet2024/signals",),
        figure="signal_energy",
    ),
    Claim(
        text="Learning a phase near 0 succeeds with polar and exponential phases, and fails with "
        "the one that makes the curvature 1.",
        place="figure 7",
        spaces=("landscape",),
        numbers=(
            _first_step("polar", 1434),
            _first_step("exp", 3256),
            Number(
                name="loss after 50,000 steps, phase of unit curvature", published=16.0,
                rule="at_least", origin="reference",
                sql="SELECT arg_max(loss, step) FROM landscape JOIN trials USING (trial_id) WHERE "
                "landscape_rule = 'sign' AND phase_form = 'opt' AND landscape_steps >= 50000",
            ),
        ),
        commands=("gradsweep launch zucchet2024/landscape",),
        differs="the published program drops Adam's averages at every step, which leaves the "
        "gradient's sign; these numbers are of that form, and the space has Adam beside it.",
        figure="landscape",
    ),
    Claim(
        text="At the optimum the Hessians of all coordinates have as many large eigenvalues; only "
        "the dense one spreads its eigenvectors over many parameters.",
        place="figures 4 and 9",
        spaces=("hessian_optimal",),
        numbers=(
            _top("rnn", 7.1),
            _top("complex", 5.7),
            _top("lru", 6.8),
            Number(
                name="parameters of a top eigenvector, dense over complex, medians", published=1.5,
                rule="at_least", origin="reference",
                sql="SELECT median(participation) FILTER (coordinates = 'rnn') / "
                "median(participation) FILTER (coordinates = 'complex') FROM (SELECT coordinates, "
                "draw, avg(participation) AS participation FROM optimal_hessian JOIN trials USING "
                "(trial_id) WHERE rank <= 4 GROUP BY ALL)",
            ),
        ),
        commands=("gradsweep launch zucchet2024/hessian_optimal",),
        differs="other teachers are drawn: the published generator's numbers depend on NumPy's "
        "state. A set of 40 draws moves a median by up to 0.3.",
        figure="optimal_hessian",
    ),
    Claim(
        text="As the teacher's memory grows a dense recurrence learns worse and worse, and a "
        "diagonal one does not.",
        place="figure 3A",
        spaces=("comparison_rnn", "comparison_lru"),
        numbers=(
            Number(
                name="loss of the dense recurrence over the LRU's, min_nu 0.99", published=10.0,
                rule="at_least", origin="reference",
                sql=f"SELECT ({_least_loss('linear_rnn')}) / ({_least_loss('lru')})",
            ),
            _loss("linear_rnn", 3.5e-3),
            _loss("lru", 2.0e-7),
        ),
        commands=(
            f"gradsweep launch zucchet2024/comparison_rnn {_PART} --set lr=1e-3,3.2e-4,1e-4",
            f"gradsweep launch zucchet2024/comparison_lru {_PART} --set lr=0.01",
        ),
        differs="one memory of seven, four learning rates of ten, two seeds of ten: the whole grid "
        "takes eight hours of a core. The teacher is drawn by today's JAX, whose numbers differ; "
        "losses are divided by the energy of its output. Seeds of a dense net at one rate differ "
        "by a factor of 1,000.",
        smaller="one memory of seven",
        figure="curse_of_memory",
    ),
    Claim(
        text="Outputs and gradients of deep networks explode with memory, unless the recurrence "
        "is normalised.",
        place="figures 5 and 13",
        spaces=("deep",),
        numbers=(
            Number(
                name=f"complex diagonal: {_GROWTH}", published=1.2e5, rule="factor", tolerance=10,
                origin=f"figure 5, {_READ_OFF}",
                sql=f"SELECT {_deep('complex', 'energy', 100.0)} / "
                f"{_deep('complex', 'energy', 1.0)}",
            ),
            Number(
                name=f"LRU: {_GROWTH}", published=0.8, rule="factor", tolerance=2,
                origin=f"figure 5, {_READ_OFF}",
                sql=f"SELECT {_deep('lru', 'energy', 100.0)} / {_deep('lru', 'energy', 1.0)}",
            ),
            Number(
                name=f"GRU: {_GROWTH}", published=1.0, rule="factor", tolerance=2,
                origin=f"figure 5, {_READ_OFF}",
                sql=f"SELECT {_deep('gru', 'energy', 100.0)} / {_deep('gru', 'energy', 1.0)}",
            ),
        ),
        commands=("gradsweep launch zucchet2024/deep --set memory=1,100",),
        differs="inputs are noise of the autocorrelation that was measured on BERT's embeddings of "
        "Wikipedia, which are not included.",
        smaller="noise in place of embeddings of Wikipedia",
        figure="deep_signals",
    ),
)  # fmt: skip

DRAWN = (
    PaperFigure(place="figures 1A, 2", shows="energy of a unit's state and derivative",
                figure="signal_energy", space="signals"),
    PaperFigure(place="figure 1BC", shows="loss of one unit that learns another",
                figure="unit_loss", space="unit"),
    PaperFigure(place="figure 3A", shows="best loss against memory", figure="curse_of_memory",
                space="comparison_rnn"),
    PaperFigure(place="figure 3B", shows="from a dense net to the LRU", figure="ablation",
                space="ablation_p1"),
    PaperFigure(place="figures 4, 9", shows="Hessians at the optimum, entry by entry",
                figure="hessian_matrix", space="hessian_optimal"),
    PaperFigure(place="figures 4, 9", shows="their first eigenvectors by block of parameters",
                figure="hessian_vectors", space="hessian_optimal"),
    PaperFigure(place="figures 4, 9", shows="their eigenvalues, and how many parameters share one",
                figure="optimal_hessian", space="hessian_optimal"),
    PaperFigure(place="figures 4, 9", shows="Adam's effective learning rate of every weight",
                figure="weight_rates", space="rates"),
    PaperFigure(place="figures 4, 9", shows="its mean and range while training",
                figure="effective_lr", space="comparison_rnn"),
    PaperFigure(place="figures 5, 13", shows="signals of deep networks", figure="deep_signals",
                space="deep"),
    PaperFigure(place="figure 6", shows="loss and curvature along nu and theta",
                figure="unit_lines", space="unit"),
    PaperFigure(place="figure 7, upper row", shows="paths of the parameters on the loss",
                figure="landscape_path", space="landscape"),
    PaperFigure(place="figure 7, lower row", shows="loss while a phase is learned",
                figure="landscape", space="landscape"),
    PaperFigure(place="figure 8", shows="coupling of two eigenvalues", figure="coupling",
                space="hessian_diagonal"),
    PaperFigure(place="figure 10, left", shows="Hessians of concentrated phases",
                figure="hessian_matrix", space="hessian_diagonal"),
    PaperFigure(place="figure 10, left", shows="their eigenvalues by sector",
                figure="sector_hessian", space="hessian_diagonal"),
    PaperFigure(place="figure 10, right", shows="loss by concentration of phases",
                figure="concentration", space="shrink_p1"),
    PaperFigure(place="figure 11", shows="loss and learning rate by heads", figure="heads",
                space="heads"),
    PaperFigure(place="figure 12", shows="a GRU's Jacobian over time", figure="gru_jacobian",
                space="gru"),
    PaperFigure(place="figures 14, 15", shows="a GRU with constant gates against theory",
                figure="gru_theory", space="gru"),
    PaperFigure(place="figures 14, 15", shows="a GRU whose gates read inputs and states",
                figure="gated_theory", space="gates"),
    PaperFigure(place="inputs of figures 5, 14", shows="their autocorrelation and its fit",
                figure="autocorrelation", space="inputs"),
)  # fmt: skip
