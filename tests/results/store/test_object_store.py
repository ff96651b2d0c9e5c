"""A store on an object store: pyarrow against a real S3 API server on loopback."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from pyarrow import fs as pafs

from results import Store, StoreError, create_store, open_store
from results.store import object_store as remote
from results.store.paths import exists
from tests.results.store.test_compaction import answers, fill
from tests.support.made_up_rows import publish_trial
from tests.support.object_store import ObjectStore


@pytest.fixture
def uri(object_store: ObjectStore, request: pytest.FixtureRequest) -> str:
    """A place in the bucket where nothing is."""
    return f"s3://bucket/{request.node.originalname}/{os.urandom(3).hex()}"


@pytest.fixture
def store(uri: str) -> Store:
    return create_store(uri)


def test_what_is_published_is_queried_and_compacted(uri: str) -> None:
    assert not exists(uri)
    store = create_store(uri)
    fill(store, 3)
    store.write_space("demo/grid", {"trials": ["t0"]})
    before = answers(store)
    assert len(before[0]) == 6
    assert answers(open_store(uri)) == before
    reader = open_store(uri)
    assert answers(reader) == before
    assert store.compact(grace_s=0)["deleted"] == 9
    # One reader lists anew, another still has the parts in mind that are gone.
    assert answers(open_store(uri)) == before
    assert [len(reader.sql(f"from {name}")) for name in ("epochs", "trials")] == [6, 3]
    assert open_store(uri).warnings == []
    assert list(create_store(uri).spaces()) == ["demo/grid"]
    assert store.completeness(["t0"])["t0"]["done"]


def test_a_store_is_merged_up_and_down(store: Store, tmp_path: Path) -> None:
    """From a folder into the bucket, from there into another folder, each twice over."""
    one, other = create_store(tmp_path / "one"), create_store(tmp_path / "other")
    fill(one, 2)
    publish_trial(store, "late", [1.0])
    lanes = [{"trial_id": "t0", "attempt": 0, "epoch": 0, "launch_id": "x"}]
    for kind in ("artifacts", "checkpoints"):
        one.save_weights(kind, "pack/0", {"w": np.ones((1, 3), np.float32)}, {"lanes": lanes})
    one.write_space("demo/grid", {"trials": ["t0"]})
    for source, target in ((one, store), (store, other)):
        assert target.merge(source)["parts"] > 0
        again = target.merge(source)
        assert (again["parts"], again["weights"], again["spaces"]) == (0, 0, 0)
    assert answers(other) == answers(store)
    assert len(answers(other)[0]) == len(answers(one)[0]) + 1
    assert other.weights("t0")["w"].tolist() == [1.0, 1.0, 1.0]
    assert [entry["path"] for entry in other.list_checkpoints()] == ["checkpoints/pack/0"]
    assert list(other.spaces()) == ["demo/grid"]


def test_weights_and_resume_points(store: Store) -> None:
    publish_trial(store, "a", [1.0])
    leaves = {"w": np.arange(12, dtype=np.float32).reshape(2, 6)}
    lanes = [{"trial_id": name, "attempt": 0, "epoch": 0} for name in ("a", "b")]
    store.save_weights("artifacts", "pack-0", leaves, {"lanes": lanes})
    path = store.save_weights("checkpoints", "pack-0/1", leaves, {"lanes": lanes})
    assert open_store(store.uri).weights("a")["w"].tolist() == [0, 1, 2, 3, 4, 5]
    assert store.load_lane(path, 1)["w"].tolist() == [6, 7, 8, 9, 10, 11]
    store.drop(path)
    assert store.list_checkpoints() == []
    assert store.warnings == []
    with pytest.raises(StoreError, match="no weights at"):
        store.load_lane(path, 1)


def test_a_part_is_one_put_and_a_listing_reads_it_once(
    store: Store, object_store: ObjectStore
) -> None:
    object_store.requests()
    publish_trial(store, "a", [1.0])
    sent = object_store.requests()
    assert Counter(line.split()[0] for line in sent) == {"PUT": 2}
    assert not any("upload" in line for line in sent)
    fresh = open_store(store.uri)
    object_store.requests()
    fresh.index  # noqa: B018
    listed = object_store.requests()
    assert sum(".parquet" in line for line in listed) == 2, listed
    fresh.refresh()
    fresh.index  # noqa: B018
    assert not any(".parquet" in line for line in object_store.requests())


def test_a_file_of_many_pieces_shows_whole_or_not_at_all(
    store: Store, object_store: ObjectStore
) -> None:
    big = {"w": np.random.default_rng(0).integers(0, 256, (1, 24 * 2**20), np.uint8)}
    index = {"lanes": [{"trial_id": "a", "attempt": 0, "epoch": 0}]}
    object_store.trouble(status=400, only="partNumber=2")
    with pytest.raises(StoreError, match="cannot write"):
        store.save_weights("artifacts", "big", big, index)
    object_store.trouble()
    seen = store.fs.get_file_info(f"{store.root}/artifacts/big.safetensors")
    assert seen.type == pafs.FileType.NotFound
    store.save_weights("artifacts", "big", big, index)
    assert (open_store(store.uri).load_lane("artifacts/big", 0)["w"] == big["w"][0]).all()


def test_no_answer_is_no_damage(store: Store, object_store: ObjectStore) -> None:
    """A store that is away makes no part a bad one, for which trials would run again."""
    publish_trial(store, "a", [1.0, 0.5])
    fresh = open_store(store.uri)
    object_store.trouble(status=403, only=".parquet")
    with pytest.raises(StoreError, match="cannot be reached: access denied") as caught:
        fresh.completeness(["a"])
    assert "\n" not in str(caught.value)
    object_store.trouble()
    assert fresh.completeness(["a"])["a"]["done"]
    assert fresh.warnings == []
    object_store.trouble(status=403, only=".parquet")
    with pytest.raises(StoreError, match="cannot be reached"):
        fresh.sql("SELECT sum(loss) FROM epochs")
    object_store.trouble()
    assert fresh.sql("SELECT sum(loss) FROM epochs").fetchall() == [(1.5,)]


def test_a_damaged_part_is_named(store: Store) -> None:
    for trial in ("a", "b"):
        publish_trial(store, trial, [1.0])
    victim = open_store(store.uri).index.tables["epochs"].live[0].path
    with store.fs.open_output_stream(victim) as stream:
        stream.write(b"PAR1 and then something else")
    fresh = open_store(store.uri)
    assert len(fresh.sql("from epochs")) == 1
    assert victim.rsplit("/", 1)[-1] in fresh.warnings[0]


@pytest.mark.parametrize(
    ("trouble", "times"),
    [({"status": 503}, remote._QUICK), ({"status": 500}, 1), ({"drop": True}, 1)],
)
def test_a_short_absence_is_waited_out(
    store: Store, object_store: ObjectStore, trouble: dict[str, object], times: int
) -> None:
    """Once even of as many attempts as a user at the prompt would have to wait for; each pause is
    twice the one before, so they are few here."""
    assert remote._PATIENT >= 8
    object_store.trouble(**trouble, times=times)
    object_store.requests()
    publish_trial(store, "a", [1.0])
    asked = Counter(object_store.requests())
    assert {line.split()[0] for line in asked} == {"PUT"}
    assert sorted(asked.values()) == [1, times + 1], "what failed was asked again, nothing else"
    assert store.completeness(["a"])["a"]["done"]


@pytest.mark.parametrize("trouble", [{"status": 503}, {"drop": True}])
def test_a_store_that_is_away_is_asked_a_few_times_only(
    uri: str, object_store: ObjectStore, trouble: dict[str, object]
) -> None:
    """By a user at the prompt, who waits for the answer; requests wait for no more than a time that
    is set, which the server cannot be asked to show."""
    object_store.trouble(**trouble)
    object_store.requests()
    for attempt in (create_store, open_store):
        with pytest.raises(StoreError, match="cannot be reached"):
            attempt(uri)
        assert set(Counter(object_store.requests()).values()) == {remote._QUICK}
    assert remote._CONNECT_S <= 5
    assert remote._ANSWER_S <= 20


@pytest.mark.parametrize(
    ("changes", "place", "said"),
    [
        ({}, "s3://absent/x", "there is no such bucket"),
        ({"AWS_ACCESS_KEY_ID": "AKIAAAAAAAAAAAAAAAAA"}, "s3://bucket/x", "AWS_ACCESS_KEY_ID"),
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "s3://bucket/x", "AWS_SECRET_ACCESS_KEY"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "s3://bucket/x", "no answer; check the net"),
    ],
)
def test_a_place_that_cannot_be_used_is_one_sentence_soon(
    object_store: ObjectStore,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, str],
    place: str,
    said: str,
) -> None:
    """Soon: what is refused is not asked again."""
    for name, value in changes.items():
        monkeypatch.setenv(name, value)
    for attempt in (create_store, open_store):
        object_store.requests()
        with pytest.raises(StoreError) as caught:
            attempt(place)
        assert set(Counter(object_store.requests()).values()) <= {1}
        text = str(caught.value)
        assert attempt is open_store or said in text
        assert "\n" not in text
        assert "AWS Error" not in text


@pytest.mark.parametrize(
    "uri",
    [
        "s3://KEYID:{}@bucket/x",
        "s3://KEYID:ab%2Fcd{}@bucket/x",
        "s3://KEYID:ab/cd{}@bucket/x",
        "s3://{}@bucket/x",
        "s3://bucket/x?secret_key={}&region=us-east-1",
        "s3://bucket/x?endpoint_override=http://a:{}@127.0.0.1:9",
        "gs://user:{}@bucket/x",
    ],
)
def test_credentials_in_a_uri_are_refused_and_not_repeated(uri: str) -> None:
    for attempt in (create_store, open_store, exists):
        with pytest.raises(StoreError, match="holds credentials") as caught:
            attempt(uri.format("Secret123"))
        text = str(caught.value)
        assert "Secret123" not in text
        assert "KEYID" not in text
        assert ("AWS_SECRET_ACCESS_KEY" in text) == uri.startswith("s3")


def test_an_endpoint_may_be_part_of_the_uri(
    object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    place = "s3://bucket/by-uri/store"
    options = f"region=us-east-1&scheme=http&endpoint_override=127.0.0.1%3A{object_store.port}"
    fill(create_store(f"{place}?{options}"), 1)
    assert len(open_store(f"{place}?{options}").sql("from epochs")) == 2
    with pytest.raises(StoreError, match="takes region, scheme, endpoint_override"):
        open_store(f"{place}?{options}&allow_bucket_creation=true")
    assert not Path("s3:").exists()
