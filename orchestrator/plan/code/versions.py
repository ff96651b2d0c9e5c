"""Versions of parts that declare none: by what they depend on among the user's own files.

The user's own files are those of the study's folder and of the folder Python started in, as the
study imports them (`neighbours`), and any other that is neither Python's nor in site-packages.
Installed packages count by the version of their distribution. JAX, Flax, Optax and NumPy do not:
an attempt's signature names them, and a patch release would make every trial stale. Nor does
gradsweep, whose own parts have versions.
"""

from __future__ import annotations

import importlib.metadata
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from orchestrator.plan.neighbours import Neighbours, found_by_python
from orchestrator.source.closure import CodeVersion, Graph, Piece, Place, version_of
from orchestrator.source.live import Live
from orchestrator.source.statements import Statement
from orchestrator.user_code import is_users
from trainables.declarations import Part

_UNCOUNTED = frozenset({
    "jax", "jaxlib", "flax", "optax", "numpy",
    "gradsweep", "orchestrator", "results", "search_spaces", "trainables",
})  # fmt: skip
_NAMED = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
"""A string that names code: "net:build"."""


class Locator:
    """Finds the modules that a study imports, without importing them.

    Args:
      neighbours: of a study file; None where modules are Python's.
      own: installed packages that count as the user's own, file by file.
    """

    def __init__(self, neighbours: Neighbours | None = None, own: Sequence[str] = ()):
        self._neighbours, self._own = neighbours, own
        self._known: dict[str, Place | None] = {}

    def __call__(self, name: str) -> Place | None:
        if name not in self._known:
            self._known[name] = self._find(name)
        return self._known[name]

    def _find(self, name: str) -> Place | None:
        top, _, rest = name.partition(".")
        study = self._neighbours
        if study is not None and top == study.name:
            if not rest:
                return Place(name, package=True)
            return _place(name, _spec(rest, study.folders, f"{study.name}."), users=True)
        if study is not None and study.has(top):
            return self(f"{study.name}.{name}")
        if top == "__main__":
            file = getattr(sys.modules[top], "__file__", None)
            return Place(name, Path(file).resolve()) if file and Path(file).is_file() else None
        if top in _UNCOUNTED or top in sys.stdlib_module_names:
            return Place(name)
        return _place(name, _spec(name, None), users=top in self._own)


def _spec(name: str, paths: Sequence[str] | None, prefix: str = "") -> ModuleSpec | None:
    """Where a module would be imported from."""
    top, *inside = name.split(".")
    spec = found_by_python(top) if paths is None else PathFinder.find_spec(prefix + top, paths)
    for word in inside:
        places = spec.submodule_search_locations if spec else None
        if spec is None or places is None:
            return None
        spec = PathFinder.find_spec(f"{spec.name}.{word}", list(places))
    return spec


def _place(name: str, spec: ModuleSpec | None, users: bool) -> Place | None:
    if spec is None:
        return None
    package = spec.submodule_search_locations is not None
    if spec.origin is None or not Path(spec.origin).is_file():  # a folder; or built in
        inside = list(spec.submodule_search_locations or ())
        return Place(name, package=bool(inside) and not _is_library(inside[0]))
    if users or is_users(spec.origin):
        return Place(name, Path(spec.origin).resolve(), package)
    return Place(name, installed=_installed(name.partition(".")[0]))


def _is_library(folder: str) -> bool:
    return not {"site-packages", "dist-packages"}.isdisjoint(Path(folder).parts)


@cache
def _distributions() -> Mapping[str, list[str]]:
    return importlib.metadata.packages_distributions()


def _installed(top: str) -> str | None:
    """Name and version of the distribution that a package belongs to."""
    names = _distributions().get(top)
    return f"{names[0]} {importlib.metadata.version(names[0])}" if names else None


class CodeVersions:
    """Versions of the parts of one study.

    Args:
      locate: finds the modules that it imports.
      entry: the module that sets STUDY, where that is a file; parts that no name holds are then
        versioned by the whole file. None of a study that is an object: they are followed from
        object to object.
      modules: those that may hold its parts under a name, by full name; `entry` first.
    """

    def __init__(self, locate: Locator, entry: Place | None, modules: Mapping[str, ModuleType]):
        self._graph = Graph(locate)
        self._locate, self._modules, self._entry = locate, modules, entry
        if entry is not None:
            self._graph.file(entry)

    def of(self, part: Part) -> CodeVersion:
        """The version of a part, as the study made it."""
        graph = self._graph
        roots = [*self._bound(part), *self._named_code(part)]
        graph.settle()
        return version_of(roots, graph.acts)

    def _bound(self, part: Part) -> list[Piece]:
        """What makes the part: the statements that bind it or a list that it is in, the call that
        makes it, or else the whole file of the study, or the object as it is."""
        graph, places = self._graph, list(self._places())
        for place, module in places:
            for name, value in vars(module).items():
                found = graph.name(graph.file(place), name) if value is part else []
                if found:
                    return found
        kinds = [kind.__name__ for kind in type(part).__mro__]
        for place, _ in places:
            file = graph.file(place)
            calls = file.source.parts_called(part.name, kinds) if file.source else []
            if len(calls) == 1:
                label = f"{part.role} {part.name}"
                return [graph.statement(file, Statement(calls[0]), label)]
        if self._entry is None:
            label = f"{part.role} {part.name}"
            return [Live(graph).fields(part, label, ("version", "doc", "undeclared"))]
        for place, module in places:
            for name, value in vars(module).items():
                found = graph.name(graph.file(place), name) if _holds(value, part) else []
                if found:
                    return found
        return graph.whole(graph.file(self._entry))

    def _places(self) -> Iterator[tuple[Place, ModuleType]]:
        for name, module in self._modules.items():
            entry = self._entry
            place = entry if entry and name == entry.name else self._locate(name)
            if place is not None and place.file is not None:
                yield place, module

    def _named_code(self, part: Any) -> list[Piece]:
        """What its fields name as "module:name"."""
        found = []
        for field in fields(part):
            value = getattr(part, field.name)
            if isinstance(value, str) and _NAMED.fullmatch(value):
                module, _, name = value.partition(":")
                found += self._graph.module(module, (name,))
        return found


def _holds(value: Any, part: Part) -> bool:
    if isinstance(value, dict):
        value = list(value.values())
    return isinstance(value, (list, tuple)) and any(one is part for one in value)
