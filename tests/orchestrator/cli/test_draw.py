"""`plot` and `report` as a user types them: which figures fit, and where files go."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from results import create_store
from tests.orchestrator.cli.test_app import Said, many
from tests.support import gallery

Asked = Callable[..., list[Said]]

STUDY = """
import plotly.graph_objects as go
from gradsweep import Claim, Figure, FigureOption, Number, Space, Study

def asking(store, space, trial, *, units, shade):
    "Asks for two things."
    return go.Figure(go.Scatter(y=list(units), name=f"shade {shade}"))

def mine(store, space, trial):
    "Mine alone."
    return go.Figure(go.Scatter(y=[len(space["targets"])], name="my own line"))

SPACES = {"grid": Space(param_space={"task": "gaussian", "model": "vanilla_rnn"})}
TRIALS = Number(name="trials", published=1, sql="SELECT count(*) FROM trials", rule="at_least")
CLAIM = Claim(text="There are trials.", place="figure 1", spaces=("grid",), numbers=(TRIALS,),
              commands=("gradsweep launch demo/grid",), figure="mine")
STUDY = Study(name="demo", title="Mine", spaces=SPACES, claims=(CLAIM,), figures={
    "mine": mine,
    "asking": Figure(asking, options=(
        FigureOption("units", "ints", "Which units."),
        FigureOption("shade", "float", "How dark.", 0.5),
    )),
})
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, seed: int) -> str:
    path = tmp_path_factory.mktemp("draw")
    made = create_store(path / "store")
    space = gallery.fill(made, seed, depths=(3,), epochs=3)
    figures = ["training_loss", "depth", "mine"]
    made.write_space("demo/grid", {**space, "targets": space["trials"], "figures": figures})
    (path / "mine.py").write_text(STUDY)
    return str(path / "store")


@pytest.fixture
def asked(store: str, tmp_path: Path) -> Asked:
    def ask(*requests: str) -> list[Said]:
        mine = str(Path(store).parent / "mine.py")
        words = [
            [mine if word == "MINE" else word for word in (*text.split(), "--store", store)]
            for text in requests
        ]
        return many(words, tmp_path)[0]

    return ask


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_the_list_says_what_fits_and_why_others_do_not(asked: Asked, tmp_path: Path) -> None:
    fits, mine, every = asked(
        "plot demo/grid --list", "plot demo/grid --list --study MINE", "plot --list"
    )
    shown, _, others = fits.out.partition(" why not ")
    lines = {line.split("│")[1].strip(): line for line in others.splitlines() if "│" in line}
    assert "training_loss" in shown
    assert "figure2" not in shown
    assert "figure2 needs the key task, which no trial of demo/grid has." in lines["figure2"]
    assert "no trial of demo/grid has rows of chaos_scan yet." in lines["bifurcation"]
    assert "comparison_lru, which were not launched into this store." in lines["curse_of_memory"]
    assert "Mine alone." in mine.out
    assert "Mine alone." not in fits.out
    assert "why not" not in every.out
    assert files(tmp_path) == []


def test_every_figure_has_a_file(asked: Asked, tmp_path: Path) -> None:
    default, into, one = asked(
        "plot demo/grid --all --study MINE",
        "plot demo/grid --all --study MINE -o new/folder",
        "plot demo/grid depth -o new/folder",
    )
    names = [f"demo-grid-{name}.html" for name in ("depth", "mine", "training_loss")]
    assert (default.status, into.status, one.status) == (0, 0, 0), (default, into, one)
    assert files(tmp_path / "figures") == names
    assert files(tmp_path / "new" / "folder") == names
    assert one.out == "new/folder/demo-grid-depth.html\n"
    texts = [(tmp_path / "figures" / name).read_text() for name in names]
    assert len(set(texts)) == 3


def test_a_figure_that_cannot_be_drawn_keeps_no_other_from_it(asked: Asked, tmp_path: Path) -> None:
    (said,) = asked("plot demo/grid --all")
    assert said.status == 2
    assert said.err == (
        "error: mine is not drawn: mine is a figure of a study file of yours; give --study FILE.\n"
    )
    assert len(files(tmp_path / "figures")) == 2


def test_a_figure_s_own_options_are_listed_and_reach_it(asked: Asked, tmp_path: Path) -> None:
    """In any order, beside those of `plot`; and `--output 1` where the figure has no such option
    is a place."""
    listed, drawn, maps, late = asked(
        "plot demo/grid --list --study MINE",
        "plot --units 3,4 --study MINE demo/grid asking --shade=0.25 -o asked.html",
        "plot demo/grid grad_heatmap --from-epoch 2",
        "plot demo/grid timeline --epoch 9",
    )
    (row,) = (line for line in listed.out.splitlines() if "--shade" in line)
    assert [text.strip() for text in row.split("│")[1:-1]] == [
        "asking",
        "--shade",
        "0.5",
        "How dark.",
    ]
    assert "--from-epoch" in listed.out
    assert (drawn.status, drawn.out) == (0, "asked.html\n"), drawn
    text = (tmp_path / "asked.html").read_text()
    assert "shade 0.25" in text
    assert '"y":[3,4]' in text
    assert maps.out == "figures/demo-grid-grad_heatmap-from_epoch-2.html\n", maps
    assert "no trial of demo/grid has a timeline of epoch 9" in late.err


REFUSED = {
    "plot demo/grid depth --from-epoch 3": "the figure depth has no option --from-epoch; these "
    "have it: activations, grad_heatmap, ",
    "plot demo/grid grad_heatmap --from-epok 3": "did you mean --from-epoch?",
    "plot demo/grid --lst": "plot has no option --lst (did you mean --list?)",
    "plot demo/grid grad_heatmap --from-epoch": "--from-epoch needs a value, such as",
    "plot demo/grid grad_heatmap --from-epoch x": "must be a whole number; got 'x'",
    "plot demo/grid grad_heatmap --output 3": "cannot write 3: give a file that ends in .html",
    "plot demo/grid --all -o one.html": "give -o a folder, not one.html",
    "plot demo/grid --all -o there": "give -o a folder, not there",
    "plot demo/grid overview --all": "leave out --all or overview",
    "plot demo/grid -o x.bmp": "ends in .html, .png, .pdf or .svg, or an existing folder",
    "plot demo/grid -o x": "cannot write x: give a file that ends in .html",
    "plot demo/grid -o x.html --png": "cannot write x.html as png: its ending says html",
    "plot demo/grid -o there/x.html": "cannot write there/x.html",
    "plot": "name a SPACE",
    "plot demo/grid overview --where depths=3": "has the key 'depths' (did you mean depth?)",
    "plot demo/grid overview --where depth=4": "no trial of demo/grid has depth=4: depth is 3",
    "plot demo/grid --where depth": "'depth' is not KEY=VALUE",
    "report demo/grid -o x.pdf": "give a file that ends in .html, or an existing folder",
    "report demo/grid -o there/x.html": "cannot write there/x.html",
    "report vanishng": "unknown study 'vanishng' (did you mean vanishing?)",
    "query final -o x": "cannot write x: give a file that ends in .csv, .json or .parquet",
    "query final -o folder": "cannot write folder: give a file",
    "query final -o x.html": "cannot write x.html: give a file",
    "query final -o x.txt --format table": "a table is only printed",
}


def test_places_where_nothing_can_be_written(asked: Asked, tmp_path: Path) -> None:
    (tmp_path / "there").write_text("mine")
    (tmp_path / "folder").mkdir()
    for text, said in zip(REFUSED, asked(*REFUSED), strict=True):
        assert (said.status, said.err.count("\n")) == (2, 1), (text, said)
        assert REFUSED[text] in said.err, (text, said)
    assert files(tmp_path) == ["there"]
    assert (tmp_path / "there").read_text() == "mine"


def test_where_holds_a_key(asked: Asked, tmp_path: Path) -> None:
    half, report, own, table = asked(
        "plot demo/grid training_loss --where init=xavier -o half.html",
        "report demo/grid --study MINE -o .",
        "report demo --study MINE -o .",
        "report -o all.md",
    )
    assert (half.status, report.status) == (0, 0), (half, report)
    assert "4 of 4 trials" in (tmp_path / "half.html").read_text()
    assert report.out == "demo-grid-report.html\n"
    assert "my own line" in (tmp_path / "demo-grid-report.html").read_text()
    assert (own.status, table.status) == (0, 0), (own, table)
    assert "There are trials." in (tmp_path / "demo-study.html").read_text()
    assert "my own line" in (tmp_path / "demo-study.html").read_text()
    page = (tmp_path / "all.md").read_text()
    assert page.count("not run: needs ") >= 5
    assert "## zucchet2024: " in page
