"""What a script says."""

import pytest

from scripts.protocol.errors import (
    ScriptInvalid,
    ScriptRaised,
    ScriptRejected,
    ScriptRetry,
    ScriptWait,
)
from scripts.protocol.wire import MAX_TEXT_LENGTH
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
        "           ^^^^^^^^^",
        '  File "pricing", line 4, in helper',
        "    return 1 / x",
        "           ^^^^^",
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
    "statement",
    [
        "raise ValueError('x' * 18388)",
        "raise ValueError('x') from deep('y' * 18388)",
        "raise ExceptionGroup('x', [ValueError('y' * 18388)] * 9) from deep('z' * 18388)",
    ],
)
def test_a_long_message_leaves_room_for_the_place(run: Run, statement: str) -> None:
    code = f"""
def deep(text, depth=20):
    try:
        if depth:
            raise deep(text, depth - 1)
        raise KeyError(text)
    except Exception as error:
        return error
def run(message, context):
    {statement}
"""
    raised = error(run(code), ScriptRaised)

    assert str(raised).startswith(("ValueError: x", "ExceptionGroup: x"))
    assert len(raised.traceback) <= MAX_TEXT_LENGTH
    place = raised.traceback.index('File "pricing", line 10, in run')
    assert f"    {statement}" in raised.traceback[place:]
    assert "Error: x" in raised.traceback[place:] or "Group: x" in raised.traceback[place:]


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("raise BaseException('b')", "BaseException: b"),
        ("run(message, context)", "RecursionError: maximum recursion depth exceeded"),
    ],
)
def test_anything_raised_is_reported_as_raised(run: Run, statement: str, message: str) -> None:
    outcome = run(f"def run(message, context):\n    {statement}")

    assert str(error(outcome, ScriptRaised)).startswith(message)


@pytest.mark.parametrize("name", ["exit", "quit"])
def test_a_name_that_scripts_do_not_have_is_named(run: Run, name: str) -> None:
    outcome = run(f"def run(message, context):\n    {name}('/etc/passwd')")

    assert str(error(outcome, ScriptInvalid)) == f"NameError: name '{name}' is not defined"


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
        ("Retry(reason='busy')", None, "busy"),
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


@pytest.mark.parametrize("name", ["Retry", "Wait"])
@pytest.mark.parametrize(
    "arguments",
    ["float('nan')", "'soon', 'busy'", "-1", "'inf'", "True", "[5]", "datetime.now()"],
)
def test_an_impossible_time_is_the_scripts_mistake(run: Run, name: str, arguments: str) -> None:
    code = "from datetime import datetime\ndef run(message, context):\n    raise "

    outcome = run(f"{code}{name}({arguments})")

    assert str(error(outcome, ScriptInvalid)).startswith(f"WrongArgument: {name}(after)")


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("Wait", "'tomorrow'"),
        ("Wait", "after='tomorrow'"),
        ("Wait", "'2026-12-01', 'busy'"),
        ("Retry", "'2026-12-01'"),
        ("Retry", "'tomorrow', 'busy'"),
    ],
)
def test_a_text_that_is_no_time_is_refused_as_one(run: Run, name: str, arguments: str) -> None:
    said = str(error(run(f"def run(m, c):\n    raise {name}({arguments})"), ScriptInvalid))

    assert "takes seconds from now, not less than 0, or a time with its zone, not '" in said
    assert f"{name}(reason=" in said


@pytest.mark.parametrize("name", ["Wait", "Retry"])
@pytest.mark.parametrize("after", ["1e12", "__import__('time').time() + 60", "'2999-01-01T00:00Z'"])
def test_a_time_beyond_the_longest_is_refused(run: Run, name: str, after: str) -> None:
    code = "import time\ndef run(m, c):\n"
    after = after.replace("__import__('time')", "time")

    said = str(error(run(f"{code}    raise {name}(after={after})"), ScriptInvalid))

    assert "takes at most 31622400 seconds from now (366 days), not " in said


@pytest.mark.parametrize(
    ("name", "kind"), [("Retry", ScriptRetry), ("Wait", ScriptWait)], ids=["Retry", "Wait"]
)
@pytest.mark.parametrize(
    "form", ["then", "then.isoformat()", "then.strftime('%Y-%m-%dT%H:%M:%SZ')"]
)
def test_a_time_is_what_a_message_waits_for(
    run: Run, name: str, kind: type[ScriptRetry | ScriptWait], form: str
) -> None:
    code = f"""
from datetime import UTC, datetime, timedelta
def run(message, context):
    then = datetime.now(UTC) + timedelta(hours=message["payload"]["hours"])
    raise {name}({form}, "busy")
"""
    later = error(run(code, payload={"hours": 2}), kind)
    over = error(run(code, payload={"hours": -2}), kind)

    assert 7000 < (later.after or 0) <= 7200
    assert over.after == 0


def test_reject_names_its_reason(run: Run) -> None:
    rejected = error(run("def run(m, c):\n    raise Reject('no such order')"), ScriptRejected)

    assert rejected.reason == str(rejected) == "no such order"


def test_log_and_print_are_kept_with_the_outcome(run: Run) -> None:
    code = """
def run(message, context):
    print("a", 1, None, sep="-")
    context.log({"b": 2}, level="error")
    context.log("\\ud800\\x00", level=" Warn ")
    return message
"""
    outcome = run(code)

    assert outcome.error is None
    assert [(line["level"], line["text"]) for line in outcome.logs] == [
        ("info", "a-1-None"),
        ("error", "{'b': 2}"),
        ("warning", "?\N{REPLACEMENT CHARACTER}"),
    ]
    assert all(outcome.started_at <= line["at"] <= outcome.finished_at for line in outcome.logs)


def test_logs_come_with_errors_too(run: Run) -> None:
    outcome = run("def run(m, c):\n    print('before')\n    1 / 0")

    error(outcome, ScriptRaised)
    assert [line["text"] for line in outcome.logs] == ["before"]


def test_a_log_line_has_every_value_and_may_end_with_its_level(run: Run) -> None:
    code = """
def run(message, context):
    context.log("rate", 1.5)
    context.log("rate", None, "WARNING")
    context.log("fatal")
    context.log("of", "Erika")
    context.log()
    context.log("a", "info", level="err")
    return message
"""
    outcome = run(code)

    assert [(line["level"], line["text"]) for line in outcome.logs] == [
        ("info", "rate 1.5"),
        ("warning", "rate None"),
        ("info", "fatal"),
        ("info", "of Erika"),
        ("info", ""),
        ("error", "a info"),
    ]


@pytest.mark.parametrize("level", ["'loud'", "''", "5", "['info']"])
def test_an_unknown_level_is_an_error_that_names_the_levels(run: Run, level: str) -> None:
    outcome = run(f"def run(m, c):\n    c.log('x', level={level})")

    told = str(error(outcome, ScriptInvalid))
    assert "the levels are debug, info, warning, error, critical" in told


@pytest.mark.parametrize("count", [99, 100, 101, 102, 5000])
def test_the_first_and_last_lines_are_kept_and_those_between_counted(run: Run, count: int) -> None:
    code = (
        f"def run(m, c):\n    for i in range({count}): c.log(f'{{i}}' + 'x' * 10_000)\n    return m"
    )

    outcome = run(code)

    numbers = [line["text"].partition("x")[0] for line in outcome.logs]
    told = [] if count <= 100 else [numbers.pop(50)]
    assert numbers == [str(i) for i in range(count) if i < 50 or i >= count - 50]
    assert [text.split()[0] for text in told] == [str(count - 100)] * len(told)
    assert len(outcome.logs[0]["text"]) == 8 * 1024 + 1


def test_a_traceback_points_at_the_part_of_the_line(run: Run) -> None:
    code = "def run(message, context):\n    é = {'a': None}\n    return é['a']['b'] + len('é')"

    raised = error(run(code), ScriptRaised)

    assert raised.traceback.splitlines() == [
        "Traceback (most recent call last):",
        '  File "pricing", line 3, in run',
        "    return é['a']['b'] + len('é')",
        "           ^^^^^^^^^^^",
        "TypeError: 'NoneType' object is not subscriptable",
    ]


def test_code_that_does_not_compile_is_shown_with_a_caret(run: Run) -> None:
    invalid = error(run("def run(message, context):\n    x = (1 +\n"), ScriptInvalid)

    assert invalid.traceback.splitlines() == [
        '  File "pricing", line 2, column 9',
        "    x = (1 +",
        "        ^",
        "SyntaxError: '(' was never closed",
    ]
