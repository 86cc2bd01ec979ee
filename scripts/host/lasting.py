"""Which errors no repetition heals: what the engine refuses, and mistakes in calls and names.

A mistake may stand where the script comes only after an outside call that failed. Then the next
delivery may go another way.
"""

from __future__ import annotations

import errno
import json
import re
import traceback
from pathlib import Path
from types import ModuleType

from scripts.host.config_values import ConfigValues
from scripts.host.context import Context
from scripts.host.exceptions import Reject, Retry, Wait
from scripts.host.flow_state import State
from scripts.host.http import Headers, Http, HttpError, Response
from scripts.host.secret_values import Secrets
from scripts.host.signatures import SignatureError
from scripts.host.tables import Table
from scripts.protocol.errors import HOST_NOT_ALLOWED, INVALID, NEVER_ALLOWED, Lasting, WrongArgument
from scripts.protocol.starts import StartRefused

_CLASSES = {
    each.__name__: each
    for each in (
        *(ConfigValues, Context, Headers, Http, Reject, Response, Retry, Secrets, State, Table),
        Wait,
    )
}
_OURS = "|".join(_CLASSES)
# What Python itself says of wrong calls, and of attributes that are not there.
_WRONG_CALL = re.compile(rf"({_OURS})\.\w+\(\) (?:got|missing|takes) |'({_OURS})' object ")
_FOLDERS = {Path(__file__).parents[1] / folder for folder in ("host", "protocol")}
_JSON = Path(json.__file__).parent


def is_lasting(error: BaseException) -> bool:
    """Say whether it is about what is not allowed or not there."""
    if isinstance(error, HttpError | SignatureError | StartRefused):
        return error.kind in NEVER_ALLOWED
    return isinstance(error, Lasting) or is_closed(error)


def is_closed(error: BaseException) -> bool:
    """Say whether the sandbox has refused a call of the system, such as that which opens a file."""
    return isinstance(error, PermissionError) and error.errno == errno.EPERM


def is_passing(kind: object, context: Context | None) -> bool:
    """Say whether a host was refused because the values changed after the script had read them: the
    next delivery reads the new ones.
    """
    return kind == HOST_NOT_ALLOWED and context is not None and context.config._have_changed()


def is_wrong_call(error: BaseException) -> bool:
    """Say whether a function of the engine was called with what it does not take."""
    if isinstance(error, HttpError | SignatureError):
        return error.kind == INVALID
    if isinstance(error, WrongArgument):
        return True
    return isinstance(error, TypeError | AttributeError) and (
        _is_about_ours(error) or _failed_within(error)
    )


def is_unknown_name(error: BaseException) -> bool:
    """Say whether a name stands nowhere, also in a module: it is not that of a variable that has no
    value yet.
    """
    if isinstance(error, AttributeError) and isinstance(error.obj, ModuleType):
        return True
    return type(error) is NameError and str(error) == f"name {error.name!r} is not defined"


def _is_about_ours(error: TypeError | AttributeError) -> bool:
    """Say whether Python speaks of a class of the engine, and not of another of that name."""
    said = _WRONG_CALL.match(str(error))
    if said is None:
        return False
    name = said[1] or said[2]
    if isinstance(error, AttributeError) and error.obj is not None:
        return isinstance(error.obj, _CLASSES[name])
    meant = (frame.f_globals.get(name) for frame, _ in traceback.walk_tb(error.__traceback__))
    return all(each is None or each is _CLASSES[name] for each in meant)


def _failed_within(error: BaseException) -> bool:
    """Say whether a function of the engine raised it at what it was given."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    folders = (Path(frame.f_code.co_filename).parent for frame in reversed(frames))
    return next((folder for folder in folders if folder != _JSON), None) in _FOLDERS
