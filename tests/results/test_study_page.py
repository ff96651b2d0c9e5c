"""Pages about studies: published numbers beside those of a store, and whether they agree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from results import Store, StoreError, create_store
from results.study_page import overview, study_page, verdicts
from search_spaces import Space, Study
from search_spaces.claims import Claim, Number
from tests.support import gallery

LOSS = "SELECT median(loss) FROM runs WHERE init = '{}' AND depth = 5 AND epoch = 7"


def number(name: str, published: float, sql: str, rule: Any = "within", **more: Any) -> Number:
    return Number(name=name, published=published, sql=sql, rule=rule, tolerance=0.05, **more)


def claim(text: str, *numbers: Number, space: str = "grid", **more: Any) -> Claim:
    return Claim(
        text=text, place="figure 7", spaces=(space,), numbers=numbers,
        commands=(f"gradsweep launch demo/{space}",), **more,
    )  # fmt: skip


HEALTHY = number("loss, xavier", 0.6, LOSS.format("xavier"), unit="nats", origin="table 2")
STUDY = Study(
    name="demo",
    title="A <demo> | of claims",
    arxiv="0000.00000",
    spaces={"grid": Space(param_space={}), "far": Space(param_space={})},
    claims=(
        claim("One agrees.", HEALTHY, figure="training_loss", differs="nothing & all"),
        claim("Two of three.", HEALTHY, number("gradient", 1e9, "SELECT 1.0", "at_least"),
              number("a key of nobody's", 1, "SELECT avg(loss) FROM runs WHERE cheese = 1")),
        claim("None agrees.", number("loss", 9.0, LOSS.format("xavier"))),
        claim("Of trials that were not run.", number("loss", 0, LOSS.format("he"))),
        claim("Of a space of a GPU.", HEALTHY, space="far", needs="a GPU"),
        claim("Agrees at a smaller size.", HEALTHY, smaller="half the width"),
    ),
)  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    found = create_store(str(tmp_path_factory.mktemp("claims") / "store"))
    gallery.fill(found, 0)
    return found


def test_agreement_is_read_from_the_store_s_rows(store: Store) -> None:
    found = verdicts(store, STUDY)
    assert [v.reproduced for v in found] == [
        "yes",
        "partly: 1 of 3 numbers agree",
        "no",
        "not run",
        "not run: needs a GPU",
        "partly: half the width",
    ]
    (want,) = store.sql(LOSS.format("xavier")).fetchall()[0]
    assert found[0].measured == (want,)
    assert found[1].measured == (want, 1.0, None)
    assert found[1].agree == (True, False, None)
    wrong = Study(name="demo", title="", spaces=STUDY.spaces,
                  claims=(claim("Wrong.", number("n", 1, "SELECT FROM WHERE")),))  # fmt: skip
    with pytest.raises(StoreError, match="demo, n: "):
        verdicts(store, wrong)


def test_pages_show_numbers_side_by_side(store: Store, tmp_path: Path) -> None:
    page = study_page(store, STUDY, output=tmp_path / "demo.md").read_text()
    assert "| One agrees. | figure 7 | yes | `gradsweep launch demo/grid` |" in page
    row = next(line for line in page.splitlines() if line.startswith("| loss, xavier |"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[1:3] == ["0.6 nats", "table 2"]
    assert abs(float(cells[3].split()[0]) - 0.6) < 0.05
    assert cells[4:] == ["within 0.05 nats", "yes"]
    assert "What differs: nothing & all" in page
    shown = study_page(store, STUDY, output=tmp_path).read_text()
    assert (tmp_path / "demo-study.html").is_file()
    assert "A &lt;demo&gt; | of claims (arXiv 0000.00000)" in shown
    assert "<td>0.6 nats</td>" in shown
    assert 'id="claim-0"' in shown  # the figure of the claim that has one
    assert 'id="claim-1"' not in shown
    (tmp_path / "all").mkdir()
    study_page(store, STUDY, output=tmp_path / "all/demo.md")
    both = overview(store, [STUDY, STUDY], output=tmp_path / "all.md").read_text()
    assert both.count("[Its numbers](all/demo.md)") == 2
    assert both.count("| Of a space of a GPU. | figure 7 | not run: needs a GPU |") == 2
    with pytest.raises(StoreError, match="study bare declares no claims"):
        study_page(store, Study(name="bare", title="", spaces={}))
