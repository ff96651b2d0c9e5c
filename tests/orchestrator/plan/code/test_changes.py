"""What a plan says has changed since stale trials ran."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli.plan_text import plan_lines
from orchestrator.plan.code.changes import changes, code_record
from orchestrator.plan.plan import SpacePlan, plan
from orchestrator.plan.space_record import space_json
from orchestrator.plan.studies import catalogue
from results import create_store
from tests.support.made_up_rows import attempt_row, table

THEN = {"code-1": {"Net in a.py": "1", "f in b.py": "1", "g in b.py": "1", "package scipy": "1.0"}}
NOW = {"code-2": {"Net in a.py": "2", "f in b.py": "1", "h in b.py": "1", "package scipy": "1.1"}}


@pytest.mark.parametrize(
    ("then", "now", "says"),
    [
        (1, 2, ["model net changed: version 1 -> 2"]),
        (2, 2, []),
        (
            "code-1",
            "code-2",
            ["model net changed: Net in a.py, h in b.py (new), g in b.py (gone); scipy 1.0 -> 1.1"],
        ),
        ("code-0", "code-2", ["model net changed (the store does not say in what)"]),
        (
            "file-0",
            "code-2",
            ["model net was versioned by its whole file, and is by its code now"],
        ),
        (3, "code-2", ["model net declared version 3, and is versioned by its code now"]),
        ("code-1", 1, ["model net changed: version code-1 -> 1"]),
        (None, 1, []),
    ],
)
def test_a_part_s_change_is_a_sentence(then: Any, now: Any, says: list[str]) -> None:
    old = {} if then is None else {"model:net": then}
    assert changes({**old, "base:trial": 1}, {"base:trial": 1, "model:net": now}, THEN, NOW) == says


def test_the_same_pieces_that_read_each_other_otherwise_are_said_to() -> None:
    pieces = {"f in a.py": "1"}
    found = changes(
        {"model:net": "code-1"}, {"model:net": "code-2"}, {"code-1": pieces}, {"code-2": pieces}
    )
    assert found == ["model net changed: names in its code stand for something else"]


def test_many_pieces_are_counted() -> None:
    then = {"code-1": {f"f{i} in a.py": "1" for i in range(9)}}
    now = {"code-2": {f"f{i} in a.py": "2" for i in range(9)}}
    (found,) = changes({"task:t": "code-1"}, {"task:t": "code-2"}, then, now)
    assert found.endswith("f5 in a.py, 3 more")


def test_a_record_keeps_the_pieces_of_earlier_launches() -> None:
    before = {"code": code_record(THEN, ["code-1", 3], None)}
    assert code_record(NOW, ["code-2"], before) == {**THEN, **NOW}
    assert code_record(NOW, ["code-2"], {"space": "of an older version"}) == NOW


STUDY = """
from gradsweep import Model, Sizes, Space, Study, Task
from net import helper

class DeepNet:
    units = 3

def build(config, sizes, rngs):
    return DeepNet(), helper()

NET = Model(name="deep_net", build=build)
TASK = Task(name="own_task", build=lambda config: {}, sizes=lambda config: Sizes(
    seq_len=1, features=1, classes=2, n_train=8, n_val=0, n_test=0, batch_size=4))
STUDY = Study(name="own", title="t", parts=(NET, TASK), spaces={"a": Space(param_space={
    "model": "deep_net", "task": "own_task", "epochs": 1, "seed": {"grid_search": [0, 1]}})})
"""


def launched(folder: Path, recorded: bool) -> tuple[str, str]:
    """A study file, and a store in which its trials have ended."""
    (folder / "study.py").write_text(STUDY)
    (folder / "net.py").write_text("def helper():\n    return 1\n")
    path, store = str(folder / "study.py"), create_store(folder / "store")
    (one,) = plan("own", study=path, store=store)
    rows = [
        attempt_row(t.id, config_id=t.config_id, config=t.config, versions=t.versions)
        for t in one.trials
    ]
    store.publish("trials", table(rows))
    if recorded:
        store.write_space(one.name, space_json(one, catalogue(path)))
    return path, store.uri


def replanned(path: str, store: str) -> SpacePlan:
    (one,) = plan("own", study=path, store=store)
    return one


def test_a_plan_names_what_has_changed_in_which_file(tmp_path: Path) -> None:
    path, store = launched(tmp_path, recorded=True)
    assert replanned(path, store).changed == {}
    text = STUDY.replace("units = 3", "units = 4").replace('"epochs": 1', '"epochs": 1, "lr": 0.1')
    Path(path).write_text(text.replace('"lr": 0.1', '"weight_decay": 0.0'))
    (tmp_path / "net.py").write_text("def helper():\n    return 2\n")
    one = replanned(path, store)
    what = "model deep_net changed: DeepNet in study.py, helper in net.py"
    assert one.changed == {what: [trial.id for trial in one.trials]}
    assert one.to_json()["changed"] == one.changed
    lines = plan_lines(one, 0)
    assert f"  2 stale: {what}" in lines
    assert "  launch --rerun stale runs stale trials again" in lines


def test_an_older_record_says_only_which_part(tmp_path: Path) -> None:
    path, store = launched(tmp_path, recorded=False)
    Path(path).write_text(STUDY.replace("units = 3", "units = 4"))
    assert [*replanned(path, store).changed] == [
        "model deep_net changed (the store does not say in what)"
    ]
