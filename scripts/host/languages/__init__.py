"""The languages that scripts are written in, as the script host sees them."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from scripts.host.languages import examination, javascript, python
from scripts.protocol.errors import ScriptError, ScriptInvalid, ScriptRaised


class CompiledScript(Protocol):
    """A compiled script. Its time limit, which the worker enforces, is for error messages."""

    timeout_seconds: float | None

    def run(self, body: bytes, context: Any) -> Any:
        """Run on one message, given as JSON text, and return the output as a Python value.

        May raise anything: a ScriptError stands for itself, `explain` turns all else into one.
        """

    def explain(self, error: BaseException) -> ScriptError:
        """Return the error that an exception of `run` means for the script's author."""

    def forget(self) -> None:
        """Drop everything that the last message left behind."""


# The name and code of each library, in the order in which they are evaluated.
Libraries = Sequence[tuple[str, str]]

EXAMINATION = "examination"

# The name of a language -> the function that compiles a script's name, code and libraries, or
# raises ScriptInvalid. Its last argument are the megabytes that the script may take, 0 for no
# limit.
LANGUAGES: dict[str, Callable[[str, str, Libraries, int], CompiledScript]] = {
    # Authors cannot choose this one.
    EXAMINATION: examination.Examination,
    "javascript": javascript.JavaScriptScript,
    "python": python.PythonScript,
}


def library_name_fault(language: str, name: str) -> str:
    """Return why no library of the language can have the name, "" where it can."""
    return python.library_name_fault(name) if language == "python" else ""


def preload() -> None:
    """Import everything that scripts may need. Later a host cannot open any file."""
    javascript.preload()
    python.preload()


def compiled(
    language: str,
    name: str,
    code: str,
    libraries: Libraries = (),
    memory_mb: int = 0,
) -> CompiledScript:
    """Return the script, or one that raises at every call the reason why it cannot run."""
    compile_script = LANGUAGES.get(language)
    if compile_script is None:
        return BrokenScript(ScriptInvalid(f"There is no language {language!r}."))
    try:
        return compile_script(name, code, libraries, memory_mb)
    except (ScriptInvalid, ScriptRaised) as error:
        return BrokenScript(error)


class BrokenScript:
    """Stands for a script that cannot be run."""

    def __init__(self, error: ScriptError) -> None:
        self._error = error
        self.timeout_seconds: float | None = None

    def run(self, body: bytes, context: Any) -> Any:
        # Otherwise the traceback would grow with each call.
        raise self._error.with_traceback(None)

    def explain(self, error: BaseException) -> ScriptError:
        return self._error

    def forget(self) -> None:
        pass
