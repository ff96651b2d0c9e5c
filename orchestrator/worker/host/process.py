"""The process that a host trainable runs in, seen from its worker and from inside.

Both talk over a socket: JSON texts and bytes, no pickles. The process has its own session and
ends with its worker, whatever ends that, and with it all that it has started.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from orchestrator.user_code import UserExitError, described, guarded, where
from orchestrator.worker.host.report import Message, Report, ReportError, TrialStopped
from orchestrator.worker.last_words import Found, LastWords, found

END_S = 10.0
"""How long a function that is asked to end may take to clean up."""

_THREADS = ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "VECLIB_MAXIMUM")
_BEGIN = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from orchestrator.worker.host.process import main; main(*map(int, sys.argv[2:]))"
)
_PACKAGES = {"cv2": "opencv-python", "PIL": "pillow", "sklearn": "scikit-learn", "yaml": "pyyaml"}
"""What to install for a module of another name."""


class HostError(UserExitError):
    """A host trainable ended otherwise than it should; the text says how and where.

    `missing`: a module of its own imports is not installed.
    """

    missing = False


class Returned(Exception):  # noqa: N818  # no error
    """The function has returned."""


class _TheirTraceback(Exception):  # noqa: N818  # no error by itself
    """The traceback of another process, as the cause of an exception here."""

    def __init__(self, text: str):
        super().__init__(text)

    def __str__(self) -> str:
        return f"in its process:\n{self.args[0]}"


class HostProcess:
    """A process that runs one trial's function."""

    def __init__(self, job: Mapping[str, Any], state: bytes, threads: int):
        """
        Args:
          job: what `main` needs; JSON.
          state: of a resume point, or empty.
          threads: CPU threads of libraries that ask OMP_NUM_THREADS and its like.
        """
        self.name = str(job["stage"])
        number, words = tempfile.mkstemp(prefix="gradsweep-words-")
        os.close(number)
        self._words = Path(words)
        job = {**job, "words": words}
        ours, theirs = socket.socketpair()
        # Only this process holds the writing end, so it closes with this process.
        watched, self._life = os.pipe()
        try:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    _BEGIN,
                    json.dumps(sys.path),
                    *map(str, (theirs.fileno(), watched)),
                ],
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), watched),
                start_new_session=True,
                env=os.environ | {f"{name}_NUM_THREADS": str(threads) for name in _THREADS},
            )
        finally:
            theirs.close()
            os.close(watched)
        self._line = Connection(ours.detach())
        self._ended = False
        with contextlib.suppress(OSError):  # it is gone already, which `message` finds
            self._line.send_bytes(json.dumps(job).encode())
            self._line.send_bytes(state)

    @property
    def pid(self) -> int:
        return self._process.pid

    def answer(self, what: Mapping[str, Any]) -> None:
        """Lets the function go on from its report, or tells it to end."""
        with contextlib.suppress(OSError):
            self._line.send_bytes(json.dumps(what).encode())

    def message(self, epoch: int) -> Message:
        """The function's next report; waits as long as it takes.

        Raises:
          Returned: it has returned.
          HostError: it raised, or its process ended.
        """
        try:
            head = json.loads(self._line.recv_bytes())
            if head["kind"] == "report":
                return {
                    **head,
                    "state": self._line.recv_bytes(),
                    "weights": self._line.recv_bytes(),
                }
        except (EOFError, OSError):
            raise HostError(f"{self.name}: {self._death()} in epoch {epoch}") from None
        if head["kind"] == "returned":
            raise Returned
        error = HostError(head["reason"])
        error.missing = head["missing"]
        raise error from _TheirTraceback(head["text"])

    def _death(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(END_S)
        status = self._process.returncode
        if status is None:
            return "its process closed its line to the worker"
        if status >= 0:
            return f"its process ended with status {status}"
        name = signal.Signals(-status).name if -status in set(signal.Signals) else str(-status)
        hint = " (kill -9, or the system had no memory left)" if name == "SIGKILL" else ""
        left = found(self._words)
        place = f" at {left.place}" if left is not None and left.place else ""
        return f"its process was killed by {name}{hint}{place}"

    def abort(self) -> Found | None:
        """Ends the process and says where it was."""
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            self._process.send_signal(signal.SIGABRT)
            self._process.wait(END_S)
        return found(self._words)

    def end(self, why: str | None = None) -> None:
        """Ends the process, and all that it has started. With a reason the function is told so and
        may clean up first."""
        if self._ended:
            return
        self._ended = True
        if why is not None:
            self.answer({"stop": why})
        elif self._process.poll() is None:
            self._kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(END_S)
        self._kill()
        self._process.wait()
        self._line.close()
        os.close(self._life)
        self._words.unlink(missing_ok=True)

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS, of a dead group
            os.killpg(self._process.pid, signal.SIGKILL)

    def __del__(self) -> None:
        if hasattr(self, "_ended"):
            with contextlib.suppress(Exception):  # Python itself may be ending
                self.end()


def main(line: int, life: int) -> None:
    """The process: runs the function of the trial that its worker sends."""
    _live_with(life)
    faulthandler.enable()
    channel = Connection(line)
    try:
        job = json.loads(channel.recv_bytes())
        state = channel.recv_bytes()
    except (EOFError, OSError):
        return
    with contextlib.suppress(OSError):  # a full disk: the log has them then
        LastWords(Path(job["words"]))
    last = _run(job, state, channel)
    sys.stdout.flush()
    with contextlib.suppress(OSError):
        channel.send_bytes(json.dumps(last).encode())


def _run(job: Mapping[str, Any], state: bytes, channel: Connection) -> dict[str, Any]:
    """Runs the function and gives the last word to its worker."""

    def talk(message: Message) -> Mapping[str, Any]:
        head = {n: v for n, v in message.items() if n not in ("state", "weights")}
        sys.stdout.flush()
        try:
            channel.send_bytes(json.dumps({"kind": "report", **head}).encode())
            channel.send_bytes(message["state"])
            channel.send_bytes(message["weights"])
            return json.loads(channel.recv_bytes())
        except (EOFError, OSError):
            return {"stop": "its worker is gone"}

    try:
        with guarded():
            stage = _stage(job)
            report = Report(
                job["config"], talk, job["columns"], job["epoch"], state, job["artifact"]
            )
            stage(dict(job["config"]), report)
    except TrialStopped:
        pass
    except Exception as error:
        text = "".join(traceback.format_exception(error))
        return {"kind": "error", "text": text, **reason_of(error)}
    return {"kind": "returned"}


def _stage(job: Mapping[str, Any]) -> Any:
    """The function of the trial's stage."""
    from orchestrator.plan.studies import catalogue
    from trainables.declarations.core.parts import loaded

    stage: Any = catalogue(job["study"], job["start"]).registry.find("stage", job["stage"])
    return loaded(stage.run)


def reason_of(error: BaseException) -> dict[str, Any]:
    """An exception of the function as its worker is told it: the reason in one line, and whether a
    module is missing."""
    missing = isinstance(error, ImportError)
    with_remedy(error)
    if isinstance(error, (ReportError, ModuleNotFoundError)):  # their texts say what they are
        return {"reason": f"{error}{where(error)}", "missing": missing}
    return {"reason": described(error), "missing": missing}


def with_remedy(error: BaseException) -> None:
    """Adds to the text of a module that is missing how to install it."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        top = error.name.partition(".")[0]
        error.msg = f"No module named {error.name}; pip install {_PACKAGES.get(top, top)}"


def _live_with(life: int) -> None:
    """Ends this process and all of its session when its worker's end of the pipe closes."""

    def watch() -> None:
        with contextlib.suppress(OSError):
            os.read(life, 1)
        os.killpg(os.getpgrp(), signal.SIGKILL)

    threading.Thread(target=watch, name="worker", daemon=True).start()
    mine = os.getpid()

    def asked_to_end(number: int, frame: Any) -> None:
        # Where all processes are told to end, the worker decides what becomes of the epoch.
        if os.getpid() != mine:  # one that the user's code has forked
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)

    signal.signal(signal.SIGTERM, asked_to_end)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
