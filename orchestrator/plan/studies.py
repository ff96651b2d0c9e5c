"""Every study at hand, with its parts: built in, installed, and a user's own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from orchestrator.errors import RequestError
from orchestrator.machine.environment import prepare_for_user_code
from orchestrator.plan.checks.parts import part_problems, probe_problems
from orchestrator.plan.checks.undeclared_keys import with_undeclared
from orchestrator.plan.code.study_sources import Loaded, StudyFileError, StudySource, load, offered
from orchestrator.plan.code.versions import CodeVersions
from orchestrator.plan.neighbours import Neighbours
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
      code: what parts that declare no version depend on: version -> label of a piece of code
        -> hash of it, or the version of a package.
      of_study: parts of the study that was read last, with their versions.
    """

    studies: dict[str, Study]
    registry: Registry
    code: dict[str, Mapping[str, str]] = field(default_factory=dict)
    of_study: list[Part] = field(default_factory=list)

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


def catalogue(study: StudySource | None = None, start: str | None = None) -> Catalogue:
    """All studies: built in, installed, and one of the user's own.

    Args:
      study: the file, module or object of the user's own.
      start: the folder that the launch started in, which the file may import from too; None: the
        current one.
    """
    found = Catalogue(builtin_studies(), builtin_registry())
    for ours in found.studies.values():
        _add_parts(found, ours)
    if study is not None:
        prepare_for_user_code()
    for one in offered():
        _add(found, one)
    if study is not None:
        _add(found, load(study, start))
    return found


def settled(study: Study) -> tuple[Study, dict[str, Mapping[str, str]]]:
    """A study that is an object with the versions of its parts and the keys that they read, so that
    they are the same wherever it is sent; and the pieces of code of these versions."""
    found = catalogue(study)
    return replace(study, parts=tuple(found.of_study)), found.code


def _add(found: Catalogue, one: Loaded) -> None:
    study = one.study
    problems = study.problems()
    if problems:
        raise RequestError([f"{one.origin}: {problem}" for problem in problems])
    if study.name in found.studies:
        raise RequestError(
            f"a study named {study.name} exists already; rename STUDY in {one.origin}"
        )
    found.studies[study.name] = study
    found.code |= one.pieces
    _add_parts(found, study, one.code, one.neighbours)


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
        found.of_study = with_undeclared(study, found.registry, list(parts))
        found.registry.add_probes(*probes)
        found.registry.add(*found.of_study)
    except (ValueError, TypeError, AttributeError) as error:  # a Part made of something else
        raise RequestError(f"study {study.name}: {error}") from error


def _versioned(found: Catalogue, part: Part, code: CodeVersions | None) -> Part:
    """`part` with a version by its code, where it declares none."""
    if part.version is not None or code is None:
        return part
    version = code.of(part)
    found.code[version.text] = version.pieces
    return replace(part, version=version.text)
