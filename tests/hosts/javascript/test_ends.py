"""The ends that a script may ask for."""

from typing import Any, TypeVar

import pytest

from scripts.protocol.errors import (
    ScriptError,
    ScriptRejected,
    ScriptRetry,
    ScriptWait,
)
from tests.hosts.javascript.helpers import refused, run

Later = TypeVar("Later", bound=ScriptRetry | ScriptWait)


@pytest.mark.parametrize(
    ("call", "after", "reason"),
    [
        ("retry()", None, ""),
        ("retry(2.5, 'busy')", 2.5, "busy"),
        ("retry({ after: 3, reason: 'busy' })", 3, "busy"),
        ("retry({ reason: 'busy' })", None, "busy"),
        ("retry('busy')", None, "busy"),
        ("retry('60', 'busy')", 60, "busy"),
        ("retry('60')", 60, ""),
        ("retry(60n, 'busy')", 60, "busy"),
        ("retry({ after: '2.5', reason: 'busy' })", 2.5, "busy"),
        ("retry(null, { code: 5 })", None, '{"code":5}'),
    ],
)
def test_retry_asks_for_redelivery(call: str, after: float | None, reason: str) -> None:
    with pytest.raises(ScriptRetry) as caught:
        run(f"setData(1); {call}; null.x")

    assert (caught.value.after, caught.value.reason) == (after, reason)


@pytest.mark.parametrize("name", ["retry", "wait"])
@pytest.mark.parametrize(
    "arguments",
    ["-1", "NaN", "'soon', 'busy'", "Infinity", "true", "[60]", "() => 5", "new Date(NaN)", "''"],
)
def test_an_impossible_time_is_the_scripts_mistake(name: str, arguments: str) -> None:
    message = str(refused(f"{name}({arguments}); setData(1)"))

    assert message.startswith((f"RangeError: {name}(after)", f"TypeError: {name}("))


@pytest.mark.parametrize(
    ("name", "argument"),
    [
        ("wait", "'tomorrow'"),
        ("wait", "'2026-12-01'"),
        ("wait", "{ after: 'tomorrow' }"),
        ("retry", "{ after: 'tomorrow' }"),
        ("retry", "'2026-12-01T08:00'"),
        ("retry", "'tomorrow', 'busy'"),
    ],
)
def test_a_text_that_is_no_time_is_refused_as_one(name: str, argument: str) -> None:
    message = str(refused(f"{name}({argument}); setData(1)"))

    assert "takes seconds from now, not less than 0, or a time with its zone, not " in message
    assert f"{name}({{ reason: … }})" in message


@pytest.mark.parametrize("name", ["wait", "retry"])
@pytest.mark.parametrize("after", ["1e12", "Date.now() + 60000", "'2999-01-01T00:00Z'"])
def test_a_time_beyond_the_longest_is_refused(name: str, after: str) -> None:
    message = str(refused(f"{name}({after}); setData(1)"))

    assert "takes at most 31622400 seconds from now (366 days), not " in message


def raised_by(kind: type[Later], code: str, payload: Any) -> Later:
    with pytest.raises(kind) as caught:
        run(code, payload)
    return caught.value


@pytest.mark.parametrize(("name", "kind"), [("retry", ScriptRetry), ("wait", ScriptWait)])
@pytest.mark.parametrize(
    "form", ["then", "then.toISOString()", "then.toISOString().replace('Z', '+00:00')"]
)
def test_a_time_is_what_a_message_waits_for(
    name: str, kind: type[ScriptRetry | ScriptWait], form: str
) -> None:
    code = f"""
const then = new Date(Date.now() + context.Data.payload.hours * 3600_000);
{name}({form}, "busy");
"""
    later, over = (raised_by(kind, code, {"hours": hours}) for hours in (2, -2))

    assert 7000 < (later.after or 0) <= 7200
    assert over.after == 0


def test_option_of_retry_that_is_unknown_is_named() -> None:
    message = str(refused("retry({ seconds: 60, reason: 'busy' })"))

    assert message == "TypeError: retry() takes after and reason, not seconds"


@pytest.mark.parametrize(
    ("code", "kind"),
    [("reject('no customer');", ScriptRejected), ("retry(5, 'busy');", ScriptRetry)],
)
def test_script_that_only_ends_needs_no_output(code: str, kind: type[ScriptError]) -> None:
    with pytest.raises(kind):
        run(code)


def test_output_may_be_given_by_a_name_made_at_run_time() -> None:
    assert run("globalThis['set' + 'Data'](4)") == 4


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("{ reason: 'x' }", "x"),
        ("{ code: 5, total: NaN }", '{"code":5,"total":"NaN"}'),
        ("new Error('x')", "Error: x"),
        ("[1, 2n]", "[1,2]"),
        ("5", "5"),
        ("null", ""),
    ],
)
def test_reason_may_be_anything_and_is_told_whole(given: str, reason: str) -> None:
    with pytest.raises(ScriptRejected) as caught:
        run(f"reject({given})")

    assert caught.value.reason == reason


def test_reject_names_its_reason() -> None:
    with pytest.raises(ScriptRejected) as caught:
        run("reject('no such order'); setData(1)")

    assert caught.value.reason == "no such order"


@pytest.mark.parametrize(
    "code",
    [
        "try { reject('first') } catch (e) { retry(1); } setData(1)",
        "try { reject('first') } catch (e) { throw new Error('other') } setData(1)",
        "try { reject('first') } catch {} await new Promise(() => {}); setData(1)",
        "Promise.resolve().then(() => reject('first')); setData(1)",
    ],
)
def test_the_first_end_asked_for_counts_even_if_it_is_caught(code: str) -> None:
    with pytest.raises(ScriptRejected, match="first"):
        run(code)
