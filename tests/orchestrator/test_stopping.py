"""Signals to processes that are asked to stop; each is a process of the test's own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator

import pytest

from orchestrator.stopping import SIGNALS, Stopped, Stopping, status_of

Start = Callable[[str], subprocess.Popen[str]]

BEGIN = """
import ctypes, os, signal, sys, threading, time
from orchestrator import stopping
from orchestrator.stopping import Stopped, Stopping

def blocked():
    "Waits in C, where no handler is called, until the test closes its end of the pipe."
    ctypes.CDLL(None).system(b"echo waiting; read _")

def wait():
    print("waiting", flush=True)
    while True:
        time.sleep(1)
"""


@pytest.fixture
def start() -> Iterator[Start]:
    """Runs a script until it says that it waits."""
    started: list[subprocess.Popen[str]] = []

    def run(script: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            ["env", "--default-signal=INT,HUP", sys.executable, "-c",
             BEGIN + textwrap.dedent(script)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        started.append(process)
        hear(process, "waiting")
        return process

    yield run
    for process in started:
        process.kill()
        process.wait()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        process.stdout.close()


def hear(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdout is not None
    assert process.stdout.readline().strip() == line


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    process.wait()
    assert process.stdin is not None
    process.stdin.close()
    assert process.stdout is not None
    return process.returncode, process.stdout.read().strip()


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_an_exception_with_its_status(start: Start, number: signal.Signals) -> None:
    process = start(
        """
        try:
            with Stopping():
                wait()
        except Stopped as stopped:
            print(stopped, stopped.number)
            sys.exit(stopping.status_of(stopped.number))
        """
    )
    process.send_signal(number)
    assert ended(process) == (128 + number, f"{number.name} {int(number)}")


def test_signals_that_come_together_are_one_wish(start: Start) -> None:
    """`timeout` signals its child, and then its child's group. One that comes later is another."""
    process = start(
        """
        stopping.AGAIN_S = 3600
        with Stopping() as stop:
            try:
                wait()
            except Stopped:
                print("first", flush=True)
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGINT)
            assert not stop.at_once
            stopping.AGAIN_S = 0
            print("not again", stop.number, flush=True)
            signal.raise_signal(signal.SIGINT)  # now it ends at once, with the first one's status
            print("too late")
        """
    )
    process.send_signal(signal.SIGTERM)
    assert ended(process) == (143, "first\nnot again 15")


def test_a_gentle_end_is_asked_for_first(start: Start) -> None:
    process = start(
        """
        stopping.AGAIN_S = 0
        with Stopping() as stop:
            stop.gently(patient=False)
            print("waiting", flush=True)
            while stop.number is None:
                time.sleep(0.01)
            print("asked", stop.at_once, flush=True)
            while not stop.at_once:
                time.sleep(0.01)
            print("at once", stop.number, flush=True)
            wait()
        """
    )
    process.send_signal(signal.SIGHUP)
    hear(process, "asked False")
    process.send_signal(signal.SIGINT)
    hear(process, "at once 1")
    hear(process, "waiting")
    process.send_signal(signal.SIGINT)
    assert ended(process) == (129, "")


def test_who_waits_in_c_ends_all_the_same(start: Start) -> None:
    process = start(
        """
        stopping.LAST_S = 0.5
        with Stopping() as stop:
            stop.at_last += [lambda: print("last", flush=True), lambda: 1 / 0]
            blocked()
        """
    )
    process.send_signal(signal.SIGTERM)
    assert ended(process) == (143, "last")


def test_an_ignored_signal_stays_ignored(start: Start) -> None:
    """As under `nohup`."""
    process = start(
        """
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        with Stopping() as stop:
            signal.raise_signal(signal.SIGHUP)
            assert stop.number is None
            wait()
        """
    )
    process.send_signal(signal.SIGTERM)
    assert ended(process)[0] == 1  # a Stopped that nobody catches


def test_a_forked_process_is_ended_as_any_other(start: Start) -> None:
    """Its signals are none of its parent's."""
    process = start(
        """
        stopping.LAST_S = 0.5
        with Stopping() as stop:
            print("waiting", flush=True)
            child = os.fork()
            if not child:
                while True:
                    time.sleep(1)
            os.kill(child, signal.SIGTERM)
            _, how = os.waitpid(child, 0)
            print(os.waitstatus_to_exitcode(how), stop.number, flush=True)
            stop._over.wait(1)  # longer than a process may take that is asked to stop
        """
    )
    assert ended(process) == (0, "-15 None")


def test_handlers_are_given_back() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    descriptor = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(descriptor)
    with Stopping() as stop:
        assert [signal.getsignal(number) for number in SIGNALS] != before
    assert [signal.getsignal(number) for number in SIGNALS] == before
    assert signal.set_wakeup_fd(descriptor) == descriptor
    assert stop.number is None
    assert issubclass(Stopped, KeyboardInterrupt)
    assert status_of(signal.SIGINT) == 130
    assert os.getpid()
