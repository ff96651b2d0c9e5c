"""Host trainables without Ray: real processes, their rows, faults, ends and resume points."""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from orchestrator.plan.packs import Context, PackSpec
from orchestrator.plan.plan import plan
from orchestrator.plan.studies import catalogue
from orchestrator.user_code import described
from orchestrator.worker.host.process import HostError
from orchestrator.worker.host.run import HostRun, run_of
from orchestrator.worker.run_progress import Progress
from results import Store, create_store
from tests.support import stores

STUDY = str(Path(__file__).parents[3] / "support" / "host_study.py")


def packs(store: Store | None = None, **changes: Any) -> list[PackSpec]:
    (one,) = plan("host/grid", study=STUDY, store=store, set={"rate": 0.5, **changes})
    return one.packs


def begun(pack: PackSpec, store: Store | None = None, **context: Any) -> Any:
    run = run_of(
        pack,
        catalogue(STUDY).registry,
        store,
        Context(launch_id="launch", space="host/grid", **context),
        study=STUDY,
    )
    run.start()
    return run


def finished(run: HostRun) -> Progress:
    while not (progress := run.step()).done:
        pass
    return progress


def ran(store: Store | None = None, **changes: Any) -> tuple[Any, tuple[str, ...]]:
    """A run to its end, and the status of its trial and the reason if there is one."""
    (pack,) = packs(store, **changes)
    run = begun(pack, store)
    progress = finished(run)
    return run, (*progress.ended.values(), *progress.reasons.values())


def failed(*given: PackSpec, **changes: Any) -> str:
    """The reason of a trial that fails; its process is gone."""
    (pack,) = given or packs(**changes)
    run: Any = begun(pack)
    with pytest.raises(HostError) as raised:
        finished(run)
    assert run.pack.process.pid not in psutil.pids()
    return described(raised.value)


def rows(run: HostRun, table: str) -> list[dict[str, Any]]:
    run.recorder.flush()
    return [row for part in run.recorder.kept[table] for row in part.to_pylist()]


def line(of: str) -> int:
    """Number of the first line of the study with that text."""
    lines = Path(STUDY).read_text().splitlines()
    return next(i for i, text in enumerate(lines, 1) if of in text)


# ---- rows --------------------------------------------------------------------------------------


def test_reports_are_rows_of_epochs_and_layers() -> None:
    run, ended = ran(epochs=3)
    assert ended == ("done",)
    epochs = rows(run, "epochs")
    w = [1.0, 0.5, 0.25, 0.125]
    assert [row["epoch"] for row in epochs] == [0, 1, 2]
    assert [row["loss"] for row in epochs] == [v**2 / 2 for v in w[:3]]
    assert [row["val_loss"] for row in epochs] == [v**2 / 2 for v in w[1:]]
    assert [dict(row["metrics"]) for row in epochs] == [{"distance": v} for v in w[1:]]
    assert {row["steps"] for row in epochs} == {1}
    assert {row["bad_step"] for row in epochs} == {None}
    assert [row["loss_first"] for row in epochs] == [row["loss"] for row in epochs]
    layers = rows(run, "layers")
    assert [(r["epoch"], r["layer"], r["layer_name"], r["tensor"], r["tensor_index"]) for r in
            layers[:2]] == [(0, 0, "w.0", "value", 0), (0, 0, "w.0", "*", -1)]  # fmt: skip
    assert [r["grad_norm"] for r in layers] == [v for v in w[:3] for _ in range(2)]
    assert [r["param_norm"] for r in layers] == [v for v in w[1:] for _ in range(2)]
    assert {r["grad_norm_max"] for r in layers} == {None}


def test_a_trial_of_unknown_length_is_as_long_as_its_function() -> None:
    run, ended = ran(epochs=None)
    assert ended == ("done",)
    assert len(rows(run, "epochs")) == 3


def test_what_a_function_says_goes_where_its_worker_s_words_go(
    capfd: pytest.CaptureFixture[str],
) -> None:
    (pack,) = packs(epochs=1, fails_at=0, how="say")
    finished(begun(pack, threads=2))
    # Two CPU threads, and no JAX where the study imports none.
    assert "said by the function 2 False" in capfd.readouterr().out


def test_its_signature_names_what_it_imports() -> None:
    (pack,) = packs()
    run = begun(pack)
    versions = {"python": platform.python_version(), "numpy": np.__version__}
    assert run.signature["versions"] == versions
    assert (run.signature["device"], run.signature["width"]) == ("host", 1)
    run.interrupt()


# ---- ends --------------------------------------------------------------------------------------


def test_a_function_that_reports_nothing_has_failed() -> None:
    (one,) = plan("host/silent", study=STUDY, store=None)
    assert failed(*one.packs) == (
        "silent reported nothing: its function returned without a call of report"
    )


def test_a_function_that_returns_early_is_done_and_says_so() -> None:
    run, ended = ran(epochs=9, fails_at=2, how="return")
    assert ended == ("done", "returned after 2 of 9 epochs")
    assert len(rows(run, "epochs")) == 2


@pytest.mark.parametrize(
    ("how", "of", "reason"),
    [
        ("raise", "", "RuntimeError: as it was asked to ({study}:{line})"),
        ("exit", "", "it called sys.exit(3) at {study}:{line}"),
        ("memory", "", "MemoryError: no room for 3 GB ({study}:{line})"),
        ("hard exit", "", "descend: its process ended with status 4 in epoch 2"),
        ("kill", "SIGKILL", ("descend: its process was killed by SIGKILL (kill -9, or the "
          "system had no memory left) in epoch 2")),
        ("kill", "SIGSEGV", ("descend: its process was killed by SIGSEGV at {study}:{line} in "
          "epoch 2")),
        ("import", "", ("No module named no_such_module_of_theirs; pip install "
          "no_such_module_of_theirs ({study}:{line})")),
    ],
)  # fmt: skip
def test_each_way_to_fail_is_named(how: str, of: str, reason: str) -> None:
    lines = {"raise": "raise RuntimeError", "exit": "sys.exit(3)", "memory": "raise MemoryError",
             "import": "import no_such", "kill": "getattr(signal"}  # fmt: skip
    place = line(lines[how]) if how in lines else 0
    found = failed(fails_at=2, how=how, of=of)
    assert found == reason.format(study=STUDY, line=place)


def test_a_failed_trial_keeps_its_traceback_and_its_rows(tmp_path: Path) -> None:
    store = create_store(str(tmp_path / "store"))
    (pack,) = packs(store, fails_at=2, how="raise")
    run = begun(pack, store)
    with pytest.raises(HostError) as raised:
        finished(run)
    text = "".join(traceback.format_exception(raised.value))
    assert f'File "{STUDY}", line {line("raise RuntimeError")}, in misbehave' in text
    run.fail(text, described(raised.value))
    (row,) = store.attempts().to_pylist()
    assert (row["status"], row["epochs_done"]) == ("failed", 2)
    assert "as it was asked to" in row["error"]
    assert store.sql("SELECT count(*) FROM epochs").fetchall() == [(2,)]
    # What fails like this is one trial's own; a module that is missing is missing for all.
    assert run.unmakeable() is None


def test_a_module_that_is_missing_fails_every_trial_of_the_function() -> None:
    (first,) = packs(fails_at=0, how="import")
    (later,) = packs(fails_at=1, how="import")
    for pack, wanted in ((first, [{}]), (later, None)):
        run = begun(pack)
        with pytest.raises(HostError):
            finished(run)
        assert run.unmakeable() == wanted


def test_a_loss_that_is_not_finite_ends_the_trial_as_diverged(tmp_path: Path) -> None:
    store = create_store(str(tmp_path / "store"))
    flag = tmp_path / "flag"
    _, ended = ran(store, fails_at=2, how="swallow", flag=str(flag))
    assert ended == ("diverged", "loss is nan at epoch 2")
    # The function is told, and may clean up.
    assert flag.read_text() == "loss is nan at epoch 2"
    (row,) = store.attempts().to_pylist()
    assert (row["bad_epoch"], row["epochs_done"], row["chance_loss"]) == (2, 3, 0.5)
    (known,) = store.completeness([row["trial_id"]]).values()
    assert known["done"]
    verdicts = "SELECT verdict, first_bad_epoch FROM diagnosis"
    assert store.sql(verdicts).fetchall() == [("diverged", 2)]


@pytest.mark.parametrize(
    ("changes", "epochs", "reason"),
    [
        # val_loss is 1/8, then a quarter of it each epoch; the norm 1, then a half of it.
        ({"rate": 0.0, "early_stopping": 2}, 3, "val_loss no better than 0.5 for 2 epochs"),
        ({"stop_below": 0.3, "stop_patience": 2}, 4, ("mean grad_norm below 0.3 for 2 epochs in a "
          "row")),
    ],
)  # fmt: skip
def test_stop_rules_hold(changes: dict[str, Any], epochs: int, reason: str) -> None:
    run, ended = ran(epochs=9, **changes)
    assert ended == ("stopped", reason)
    assert len(rows(run, "epochs")) == epochs


def test_a_loss_above_the_ceiling_is_divergence() -> None:
    run, ended = ran(epochs=9, rate=3.0, diverge_above=10)  # w is -2, 4, -8, ...
    assert ended == ("diverged", "loss 32 at the end of epoch 3, above diverge_above=10")
    assert len(rows(run, "epochs")) == 4


def test_a_function_that_hangs_is_ended_and_its_place_named(tmp_path: Path) -> None:
    store = create_store(str(tmp_path / "store"))
    flag = tmp_path / "flag"
    os.mkfifo(flag)
    (pack,) = packs(store, fails_at=1, how="hang", flag=str(flag))
    run = begun(pack, store)
    run.step()
    process = run.pack.process
    process.answer({})
    assert flag.read_text() == ""  # once the function is there
    # What the watchdog calls when the time is over.
    run._late("still training epoch 1 after 600 s, the --trial-timeout", "stacks of the worker")
    (row,) = store.attempts().to_pylist()
    assert row["reason"] == (
        "still training epoch 1 after 600 s, the --trial-timeout "
        f"({STUDY}:{line('signal.pause()')})"
    )
    assert "in misbehave" in row["error"]
    assert process.pid not in psutil.pids()


# ---- resume points and weights -----------------------------------------------------------------


def test_an_interrupted_trial_goes_on_from_its_state(tmp_path: Path) -> None:
    whole, cut = (create_store(str(tmp_path / name)) for name in ("whole", "cut"))
    ran(whole, epochs=5)
    (pack,) = packs(cut, epochs=5)
    run = begun(pack, cut)
    run.step()
    run.step()
    run.interrupt()
    assert run.pack.process.pid not in psutil.pids()
    (again,) = packs(cut, epochs=5)
    assert (again.lanes[0].attempt, again.lanes[0].first_epoch) == (1, 2)
    finished(begun(again, cut))
    assert stores.differing(whole, cut) == {}


def test_a_trial_without_a_state_starts_anew_and_nothing_is_doubled(tmp_path: Path) -> None:
    whole, cut = (create_store(str(tmp_path / name)) for name in ("whole", "cut"))
    ran(whole, epochs=4, keeps=False)
    (pack,) = packs(cut, epochs=4, keeps=False)
    run = begun(pack, cut)
    run.step()
    run.step()
    run.interrupt()
    (again,) = packs(cut, epochs=4, keeps=False)
    assert (again.lanes[0].attempt, again.lanes[0].first_epoch) == (1, 0)
    finished(begun(again, cut))
    assert stores.differing(whole, cut) == {}


def test_a_process_that_is_killed_goes_on_from_its_state(tmp_path: Path) -> None:
    whole, cut = (create_store(str(tmp_path / name)) for name in ("whole", "cut"))
    changes = {"epochs": 5, "fails_at": 3, "how": "once", "flag": str(tmp_path / "flag")}
    (pack,) = packs(cut, **changes)
    run = begun(pack, cut)
    with pytest.raises(HostError, match="killed by SIGKILL") as raised:
        finished(run)
    run.fail("", described(raised.value))
    (again,) = packs(cut, **changes)
    assert again.lanes[0].first_epoch == 3
    finished(begun(again, cut))
    ran(whole, **changes)
    assert stores.differing(whole, cut) == {}


def test_a_process_ends_with_its_worker() -> None:
    (pack,) = packs()
    code = f"""
import os, signal
from tests.orchestrator.worker.host.test_run import begun
from orchestrator.plan.packs import PackSpec
run = begun(PackSpec.from_text({pack.to_text()!r}))
print(run.pack.process.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    (child,) = map(int, done.stdout.split())
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(child).wait()


@pytest.mark.parametrize(("keep", "epochs"), [("last", [3]), ("every:2", [1, 3]), ("best", [3])])
def test_weights_are_kept_as_asked(tmp_path: Path, keep: str, epochs: list[int]) -> None:
    store = create_store(str(tmp_path / "store"))
    run, _ = ran(store, keep_weights=keep)
    (trial,) = run.spec.trial_ids
    for epoch in epochs:
        found = store.weights(trial, epoch)
        assert found == {"w.0.value": np.array([0.5 ** (epoch + 1)])}
    kept = [lane["epoch"] for index in store.list_artifacts() for lane in index["lanes"]]
    assert kept == epochs


def test_rows_of_a_plan_are_estimated_and_packs_have_one_lane() -> None:
    (one,) = plan("host/grid", study=STUDY, store=None, width=4, lanes="vmap")
    assert [(pack.width, pack.strategy) for pack in one.packs] == [(1, "process")] * 2
    assert one.rows == {"trials": 4, "epochs": 8}
    assert one.programs == [one.packs[0].program]
