"""Launches into a store on S3: a real API server on loopback, a Ray of the launch's own."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyarrow import fs as pafs

from results import open_store
from tests.fuzz.command_line import told
from tests.support.launches import command, run
from tests.support.object_store import ObjectStore
from tests.support.stores import differing

STUDY = str(Path(__file__).parents[2] / "support" / "tiny_study.py")


@pytest.fixture(scope="module")
def logs() -> Iterator[Path]:
    """Where the launches' Rays keep their sessions; short, as names of sockets must be."""
    with tempfile.TemporaryDirectory(prefix="gs-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def gradsweep(
    server: ObjectStore, logs: Path, *words: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    environment = server.environment | {"RAY_TMPDIR": str(logs), **variables}
    return subprocess.run(
        command(*words), env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def local(ray_session: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same space in a local store."""
    store = tmp_path_factory.mktemp("local") / "store"
    result = run(store, "epochs=2", space="tiny/staged", study=STUDY, tiny=())
    assert result.exit_status == 0
    return store


def _launch(
    server: ObjectStore, logs: Path, store: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    words = ("launch", "tiny/staged", "--study", STUDY, "--store", store, "--set", "epochs=2")
    return gradsweep(server, logs, *words, "--checkpoint-seconds", "0", **variables)


def _ended(done: subprocess.CompletedProcess[str], status: int = 0) -> str:
    text = done.stdout + done.stderr
    assert done.returncode == status, text
    assert "Traceback" not in text
    return text


@pytest.mark.ray
@pytest.mark.slow
def test_a_sweep_through_a_store_in_trouble_is_whole_and_leaves_no_credentials(
    local: Path,
    object_store: ObjectStore,
    logs: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Refusing, the store ends the launch; slow and away for a while, it is waited for by the next,
    after which it is as good as any other."""
    store = "s3://bucket/whole/store"
    with _launching(object_store, logs, store) as refused:
        object_store.trouble(status=403)
    object_store.trouble(delay=0.1)
    said = [_ended(refused[0], 2)]
    assert "access denied" in said[0]
    with _launching(object_store, logs, store) as done:
        object_store.trouble(status=503)
        _until_tried_again(object_store, done, times=4)
        rays = _files(logs)  # which go with the launch
        object_store.trouble(delay=0.1)
    said.append(_ended(done[0]))
    assert "took over" not in said[1]
    object_store.trouble()
    assert differing(local, store) == {}
    newest = open_store(store).sql("SELECT DISTINCT status FROM trials").fetchall()
    assert newest == [("done",)]
    before = object_store.requests()
    print(f"{len(before)} requests")
    said.append(_ended(_launch(object_store, logs, store)))
    assert "0 trials to run" in said[2]
    assert not any(".parquet" in line for line in object_store.requests() if line[:3] == "PUT")
    trial = open_store(store).attempts()["trial_id"][0].as_py()
    figure = tmp_path / "figure.html"
    commands = (
        ("status",),
        ("query", "SELECT * FROM trials", "--json"),
        ("best", "tiny/staged"),
        ("plot", "tiny/staged", "--output", str(figure)),
        ("show", trial),
        ("debug", "--trial", trial, "--study", STUDY),
        ("compact", "--grace", "0"),
        ("query", "SELECT count(*) FROM epochs"),
    )
    for words in commands:
        answer = told(*words, "--store", store)
        assert answer.status == 0, answer
        said.append(answer.out + answer.err)
    assert figure.stat().st_size > 1000
    assert differing(local, store) == {}
    _nothing_of(object_store, [*said, *capfd.readouterr()], {**rays, **_files(tmp_path)})


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _nothing_of(server: ObjectStore, said: list[str], files: dict[str, bytes]) -> None:
    """Neither key nor secret is in the bucket, in what was printed, or in these files."""
    words = [server.key.encode(), server.secret.encode(), server.secret.split("/")[0].encode()]
    held = {f"output {number}": text.encode() for number, text in enumerate(said)}
    filesystem, _ = pafs.FileSystem.from_uri("s3://bucket")
    for info in filesystem.get_file_info(pafs.FileSelector("bucket", recursive=True)):
        held[info.path] = info.path.encode()
        if info.type == pafs.FileType.File:
            with filesystem.open_input_stream(info.path) as stream:
                held[info.path] += stream.read()
    bucket = len(held)
    held |= files
    assert bucket > len(said) + 5
    assert len(held) > bucket + 5, "Ray's logs are looked through"
    found = [name for name, content in held.items() for word in words if word in content]
    assert found == []


@pytest.mark.slow
def test_credentials_in_a_uri_are_refused_before_anything_else(
    object_store: ObjectStore, logs: Path
) -> None:
    store = f"s3://{object_store.key}:{object_store.secret}@bucket/x"
    for words in (("launch", "tiny/grid", "--study", STUDY), ("status",), ("query", "SELECT 1")):
        for done in (
            gradsweep(object_store, logs, *words, "--store", store),
            gradsweep(object_store, logs, *words, GRADSWEEP_STORE=store),
        ):
            text = _ended(done, 2)
            assert len(text.splitlines()) == 1
            assert "AWS_SECRET_ACCESS_KEY" in text
            assert object_store.key not in text
            assert object_store.secret not in text


@pytest.mark.parametrize(
    ("place", "variables", "said"),
    [
        ("s3://absent/x", {}, "no such bucket"),
        ("s3://bucket/x", {"AWS_SECRET_ACCESS_KEY": "wrong"}, "AWS_SECRET_ACCESS_KEY"),
        ("s3://bucket/x", {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "AWS_ENDPOINT_URL"),
        ("s3://bucket/away", {}, "AWS_ENDPOINT_URL"),
    ],
)
def test_a_wrong_place_is_told_after_few_tries(
    object_store: ObjectStore, logs: Path, place: str, variables: dict[str, str], said: str
) -> None:
    """At most three of a request, where a launch under way tries eight times, for half a minute.
    `away`: no request has an answer."""
    if place.endswith("away"):
        object_store.trouble(drop=True)
    object_store.requests()
    text = _ended(_launch(object_store, logs, place, **variables), 2)
    assert len(text.splitlines()) == 1
    assert said in text
    assert max(Counter(object_store.requests()).values(), default=0) <= 3


@contextlib.contextmanager
def _launching(
    server: ObjectStore, logs: Path, store: str
) -> Iterator[list[subprocess.CompletedProcess[str]]]:
    """A launch that has published epochs when the body runs, and has ended after it."""
    server.requests()
    done: list[subprocess.CompletedProcess[str]] = []
    launch = threading.Thread(target=lambda: done.append(_launch(server, logs, store)))
    launch.start()
    _until(server, launch, "PUT", "/epochs/")
    yield done
    launch.join()


def _until_tried_again(
    server: ObjectStore, done: list[subprocess.CompletedProcess[str]], times: int
) -> None:
    """Waits until one request has been made `times` times."""
    tries: Counter[str] = Counter()
    while max(tries.values(), default=0) < times:
        assert not done, _ended(done[0])
        tries.update(server.requests())
        time.sleep(0.05)


def _until(server: ObjectStore, launch: threading.Thread, *words: str) -> None:
    """Waits for a request that has these words."""
    while not any(all(word in line for word in words) for line in server.requests()):
        assert launch.is_alive(), "it ended too early"
        time.sleep(0.05)
