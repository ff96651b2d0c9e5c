"""An optimizer as its part's function makes it, its mistakes said in a sentence."""

from __future__ import annotations

import inspect
import re
import sysconfig
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import optax

from trainables.core.length_reads import LengthReads, Watched
from trainables.declarations import Optimizer, PartError

Hparams = Mapping[str, jax.Array]
_OURS = Path(__file__).resolve().parents[1]
_LIBRARIES = tuple(Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib", "platlib"))
_LENGTH = ("epochs", "steps_per_epoch", "total_steps")


class _Config(Watched):
    """What the function of an optimizer may read of a config."""

    def __init__(
        self,
        part: Optimizer,
        values: Mapping[str, Any],
        traced: Hparams,
        reads: LengthReads | None,
    ):
        super().__init__(values, reads, part)
        self._part, self._traced = part, frozenset(traced)

    def __missing__(self, key: str) -> Any:
        whose = f"building optimizer {self._part.name} reads config[{key!r}]"
        if key in self._traced and key not in _LENGTH:
            raise PartError(f"{whose}, which is a traced key; read hparams[{key!r}]")
        if key in _LENGTH and not self._part.reads_length:
            raise PartError(
                f"{whose}, but the part declares reads_length=False; leave that out, so that "
                "programs may depend on the length"
            )
        if key in _LENGTH:
            raise PartError(f"{whose}, which is not known in a stage that reads no task")
        raise PartError(f"{whose}, which is no static key of the trial; declare it as a Key")


def built(
    part: Optimizer,
    config: Mapping[str, Any],
    hparams: Hparams,
    reads: LengthReads | None = None,
) -> optax.GradientTransformationExtraArgs:
    """The update rule of a part at a lane's hyperparameters.

    Its `update` takes `value`, `grad` and `value_fn` for rules that read the loss, such as
    `optax.contrib.reduce_on_plateau`, `optax.lbfgs` and `optax.contrib.sophia`; others ignore them.

    Args:
      config: the trial's constants, and its length where the part reads it.
      reads: notes whether it does.

    Raises:
      PartError: the function returned no gradient transformation, or it or what it returned needs a
        Python number where it has an array; also while `init` and `update` are traced.
    """

    def made(hparams: Hparams) -> optax.GradientTransformationExtraArgs:
        own = reads.watched(part, hparams) if reads else hparams
        found = part.builder()(_Config(part, config, hparams, reads), own)
        if not (
            callable(getattr(found, "init", None)) and callable(getattr(found, "update", None))
        ):
            what = "nothing" if found is None else f"a {type(found).__name__}"
            raise PartError(
                f"the function of optimizer {part.name} returned {what}; it must return an "
                "optax.GradientTransformation"
            )
        return _reading_what_it_takes(optax.with_extra_args_support(found))

    with _explained(part, hparams, made):
        rule = made(hparams)

    def init(params: Any) -> Any:
        with _explained(part, hparams, lambda h: made(h).init(params)):
            return rule.init(params)

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, Any]:
        if "value_fn" in extra:
            extra |= _as_objective(extra["value_fn"])

        def again(hparams: Hparams) -> Any:
            return made(hparams).update(updates, state, params, **extra)

        with _explained(part, hparams, again):
            return rule.update(updates, state, params, **extra)

    return optax.GradientTransformationExtraArgs(init, update)


def _as_objective(value_fn: Callable[[Any], Any]) -> dict[str, Any]:
    """The loss by both names that rules of optax read it by. Those that search along a line refuse
    arguments that neither they nor the loss take, so that one takes the other's."""

    def value(params: Any, obj_fn: Any = None) -> Any:
        return value_fn(params)

    return {"value_fn": value, "obj_fn": value_fn}


def _reading_what_it_takes(
    rule: optax.GradientTransformationExtraArgs,
) -> optax.GradientTransformationExtraArgs:
    """`rule` given those further arguments of an update that it names."""
    known = inspect.signature(rule.update).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values()):
        return rule

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, Any]:
        return rule.update(updates, state, params, **{n: extra[n] for n in extra if n in known})

    return optax.GradientTransformationExtraArgs(rule.init, update)


@contextmanager
def _explained(
    part: Optimizer, hparams: Hparams, attempt: Callable[[Hparams], Any]
) -> Iterator[None]:
    """Turns JAX's page about an array that optax needs as a Python number into a sentence; a
    user's own condition on one is reported as every model's is (`trainables.packs.traced_keys`)."""
    try:
        yield
    except jax.errors.ConcretizationTypeError as error:
        where, function = _place(error)
        key = _culprit(hparams, attempt) if function else None
        if key is None:
            raise
        raise PartError(
            f"optimizer {part.name}{where}: optax's {function} is given hparams[{key!r}], an array "
            "of each lane, and needs a Python number; make the schedule for a rate of 1 and scale "
            f"it, gradsweep.scaled_schedule(schedule, hparams[{key!r}]), or declare the key static"
        ) from error


def _culprit(hparams: Hparams, attempt: Callable[[Hparams], Any]) -> str | None:
    """The key whose array was needed as a number. JAX names the argument that a value comes from,
    of the innermost function that it traces: so the mistake is made once more in one of these."""
    like = {n: jax.ShapeDtypeStruct(jax.numpy.shape(v), v.dtype) for n, v in hparams.items()}
    try:
        jax.eval_shape(lambda hparams: (attempt(hparams), 0)[1], like)
    except jax.errors.ConcretizationTypeError as error:
        named = re.findall(r"argument hparams\['([^']*)'\]", str(error))
        return named[0] if len(set(named)) == 1 else None
    except Exception:  # another mistake, which is not the one to tell
        return None
    return None


def _place(error: BaseException) -> tuple[str, str]:
    """(" (file:line)" of a user's own code that the error passed last, the library's function that
    it called there); "" for what there is not."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [i for i, frame in enumerate(frames) if _is_users(frame.filename)]
    if not own:
        return "", ""
    at, calls = own[-1], frames[own[-1] + 1 :]
    called = calls[0].name if calls and "optax" in Path(calls[0].filename).parts else ""
    named = called if called.isidentifier() else ""
    return f" ({frames[at].filename}:{frames[at].lineno})", named


def _is_users(filename: str) -> bool:
    file = Path(filename)
    if filename.startswith("<") or file.is_relative_to(_OURS):
        return False
    return not any(file.is_relative_to(folder) for folder in _LIBRARIES)
