"""The board's server: who may ask it, and what the address says."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator

import pytest

from results import Store, StoreError
from results.board.address import Address
from tests.support.made_up_rows import publish_trial, space_of

pytest.importorskip("dash", reason="needs the extra board")

from results.board.server import BoardServer, make_server
from results.board.stores import Stores, short_names


@pytest.fixture(scope="module")
def served(new_store: Callable[[], Store]) -> Iterator[BoardServer]:
    store = new_store()
    publish_trial(store, "a" * 16, [1.0, 0.5])
    store.write_space("demo/grid", space_of(["a" * 16]))
    made = make_server([store], token="right")
    thread = threading.Thread(target=made.run)
    thread.start()
    yield made
    made.close()
    thread.join()


def ask(served: BoardServer, path: str, **headers: str) -> tuple[int, dict[str, str], str]:
    port = served.server.server_port
    line = http.client.HTTPConnection("127.0.0.1", port)
    line.request("GET", path, headers={"Host": f"127.0.0.1:{port}", **headers})
    answer = line.getresponse()
    text = answer.read().decode()
    line.close()
    return answer.status, dict(answer.headers), text


def test_only_who_has_the_token_gets_in(served: BoardServer) -> None:
    assert served.server.host == "127.0.0.1"
    assert served.address.endswith("/?token=right")
    for path in ("/", "/?token=wrong", "/_dash-layout", "/assets/board.css", "/?token="):
        status, _, text = ask(served, path)
        assert (status, "token" in text) == (403, True), path
    status, headers, _ = ask(served, "/curves?metric=loss&token=right&by=a&by=b")
    assert (status, headers["Location"]) == (302, "/curves?metric=loss&by=a&by=b")
    cookie = headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    status, headers, text = ask(served, "/curves", Cookie=cookie.split(";")[0])
    assert status == 200
    assert "_dash-config" in text
    assert "default-src 'self'" in headers["Content-Security-Policy"]
    status, _, _ = ask(served, "/", Cookie=cookie.split(";")[0], Host="elsewhere.example")
    assert status == 403  # a foreign name that leads to this machine


def test_a_taken_port_is_named(served: BoardServer, store: Store) -> None:
    with pytest.raises(StoreError, match=rf"port {served.server.server_port} .* is not free"):
        make_server([store], served.server.server_port)


def test_an_address_says_what_is_shown_and_survives_a_round_trip() -> None:
    at = Address.read("/curves", "?by=lr&by=init&metric=a%20%26%20b&log=")
    assert at.several("by", ["seed"]) == ["lr", "init"]
    assert at.several("log", ["x"]) == []  # none, by choice
    assert at.several("band", ["x"]) == ["x"]  # not said
    assert Address.read("/curves", at.search) == at
    changed = at.changed({"by": [], "metric": None, "smooth": 3})
    assert changed.search == "?by=&log=&smooth=3"
    assert at.changed({"theme": "dark"}).elsewhere("trials").href == "/trials?theme=dark"


def test_stores_are_named_apart_and_asked_again_only_after_a_change(
    new_store: Callable[[], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = new_store(), new_store()
    stores = Stores([first, second])
    with pytest.raises(StoreError, match=r"no store here is called 'stor'; there are "):
        stores.chosen(Address("trials", {"store": ("stor",)}))
    monkeypatch.setattr("results.board.stores.LISTED_S", 0.0)
    shown = next(iter(stores.all.values()))
    publish_trial(first, "a" * 16, [1.0])
    sql, before = "SELECT count(*) AS n FROM trials", shown.version()
    kept = shown.ask(sql)
    assert shown.ask(sql) is kept
    assert shown.version() == before
    publish_trial(first, "b" * 16, [1.0])
    assert shown.version() != before
    assert (kept.rows(), shown.ask(sql).rows()) == ([{"n": 1}], [{"n": 2}])
    with pytest.raises(StoreError, match="one SELECT"):
        shown.ask("DROP TABLE trials")


def test_stores_have_the_shortest_names_that_tell_them_apart() -> None:
    uris = ["/a/x/store", "s3://b/y/store/", "/c/runs", "/c/runs"]
    assert short_names(uris) == ["x/store", "y/store", "runs", "runs-2"]
