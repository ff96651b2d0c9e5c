"""In place of JAX's page on tracers: which key, which line, what to do."""

from __future__ import annotations

import contextlib
import linecache
from collections.abc import Iterator, Mapping

import numpy as np

from orchestrator.user_code import guarded, user_frames
from trainables.declarations import PartError, Trial
from trainables.packs.traced_keys import keys_needed, needs_value


@contextlib.contextmanager
def traced_values_named(trial: Trial, arrays: Mapping[str, np.ndarray]) -> Iterator[None]:
    """For making a program: where Python needs the value of a traced key, the error says which.

    Raises:
      PartError: in place of JAX's own.
    """
    try:
        yield
    except Exception as error:
        if not needs_value(error) or not user_frames(error):
            raise
        raise PartError(_sentence(trial, arrays, error)) from error


def _sentence(trial: Trial, arrays: Mapping[str, np.ndarray], error: Exception) -> str:
    frame = user_frames(error)[-1]
    line = linecache.getline(frame.filename, frame.lineno or 0).strip()
    place = f"{frame.filename}:{frame.lineno}" + (f" (`{line}`)" if line else "")
    try:
        with guarded():
            names = keys_needed(trial, arrays, error)
    except Exception:  # a user's code that fails otherwise when it is run again
        names = ()
    if not names:
        return (
            f"{place} needs a Python value of something that is computed within the program; "
            "use jnp.where, jax.lax.cond or another function of JAX's in its place"
        )
    one = len(names) == 1
    declared = " and ".join(f'Key("{n}", "{trial.keys[n].type}", kind="static")' for n in names)
    return (
        f"{place} needs a Python value, and the key{'' if one else 's'} {' and '.join(names)} "
        f"{'is' if one else 'are'} traced: declare {'it' if one else 'them'} static, {declared}"
    )
