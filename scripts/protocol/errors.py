"""Why a script has given no output.

The pool puts these errors on outcomes and raises none of them. The script host uses them, too.
"""

import signal as signals


class ScriptError(Exception):
    """The script gave no output."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or self.__doc__)


class ScriptRaised(ScriptError):
    """The script raised an exception."""

    def __init__(self, message: str | None = None, *, traceback: str = "") -> None:
        super().__init__(message)
        self.traceback = traceback


class ScriptOutOfMemory(ScriptRaised):
    """The script ran out of memory, and its process was still there to tell."""

    def __init__(
        self,
        message: str | None = None,
        *,
        traceback: str = "",
        peak_bytes: int = 0,
        limit_mb: int = 0,
    ) -> None:
        super().__init__(message or f"{_out_of_memory(peak_bytes, limit_mb)}.", traceback=traceback)
        self.peak_bytes = peak_bytes


class ScriptRetry(ScriptError):
    """The script asked to be run again later."""

    def __init__(
        self, message: str | None = None, *, after: float | None = None, reason: str = ""
    ) -> None:
        super().__init__(message or reason)
        self.after = after
        self.reason = reason


class ScriptWait(ScriptError):
    """The script waits for something, and asked to be run again later."""

    def __init__(
        self,
        message: str | None = None,
        *,
        after: float | None = None,
        reason: str = "",
        state: str = "",
    ) -> None:
        """`state`: a JSON text for the next attempt, "" for none."""
        super().__init__(message or reason)
        self.after = after
        self.reason = reason
        self.state = state


class ScriptRejected(ScriptError):
    """The script rejected the message."""

    def __init__(
        self,
        message: str | None = None,
        *,
        reason: str = "",
        code: str | None = None,
        details: str | None = None,
    ) -> None:
        """`details`: a JSON text."""
        super().__init__(message or reason or (code and f"Rejected with the code {code}."))
        self.reason = reason
        self.code = code
        self.details = details


class InputInvalid(ScriptError):
    """The message does not match the script's input parameters; it did not run."""

    def __init__(self, message: str | None = None, *, place: str | None = None) -> None:
        super().__init__(message)
        self.place = place


class OutputInvalid(ScriptError):
    """The script's output is not a valid message."""

    def __init__(self, message: str | None = None, *, place: str | None = None) -> None:
        super().__init__(message or (f"{place} is not valid JSON" if place else None))
        self.place = place


class ScriptTimedOut(ScriptError):
    """The script ran longer than its time limit."""

    def __init__(
        self,
        message: str | None = None,
        *,
        limit_seconds: float | None = None,
        where: str = "",
        traceback: str = "",
    ) -> None:
        """`where`: the place in the code, in words, at which it was then."""
        if message is None and limit_seconds is not None:
            message = f"The script ran longer than its time limit of {limit_seconds:g} s."
            message += f" It was at {where}." if where else ""
        super().__init__(message)
        self.limit_seconds = limit_seconds
        self.where = where
        self.traceback = traceback


class ScriptKilled(ScriptError):
    """The script's process was ended before the script gave an output."""

    def __init__(
        self,
        message: str | None = None,
        *,
        signal: int | None = None,
        exit_code: int | None = None,
        memory: bool = False,
        peak_bytes: int = 0,
        limit_mb: int = 0,
    ) -> None:
        memory_text = _out_of_memory(peak_bytes, limit_mb) if memory else ""
        super().__init__(message or _death(signal, exit_code, memory_text))
        self.signal = signal
        self.exit_code = exit_code
        self.memory = memory
        self.peak_bytes = peak_bytes


class ScriptTooLate(ScriptError):
    """The time in which the script might have begun was over; it did not run."""


class ScriptInvalid(ScriptError):
    """The script cannot work, however often it is run."""

    def __init__(
        self, message: str | None = None, *, line: int | None = None, traceback: str = ""
    ) -> None:
        super().__init__(message)
        self.line = line
        self.traceback = traceback


class Lasting(Exception):
    """An error that no repetition heals: the script, its settings or the installation must change.

    Where the script does not catch it, its message is a dead letter at once.
    """


class WrongArgument(TypeError, ValueError):
    """A function of the engine was called with what it does not take."""


class _Missing(Lasting, KeyError):
    def __str__(self) -> str:
        # Without the quotes of a KeyError.
        return str(self.args[0])


class NotListed(_Missing):
    """The script's settings do not list the secret or table."""


class NoValue(_Missing):
    """The installation has no such secret, value or table."""


class NotReadable(Lasting, PermissionError):
    """The secret is for signatures and certificates alone."""


# The kind of requests that are wrong calls, and of those that JavaScript makes itself.
INVALID = "invalid"
HOST_NOT_ALLOWED = "host-not-allowed"
# The kinds of errors that are lasting: of the script's own settings and those of its step, and of
# what the installation lacks.
NEVER_ALLOWED = (
    "network-off",
    HOST_NOT_ALLOWED,
    "not-granted",
    "not-allowed",
    "not-readable",
    "unknown",
    "in-transaction",
    "start-refused",
)


def place(file: str, line: int, function: str) -> str:
    """Return a place of a script in words; `file` is "" for the script itself."""
    named = "" if function in ("", "<module>", "<anonymous>") else f" in {function}()"
    return f"line {line}{named}" + (f" of {file}" if file else "")


def _death(signal: int | None, exit_code: int | None, memory: str) -> str | None:
    cause = memory or "The script's process was ended"
    if signal is not None:
        return f"{cause}: signal {signal} ({_signal_name(signal)})."
    if exit_code is not None:
        return f"{cause}: exit code {exit_code}."
    return f"{cause}." if memory else None


def _out_of_memory(peak_bytes: int, limit_mb: int) -> str:
    most = f" of the {limit_mb} MB that it may have (memoryMb)" if limit_mb else ""
    return f"The script ran out of memory after it had taken {peak_bytes / 2**20:.0f} MB{most}"


def _signal_name(number: int) -> str:
    try:
        return signals.Signals(number).name
    except ValueError:
        return "unknown"
