"""Verdicts against what a person said of real courses, of all five studies at two-core size.

The trials are of short launches of the studies' spaces. Sample 1: seven of each study, drawn by a
seed, and five that an earlier diagnosis got wrong. Sample 2: twenty others, drawn and judged after
two rules had been amended by the first. All were judged from losses, accuracies and norms by layer,
before what these rules say was looked at.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from results import Store
from tests.support.verdicts.judged import FOLDER, judgements, publish_judged
from tests.support.verdicts.picture import pictured
from tests.support.verdicts.typical import MADE_UP, PICTURED

SAMPLE = {each.trial_id: each for each in judgements()}
STUDIES = ("bar2025", "herranz2023", "ribeiro2020", "vanishing", "zucchet2024")
AGREES = {1: (36, 40), 2: (16, 20)}
"""On how many of how many, as docs/verdicts.md says."""


@pytest.fixture(scope="module")
def judged(new_store: Callable[[], Store]) -> Store:
    store = new_store()
    publish_judged(store)
    return store


def test_the_sample_is_of_all_studies() -> None:
    studies = Counter(each.space.partition("/")[0] for each in SAMPLE.values() if each.sample == 1)
    assert studies.total() == 40
    assert all(studies[study] >= 7 for study in STUDIES)


def test_verdicts_are_those_of_a_person(judged: Store) -> None:
    """But for those that say why they differ, which must still differ."""
    found = dict(judged.sql("SELECT trial_id, verdict FROM diagnosis").fetchall())
    assert found.keys() == SAMPLE.keys()
    differ = {trial for trial, each in SAMPLE.items() if found[trial] != each.verdict}
    assert differ == {trial for trial, each in SAMPLE.items() if each.differs}
    for sample, (agreed, of) in AGREES.items():
        own = [trial for trial, each in SAMPLE.items() if each.sample == sample]
        assert (sum(trial not in differ for trial in own), len(own)) == (agreed, of)
        said = f"{agreed} of {of}"
        assert said in (FOLDER.parents[3] / "docs" / "verdicts.md").read_text(encoding="utf-8")


def test_solved_trials_with_great_norms_did_not_explode(judged: Store) -> None:
    """Those that were called exploding: the norms are there, and they led to a solution."""
    named = ["37aab9", "ba4c7b", "ae88bc", "d8e76e", "18d4c5"]
    rows = judged.sql(
        "SELECT verdict, converged, exploding, largest_norm > 1e3 FROM diagnosis "
        "WHERE substr(trial_id, 1, 6) IN (SELECT unnest($named))",
        {"named": named},
    ).fetchall()
    assert rows == [("healthy", True, False, True)] * len(named)


def test_pictured_courses_have_the_verdicts_above_them(tmp_path: Path) -> None:
    store = pictured(tmp_path / "store")
    found = dict(store.sql("SELECT trial_id, verdict FROM diagnosis").fetchall())
    verdicts = {head: head.partition(":")[0] for head in PICTURED}
    shown = {
        head: found[name if name in MADE_UP else store.resolve(name)]
        for head, name in PICTURED.items()
    }
    assert shown == verdicts
    assert {case.shows.verdict for case in MADE_UP.values()} < {*verdicts.values()}
