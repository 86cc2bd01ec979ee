"""What the tests of a script host share: a script, and what it must have been."""

from collections.abc import Callable
from typing import Any

from scripts.protocol.calls import Outcome
from scripts.protocol.errors import (
    ScriptError,
)

CORRELATION_ID = "0190a1b2-0000-7000-8000-000000000001"
# The way around the import list: a module that a script may import refers to others.
AROUND_IMPORTS = """
import json
modules = json.codecs.sys.modules
os, sys = modules["os"], json.codecs.sys
"""
Run = Callable[..., Outcome]


def error(outcome: Outcome, kind: type[ScriptError]) -> Any:
    assert type(outcome.error) is kind, outcome
    assert outcome.output is None
    return outcome.error


def returning(expression: str, before: str = "") -> str:
    """A script whose payload is the value of an expression."""
    return f"""
{before}
def run(message, context):
    message["payload"] = {expression}
    return message
"""
