"""The spaces of study `herranz2023`: published grids, the source's own commands, small variants."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import pytest

from orchestrator.errors import RequestError
from orchestrator.plan.plan import plan, trials_of
from orchestrator.plan.studies import Catalogue, catalogue
from results import FIGURES
from search_spaces import Space
from search_spaces.herranz2023.recurrent import RECURRENT, SPIKING
from trainables.declarations import Trial, parse_comments
from trainables.declarations.models.rnn import layer_widths
from trainables.declarations.models.rnn_sizes import published

COUNTS = {  # space -> (its own trials, pretrainings, programs)
    "figure2": (756, 36, 18),
    "figure3": (432, 288, 72),
    "figure3_authors": (384, 240, 72),
    "figure4": (64, 24, 6),
    "table1": (64, 24, 6),
    "digits": (54, 6, 6),
    "mnist": (18, 2, 2),
    "toy": (8, 4, 4),
    "cnn": (756, 36, 18),
    "cnn_digits": (36, 6, 6),
    "spikes": (24, 16, 8),
}

ANALYSES = {"figure1": (28, 3), "covariance": (36, 6), "decay": (4, 4)}  # trials, programs


@pytest.fixture(scope="module")
def found() -> Catalogue:
    return catalogue()


def space_of(found: Catalogue, name: str) -> Space:
    return found.find(f"herranz2023/{name}")[0][2]


def trials(found: Catalogue, name: str, *changes: str, smoke: bool = False) -> list[Trial]:
    return trials_of(found, space_of(found, name), changes, smoke)


def parents(targets: list[Trial]) -> dict[str, Trial]:
    return {t.parent.id: t.parent for t in targets if t.parent}


@pytest.mark.parametrize("name", COUNTS)
def test_counts(found: Catalogue, name: str) -> None:
    targets = trials(found, name)
    before = parents(targets)
    programs = {t.program for t in (*targets, *before.values())}
    assert (len({t.id for t in targets}), len(before), len(programs)) == COUNTS[name]
    assert len(targets) == COUNTS[name][0]
    assert {t.stage.name for t in before.values()} == {"lsc"}


def test_the_study_has_these_spaces(found: Catalogue) -> None:
    assert set(found.studies["herranz2023"].spaces) == {*COUNTS, *ANALYSES}


@pytest.mark.parametrize("name", ANALYSES)
def test_analyses(found: Catalogue, name: str) -> None:
    targets = trials(found, name)
    assert (len(targets), len({t.program for t in targets})) == ANALYSES[name]
    assert all(t.stage.epochs_key is None and t.probes for t in targets)
    smoke = trials(found, name, smoke=True)
    assert len(smoke) <= len(targets)
    assert {t.stage.name for t in smoke} == {t.stage.name for t in targets}
    assert set(space_of(found, name).figures) <= set(FIGURES)


def test_figure1_has_the_published_weights(found: Catalogue) -> None:
    kinds = Counter((t.stage.name, t.config.get("grid_rule")) for t in trials(found, "figure1"))
    assert kinds == {("pascal", "linear"): 5, ("pascal", "he"): 20, ("binomial", None): 3}
    weights = [
        (t.config["rho_t"], t.config["rho_l"]) for t in trials(found, "figure1", "stage=binomial")
    ]
    assert weights == [(1, 1), (0.5, 0.5), (100 / 110, 10 / 110)]


def test_figure2_is_792_trials_and_smaller_at_five_seeds_and_two_rates() -> None:
    (whole,) = plan("herranz2023/figure2")
    assert (len(whole.trials), len(whole.targets), len(whole.programs)) == (792, 756, 18)
    (small,) = plan("herranz2023/figure2", set=["seed=range(5)", "lr=1e-3,1e-4"])
    assert (len(small.trials), len(small.targets)) == (45 + 270, 270)
    variants = Counter(whole.to_json()["variants"][trial.id]["comments"] for trial in whole.trials)
    assert variants == {
        "findLSC_radius_adabelief": 252,
        "adabelief": 252,
        "heinit_adabelief": 252,
        "findLSC_radius_onlypretrain_adabelief": 36,
    }


def test_pretrainings_of_figure2_serve_every_learning_rate(found: Catalogue) -> None:
    targets = trials(found, "figure2")
    assert set(Counter(t.parent.id for t in targets if t.parent).values()) == {7}
    for trial in parents(targets).values():
        assert trial.config["init"] == "glorot_normal"
        steps = {"mnist": 54_000 // 512}.get(str(trial.config["task"]), 45_000 // 512)
        assert (trial.config["lsc_steps"], trial.epochs) == (steps, 100)
    one = targets[0]
    assert (one.sizes.n_val, one.sizes.batch_size, one.epochs) == (6_000, 512, 50)


def test_figure3_pretrainings_serve_one_training_each(found: Catalogue) -> None:
    targets = trials(found, "figure3")
    assert set(Counter(t.parent.id for t in targets if t.parent).values()) == {1}
    excluded = {t.id for t in targets} - {t.id for t in trials(found, "figure3_authors")}
    left_out = [t for t in targets if t.id in excluded]
    assert len(left_out) == 48
    assert {t.model.name for t in left_out} == set(SPIKING)
    assert {t.config["lsc_target"] for t in left_out} == {0.5}


@pytest.mark.parametrize("name", ["figure3", "figure3_authors"])
def test_recurrent_networks_have_their_published_settings(found: Catalogue, name: str) -> None:
    for trial in trials(found, name, "seed=0"):
        config = trial.config
        task, depth = str(config["task"]), int(str(config["depth"]))
        known = published(task, trial.model.name, depth)
        assert known is not None
        assert (config["batch_size"], config["lr"]) == (known.batch_size, known.lr)
        assert config["readout"] == ("tied" if task == "wordptb" else "dense")
        assert (config["dropout"], config["time_repeat"]) == (0.3, 2)
        if trial.parent:
            assert trial.parent.config["lsc_batch"] == known.lsc_batch
            length = {"heidelberg": 500}.get(task, 200)
            assert (trial.parent.config["lsc_steps"], trial.parent.epochs) == (length, 10)
            assert trial.sizes.seq_len == length


def test_nets_and_tasks_that_the_paper_leaves_out_have_the_program_s_settings(
    found: Catalogue,
) -> None:
    """The source's own defaults: 1e-3 for spiking nets, 1e-2 for others on any MNIST, batch 256."""
    words = ("depth=2", "seed=0", "pretrain=none")
    for trial in trials(found, "figure3", "task=smnist,psmnist", "net=LSTM,maLSNN,LMU", *words):
        lr, units = {"lstm": (1e-2, 42), "lmu": (1e-2, 128), "malsnn": (1e-3, 128)}[
            trial.model.name
        ]
        assert (trial.config["batch_size"], trial.config["lr"]) == (256, lr)
        assert layer_widths(trial.config) == (units,) * 2
        assert trial.sizes.seq_len == 784
    of_lsnn, of_indrnn = trials(found, "figure3", "task=heidelberg", "net=LSNN,indrnn", *words)
    assert [one.config["lr"] for one in (of_lsnn, of_indrnn)] == [1e-3, 1e-3]
    assert [layer_widths(one.config)[0] for one in (of_lsnn, of_indrnn)] == [256, 353]
    (text,) = trials(found, "figure3", "task=ptb", "net=indrnn", "lr=1e-3", *words)
    assert (text.task.name, layer_widths(text.config)) == ("charptb", (4250, 300))


def test_clipped_and_unclipped_trainings_share_a_pretraining(found: Catalogue) -> None:
    for name in ("figure4", "table1"):
        targets = trials(found, name)
        assert Counter(t.config["clip_norm"] for t in targets) == {None: 32, 1.0: 32}
        assert set(Counter(t.parent.id for t in targets if t.parent).values()) == {2}
        kinds = Counter((t.config.get("lsc_target"), t.config.get("lsc_balance")) for t in targets)
        assert kinds == {
            (None, None): 16, (1.0, "equal"): 16, (0.5, "equal"): 16, (0.5, "unbalanced"): 16
        }  # fmt: skip
    sizes = {t.sizes.n_train // t.sizes.batch_size for t in trials(found, "table1")}
    assert sizes == {46}
    assert {t.config["dropout"] for t in trials(found, "table1", "depth=6")} == {0.1}


def test_the_source_s_words_mean_in_a_space_of_one_s_own_what_they_mean_there(
    found: Catalogue,
) -> None:
    """In each form of a space; `model=lru` is zucchet2024's."""
    own = {"task": "gaussian", "seed": 0}
    spaces: list[dict[str, Any]] = [
        {"net": "lru"},
        {"net": {"grid_search": ["lru"]}},
        {"pair": {"zip": {"net": ["lru"], "lr": [0.1]}}},
        {"lr": 0.1, "more": {"when": {"lr": 0.1}, "then": {"net": "lru"}}},
    ]
    for space in spaces:
        (one,) = trials_of(found, Space(reproduces="words", param_space={**own, **space}))
        assert one.model.name == "bare_lru"
    (one,) = trials_of(found, Space(reproduces="words", param_space={**own, "model": "lru"}))
    assert one.model.name == "lru"
    (text,) = trials_of(
        found, Space(reproduces="words", param_space={"task": "ptb", "net": "lru", "seed": 0})
    )
    assert (text.task.name, text.model.name) == ("charptb", "bare_lru")


# ---- the source's own commands -----------------------------------------------------------------

X = "allns_embproj_nogradreset_dropout:.3_timerepeat:2_pretrained"
FIGURE2 = [
    "depth=30", "width=128", "epochs=50", "steps_per_epoch=-1", "pretrain_epochs=100",
    "activation=sin,relu,cos", "dataset=mnist,cifar10,cifar100",
    "lr=1e-2,3.16e-3,1e-3,3.16e-4,1e-4,3.16e-5,1e-5", "seed=range(4)",
]  # fmt: skip
FIGURE3 = [
    "stack=2,5", "n_neurons=None", "batch_size=None", "steps_per_epoch=None", "lr=None",
    "task=wordptb,heidelberg,sl_mnist", "net=LSTM,GRU,rsimplernn,ssimplernn,maLSNN,maLSNNb",
    "seed=range(4)",
]  # fmt: skip
STARTS = ("", "findLSC_radius", "findLSC_radius_targetnorm:.5",
          "findLSC_radius_targetnorm:.5_unbalanced")  # fmt: skip


def lru(depth: int, *words: str) -> list[str]:
    return [f"stack={depth}", *words, "steps_per_epoch=None", "task=wordptb", "net=reslruffn",
            "seed=range(4)"]  # fmt: skip


def one_phase(prefix: str, clip: str) -> list[str]:
    return ["_".join(filter(None, (prefix, start, clip))) for start in STARTS]


COMMANDS: list[tuple[str, list[str], str, int]] = [  # space, words, comments, trials asked for
    ("figure2", FIGURE2, "findLSC_radius_adabelief_pretrained_onlypretrain", 36),
    ("figure2", FIGURE2, "findLSC_radius_adabelief_onlyloadpretrained", 252),
    ("figure2", FIGURE2, "_adabelief_onlyloadpretrained", 252),
    ("figure2", FIGURE2, "heinit_adabelief_onlyloadpretrained", 252),
    ("figure3", FIGURE3, f"{X}_findLSC_radius_targetnorm:.5_onlypretrain", 144),
    ("figure3", FIGURE3, f"{X}_findLSC_radius_onlypretrain", 144),
    ("figure3", FIGURE3, f"{X}_findLSC_radius_targetnorm:.5_onlyloadpretrained", 144),
    ("figure3", FIGURE3, f"{X}_findLSC_radius_onlyloadpretrained", 144),
    ("figure3", FIGURE3, f"{X}_onlyloadpretrained", 144),
    *(
        ("figure4", lru(depth, "n_neurons=128", "batch_size=32", "lr=1e-2"), comments, 4)
        for depth in (3, 6)
        for clip in ("_", "clipping")
        for comments in one_phase("allns_dropout:.0_pretrained", clip)
    ),
    *(
        ("table1", lru(depth, "n_neurons=256", "batch_size=64", "lr=3e-2"), comments, 4)
        for depth, dropout in ((3, ".2"), (6, ".1"))
        for clip in ("_", "clipping")
        for comments in one_phase(
            f"allns_dropout:{dropout}_embproj_pretrained_maxlen:300_mlminputs_mlmeps:3", clip
        )
    ),
]


def asked(space: str, words: list[str], comments: str) -> list[Trial]:
    """What `gradsweep plan` makes of a published command."""
    (one,) = plan(f"herranz2023/{space}", set=[*words, f"comments={comments}"])
    return one.targets


@pytest.mark.parametrize(("space", "words", "comments", "count"), COMMANDS)
def test_every_published_command_is_planned(
    found: Catalogue, space: str, words: list[str], comments: str, count: int
) -> None:
    targets = asked(space, words, comments)
    assert len({t.id for t in targets}) == count
    ours = trials(found, space)
    known = {t.id for t in ours} | set(parents(ours))
    assert {t.id for t in targets} <= known, "the same trials as the space's own"
    assert (targets[0].stage.name == "lsc") is comments.endswith("onlypretrain")


@pytest.mark.parametrize("space", ["figure2", "figure3", "figure4", "table1"])
def test_the_published_commands_are_the_published_grid(found: Catalogue, space: str) -> None:
    commands = [(words, comments) for name, words, comments, _ in COMMANDS if name == space]
    got = {t.id for words, comments in commands for t in asked(space, words, comments)}
    ours = trials(found, space)
    assert got | set(parents(ours)) == {t.id for t in ours} | set(parents(ours))


def test_a_label_is_a_comments_string_of_the_same_trial(found: Catalogue) -> None:
    for name in ("figure2", "figure3", "figure4", "table1"):
        ours = trials(found, name, "seed=1")
        for trial in (*ours, *parents(ours).values()):
            text = trial.variants["comments"]
            keys = parse_comments(text, trial.config)
            assert all(trial.config.get(key, value) == value for key, value in keys.items())
            again = found.registry.resolve({**trial.config, "comments": text})
            assert again.id == trial.id


def test_wrong_comments_are_refused_with_everything_wrong() -> None:
    with pytest.raises(RequestError) as caught:
        plan("herranz2023/figure2", set=["comments=findLSC_radiu_tenb", "lr=-1", "seed=0"])
    text = "\n".join(caught.value.problems)
    for words in ("unknown comment flag 'radiu'", "'tenb' is unsupported", "lr must be"):
        assert words in text
    with pytest.raises(RequestError, match=r"says lsc_target=0\.5, but lsc_target=1"):
        plan("herranz2023/toy", set=["comments=findLSC_radius_targetnorm:.5", "lsc_target=1"])


# ---- the spaces as such ------------------------------------------------------------------------


def cost(trial: Trial) -> float:
    """Multiply-adds of a trial, roughly: three passes of training, Jacobians of a pretraining."""
    config: dict[str, Any] = dict(trial.config)
    widths = str(config.get("widths", config.get("width")))
    width = max(int(w) for w in widths.split(":")) * (4 if trial.model.name == "lru_stack" else 1)
    layers = int(config["depth"]) * 2 * width * (width + trial.sizes.features)
    if trial.stage.name == "lsc":
        return 20.0 * trial.epochs * config["lsc_steps"] * config["lsc_batch"] * width**3
    return 3.0 * trial.epochs * trial.sizes.n_train * trial.sizes.seq_len * layers


@pytest.mark.parametrize("name", COUNTS)
def test_a_smoke_variant_is_small_and_keeps_the_space_s_shape(found: Catalogue, name: str) -> None:
    full, smoke = (trials(found, name, smoke=s) for s in (False, True))
    every = {t.id: t for t in (*smoke, *parents(smoke).values())}
    assert 2 <= len(every) <= 40
    assert sum(map(cost, every.values())) < 2e11
    assert len({t.program for t in every.values()}) <= 8
    for key in ("pretrain", "lsc_target", "lsc_balance", "init", "clip_norm"):
        assert {t.config.get(key) for t in smoke} == {t.config.get(key) for t in full}, key
    assert {t.model.name for t in smoke} <= {t.model.name for t in full}


@pytest.mark.parametrize("name", COUNTS)
def test_selection_never_looks_at_the_test_set(found: Catalogue, name: str) -> None:
    space = space_of(found, name)
    assert space.reproduces
    assert set(space.figures) <= set(FIGURES)
    assert str(space.select["metric"]).startswith("val_")
    assert space.select["at"] == "best"
    values = {t.config[str(space.select["over"])] for t in trials(found, name)}
    assert len(values) > 1
    if "choose" in space.select:
        assert len({t.config[str(space.select["choose"])] for t in trials(found, name)}) > 1


@pytest.mark.parametrize("model", RECURRENT)
def test_small_recurrent_grids_on_other_data(found: Catalogue, model: str) -> None:
    words = ["task=sl_mnist", f"model={model}", "n_train=2000", "n_val=500", "n_test=500"]
    targets = trials(found, "spikes", *words)
    assert {t.sizes.n_train for t in targets} == {2000}


def test_two_core_variants_of_figure2(found: Catalogue) -> None:
    targets = trials(found, "figure2", "task=mnist", "activation=relu", "epochs=5", "lr=1e-3,1e-4")
    assert (len(targets), len(parents(targets))) == (24, 4)
    for task, n_val in (("digits", 180), ("cifar10_4k", 400), ("cifar100_2k", 200)):
        small = trials(found, "figure2", f"task={task}", "batch_size=64", "seed=0", "lr=1e-3")
        assert {t.sizes.n_val for t in small} == {n_val}
        assert len(small) == len(list(itertools.product("scr", "abc")))
