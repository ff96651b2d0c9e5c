"""Verdicts against what a person said of 40 real courses, of all five studies at two-core size.

The sample: trials of short launches of the studies' spaces, drawn by a seed, seven of each study, and
five that an earlier diagnosis got wrong. Each was judged from its losses, accuracies and norms by
layer before its verdict was looked at.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from results import Store
from tests.support.verdicts.judged import Judgement, judgements, publish_judged

SAMPLE = {each.trial_id: each for each in judgements()}
STUDIES = ("bar2025", "herranz2023", "ribeiro2020", "vanishing", "zucchet2024")


@pytest.fixture(scope="module")
def judged(new_store: Callable[[], Store]) -> Store:
    store = new_store()
    publish_judged(store)
    return store


def test_the_sample_is_of_all_studies() -> None:
    studies = [each.space.partition("/")[0] for each in SAMPLE.values()]
    assert len(studies) == 40
    assert all(studies.count(study) >= 7 for study in STUDIES)


def test_verdicts_are_those_of_a_person(judged: Store) -> None:
    """But for those that say why they differ, which must still differ."""
    found = dict(judged.sql("SELECT trial_id, verdict FROM diagnosis").fetchall())
    assert found.keys() == SAMPLE.keys()

    def differ(each: Judgement) -> bool:
        return found[each.trial_id] != each.verdict

    assert {t: found[t] for t, each in SAMPLE.items() if differ(each)}.keys() == {
        t for t, each in SAMPLE.items() if each.differs
    }


def test_solved_trials_with_great_norms_did_not_explode(judged: Store) -> None:
    """Those that were called exploding: the norms are there, and what they led to was a solution."""
    named = ["37aab9", "ba4c7b", "ae88bc", "d8e76e", "18d4c5"]
    rows = judged.sql(
        "SELECT verdict, converged, exploding, largest_norm > 1e3 FROM diagnosis "
        "WHERE substr(trial_id, 1, 6) IN (SELECT unnest($named))",
        {"named": named},
    ).fetchall()
    assert rows == [("healthy", True, False, True)] * len(named)
