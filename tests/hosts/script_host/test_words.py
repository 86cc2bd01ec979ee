"""What a script says."""

import pytest

from scripts.protocol.errors import (
    ScriptRaised,
    ScriptRejected,
    ScriptRetry,
)
from tests.hosts.script_host.helpers import Run, error


def test_exception_comes_with_the_lines_of_the_script_alone(run: Run) -> None:
    code = """import json

def helper(x):
    return 1 / x

def run(message, context):
    return helper(0)
"""

    raised = error(run(code), ScriptRaised)

    assert str(raised) == "ZeroDivisionError: division by zero"
    assert raised.traceback.splitlines() == [
        "Traceback (most recent call last):",
        '  File "pricing", line 7, in run',
        "    return helper(0)",
        '  File "pricing", line 4, in helper',
        "    return 1 / x",
        "ZeroDivisionError: division by zero",
    ]


def test_exception_of_the_module_body_names_its_line(run: Run) -> None:
    raised = error(run("x = 1\ny = {}['nothing']\ndef run(m, c): return m"), ScriptRaised)

    assert str(raised) == "KeyError: 'nothing'"
    assert "line 2, in <module>" in raised.traceback


def test_cause_of_an_exception_is_told(run: Run) -> None:
    code = """
def run(message, context):
    try:
        int("x")
    except ValueError as e:
        raise KeyError("no") from e
"""
    raised = error(run(code), ScriptRaised)

    assert "ValueError: invalid literal" in raised.traceback
    assert raised.traceback.endswith("KeyError: 'no'")


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("raise BaseException('b')", "BaseException: b"),
        ("run(message, context)", "RecursionError: maximum recursion depth exceeded"),
        ("exit()", "NameError: name 'exit' is not defined"),
        ("open('/etc/passwd')", "NameError: name 'open' is not defined"),
    ],
)
def test_anything_raised_is_reported_as_raised(run: Run, statement: str, message: str) -> None:
    outcome = run(f"def run(message, context):\n    {statement}")

    assert str(error(outcome, ScriptRaised)).startswith(message)


def test_exception_that_cannot_be_shown_is_still_reported(run: Run) -> None:
    code = """
class Sly(Exception):
    def __str__(self): raise BaseException("gotcha")
def run(message, context):
    raise Sly
"""
    assert "Sly" in str(error(run(code), ScriptRaised))


@pytest.mark.parametrize(
    ("raised", "after", "reason"),
    [
        ("Retry", None, ""),
        ("Retry(after=2.5, reason='busy')", 2.5, "busy"),
        ("Retry('busy')", None, "busy"),
        ("Retry(3)", 3.0, ""),
        ("Retry('60', 'busy')", 60.0, "busy"),
        ("Retry('60')", 60.0, ""),
        ("Retry(after='2.5', reason='busy')", 2.5, "busy"),
    ],
)
def test_retry_asks_for_redelivery(run: Run, raised: str, after: float | None, reason: str) -> None:
    retry = error(run(f"def run(message, context):\n    raise {raised}"), ScriptRetry)

    assert (retry.after, retry.reason) == (after, reason)
    assert str(retry) == (reason or "The script asked to be run again later.")


@pytest.mark.parametrize("arguments", ["float('nan')", "'soon', 'busy'", "-1", "'inf'"])
def test_retry_at_an_impossible_time_is_the_scripts_mistake(run: Run, arguments: str) -> None:
    outcome = run(f"def run(message, context):\n    raise Retry({arguments})")

    assert str(error(outcome, ScriptRaised)).startswith("ValueError: Retry(after)")


def test_reject_names_its_reason(run: Run) -> None:
    rejected = error(run("def run(m, c):\n    raise Reject('no such order')"), ScriptRejected)

    assert rejected.reason == str(rejected) == "no such order"


def test_log_and_print_are_kept_with_the_outcome(run: Run) -> None:
    code = """
def run(message, context):
    print("a", 1, None, sep="-")
    context.log({"b": 2}, level="error")
    context.log("\\ud800\\x00", level="nonsense")
    return message
"""
    outcome = run(code)

    assert outcome.error is None
    assert [(line["level"], line["text"]) for line in outcome.logs] == [
        ("info", "a-1-None"),
        ("error", "{'b': 2}"),
        ("info", "?\N{REPLACEMENT CHARACTER}"),
    ]
    assert all(outcome.started_at <= line["at"] <= outcome.finished_at for line in outcome.logs)


def test_logs_come_with_errors_too(run: Run) -> None:
    outcome = run("def run(m, c):\n    print('before')\n    1 / 0")

    error(outcome, ScriptRaised)
    assert [line["text"] for line in outcome.logs] == ["before"]


def test_long_logs_are_cut(run: Run) -> None:
    outcome = run("def run(m, c):\n    for i in range(5000): print('x' * 10_000)\n    return m")

    assert len(outcome.logs) == 101
    assert len(outcome.logs[0]["text"]) == 8 * 1024 + 1
    assert outcome.logs[-1]["text"] == "The log was cut after 100 lines."
