"""The loader of real data: synthetic files always, the real ones where GRADSWEEP_DATA has them."""

from __future__ import annotations

import functools
import gzip
import hashlib
import http.server
import lzma
import os
import shutil
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.datasets import loader
from orchestrator.datasets.loader import DATASETS, DataError, Dataset, File, Form
from tests.support.data_files import archive, assert_one_sentence, list_sums
from trainables.declarations import Task, builtin_registry

ROOT = Path(__file__).parents[3]
MNIST_FILES = [Path(file.path).name for file in DATASETS["mnist"].forms[0].files]


def idx(values: np.ndarray) -> bytes:
    header = struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape)
    return gzip.compress(header + values.tobytes(), mtime=0)


def small_mnist(root: Path, seed: int) -> dict[str, np.ndarray]:
    """MNIST's four files with 12 and 5 images, listed in a SHA256SUMS beside them."""
    rng = np.random.default_rng(seed)
    arrays = {
        "train_images": rng.integers(0, 256, (12, 28, 28), np.uint8),
        "train_labels": rng.integers(0, 10, 12, np.uint8),
        "test_images": rng.integers(0, 256, (5, 28, 28), np.uint8),
        "test_labels": rng.integers(0, 10, 5, np.uint8),
    }
    folder = root / "mnist"
    folder.mkdir(parents=True)
    for name, values in zip(MNIST_FILES, arrays.values(), strict=True):
        (folder / name).write_bytes(idx(values))
    list_sums(folder, *(folder / name for name in MNIST_FILES))
    return arrays


# ---- light -------------------------------------------------------------------------------------


def test_planning_imports_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys; from orchestrator.datasets import loader as d\n"
        "assert d.available('digits') and not d.available('mnist')\n"
        "d.missing_message('mnist')\n"
        "print(sorted({'numpy', 'sklearn', 'pooch', 'requests', 'jax', 'ray'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "GRADSWEEP_DATA": str(tmp_path)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


def test_every_set_a_task_names_is_known() -> None:
    tasks = [part for part in builtin_registry().parts.values() if isinstance(part, Task)]
    named = {task.dataset({key.name: key.default for key in task.keys}) for task in tasks}
    assert named > {None}
    assert named <= {None, *DATASETS}


@pytest.mark.parametrize("name", [n for n, d in DATASETS.items() if d.forms[0].files])
def test_missing_set_says_how_to_get_it(name: str, tmp_path: Path) -> None:
    assert not loader.available(name, tmp_path)
    text = loader.missing_message(name, tmp_path)
    home = DATASETS[name].home
    assert (home or f"`gradsweep data fetch {name}`") in text
    assert str(tmp_path) in text
    with pytest.raises(DataError) as error:
        loader.load(name, tmp_path)
    assert_one_sentence(error)
    assert str(error.value) == text
    assert loader.verify(name, tmp_path).status == "missing"


def test_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(DataError, match=r"'mnits'.*mnist") as error:
        loader.load("mnits")
    assert_one_sentence(error)


def test_data_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GRADSWEEP_DATA", str(tmp_path / "here"))
    assert loader.data_root() == tmp_path / "here"
    monkeypatch.delenv("GRADSWEEP_DATA")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert loader.data_root().is_relative_to(tmp_path)
    assert "gradsweep" in loader.data_root().parts


# ---- reading -----------------------------------------------------------------------------------


def test_digits_need_no_file(tmp_path: Path) -> None:
    from sklearn.datasets import load_digits

    loaded = loader.load("digits", tmp_path)
    pixels, labels = load_digits(return_X_y=True)
    np.testing.assert_array_equal(loaded.arrays["train_images"].reshape(-1, 64), pixels)
    np.testing.assert_array_equal(loaded.arrays["train_labels"], labels)
    assert loaded.arrays["train_images"].dtype == np.float32
    assert loaded.arrays["train_images"].shape == (1797, 8, 8)
    assert len(loaded.arrays["test_images"]) == len(loaded.arrays["test_labels"]) == 0
    assert loaded.checksum.startswith("digits=sha256:")
    assert loader.verify("digits", tmp_path).status == "ok"
    assert loader.fetch("digits", tmp_path)
    assert not list(tmp_path.iterdir())


def test_arrays_are_shared_and_read_only(tmp_path: Path, seed: int) -> None:
    small_mnist(tmp_path, seed)
    loaded = loader.load("mnist", tmp_path)
    assert loader.load("mnist", tmp_path) is loaded
    for array in loaded.arrays.values():
        with pytest.raises(ValueError, match="read-only"):
            array[:1] = 0


@pytest.mark.parametrize("beside", [True, False], ids=["beside", "root"])
def test_listed_files_are_accepted(tmp_path: Path, seed: int, beside: bool) -> None:
    arrays = small_mnist(tmp_path, seed)
    if not beside:  # as `find -exec sha256sum` writes it from the root
        (tmp_path / "mnist" / "SHA256SUMS").unlink()
        list_sums(tmp_path, *(tmp_path / "mnist").iterdir(), prefix="./")
    loaded = loader.load("mnist", tmp_path)
    assert list(loaded.arrays) == list(arrays)
    for name, expected in arrays.items():
        np.testing.assert_array_equal(loaded.arrays[name], expected)
    assert loaded.arrays["train_labels"].dtype == np.int32
    for name in MNIST_FILES:
        digest = hashlib.sha256((tmp_path / "mnist" / name).read_bytes()).hexdigest()
        assert f"mnist/{name}=sha256:{digest}" in loaded.checksum
    assert loader.verify("mnist", tmp_path).status == "ok"


def test_unlisted_file_is_refused(tmp_path: Path, seed: int) -> None:
    small_mnist(tmp_path, seed)
    (tmp_path / "mnist" / "SHA256SUMS").unlink()
    with pytest.raises(DataError, match=r"train-images.*corrupt.*data fetch mnist") as error:
        loader.load("mnist", tmp_path)
    assert_one_sentence(error)


@given(data=st.data())
def test_any_damage_is_noticed(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("damaged")
    small_mnist(root, 0)
    path = root / "mnist" / data.draw(st.sampled_from(MNIST_FILES))
    whole = path.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    if data.draw(st.booleans(), label="truncate"):
        path.write_bytes(whole[:at])
    else:
        flip = data.draw(st.integers(1, 255))
        path.write_bytes(whole[:at] + bytes([whole[at] ^ flip]) + whole[at + 1 :])
    with pytest.raises(DataError, match=rf"{path.name} is corrupt.*data fetch mnist") as error:
        loader.load("mnist", root)
    assert_one_sentence(error)
    check = loader.verify("mnist", root)
    assert check.status == "corrupt"
    assert [f.path for f in check.files if f.status == "corrupt"] == [path]
    path.write_bytes(whole)
    assert loader.load("mnist", root).arrays["train_images"].shape == (12, 28, 28)
    shutil.rmtree(root)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"no gzip at all", "gzipped"),
        (gzip.compress(b"short"), "not an idx file"),
        (idx(np.zeros(12, np.uint8)), "3 dimensions"),
        (gzip.compress(struct.pack(">BBBB3I", 0, 0, 8, 3, 12, 28, 28) + b"few"), "3 values follow"),
        (idx(np.zeros((11, 28, 28), np.uint8)), "12 labels"),
        (idx(np.zeros((12, 8, 8), np.uint8)), "train images"),
        (idx(np.zeros((12, 28, 28), np.uint8))[:-12], "end-of-stream|Compressed file ended"),
    ],
    ids=["foreign", "short", "dimensions", "too-few", "counts", "shape", "truncated"],
)
def test_listed_garbage_is_named(tmp_path: Path, content: bytes, why: str, seed: int) -> None:
    small_mnist(tmp_path, seed)
    folder = tmp_path / "mnist"
    (folder / MNIST_FILES[0]).write_bytes(content)
    list_sums(folder, *(folder / name for name in MNIST_FILES))
    with pytest.raises(DataError, match=why) as error:
        loader.load("mnist", tmp_path)
    assert_one_sentence(error)


def test_label_out_of_range_is_named(tmp_path: Path, seed: int) -> None:
    small_mnist(tmp_path, seed)
    folder = tmp_path / "mnist"
    (folder / MNIST_FILES[1]).write_bytes(idx(np.full(12, 10, np.uint8)))
    list_sums(folder, *(folder / name for name in MNIST_FILES))
    with pytest.raises(DataError, match=r"label is outside 0\.\.9"):
        loader.load("mnist", tmp_path)


# ---- CIFAR-10 ----------------------------------------------------------------------------------

BATCHES = [*(f"data_batch_{n}.bin" for n in range(1, 6)), "test_batch.bin"]


def records(count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` records that compress well: one label byte, then one colour a channel and row."""
    rows = rng.integers(0, 256, (count, 3, 32, 1), np.uint8)
    pixels = np.broadcast_to(rows, (count, 3, 32, 32)).reshape(count, 3072)
    return np.concatenate([rng.integers(0, 10, (count, 1), np.uint8), pixels], axis=1)


@pytest.fixture(scope="module")
def full_cifar(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: records(10_000, rng) for name in BATCHES}


@pytest.mark.parametrize("where", ["archive", "cifar10/cifar-10-batches-bin", "cifar10"])
def test_cifar10_in_each_form(
    where: str, full_cifar: dict[str, np.ndarray], tmp_path: Path, seed: int
) -> None:
    if where == "archive":
        path = tmp_path / "cifar10" / "cifar-10-binary.tar.gz"
        path.parent.mkdir()
        path.write_bytes(archive({name: full_cifar[name].tobytes() for name in reversed(BATCHES)}))
        list_sums(tmp_path, path)
    else:
        folder = tmp_path / where
        folder.mkdir(parents=True)
        for name in BATCHES:
            (folder / name).write_bytes(full_cifar[name].tobytes())
        with pytest.raises(DataError, match=r"no known checksum.*SHA256SUMS"):
            loader.load("cifar10", tmp_path)
        list_sums(folder, *(folder / name for name in BATCHES))
    assert loader.available("cifar10", tmp_path)
    arrays = loader.load("cifar10", tmp_path).arrays
    assert arrays["train_images"].shape == (50_000, 3, 32, 32)
    assert arrays["test_images"].shape == (10_000, 3, 32, 32)
    rng = np.random.default_rng(seed)
    for i in rng.integers(0, 50_000, 50):
        record = full_cifar[BATCHES[i // 10_000]][i % 10_000]
        assert arrays["train_labels"][i] == record[0]
        green_of_row_5 = record[1 + 1024 + 5 * 32 : 1 + 1024 + 6 * 32]
        np.testing.assert_array_equal(arrays["train_images"][i, 1, 5], green_of_row_5)
    np.testing.assert_array_equal(arrays["test_labels"], full_cifar["test_batch.bin"][:, 0])
    loader._load.cache_clear()  # 180 MB


def test_cifar10_archive_without_a_batch(tmp_path: Path) -> None:
    path = tmp_path / "cifar10" / "cifar-10-binary.tar.gz"
    path.parent.mkdir()
    path.write_bytes(archive({"data_batch_1.bin": b"x"}))
    list_sums(tmp_path, path)
    for name, why in {"cifar10": r"holds no data_batch_2", "cifar10_4k": "no test_batch"}.items():
        with pytest.raises(DataError, match=why) as error:
            loader.load(name, tmp_path)
        assert_one_sentence(error)


def test_cifar10_4k_of_another_archive_is_refused(tmp_path: Path, seed: int) -> None:
    """Results of cifar10_4k come from its own 5,000 images or not at all."""
    other = records(5_000, np.random.default_rng(seed)).tobytes()
    path = tmp_path / "cifar10" / "cifar-10-binary.tar.gz"
    path.parent.mkdir()
    path.write_bytes(archive({"data_batch_1.bin": other, "test_batch.bin": other}))
    list_sums(tmp_path, path)
    with pytest.raises(DataError, match="does not hold the training images of cifar10_4k"):
        loader.load("cifar10_4k", tmp_path)


# ---- CIFAR-100 ---------------------------------------------------------------------------------


def fine_records(count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` records of a coarse and a fine label and pixels that compress well."""
    labels = np.stack([rng.integers(0, 20, count), rng.integers(0, 100, count)], 1)
    return np.concatenate([labels.astype(np.uint8), records(count, rng)[:, 1:]], axis=1)


def write_cifar100(root: Path, train: bytes, test: bytes) -> None:
    path = root / "cifar100" / "cifar-100-binary.tar.gz"
    path.parent.mkdir()
    path.write_bytes(archive({"train.bin": train, "test.bin": test}, "cifar-100-binary"))
    list_sums(root, path)


def test_cifar100_has_fine_labels(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    made = fine_records(60_000, rng)
    write_cifar100(tmp_path, made[:50_000].tobytes(), made[50_000:].tobytes())
    arrays = loader.load("cifar100", tmp_path).arrays
    assert arrays["train_images"].shape == (50_000, 3, 32, 32)
    np.testing.assert_array_equal(arrays["test_labels"], made[50_000:, 1])
    for i in rng.integers(0, 50_000, 20):
        assert arrays["train_labels"][i] == made[i, 1]
        blue_of_row_3 = made[i, 2 + 2048 + 3 * 32 : 2 + 2048 + 4 * 32]
        np.testing.assert_array_equal(arrays["train_images"][i, 2, 3], blue_of_row_3)
    loader._load.cache_clear()  # 180 MB


def test_cifar100_2k_of_another_archive_is_refused(tmp_path: Path, seed: int) -> None:
    made = fine_records(3_000, np.random.default_rng(seed)).tobytes()
    write_cifar100(tmp_path, made, made)
    with pytest.raises(DataError, match="does not hold the training images of cifar100_2k"):
        loader.load("cifar100_2k", tmp_path)
    with pytest.raises(DataError, match=r"not 50,000 x 3,074") as error:
        loader.load("cifar100", tmp_path)
    assert_one_sentence(error)


# ---- the real files ----------------------------------------------------------------------------


IMAGES = ("digits", "mnist", "cifar10", "cifar10_4k", "cifar100", "cifar100_2k")


@pytest.mark.parametrize("name", IMAGES)
def test_real_set_has_the_shape_its_task_declares(
    name: str, real_data: Path, request: pytest.FixtureRequest
) -> None:
    if not loader.available(name, real_data):
        pytest.skip(loader.missing_message(name, real_data))
    assert loader.verify(name, real_data).status == "ok"
    arrays = loader.load(name, real_data).arrays
    task = builtin_registry().parts["task", name]
    assert isinstance(task, Task)
    config = {key.name: key.default for key in task.keys}
    assert callable(task.sizes)
    sizes = task.sizes(config)
    held = sizes.n_test if name == "digits" else 0  # digits are split by the task itself
    assert len(arrays["train_images"]) == sizes.n_train + sizes.n_val + held
    assert len(arrays["test_images"]) == sizes.n_test - held
    assert set(np.unique(arrays["train_labels"])) == set(range(sizes.classes))
    assert sizes.seq_len * sizes.features == arrays["train_images"][0].size


def test_real_mnist_starts_as_everyone_knows(real_data: Path) -> None:
    if not loader.available("mnist", real_data):
        pytest.skip(loader.missing_message("mnist", real_data))
    arrays = loader.load("mnist", real_data).arrays
    assert arrays["train_labels"][:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert arrays["test_labels"][:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert round(arrays["train_images"].mean() / 255, 4) == 0.1307


def test_cifar10_4k_of_the_archive_is_the_repacked_one(
    real_data: Path, tmp_path: Path, seed: int
) -> None:
    """Packs the real records among others, in another order, as the full archive has them."""
    if not loader.available("cifar10_4k", real_data):
        pytest.skip(loader.missing_message("cifar10_4k", real_data))
    rng = np.random.default_rng(seed)
    folder = real_data / "cifar10"
    first = lzma.decompress((folder / "data_batch_1.first4000.bin.xz").read_bytes())
    test = np.frombuffer(
        lzma.decompress((folder / "test_subset_1000.bin.xz").read_bytes()), np.uint8
    ).reshape(1000, 3073)
    among = rng.permutation(np.concatenate([test, records(1000, rng)]))
    path = tmp_path / "cifar10" / "cifar-10-binary.tar.gz"
    path.parent.mkdir()
    path.write_bytes(
        archive(
            {
                "data_batch_1.bin": first + records(500, rng).tobytes(),
                "test_batch.bin": among.tobytes(),
            }
        )
    )
    list_sums(tmp_path, path)
    expected = loader.load("cifar10_4k", real_data).arrays
    for name, array in loader.load("cifar10_4k", tmp_path).arrays.items():
        np.testing.assert_array_equal(array, expected[name])


def test_cifar100_2k_of_the_archive_is_the_repacked_one(
    real_data: Path, tmp_path: Path, seed: int
) -> None:
    if not loader.available("cifar100_2k", real_data):
        pytest.skip(loader.missing_message("cifar100_2k", real_data))
    rng = np.random.default_rng(seed)
    contents = []
    for name, count in {"train_subset_2000": 2_000, "test_subset_1000": 1_000}.items():
        content = lzma.decompress((real_data / "cifar100" / f"{name}.bin.xz").read_bytes())
        kept = np.frombuffer(content, np.uint8).reshape(count, 3074)
        among = rng.permutation(np.concatenate([kept, fine_records(1_000, rng)]))
        contents.append(among.tobytes())
    write_cifar100(tmp_path, contents[0], contents[1])
    expected = loader.load("cifar100_2k", real_data).arrays
    for name, array in loader.load("cifar100_2k", tmp_path).arrays.items():
        np.testing.assert_array_equal(array, expected[name])


# ---- fetching ----------------------------------------------------------------------------------


@dataclass
class Served:
    """A folder served on loopback, and the paths asked for."""

    folder: Path
    url: str = ""
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    result = Served(tmp_path / "served")
    result.folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            result.asked.append(self.path)

    handler = functools.partial(Handler, directory=str(result.folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        result.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield result
        server.shutdown()
        thread.join()


@pytest.fixture
def tiny(served: Served, monkeypatch: pytest.MonkeyPatch, seed: int, tmp_path: Path) -> Path:
    """A data set `tiny` of MNIST's four files, whose first mirror is down; gives an empty root."""
    small_mnist(tmp_path / "made", seed)
    files = []
    for name in MNIST_FILES:
        content = (tmp_path / "made" / "mnist" / name).read_bytes()
        (served.folder / name).write_bytes(content)
        files.append(File(f"tiny/{name}", f"sha256:{hashlib.sha256(content).hexdigest()}"))
    mirrors = ("http://127.0.0.1:9/", served.url)
    form = Form(tuple(files), "images.mnist_idx", mirrors)
    monkeypatch.setitem(DATASETS, "tiny", Dataset("tiny", "", "", (form,)))
    return tmp_path / "root"


def test_fetch_takes_the_mirror_that_answers_then_nothing(tiny: Path, served: Served) -> None:
    paths = loader.fetch("tiny", tiny)
    assert [p.name for p in paths] == MNIST_FILES
    assert loader.verify("tiny", tiny).status == "ok"
    assert loader.load("tiny", tiny).arrays["train_images"].shape == (12, 28, 28)
    asked = len(served.asked)
    assert asked == 4
    assert loader.fetch("tiny", tiny) == paths
    assert len(served.asked) == asked


def test_workers_of_a_node_that_need_a_set_at_once_fetch_it_once(
    tiny: Path, served: Served
) -> None:
    with ThreadPoolExecutor(6) as workers:  # each opens the lock for itself, as processes do
        for done in [workers.submit(loader.fetch_once, "tiny", tiny) for _ in range(6)]:
            done.result()
    assert sorted(served.asked) == sorted(f"/{name}" for name in MNIST_FILES)
    assert loader.verify("tiny", tiny).status == "ok"


def test_what_is_there_is_not_fetched_again_and_damage_is_left_to_be_named(
    tiny: Path, served: Served
) -> None:
    paths = loader.fetch("tiny", tiny)
    paths[0].write_bytes(b"damaged")
    del served.asked[:]
    loader.fetch_once("tiny", tiny)
    assert served.asked == []
    with pytest.raises(DataError, match="is corrupt"):
        loader.load("tiny", tiny)


def test_a_node_that_cannot_be_written_says_so(tiny: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("no folder can be here")
    with pytest.raises(DataError, match="it could not be fetched there"):
        loader.fetch_once("tiny", blocked)


def test_fetch_from_a_mirror_of_ones_own(tiny: Path, served: Served) -> None:
    (served.folder / "mine").mkdir()
    for name in MNIST_FILES:
        (served.folder / name).rename(served.folder / "mine" / name)
    with pytest.raises(DataError, match="404"):
        loader.fetch("tiny", tiny)
    loader.fetch("tiny", tiny, mirror=f"{served.url}/mine")
    assert loader.verify("tiny", tiny).status == "ok"


def test_fetch_replaces_a_corrupt_file_and_no_other(tiny: Path, served: Served) -> None:
    paths = loader.fetch("tiny", tiny)
    paths[2].write_bytes(b"damaged")
    assert loader.verify("tiny", tiny).status == "corrupt"
    del served.asked[:]
    loader.fetch("tiny", tiny)
    assert served.asked == [f"/{MNIST_FILES[2]}"]
    assert loader.verify("tiny", tiny).status == "ok"


def test_fetch_keeps_nothing_that_is_not_canonical(tiny: Path, served: Served) -> None:
    (served.folder / MNIST_FILES[0]).write_bytes(b"<html>moved</html>")
    with pytest.raises(DataError, match="something else than the canonical file") as error:
        loader.fetch("tiny", tiny)
    assert_one_sentence(error)
    assert not [p for p in tiny.rglob("*") if p.is_file()]
    assert not loader.available("tiny", tiny)


def test_fetch_without_a_network(tiny: Path) -> None:
    with pytest.raises(DataError, match="check the network") as error:
        loader.fetch("tiny", tiny, mirror="http://127.0.0.1:9")
    assert_one_sentence(error)


def test_fetch_where_nothing_can_be_written(tiny: Path, tmp_path: Path) -> None:
    tiny.mkdir()
    (tiny / "tiny").write_text("a file where the folder should be")
    with pytest.raises(DataError, match="can be written") as error:
        loader.fetch("tiny", tiny)
    assert_one_sentence(error)
