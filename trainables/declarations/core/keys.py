"""One declared key of a trial's config: its type, range, unit, default and what it changes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import Any, Literal

Scalar = int | float | str | bool | None

Kind = Literal["static", "init", "traced", "host", "recording"]
"""What a key changes.

static: the compiled epoch program. init: the initialisation program only, so it splits no pack.
traced: an array inside the program. host: the loop around it. recording: what is recorded, never
the trial's identity. All but recording keys are hashed into the trial id.
"""


class _Required:
    def __repr__(self) -> str:
        return "REQUIRED"


REQUIRED: Any = _Required()


def shown(value: Any) -> str:
    """`repr(value)`, cut where it is longer than a sentence bears; its type where it has none."""
    try:
        text = repr(value)
    except Exception:  # an integer of over 4300 digits, a user's own class
        return f"a value of type {type(value).__name__}"
    return text if len(text) <= 200 else f"{text[:100]}[...]{text[-100:]}"


def as_plain(value: Any) -> Any:
    """A scalar of NumPy, JAX or another library, a Fraction or a Decimal as a Python value; others
    as they are. A float of less than 64 bits is the decimal that was written: np.float32(0.1) is
    0.1."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    try:
        if isinstance(value, (Fraction, Decimal)):
            return int(value) if value == int(value) else float(value)
        found = value.item()
        if isinstance(found, (bool, int, str)) or value.dtype.name == "float64":
            return found
        near = float(found)
        shorter = (float(f"{near:.{digits}g}") for digits in range(1, 17))
        return next((v for v in shorter if float(value.dtype.type(v)) == near), near)
    except Exception:  # no scalar, or none that a decimal stands for
        return value


def in_full(value: float) -> str:
    """A limit as it was written: 0.9999999 is not 1."""
    return repr(float(value)).removesuffix(".0")


MOST_INT = 2**31 - 1
"""Greatest integer of a key that declares no `high`: counts of epochs, units and steps are stored
and trained in 32 bits."""


@dataclass(frozen=True)
class Key:
    """Declaration of one config key.

    `named` maps a paper's spelling of a value to the value, or to a function of the config that
    computes it ("1/sqrt(L)"). `low` and `high` are inclusive unless `open_low` / `open_high`; an
    integer without `high` is at most MOST_INT. A key with `declared=False` is one that a study's
    functions read and nobody declares; its type is that of the values in the study's spaces.

    `null_is_static` is of a nullable traced key: whether it is null is a constant of the program,
    `config["<name>_given"]`, so that a trial without it neither computes nor stores anything for
    it. `added` is of a key that its part was given after stores had been written: at its default a
    static one is left out of the program's hash.
    """

    name: str
    type: Literal["int", "float", "str", "bool"]
    default: Any = REQUIRED
    kind: Kind = "static"
    doc: str = ""
    unit: str = ""
    low: float | None = None
    high: float | None = None
    open_low: bool = False
    open_high: bool = False
    choices: tuple[str, ...] = ()
    nullable: bool = False
    aliases: tuple[str, ...] = ()
    named: Mapping[str, Scalar | Callable[[Mapping[str, Any]], Scalar]] = field(
        default_factory=dict
    )
    declared: bool = True
    null_is_static: bool = False
    added: bool = False

    def __post_init__(self) -> None:
        if str(self.kind) == "observation":  # its former name, in users' files
            object.__setattr__(self, "kind", "recording")

    @property
    def hashed(self) -> bool:
        return self.kind != "recording"

    def describe(self) -> str:
        """The accepted values in words, for errors and `--help`."""
        if self.choices:
            return "one of " + ", ".join(self.choices)
        words = {
            "int": "an integer",
            "float": "a number",
            "str": "a string",
            "bool": "true or false",
        }
        text = words[self.type]
        if self.low is not None:
            text += f" {'>' if self.open_low else '>='} {in_full(self.low)}"
        if self.high is not None:
            joint = " and" if self.low is not None else ""
            text += f"{joint} {'<' if self.open_high else '<='} {in_full(self.high)}"
        if self.named:
            text += ", or " + ", ".join(f"'{n}'" for n in self.named)
        return text + (", or null" if self.nullable else "")

    def parse(self, text: str) -> Any:
        """A value typed on a command line, as the Python value that `coerce` then checks."""
        lowered = text.strip().lower()
        if self.nullable and lowered in ("null", "none", ""):
            return None
        if text in self.named or self.type == "str":
            return text
        if self.type == "bool" and lowered in ("true", "false", "1", "0", "yes", "no"):
            return lowered in ("true", "1", "yes")
        for convert in (int, float):
            try:
                return convert(text)
            except ValueError:
                continue
        return text

    def coerce(self, value: Any, config: Mapping[str, Any]) -> Scalar:
        """`value` in the declared type. `config` resolves named values.

        Raises:
          ValueError: not of the type, not finite, or out of range; the text says what is accepted.
          TypeError, KeyError: a named value cannot be computed from this config.
        """
        if isinstance(value, str) and value in self.named:
            value = self.named[value]
            if callable(value):
                try:
                    value = value(config)
                except (ArithmeticError, ValueError) as error:  # what it reads is out of range
                    raise TypeError(str(error)) from error
        if value is None:
            if self.nullable:
                return None
            raise ValueError(f"{self.name} must be {self.describe()}; got null")
        given, value = value, as_plain(value)
        if not self._accepts(value):
            raise self._refused(given, value)
        if self.type == "int":
            return int(value)
        # -0.0 and 0.0 are one value, so one id.
        return float(value) + 0.0 if self.type == "float" else value

    def _refused(self, given: Any, value: Any) -> ValueError:
        number = self.type == "int" and isinstance(value, (int, float)) and value == value
        limit = f", at most {MOST_INT}" if number and self._too_large(value) else ""
        text = f"{self.name} must be {self.describe()}{limit}; got {shown(given)}"
        return ValueError(text if self.declared else f"{text}. {self._inferred(value)}")

    def _inferred(self, value: Any) -> str:
        """Why a key that nobody declares has the type that it has."""
        text = "No Key declares it, so its type is that of the space's values: declare Key("
        if self.type == "int" and isinstance(value, float):
            return f'{text}"{self.name}", "float"), or write numbers such as 2.0 in the space'
        return f'{text}"{self.name}", ...) with another'

    def _too_large(self, value: float) -> bool:
        """Whether a number is no count: beyond 32 bits, where no limit is declared."""
        return self.high is None and abs(value) > MOST_INT

    def _accepts(self, value: Any) -> bool:
        if self.type == "bool":
            return isinstance(value, bool)
        if self.type == "str":
            return isinstance(value, str) and (not self.choices or value in self.choices)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return False
        try:
            if not math.isfinite(value):
                return False
        except OverflowError:  # an integer beyond every float
            return False
        if self.type == "int" and (value != int(value) or self._too_large(value)):
            return False
        low, high = self.low, self.high
        if low is not None and (value < low or (self.open_low and value == low)):
            return False
        return high is None or not (value > high or (self.open_high and value == high))


def cadence(probe: str, what: str, *aliases: str) -> Key:
    """Key `<probe>_every` of a probe that is measured between epochs.

    Args:
      what: is recorded, as the object of "Record".
    """
    return Key(
        f"{probe}_every", "int", None, "recording",
        f"Record {what} every k-th epoch; 0: at the first and last epoch only; null: never.",
        unit="epochs", low=0, nullable=True, aliases=aliases,
    )  # fmt: skip
