"""What a study file imports by a bare name: modules beside it, and of the folder Python started in.

Python keeps one module of a name in a process. Here each study has its own: `import net` in a study
or in a module beside it, finds `net` in a package made for that study, under which all of them are
known (`gradsweep_study_<file>_<hash of its place>.net`). Nothing outside sees them; `sys.path`
stays as it is. A package that offers studies by an entry point stays Python's, for its parts are
known already.
"""

from __future__ import annotations

import builtins
import contextlib
import hashlib
import importlib
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import fields, replace
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from trainables.declarations import Part, Probe

_OURS = ("gradsweep", "orchestrator", "results", "search_spaces", "trainables")
_HOME = Path(__file__).resolve().parents[2]
_CODE = (
    "build", "cell", "run", "runtime", "schedule", "init", "step", "evaluate", "restart", "measure",
)  # fmt: skip
"""Fields of declarations that may name their code, as "net:build"."""


class Neighbours:
    """The modules of one study.

    Attributes:
      name: of the package that they are in.
      folders: where they are looked for, the study's own first.
      hiding: packages of ours that a file of the user's took the place of, and that file.
    """

    def __init__(self, name: str, folders: Sequence[Path], installed: Collection[str] = ()):
        """
        Args:
          folders: where they are looked for, the study's own first.
          installed: packages that offer studies.
        """
        self._installed = {*installed}
        self.name = name
        self.hiding: dict[str, str] = {}
        self.folders = [str(folder) for folder in folders]
        self._read: dict[str, tuple[str, bytes | None]] = {}
        self.builtins = {**vars(builtins), "__import__": self._import}
        self._loaded = False
        self._named: set[str] = set()
        spec = ModuleSpec(name, None, is_package=True)
        spec.submodule_search_locations = self.folders
        sys.modules[name] = module_from_spec(spec)

    @property
    def changed(self) -> bool:
        """Whether a name that was imported means another file now, or its file has changed."""
        importlib.invalidate_caches()
        return any(self._at(name) != known for name, known in self._read.items())

    def _at(self, name: str) -> tuple[str, bytes | None]:
        """The file that a module would be read from, and a hash of its content."""
        parent = sys.modules.get(name.rpartition(".")[0])
        spec = PathFinder.find_spec(name, getattr(parent, "__path__", ()))
        path = str(spec.origin) if spec else ""
        return path, _digest(path)

    def has(self, top: str) -> bool:
        """Whether a bare name (without dots) means a module of this study."""
        if f"{self.name}.{top}" in sys.modules:
            return True
        own = PathFinder.find_spec(f"{self.name}.{top}", self.folders)
        if own is None or top in self._installed:
            return False
        if top in _OURS and Path(str(own.origin)).resolve().is_relative_to(_HOME / top):
            return False
        away = found_by_python(top)
        if away is None or away.origin is None or away.origin == own.origin:
            return True
        # A folder without __init__.py hides nothing, nor does the folder that Python started in.
        if own.origin is None or not _is_in(own, self.folders[0]):
            return False
        if away.origin in ("built-in", "frozen"):
            return False
        if top in _OURS:
            self.hiding[top] = own.origin
        return True

    def named(self, part: Any) -> Any:
        """A part or probe whose code is found where the study would find it."""
        known = {field.name for field in fields(part)}
        code = {name: getattr(part, name) for name in _CODE if name in known}
        found: dict[str, Any] = {
            name: f"{self.name}.{place}"
            for name, place in code.items()
            if isinstance(place, str) and self.has(place.partition(":")[0].partition(".")[0])
        }
        self._named |= {place.partition(":")[0] for place in found.values()}
        if isinstance(part, Part) and any(isinstance(probe, Probe) for probe in part.probes):
            found["probes"] = tuple(
                self.named(probe) if isinstance(probe, Probe) else probe for probe in part.probes
            )
        return replace(part, **found) if found else part

    def files(self) -> dict[str, Path]:
        """What it has imported, and what its parts name, by place under one folder: modules, and
        packages with all modules in them."""
        for name in self._named:
            importlib.import_module(name)
        found: dict[str, Path] = {}
        for top in {name.split(".")[1] for name in self._read}:
            spec = PathFinder.find_spec(f"{self.name}.{top}", self.folders)
            if spec is None:
                continue
            inside = [Path(folder) for folder in spec.submodule_search_locations or ()]
            for folder in reversed(inside):
                found |= {str(p.relative_to(folder.parent)): p for p in folder.rglob("*.py")}
            if not inside:
                found[Path(str(spec.origin)).name] = Path(str(spec.origin))
        return found

    @property
    def modules(self) -> dict[str, ModuleType]:
        """Those imported so far, by full name."""
        inside = f"{self.name}."
        return {name: m for name, m in list(sys.modules.items()) if name.startswith(inside)}

    def in_words(self, text: str) -> str:
        """A message of Python's with the names that the user knows."""
        return text.replace(f"{self.name}.", "")

    def name_of(self, file: Path) -> str:
        """The full name of the study file as a module."""
        return f"{self.name}.{file.stem.replace('.', '_')}"

    def run(self, file: Path) -> ModuleType:
        """The study file as a module, run anew. Raises whatever the file does."""
        name = self.name_of(file)
        spec = spec_from_file_location(name, file)
        assert spec is not None
        module = sys.modules[name] = module_from_spec(spec)
        vars(module)["__builtins__"] = self.builtins
        try:
            with self._on_path():
                # Not the loader: its cache of compiled files may hold the text of a second ago.
                exec(compile(file.read_bytes(), str(file), "exec"), vars(module))
        except BaseException:
            forget(name if self._loaded else self.name)
            raise
        self._loaded = True
        return module

    @contextlib.contextmanager
    def _on_path(self) -> Iterator[None]:
        """What the study file asks `importlib` for may lie beside it too, and is its alone."""
        before = set(sys.modules)
        sys.path += map(_Entry, self.folders)
        importlib.invalidate_caches()
        try:
            yield
        finally:
            sys.path[:] = [path for path in sys.path if not isinstance(path, _Entry)]
            tops = {name.partition(".")[0] for name in sys.modules.keys() - before}
            for top in tops.difference(_OURS, self._installed):
                found = PathFinder.find_spec(top, self.folders)
                if found and found.origin and _file_of(sys.modules.get(top)) == found.origin:
                    forget(top)

    def _import(
        self,
        name: str,
        globals: Any = None,
        locals: Any = None,
        fromlist: Sequence[str] = (),
        level: int = 0,
    ) -> Any:
        """What an import statement calls in the study's modules."""
        top = name.partition(".")[0]
        try:
            if level or not self.has(top):
                return builtins.__import__(name, globals, locals, fromlist, level)
            if fromlist:
                return builtins.__import__(f"{self.name}.{name}", globals, locals, fromlist)
            importlib.import_module(f"{self.name}.{name}")
            return sys.modules[f"{self.name}.{top}"]
        except ImportError as error:
            error.msg = self.in_words(error.msg or "")
            raise

    def source(self, name: str, path: str) -> bytes:
        """The content of a module's file, remembered as the one imported."""
        content = Path(path).read_bytes()
        self._read[name] = path, hashlib.sha256(content).digest()
        return content


_known: dict[str, Neighbours] = {}
"""By the name of their package."""
_newest: dict[tuple[Path, ...], str] = {}


def neighbours_of(file: Path, start: Path | None, installed: Collection[str] = ()) -> Neighbours:
    """The modules of the study in `file`; those that an earlier call imported, while no file of
    theirs has changed.

    Args:
      start: the folder that Python started in.
      installed: packages that offer studies.
    """
    folders = [file.parent] if start in (None, file.parent) else [file.parent, start]
    place = (file, *folders)
    known = _known.get(_newest.get(place, ""))
    if known is not None and not known.changed:
        return known
    mark = hashlib.sha256("\0".join(map(str, place)).encode()).hexdigest()[:8]
    name = f"gradsweep_study_{file.stem.replace('.', '_')}_{mark}"
    while name in _known:  # modules of former content live as long as trials made of them
        name += "_"
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
    _newest[place] = name
    _known[name] = Neighbours(name, folders, installed)
    return _known[name]


def forget(name: str) -> None:
    """Drops a module, those inside it, and the study that it stands for."""
    _known.pop(name, None)
    for module in [m for m in sys.modules if m == name or m.startswith(f"{name}.")]:
        del sys.modules[module]


class _Entry(str):
    """An entry of `sys.path` that is there while a study file runs."""

    __slots__ = ()


class _Finder:
    """Finds the modules of studies by their full names."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        study = _known.get(fullname.partition(".")[0])
        if study is None or path is None:
            return None
        spec = PathFinder.find_spec(fullname, path)
        if spec is not None and type(spec.loader) is SourceFileLoader:
            spec.loader = _Loader(fullname, spec.loader.path, study)
        return spec


class _Loader(SourceFileLoader):
    def __init__(self, fullname: str, path: str, study: Neighbours):
        super().__init__(fullname, path)
        self._study = study

    def get_code(self, fullname: str) -> Any:
        return self.source_to_code(self._study.source(fullname, self.path), self.path)

    def exec_module(self, module: ModuleType) -> None:
        vars(module)["__builtins__"] = self._study.builtins
        super().exec_module(module)


def found_by_python(top: str) -> ModuleSpec | None:
    """What Python itself finds by this name."""
    for finder in sys.meta_path:
        spec = finder.find_spec(top, None)
        if spec is not None:
            return spec
    return None


def _is_in(spec: ModuleSpec, folder: str) -> bool:
    inside = spec.submodule_search_locations
    return str(Path(inside[0] if inside else str(spec.origin)).parent) == folder


def _file_of(module: ModuleType | None) -> str | None:
    return getattr(getattr(module, "__spec__", None), "origin", None)


def _digest(path: str) -> bytes | None:
    try:
        return hashlib.sha256(Path(path).read_bytes()).digest()
    except OSError:
        return None
