"""What a piece of a user's code depends on among the user's own files, found without running it.

From the statements that bind a name this follows the names that they read: to other statements of
the file, through imports into other files of the user's, and to installed packages, which count by
version. Statements made for what they do (`jax.config.update(...)`) count for every file met.
"""

from __future__ import annotations

import ast
import builtins
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from orchestrator.source.statements import Chain, Source, Statement, Target


@dataclass(frozen=True)
class Place:
    """Where a module is.

    Attributes:
      name: its full name, which relative imports start from.
      file: of a module of the user's; None of an installed one, and of Python's and ours.
      package: whether modules of the user's lie inside it.
      installed: name and version of the distribution that it belongs to, where that counts.
    """

    name: str
    file: Path | None = None
    package: bool = False
    installed: str | None = None


Locate = Callable[[str], Place | None]
"""Full name -> where the module is; None: nowhere."""


@dataclass
class Piece:
    """One node of the graph: a statement, a package, or a value.

    Attributes:
      label: as `plan` names it: "DeepNet in net.py".
      text: hash of what it says itself; "" where it is only a joint.
      edges: what it reads, by the words that it uses for that, in a fixed order.
    """

    label: str
    text: str
    edges: list[tuple[str, Piece]] = field(default_factory=list)
    statement: Statement | None = None


@lru_cache(maxsize=512)
def _parsed(content: bytes) -> Source:
    """A file's statements; a launch asks for them several times."""
    return Source(content)


class _File:
    """A file of the user's."""

    def __init__(self, place: Place):
        assert place.file is not None
        self.place, self.name = place, place.file.name
        content = place.file.read_bytes()
        try:
            self.source: Source | None = _parsed(content)
        except (SyntaxError, ValueError):  # compiled code, say
            self.source = None
        self.content = hashlib.sha256(content).hexdigest()[:16]

    @cached_property
    def parent(self) -> str:
        """The package that relative imports start from."""
        return self.place.name if self.place.package else self.place.name.rpartition(".")[0]


class Graph:
    """Pieces of code and what each reads, filled as they are asked for.

    Args:
      locate: finds modules.
    """

    def __init__(self, locate: Locate):
        self._locate = locate
        self._files: dict[Path, _File] = {}
        self._pieces: dict[Any, Piece] = {}
        self._acts: dict[Path, list[Piece]] = {}
        self._waiting: list[tuple[_File, Statement, Piece]] = []
        self._asked: set[tuple[Path | None, str, Chain]] = set()

    def file(self, place: Place) -> _File:
        """Reads a file of the user's; what it does, and what the files that it imports do, counts
        from now on."""
        assert place.file is not None
        known = self._files.get(place.file)
        if known is None:
            known = self._files[place.file] = _File(place)
            self._enter(known)
        return known

    @property
    def acts(self) -> list[Piece]:
        """Pieces that count whatever is asked for, of all files read."""
        groups = sorted(self._acts.values(), key=lambda pieces: [p.text for p in pieces])
        return [piece for pieces in groups for piece in pieces]

    def _enter(self, file: _File) -> None:
        acts = self._acts[file.place.file or Path()] = []
        if file.source is None:
            return
        above = file.place.name.split(".")[:-1]
        for depth in range(1, len(above) + 1):  # packages around it are imported first
            self._read(self._locate(".".join(above[:depth])))
        for statement in file.source.statements:
            for target in statement.imported_modules if not statement.inert else ():
                name = self._full_name(file, target)
                place = self._locate(name)
                self._read(place)
                if place and place.package and target.attribute not in (None, "*"):
                    self._read(self._locate(f"{name}.{target.attribute}"))
        effects = file.source.effects
        acts += [
            self.statement(file, statement)
            for statement in file.source.statements
            if statement in effects or self._is_registered(file, statement)
        ]

    def _read(self, place: Place | None) -> None:
        if place is not None and place.file is not None:
            self.file(place)

    def _is_registered(self, file: _File, statement: Statement) -> bool:
        """Whether a decorator of the user's own may take note of it, in a table say."""
        return any(
            piece.statement is not None and piece.statement.takes_note
            for name in statement.decorators
            if not statement.inert
            for piece in self._named(file, name, (), statement)
        )

    def statement(self, file: _File, statement: Statement, label: str = "") -> Piece:
        """The piece that a statement is; what it reads is filled in by `settle`."""
        key = file.place.file, statement
        known = self._pieces.get(key)
        if known is None:
            what = label or ", ".join(statement.binds) or f"`{_short(statement)}`"
            known = self._pieces[key] = Piece(
                f"{what} in {file.name}", statement.text, statement=statement
            )
            self._waiting.append((file, statement, known))
        return known

    def settle(self) -> None:
        """Follows what all pieces asked for read, and what that reads."""
        while self._waiting:
            file, statement, piece = self._waiting.pop()
            for name, chains in sorted(statement.reads.items()):
                for chain in sorted(chains):
                    word = ".".join((name, *chain))
                    piece.edges += [(word, p) for p in self._named(file, name, chain, statement)]

    def name(self, file: _File, name: str) -> list[Piece]:
        """What a name of a file stands for: every piece that sets it; none where nothing does."""
        return self._named(file, name, (), None)

    def whole(self, file: _File) -> list[Piece]:
        """All of a file."""
        if file.source is None:
            key = "file", file.place.file
            if key not in self._pieces:
                self._pieces[key] = Piece(file.name, file.content)
            return [self._pieces[key]]
        return [self.statement(file, s) for s in file.source.statements if not s.is_import]

    def module(self, name: str, chain: Chain = ()) -> list[Piece]:
        """What `name.a.b` stands for: a module, or what it has under that name."""
        place = self._locate(name)
        if place is None or place.file is None:
            if place is not None and place.package and chain:  # a folder without __init__.py
                return self.module(f"{name}.{chain[0]}", chain[1:])
            return [self._installed(name, chain, place)]
        file = self.file(place)
        return (self._attribute(file, chain) if chain else []) or self.whole(file)

    def _attribute(self, file: _File, chain: Chain) -> list[Piece]:
        """What an attribute of a module stands for; none where the file does not say."""
        found = self._named(file, chain[0], chain[1:], None)
        inside = f"{file.place.name}.{chain[0]}"
        if not found and file.place.package and self._locate(inside) is not None:
            return self.module(inside, chain[1:])
        return found

    def _named(self, file: _File, name: str, chain: Chain, reader: Statement | None) -> list[Piece]:
        """What a name stands for where `reader` reads it."""
        asked = file.place.file, name, chain
        if asked in self._asked:  # files that import a name from each other
            return []
        self._asked.add(asked)
        try:
            return list(self._meanings(file, name, chain, reader))
        finally:
            self._asked.remove(asked)

    def _meanings(
        self, file: _File, name: str, chain: Chain, reader: Statement | None
    ) -> Iterator[Piece]:
        binders = file.source.binders.get(name, []) if file.source else []
        local = [reader] if reader is not None and name not in reader.binds else []
        targets = [t for one in (*local, *binders) for t in one.imports.get(name, ())]
        for statement in binders:
            if not statement.is_import and statement is not reader:
                yield self.statement(file, statement)
        for target in targets:
            if target.attribute != "*":
                taken = (target.attribute,) if target.attribute else ()
                yield from self.module(self._full_name(file, target), (*taken, *chain))
        if binders or targets or file.source is None:
            return
        for target in file.source.stars:
            module = self._full_name(file, target)
            place = self._locate(module)
            found = []
            if place is not None and place.file is not None:
                found = self._named(self.file(place), name, chain, None)
            elif place is not None and place.installed and name not in vars(builtins):
                found = [self._installed(module, (name, *chain), place)]
            if found:
                yield from found
                return

    def _full_name(self, file: _File, target: Target) -> str:
        if not target.level:
            return target.module
        above = file.parent.split(".") if file.parent else []
        above = above[: len(above) - target.level + 1]
        return ".".join([*above, *([target.module] if target.module else [])])

    def _installed(self, name: str, chain: Chain, place: Place | None) -> Piece:
        """What is not the user's own: what is taken of it counts by its name, and the version of
        its distribution where that counts."""
        word = ".".join((name, *chain))
        if word not in self._pieces:
            joint = self._pieces[word] = Piece("", word)
            if place is not None and place.installed:
                package, _, version = place.installed.partition(" ")
                key = "package", package
                if key not in self._pieces:
                    self._pieces[key] = Piece(f"package {package}", version)
                joint.edges.append(("", self._pieces[key]))
        return self._pieces[word]


@dataclass(frozen=True)
class CodeVersion:
    """The version of a part by its code.

    Attributes:
      text: the version, "code-" and 12 digits.
      pieces: label -> hash of what it says, or the version of a package.
    """

    text: str
    pieces: Mapping[str, str]


def version_of(roots: Sequence[Piece], acts: Iterable[Piece]) -> CodeVersion:
    """The version of what `roots` depend on, together with statements that always count.

    Names of files are no part of it; which piece reads which is: every piece gets a hash of its
    own text and of what it reads, again and again until no two pieces that differ in what lies
    below them share one.
    """
    top = Piece("", "root", [*(("", p) for p in roots), *(("acts", p) for p in acts)])
    found: dict[int, Piece] = {}
    waiting = [top]
    while waiting:
        piece = waiting.pop()
        if id(piece) not in found:
            found[id(piece)] = piece
            waiting += [one for _, one in piece.edges]
    colours = {key: piece.text for key, piece in found.items()}
    distinct = 0
    while len({*colours.values()}) > distinct:
        distinct = len({*colours.values()})
        colours = {
            key: _hash([piece.text, *(f"{word}={colours[id(p)]}" for word, p in piece.edges)])
            for key, piece in found.items()
        }
    digest = _hash([colours[id(top)], *sorted(colours.values())])
    pieces: dict[str, str] = {}
    for piece in found.values():
        if piece.label:  # two statements may set one name
            known = pieces.get(piece.label)
            pieces[piece.label] = (
                piece.text if known is None else _hash(sorted([known, piece.text]))
            )
    return CodeVersion(f"code-{digest[:12]}", dict(sorted(pieces.items())))


def _hash(words: Sequence[str]) -> str:
    return hashlib.sha256("\0".join(words).encode()).hexdigest()[:16]


def _short(statement: Statement) -> str:
    text = " ".join(ast.unparse(statement.node).split())
    return text if len(text) <= 60 else f"{text[:57]}..."
