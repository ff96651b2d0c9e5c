"""Where a mutant would tell nothing, and which statement and function a place in a module is in.

Plain standard library, so that its tests need no cosmic-ray.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, replace

SPEED_ONLY = {"jit", "cache", "lru_cache", "override", "final", "overload"}
"""Decorators whose loss changes no result: they only save time or speak to a type checker."""

SPEAKING = {"warn", "print", "echo", "debug", "info", "warning", "error", "exception"}
"""Functions and methods whose arguments are text for a reader."""

TYPES = {"bool", "bytes", "dict", "float", "frozenset", "int", "list", "set", "str", "tuple"}

Located = ast.expr | ast.stmt | ast.keyword

Span = tuple[tuple[int, int], tuple[int, int]]
"""First and last position, the last exclusive: (line from 1, column in characters from 0)."""


@dataclass(frozen=True)
class Statement:
    """The innermost statement at a place."""

    first: int
    last: int  # of the header only, where the statement has a body
    definition: str  # qualified name of the function or class around it; "" at the top
    at_import: bool  # runs when the module is imported, not when a function is called


class Places:
    """What a module's source says about its places.

    Raises:
      SyntaxError: `source` is no Python.
    """

    def __init__(self, source: str) -> None:
        self.lines = source.splitlines()
        tree = ast.parse(source)
        self._skipped = sorted(self._span(*found) for found in _untold(tree))
        self._statements: dict[int, Statement] = {}
        self._collect(tree.body, (), True)

    def skipped(self, start: tuple[int, int]) -> bool:
        """Whether a mutant that starts here would tell nothing."""
        return any(first <= start < last for first, last in self._skipped)

    def statement(self, line: int) -> Statement:
        """The innermost statement whose lines (of its header, where it has a body) hold `line`."""
        return self._statements.get(line) or Statement(line, line, "", True)

    def _span(self, node: Located, decorator: bool) -> Span:
        # ast counts bytes of UTF-8, cosmic-ray's parser characters.
        def column(line: int, offset: int) -> int:
            return len(self.lines[line - 1].encode()[:offset].decode())

        first, last = node.lineno, node.end_lineno or node.lineno
        start, end = column(first, node.col_offset), column(last, node.end_col_offset or 0)
        if decorator:  # from its @ on
            start = self.lines[first - 1].index("@")
        return (first, start), (last, end)

    def _collect(self, body: list[ast.stmt], names: tuple[str, ...], at_import: bool) -> None:
        for node in body:
            first, last = node.lineno, node.end_lineno or node.lineno
            inner = [child for child in _bodies(node) if child]
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                first = min([first, *(d.lineno for d in node.decorator_list)])
            if inner:
                last = max(first, min(_first_line(block[0]) for block in inner) - 1)
            found = Statement(first, last, ".".join(names), at_import)
            for line in range(first, last + 1):
                self._statements[line] = found
            deeper, runs = names, at_import
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                deeper = (*names, node.name)
                runs = at_import and isinstance(node, ast.ClassDef)
            for part in (*getattr(node, "handlers", []), *getattr(node, "cases", [])):
                self._header(part, Statement(0, 0, ".".join(names), at_import))
            for block in inner:
                self._collect(block, deeper, runs)

    def _header(self, part: ast.ExceptHandler | ast.match_case, like: Statement) -> None:
        """`except ...:` and `case ...:` are not statements of the tree, but run like them."""
        first = part.pattern.lineno if isinstance(part, ast.match_case) else part.lineno
        last = max(first, _first_line(part.body[0]) - 1)
        for line in range(first, last + 1):
            self._statements[line] = replace(like, first=first, last=last)


def _first_line(node: ast.stmt) -> int:
    decorators = getattr(node, "decorator_list", [])
    return min([node.lineno, *(d.lineno for d in decorators)])


def _bodies(node: ast.stmt) -> Iterator[list[ast.stmt]]:
    for name in ("body", "orelse", "finalbody"):
        yield getattr(node, name, [])
    for name in ("handlers", "cases"):
        for part in getattr(node, name, []):
            yield part.body


def _untold(tree: ast.Module) -> Iterator[tuple[Located, bool]]:
    """Nodes inside which no mutant is made; whether each is a decorator."""
    for node in ast.walk(tree):
        found: list[Located | None] = []
        if isinstance(node, ast.AnnAssign | ast.arg):
            found = [node.annotation]
        elif isinstance(node, ast.Raise):
            # An exception is known by its type; its arguments are its text.
            found = [*node.exc.args, *node.exc.keywords] if isinstance(node.exc, ast.Call) else []
        elif isinstance(node, ast.Call):
            found = [*node.args, *node.keywords] if _name(node.func) in SPEAKING else []
        elif isinstance(node, ast.Assign):
            if any(_name(target) == "__all__" for target in node.targets) or _is_type(node.value):
                found = [node]
        elif isinstance(node, ast.If):
            if _name(node.test) == "TYPE_CHECKING" or "__main__" in ast.dump(node.test):
                found = [node]
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found = [node.returns]
            for decorator in node.decorator_list:
                if _names(decorator) & SPEED_ONLY:
                    yield decorator, True
        yield from ((part, False) for part in found if part is not None)


def _name(node: ast.expr | None) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _names(node: ast.AST) -> set[str]:
    return {_name(part) for part in ast.walk(node) if isinstance(part, ast.Name | ast.Attribute)}


def _is_type(node: ast.expr) -> bool:
    """Whether this is a union of types, as in `Array = jax.Array | np.ndarray`."""
    if not (isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr)):
        return False

    def plain(part: ast.expr) -> bool:
        if isinstance(part, ast.Subscript):
            return plain(part.value)
        name = _name(part)
        return name in TYPES or (name[:1].isupper() and not name.isupper())

    def none(part: ast.expr) -> bool:
        return isinstance(part, ast.Constant) and part.value is None

    return all(plain(part) or none(part) or _is_type(part) for part in (node.left, node.right))
