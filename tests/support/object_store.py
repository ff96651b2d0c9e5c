"""Fixtures: a real S3 API server on loopback, and the environment in which it is found.

Needs nothing but pytest until a test asks for the server.
"""

from __future__ import annotations

import importlib.util
import json
import os
import secrets
import string
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@dataclass
class ObjectStore:
    """A server with one bucket. Its credentials are drawn anew, so they can be searched for."""

    port: int
    key: str
    secret: str

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def variables(self) -> dict[str, str]:
        """What a process needs to reach it."""
        return {
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    @property
    def environment(self) -> dict[str, str]:
        """This process's environment with `variables`, and none other of AWS."""
        ours = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        return ours | self.variables

    def trouble(self, **what: Any) -> None:
        """See `object_store_server.Front.trouble`; without arguments all is well again."""
        self._control(json.dumps(what).encode())

    def requests(self) -> list[str]:
        """Method and address of every request since the last call."""
        return self._control(None)

    def _control(self, body: bytes | None) -> list[str]:
        with urllib.request.urlopen(f"{self.endpoint}/_control", body, timeout=30) as answer:
            return json.loads(answer.read())


@pytest.fixture(scope="session")
def object_store_server() -> Iterator[ObjectStore]:
    """The server's process; skips the test where its libraries are missing."""
    for library in ("moto", "flask", "flask_cors"):
        if importlib.util.find_spec(library) is None:
            pytest.skip(f"{library} is not installed: no S3 server to test against")
    key = "AKIA" + "".join(secrets.choice(string.ascii_uppercase) for _ in range(16))
    # As real ones it has characters that a URL must escape.
    secret = f"{secrets.token_hex(9)}/{secrets.token_hex(9)}+x"
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.object_store_server"],
        cwd=ROOT,
        env={**os.environ, "TEST_KEY": key, "TEST_SECRET": secret},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield ObjectStore(int(process.stdout.readline()), key, secret)
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def object_store(
    object_store_server: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ObjectStore]:
    """The server, reachable from this process, without troubles."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in object_store_server.variables.items():
        monkeypatch.setenv(name, value)
    object_store_server.trouble()
    yield object_store_server
    object_store_server.trouble()
