"""Options of `debug` beside the choice of a trial: what went non-finite first, and a profile."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from orchestrator.debug import debug
from orchestrator.errors import RequestError
from orchestrator.user_code import user_frames
from tests.orchestrator.cli.test_app import GRID, STUDY, Said, many
from tests.support.small_trials import SlowStack
from trainables.core.random_keys import trial_key
from trainables.packs.programs import EPOCH_NAME
from trainables.training.epoch import Training

OVERFLOWS = ["lr=3e38", "min_norm=10"]
"""A first update of 3e39."""


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Said], Path]:
    """Three requests as a user makes them, and the folder of a profile."""
    folder = tmp_path_factory.mktemp("debug")
    bad = ["debug", *GRID, *(word for change in OVERFLOWS for word in ("--set", change))]
    requests = {
        "text": [*bad, "--check-nans"],
        "json": [*bad, "--check-nans", "--json"],
        "profile": ["debug", *GRID, "--check-nans", "--profile", "traces"],
    }
    found, _ = many(list(requests.values()), folder)
    return dict(zip(requests, found, strict=True)), folder / "traces"


def test_what_went_non_finite_is_told_as_text_and_as_json(said: Any) -> None:
    what = "epoch 0, step 0: the update of rnn.0.w_ih, while loss and gradients are finite"
    found, _ = said
    assert (found["text"].status, found["json"].status) == (0, 0)
    assert found["text"].out.splitlines()[-1] == what
    assert ": diverged" in found["text"].out
    one = json.loads(found["json"].out)
    assert (one["status"], one["culprit"]) == ("diverged", what)


def test_a_trial_without_a_bad_step_is_told_to_be_finite(said: Any) -> None:
    found, _ = said
    assert found["profile"].status == 0
    assert "every step was finite" in found["profile"].out.splitlines()


def test_a_profile_can_be_read_and_holds_the_epochs(said: Any) -> None:
    found, folder = said
    assert "profile in traces; view it with `tensorboard --logdir traces`" in found["profile"].out
    (trace,) = folder.rglob("*.xplane.pb")
    data = jax.profiler.ProfileData.from_file(str(trace))
    names = [event.name for plane in data.planes for line in plane.lines for event in line.events]
    assert any(EPOCH_NAME in name for name in names)


REFUSED = {
    "labels": "y[0] of task misfit is 0.7; its labels must be whole numbers in 0..1",
    "input": "x[7, 2, 1] of task misfit is nan; its arrays must be finite",
    "steps": "model misfit returned the shape (10, 3, 2) for x of shape (10, 3, 2); task misfit, "
    "whose y has the shape (10,), needs (10, 2); return the logits of one time step",
    "parameter": "parameter table of model misfit is float8_e4m3fn, and only float32, bfloat16",
    "sizes": "the sizes of task misfit have classes=0; it must be a whole number from 1 to "
    "2147483647",
}


def test_what_does_not_fit_is_refused_in_a_sentence_before_anything_trains(tmp_path: Path) -> None:
    """The plan says it already where it needs no array."""
    study = str(Path(__file__).parents[1] / "support" / "misfit_study.py")
    words = ["misfit", "--study", study]
    wrong = [["debug", *words, "--record", "--set", f"fault={fault}"] for fault in REFUSED]
    wrong.append(["plan", *words, "--set", "fault=sizes"])
    found, _ = many([*wrong, ["debug", *words]], tmp_path)
    for said, want in zip(found, [*REFUSED.values(), REFUSED["sizes"]], strict=False):
        assert (said.status, said.out) == (2, "")
        (line,) = said.err.splitlines()
        assert line.startswith(f"error: {want}")
    assert found[-1].status == 0
    assert not list((tmp_path / "store").rglob("*.parquet"))


def test_the_named_layer_and_time_step_are_those_of_the_weights_before_the_bad_step(
    tmp_path: Path,
) -> None:
    """Against the stack in float64, whose outputs leave float32's range by many decades."""
    packs: list[Any] = []
    changes = ["lr=1e12", "model=residual_rnn", "residual_scale=1", "seed=1"]
    found = debug(
        "tiny/grid", study=STUDY, set=changes, store=str(tmp_path / "store"), check_nans=True,
        watch=lambda run, epoch: packs.append((run.pack, run.last)),
    )  # fmt: skip
    assert found.status == "diverged"
    pack, last = packs[-1]
    epoch, step = len(packs) - 1, int(last.bad_step[0])
    engine = pack._engine
    assert isinstance(engine, Training)
    hparams = jax.tree.map(lambda leaf: leaf[0], pack._values)
    schedule = engine.task.training(trial_key(hparams["seed"]), hparams, jnp.int32(epoch))
    entry = jax.tree.map(lambda leaf: leaf[step], schedule)
    x = np.asarray(engine.task.batch(pack._data, entry, hparams)[0])
    _, _, outputs = SlowStack(pack.weights(0), "relu", 1.0).forward(x)
    beyond = np.asarray(np.any(np.abs(outputs) > np.finfo(np.float32).max, (2, 3)))
    layer = int(np.argmax(np.any(beyond, 1)))
    at = int(np.argmax(beyond[layer]))
    assert found.culprit == (
        f"epoch {epoch}, step {step}: the output of layer rnn.{layer} at time step {at}, "
        "in the forward pass"
    )


NUMBERS = str(Path(__file__).parents[1] / "support" / "numbers_study.py")


@pytest.mark.slow
def test_without_jit_a_model_of_one_s_own_sees_numbers_and_learns_the_same() -> None:
    """It asks for the number of each array that it is given, in `build` and in each call."""
    options: dict[str, Any] = {"study": NUMBERS, "epochs": 1}
    found = debug("numbers/a", no_jit=True, **options)
    assert found.status == "done"
    net: Any = found.trial.model.build
    seen = net.__call__.__globals__["SEEN"]
    assert len(seen) >= 4, "two steps, and two batches of the evaluation"
    assert len({*seen}) > 1
    want = debug("numbers/a", set=["number=false"], **options)
    for table in ("epochs", "layers"):
        for row, wanted in zip(found.rows[table], want.rows[table], strict=True):
            numbers = {k: v for k, v in row.items() if isinstance(v, float) and k != "seconds"}
            assert numbers == pytest.approx({k: wanted[k] for k in numbers}, rel=1e-4, nan_ok=True)
    with pytest.raises(RequestError, match="needs a Python value"):
        debug("numbers/a", **options)


def test_without_jit_an_exception_has_the_user_s_frames() -> None:
    with pytest.raises(AttributeError, match="raedout") as caught:
        debug("numbers/a", study=NUMBERS, set=["slip=true"], no_jit=True)
    assert [frame.name for frame in user_frames(caught.value)][-1] == "__call__"


@pytest.mark.parametrize("option", ["exact", "record"])
def test_numbers_of_a_launch_are_not_had_without_jit(option: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {option: True}
    with pytest.raises(RequestError, match=f"--{option} wants the numbers of a launch"):
        debug("vanishing/quickstart", store=str(tmp_path), no_jit=True, **options)
