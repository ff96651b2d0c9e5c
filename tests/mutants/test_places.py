"""What `make mutants` leaves alone, and which statement and function a line belongs to."""

from __future__ import annotations

import pytest

from tests.mutants.places import Places, Statement


def skipped(source: str, part: str) -> bool:
    """Whether a mutant is left out that starts where `part` starts in `source`."""
    before = source[: source.index(part)].split("\n")
    return Places(source).skipped((len(before), len(before[-1])))


@pytest.mark.parametrize(
    ("source", "part"),
    [
        ("x: int | None = 3", "| None"),
        ("def f(x: int | None = 3): ...", "| None"),
        ("def f() -> int | None: ...", "| None"),
        ("Text = str | None", "| None"),
        ("Either = dict[str, int] | Path", "| Path"),
        ("__all__ = ['a'] + ['b']", "+ ['b']"),
        ("if TYPE_CHECKING:\n    x = 3", "3"),
        ("if __name__ == '__main__':\n    main(3)", "3"),
        ("raise ValueError(f'{n + 1} of them')", "+ 1"),
        ("warnings.warn(f'{n + 1} of them', stacklevel=2)", "2"),
        ("@jax.jit\ndef f(): ...", "@jax"),
        ("class A:\n    @partial(jax.jit, static_argnums=1)\n    def f(): ...", "@partial"),
        ("@functools.cache\ndef f(): ...", "@functools"),
        # Columns are characters: a Greek letter is two bytes and one column.
        ("def f(η='ηηηη', x: int | None = 3): ...", "| None"),
    ],
)
def test_what_tells_nothing_is_left_out(source: str, part: str) -> None:
    assert skipped(source, part)


@pytest.mark.parametrize(
    ("source", "part"),
    [
        ("x: int | None = 3", "3"),
        ("def f(x: int | None = 3): ...", "3"),
        ("merged = defaults | given", "| given"),
        ("MERGED = DEFAULTS | GIVEN", "| GIVEN"),
        ("isinstance(x, int | str)", "| str"),
        ("if n > 3:\n    raise ValueError(n)", "3"),
        ("if x == 'main':\n    y = 3", "3"),
        ("@dataclass(frozen=True)\nclass A: ...", "@dataclass"),
        ("@property\ndef f(self): ...", "@property"),
        ("def f(η='ηηηη', x: int | None = 3): ...", "3"),
    ],
)
def test_what_can_matter_is_mutated(source: str, part: str) -> None:
    assert not skipped(source, part)


SOURCE = """\
LIMIT = 3
class A:
    size: int = 4

    @property
    def f(
        self, n=1
    ):
        if (
            n > 2
        ):
            return sum(
                [n, 1]
            )
        try:
            go()
        except OSError:
            n = 5
        match n:
            case 7:
                n = 8
"""


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (1, Statement(1, 1, "", True)),
        (3, Statement(3, 3, "A", True)),
        (5, Statement(5, 8, "A", True)),
        (7, Statement(5, 8, "A", True)),
        (10, Statement(9, 11, "A.f", False)),
        (13, Statement(12, 14, "A.f", False)),
        (16, Statement(16, 16, "A.f", False)),
        (17, Statement(17, 17, "A.f", False)),
        (18, Statement(18, 18, "A.f", False)),
        (20, Statement(20, 20, "A.f", False)),
        (21, Statement(21, 21, "A.f", False)),
    ],
)
def test_a_line_belongs_to_its_innermost_statement(line: int, expected: Statement) -> None:
    assert Places(SOURCE).statement(line) == expected
