"""The top-level statements of one Python file: what each binds, reads, imports and changes."""

from __future__ import annotations

import ast
import hashlib
import symtable
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

Chain = tuple[str, ...]
"""Attributes read of a name, in order: ("nn", "Linear") of `flax.nnx.Linear`'s `flax`."""

_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_HARMLESS = frozenset({"print"})
"""Built-in functions whose call changes nothing that a part computes."""
_OURS = frozenset({"gradsweep", "orchestrator", "results", "search_spaces", "trainables"})


@dataclass(frozen=True)
class Target:
    """What an imported name stands for: a module, or an attribute (or submodule) of one.

    Attributes:
      level: number of leading dots.
      attribute: None where the name is the module itself, "*" for all its names.
    """

    module: str
    level: int = 0
    attribute: str | None = None


class Statement:
    """One statement (or expression) of a file.

    Attributes:
      inert: what it does beside binding names does not count: under `if __name__ == "__main__"`.
    """

    def __init__(self, node: ast.AST, inert: bool = False):
        self.node = node
        self.inert = inert

    @cached_property
    def text(self) -> str:
        """Hash of the code; comments, docstrings, blank lines and formatting are not in it."""
        return hashlib.sha256(_dump(self.node).encode()).hexdigest()[:16]

    @property
    def is_import(self) -> bool:
        return isinstance(self.node, (ast.Import, ast.ImportFrom))

    @cached_property
    def binds(self) -> dict[str, None]:
        """Names of the file that it sets, in order."""
        nodes = _own_scope(self.node, comprehensions=False)
        found = {name: None for node in nodes for name in _bound(node)}
        for node in ast.walk(self.node):
            if isinstance(node, ast.Global):
                found |= dict.fromkeys(node.names)
        return found

    @cached_property
    def changes(self) -> set[str]:
        """Names whose value it changes in place: `x["a"] = 1`, `x.append(1)`, `del x.a`."""
        found = set()
        for node in _own_scope(self.node):
            if isinstance(node, (ast.Attribute, ast.Subscript)) and not isinstance(
                node.ctx, ast.Load
            ):
                found.add(_root(node))
            if isinstance(node, ast.Expr):
                found |= {_root(f) for f in _calls(node) if isinstance(f, ast.Attribute)}
        return found - {""}

    @cached_property
    def calls(self) -> set[str]:
        """Functions that it calls for what they do, by name; "" for one without a name."""
        found = set()
        for node in _own_scope(self.node):
            if isinstance(node, ast.Expr):
                found |= {
                    _root(f) if isinstance(f, ast.Name) else ""
                    for f in _calls(node)
                    if not (isinstance(f, ast.Attribute) and _root(f))
                }
        return found - _HARMLESS

    @cached_property
    def decorators(self) -> set[str]:
        """Names of what decorates it."""
        return {_root(one) for one in getattr(self.node, "decorator_list", [])} - {""}

    @cached_property
    def takes_note(self) -> bool:
        """Whether a call of it may do more than return something: it is no function, or changes
        something in place."""
        if not isinstance(self.node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            return True
        return any(
            (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call))
            or (
                isinstance(node, (ast.Attribute, ast.Subscript))
                and not isinstance(node.ctx, ast.Load)
            )
            for node in ast.walk(self.node)
        )

    @cached_property
    def reads(self) -> dict[str, set[Chain]]:
        """Names of the file (or of a built-in) that it reads, each with the attributes asked of
        it; () where the value itself is used."""
        known = self._global_names()
        found: dict[str, set[Chain]] = {}
        for name, chain in _chains(self.node):
            if known is None or name in known:
                found.setdefault(name, set()).add(chain)
        return found

    @cached_property
    def imports(self) -> dict[str, list[Target]]:
        """Names that import statements anywhere in it bind, functions included."""
        found: dict[str, list[Target]] = {}
        for node in ast.walk(self.node):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    bound = alias.asname or alias.name.partition(".")[0]
                    module = alias.name if alias.asname else bound
                    found.setdefault(bound, []).append(Target(module))
            if isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    target = Target(node.module or "", node.level, alias.name)
                    found.setdefault(alias.asname or alias.name, []).append(target)
        return found

    @cached_property
    def imported_modules(self) -> list[Target]:
        """What it imports as it runs, each with the module it is taken from."""
        found: dict[Target, None] = {}
        for node in _own_scope(self.node):
            if isinstance(node, ast.Import):
                found |= {Target(alias.name): None for alias in node.names}
            if isinstance(node, ast.ImportFrom):
                found |= {Target(node.module or "", node.level, a.name): None for a in node.names}
        return list(found)

    def _global_names(self) -> set[str] | None:
        """Names that are no function's own; None where Python does not say."""
        try:
            table = symtable.symtable(ast.unparse(self.node), "", "exec")
        except (SyntaxError, ValueError, RecursionError):  # `await` of a notebook's cell
            return None
        found: set[str] = set()
        tables = [table]
        while tables:
            one = tables.pop()
            for symbol in one.get_symbols():
                outside = symbol.is_global() or one.get_type() != "function"
                # An import within a function binds a name there, which `imports` follows.
                if symbol.is_referenced() and (outside or symbol.is_imported()):
                    found.add(symbol.get_name())
                if symbol.is_free() and symbol.get_name() in self.imports:
                    found.add(symbol.get_name())
            tables += one.get_children()
        return found

    def __repr__(self) -> str:
        return f"Statement({', '.join(self.binds) or ast.unparse(self.node)[:40]})"


class Source:
    """The statements of a file, by what they bind.

    Attributes:
      statements: in order; those under `if __name__ == "__main__"` one by one.
    """

    def __init__(self, text: str | bytes):
        """Raises SyntaxError, ValueError: it is no Python."""
        self.tree = ast.parse(text)
        self.statements = list(_flat(self.tree.body))

    @cached_property
    def binders(self) -> dict[str, list[Statement]]:
        """Name -> every statement that sets it or changes its value, in order."""
        found: dict[str, list[Statement]] = {}
        for statement in self.statements:
            for name in statement.binds:
                found.setdefault(name, []).append(statement)
        for statement in self.statements:
            for name in sorted(statement.changes - statement.binds.keys()):
                binders = found.get(name)
                if binders and not all(one.is_import for one in binders):
                    binders.append(statement)
        return found

    @cached_property
    def stars(self) -> list[Target]:
        """Modules of which all names are imported, the last first."""
        found = [
            target
            for one in self.statements
            for target in one.imported_modules
            if target.attribute == "*"
        ]
        return found[::-1]

    @cached_property
    def effects(self) -> list[Statement]:
        """Statements that count for whatever the file is imported for: calls made for what they
        do, changes of what is imported. Not calls of `print` and of gradsweep."""
        return [one for one in self.statements if not one.inert and self._acts(one)]

    def _acts(self, statement: Statement) -> bool:
        if statement.is_import:
            return False
        called = {name for name in statement.calls if not self._is_ours(name)}
        changed = {
            name
            for name in statement.changes
            if all(one.is_import for one in self.binders.get(name, ())) and not self._is_ours(name)
        }
        return bool(called or changed)

    def _is_ours(self, name: str) -> bool:
        targets = [t for one in self.binders.get(name, ()) for t in one.imports.get(name, ())]
        return bool(targets) and all(t.module.partition(".")[0] in _OURS for t in targets)

    def parts_called(self, name: str, kinds: Sequence[str]) -> list[ast.Call]:
        """Calls outside of functions that make a thing of that name: `Model(name="net", ...)`.

        Args:
          kinds: names of the classes that may be called.
        """
        return [
            node
            for statement in self.statements
            for node in _own_scope(statement.node)
            if isinstance(node, ast.Call)
            and (_last(node.func) in kinds)
            and any(
                word.arg == "name"
                and isinstance(word.value, ast.Constant)
                and word.value.value == name
                for word in node.keywords
            )
        ]


def _flat(body: Sequence[ast.stmt], inert: bool = False) -> Iterator[Statement]:
    for node in body:
        if isinstance(node, ast.If) and _is_main(node.test):
            yield from _flat(node.body, inert=True)
            yield from _flat(node.orelse, inert)
        elif not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            yield Statement(node, inert)


def _is_main(test: ast.expr) -> bool:
    return ast.unparse(test) in ("__name__ == '__main__'", "'__main__' == __name__")


def _own_scope(node: ast.AST, comprehensions: bool = True) -> Iterator[ast.AST]:
    """The nodes that run as the statement does, without bodies of functions and classes."""
    yield node
    if isinstance(node, _SCOPES) or (isinstance(node, _COMPREHENSIONS) and not comprehensions):
        return
    for child in ast.iter_child_nodes(node):
        yield from _own_scope(child, comprehensions)


def _bound(node: ast.AST) -> list[str]:
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return [node.name]
    if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
        return [node.id]
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return [a.asname or a.name.partition(".")[0] for a in node.names if a.name != "*"]
    if isinstance(node, ast.ExceptHandler) and node.name:
        return [node.name]
    if isinstance(node, (ast.MatchAs, ast.MatchStar)) and node.name:
        return [node.name]
    return [node.rest] if isinstance(node, ast.MatchMapping) and node.rest else []


def _calls(node: ast.Expr) -> list[ast.expr]:
    """What an expression statement calls, outside of functions."""
    return [one.func for one in _own_scope(node) if isinstance(one, ast.Call)]


def _root(node: ast.AST) -> str:
    """The name at the start of `a.b[c].d(e).f`; "" where there is none."""
    while isinstance(node, (ast.Attribute, ast.Subscript, ast.Call)):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


def _last(node: ast.AST) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def _chains(node: ast.AST) -> Iterator[tuple[str, Chain]]:
    """Every name that is read, with the attributes that follow it."""
    chain: list[str] = []
    inner = node
    while isinstance(inner, ast.Attribute):
        chain.append(inner.attr)
        inner = inner.value
    if isinstance(inner, ast.Name):
        yield inner.id, tuple(reversed(chain))
        return
    if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
        yield node.target.id, ()
    for child in ast.iter_child_nodes(inner):
        yield from _chains(child)


def _dump(node: ast.AST) -> str:
    """The tree as text: without places, strings that stand alone, and fields that are empty, so
    that versions of Python which add a field give the same."""
    words = []
    for name, value in ast.iter_fields(node):
        if name in ("kind", "type_comment") or value is None or value == []:
            continue
        if isinstance(value, list):
            inner = [v for v in value if not _is_docstring(v)]
            words.append(f"{name}=[{','.join(map(_word, inner))}]")
        else:
            words.append(f"{name}={_word(value)}")
    return f"{type(node).__name__}({','.join(words)})"


def _word(value: object) -> str:
    return _dump(value) if isinstance(value, ast.AST) else repr(value)


def _is_docstring(node: object) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
