"""Finding studies: the built-in ones, installed entry points, and a user's own file."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path

from orchestrator.errors import RequestError
from orchestrator.machine.environment import prepare_for_user_code
from orchestrator.user_code import UserExitError, described, guarded, raised_by_user
from search_spaces import Space, Study, builtin_studies
from trainables.declarations import (
    ConfigError,
    Key,
    Part,
    Registry,
    Trial,
    builtin_registry,
    nearest,
    versioned_by_content,
)
from trainables.declarations.core.keys import shown

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
    except ConfigError as error:  # beside those of configs, which are told together
        raise StudyFileError(f"a study failed: {error}") from error
    except Exception as error:
        if isinstance(error, StudyFileError) or not raised_by_user(error):
            raise
        raise StudyFileError(f"a study failed: {described(error)}") from error


@dataclass
class Catalogue:
    """Every study at hand and the registry of their parts."""

    studies: dict[str, Study]
    registry: Registry

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


def catalogue(study_path: str | None = None) -> Catalogue:
    """All studies: built in, installed, and the one in the file `study_path`."""
    found = Catalogue(builtin_studies(), builtin_registry())
    for study in found.studies.values():
        _add_parts(found, study, b"")
    points = entry_points(group=ENTRY_POINT_GROUP)
    if points or study_path is not None:
        prepare_for_user_code()
    for point in points:
        spec = importlib.util.find_spec(point.module)
        _add(found, point.load(), Path(spec.origin or "") if spec else Path())
    if study_path is not None:
        _add(found, load_study_file(study_path), Path(study_path))
    return found


def _add(found: Catalogue, study: Study, path: Path) -> None:
    problems = study.problems()
    if problems:
        raise RequestError([f"{path}: {problem}" for problem in problems])
    if study.name in found.studies:
        raise RequestError(f"a study named {study.name} exists already; rename STUDY in {path}")
    found.studies[study.name] = study
    _add_parts(found, study, path.read_bytes() if path.is_file() else b"")


_FUNCTIONS = ("check", "variants", "rows", "sizes", "dataset", "chance_loss", "parent", "gate")
"""What a part may declare beside `build`."""


def _part_problems(part: Part) -> list[str]:
    """What of a part is not of its type, a sentence each."""
    if not isinstance(part.name, str):
        return [f"the name of a {part.role} must be a string; got {shown(part.name)}"]
    what = f"{part.role} {part.name}"
    found = [
        f"{name} of {what} must be a function; got {shown(value)}"
        for name, value in ((n, getattr(part, n)) for n in _FUNCTIONS if hasattr(part, n))
        if not callable(value)
        and (value is not None or name in ("sizes", "dataset", "chance_loss"))
    ]
    if not isinstance(part.version, int | str | None):
        found.append(f"version of {what} must be an integer or a string; got {shown(part.version)}")
    if not isinstance(part.keys, (tuple, list)):
        return [*found, f"keys of {what} must be a tuple of Key objects; got {shown(part.keys)}"]
    for key in part.keys:
        if not isinstance(key, Key):
            found.append(f"keys of {what} must be Key objects; got {shown(key)}")
        elif not isinstance(key.name, str):
            found.append(f"the name of a key of {what} must be a string; got {shown(key.name)}")
        else:
            limits = (("low", key.low), ("high", key.high))
            found += [
                f"{n} of the key {key.name} of {what} must be a number; got {shown(v)}"
                for n, v in limits
                if v is not None and (isinstance(v, bool) or not isinstance(v, (int, float)))
            ]
    return found


def _add_parts(found: Catalogue, study: Study, content: bytes) -> None:
    problems = [one for part in study.parts for one in _part_problems(part)]
    if problems:
        raise RequestError([f"study {study.name}: {problem}" for problem in problems])
    try:
        found.registry.add_probes(*study.probes)
        found.registry.add(*(versioned_by_content(part, content) for part in study.parts))
    except (ValueError, TypeError, AttributeError) as error:  # a Part made of something else
        raise RequestError(f"study {study.name}: {error}") from error


def load_study_file(path: str) -> Study:
    """The STUDY of a Python file.

    Raises:
      RequestError: no such file, or it defines no STUDY.
      StudyFileError: the file itself raised.
    """
    file = Path(path)
    if not file.is_file():
        raise RequestError(f"no study file {path}; give the path of a Python file that sets STUDY")
    if file.suffix != ".py":
        raise RequestError(f"{path} is no Python file: the name of a study file ends with .py")
    name = f"gradsweep_study_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        # A user's file may import its own neighbours.
        with _on_path(file.resolve().parent), guarded():
            # Not the loader: its cache of compiled files may hold the text of a second ago.
            exec(compile(file.read_bytes(), str(file), "exec"), vars(module))
    except Exception as error:
        del sys.modules[name]
        raise StudyFileError(f"{path} failed: {described(error)}") from error
    study = getattr(module, "STUDY", None)
    if not isinstance(study, Study):
        raise RequestError(f"{path} sets no STUDY; see examples/my_study.py")
    return study


@contextlib.contextmanager
def _on_path(folder: Path) -> Iterator[None]:
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(str(folder))
