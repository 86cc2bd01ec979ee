"""Which errors no repetition heals: what the engine refuses, and wrong calls of its functions."""

from __future__ import annotations

import json
import re
import traceback
from pathlib import Path

from scripts.host.config_values import ConfigValues
from scripts.host.context import Context
from scripts.host.exceptions import Reject, Retry, Wait
from scripts.host.flow_state import State
from scripts.host.http import Headers, Http, HttpError, Response
from scripts.host.secret_values import Secrets
from scripts.host.signatures import SignatureError
from scripts.host.tables import Table
from scripts.protocol.errors import NEVER_ALLOWED, Lasting
from scripts.protocol.starts import StartRefused

_OURS = "|".join(
    each.__name__
    for each in (
        *(ConfigValues, Context, Headers, Http, Reject, Response, Retry, Secrets, State, Table),
        Wait,
    )
)
# What Python itself says of wrong calls, and of attributes that are not there.
_WRONG_CALL = re.compile(rf"(?:{_OURS})\.\w+\(\) (?:got|missing|takes) |'(?:{_OURS})' object ")
_FOLDERS = tuple(f"{Path(__file__).parents[1] / folder}/" for folder in ("host", "protocol"))
_JSON = f"{Path(json.__file__).parent}/"


def is_lasting(error: BaseException) -> bool:
    """Say whether a script or callable that raised this would raise it again."""
    if isinstance(error, HttpError | SignatureError | StartRefused):
        return error.kind in NEVER_ALLOWED
    if isinstance(error, TypeError | AttributeError) and (
        _WRONG_CALL.match(str(error)) or _failed_within(error)
    ):
        return True
    return isinstance(error, Lasting)


def is_unknown_name(error: BaseException) -> bool:
    """Say whether a name stands nowhere: it is not one of a variable that has no value yet."""
    return type(error) is NameError and str(error) == f"name {error.name!r} is not defined"


def _failed_within(error: BaseException) -> bool:
    """Say whether a function of the engine raised it at what it was given."""
    files = [frame.f_code.co_filename for frame, _ in traceback.walk_tb(error.__traceback__)]
    return next((f for f in reversed(files) if not f.startswith(_JSON)), "").startswith(_FOLDERS)
