"""A study that is an object (of a notebook, of a script) on its way to workers: a Python file that
holds it by value."""

from __future__ import annotations

import base64
import contextlib
import functools
import importlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from typing import Any, ParamSpec, TypeVar

from orchestrator.errors import RequestError
from orchestrator.machine.scratch import launch_folder
from orchestrator.plan.code.study_sources import SENT_CODE, asked
from orchestrator.plan.studies import of_a_study, settled
from orchestrator.user_code import guarded, is_users, said
from search_spaces import Study

P = ParamSpec("P")
R = TypeVar("R")

_TEXT = '''"""Study {name}, sent by value for one launch. Made by gradsweep."""

import base64

from ray.cloudpickle import cloudpickle

{code_name} = {code!r}
STUDY = cloudpickle.loads(base64.b85decode(
    {study!r}
))
'''


def sends_objects(function: Callable[P, R]) -> Callable[P, R]:
    """For a function of (space, *, study, ...): a study that is an object is given to it as a file.

    Its first argument may then be the study itself, which means all of its spaces.
    """

    @functools.wraps(function)
    def called(*given: Any, **options: Any) -> Any:
        rest: Any = function
        space = given[0] if given else options.pop("space")
        name, study = asked(space, options.pop("study", None))
        if not isinstance(study, Study):
            return rest(name, *given[1:], study=study, **options)
        with sent(study) as path:
            return rest(name, *given[1:], study=path, **options)

    return called


@contextlib.contextmanager
def sent(study: Study) -> Iterator[str]:
    """The path of a file, there for as long as the context, that sets STUDY to this one.

    Functions and classes of the user's own travel by value, with the values that they refer to;
    those of installed packages by name.

    Raises:
      RequestError: it holds something that cannot be sent.
    """
    with launch_folder() as folder:
        path = folder / f"{study.name}.py"
        path.write_text(_as_text(study))
        yield str(path)


def _as_text(study: Study) -> str:
    from ray.cloudpickle import cloudpickle

    with of_a_study():
        found, code = settled(study)
    found = replace(
        found, parts=tuple(map(_loaded, found.parts)), probes=tuple(map(_loaded, found.probes)),
        figures={},
    )  # fmt: skip
    own = [m for name, m in list(sys.modules.items()) if name != "__main__" and _is_users(m)]
    try:
        for module in own:
            cloudpickle.register_pickle_by_value(module)
        with guarded():
            data = cloudpickle.dumps(found)
    except Exception as error:
        raise RequestError(
            f"study {study.name} cannot be sent to workers ({type(error).__name__}: "
            f"{said(error)}); put what cannot be copied inside a function, or the study into a "
            "file and give its path"
        ) from error
    finally:
        for module in own:
            with contextlib.suppress(ValueError):
                cloudpickle.unregister_pickle_by_value(module)
    text = base64.b85encode(data).decode()
    return _TEXT.format(name=study.name, code_name=SENT_CODE, code=code, study=text)


def _is_users(module: Any) -> bool:
    return is_users(getattr(module, "__file__", None) or "<none>")


def _loaded(part: Any) -> Any:
    """A part or probe with code of the user's own in place of its name, which workers lack."""
    found = {}
    for field in fields(part):
        value = getattr(part, field.name)
        if isinstance(value, str) and ":" in value:
            module, _, name = value.partition(":")
            with contextlib.suppress(ImportError, ValueError):
                loaded = importlib.import_module(module)
                if _is_users(loaded):
                    found[field.name] = getattr(loaded, name)
    return replace(part, **found) if found else part
