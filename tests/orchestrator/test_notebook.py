"""What a notebook shows. Jupyter is none of our dependencies, so the shell is a stand-in with the
two things that are asked of it: that it has a kernel, and where it publishes what is displayed."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from orchestrator import notebook
from orchestrator.cli import plan as plan_command
from orchestrator.cli import run as run_commands
from orchestrator.debug import debug
from orchestrator.errors import RequestError
from orchestrator.launch import LaunchResult, launch
from orchestrator.plan.overrides import typed, with_key
from orchestrator.plan.plan import plan
from orchestrator.queue.pace import Snapshot
from orchestrator.queue.progress import Display
from orchestrator.ray_backend.jobs import words_of
from results import create_store

STUDY = str(Path(__file__).parents[1] / "support" / "tiny_study.py")
LONG = 6_000
"""Characters of HTML: a table of one screen."""


# ---- what is shown of a result -------------------------------------------------------------------


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_plan_is_a_short_table_with_a_next_step(here: Path) -> None:
    plans: Any = plan("vanishing/induce")
    assert repr(plans) == (
        "[SpacePlan(vanishing/induce: 162 trials, 0 done, 162 to run, "
        f"{len(plans[0].packs)} packs, {len(plans[0].programs)} programs)]"
    )
    shown = plans._repr_html_()
    assert "<td>vanishing/induce</td><td>162</td><td>0</td><td>162</td>" in shown
    assert "<code>launch(&#x27;vanishing/induce&#x27;)</code>" in shown
    assert len(shown) < LONG
    study: Any = plan("vanishing")
    assert len(study._repr_html_()) < LONG
    assert plans[0]._repr_html_() == shown
    assert len(repr(plans[0].trials[:10])) < 1500


def test_a_debug_result_is_a_table_of_its_last_epochs(here: Path) -> None:
    result = debug("tiny/grid", study=STUDY, set={"epochs": 12})
    assert repr(result) == f"DebugResult({result.trial.id}: done after 12 epochs)"
    shown = result._repr_html_()
    assert shown.count("<tr>") == 1 + 8
    assert "<th>loss (nats)</th>" in shown
    assert f"<td>{result.rows['epochs'][-1]['loss']:.4g}</td>" in shown
    assert len(shown) < LONG


def test_a_launch_result_counts_and_says_why(here: Path) -> None:
    plans = plan("tiny/grid", study=STUDY)
    result = LaunchResult("<store>", plans, 4, 75.0)
    result.counts.update(done=2, failed=2)
    result.reasons = {f"{i:04x}": "<script>alert(1)</script>" for i in range(40)}
    assert repr(result) == "LaunchResult(4 trials run: 2 done, 2 failed; 1:15; <store>)"
    shown = result._repr_html_()
    assert "<td>done</td><td>2</td>" in shown
    assert "plot(store, &#x27;tiny/grid&#x27;)" in shown
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in shown
    assert "<script>" not in shown
    assert "<store>" not in shown
    assert "and 35 more like these" in shown
    assert len(shown) < LONG


def test_rows_of_a_query_are_cut(here: Path) -> None:
    rows = create_store(here / "store").sql("SELECT range AS n, '<b>' AS t FROM range(100000)")
    shown = rows._repr_html_()
    assert "100000 rows" in shown
    assert "&lt;b&gt;" in shown
    assert len(shown) < LONG


# ---- JAX before us ------------------------------------------------------------------------------

FIRST = """
import warnings, sys
import jax
jax.devices()
from gradsweep import RequestError, debug
mode = sys.argv[2]
with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter("always")
    try:
        print(debug("tiny/grid", study=sys.argv[1], **({mode: True} if mode else {})).status)
    except RequestError as error:
        print(error)
print([(w.category.__name__, str(w.message)) for w in seen if "JAX was" in str(w.message)])
"""


@pytest.mark.parametrize("mode", ["", "exact", pytest.param("record", marks=pytest.mark.slow)])
def test_jax_may_come_first_unless_bits_count(here: Path, mode: str) -> None:
    kept = ("PJRT_NPROC", "XLA_FLAGS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    environment = {name: value for name, value in os.environ.items() if name not in kept}
    if mode == "exact":  # needs an attempt to replay, which is recorded in a process of its own
        words = ["debug", "tiny/grid", "--study", STUDY, "--record"]
        subprocess.run([sys.executable, "-m", "orchestrator", *words], check=True, env=environment,
                       stdout=subprocess.DEVNULL)  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", FIRST, STUDY, mode],
        capture_output=True, text=True, env=environment, check=True,
    )  # fmt: skip
    said, warned = done.stdout.splitlines()
    if mode:
        assert said.startswith(f"--{mode} cannot be had in this process: JAX was imported before")
        assert warned == "[]"
    else:
        assert said == "done"
        assert warned.startswith("[('RuntimeWarning', ")
        assert "PJRT_NPROC, XLA_FLAGS" in warned


# ---- options -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "function", "typed_only", "called_only"),
    [
        (
            run_commands.launch,
            launch,
            {"context", "json"},
            {"progress", "say", "checkpoint_s", "only", "length"},
        ),
        (run_commands.debug, debug, {"json"}, {"watch"}),
        (plan_command.plan, plan, {"show", "json"}, {"devices", "gpu", "only", "length"}),
    ],
)
def test_python_has_every_option_of_the_command_line(
    command: Any, function: Any, typed_only: set[str], called_only: set[str]
) -> None:
    words, options = (inspect.signature(one).parameters for one in (command, function))
    assert words.keys() - typed_only == options.keys() - called_only
    for name in words.keys() - typed_only - {"space"}:
        assert (words[name].default or None) == (options[name].default or None), name


def test_keep_weights_is_a_key_of_its_own_or_of_set() -> None:
    assert with_key(["lr=1"], "keep_weights", "last") == ["lr=1", "keep_weights=last"]
    assert with_key({"lr": 1}, "keep_weights", "last") == {"lr": 1, "keep_weights": "last"}
    assert with_key(["lr=1"], "keep_weights", None) == ["lr=1"]
    with pytest.raises(RequestError, match="keep_weights must be none, last"):
        launch("tiny/grid", study=STUDY, keep_weights="some", say=lambda text: None)


def test_the_words_of_a_job_are_those_of_the_command_line() -> None:
    given = {"lr": [0.1, None], "bias": True, "init": "he", "seed": range(2)}
    options = {"set": typed(given), "smoke": True, "limit": None, "cpus_per_pack": 2, "rerun": ()}
    assert words_of(options) == [
        "--set", "lr=0.1,null", "--set", "bias=true", "--set", "init=he", "--set", "seed=0,1",
        "--smoke", "--cpus-per-pack", "2",
    ]  # fmt: skip


def test_to_detach_needs_a_job_server() -> None:
    with pytest.raises(RequestError, match="--detach starts a job on a cluster"):
        launch("tiny/grid", study=STUDY, detach=True)


def test_a_job_server_where_nothing_answers(here: Path) -> None:
    with pytest.raises(RequestError, match="the job server at http://127"):
        launch("tiny/grid", study=STUDY, store=str(here), address="http://127.0.0.1:9")


# ---- progress ------------------------------------------------------------------------------------


class Queue:
    """What a display asks of a queue."""

    def snapshot(self) -> Any:
        statuses = ("done", "diverged", "stopped", "gate_failed", "failed", "blocked")
        return Snapshot(
            trials=9, counts=Counter(statuses), running=1, epochs_done=30, epochs_total=90,
            seconds=10.0, phases=Counter(training=1),
        )  # fmt: skip


def test_progress_is_one_display_that_is_updated(monkeypatch: pytest.MonkeyPatch) -> None:
    published: list[dict[str, Any]] = []
    shell = SimpleNamespace(
        kernel=True, display_pub=SimpleNamespace(publish=lambda **what: published.append(what))
    )
    module = ModuleType("IPython")
    monkeypatch.setattr(module, "get_ipython", lambda: shell, raising=False)
    monkeypatch.setitem(sys.modules, "IPython", module)
    said: list[str] = []
    queue: Any = Queue()
    with Display(queue, say=said.append) as display:
        assert display.mode == "notebook"
    assert said == []
    show = notebook.Updated(shell)
    show("<b>", 1, 2)
    show("two", 2, 2)
    first, *_, before_last, last = published
    assert [first["update"], before_last["update"], last["update"]] == [False, False, True]
    assert "30/90 epochs" in first["data"]["text/plain"]
    assert before_last["transient"] == last["transient"] != first["transient"]
    assert before_last["data"]["text/html"] == '<progress value="1" max="2"></progress> &lt;b&gt;'


def test_elsewhere_progress_is_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("IPython")
    monkeypatch.setattr(module, "get_ipython", SimpleNamespace, raising=False)
    queue: Any = Queue()
    assert Display(queue).mode == "plain"
    monkeypatch.setitem(sys.modules, "IPython", module)
    assert Display(queue).mode == "plain", "IPython in a terminal has no kernel"
