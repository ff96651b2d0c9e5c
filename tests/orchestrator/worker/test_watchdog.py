"""A trial that takes too long is named while it still hangs, and only then."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from orchestrator.worker import last_words
from orchestrator.worker.watchdog import Watchdog, late_reason

HANGING = """
def wait(event):
    event.wait()  # line 3
"""


def user_module(folder: Path) -> ModuleType:
    """A module in a file that is neither ours nor a library's."""
    (folder / "hanging.py").write_text(HANGING)
    spec = importlib.util.spec_from_file_location("hanging", folder / "hanging.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Watched:
    """A watchdog that ends no process but lets what hangs go on."""

    def __init__(self, limit: float):
        self.hang = threading.Event()
        self.seen: list[str] = []
        self.stacks = ""
        self.dog = Watchdog(limit, self.late, end=self.end)

    def late(self, reason: str, stacks: str) -> None:
        self.hang.set()  # what hangs wakes too early, and must wait all the same
        self.seen.append(reason)
        self.stacks = stacks

    def end(self, status: int) -> None:
        self.seen.append(f"ended {status}")


def test_what_is_late_is_named_by_the_users_line_before_it_goes_on(tmp_path: Path) -> None:
    watched, module = Watched(600), user_module(tmp_path)
    with watched.dog.within("training epoch 3", 0.05):
        module.wait(watched.hang)
    watched.seen.append("left")
    place = f"({tmp_path / 'hanging.py'}:3)"
    late = f"still training epoch 3 after 10 min, the --trial-timeout {place}"
    assert watched.seen == [late, "ended 1", "left"]
    assert "event.wait()  # line 3" in watched.stacks


def test_what_hangs_in_another_thread_is_found(tmp_path: Path) -> None:
    """As a callback that XLA calls."""
    watched, module = Watched(5), user_module(tmp_path)
    other = threading.Thread(target=module.wait, args=(watched.hang,))
    other.start()
    code = "with dog.within('training epoch 0', 0.05): other.join()"  # is in no file
    names = {"dog": watched.dog, "other": other}
    main = threading.Thread(target=exec, args=(code, names))
    main.start()
    main.join()
    assert watched.seen[0].endswith(f"the --trial-timeout ({tmp_path / 'hanging.py'}:3)")


def test_an_earlier_end_than_the_last_is_heard() -> None:
    watched = Watched(5)
    with watched.dog.within("compiling", 1000):
        pass
    with watched.dog.within("training epoch 0", 0.05):
        watched.hang.wait()
    assert watched.seen[0].startswith("still training epoch 0 after 5 s, the --trial-timeout")
    assert watched.seen[1:] == ["ended 1"]


def test_what_ends_in_time_is_left_alone() -> None:
    watched = Watched(5)
    for epoch in range(100):
        with watched.dog.within(f"training epoch {epoch}", 1000):
            pass
    thread = watched.dog._thread
    assert thread is not None
    watched.dog.close()
    thread.join()
    assert watched.seen == []


def test_time_that_is_used_up_ends_at_once() -> None:
    watched = Watched(5)
    with watched.dog.within("measuring after epoch 1", -3):
        watched.hang.wait()
    assert watched.seen[0].startswith("still measuring after epoch 1 after 5 s")


DYING = """
import sys
from pathlib import Path
from orchestrator.worker.last_words import LastWords

words = LastWords(Path(sys.argv[1]))
with words.within("building model and data", 1000):
    pass
with words.within("compiling", 0.1 if sys.argv[2] == "hang" else 1000):
    import ctypes
    def in_c():
        if sys.argv[2] == "hang":
            ctypes.PyDLL(None).sleep(1000)  # holds Python's lock
        ctypes.string_at(0)
    in_c()
"""


def line_of(text: str) -> int:
    return 1 + next(n for n, line in enumerate(DYING.splitlines()) if text in line)


@pytest.mark.parametrize(
    ("how", "check"),
    [
        ("hang", lambda found: found.late and found.fatal == ""),
        ("crash", lambda found: not found.late and found.fatal == "Segmentation fault"),
    ],
)
def test_a_process_that_dies_in_c_leaves_where_it_was(
    how: str, check: Callable[[last_words.Found], bool], tmp_path: Path
) -> None:
    script, left = tmp_path / "dying.py", tmp_path / "left"
    script.write_text(DYING)
    words = [sys.executable, str(script), str(left), how]
    done = subprocess.run(words, check=False, stderr=subprocess.PIPE)
    assert done.returncode != 0
    found = last_words.found(left)
    assert found is not None
    assert check(found)
    assert found.doing == "compiling"
    at = line_of("PyDLL" if how == "hang" else "string_at")
    assert found.place == f"{script}:{at}"
    assert "in_c" in found.text


def test_a_process_that_goes_on_leaves_nothing(tmp_path: Path) -> None:
    left = tmp_path / "left"
    text = (
        "from pathlib import Path\n"
        "from orchestrator.worker.last_words import LastWords, found\n"
        f"path = Path({str(left)!r})\n"
        "words = LastWords(path)\n"
        "with words.within('compiling', 1000): pass\n"
        "assert path.read_text() == 'compiling\\n' and found(path) is None\n"
        "words.close()\n"
    )
    subprocess.run([sys.executable, "-c", text], check=True)
    assert not left.exists()
    assert last_words.found(left) is None


def test_the_reason_says_what_and_how_long() -> None:
    assert late_reason("compiling", 90, "") == "still compiling after 90 s, the --trial-timeout"
