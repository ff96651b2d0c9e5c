"""The board's server: on the loopback address alone."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from results.board import require_extra
from results.errors import StoreError

if TYPE_CHECKING:
    from werkzeug.serving import BaseWSGIServer

    from results.board.page import Importance
    from results.store.store import Store

HOST = "127.0.0.1"


@dataclass(frozen=True)
class BoardServer:
    """A server that listens already.

    Attributes:
      address: what to open in a browser, with the token.
    """

    address: str
    server: BaseWSGIServer

    def run(self) -> None:
        """Answers until `close`."""
        self.server.serve_forever()

    def close(self) -> None:
        """Ends `run` and frees the port."""
        self.server.shutdown()
        self.server.server_close()


def make_server(
    stores: Iterable[Store],
    port: int = 0,
    token: str | None = None,
    importance: Importance | None = None,
) -> BoardServer:
    """A board over some stores, which it only reads.

    Args:
      port: 0 for a free one.
      token: what the address must carry; a new one if None.
      importance: how much each key of a table of trials matters, if that is to be shown.

    Raises:
      StoreError: the extra `board` is not installed, or the port is taken.
    """
    require_extra()
    import flask
    from werkzeug.serving import WSGIRequestHandler
    from werkzeug.serving import make_server as listen

    from results.board.app import board_app
    from results.board.guard import protect
    from results.board.stores import Stores

    class Quiet(WSGIRequestHandler):
        def log(self, type: str, message: str, *args: object) -> None:
            """Says nothing of each request: its address may hold the token."""

    flasks = flask.Flask("gradsweep-board")
    app = board_app(Stores(stores), flasks, importance)
    try:
        server = listen(HOST, port, app.server, threaded=True, request_handler=Quiet)
    except (OSError, SystemExit, OverflowError) as error:
        raise StoreError(f"port {port} of {HOST} is not free; give another --port.") from error
    token = token or secrets.token_urlsafe(24)
    protect(flasks, token, server.server_port)
    return BoardServer(f"http://{HOST}:{server.server_port}/?token={token}", server)
