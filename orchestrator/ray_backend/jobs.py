"""Launches as jobs on a cluster: the driver runs on the head, and no laptop need stay open."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shlex
import signal
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.errors import RequestError
from orchestrator.machine.scratch import launch_folder
from orchestrator.stopping import status_of

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

STOP_S = 3600
"""How long a stopped launch may take to end its epoch and keep everything; then Ray kills it."""

PATIENCE_S = 60.0
"""How long a head may take to be ready for jobs."""

_OURS = "gradsweep"
"""Key of a job's metadata that says which space it launches."""


def is_job_server(address: str | None) -> bool:
    """Whether an address is that of a cluster's job server, and not of its Ray."""
    return bool(address) and str(address).startswith(("http://", "https://"))


def runs_as_job(address: str | None, detach: bool) -> bool:
    """Whether a launch with these options is a job of the cluster.

    Raises:
      RequestError: it is to be left alone, and the address is not that of a job server.
    """
    if detach and not is_job_server(address):
        raise RequestError(
            "--detach starts a job on a cluster; name its job server, e.g. --address "
            "http://127.0.0.1:8265 while `ray dashboard cluster.yaml` is open"
        )
    return is_job_server(address)


def words_of(options: Mapping[str, Any]) -> list[str]:
    """Options of a launch as words of its command line; without those that are not given."""
    words: list[str] = []
    for name, value in options.items():
        flag = f"--{name.replace('_', '-')}"
        for one in value if isinstance(value, (list, tuple)) else [value] if value else []:
            words += [flag] if one is True else [flag, str(one)]
    return words


def run_job(
    address: str,
    space: str,
    store: str,
    words: Sequence[str],
    study: str | None,
    detach: bool,
    say: Callable[[str], None],
) -> tuple[str, int]:
    """Starts a launch as a job and follows it unless `detach`: its id, and its exit status."""
    job = submit(address, space, store, words, study)
    if detach:
        say(job)
        return job, 0
    say(f"job {job} at {address}; Ctrl-C stops it after the epoch under way")
    try:
        return job, follow(address, job, say)
    except KeyboardInterrupt:
        stop(address, job)
        say("stopping; Ctrl-C again leaves the job to itself")
        return job, follow(address, job, say)


def submit(address: str, space: str, store: str, words: Sequence[str], study: str | None) -> str:
    """Starts `gradsweep launch` as a job on the cluster and returns its id.

    Args:
      words: of the launch, without address, store and study.
      store: a URI, or a path that all nodes mount.

    Raises:
      RequestError: nothing answers there, or the store is a path of this machine only.
    """
    from orchestrator.ray_backend.cluster import baggage
    from orchestrator.ray_backend.code_bundle import carried_study

    if "://" not in store and not Path(store).is_absolute():
        raise RequestError(
            f"--store {store} is a folder of this machine; a job needs s3://, gs:// or the "
            "absolute path of a folder that every node mounts"
        )
    command = ["python", "-m", "orchestrator", "launch", space, "--store", store]
    command += ["--address", "auto", *words]
    if study is not None:
        command += ["--study", carried_study(study)]
    with _client(address) as client, launch_folder() as folder:
        environment = baggage(folder, study)
        environment["env_vars"] |= {
            "PYTHONUNBUFFERED": "1",
            "RAY_JOB_STOP_WAIT_TIME_S": str(STOP_S),
        }
        end = time.monotonic() + PATIENCE_S
        while True:
            try:
                return client.submit_job(
                    # Without exec the signal that stops a job would reach a shell first.
                    entrypoint="exec " + shlex.join(command),
                    runtime_env=environment,
                    metadata={_OURS: space, "store": store},
                )
            except RuntimeError as error:
                # So says a head that has just started.
                if "No available agent" not in str(error) or time.monotonic() > end:
                    raise
                time.sleep(2)


def listing(address: str) -> list[dict[str, Any]]:
    """Our jobs at an address, newest first: job, status, space, store, started, ended."""
    with _client(address) as client:
        found = [job for job in client.list_jobs() if _OURS in (job.metadata or {})]
    rows = []
    for job in sorted(found, key=lambda job: job.start_time or 0, reverse=True):
        metadata = job.metadata or {}
        rows.append(
            {
                "job": job.submission_id,
                "status": job.status.value.lower(),
                "space": metadata[_OURS],
                "store": metadata.get("store"),
                "started": _moment(job.start_time),
                "ended": _moment(job.end_time),
            }
        )
    return rows


def _moment(milliseconds: int | None) -> datetime | None:
    return datetime.fromtimestamp(milliseconds / 1000, UTC) if milliseconds else None


def find(address: str, job: str | None) -> str:
    """The id of the job with this prefix; of the newest if None.

    Raises:
      RequestError: none, or several.
    """
    known = [row["job"] for row in listing(address)]
    matches = [name for name in known if name.startswith(job or "")]
    if job is None:
        matches = matches[:1]
    if len(matches) != 1:
        which = f"job {job}" if job else "launch"
        what = "several jobs start so" if matches else f"there is no {which} at {address}"
        raise RequestError(f"{what}; `gradsweep status --address {address}` lists them")
    return matches[0]


def logs(address: str, job: str) -> str:
    """All that a job has printed so far."""
    with _client(address) as client:
        return client.get_job_logs(job)


def follow(address: str, job: str, say: Callable[[str], None]) -> int:
    """Prints what a job prints until it ends; returns its launch's exit status."""
    with _client(address) as client:

        async def tail() -> None:
            async for text in client.tail_job_logs(job):
                say(text.rstrip("\n"))

        _await(tail())
        # The log may end before the job does: a launch that is stopped keeps everything first.
        while not (info := client.get_job_info(job)).status.is_terminal():
            time.sleep(1)
    if info.driver_exit_code is not None:
        return info.driver_exit_code
    # Ray asks a job to stop by SIGTERM, and keeps no exit status of it.
    ended = {"SUCCEEDED": 0, "STOPPED": status_of(signal.SIGTERM)}
    return ended.get(info.status.value, 1)


def _await(work: Coroutine[Any, Any, None]) -> None:
    """Runs it to its end, in a thread where this one has a loop already, as a notebook's has."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(work)
        return
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, work).result()


def stop(address: str, job: str) -> None:
    """Asks a job's launch to end after the epoch under way, as Ctrl-C does."""
    with _client(address) as client:
        client.stop_job(job)


@contextlib.contextmanager
def _client(address: str) -> Iterator[JobSubmissionClient]:
    try:
        from ray.job_submission import JobSubmissionClient

        logging.disable(logging.INFO)  # Ray tells of each package that it makes and sends
        yield JobSubmissionClient(address)
    except ImportError as error:
        raise RequestError(
            f"jobs need Ray's job client ({error}); install the extra `cluster`"
        ) from error
    except (ConnectionError, RuntimeError, ValueError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise RequestError(
            f"the job server at {address} says: {lines[0]}; check the address, the tunnel to it "
            "(ray dashboard) and that this shell has the cluster's token (RAY_AUTH_MODE=token)"
        ) from error
    finally:
        logging.disable(logging.NOTSET)
