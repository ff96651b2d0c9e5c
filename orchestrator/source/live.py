"""What a live object depends on: of a notebook's cell, a Python prompt, or made within a function.

Functions and classes of a file are followed in the file (`closure`). Others are followed from
object to object: a function by the statement that defines it, as the notebook remembers it, and by
the values of the names that this reads; where no source is known, by its bytecode, which differs
between versions of Python. Data count by value: numbers, text, arrays, and what lists, dicts and
objects hold.
"""

from __future__ import annotations

import ast
import dis
import functools
import hashlib
import linecache
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from orchestrator.source.closure import Graph, Piece
from orchestrator.source.statements import Statement
from orchestrator.user_code import is_users

_PLAIN = (type(None), bool, int, float, complex, str, bytes, type(...))


class Live:
    """Pieces of a graph for live objects.

    Args:
      graph: which they are added to.
    """

    def __init__(self, graph: Graph):
        self._graph = graph
        self._known: dict[int, tuple[Any, Piece]] = {}

    def piece(self, value: Any, label: str = "") -> Piece:
        """What an object is and what it depends on."""
        known = self._known.get(id(value))
        if known is None or known[0] is not value:
            known = self._known[id(value)] = value, Piece(label, "")
            self._fill(known[1], value)
        return known[1]

    def fields(self, value: Any, label: str, without: tuple[str, ...]) -> Piece:
        """A dataclass by the values of its fields."""
        found = Piece(label, _named(type(value)))
        for field in fields(value):
            if field.name not in without:
                found.edges.append((field.name, self.piece(getattr(value, field.name))))
        return found

    def _fill(self, piece: Piece, value: Any) -> None:
        piece.text = type(value).__qualname__
        if isinstance(value, _PLAIN):
            piece.text = _hash(f"{piece.text} {value!r}")
        elif isinstance(value, Mapping):
            piece.edges += [(repr(name), self.piece(item)) for name, item in value.items()]
        elif isinstance(value, (tuple, list)):
            piece.edges += [(str(i), self.piece(item)) for i, item in enumerate(value)]
        elif isinstance(value, (set, frozenset)):
            piece.edges += [("", self.piece(item)) for item in sorted(value, key=repr)]
        elif isinstance(value, functools.partial):
            piece.edges += self._all(func=value.func, args=value.args, keywords=value.keywords)
        elif isinstance(value, MethodType):
            piece.edges += self._all(function=value.__func__, object=value.__self__)
        elif isinstance(value, (staticmethod, classmethod)):
            piece.edges += self._all(function=value.__func__)
        elif isinstance(value, property):
            piece.edges += self._all(get=value.fget, set=value.fset)
        elif isinstance(value, ModuleType):
            piece.edges += [("", one) for one in self._graph.module(value.__name__)]
        elif isinstance(value, (FunctionType, type)):
            self._defined(piece, value)
        elif hasattr(value, "dtype") and hasattr(value, "tobytes"):
            piece.text = _hash(f"{value.dtype} {value.shape}", value.tobytes())
        elif hasattr(value, "__wrapped__"):
            piece.edges += self._all(wrapped=value.__wrapped__)
        else:
            piece.edges.append(("type", self.piece(type(value))))
            names = (f.name for f in fields(value)) if is_dataclass(value) else ()
            held = {n: getattr(value, n) for n in names} or getattr(value, "__dict__", {})
            piece.edges += [(n, self.piece(item)) for n, item in held.items()]

    def _all(self, **values: Any) -> list[tuple[str, Piece]]:
        return [(name, self.piece(value)) for name, value in values.items()]

    def _defined(self, piece: Piece, value: Any) -> None:
        """A function or class."""
        code = _code_of(value)
        file = code.co_filename if code else ""
        inside = "<locals>" in value.__qualname__ and is_users(file)
        if (Path(file).is_file() or code is None) and not inside:
            chain = tuple(value.__qualname__.split("."))
            piece.edges += [("", p) for p in self._graph.module(value.__module__, chain)]
            return
        where = Path(file).name if Path(file).is_file() else "a cell"
        piece.label = f"{value.__qualname__} in {where}"
        node = _definition(value, code) if code else None
        known = _namespace(value)
        if node is None:
            self._by_bytecode(piece, value, known)
            return
        statement = Statement(node)
        piece.text = statement.text
        own = statement.imports
        for name, chains in sorted(statement.reads.items()):
            for chain in sorted(chains):
                word = ".".join((name, *chain))
                for target in own.get(name, ()):
                    if target.attribute != "*" and not target.level:
                        taken = (target.attribute,) if target.attribute else ()
                        found = self._graph.module(target.module, (*taken, *chain))
                        piece.edges += [(word, p) for p in found]
                if name in known and known[name] is not value:
                    piece.edges += [(word, p) for p in self._read(name, known[name], chain)]

    def _read(self, name: str, value: Any, chain: tuple[str, ...] = ()) -> list[Piece]:
        """What a name stands for."""
        if isinstance(value, ModuleType):
            return self._graph.module(value.__name__, chain)
        found = self.piece(value)
        if _is_data(value):
            return [Piece(f"{name} in a cell", _hash(repr(value)), [("", found)])]
        return [found]

    def _by_bytecode(self, piece: Piece, value: Any, known: Mapping[str, Any]) -> None:
        if isinstance(value, type):
            piece.text = value.__qualname__
            held = {n: v for n, v in vars(value).items() if not _ignored(n)}
            piece.edges += [(n, self.piece(v)) for n, v in sorted(held.items())]
            piece.edges += [("base", self.piece(base)) for base in value.__bases__]
            return
        piece.text = _bytecode(value.__code__)
        for code in _codes(value.__code__):
            for name in code.co_names:
                if name in known and known[name] is not value:
                    piece.edges += [(name, p) for p in self._read(name, known[name])]
        piece.edges += self._all(defaults=value.__defaults__, named=value.__kwdefaults__)
        piece.edges += [
            (name, self.piece(known[name])) for name in value.__code__.co_freevars if name in known
        ]


def _is_data(value: Any) -> bool:
    """Whether it is text or a number, or made of such."""
    if isinstance(value, Mapping):
        return all(map(_is_data, (*value, *value.values())))
    if isinstance(value, (tuple, list)):
        return all(map(_is_data, value))
    return isinstance(value, _PLAIN)


def _ignored(name: str) -> bool:
    return name in ("__module__", "__doc__", "__qualname__", "__dict__", "__weakref__",
                    "__firstlineno__", "__static_attributes__", "__annotations__")  # fmt: skip


def _named(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _code_of(value: Any) -> CodeType | None:
    """Of a function, or of a class's first method."""
    if isinstance(value, FunctionType):
        return value.__code__
    for item in vars(value).values():
        inner = getattr(item, "__func__", item)
        if isinstance(inner, FunctionType) and inner.__qualname__.startswith(value.__qualname__):
            return inner.__code__
    return None


def _namespace(value: Any) -> dict[str, Any]:
    """Names that a function or class sees: its module's, and those of the function around it."""
    if isinstance(value, type):
        methods = [getattr(item, "__func__", item) for item in vars(value).values()]
        own = [m for m in methods if isinstance(m, FunctionType) and _is_of(m, value)]
        return {name: item for method in own for name, item in _namespace(method).items()}
    found = dict(value.__globals__)
    for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
        try:
            found[name] = cell.cell_contents
        except ValueError:  # not yet filled
            found.pop(name, None)
    found.pop("__class__", None)
    return found


def _is_of(method: FunctionType, kind: type) -> bool:
    return method.__qualname__.startswith(kind.__qualname__)


def _definition(value: Any, code: CodeType) -> ast.AST | None:
    """The statement or lambda that defines it, from what the notebook remembers of its cells."""
    try:
        tree = ast.parse("".join(linecache.getlines(code.co_filename)))
    except (SyntaxError, ValueError):
        return None
    line = code.co_firstlineno
    if isinstance(value, type):
        kinds = [n for n in ast.walk(tree) if isinstance(n, ast.ClassDef)]
        around = [n for n in kinds if n.name == value.__name__ and _spans(n, line)]
        return around[-1] if around else None
    if value.__name__ == "<lambda>":
        found = [n for n in ast.walk(tree) if isinstance(n, ast.Lambda) and n.lineno == line]
        same = [n for n in found if len(found) == 1 or _bytecode(_compiled(n)) == _bytecode(code)]
        return same[0] if same else None
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name == code.co_name:
            starts = [node.lineno, *(d.lineno for d in node.decorator_list)]
            if min(starts) == line:
                return node
    return None


def _spans(node: ast.ClassDef, line: int) -> bool:
    return node.lineno <= line <= (node.end_lineno or node.lineno)


def _compiled(node: ast.Lambda) -> CodeType:
    whole = compile(ast.fix_missing_locations(ast.Expression(node)), "", "eval")
    return next(one for one in whole.co_consts if isinstance(one, CodeType))


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _bytecode(code: CodeType) -> str:
    """Hash of what a code object does, without its lines and its file."""
    words = []
    for one in _codes(code):
        constants = [c for c in one.co_consts if not isinstance(c, CodeType)]
        steps = [(step.opname, step.arg) for step in dis.get_instructions(one)]
        words.append(repr((one.co_varnames, one.co_names, constants, steps)))
    return _hash("\n".join(words))


def _hash(text: str, more: bytes = b"") -> str:
    return hashlib.sha256(text.encode() + b"\0" + more).hexdigest()[:16]
