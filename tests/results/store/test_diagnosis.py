"""The view `diagnosis` over a store; its rules one by one are in `test_diagnosis_rules.py`."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from results import Store, StoreError, open_store
from results.store.diagnosis import COUNTS, RULES
from tests.support.made_up_rows import publish_trial
from tests.support.verdicts.cases import COURSES, publish


@pytest.fixture(scope="module")
def diagnosed(new_store: Callable[[], Store]) -> Store:
    store = new_store()
    publish(store, COURSES)
    return store


def test_configs_do_not_matter(new_store: Callable[[], Store], seed: int) -> None:
    """Any config, keys named as the diagnosis's own columns and rules included."""
    rng = np.random.default_rng(seed)
    names = ["loss", "plateau", "deep", "n", "chance_loss", "epochs", "smallest", "lr", "depth",
             *RULES]  # fmt: skip
    store = new_store()
    publish(store, COURSES, **{key: float(rng.normal()) for key in names})
    verdicts = dict(store.sql("SELECT trial_id, verdict FROM diagnosis").fetchall())
    assert verdicts == {name: case.shows.verdict for name, case in COURSES.items()}


def test_thresholds_can_be_changed(diagnosed: Store) -> None:
    strict = open_store(diagnosed.uri, rules={"depth_slope": 0.5, "depth_ratio": 0.0})
    query = "SELECT verdict FROM diagnosis WHERE trial_id = 'decay with depth, loss stuck'"
    assert strict.sql(query).fetchall() == [("plateau",)]
    with pytest.raises(StoreError, match="did you mean depth_slope"):
        open_store(diagnosed.uri, rules={"depth_slop": 1.0})
    with pytest.raises(StoreError, match="finite number"):
        open_store(diagnosed.uri, rules={"depth_slope": math.nan})
    with pytest.raises(StoreError, match="finite number; got an integer beyond every float"):
        open_store(diagnosed.uri, rules={"depth_slope": 10**5000})


@pytest.mark.parametrize("name", sorted(COUNTS))
@pytest.mark.parametrize("value", [2.5, 0, -1])
def test_a_rule_that_counts_epochs_is_whole(diagnosed: Store, name: str, value: float) -> None:
    with pytest.raises(StoreError, match=f"rule {name} counts epochs: it must be a whole number"):
        open_store(diagnosed.uri, rules={name: value})
    assert open_store(diagnosed.uri, rules={name: 4.0}).rules[name] == 4


def test_plateau_window(store: Store) -> None:
    """The window is the last max(5, 20 %) epochs, or all there are: a fall before it is no matter,
    one within it is."""
    wanted = {}
    for epochs in (2, 3, 5, 6, 24, 25, 26, 50):
        window = min(max(5, math.ceil(0.2 * epochs)), epochs)
        before, after = [4.0] * (epochs - window), [2.3] * window
        publish_trial(store, f"flat {epochs}", [*before, *after])
        publish_trial(store, f"falls {epochs}", [*before, *after[:-1], 2.2])
        wanted |= {f"flat {epochs}": True, f"falls {epochs}": False}
    assert dict(store.sql("SELECT trial_id, plateau FROM diagnosis").fetchall()) == wanted


def test_verdicts_follow_what_is_published(store: Store) -> None:
    """They are computed once a connection: after `refresh` for what came since, and again where the
    parts they were to be read from have been merged meanwhile."""
    asked = "SELECT trial_id, verdict FROM diagnosis ORDER BY trial_id"
    publish(store, {name: COURSES[name] for name in ("erratic", "one epoch")})
    reader = open_store(store.uri)
    reader.sql("SELECT count(*) FROM layers")
    store.compact(grace_s=0)
    before = [(name, "undetermined") for name in ("erratic", "one epoch")]
    assert reader.sql(asked).fetchall() == before
    publish(store, {"zeros": COURSES["gradients exactly 0"]})
    assert reader.sql(asked).fetchall() == before
    reader.refresh()
    assert reader.sql(asked).fetchall() == [*before, ("zeros", "dead")]
    assert reader.query_user(asked).fetchall() == [*before, ("zeros", "dead")]
