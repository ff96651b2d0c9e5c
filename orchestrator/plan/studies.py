"""Finding studies: the built-in ones, installed entry points, and a user's own file."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import entry_points
from pathlib import Path

from orchestrator.errors import RequestError
from orchestrator.machine.environment import prepare_for_user_code
from orchestrator.plan.code_versions import CodeVersions, Locator
from orchestrator.plan.neighbours import Neighbours, neighbours_of
from orchestrator.plan.part_checks import part_problems, probe_problems
from orchestrator.plan.undeclared_keys import with_undeclared
from orchestrator.source.closure import Place
from orchestrator.user_code import UserExitError, described, guarded, raised_by_user
from search_spaces import Space, Study, builtin_studies
from trainables.declarations import (
    ConfigError,
    Part,
    Registry,
    Trial,
    builtin_registry,
    nearest,
)

ENTRY_POINT_GROUP = "gradsweep.studies"


class StudyFileError(Exception):
    """A user's study file failed; the cause is the user's own exception, frames and all."""


@contextlib.contextmanager
def of_a_study() -> Iterator[None]:
    """For code in which functions that a study declares run: what one of them raises is the
    study's failure, whatever it is.

    Raises:
      StudyFileError: one raised.
    """
    try:
        with guarded():
            yield
    except UserExitError as error:
        raise StudyFileError(f"a study failed: {error}") from error
    except ConfigError as error:  # beside those of configs, which are reported together
        raise StudyFileError(f"a study failed: {error}") from error
    except Exception as error:
        if isinstance(error, StudyFileError) or not raised_by_user(error):
            raise
        raise StudyFileError(f"a study failed: {described(error)}") from error


@dataclass
class Catalogue:
    """Every study at hand and the registry of their parts.

    Attributes:
      code: what parts without a version of their own depend on: version -> label of a piece of code
        -> hash of it, or the version of a package.
    """

    studies: dict[str, Study]
    registry: Registry
    code: dict[str, Mapping[str, str]] = field(default_factory=dict)

    def spaces(self) -> Iterator[tuple[str, Study, Space]]:
        """(full name, study, space) of every space."""
        for study in self.studies.values():
            for name, space in study.spaces.items():
                yield f"{study.name}/{name}", study, space

    def from_studies(self, trial: Trial) -> list[Part]:
        """The parts of a trial that studies declare, which are not built in."""
        ours = builtin_registry().parts
        return [part for part in trial.parts.values() if (part.role, part.name) not in ours]

    def find(self, name: str) -> list[tuple[str, Study, Space]]:
        """The space of that name, or all spaces of the study of that name.

        Raises:
          RequestError: neither exists; names the nearest.
        """
        found = [(full, study, space) for full, study, space in self.spaces() if full == name]
        if not found:
            found = [
                (full, study, space) for full, study, space in self.spaces() if study.name == name
            ]
        if not found:
            known = [full for full, _, _ in self.spaces()]
            raise RequestError(
                f"unknown space {name!r}{nearest(name, known + list(self.studies))}; "
                "`gradsweep spaces` lists them"
            )
        return found


def catalogue(study_path: str | None = None, start: str | None = None) -> Catalogue:
    """All studies: built in, installed, and the one in the file `study_path`.

    Args:
      start: the folder that the launch started in, which the file may import from too; None: the
        current one.
    """
    found = Catalogue(builtin_studies(), builtin_registry())
    for study in found.studies.values():
        _add_parts(found, study)
    points = entry_points(group=ENTRY_POINT_GROUP)
    if points or study_path is not None:
        prepare_for_user_code()
    for point in points:
        study = point.load()
        _add(found, study, point.module, _installed_code(point.module))
    if study_path is not None:
        study, neighbours = load_study_file(study_path, start)
        _add(found, study, study_path, _file_code(Path(study_path), neighbours), neighbours)
    return found


def _file_code(file: Path, neighbours: Neighbours) -> CodeVersions:
    """Versions of the parts of a study file that has run."""
    entry = Place(neighbours.name_of(file), file.resolve())
    modules = {entry.name: sys.modules[entry.name], **neighbours.modules}
    return CodeVersions(Locator(neighbours), entry, modules)


def _installed_code(module: str) -> CodeVersions | None:
    """Versions of the parts of a study that an installed package offers; None without its file."""
    top = module.partition(".")[0]
    locate = Locator(own=[top])
    entry = locate(module)
    if entry is None or entry.file is None:
        return None
    inside = {n: m for n, m in list(sys.modules.items()) if n == top or n.startswith(f"{top}.")}
    return CodeVersions(locate, entry, {module: sys.modules[module], **inside})


def _add(
    found: Catalogue,
    study: Study,
    origin: str,
    code: CodeVersions | None,
    neighbours: Neighbours | None = None,
) -> None:
    problems = study.problems()
    if problems:
        raise RequestError([f"{origin}: {problem}" for problem in problems])
    if study.name in found.studies:
        raise RequestError(f"a study named {study.name} exists already; rename STUDY in {origin}")
    found.studies[study.name] = study
    _add_parts(found, study, code, neighbours)


def _add_parts(
    found: Catalogue,
    study: Study,
    code: CodeVersions | None = None,
    neighbours: Neighbours | None = None,
) -> None:
    problems = [one for probe in study.probes for one in probe_problems(probe)]
    problems += [one for part in study.parts for one in part_problems(part)]
    if problems:
        raise RequestError([f"study {study.name}: {problem}" for problem in problems])
    probes, parts = study.probes, study.parts
    try:
        parts = [_versioned(found, part, code) for part in parts]
        if neighbours is not None:
            probes, parts = map(neighbours.named, probes), map(neighbours.named, parts)
        found.registry.add_probes(*probes)
        found.registry.add(*with_undeclared(study, found.registry, list(parts)))
    except (ValueError, TypeError, AttributeError) as error:  # a Part made of something else
        raise RequestError(f"study {study.name}: {error}") from error


def _versioned(found: Catalogue, part: Part, code: CodeVersions | None) -> Part:
    """`part` with a version by its code, where it declares none."""
    if part.version is not None or code is None:
        return part
    version = code.of(part)
    found.code[version.text] = version.pieces
    return replace(part, version=version.text)


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
        said = neighbours.in_words(described(error))
        hint = "".join(
            f"; {origin} hides gradsweep's package {package!r}: rename it, or import from gradsweep"
            for package, origin in neighbours.hiding.items()
        )
        raise StudyFileError(f"{path} failed: {said}{hint}") from error
    if not isinstance(study, Study):
        raise RequestError(f"{path} sets no STUDY; see examples/my_study.py")
    return study, neighbours


def code_beside(path: str) -> dict[str, Path]:
    """The modules that a study file imports from its own folder or the current one, by the places
    that they have under one folder.

    Raises:
      RequestError, StudyFileError: as for `load_study_file`.
    """
    prepare_for_user_code()
    study, neighbours = load_study_file(path)
    for part in (*study.parts, *study.probes):
        neighbours.named(part)
    try:
        with guarded():
            return neighbours.files()
    except Exception as error:  # of a module that only a part names
        raise StudyFileError(f"{path} failed: {neighbours.in_words(described(error))}") from error


def _start(given: str | None) -> Path | None:
    if given is not None:
        return Path(given)
    with contextlib.suppress(OSError):  # it has been deleted since
        return Path.cwd()
    return None
