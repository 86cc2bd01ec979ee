"""What a script can do in a script host, what it cannot, and how its mistakes are named."""

import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from scripts.host.sandbox import OWN_USER, SCRIPT_UIDS
from scripts.pool import zygote_client
from scripts.pool.host_pool import HostPool
from scripts.protocol.calls import Call, CallSite, LibraryCode, Outcome, Program
from scripts.protocol.errors import (
    InputInvalid,
    OutputInvalid,
    ScriptError,
    ScriptInvalid,
    ScriptKilled,
    ScriptOutOfMemory,
    ScriptRaised,
    ScriptRejected,
    ScriptRetry,
)
from tests.hosts.pools import payload

CORRELATION_ID = "0190a1b2-0000-7000-8000-000000000001"
# The way around the import list: a module that a script may import refers to others.
AROUND_IMPORTS = """
import json
modules = json.codecs.sys.modules
os, sys = modules["os"], json.codecs.sys
"""

Run = Callable[..., Outcome]


@pytest.fixture(scope="module")
def pool() -> Iterator[HostPool]:
    pool = HostPool()
    yield pool
    pool.close()


@pytest.fixture
def run(pool: HostPool) -> Run:
    """Run a script on one message and return the outcome."""

    def run(
        code: str,
        payload: Any = None,
        *,
        body: bytes | None = None,
        is_last: bool = False,
        name: str = "pricing",
        memory_mb: int = 256,
        **program_options: Any,
    ) -> Outcome:
        envelope = {"correlationId": CORRELATION_ID, "payload": payload or {}}
        call = Call("key", CORRELATION_ID, 2, "d-7", body or json.dumps(envelope).encode())
        program = Program(1, name, "python", code, 20, memory_mb, **program_options)
        pool.submit(program, CallSite("orders", "price", "to-price", is_last), [call], 1)
        outcomes = pool.collect(30)
        assert len(outcomes) == 1
        return outcomes[0]

    return run


def error(outcome: Outcome, kind: type[ScriptError]) -> Any:
    assert type(outcome.error) is kind, outcome
    assert outcome.output is None
    return outcome.error


def returning(expression: str, before: str = "") -> str:
    """A script of which the payload is the value of an expression."""
    return f"""
{before}
def run(message, context):
    message["payload"] = {expression}
    return message
"""


# Messages in and out


@pytest.mark.parametrize("character", ["\U0001f600", "\x01", "\x7f", "\u2028", "é", '"', "\\"])
@pytest.mark.parametrize("ends", ["return message", "raise ValueError(line)"])
def test_the_longest_log_is_told_whatever_it_is_made_of(
    run: Run, character: str, ends: str
) -> None:
    code = f"""
def run(message, context):
    line = {character!r} * 10_000
    for _ in range(200):
        context.log(line)
    {ends}
"""

    outcome = run(code)

    assert [type(outcome.error)] == [ScriptRaised if "raise" in ends else type(None)]
    assert len(outcome.logs) == 101
    assert outcome.logs[0]["text"] == character * 8192 + "…"


def test_output_is_the_message_that_run_returns(run: Run) -> None:
    code = "def run(message, context):\n    message['payload']['b'] = 2\n    return message"

    outcome = run(code, {"a": 1})

    assert (
        outcome.output
        == f'{{"correlationId":"{CORRELATION_ID}","payload":{{"a":1,"b":2}}}}'.encode()
    )
    assert outcome.call.key == "key"
    assert outcome.started_at <= outcome.finished_at
    assert (outcome.warning, outcome.logs) == (None, [])


def test_additional_properties_travel_on(run: Run) -> None:
    body = json.dumps({"correlationId": CORRELATION_ID, "payload": 1, "tenant": "é"}).encode()

    outcome = run("def run(message, context): return message", body=body)

    assert outcome.output is not None
    assert json.loads(outcome.output)["tenant"] == "é"


def test_context_tells_about_the_call(run: Run) -> None:
    names = ("correlation_id", "flow", "step", "queue", "attempt", "delivery_id")

    outcome = run(returning(f"[getattr(context, name) for name in {names}]"))

    assert payload(outcome) == [CORRELATION_ID, "orders", "price", "to-price", 2, "d-7"]


def test_each_message_gets_fresh_globals(run: Run) -> None:
    code = returning("len(seen), len(__builtins__['seen'])", "seen = []\n") + (
        "\n__builtins__.setdefault('seen', []).append(1)\nseen.append(1)\n"
    )

    first, second = run(code), run(code)

    assert payload(first) == payload(second) == [1, 1]


@pytest.mark.parametrize(
    "change",
    [
        "json.dumps = print",
        "del json.dumps",
        "json.decoder.scanstring = print",
        "json.JSONEncoder.default = print",
        "math.pi = 3",
        "collections.abc.Mapping = dict",
        "collections.Counter.update = print",
        "enum.IntFlag.added = 1",
        "decimal.Decimal.added = 1",
        "Retry.after = 1",
        "type(context).attempt = 7",
        "asyncengine_script.Retry = 1",
        "asyncengine_script.Response.status = 1",
    ],
)
def test_what_all_messages_share_cannot_be_changed(run: Run, change: str) -> None:
    imports = "import asyncengine_script, collections.abc, decimal, enum, json, math\n"

    raised = error(run(f"{imports}def run(message, context):\n    {change}"), ScriptRaised)

    assert str(raised).split(":")[0] in {"AttributeError", "TypeError"}
    assert "share the module" in str(raised) or "immutable type" in str(raised)


def test_types_and_exceptions_can_be_imported_and_are_those_in_scope(run: Run) -> None:
    code = """
from __future__ import annotations
import asyncengine_script
from asyncengine_script import Context, Message, Reject as Refused, Retry as Again
def run(message: Message, context: Context) -> Message:
    message["payload"] = [
        Again is Retry, Refused is Reject, isinstance(context, Context), isinstance(message, dict),
        asyncengine_script.HttpError is context.http.Error, sorted(asyncengine_script.__all__),
    ]
    return message
"""

    same = payload(run(code))

    assert same[:5] == [True] * 5
    assert {"Context", "Message", "Reject", "Response", "Retry"} <= set(same[5])


@pytest.mark.parametrize(
    ("raised", "kind"),
    [("Retry(after=5)", ScriptRetry), ("Reject('no')", ScriptRejected)],
)
def test_what_a_library_imports_and_raises_counts(
    run: Run, raised: str, kind: type[ScriptError]
) -> None:
    library = f"from asyncengine_script import Reject, Retry\ndef end():\n    raise {raised}\n"
    code = "import ends\ndef run(message, context):\n    ends.end()\n"

    outcome = run(code, libraries=(LibraryCode("ends", library),))

    assert type(outcome.error) is kind


def test_precision_and_random_numbers_are_chosen_for_one_message(run: Run) -> None:
    code = """
import decimal, random
def run(message, context):
    before = [decimal.getcontext().prec, random.random()]
    decimal.getcontext().prec = 3
    random.seed(7)
    message["payload"] = [*before, decimal.getcontext().prec, random.random()]
    return message
"""
    first, second = payload(run(code)), payload(run(code))

    assert first[0] == second[0] == 28
    assert first[1] != second[1]
    assert first[2:] == second[2:] == [3, 0.32383276483316237]


def test_modules_allow_what_programs_do_with_them(run: Run) -> None:
    before = """
import abc, collections.abc, dataclasses, enum, functools, json, string, typing
@collections.abc.Sized.register
class Box: pass
class Flags(enum.IntFlag):
    A = 1
    B = 2
class Encoder(json.JSONEncoder):
    def default(self, value): return "set"
class Template(string.Template): delimiter = "%"
@dataclasses.dataclass
class Pair(typing.Generic[typing.TypeVar("T")]):
    left: int = 1
@functools.singledispatch
def double(value): return value * 2
double.register(str, lambda value: value)
"""
    value = """[isinstance(Box(), collections.abc.Sized), int(Flags(3)),
        json.dumps({1}, cls=Encoder), Template("%a").substitute(a=1), Pair().left,
        double(2), double("x")]"""

    assert payload(run(returning(value, before))) == [True, 3, '"set"', "1", 1, 4, "x"]


def test_name_is_the_name_of_the_script(run: Run) -> None:
    assert payload(run(returning("__name__"))) == "pricing"


def test_missing_correlation_id_is_put_back_with_a_warning(run: Run) -> None:
    outcome = run("def run(message, context): return {'payload': 1}")

    assert outcome.output == f'{{"correlationId":"{CORRELATION_ID}","payload":1}}'.encode()
    assert outcome.warning == "correlationId was missing and put back"


@pytest.mark.parametrize(
    ("given", "shown"),
    [("'x'", '"x"'), ("None", "null"), ("7", "an int"), ("'y' * 1000", '"' + "y" * 99)],
)
def test_another_correlation_id_is_invalid_and_shown(run: Run, given: str, shown: str) -> None:
    outcome = run(f"def run(message, context): return message | {{'correlationId': {given}}}")

    refused = error(outcome, OutputInvalid)
    assert refused.place == "$.correlationId"
    assert str(refused) == f"The output has another correlationId: {shown}."


def test_output_without_payload_is_invalid(run: Run) -> None:
    outcome = run("def run(message, context): return {'correlationId': context.correlation_id}")

    assert error(outcome, OutputInvalid).place == "$.payload"


def test_list_of_messages_names_the_one_that_is_none(run: Run) -> None:
    outcome = run("def run(message, context): return [{'payload': 1}, {'payload': 2}, 3]")

    assert error(outcome, OutputInvalid).place == "$[2]"


@pytest.mark.parametrize("output", ["None", "1", "'text'", "(x for x in [])"])
def test_output_that_is_no_object_is_invalid(run: Run, output: str) -> None:
    outcome = run(f"def run(message, context): return {output}")

    assert error(outcome, OutputInvalid).place == "$"


def test_async_run_is_named_as_the_mistake(run: Run) -> None:
    outcome = run("async def run(message, context): return message")

    assert "coroutine" in str(error(outcome, OutputInvalid))
    assert "async" in str(outcome.error)


@pytest.mark.parametrize("value", ["None", "[1, 'a']", "{'a': 1}", "1.5", "'ä'", "True"])
def test_last_step_may_return_any_json_value(run: Run, value: str) -> None:
    outcome = run(f"def run(message, context): return {value}", is_last=True)

    assert outcome.error is None
    assert outcome.output is not None
    assert json.loads(outcome.output) == eval(value)
    assert outcome.warning is None


@pytest.mark.parametrize(
    "number", [2**63, -(2**63) - 1, 10**30, 12345678901234567890123, 9007199254740993]
)
def test_integers_keep_all_their_digits(run: Run, number: int) -> None:
    outcome = run(returning("message['payload']"), {"n": number})

    assert payload(outcome) == {"n": number}


def test_integers_longer_than_any_float_go_through(run: Run) -> None:
    value = ["\x1f" + "1" * 400, 10**400, -(10**4000)]

    assert payload(run(returning("['\\x1f' + '1' * 400, 10 ** 400, -10 ** 4000]"))) == value


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ("{'items': [1, 2, {'amount': float('nan')}]}", "$.payload.items[2].amount"),
        ("[None, float('inf')]", "$.payload[1]"),
        ("{'a b': {1}}", '$.payload["a b"]'),
        ("b'x'", "$.payload"),
        ("{'x': {1: 2}}", "$.payload.x"),
        ("{'x': {None: 2}}", "$.payload.x"),
        ("['ok', '\\ud800']", "$.payload[1]"),
        ("['ok', 'a\\x00b']", "$.payload[1]"),
        ("{'price': __import__('decimal').Decimal(1)}", "$.payload.price"),
        ("[__import__('datetime').date(2026, 1, 1)]", "$.payload[0]"),
        ("[object()]", "$.payload[0]"),
        ("[10 ** 5000]", "$.payload[0]"),
    ],
)
def test_what_json_cannot_hold_is_named_with_its_place(run: Run, value: str, place: str) -> None:
    outcome = run(returning(value))

    assert error(outcome, OutputInvalid).place == place
    assert str(outcome.error).startswith(f"{place} ")


def test_cycle_is_named_with_its_place(run: Run) -> None:
    outcome = run(returning("cycle", "cycle = {'a': []}\ncycle['a'].append(cycle)\n"))

    assert str(error(outcome, OutputInvalid)) == "$.payload.a[0] contains itself."


def test_result_nested_very_deep_is_refused(run: Run) -> None:
    code = returning("deep", "deep = []\nfor _ in range(200_000): deep = [deep]\n")

    assert "nested more than 1000 deep" in str(error(run(code), OutputInvalid))


def test_result_nested_less_deep_goes_through(run: Run) -> None:
    code = returning("deep", "deep = []\nfor _ in range(190): deep = [deep]\n")

    outcome = run(code)

    assert outcome.output is not None
    assert outcome.output.count(b"[") == 191


def test_subclasses_of_json_types_are_written_as_these(run: Run) -> None:
    before = """
import collections, enum
class Colour(enum.IntEnum):
    RED = 1
class Text(str): pass
class Pair(collections.namedtuple("Pair", "a b")): pass
"""
    value = "[collections.OrderedDict(x=Colour.RED), Text('t'), Pair(1, 2), (3,), None]"

    assert payload(run(returning(value, before))) == [{"x": 1}, "t", [1, 2], [3], None]


def test_words_that_look_like_trouble_are_none(run: Run) -> None:
    value = "['null', None, '\\\\u0000', 1e300, {'nullable': False}]"

    assert payload(run(returning(value))) == ["null", None, "\\u0000", 1e300, {"nullable": False}]


def test_huge_output_is_refused(run: Run) -> None:
    assert "8388608" in str(error(run(returning("'x' * 9_000_000")), OutputInvalid))


def test_large_output_goes_through(run: Run) -> None:
    assert len(payload(run(returning("'x' * 8_000_000")))) == 8_000_000


# What a script says


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


# Scripts that cannot run


def test_script_that_does_not_compile_names_its_line(run: Run) -> None:
    invalid = error(run("x = 1\ndef run(message context): pass"), ScriptInvalid)

    assert invalid.line == 2
    assert str(invalid).startswith("line 2: ")


@pytest.mark.parametrize("code", ["", "run = 3", "def ran(message, context): pass"])
def test_script_without_run_is_invalid(run: Run, code: str) -> None:
    assert str(error(run(code), ScriptInvalid)) == "The script has no run(message, context)."


def test_run_with_other_parameters_is_invalid(run: Run) -> None:
    invalid = error(run("\ndef run(message): return message"), ScriptInvalid)

    assert invalid.line == 2
    assert "takes 1 positional argument but 2 were given" in str(invalid)


def test_language_that_is_not_there_is_invalid(pool: HostPool) -> None:
    program = Program(1, "old", "cobol", "STOP RUN.", 5, 64)

    pool.submit(program, CallSite("f", "s", "q", False), [Call(1, "c", 1, "d", b"{}")], 1)

    assert str(error(pool.collect(20)[0], ScriptInvalid)) == "There is no language 'cobol'."


# Imports


@pytest.mark.parametrize("module", ["os", "sys", "socket", "subprocess", "ctypes", "builtins"])
def test_modules_that_are_not_listed_may_not_be_imported(run: Run, module: str) -> None:
    raised = error(run(f"import {module}\ndef run(m, c): return m"), ScriptRaised)

    assert str(raised).startswith(f"ImportError: module '{module}' may not be imported; allowed")
    assert "zoneinfo" in str(raised)


def test_listed_modules_work_without_files(run: Run) -> None:
    before = """
import collections.abc, csv, datetime, decimal, hashlib, io, random, re, statistics, uuid, time
import unicodedata, zlib, urllib.parse, html, textwrap, pprint, calendar, string, secrets
from urllib import parse
from zoneinfo import ZoneInfo
now = datetime.datetime(2026, 7, 1, 12, tzinfo=ZoneInfo("Europe/Berlin"))
parsed = datetime.datetime.strptime("2026-07-01", "%Y-%m-%d")
time.strptime("2026", "%Y")
row = next(csv.reader(io.StringIO("a,b")))
hashlib.sha256(b"x").hexdigest(); uuid.uuid4(); secrets.token_hex(); random.random()
"x".encode("cp1252"); "x".encode("idna"); "\\N{BULLET}"; b"x".decode("utf-16", "ignore")
html.unescape("&auml;"); unicodedata.name("x"); zlib.compress(b"x"); pprint.pformat([1])
calendar.month_name[1]; statistics.median([1, 2]); re.compile("x", re.I); time.localtime()
hashlib.pbkdf2_hmac("sha256", b"x", b"y", 1)
"""
    value = "[now.isoformat(), parsed.year, row, parse.quote('a b'), len(ZoneInfo('UTC').key)]"

    assert payload(run(returning(value, before))) == [
        "2026-07-01T12:00:00+02:00",
        2026,
        ["a", "b"],
        "a%20b",
        3,
    ]


def test_time_zones_are_there_where_the_system_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    without = "import zoneinfo; zoneinfo.reset_tzpath([]); "
    monkeypatch.setattr(zygote_client, "_START_ZYGOTE", without + zygote_client._START_ZYGOTE)
    zones = [
        "Europe/Berlin",
        "America/New_York",
        "Asia/Kolkata",
        "Pacific/Chatham",
        "UTC",
        "EST5EDT",
    ]
    before = """
from datetime import datetime
from zoneinfo import ZoneInfo, available_timezones
"""
    value = f"[str(datetime(2026, 7, 1, tzinfo=ZoneInfo(z)).utcoffset()) for z in {zones}]"
    body = json.dumps({"correlationId": CORRELATION_ID, "payload": {}}).encode()
    pool = HostPool()
    try:
        call = Call("key", CORRELATION_ID, 1, "d", body)
        program = Program(1, "zones", "python", returning(value, before), 20, 256)
        pool.submit(program, CallSite("orders", "price", "to-price", False), [call], 1)
        [outcome] = pool.collect(60)
    finally:
        pool.close()

    assert payload(outcome) == [
        "2:00:00",
        "-1 day, 20:00:00",
        "5:30:00",
        "12:45:00",
        "0:00:00",
        "-1 day, 20:00:00",
    ]


def test_member_that_a_module_lacks_is_an_import_error(run: Run) -> None:
    raised = error(run("from json import nothing\ndef run(m, c): return m"), ScriptRaised)

    assert str(raised).startswith("ImportError: cannot import name 'nothing' from 'json'")


def test_hosts_do_not_share_their_random_numbers(run: Run) -> None:
    codes = [returning("random.random()", f"import random  # {n}") for n in range(3)]

    assert len({payload(run(code)) for code in codes}) == 3


# The wall


@pytest.mark.parametrize(
    "attempt",
    [
        "modules['io'].open('/etc/passwd')",
        "os.open('/dev/null', os.O_RDONLY)",
        "os.listdir('/')",
        "os.pipe()",
        "modules['_socket'].socket()",
        "os.dup(3)",
        "os.fork()",
        "os.posix_spawn('/bin/true', ['true'], {})",
        "os.memfd_create('x')",
        "modules['_thread'].start_new_thread(print, ())",
        "modules['resource'].setrlimit(modules['resource'].RLIMIT_NOFILE, (99, 99))",
    ],
)
def test_ways_out_are_closed_to_tricks(run: Run, attempt: str) -> None:
    code = f"{AROUND_IMPORTS}\ndef run(message, context):\n    return {attempt}"

    raised = str(error(run(code), ScriptRaised))

    assert raised.split(":")[0] in {
        "OSError",
        "BlockingIOError",
        "PermissionError",
        "RuntimeError",
        "ValueError",
        "error",
    }


def test_environment_is_empty(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgres://secret")

    outcome = run(returning("[dict(os.environ), sys.path, len(sys.argv)]", AROUND_IMPORTS))

    assert payload(outcome)[:2] == [{}, []]


def test_nothing_of_django_is_in_the_host(run: Run) -> None:
    assert payload(run(returning("'django' in modules", AROUND_IMPORTS))) is False


def test_host_has_one_descriptor(run: Run) -> None:
    before = f"""{AROUND_IMPORTS}
def channel():
    frame = sys._getframe()
    while not hasattr(frame.f_locals.get("self"), "_channel"):
        frame = frame.f_back
    return frame.f_locals["self"]._channel._descriptor
def was_open(n):
    try:
        os.close(n)
    except OSError:
        return False
    return True
"""
    outcome = run(returning("[n for n in range(1024) if n != channel() and was_open(n)]", before))

    assert payload(outcome) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_root_becomes_another_user_without_groups(run: Run) -> None:
    facts = "[os.getresuid(), os.getresgid(), os.getgroups(), os.getpid()]"

    user, group, groups, pid = payload(run(returning(facts, AROUND_IMPORTS)))

    assert user == group == [SCRIPT_UIDS[0] + pid] * 3
    assert groups == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_hosts_share_a_user_where_there_is_none_for_each() -> None:
    pool = HostPool(uids=(2**32, SCRIPT_UIDS[1]))

    outcome = run_once(pool, returning("os.getresuid()", AROUND_IMPORTS))

    assert payload(outcome) == [SCRIPT_UIDS[1]] * 3
    assert pool.missing_measures == {OWN_USER}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_script_cannot_become_root_again(run: Run) -> None:
    code = f"{AROUND_IMPORTS}\ndef run(message, context): os.setuid(0)"

    assert str(error(run(code), ScriptRaised)).startswith("PermissionError")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_host_that_cannot_drop_its_user_runs_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    # What the kernel takes for "leave it as it is".
    outcome = run_once(HostPool(uids=(2**32, 2**32 - 1)), "def run(m, c): return m")

    assert error(outcome, ScriptKilled).exit_code == 77
    assert "no script will run" in capfd.readouterr().err


def run_once(pool: HostPool, code: str) -> Outcome:
    body = b'{"correlationId":"c","payload":1}'
    call = Call(1, "c", 1, "d", body)
    pool.submit(Program(1, "p", "python", code, 5, 64), CallSite("f", "s", "q", False), [call], 1)
    (outcome,) = pool.collect(20)
    pool.close()
    return outcome


def test_seal_is_complete_here(pool: HostPool, run: Run) -> None:
    run("def run(message, context): return message")

    assert pool.missing_measures == set()


def test_the_members_of_a_group_of_exceptions_are_named(run: Run) -> None:
    code = "def run(m, c):\n    raise ExceptionGroup('two', [ValueError('a'), KeyError('b')])"

    raised = error(run(code), ScriptRaised)

    assert str(raised) == "ExceptionGroup: two (2 sub-exceptions)"
    assert raised.traceback.endswith(f"{raised}\n  - ValueError: a\n  - KeyError: 'b'")


def test_memory_limit_ends_in_a_memory_error_and_the_host_is_replaced(run: Run) -> None:
    code = f"""{AROUND_IMPORTS}
def run(message, context):
    if message["payload"]:
        x = bytearray(300_000_000)
    message["payload"] = os.getpid()
    return message
"""
    first = run(code, memory_mb=100)
    full = error(run(code, 1, memory_mb=100), ScriptOutOfMemory)
    second = run(code, memory_mb=100)

    assert str(full).startswith("The script ran out of memory after it had taken ")
    assert "line 8, in run" in full.traceback
    assert full.traceback.endswith("MemoryError")
    assert payload(first) != payload(second)


def test_many_small_objects_meet_the_memory_limit_too(run: Run) -> None:
    code = "def run(m, c):\n    x = []\n    while True: x.append([len(x)])"

    full = error(run(code, memory_mb=50), ScriptOutOfMemory)

    assert 20 * 2**20 < full.peak_bytes < 55 * 2**20


@pytest.mark.parametrize(
    "output",
    [
        "'x' * 60_000_000",
        "['x' * 1000 + str(n) for n in range(55_000)]",
        "{str(n): n for n in range(1_000_000)}",
        "'ä\\0' * 20_000_000",
        "[n / 7 for n in range(4_000_000)]",
    ],
)
def test_output_too_big_to_be_written_is_a_matter_of_memory(run: Run, output: str) -> None:
    outcome = run(returning(output), memory_mb=64 if "55_000" in output else 256)

    # What writes JSON is killed by the lack of memory or copes with it, as it happens.
    assert isinstance(outcome.error, ScriptKilled | ScriptOutOfMemory | OutputInvalid)
    assert isinstance(outcome.error, OutputInvalid) or "out of memory" in str(outcome.error)


def test_death_of_an_output_far_from_the_memory_limit_says_how_large_one_may_be(run: Run) -> None:
    killed = error(run(returning("'x' * 60_000_000")), ScriptKilled)

    assert killed.memory
    assert str(killed) == (
        "The script ran out of memory when its output was written; "
        "an output may have 8388608 bytes."
    )


PRICES = """
import rates
count = 0
def net(gross):
    global count
    count += 1
    if gross < 0:
        raise Reject("negative")
    return gross / rates.VAT
"""
RATES = "VAT = 2\n"
BOTH = (LibraryCode("rates", RATES), LibraryCode("prices", PRICES))


def test_a_library_is_imported_by_its_name_and_may_import_others(run: Run) -> None:
    code = """
from prices import net
import prices as same
def run(message, context):
    message["payload"] = {"net": net(8), "same": same.net is net}
    return message
"""
    outcome = run(code, libraries=BOTH)

    assert outcome.error is None
    assert json.loads(outcome.output)["payload"] == {"net": 4.0, "same": True}


def test_a_library_is_fresh_for_each_message(pool: HostPool) -> None:
    code = """
import prices
def run(message, context):
    prices.net(8)
    message["payload"] = prices.count
    return message
"""
    program = Program(1, "counting", "python", code, 20, 256, libraries=BOTH)
    body = json.dumps({"correlationId": CORRELATION_ID, "payload": {}}).encode()
    calls = [Call(key, CORRELATION_ID, 1, f"d-{key}", body) for key in range(3)]
    pool.submit(program, CallSite("orders", "count", "q", False), calls, 1)

    outcomes = []
    while pool.outstanding():
        outcomes += pool.collect(30)

    assert [json.loads(outcome.output)["payload"] for outcome in outcomes] == [1, 1, 1]


def test_a_traceback_names_the_library_and_its_line(run: Run) -> None:
    code = "import prices\ndef run(message, context):\n    return prices.net(None)\n"

    error = run(code, libraries=BOTH, name="prices").error

    assert isinstance(error, ScriptRaised)
    assert 'File "prices", line 3, in run\n    return prices.net(None)' in error.traceback
    assert 'File "library prices", line 7, in net\n    if gross < 0:' in error.traceback


def test_a_library_may_reject_a_message(run: Run) -> None:
    code = "import prices\ndef run(message, context):\n    return prices.net(-1)\n"

    error = run(code, libraries=BOTH).error

    assert isinstance(error, ScriptRejected)


def test_a_library_that_does_not_compile_is_named(run: Run) -> None:
    code = "def run(message, context):\n    return message\n"

    error = run(code, libraries=(LibraryCode("prices", "x = ("),)).error

    assert isinstance(error, ScriptInvalid)
    assert str(error).startswith("library prices, line 1: ")
    assert error.line is None


def test_a_library_may_import_no_more_than_a_script(run: Run) -> None:
    code = "import prices\ndef run(message, context):\n    return message\n"

    error = run(code, libraries=(LibraryCode("prices", "import os"),)).error

    assert str(error).startswith(
        "ImportError: module 'os' may not be imported; allowed are: prices, "
    )


ORDER = json.dumps(
    {
        "type": "object",
        "properties": {
            "amount": {"type": "integer"},
            "lines": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["amount"],
    }
)
ECHO = "def run(message, context):\n    return message\n"


def test_a_payload_that_does_not_match_does_not_reach_the_script(run: Run) -> None:
    code = "def run(message, context):\n    context.log('ran')\n    return message\n"

    outcome = run(code, {"amount": "9", "lines": ["a", 1]}, input_schema=ORDER)

    assert str(error(outcome, InputInvalid)).splitlines() == [
        "The payload does not match the input parameters.",
        '$.payload.amount: "9" is not of type "integer"',
        '$.payload.lines[1]: 1 is not of type "string"',
    ]
    assert outcome.logs == []
    assert run(code, {"amount": 9}, input_schema=ORDER).error is None


def test_an_output_that_does_not_match_is_named_by_field(run: Run) -> None:
    code = "def run(message, context):\n    message['payload'] = {'net': 1}\n    return message\n"

    refused = error(run(code, {"amount": 9}, output_schema=ORDER), OutputInvalid)

    assert str(refused).splitlines() == [
        "The output does not match the output structure.",
        '$.payload: "amount" is a required property',
    ]
    assert refused.place == "$.payload"


def test_each_branch_of_an_output_is_checked(run: Run) -> None:
    code = """
def run(message, context):
    return [{"payload": {"amount": amount}} for amount in (1, 2, 2.5)]
"""
    refused = error(run(code, output_schema=ORDER), OutputInvalid)

    assert refused.place == "$[2].payload.amount"


@pytest.mark.parametrize(
    ("result", "place"),
    [
        ("{'amount': 1}", None),
        ("{'payload': {'amount': 1}}", None),
        ("{'payload': {'amount': '1'}}", "$.payload.amount"),
        ("{'amount': '1'}", "$.amount"),
        ("[{'amount': 1}]", None),
        ("7", None),
        ("{}", "$"),
    ],
)
def test_the_last_output_is_checked_as_a_whole_unless_it_has_a_payload(
    run: Run, result: str, place: str | None
) -> None:
    schema = '{"properties": {"amount": {"type": "integer"}}, "required": ["amount"]}'
    code = f"def run(message, context):\n    return {result}\n"

    outcome = run(code, output_schema=schema, is_last=True)

    assert getattr(outcome.error, "place", None) == place


def test_what_is_checked_is_what_goes_on(run: Run) -> None:
    # Python says that True is 1, a tuple is no list and an enum has a value.
    schema = json.dumps(
        {
            "properties": {
                "flag": {"type": "boolean"},
                "pair": {"type": "array"},
                "colour": {"const": "red"},
                "id": {"type": "string"},
            }
        }
    )
    code = """
import enum, uuid
class Colour(enum.Enum):
    RED = "red"
def run(message, context):
    message["payload"] = {
        "flag": True, "pair": (1, 2), "colour": Colour.RED, "id": uuid.uuid4(),
    }
    return message
"""
    assert run(code, output_schema=schema).error is None


def test_many_faults_are_named_as_the_first_of_them_and_shortened(run: Run) -> None:
    payload = {"amount": 1, "lines": [["x" * 5000]] * 300}

    lines = str(error(run(ECHO, payload, input_schema=ORDER), InputInvalid)).splitlines()

    assert len(lines) == 52
    assert lines[-1] == "…"
    assert max(map(len, lines)) < 400


def test_a_fault_too_deep_to_be_shown_is_refused_all_the_same(run: Run) -> None:
    code = """
def run(message, context):
    deep = []
    for _ in range(900):
        deep = [deep]
    message["payload"] = {"amount": deep}
    return message
"""
    refused = error(run(code, output_schema=ORDER), OutputInvalid)

    assert refused.place == "$.payload"
    assert "limit" in str(refused)


def test_a_schema_that_cannot_be_used_is_named(run: Run) -> None:
    outcome = run(ECHO, input_schema='{"$ref": "http://example.org/schema"}')

    assert "input parameters" in str(error(outcome, ScriptInvalid))
