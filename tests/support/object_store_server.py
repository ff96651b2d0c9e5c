"""An S3 API server for tests, a process of its own on loopback: moto's, which checks signatures
here, behind a front that counts requests and can be slow, out of order or away.

    TEST_KEY=... TEST_SECRET=... python -m tests.support.object_store_server    prints its port
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

BUCKET = "bucket"
ACCOUNT = "123456789012"


class Front:
    """The WSGI application. `/_control` takes JSON and answers with the requests seen since.

    Attributes:
      trouble: `delay`, seconds before each PUT is stored; `status`, an HTTP status in place of an
        answer; `drop`, to close each connection without one; `only`, a word: trouble for requests
        whose address has it and for no other; `times`: for how many requests, all if not given.
    """

    def __init__(self, application: Callable[..., Iterable[bytes]]):
        self.application = application
        self.trouble: dict[str, Any] = {}
        self.seen: list[str] = []
        self.lock = threading.Lock()

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        address = environ["PATH_INFO"]
        if environ.get("QUERY_STRING"):
            address += "?" + environ["QUERY_STRING"]
        if address == "/_control":
            body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            with self.lock:
                if body:
                    self.trouble = json.loads(body)
                seen, self.seen = self.seen, []
            start("200 OK", [("Content-Type", "application/json")])
            return [json.dumps(seen).encode()]
        method = environ["REQUEST_METHOD"]
        with self.lock:
            self.seen.append(f"{method} {address}")
            trouble = self.trouble if self.trouble.get("only", "") in address else {}
            if "times" in trouble:
                self.trouble = {**trouble, "times": trouble["times"] - 1}
                trouble = trouble if trouble["times"] > 0 else {}
        if trouble.get("drop"):
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            raise ConnectionAbortedError
        if trouble.get("status"):
            # What was sent must be read, or the next request on this connection would start in it.
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start(f"{trouble['status']} Trouble", [("Content-Length", "0")])
            return [b""]
        if method == "PUT":
            time.sleep(trouble.get("delay", 0))
        return self.application(environ, start)


def _application(key: str, secret: str) -> Callable[..., Iterable[bytes]]:
    """moto with one bucket and one user, whose signature it demands of every request."""
    from moto import settings
    from moto.iam.models import iam_backends
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from moto.s3.models import s3_backends

    users = iam_backends[ACCOUNT]["aws"]
    users.create_user("aws", "tests")
    pair = users.create_access_key("tests")
    pair.access_key_id, pair.secret_access_key = key, secret
    allowed = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
    policy = {"Version": "2012-10-17", "Statement": [allowed]}
    users.put_user_policy("tests", "everything", json.dumps(policy))
    s3_backends[ACCOUNT]["aws"].create_bucket(BUCKET, "us-east-1")
    settings.INITIAL_NO_AUTH_ACTION_COUNT = 0
    return DomainDispatcherApplication(create_backend_app)


def main() -> None:
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"

        def log(self, type: str, message: str, *args: Any) -> None:
            pass

    front = Front(_application(os.environ["TEST_KEY"], os.environ["TEST_SECRET"]))
    server = make_server("127.0.0.1", 0, front, threaded=True, request_handler=Quiet)
    print(server.port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
