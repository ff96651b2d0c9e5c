"""Who may ask a board: whoever was given the address with its token, from this machine."""

from __future__ import annotations

import secrets
from urllib.parse import urlencode

import flask

# Pages load nothing from elsewhere. Dash and Plotly write scripts and styles into the page.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "worker-src 'self' blob:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
_REFUSED = (
    "This board needs its token: open the address that `gradsweep board` printed, "
    "which ends in ?token=...\n"
)


def protect(server: flask.Flask, token: str, port: int) -> None:
    """Refuses whatever comes without the token, and whatever was sent to another host's name.

    The token is taken out of the address and kept in a cookie that no other site can send.
    """
    cookie = f"gradsweep-board-{port}"  # cookies do not distinguish ports
    hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}

    def known(text: str | None) -> bool:
        return secrets.compare_digest((text or "").encode(), token.encode())

    @server.before_request
    def check() -> flask.Response | None:
        request = flask.request
        if request.host not in hosts:  # a name of another site that leads here
            return flask.Response("unknown host\n", 403, mimetype="text/plain")
        if known(request.args.get("token")):
            rest = [(k, v) for k, v in request.args.items(multi=True) if k != "token"]
            place = request.path + ("?" + urlencode(rest) if rest else "")
            answer = flask.Response(status=302, headers={"Location": place})
            answer.set_cookie(cookie, token, httponly=True, samesite="Strict")
            return answer
        if known(request.cookies.get(cookie)):
            return None
        return flask.Response(_REFUSED, 403, mimetype="text/plain")

    @server.after_request
    def tell(response: flask.Response) -> flask.Response:
        response.headers["Content-Security-Policy"] = _POLICY
        response.headers["Referrer-Policy"] = "no-referrer"
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response
