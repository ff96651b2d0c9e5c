"""`--set` strings and other options that are wrong: one sentence each, and nothing is written."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import strategies as st

from orchestrator.plan.studies import catalogue
from tests.fuzz.command_line import snapshot, told
from tests.fuzz.conftest import Fuzz, Guard
from tests.fuzz.stores import fill

REGISTRY = catalogue().registry
NAMES = sorted(REGISTRY.known_names())
VALUES = sorted(
    {v for key in REGISTRY.all_keys().values() for v in (*key.choices, *key.named)}
    | {name for _, name in REGISTRY.parts}
)
ODD = [
    "", " ", "=", "a=b=c", "0", "-0", "1", "-1", "2.5", "1e3", "1e400", "nan", "inf", "-inf",
    "null",
    "none", "None", "true", "yes", "NaN", ",", ",,", "1,,2", "²", "٣", "1_000", "0x10", "9" * 30,
    "9" * 5000, "'0'", '"', "\n", "a\nb", "\t", "\x1b[31m", "\ud800", "\u202e", "é", "x" * 3000,
    "range(1e9)", "range(-1)", "range(0)", "range(3)", "range(1,9,0)", "range(9,1,-2)",
    "range(1000000000)", "range(0,99999999999999999999)", "range(" + "9" * 5000 + ")", "range()",
    "range(1,2,3,4)", "range(٣)", "[1,2]", "{}", "*", "..", "...", "1/sqrt(L)", "$HOME", "%s",
    "{0}",
    "findLSC", "findLSC_radius", "findLSC_radius_adabelief_pretrained_onlypretrain", "findLSC_²",
    "targetnorm:.5", "targetnorm:nan", "targetnorm:1e999", "targetnorm:²", "dropout:", "_:_",
    "every:0",
    "every:²", "every:3", "every:" + "9" * 5000, "best", "last",
]  # fmt: skip

# What can stand in argv: no NUL, and bytes that are no UTF-8 as lone surrogates.
free = st.text(st.characters(exclude_characters="\0"), max_size=20) | st.text(
    st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF), max_size=3
)
names = st.sampled_from(NAMES)


@st.composite
def near(draw: st.DrawFn, words: st.SearchStrategy[str]) -> str:
    """A word with one place changed."""
    word = draw(words)
    at = draw(st.integers(0, len(word)))
    return word[:at] + draw(free) + word[at + draw(st.integers(0, 2)) :]


numbers = st.integers().map(str) | st.floats().map(repr)
values = st.sampled_from(ODD) | st.sampled_from(VALUES) | numbers | free
listed = st.lists(values, max_size=5).map(",".join)
assignments = st.tuples(names | near(names), st.sampled_from(["=", " = "]), values | listed)
overrides = assignments.map("".join) | values | free | near(assignments.map("".join))
SPACES = ["vanishing/quickstart", "vanishing/warmup", "herranz2023/toy", "herranz2023/spikes",
          "herranz2023/covariance"]  # fmt: skip
spaces = st.sampled_from(SPACES)


CLUSTER = {"--nodes": values, "--preempt-rate": values, "--seed": values, "--cpus": values,
           "--seconds-per-epoch": values | st.just("1")}  # fmt: skip


@st.composite
def options(draw: st.DrawFn, more: Mapping[str, st.SearchStrategy[str]]) -> list[str]:
    """Options that `plan` and `simulate` share, and `more`, each likely wrong."""
    found: list[str] = []
    for text in draw(st.lists(overrides, max_size=4)):
        found += ["--set", text]
    others = {
        "--limit": values, "--width": values, "--rerun": values | st.just("stale"),
        "--lanes": values | st.sampled_from(["auto", "vmap"]), **more,
    }  # fmt: skip
    for name in draw(st.lists(st.sampled_from(sorted(others)), max_size=2, unique=True)):
        found += [name, draw(others[name])]
    return found + draw(st.sampled_from([[], [], ["--json"], ["--smoke"]]))


def test_set_strings(fuzz: Fuzz, guard: Guard) -> None:
    def case(drawn: tuple[str, list[str]]) -> None:
        space, texts = drawn
        words = [word for text in texts for word in ("--set", text)]
        told("plan", space, "--limit", "3", *words)

    fuzz(0.2, st.tuples(spaces, st.lists(overrides, min_size=1, max_size=3)), case)


@pytest.mark.parametrize(("command", "more"), [("plan", {"--show": values}), ("simulate", CLUSTER)])
def test_options(
    fuzz: Fuzz, guard: Guard, command: str, more: Mapping[str, st.SearchStrategy[str]]
) -> None:
    def case(drawn: tuple[str, list[str]]) -> None:
        space, words = drawn
        told(command, *words, "--", space)

    fuzz(0.05, st.tuples(spaces | near(spaces) | values, options(more)), case)


def test_words(fuzz: Fuzz, guard: Guard) -> None:
    """Any words at all, on a store that does not exist."""
    commands = st.sampled_from(
        ["plan", "simulate", "debug", "status", "show", "query", "best", "plot", "report",
         "compact", "data", "data verify"]
    )  # fmt: skip
    flags = st.sampled_from(
        ["--json", "--smoke", "--list", "--all", "--trial", "--rule", "--format", "-o", "--store",
         "--study", "--space", "--by", "--at", "--metric", "--mode", "--grace", "--exact", "--"]
    )  # fmt: skip

    def case(drawn: tuple[str, list[str]]) -> None:
        command, words = drawn
        if "--help" not in words:
            said = told(*command.split(), *words, "--store", "absent")
            assert said.status in (1, 2) or "--list" in words or command == "data", said

    fuzz(0.1, st.tuples(commands, st.lists(flags | values, max_size=4)), case)


def test_keep_weights(fuzz: Fuzz, guard: Guard) -> None:
    """`launch --keep-weights`, refused before anything starts."""

    def case(text: str) -> None:
        if text.strip() not in ("", "none", "last", "best", "state", "every:3"):
            said = told("launch", "vanishing/quickstart", "--keep-weights", text)
            assert said.status == 2, said

    fuzz(0.02, values.filter(lambda text: text.strip().lower() not in ("none", "null")), case)


PLACES = ["", ".", "..", "/", "file", "folder", "/dev/null", "/proc", "/proc/self/mem", "~",
          "~nobody/x", "a b", "é",
          "s3://", "s3://nowhere", "gs://", "gs://x", "http://x.invalid", "https://x.invalid/a",
          "ftp://x", "hdfs://x.invalid/y",
          "file://", "file:///", "file:///..", "file://x/y", "file:relative",
          "file:///nowhere/at/all", "mock://x", "://", "C:\\x",
          "x" * 5000, "x/" * 3000, "\udcff", "a\nb", "a?b=c", "s3://a b/c",
          "s3://x?region=nowhere&anonymous=true&x=y", "store.json/x"]  # fmt: skip


@pytest.mark.parametrize("place", [p for p in PLACES if not p.startswith(("s3://", "gs://"))])
def test_places_that_are_no_store(
    guard: Guard, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """Every command on a `--store` of an odd kind: none finds a store there, nor makes one."""
    here = guard.out
    monkeypatch.chdir(here)
    (here / "file").write_text("mine")
    (here / "folder").mkdir()
    (here / "folder" / "notes.txt").write_text("mine")
    state = snapshot(here)
    space = "vanishing/quickstart"
    for words in (["status"], ["query", "--schema"], ["compact"], ["debug", "--trial", "x"]):
        said = told(*words, "--store", place)
        assert said.status == 2 or "--schema" in words, said
    assert told("merge", "--", place, "new").status == 2
    told("plan", space, "--store", place)
    assert snapshot(here) == state


def test_prefixes_of_no_trial(guard: Guard) -> None:
    fill(guard.store)
    odd = ["\x1b[31m", "%", "_", "'", '"', "a\nb", "\udcff", "x" * 3000, "[/b]", " ", "-"]
    for prefix in odd:
        said = told("show", "--store", str(guard.store), "--", prefix)
        assert said.status == 2, said
        assert "\x1b" not in said.err
