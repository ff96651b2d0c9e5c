"""Which keys of a config a user's functions read: the strings in their code.

`config["depth"]` has "depth" among the constants of its code. Functions and classes of the user's
own that it refers to are looked at as well, and strings in tuples, lists and dicts that it names.
Where a function passes a config on as `Net(**config)`, names of parameters count as read.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator, Mapping
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from orchestrator.user_code import is_users

_UNPACKS = "CALL_FUNCTION_EX"
_MOST = 1000
"""Entries of a table that are looked at."""
_users = functools.cache(is_users)


def strings_read(*roots: Any) -> frozenset[str]:
    """The strings in the code of these functions, classes and objects, and of what they refer to
    among the user's own.

    Args:
      roots: each is looked at whoever wrote it; what it refers to only where it is of the same
        top package, or in a file of the user's.
    """
    found = _Strings()
    for root in roots:
        found.home = _top(root)
        found.look(root, root=True)
    return frozenset(found.strings | (found.parameters if found.unpacks else set()))


class _Strings:
    def __init__(self) -> None:
        self.strings: set[str] = set()
        self.parameters: set[str] = set()
        self.unpacks = False
        self.home = ""
        self._seen: dict[int, Any] = {}

    def look(self, value: Any, root: bool = False) -> None:
        if isinstance(value, str):
            self.strings.add(value)
            return
        if isinstance(value, (bytes, int, float, complex, type(None))) or id(value) in self._seen:
            return
        self._seen[id(value)] = value  # kept, so that no other object gets its number
        if isinstance(value, Mapping):
            for key, item in list(value.items())[:_MOST]:
                self.look(key)
                self.look(item)
        elif isinstance(value, (tuple, list, set, frozenset)):
            for item in list(value)[:_MOST]:
                self.look(item)
        elif isinstance(value, functools.partial):
            for item in (value.func, value.args, value.keywords):
                self.look(item, root)
        elif isinstance(value, MethodType):
            self.look(value.__func__, root)
            self.look(value.__self__)
        elif isinstance(value, (staticmethod, classmethod)):
            self.look(value.__func__, root)
        elif isinstance(value, property):
            for item in (value.fget, value.fset):
                self.look(item, root)
        elif isinstance(value, FunctionType):
            if root or self._own(value):
                self._function(value)
        elif isinstance(value, type):
            if root or self._own(value):
                self._class(value)
        elif not isinstance(value, ModuleType) and (root or self._own(type(value))):
            self.look(type(value), root)
            self.look(getattr(value, "__dict__", {}))
        elif hasattr(value, "__wrapped__"):  # what jax.jit and functools.wraps make
            self.look(value.__wrapped__, root)

    def _own(self, value: Any) -> bool:
        if isinstance(value, FunctionType) and _users(value.__code__.co_filename):
            return True
        if _top(value) == self.home:
            return True
        module = sys.modules.get(getattr(value, "__module__", None) or "")
        return _users(getattr(module, "__file__", None) or "<none>")

    def _function(self, function: FunctionType) -> None:
        code = function.__code__
        self.parameters |= {*code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]}
        known = function.__globals__
        for one in _codes(code):
            self.unpacks |= _unpacks(one)
            for constant in one.co_consts:
                if not isinstance(constant, CodeType):
                    self.look(constant)
            for name in one.co_names:
                value = known.get(name)
                if isinstance(value, ModuleType) and _users(getattr(value, "__file__", "") or "<>"):
                    for attribute in one.co_names:
                        self.look(vars(value).get(attribute))
                else:
                    self.look(value)
        for cell in function.__closure__ or ():
            try:
                self.look(cell.cell_contents)
            except ValueError:  # not yet filled
                continue
        self.look(function.__defaults__)
        self.look(function.__kwdefaults__)
        self.look(getattr(function, "__wrapped__", None))

    def _class(self, kind: type) -> None:
        for name, value in list(vars(kind).items()):
            if name not in ("__module__", "__doc__", "__qualname__", "__dict__", "__weakref__"):
                self.look(value)
        for base in kind.__bases__:
            self.look(base)


def _top(value: Any) -> str:
    module = getattr(value, "__module__", None) or getattr(type(value), "__module__", "")
    return str(module).partition(".")[0]


def _codes(code: CodeType) -> Iterator[CodeType]:
    """A code object and those inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _unpacks(code: CodeType) -> bool:
    """Whether it calls something with `**`."""
    import dis

    return any(
        step.opname == _UNPACKS and (step.arg or 0) & 1 for step in dis.get_instructions(code)
    )
