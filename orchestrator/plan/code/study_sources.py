"""Where a study of the user's own comes from: a Python file, a module, or an object."""

from __future__ import annotations

import contextlib
import importlib
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path

from orchestrator.errors import RequestError
from orchestrator.machine.environment import prepare_for_user_code
from orchestrator.plan.code.versions import CodeVersions, Locator
from orchestrator.plan.neighbours import Neighbours, neighbours_of
from orchestrator.source.closure import Place
from orchestrator.user_code import described, guarded, is_users
from search_spaces import Study

ENTRY_POINT_GROUP = "gradsweep.studies"
SENT_CODE = "CODE_VERSIONS"
"""Set by a file that stands for a study that was an object: the pieces of code of its parts."""

StudySource = str | Path | Study
"""A study of one's own: the path of a file that sets STUDY, a module ("package.module" or
"package.module:NAME"), or the object."""


class StudyFileError(Exception):
    """A user's study file failed; the cause is the user's own exception, frames and all."""


@dataclass
class Loaded:
    """A study as it was found.

    Attributes:
      origin: as it is called in messages.
      code: versions of its parts; None where its code cannot be had.
      neighbours: the modules beside it, where they are its own.
      pieces: what versions of its parts stand for, where they were known before.
    """

    study: Study
    origin: str
    code: CodeVersions | None
    neighbours: Neighbours | None = None
    pieces: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def asked(space: str | Study, study: StudySource | None = None) -> tuple[str, StudySource | None]:
    """The name of what is asked for, and where its study comes from: `plan(STUDY)` means all of
    its spaces, `plan("name/space", study=STUDY)` one of them.

    Raises:
      RequestError: two studies are given.
    """
    if not isinstance(space, Study):
        return space, study
    if study is not None and study is not space:
        raise RequestError(
            "a study is given twice; give plan(STUDY), or the name of a space and study=STUDY"
        )
    return space.name, space


def load(source: StudySource, start: str | None = None) -> Loaded:
    """The study of a file, a module or an object.

    Args:
      start: the folder that Python started in, which it may import from; None: the current one.

    Raises:
      RequestError: there is none. StudyFileError: its file or module raised.
    """
    if isinstance(source, Study):
        return Loaded(source, f"study {source.name}", _object_code(source))
    if is_module(str(source)):
        return _load_module(str(source), start)
    file = Path(source)
    study, neighbours = load_study_file(str(source), start)
    module = sys.modules[neighbours.name_of(file)]
    entry = Place(module.__name__, file.resolve())
    modules = {entry.name: module, **neighbours.modules}
    code = CodeVersions(Locator(neighbours), entry, modules)
    return Loaded(study, str(source), code, neighbours, getattr(module, SENT_CODE, {}))


def offered() -> list[Loaded]:
    """Studies that installed packages offer."""
    points = entry_points(group=ENTRY_POINT_GROUP)
    if points:
        prepare_for_user_code()
    return [Loaded(p.load(), p.module, _installed_code(p.module)) for p in points]


def is_module(study: str) -> bool:
    """Whether a study is named as a module: "package.module", "package.module:NAME"."""
    words = bool(re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*(:[A-Za-z_]\w*)?", study))
    return words and not study.endswith(".py") and not Path(study).is_file()


def load_study_file(path: str, start: str | None = None) -> tuple[Study, Neighbours]:
    """The STUDY of a Python file, and the modules beside it.

    Raises:
      RequestError: no such file, or it defines no STUDY.
      StudyFileError: the file itself raised.
    """
    file = Path(path)
    if not file.is_file():
        raise RequestError(f"no study file {path}; give the path of a Python file that sets STUDY")
    if file.suffix != ".py":
        raise RequestError(f"{path} is no Python file: the name of a study file ends with .py")
    installed = {point.module.partition(".")[0] for point in entry_points(group=ENTRY_POINT_GROUP)}
    neighbours = neighbours_of(file.resolve(), _start(start), installed)
    try:
        with guarded():
            study = getattr(neighbours.run(file), "STUDY", None)
    except Exception as error:
        raise _failed(path, error, neighbours) from error
    if not isinstance(study, Study):
        raise RequestError(f"{path} sets no STUDY; see examples/my_study.py")
    return study, neighbours


def _load_module(name: str, start: str | None) -> Loaded:
    """The study of a module, found as `python` would find it in the folder it starts in; and the
    modules of that folder, where it is one of them.

    Raises:
      RequestError: no such module, or it sets no study. StudyFileError: the module raised.
    """
    module, _, attribute = name.partition(":")
    neighbours = _neighbours_of_module(module, start)
    full = f"{neighbours.name}.{module}" if neighbours else module
    try:
        with guarded():
            loaded = importlib.import_module(full)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{full}.".startswith(f"{error.name}."):
            raise _failed(name, error, neighbours) from error
        raise RequestError(
            f"there is no module {module} here or installed; give the path of a Python file that "
            "sets STUDY, or a module such as package.module:STUDY"
        ) from error
    except Exception as error:
        raise _failed(name, error, neighbours) from error
    study = getattr(loaded, attribute or "STUDY", None)
    if not isinstance(study, Study):
        raise RequestError(f"{module} sets no {attribute or 'STUDY'} that is a Study")
    if neighbours is None:
        return Loaded(study, name, _installed_code(module))
    locate = Locator(neighbours)
    entry = locate(full)
    assert entry is not None
    modules = {full: loaded, **neighbours.modules}
    return Loaded(study, name, CodeVersions(locate, entry, modules), neighbours)


def _neighbours_of_module(module: str, start: str | None) -> Neighbours | None:
    """The modules of the folder that Python started in, if this one is among them."""
    folder = _start(start)
    if folder is None:
        return None
    neighbours = neighbours_of(folder.resolve() / f"{module}.py", folder.resolve())
    return neighbours if neighbours.has(module.partition(".")[0]) else None


def _object_code(study: Study) -> CodeVersions:
    """Versions of the parts of a study that is an object: in the files of modules that hold them
    under a name, or from object to object."""
    values = {id(study), *map(id, study.parts)}
    holding = {
        name: module
        for name, module in list(sys.modules.items())
        if is_users(getattr(module, "__file__", None) or "<none>")
        and any(id(value) in values for value in list(vars(module).values()))
    }
    return CodeVersions(Locator(), None, holding)


def _installed_code(module: str) -> CodeVersions | None:
    """Versions of the parts of a study that an installed package offers; None without its file."""
    top = module.partition(".")[0]
    locate = Locator(own=[top])
    entry = locate(module)
    if entry is None or entry.file is None:
        return None
    inside = {n: m for n, m in list(sys.modules.items()) if n == top or n.startswith(f"{top}.")}
    return CodeVersions(locate, entry, {module: sys.modules[module], **inside})


def _failed(study: str, error: Exception, neighbours: Neighbours | None) -> StudyFileError:
    said = neighbours.in_words(described(error)) if neighbours else described(error)
    hint = "".join(
        f"; {origin} hides gradsweep's package {package!r}: rename it, or import from gradsweep"
        for package, origin in (neighbours.hiding if neighbours else {}).items()
    )
    return StudyFileError(f"{study} failed: {said}{hint}")


def code_beside(study: str) -> dict[str, Path]:
    """The modules that a study imports from its own folder or the current one, by the places that
    they have under one folder: without a study file itself, with a study that is a module.

    Raises:
      RequestError, StudyFileError: the study cannot be read.
    """
    prepare_for_user_code()
    found = load(study)
    neighbours = found.neighbours
    if neighbours is None:  # installed, as it is to be on every node
        return {}
    for part in (*found.study.parts, *found.study.probes):
        neighbours.named(part)
    try:
        with guarded():
            return neighbours.files()
    except Exception as error:  # of a module that only a part names
        raise _failed(study, error, neighbours) from error


def _start(given: str | None) -> Path | None:
    if given is not None:
        return Path(given)
    with contextlib.suppress(OSError):  # it has been deleted since
        return Path.cwd()
    return None
