"""The board in a real Chromium: what it shows equals what the same SQL answers."""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from results import Store
from results.board.questions import curves, trials
from tests.support.board_sweep import SPACE, fill, trial_id
from tests.support.made_up_rows import publish_trial

pytest.importorskip("dash", reason="needs the extra board")
playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright")

pytestmark = pytest.mark.slow

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
WAIT_MS = 60_000


@pytest.fixture(scope="module")
def store(new_store: Callable[[], Store]) -> Store:
    return fill(new_store())


@pytest.fixture(scope="module")
def address(store: Store) -> Iterator[str]:
    from results.board import app, stores
    from results.board.server import make_server

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(app, "REFRESH_MS", 200)
        patch.setattr(stores, "LISTED_S", 0.0)
        made = make_server([store])
        thread = threading.Thread(target=made.run)
        thread.start()
        yield made.address
        made.close()
        thread.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip("no Chromium on this machine")
    playwright.expect.set_options(timeout=WAIT_MS)
    with playwright.sync_playwright() as driver:
        # Some machines, and every container without user namespaces, have no sandbox.
        made = driver.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        yield made
        made.close()


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    """An open board. Whatever the browser complains of, or asks of another host, is an error."""
    wrong: list[str] = []
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    opened = context.new_page()
    opened.set_default_timeout(WAIT_MS)
    host = urlsplit(address).netloc
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("console", lambda m: wrong.append(m.text) if m.type == "error" else None)
    opened.on("request", lambda r: wrong.append(r.url) if _foreign(r.url, host) else None)
    opened.goto(address)
    yield opened
    context.close()
    assert wrong == []


def _foreign(url: str, host: str) -> bool:
    found = urlsplit(url)
    return found.scheme in ("http", "https") and found.netloc != host


def texts(page: Any, grid: str, column: str) -> list[str]:
    """A column of a table, from top to bottom."""
    rows = page.locator(f"[aria-label={grid}] .ag-center-cols-container .ag-row")
    cells = [
        (int(row.get_attribute("row-index")), row.locator(f"[col-id='{column}']").inner_text())
        for row in rows.all()
    ]
    return [text for _, text in sorted(cells)]


def rows_of(page: Any, grid: str) -> Any:
    return page.locator(f"[aria-label={grid}] .ag-center-cols-container .ag-row")


def shown(value: float | int | None) -> str:
    """A number as the board's tables show it."""
    return "" if value is None else str(value) if isinstance(value, int) else f"{value:.4g}"


def test_from_a_sweep_to_its_trials_filtered_compared_and_grouped(page: Any, store: Store) -> None:
    expect = playwright.expect
    page.get_by_role("link", name=SPACE).click()
    expect(rows_of(page, "trials")).to_have_count(7)
    asked = store.query_user(trials.trials(SPACE, ["lr", "seed"], ["loss"], True)).rows()
    assert texts(page, "trials", "trial_id") == [row["trial_id"] for row in asked]
    assert texts(page, "trials", "verdict") == [row["verdict"] or "" for row in asked]
    assert texts(page, "trials", "loss")[:2] == [shown(row["loss"]) for row in asked[:2]]

    page.locator("[aria-label=trials] [col-id=status] .ag-header-cell-filter-button").click()
    page.locator(".ag-filter input[type=text]").first.fill("diverged")
    expect(rows_of(page, "trials")).to_have_count(1)
    page.wait_for_url(re.compile("filter="))
    page.reload()  # the address alone brings the view back
    expect(rows_of(page, "trials")).to_have_count(1)
    assert texts(page, "trials", "trial_id") == [trial_id(0.5, 2)]

    page.goto(page.url.partition("?")[0])
    boxes = page.locator("[aria-label=trials] .ag-row .ag-selection-checkbox input")
    expect(boxes).to_have_count(7)
    boxes.nth(0).click()
    expect(page.get_by_text("1 selected:")).to_be_visible()
    boxes.nth(1).click()
    expect(rows_of(page, "difference")).to_have_count(1)
    assert texts(page, "difference", "key") == ["seed"]

    page.get_by_role("group", name="Group by").get_by_role("button").first.click()
    page.get_by_role("option", name="lr", exact=True).click()
    page.keyboard.press("Escape")
    page.wait_for_url(re.compile("by=lr"))
    expect(rows_of(page, "groups")).to_have_count(3)  # one is of the trial that has not started
    groups = store.query_user(trials.groups(SPACE, ["lr"], ["loss"])).rows()
    for column in ("trials", "diverged", "loss_median"):
        assert texts(page, "groups", column) == [shown(row[column]) for row in groups]
    page.go_back()
    expect(rows_of(page, "trials")).to_have_count(7)


def test_curves_are_those_of_the_query_and_follow_what_is_published(
    page: Any, store: Store
) -> None:
    page.goto(page.url.partition("?")[0].rstrip("/") + "/curves?by=lr&metric=loss&band=range")
    sql = curves.curves(SPACE, "loss", "epoch", ["lr"], "range")

    def drawn() -> list[list[float]]:
        page.wait_for_selector(".js-plotly-plot .scatterlayer", state="attached")
        return page.evaluate(
            "[...document.querySelector('.js-plotly-plot').calcdata]"
            ".filter(c => c[0].trace.mode === 'lines' && c[0].trace.line.width === 2)"
            ".map(c => c.map(p => p.y))"
        )

    def asked() -> list[list[float]]:
        found: dict[float, list[float]] = {}
        for row in store.query_user(sql).rows():
            found.setdefault(row["lr"], []).append(row["median"])
        return list(found.values())

    before = asked()
    assert drawn() == before
    publish_trial(store, "f" * 16, [9.0, 8.0, 7.0], config={"lr": 0.1, "seed": 9})
    cell = page.locator("[aria-label=curve-groups] .ag-row [col-id=trials]").first
    playwright.expect(cell).to_have_text("4")  # without anybody's doing
    after = asked()
    assert before != after
    assert drawn() == after


def test_a_click_on_the_verdict_map_leads_to_a_trial(page: Any) -> None:
    page.goto(page.url.partition("?")[0].rstrip("/") + "/gradients?x=lr&y=seed&theme=dark")
    plot = page.locator("[aria-label^='Each cell']")
    playwright.expect(page.get_by_role("slider").first).to_be_visible()  # nothing moves any more
    area = plot.locator(".nsewdrag")
    box = area.bounding_box()
    place = {"x": 0.75 * box["width"], "y": 0.17 * box["height"]}  # lr 0.5, seed 2
    area.hover(position=place)
    page.wait_for_selector(".hoverlayer .hovertext", state="attached")
    area.click(position=place)
    page.wait_for_url(re.compile("trial="))
    assert parse_qs(urlsplit(page.url).query)["trial"] == [trial_id(0.5, 2)]
    heading = page.get_by_role("heading", name=f"Gradient norms of {trial_id(0.5, 2)}")
    playwright.expect(heading).to_be_visible()
    page.get_by_role("link", name="Everything about this trial").click()
    playwright.expect(page.get_by_role("heading", name=f"Trial {trial_id(0.5, 2)}")).to_be_visible()
    command = page.locator(".command code").first
    assert f"gradsweep debug --trial {trial_id(0.5, 2)}" in command.inner_text()


def test_a_query_is_one_select_and_is_run_by_keyboard(page: Any) -> None:
    page.goto(page.url.partition("?")[0].rstrip("/") + "/query")
    text = page.locator("textarea")
    text.fill("SELECT max(seed) AS greatest FROM trials")
    page.get_by_role("button", name="Run").focus()
    page.keyboard.press("Enter")
    playwright.expect(page.locator("#aside .ag-row [col-id=greatest]")).to_have_text("9")
    text.fill("DROP TABLE trials")
    page.get_by_role("button", name="Run").click()
    playwright.expect(page.locator("#aside [role=status]")).to_contain_text("must be one SELECT")
