"""Keeps changes by a Python script from reaching the next message.

A host runs many messages one after the other. Each has its own globals, builtins and context
variables (where `decimal` keeps its precision), but all of them share the modules. So attributes of
modules and of their classes cannot be set, and `random` is reseeded after a message that has seeded
it. Other state inside modules is not restored, such as the dialects of `csv` or the first weekday
of `calendar`, nor are changes by a script that works around its list of imports.
"""

import ctypes
import functools
import random
import sys
import types
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

# The place of a type's flags, in words, and the flag that makes types of C refuse attributes.
_FLAGS_AT = 21
_IMMUTABLE = 1 << 8


class FrozenModule(types.ModuleType):
    """A module that all messages of a script share."""

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        self.__refuse("set", name)

    def __delattr__(self, name: str) -> NoReturn:
        self.__refuse("deleted", name)

    def __refuse(self, what: str, name: str) -> NoReturn:
        module = self.__name__
        raise AttributeError(f"{name!r} cannot be {what}: all messages share the module {module!r}")


class _Random:
    """Reseeds `random` after a message that has seeded it."""

    def __init__(self) -> None:
        self._is_chosen = False

    def watch(self) -> None:
        random.seed = self._watched(random.seed)
        random.setstate = self._watched(random.setstate)

    def restore(self) -> None:
        if self._is_chosen:
            self._is_chosen = False
            _seed()

    def _watched(self, function: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(function)
        def choose(*args: Any, **kwargs: Any) -> None:
            self._is_chosen = True
            function(*args, **kwargs)

        return choose


_seed = random.seed
_random = _Random()
restore_random = _random.restore


def freeze(names: Iterable[str]) -> None:
    """Freeze those of these modules that are loaded, with their packages and public submodules."""
    _random.watch()
    modules = [sys.modules[name] for name in {*names, *map(_package, names)} if name in sys.modules]
    while modules:
        module = modules.pop()
        if not isinstance(module, FrozenModule):
            modules += _submodules(module)
            for value in vars(module).values():
                if isinstance(value, type):
                    _make_immutable(value)
            module.__class__ = FrozenModule


def _package(name: str) -> str:
    return name.partition(".")[0]


def _submodules(module: types.ModuleType) -> list[types.ModuleType]:
    return [
        value
        for name, value in vars(module).items()
        if isinstance(value, types.ModuleType) and value.__name__ == f"{module.__name__}.{name}"
    ]


def _make_immutable(kind: type) -> None:
    flags = ctypes.c_ulong.from_address(id(kind) + _FLAGS_AT * ctypes.sizeof(ctypes.c_ulong))
    # Other implementations of Python have the flags elsewhere.
    if flags.value == kind.__flags__:
        flags.value |= _IMMUTABLE
