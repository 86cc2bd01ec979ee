"""Whether scripts run here: their sandbox, and a script of each language on one message."""

from __future__ import annotations

from collections.abc import Iterator

from flows.doctor.findings import Finding, error, ok, warning
from scripts.pool.sandbox_probe import missing_measures, scripts_may_run
from scripts.protocol.calls import Program
from scripts.trials.trial import TooManyTrials, run_trial, sample_message

CODE = {
    "python": "def run(message, context):\n    return message\n",
    "javascript": "setData(context.Data);\n",
}


def hosts() -> Iterator[Finding]:
    yield sandbox()
    for language in CODE:
        yield host(language)


def sandbox() -> Finding:
    missing = missing_measures()
    if not missing:
        return ok("sandbox", "Scripts have the complete sandbox on this machine.")
    if not scripts_may_run():
        return error(
            "sandbox",
            f"No script runs on this machine. Missing: {', '.join(missing)}.",
            "Run workers on Linux with seccomp filters, on x86-64 or aarch64.",
        )
    return warning(
        "sandbox",
        f"Scripts run without the complete sandbox. Missing: {', '.join(missing)}.",
        "Give the workers what each measure needs; let only trusted authors write scripts.",
    )


def host(language: str) -> Finding:
    """Run a script that returns its message, in a host of its own."""
    name = f"script host {language}"
    program = Program(0, "doctor", language, CODE[language], timeout_seconds=10.0, memory_mb=64)
    try:
        trial = run_trial(program, sample_message("{}").body, is_last=True, services={})
    except TooManyTrials as busy:
        return warning(name, str(busy), "Try again.")
    except OSError as failed:
        return error(name, f"No process could be started: {failed}", "See the limits above.")
    if trial.error is not None:
        return error(
            name,
            f"A script did not run: {trial.error}",
            "See the sandbox, and the limits of memory and processes.",
        )
    return ok(name, f"A script ran in {trial.seconds * 1000:.1f} ms.")
