"""Language tasks: order, contiguity, corruption, carried state, perplexities."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trainables.core.hparams import lane_values
from trainables.core.variables import Carried
from trainables.declarations import ConfigError, Sizes, Trial, builtin_registry
from trainables.declarations.tasks.language import CORPORA, chunks, segments, stream_lengths
from trainables.packs.pack import Pack
from trainables.tasks.base import make_data, make_task
from trainables.tasks.language import Cut, StreamTask, padded, rows
from trainables.training.network import Network, fresh

TEXT = (
    "the early bird gets the worm but the second mouse gets the cheese and so the one who comes "
    "last may well be the first to eat while the one who came first is eaten by the cat that was "
    "there all along waiting for the early bird and for the second mouse and for the cheese"
)
WORDS = TEXT.split()
VOCABULARY = sorted(set(WORDS))
TOKENS = np.asarray([VOCABULARY.index(word) for word in WORDS], np.int32)
NO_NOISE = {"mlm_epochs": jnp.int32(0), "mlm_rate": jnp.float32(0.05)}
KEY = jax.random.key(0)


def trial(**config: Any) -> Trial:
    return builtin_registry().resolve({"model": "lstm", "task": "wordptb", **config})


def tiny(repeat: int = 1, reset: Any = "epoch") -> tuple[StreamTask, dict[str, Any]]:
    """Three rows of the bundled text in segments of 4; validation and test are parts of it."""
    parts = [TOKENS, TOKENS[::-1], TOKENS[5:35]]
    cut_rows = [rows(part, 3) for part in parts]
    lengths = tuple(r.shape[1] for r in cut_rows)
    cut = Cut(4, lengths, (3, 2, 2), (4, 4, 4))
    words = len(VOCABULARY)
    sizes = Sizes(4 * repeat, words, words, 9, 6, 6, 3, tokens=True)
    data = {"rows": jnp.asarray(np.concatenate(cut_rows, 1))}
    return StreamTask(sizes, cut, reset, repeat), data


def batches(task: Any, data: Any, schedule: Any, hparams: Any = NO_NOISE) -> list[Any]:
    count = len(schedule["start"])
    entries = [jax.tree.map(lambda leaf, i=i: leaf[i], schedule) for i in range(count)]
    return [task.batch(data, entry, hparams) for entry in entries]


def test_targets_are_the_next_tokens_and_segments_follow_each_other():
    task, data = tiny()
    read = batches(task, data, task.training(KEY, NO_NOISE, jnp.int32(7)))
    assert len(read) == 3
    x = np.concatenate([np.asarray(b[0]) for b in read], 1)
    y = np.concatenate([np.asarray(b[1]) for b in read], 1)
    assert x.dtype == np.int32
    length = len(TOKENS) // 3
    for row in range(3):
        np.testing.assert_array_equal(x[row], TOKENS[row * length : row * length + 12])
        np.testing.assert_array_equal(y[row], TOKENS[row * length + 1 : row * length + 13])
    held = task.evaluation(KEY, NO_NOISE)
    segments = np.asarray(held.pop("segments"))
    assert segments.sum((1, 2)).tolist() == [6, 6]
    assert segments[:, :, 0].tolist() == [[1, 1, 0, 0], [0, 0, 1, 1]]
    read = batches(task, data, held)
    np.testing.assert_array_equal(read[1][0][0], TOKENS[::-1][4:8])
    np.testing.assert_array_equal(read[2][0][1], TOKENS[15:19])
    np.testing.assert_array_equal(read[3][1][2], TOKENS[5 + 20 + 5 : 5 + 20 + 9])


def test_characters_of_a_text_come_in_order_with_the_next_as_target() -> None:
    """What herranz2023's programs call `ptb`: from the text to batches and back."""
    from orchestrator.datasets.text import characters

    text = f"{TEXT}\n" * 6
    arrays = characters(*[text.encode()] * 3)
    one = builtin_registry().resolve(
        {"model": "lstm", "dataset": "ptb", "batch_size": 4, "seq_len": 20, "max_tokens": 1200,
         "widths": "4"}
    )  # fmt: skip
    assert (one.task.name, one.sizes.classes, one.chance_loss) == ("charptb", 50, math.log(50))
    task: Any = make_task(one)
    read = batches(task, make_data(one, arrays), task.training(KEY, NO_NOISE, jnp.int32(0)))
    assert len(read) == one.sizes.n_train // 4 > 10
    for row in range(4):
        for at, end in ((0, 0), (1, 1)):
            tokens = np.concatenate([batch[at][row] for batch in read])
            found = "".join(arrays["vocabulary"][tokens])
            assert found == text[300 * row + end :][: len(found)]


def test_time_repeat_repeats_inputs_and_targets():
    task, data = tiny(repeat=3)
    plain, plain_data = tiny()
    (x, y, _), (x1, y1, _) = (
        batches(t, d, t.training(KEY, NO_NOISE, jnp.int32(0)))[1]
        for t, d in ((task, data), (plain, plain_data))
    )
    assert x.shape == (3, 12)
    np.testing.assert_array_equal(x, np.repeat(x1, 3, 1))
    np.testing.assert_array_equal(y, np.repeat(y1, 3, 1))


def test_tokens_are_replaced_in_the_first_epochs_of_training_only():
    task, data = tiny()
    noise = {"mlm_epochs": jnp.int32(2), "mlm_rate": jnp.float32(0.5)}
    clean = batches(task, data, task.training(KEY, NO_NOISE, jnp.int32(0)))
    changed = []
    for epoch in range(4):
        read = batches(task, data, task.training(KEY, noise, jnp.int32(epoch)), noise)
        changed.append(
            np.mean([np.asarray(a[0] != b[0]) for a, b in zip(read, clean, strict=True)])
        )
        for (x, y, _), (_, kept, _) in zip(read, clean, strict=True):
            np.testing.assert_array_equal(y, kept)
            assert 0 <= int(x.min()) <= int(x.max()) < len(VOCABULARY)
    assert min(changed[:2]) > 0.2
    assert changed[2:] == [0, 0]
    assert "corrupt" not in task.evaluation(KEY, noise)
    assert "corrupt" not in task.probe(KEY, noise)


def test_five_percent_of_the_tokens(seed):
    cut = Cut(1000, (1001, 0, 0), (1, 0, 0), (1000, 1000, 1000))
    task = StreamTask(Sizes(1000, 50, 50, 40, 0, 0, 40, True), cut, "epoch")
    data = {"rows": jnp.full((40, 1001), 50)}  # a token of its own, so that every draw shows
    hparams = {**NO_NOISE, "mlm_epochs": jnp.int32(1)}
    schedule = task.training(jax.random.key(seed), hparams, jnp.int32(0))
    (x, _, _) = batches(task, data, schedule, hparams)[0]
    drawn = np.asarray(x)[np.asarray(x) != 50]
    assert len(drawn) / x.size == pytest.approx(0.05, abs=0.006)  # five standard errors
    assert np.bincount(drawn, minlength=50).min() > 10


@pytest.mark.parametrize(
    ("reset", "train", "held"),
    [
        ("epoch", [True, False, False], [True, False, True, False]),
        ("never", [False] * 3, [False] * 4),
        ("segment", [True] * 3, [True] * 4),
    ],
)
def test_when_carried_state_starts_anew(reset, train, held):
    task, _ = tiny(reset=reset)
    assert task.carries == (reset != "segment")
    assert task.training(KEY, NO_NOISE, jnp.int32(0))["reset"].tolist() == train
    assert task.evaluation(KEY, NO_NOISE)["reset"].tolist() == held
    assert task.probe(KEY, NO_NOISE)["reset"].tolist() == [True]
    state = {"h": Carried(jnp.ones((3, 2)))}
    schedule = task.training(KEY, NO_NOISE, jnp.int32(0))
    for step, cleared in enumerate(train):
        entry = jax.tree.map(lambda leaf, i=step: leaf[i], schedule)
        assert float(fresh(state, entry)["h"].get_value().sum()) == (0 if cleared else 6)


def test_both_perplexities(seed):
    """The published mean over batches of exp of their loss is never below exp of the mean."""
    task, _ = tiny()
    rng = np.random.default_rng(seed)
    losses, published = [], []
    for scale in (0.3, 1, 3):
        logits = scale * rng.normal(size=(3, 4, len(VOCABULARY)))
        y = rng.integers(0, len(VOCABULARY), (3, 4))
        shifted = logits - logits.max(-1, keepdims=True)
        p = np.exp(shifted) / np.exp(shifted).sum(-1, keepdims=True)
        want = -np.log(np.take_along_axis(p, y[..., None], -1))[..., 0].mean(1)
        outputs = jnp.asarray(logits, jnp.float32)
        found = np.asarray(task.losses(outputs, jnp.asarray(y)))
        np.testing.assert_allclose(found, want, rtol=1e-5)
        numbers = task.metrics(outputs, jnp.asarray(y))
        np.testing.assert_allclose(numbers["bits_per_token"], want / np.log(2), rtol=1e-5)
        np.testing.assert_allclose(numbers["batch_perplexity"], np.exp(want.mean()), rtol=1e-4)
        assert numbers["batch_perplexity"].shape == (3,)
        right = (logits.argmax(-1) == y).mean(1)
        np.testing.assert_allclose(task.correct(outputs, jnp.asarray(y)), right, rtol=1e-6)
        losses.append(want.mean())
        published.append(float(numbers["batch_perplexity"][0]))
    assert np.mean(published) >= np.exp(np.mean(losses))


@pytest.mark.parametrize(("rows_", "length", "steps"), [(32, 100, 288), (64, 300, 46)])
def test_steps_an_epoch_as_published(rows_, length, steps):
    one = trial(batch_size=rows_, maxlen=length)
    assert one.sizes.steps == steps
    assert one.sizes.n_train == steps * rows_
    val, test = 73_760 // rows_, 82_430 // rows_
    assert segments(one.config)[1:] == ((val - 1) // length, (test - 1) // length)
    assert one.task.chance_loss(one.config) == pytest.approx(np.log(10_000))
    repeated = trial(batch_size=rows_, seq_len=length, timerepeat=2).sizes
    assert (repeated.seq_len, repeated.steps) == (2 * length, steps)
    assert (repeated.features, repeated.tokens) == (10_000, True)


def test_too_little_text_is_said_when_planned():
    with pytest.raises(ConfigError, match=r"leave no training segment.*times 3,200 tokens"):
        trial(max_tokens=9_000)
    assert trial(max_tokens=9_600).sizes.steps == 1


def test_arrays_that_do_not_fit_are_refused(seed):
    rng = np.random.default_rng(seed)
    one = trial(max_tokens=500, batch_size=4, seq_len=10)
    arrays = {f"{p}_tokens": rng.integers(0, 10_000, 600) for p in ("train", "val", "test")}
    assert make_data(one, arrays)["rows"].shape == (4, 3 * 125)
    with pytest.raises(ValueError, match="needs the array val_tokens"):
        make_data(one, {k: v for k, v in arrays.items() if k != "val_tokens"})
    with pytest.raises(ValueError, match="reads 500 test tokens; there are 400"):
        make_data(one, {**arrays, "test_tokens": arrays["test_tokens"][:400]})
    with pytest.raises(ValueError, match=r"must lie in 0\.\.9999"):
        make_data(one, {**arrays, "train_tokens": arrays["train_tokens"] + 10_000})


def test_real_text_is_read_in_its_order(real_data, seed):
    from orchestrator.datasets import loader

    if not loader.available("ptb", real_data):
        pytest.skip(loader.missing_message("ptb", real_data))
    arrays = loader.load("ptb", real_data).arrays
    one = trial()
    task = make_task(one)
    assert task is not None
    data = jax.tree.map(jnp.asarray, make_data(one, arrays))
    schedule = task.training(jax.random.key(seed), NO_NOISE, jnp.int32(0))
    held = task.evaluation(jax.random.key(seed), NO_NOISE)
    assert len(schedule["start"]) == 288
    rng = np.random.default_rng(seed)
    row, step = int(rng.integers(32)), int(rng.integers(287))
    for part, entries, first in (("train", schedule, 0), ("val", held, 0), ("test", held, 23)):
        stream = arrays[f"{part}_tokens"]
        at = step if part == "train" else first + step % 22
        ends = None
        for k in (at, at + 1):
            entry = jax.tree.map(lambda leaf, k=k: leaf[k], {**entries, "segments": None})
            x, y, _ = task.batch(data, entry, NO_NOISE)
            begin = row * (len(stream) // 32) + (k - first) * 100
            np.testing.assert_array_equal(x[row], stream[begin : begin + 100])
            np.testing.assert_array_equal(y[row], stream[begin + 1 : begin + 101])
            assert ends is None or ends == int(x[row, 0])
            ends = int(y[row, -1])


@pytest.mark.parametrize("reset", ["epoch", "never", "segment"])
def test_carried_state_makes_the_segments_one_text(seed, reset):
    """The same 100 tokens a row lose the same in segments of 10 and of 20, if state is carried."""
    rng = np.random.default_rng(seed)
    arrays = {f"{p}_tokens": rng.integers(0, 10_000, 404) for p in ("train", "val", "test")}
    config = {"widths": "6:5", "batch_size": 4, "max_tokens": 404, "state_reset": reset}
    found = []
    for length in (10, 20):
        one = trial(seq_len=length, seed=seed, **config)
        assert one.sizes.n_val == 4 * 100 // length
        task, values = make_task(one), lane_values(one)
        assert task is not None
        net = Network(one, task, values)
        state = net.init(one, jax.tree.map(jnp.asarray, values))
        # Larger weights than drawn, so that a state's start is seen.
        state["params"] = jax.tree.map(lambda leaf: 20 * leaf, state["params"])
        data = jax.tree.map(jnp.asarray, make_data(one, arrays))
        found.append(jax.jit(net.evaluate)(state, values, data))
    for part in ("val", "test"):
        short, long = (float(f[f"{part}_loss"]) for f in found)
        assert (short == pytest.approx(long, rel=3e-6)) == (reset != "segment")
        assert found[0][f"{part}_batch_perplexity"] >= np.exp(short) * (1 - 1e-5)


# ---- word_lm -----------------------------------------------------------------------------------


def chunked(**config: Any) -> Trial:
    return builtin_registry().resolve(
        {"model": "torch_lstm", "optimizer": "torch_adam", "task": "word_lm", **config}
    )


def every_batch(one: Trial, arrays: Any, part: str) -> list[Any]:
    """Every batch of an epoch, or of evaluation."""
    task: Any = make_task(one)
    data = make_data(one, arrays)
    schedule = (
        task.training(KEY, {}, jnp.int32(0)) if part == "training" else task.evaluation(KEY, {})
    )
    schedule.pop("segments", None)
    return batches(task, data, schedule, {})


@pytest.mark.parametrize(
    ("corpus", "steps", "scored"),
    [
        ("wikitext2", (299, 32, 36), (2_088_500, 217_500, 245_400)),
        ("ptb", (133, 11, 12), (929_400, 73_600, 82_300)),
    ],
)
def test_chunks_and_scored_tokens_are_as_published(corpus: str, steps: Any, scored: Any) -> None:
    one = chunked(corpus=corpus)
    assert chunks(one.config) == steps
    assert tuple((n - 1) * 100 for n in stream_lengths(one.config)) == scored
    assert one.sizes.steps == steps[0]
    assert one.chance_loss == math.log(CORPORA[corpus][2])


def test_a_chunk_more_is_no_empty_chunk() -> None:
    """71 tokens a stream are 70 targets: one chunk, where the published loop adds an empty one."""
    one = chunked(corpus="ptb", max_tokens=7100)
    assert chunks(one.config) == (1, 1, 1)


def stream(seed: int, counts: tuple[int, int, int], words: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    names = ("train_tokens", "val_tokens", "test_tokens")
    drawn = [rng.integers(words, size=count).astype(np.int32) for count in counts]
    return dict(zip(names, drawn, strict=True))


def test_streams_are_contiguous_and_every_target_comes_once(seed: int) -> None:
    one = chunked(corpus="tiny", batch_size=7, seq_len=30)
    words = one.sizes.features
    arrays = stream(seed, CORPORA["tiny"][1], words)
    for part, name in (("training", "train"), ("evaluation", "val")):
        found = every_batch(one, arrays, part)[: chunks(one.config)[0 if part == "training" else 1]]
        own = arrays[f"{name}_tokens"]
        length = len(own) // 7
        want = own[: 7 * length].reshape(7, length)
        x = np.concatenate([np.asarray(b[0]) for b in found], 1)
        y = np.concatenate([np.asarray(b[1]) for b in found], 1)
        there = y[0] >= 0
        assert there.sum() == length - 1
        np.testing.assert_array_equal(x[:, there], want[:, :-1])
        np.testing.assert_array_equal(y[:, there], want[:, 1:])
        assert np.all(y[:, ~there] == -1)
        share = float(found[-1][2][0])
        assert share == pytest.approx(((length - 2) % 30 + 1) / 30)


def test_a_short_chunk_counts_by_its_targets(seed: int) -> None:
    task: Any = make_task(chunked(corpus="tiny", batch_size=7, seq_len=30))
    rng = np.random.default_rng(seed)
    logits = jnp.asarray(rng.normal(size=(2, 30, 5)), jnp.float32)
    y = rng.integers(5, size=(2, 30))
    y[:, 12:] = -1
    log = np.asarray(jax.nn.log_softmax(logits))
    want = [-np.mean([log[b, t, y[b, t]] for t in range(12)]) for b in range(2)]
    np.testing.assert_allclose(task.losses(logits, jnp.asarray(y)), want, rtol=1e-5)


def test_padding_is_to_whole_chunks() -> None:
    found = padded(rows(np.arange(23), 2), 4)
    assert found.tolist() == [[*range(11), -1, -1], [*range(11, 22), -1, -1]]


@pytest.mark.slow
def test_a_first_loss_is_ln_v_and_a_state_is_carried(seed: int) -> None:
    """And two thousand tokens are learned by heart (docs/specs/ribeiro2020.md, check 18)."""
    one = chunked(corpus="tiny", batch_size=4, seq_len=50, width=48, max_tokens=2000,
                lr=1e-2, epochs=60, seed=seed)  # fmt: skip
    words = one.sizes.features
    arrays = stream(seed, (2000, 480, 480), words)
    pack = Pack([one], arrays)
    pack.init()
    first = pack.epoch(0)
    assert first.epochs["loss_first"][0] == pytest.approx(math.log(words), abs=0.1)
    carried = [v for n, v in pack.state().items() if "carried" in n]
    assert len(carried) == 1
    assert np.abs(carried[0]).max() > 0.01
    for epoch in range(1, 60):
        found = pack.epoch(epoch)
    assert math.exp(found.epochs["loss"][0]) < 5


def test_streams_that_do_not_fit_are_refused() -> None:
    one = chunked(corpus="tiny", batch_size=7)
    with pytest.raises(ValueError, match="needs the array train_tokens"):
        make_data(one, {})
    with pytest.raises(ValueError, match=r"reads 2,240 train tokens; there are 100"):
        make_data(one, stream(0, (100, 480, 480), 5))
    with pytest.raises(ValueError, match=r"must lie in 0\.\.22"):
        make_data(one, stream(0, (2240, 480, 480), 60))
    with pytest.raises(ConfigError, match="leaves no two tokens a stream"):
        chunked(corpus="tiny", batch_size=400)


def test_the_last_word_of_each_passage_is_judged(seed: int) -> None:
    """Against a loop in NumPy over a net of the trained weights, passage by passage; the rest of a
    long passage, and lines of one word, are left out."""
    rng = np.random.default_rng(seed)
    vocabulary = np.array(["a", "<eos>", *"bcdefgh"])
    lines: dict[str, list[list[int]]] = {}
    for part, count in (("train", 280), ("val", 60), ("test", 60)):
        lengths = [*rng.integers(2, 8, count), 1]
        lines[part] = [[int(w) for w in rng.choice([0, *range(2, 9)], n)] for n in lengths]
    arrays = {
        f"{part}_tokens": np.array([w for line in own for w in (*line, 1)], np.int32)
        for part, own in lines.items()
    } | {"vocabulary": vocabulary}  # fmt: skip
    config = {"model": "torch_rnn", "task": "last_word", "seq_len": 4, "width": 5, "lr": 0.5}
    one = builtin_registry().resolve({**config, "optimizer": "torch_adam", "seed": seed})
    assert (one.sizes.n_train, one.sizes.n_val, one.sizes.n_test) == (280, 60, 60)
    data = make_data(one, arrays)
    first = lines["train"][0][-5:]
    assert data["x"][0, : len(first) - 1].tolist() == first[:-1]
    assert data["y"][0, : len(first) - 1].tolist() == first[1:]
    assert (data["y"][280:] >= 0).sum(1).tolist() == [1] * 120
    pack = Pack([one], arrays)
    pack.init()
    found = pack.epoch(0).epochs
    w = {name: value.astype(float) for name, value in pack.weights(0).items()}
    for part in ("val", "test"):
        losses, right = [], []
        for line in lines[part][:60]:
            *words, last = line[-5:]
            h = np.zeros(5)
            for word in words:
                z = w["rnn.0.w_ih"] @ w["embedding.w"][word] + w["rnn.0.b_ih"]
                h = np.tanh(z + w["rnn.0.w_hh"] @ h + w["rnn.0.b_hh"])
            logits = w["readout.w"] @ h + w["readout.b"]
            losses.append(np.log(np.exp(logits).sum()) - logits[last])
            right.append(np.argmax(logits) == last)
        assert found[f"{part}_loss"][0] == pytest.approx(np.mean(losses), rel=1e-4)
        assert found[f"{part}_accuracy"][0] == pytest.approx(np.mean(right), abs=1e-6)
    last = make_data(builtin_registry().resolve({**config, "trained_words": "last"}), arrays)
    assert (last["y"] >= 0).sum(1).tolist() == [1] * 400
    with pytest.raises(ConfigError, match="reads corpus=tiny or a folder of text; got ptb"):
        builtin_registry().resolve({**config, "corpus": "ptb"})
