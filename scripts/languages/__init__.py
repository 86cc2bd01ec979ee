"""The languages that scripts are written in, as the script host sees them."""

from collections.abc import Callable
from typing import Any, Protocol

from scripts.errors import ScriptError
from scripts.languages import python


class Script(Protocol):
    """A compiled script."""

    def run(self, body: bytes, context: Any) -> Any:
        """Run on one message, given as JSON text, and return the output as a Python value.

        May raise anything: a ScriptError stands for itself, ``explain`` turns all else into one.
        """

    def explain(self, error: BaseException) -> ScriptError:
        """Tell what an exception that came out of ``run`` means to the script's author."""

    def forget(self) -> None:
        """Drop all that the last message left behind."""


# The name of a language -> what compiles a script's name and code, or raises ScriptInvalid.
LANGUAGES: dict[str, Callable[[str, str], Script]] = {
    "python": python.PythonScript,
}


def preload() -> None:
    """Import all that scripts may need later, when a host can open no file any more."""
    python.preload()
