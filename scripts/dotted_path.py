"""Finds the function of a dotted path, and checks that it may serve as a script."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from typing import Any

from django.conf import settings

from scripts.protocol.errors import ScriptInvalid

# A function of a message and a context.
Function = Callable[[Any, Any], Any]


def callables_are_on() -> bool:
    return bool(settings.ASYNCENGINE_CALLABLE_MODULES)


def callable_fault(path: str) -> str:
    """Return why no script can have this path, "" where one can."""
    try:
        function_at(path)
    except ScriptInvalid as error:
        return str(error)
    return ""


def function_at(path: str) -> Function:
    """Return the function that a dotted path names. Raises ScriptInvalid with the reason."""
    return _function_at(path, tuple(settings.ASYNCENGINE_CALLABLE_MODULES))


@lru_cache(maxsize=1024)
def _function_at(path: str, modules: tuple[str, ...]) -> Function:
    path = path.strip()
    function = _allowed_function(path, modules)
    _require_signature(path, function)
    return function


def allowed_function(path: str) -> Callable[..., Any]:
    """Return the function at a dotted path, with any arguments. Raises ScriptInvalid."""
    return _allowed_function(path, tuple(settings.ASYNCENGINE_CALLABLE_MODULES))


def allowed_member(path: str) -> Any:
    """Return what an allowed module has at a path, None for nothing. Raises ScriptInvalid."""
    module, _, name = path.rpartition(".")
    _require_allowed(module, tuple(settings.ASYNCENGINE_CALLABLE_MODULES))
    return getattr(_imported(module), name, None)


def _allowed_function(path: str, modules: tuple[str, ...]) -> Callable[..., Any]:
    module, _, name = path.rpartition(".")
    if not module or not all(part.isidentifier() for part in path.split(".")):
        raise ScriptInvalid("Give the dotted path of a function, as in myproject.steps.score.")
    _require_allowed(module, modules)
    function = getattr(_imported(module), name, None)
    if function is None:
        raise ScriptInvalid(f"The module {module} has no function {name!r}.")
    if not callable(function) or inspect.isclass(function):
        raise ScriptInvalid(f"{path} is no function.")
    _require_function(path, function, modules)
    # Otherwise functions that an allowed module has imported could be run, such as subprocess.run.
    _require_allowed(str(getattr(function, "__module__", None)), modules)
    return function


def _require_function(path: str, found: Any, modules: tuple[str, ...]) -> None:
    """Refuse an object of another module's class: its own module does not show what it calls."""
    if inspect.isroutine(found) or "__module__" in getattr(found, "__dict__", {}):
        return
    kind = type(found)
    if not _is_allowed(kind.__module__, modules):
        raise ScriptInvalid(
            f"{path} is an object of {kind.__module__}.{kind.__qualname__}, not a function: write a"
            " function (def) that calls it, and name that one."
        )


def _is_allowed(module: str, modules: tuple[str, ...]) -> bool:
    return any(f"{module}.".startswith(f"{allowed}.") for allowed in modules)


def _require_allowed(module: str, modules: tuple[str, ...]) -> None:
    if not modules:
        raise ScriptInvalid(
            "Callables are off: ASYNCENGINE_CALLABLE_MODULES names no module of the project."
        )
    if not _is_allowed(module, modules):
        raise ScriptInvalid(
            f"The module {module} is not allowed; ASYNCENGINE_CALLABLE_MODULES allows"
            f" {', '.join(modules)} and what is inside."
        )


def _imported(module: str) -> Any:
    try:
        return import_module(module)
    except (Exception, SystemExit) as error:
        raise ScriptInvalid(
            f"The module {module} cannot be imported: {type(error).__name__}: {error}"
        ) from error


def import_fault(module: str) -> str:
    """Return why a module cannot be imported, "" where it can."""
    try:
        _imported(module)
    except ScriptInvalid as error:
        return str(error)
    return ""


def _require_signature(path: str, function: Function) -> None:
    if inspect.iscoroutinefunction(function):
        raise ScriptInvalid(f"{path} must be a plain function, not an async one.")
    try:
        inspect.signature(function).bind(None, None)
    except TypeError as error:
        raise ScriptInvalid(f"{path} must take (message, context).") from error
    except ValueError:
        # Some functions of C do not show their parameters.
        pass
