"""Recurrent stacks: declared against real tensors, scan against steps, dropout, carried state."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.support.small_trials import check_rows, filled, network, tensors_of
from trainables.core.hparams import lane_values
from trainables.core.layout import by_path
from trainables.declarations import ConfigError, Trial, builtin_registry
from trainables.declarations.models.rnn_sizes import PRESETS, preset_widths, published
from trainables.layers.alif import ALIF
from trainables.layers.dropout import Dropout
from trainables.layers.gated import GRU, LSTM, SimpleRNN
from trainables.models.rnn import RecurrentNet
from trainables.packs.pack import Pack
from trainables.training.network import fresh

MODELS = ("lstm", "gru", "rsimplernn", "ssimplernn", "malsnn", "malsnnb")
SMALL = {"task": "gaussian", "widths": "5:4", "seq_len": 6, "features": 3, "classes": 4}


def resolved(**config: Any) -> Trial:
    return builtin_registry().resolve(config)


# ---- sizes -------------------------------------------------------------------------------------

COUNTS = {
    ("heidelberg", "lstm"): 371_884,
    ("heidelberg", "gru"): 372_665,
    ("heidelberg", "rsimplernn"): 381_460,
    ("heidelberg", "malsnn"): 382_996,
    ("sl_mnist", "lstm"): 153_646,
    ("sl_mnist", "gru"): 151_113,
    ("sl_mnist", "ssimplernn"): 151_050,
    ("sl_mnist", "malsnnb"): 151_818,
    ("wordptb", "lstm"): 5_563_200,
    ("wordptb", "gru"): 5_572_425,
    ("wordptb", "rsimplernn"): 5_561_600,
    ("wordptb", "malsnnb"): 5_566_400,
}
"""Of two layers at the published widths, words read out by the embedding."""


@pytest.mark.parametrize(("task", "model"), COUNTS)
def test_parameter_counts_of_the_published_networks(task, model):
    trial = resolved(task=task, model=model, readout="tied")
    assert check_rows(trial) == COUNTS[task, model]


@pytest.mark.parametrize("model", MODELS)
def test_declared_rows_are_the_real_ones(model):
    check_rows(resolved(model=model, **SMALL))
    words = {"task": "wordptb", "model": model, "batch_size": 2}
    one = resolved(**words, widths="5:4", embedding=7)
    check_rows(one)
    assert tensors_of(one)[0] == (-1, "embedding", "w", (10_000, 7))


def test_widths():
    assert preset_widths("paper", "wordptb", "lstm", 5) == (500, 100, 500, 100, 300)
    assert preset_widths("paper", "wordptb", "gru", 5) == (625, 125, 625, 125, 300)
    assert preset_widths("paper", "wordptb", "malsnnb", 5) == (1300, 260, 1300, 260, 300)
    assert preset_widths("paper", "spikes", "gru", 7) == (117,) * 7
    assert preset_widths("readme", "wordptb", "gru", 3) == (1300,) * 3
    # The program's factors of its base widths: 1.38 of 256, 1.25, 0.46 and 1/3 of 128.
    indrnn = [preset_widths("paper", t, "indrnn", 2) for t in ("spikes", "sl_mnist", "psmnist")]
    assert indrnn == [(353,) * 2, (160,) * 2, (58,) * 2]
    assert preset_widths("paper", "smnist", "lstm", 1) == (42,)
    assert preset_widths("paper", "charptb", "indrnn", 2) == (4250, 300)
    assert preset_widths("paper", "charptb", "lstm", 5) is None
    assert preset_widths("paper", "wordptb", "lstm", 3) is None
    assert preset_widths("readme", "digits", "lstm", 2) is None
    assert PRESETS == ("paper", "readme")


def test_published_settings():
    assert published("heidelberg", "lstm", 2).__dict__ == {
        "batch_size": 100, "lr": 1e-3, "lsc_batch": 100,
    }  # fmt: skip
    assert published("heidelberg", "malsnn", 5).__dict__ == {
        "batch_size": 32, "lr": 1e-3, "lsc_batch": 32,
    }  # fmt: skip
    found = {m: published("wordptb", m, 2) for m in MODELS}
    assert [p.lsc_batch for p in found.values() if p] == [8, 8, 16, 16, 3, 3]
    assert [p.lr for p in found.values() if p] == [3.16e-4] * 4 + [1e-3] * 2
    assert published("sl_mnist", "gru", 2).__dict__["lr"] == 1e-2
    assert published("sl_mnist", "malsnn", 5).__dict__["lr"] == 1e-3
    assert published("digits", "lstm", 2) is None


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"widths": "paper"}, "says nothing of model lstm with depth 2 on task gaussian"),
        ({"widths": "5:4:3"}, "has 3 numbers, but depth is 2"),
        ({"widths": "5,4"}, "or numbers such as 500:300"),
        ({"widths": "0"}, "or numbers such as 500:300"),
        ({"readout": "tied", "embedding": 9}, "needs embedding=4"),
        ({"dropout": 1.0}, "dropout must be"),
    ],
)
def test_impossible_settings_are_sentences(change, sentence):
    with pytest.raises(ConfigError, match=sentence):
        resolved(model="lstm", **{**SMALL, **change})


def test_published_names_and_one_width_for_all_layers():
    names = ("LSTM", "GRU", "rsimplernn", "ssimplernn", "maLSNN", "maLSNNb")
    assert [resolved(model=n, **SMALL).model.name for n in names] == list(MODELS)
    one = resolved(model="lstm", **{**SMALL, "widths": "6", "stack": 3})
    shapes = {layer: shape for layer, _, name, shape in tensors_of(one) if name == "b"}
    assert shapes == {0: (24,), 1: (24,), 2: (24,), 3: (4,)}


# ---- forward -----------------------------------------------------------------------------------

STACKS = {
    "lstm": (LSTM(5), LSTM(4)),
    "gru": (GRU(5), GRU(4)),
    "simple": (SimpleRNN(5, "swish"), SimpleRNN(4, "relu")),
    "alif": (ALIF(5, 3.0), ALIF(4, 3.0, signed=True)),
    "mixed": (LSTM(5), ALIF(4, 3.0)),
}


def built(cells: Any, features: int = 3, **options: Any) -> RecurrentNet:
    classes = options.pop("classes", 4)
    return filled(lambda: RecurrentNet(cells, features, classes, nnx.Rngs(0), **options), 0)


@pytest.mark.parametrize("name", STACKS)
def test_a_scan_is_the_same_as_steps(name, seed):
    net = built(STACKS[name])
    net.eval()
    x = np.random.default_rng(seed).normal(size=(3, 6, 3)).astype(np.float32)
    got = nnx.jit(lambda net, x: net(x))(net, x)

    @nnx.jit
    def stepped(net: RecurrentNet, x: jax.Array) -> jax.Array:
        states, found = list(net.initial(3)), []
        for t in range(6):
            h = net.embed(x[:, t])
            for layer in range(net.depth):
                states[layer] = net.step(layer, states[layer], h)
                h = net.output(layer, states[layer])
            found.append(net.logits(h))
        return jnp.stack(found, 1)

    np.testing.assert_allclose(got, stepped(net, jnp.asarray(x)), atol=1e-6)
    assert got.shape == (3, 6, 4)


def test_tokens_are_rows_of_the_embedding_and_a_tied_readout_is_its_transpose(seed):
    tokens = jnp.asarray(np.random.default_rng(seed).integers(0, 9, (2, 5)))
    tied = built((GRU(5), GRU(4)), 9, classes=9, embedding=4, tied=True)
    table = tied.readout.values()["w"]
    assert table.shape == (9, 4)
    np.testing.assert_array_equal(tied.embed(tokens), table[tokens])
    h = np.random.default_rng(seed).normal(size=(2, 4)).astype(np.float32)
    np.testing.assert_allclose(tied.logits(jnp.asarray(h)), h @ table.T, atol=1e-6)
    loose = RecurrentNet((GRU(5),), 9, 9, nnx.Rngs(0), embedding=4)
    np.testing.assert_array_equal(loose.embed(tokens), loose.embedding.values()["w"][tokens])
    assert loose.logits(jnp.zeros((2, 5))).shape == (2, 9)
    limit = np.sqrt(6 / 13)
    assert 0.8 * limit < np.abs(loose.embedding.values()["w"]).max() <= limit
    with pytest.raises(ValueError, match="tied"):
        built((GRU(5),), 9, classes=9, embedding=4, tied=True)


@pytest.mark.slow
def test_taps_read_the_total_derivative_of_every_state(seed):
    net = built(STACKS["lstm"])
    net.eval()
    x = jax.random.normal(jax.random.key(seed), (3, 4, 3))
    gauges = jnp.zeros((2, 4))
    norms = jax.grad(lambda g: jnp.sum(jnp.square(net.tapped(x, g))))(gauges)

    def pushed(push: jax.Array, layer: int, at: int) -> jax.Array:
        states, found = list(net.initial(3)), []
        for t in range(4):
            h = x[:, t]
            for i in range(2):
                states[i] = net.step(i, states[i], h)
                states[i] = states[i] + push if (i, t) == (layer, at) else states[i]
                h = net.output(i, states[i])
            found.append(net.logits(h))
        return jnp.sum(jnp.square(jnp.stack(found)))

    for layer, at in ((0, 1), (1, 3)):
        size = net.cells[layer].state_size
        slope = jax.jit(jax.grad(pushed), static_argnums=(1, 2))(jnp.zeros((3, size)), layer, at)
        assert float(norms[layer, at]) == pytest.approx(float(jnp.linalg.norm(slope)), rel=1e-4)


# ---- dropout -----------------------------------------------------------------------------------


def test_dropout_keeps_the_mean_draws_anew_and_rests_in_evaluation():
    drop = Dropout(jnp.float32(0.3), nnx.Rngs(1))
    x = jnp.full((400, 50), 2.0)
    one, two = drop(x), drop(x)
    for found in (one, two):
        kept = np.asarray(found) != 0
        assert kept.mean() == pytest.approx(0.7, abs=0.01)
        np.testing.assert_allclose(np.asarray(found)[kept], 2 / 0.7, rtol=1e-6)
    both = np.mean((np.asarray(one) != 0) & (np.asarray(two) != 0))
    assert both == pytest.approx(0.49, abs=0.015)  # two draws, independent
    assert np.array_equal(Dropout(0.3, nnx.Rngs(1))(x), one)  # but the same from the same key
    drop.eval()
    assert np.array_equal(drop(x), x)
    drop.train()
    assert not np.array_equal(drop(x), x)
    assert np.array_equal(Dropout(0.0, nnx.Rngs(1))(x), x)


@pytest.mark.slow
def test_dropout_of_a_pack_is_traced_and_draws_anew_in_every_step():
    config = {"model": "gru", **SMALL, "batch_size": 6, "steps_per_epoch": 3, "lr": 0.0}
    trials = [resolved(**config, dropout=rate) for rate in (0.0, 0.5, 0.5)]
    assert len({t.program for t in trials}) == 1
    pack = Pack(trials, {})
    pack.init()
    before = pack.state()
    first, second = pack.epoch(0), pack.epoch(1)
    losses = first.epochs["loss"]
    assert losses[0] != losses[1] == losses[2]
    # With a learning rate of 0 only the masks differ, and evaluation has none.
    assert np.all(first.epochs["val_loss"] == first.epochs["val_loss"][0])
    assert np.all(second.epochs["val_loss"] == first.epochs["val_loss"][0])
    drawn = pack.state()["rest/dropout/stream/count"] - before["rest/dropout/stream/count"]
    assert drawn.tolist() == [2 * 3 * 2] * 3  # layers, steps, epochs


# ---- carried state -----------------------------------------------------------------------------


def test_carried_states_join_two_batches_into_one_sequence(seed):
    x = np.random.default_rng(seed).normal(size=(3, 8, 3)).astype(np.float32)
    whole, carrying = built(STACKS["mixed"]), built(STACKS["mixed"], carried_batch=3)
    for net in (whole, carrying):
        net.eval()
    run = nnx.jit(lambda net, x: net(x))
    want = run(whole, x)
    halves = [run(carrying, x[:, :4]), run(carrying, x[:, 4:])]
    np.testing.assert_allclose(np.concatenate(halves, 1), want, atol=1e-5)
    assert np.array_equal(run(whole, x), want)
    assert len(whole.carried) == 0
    graph, params, rest = nnx.split(carrying, nnx.Param, ...)
    again = nnx.merge(graph, params, fresh(rest, {"reset": jnp.bool_(True)}))
    np.testing.assert_allclose(run(again, x[:, :4]), want[:, :4], atol=1e-5)


def test_words_carry_states_where_the_task_says_so():
    words = {"task": "wordptb", "model": "lstm", "widths": "3", "batch_size": 2, "seq_len": 5}
    shapes = {}
    for reset in ("epoch", "never", "segment"):
        trial = resolved(**words, state_reset=reset)
        net, values = network(trial), lane_values(trial)
        rest = jax.eval_shape(lambda v, n=net, t=trial: n.init(t, v)["rest"], values)
        shapes[reset] = [leaf.shape for path, leaf in by_path(rest).items() if "carried" in path]
    assert shapes == {"epoch": [(2, 6)] * 2, "never": [(2, 6)] * 2, "segment": []}
