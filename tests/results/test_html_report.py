"""The report of many trials: config columns, and a script that sorts and filters them."""

from __future__ import annotations

import html
import json
import math
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pytest

from results import Store
from results.html_report import report
from results.trial_table import trial_table
from tests.support.made_up_rows import publish_rows, space_of, trial_rows

COUNT = 700


def loss_of(i: int) -> float:
    return math.nan if i == 3 else math.inf if i == 5 else 1 / (1 + i)


@pytest.fixture(scope="module")
def store(new_store: Callable[[], Store]) -> Store:
    made = new_store()
    ids = [f"{i * 7919 % 65536:04x}".ljust(16, "0") for i in range(COUNT)]
    rates = {0: 0.99999, 1: 0.9999901}
    publish_rows(made, [
        trial_rows(
            trial, [1.0, loss_of(i)], loss_unit="nats",
            config={"lr": rates.get(i, 10.0 ** -(i % 3)), "init": ("he", "<b>")[i % 2],
                    "clip_norm": None if i % 2 else 1.0, "seed": i, "depth": 2},
        )
        for i, trial in enumerate(ids)
    ])  # fmt: skip
    swept = ["clip_norm", "init", "lr", "seed"]
    keys = {"lr": {"unit": "1/step"}}
    made.write_space("demo/many", space_of(
        [*ids, "ffff" * 4], space="many", swept=swept, keys=keys, figures=["mine"],
        select={"metric": "loss", "over": "seed", "choose": "lr"},
    ))  # fmt: skip
    return made


def cells(table: str) -> list[list[str]]:
    rows = re.findall(r"<tr>(.*?)</tr>", table.partition("<tbody>")[2], re.DOTALL)
    return [re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL) for row in rows]


def test_every_trial_stands_with_the_keys_that_vary(store: Store) -> None:
    table = trial_table(store, store.spaces()["demo/many"])
    heads = re.findall(r"<th><button>(.*?)</button></th>", table)
    assert heads[:6] == ["trial id", "clip_norm", "init", "lr (1/step)", "seed", "status"]
    assert {"loss end (nats)", "epochs done", "largest norm (nats/param)"} <= {*heads}
    assert "depth" not in heads
    found = {row[0]: row for row in cells(table)}
    assert len(found) == COUNT + 1
    first, second = (next(r for r in found.values() if r[4] == seed) for seed in ("0", "1"))
    assert (first[3], second[3]) == ("0.99999", "0.9999901"), "told apart"
    assert (first[1:3], second[1:3]) == (["1", "he"], ["", "&lt;b&gt;"])
    assert found["ffff" * 4][5] == "not started"
    assert '<option value="=&lt;b&gt;">' in table
    assert '<select data-column="4">' not in table, "of many values words are typed"


def test_a_users_figure_and_no_network(store: Store, tmp_path: Path) -> None:
    def mine(store: Store, space: Any, trial: str | None) -> go.Figure:
        return go.Figure(go.Scatter(y=[1], name="my own line"))

    text = report(
        store, "demo/many", output=tmp_path / "a.html", figures={"mine": mine}
    ).read_text()
    assert "my own line" in text
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=", text)
    best = text.partition("<h2>Best</h2>")[2].partition("<h2>")[0]
    assert cells(best)[0][:3] == ["", "&lt;b&gt;", "1"], "null is nothing, not nan"
    bare = report(store, "demo/many", output=tmp_path / "b.html").read_text()
    assert "mine is a figure of a study file of yours; give --study FILE." in bare


ACT = """
<script>
const box = document.querySelector(".trials"), log = [];
const rows = () => [...box.querySelectorAll("tbody tr")].filter((r) => !r.hidden);
const click = (n) => box.querySelectorAll("th button")[n].click();
const column = (n, rs) => rs.slice(0, 3).concat(rs.slice(-2)).map((r) => r.cells[n].textContent);
const heads = [...box.querySelectorAll("th")].map((h) => h.textContent);
const loss = heads.indexOf("loss end (nats)");
click(4); log.push(column(4, rows())); click(4); log.push(column(4, rows()));
click(loss); log.push(column(loss, rows()));
const [pick] = box.querySelectorAll("select[data-column='2']");
pick.value = "=<b>"; pick.dispatchEvent(new Event("change"));
log.push([rows().length, box.querySelector("output").textContent]);
const search = box.querySelector("input");
search.value = "0.9999901"; search.dispatchEvent(new Event("input"));
log.push([rows().length, rows()[0].cells[4].textContent]);
search.value = ""; pick.value = "*"; pick.dispatchEvent(new Event("change"));
log.push([rows().length, document.documentElement.scrollWidth <= window.innerWidth]);
const done = document.createElement("pre");
done.id = "log"; done.textContent = JSON.stringify(log); document.body.append(done);
</script>
"""


def test_a_browser_sorts_and_filters(store: Store, tmp_path: Path) -> None:
    """Wherever there is a Chromium."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        pytest.skip("no Chromium on this machine")
    page = report(store, "demo/many", output=tmp_path / "a.html", figures={})
    page.write_text(page.read_text().replace("</body>", f"{ACT}</body>"))
    done = subprocess.run(
        [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/u",
         "--window-size=1400,900", "--dump-dom", f"file://{page}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    (log,) = re.findall(r'<pre id="log">(.*?)</pre>', done.stdout)
    last = COUNT - 1
    assert json.loads(html.unescape(log)) == [
        ["0", "1", "2", str(last), ""],
        [str(last), str(last - 1), str(last - 2), "0", ""],
        ["0.001429", "0.001431", "0.001433", "1", ""],
        [COUNT // 2, f"{COUNT // 2} of {COUNT + 1} trials"],
        [1, "1"],
        [COUNT + 1, True],
    ]
