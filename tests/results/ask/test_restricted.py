"""Some of a space's trials, by values of their config."""

from __future__ import annotations

from typing import Any

import pytest

from results import Store, StoreError
from results.ask.restricted import Where, restricted
from tests.support.made_up_rows import attempt_row, space_of, table

CONFIGS: dict[str, dict[str, Any]] = {
    "a": {"init": "he", "lr": 0.1, "bias": True, "clip_norm": None},
    "b": {"init": "he", "lr": 0.01, "bias": False, "clip_norm": 1.0},
    "c": {"init": "glorot", "lr": 0.01, "bias": True, "clip_norm": 0.5},
    "parent": {"init": "he", "lr": 0.1},
    "grandparent": {"init": "he", "lr": 0.1},
}


@pytest.fixture
def space(store: Store) -> dict[str, Any]:
    rows = [attempt_row(trial, config=config, rows={}) for trial, config in CONFIGS.items()]
    store.publish("trials", table(rows))
    parents = {"a": "parent", "parent": "grandparent", "c": "other"}
    return space_of([*CONFIGS, "other"], targets=["a", "b", "c"], parents=parents)


@pytest.mark.parametrize(
    ("where", "kept"),
    [
        (["init=he"], "ab"), ({"init": "he"}, "ab"), (["init=he,glorot"], "abc"),
        ({"init": ["he", "glorot"]}, "abc"), (["lr=1e-2"], "bc"), ({"lr": 0.01}, "bc"),
        (["lr=0.01", "init=he"], "b"), (["bias=true"], "ac"), ({"bias": False}, "b"),
        (["clip_norm=null"], "a"), ({"clip_norm": None}, "a"), (["clip_norm=none,1"], "ab"),
        ([], "abc"), ({}, "abc"),
    ],
)  # fmt: skip
def test_trials_with_the_values_are_kept(
    store: Store, space: dict[str, Any], where: Where, kept: str
) -> None:
    assert restricted(store, space, where)["targets"] == list(kept)


def test_parents_of_what_is_kept_stay(store: Store, space: dict[str, Any]) -> None:
    found = restricted(store, space, ["lr=0.1"])
    assert found["trials"] == ["a", "parent", "grandparent"]
    assert found["parents"] == {"a": "parent", "parent": "grandparent"}


@pytest.mark.parametrize(
    ("where", "words"),
    [
        (["init"], "'init' is not KEY=VALUE"),
        (["=he"], "'=he' is not KEY=VALUE"),
        (["inits=he"], "no trial here has the key 'inits' (did you mean init?)"),
        (["init=xavier"], "no trial of demo/grid has init=xavier: init is glorot, he"),
        (["lr=fast"], "has lr=fast: lr is 0.01, 0.1"),
        (["bias=1"], "has bias=1"),
        ({"bias": 1}, "has bias=1"),
        (["init=he", "init=glorot"], "init is given twice"),
    ],
)
def test_what_none_has_is_named(
    store: Store, space: dict[str, Any], where: Where, words: str
) -> None:
    with pytest.raises(StoreError) as refused:
        restricted(store, space, where)
    assert words in str(refused.value)
