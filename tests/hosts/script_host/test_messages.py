"""Messages in and out."""

import json

import pytest

from scripts.protocol.calls import LibraryCode
from scripts.protocol.errors import (
    OutputInvalid,
    ScriptError,
    ScriptInvalid,
    ScriptRaised,
    ScriptRejected,
    ScriptRetry,
)
from tests.hosts.pools import payload
from tests.hosts.script_host.helpers import CORRELATION_ID, Run, error, returning


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


NODES = """
from __future__ import annotations
import typing
from dataclasses import KW_ONLY, InitVar, dataclass

@dataclass
class Node:
    price: int
    parent: Node | None = None
    count: typing.ClassVar[int] = 7
    _: KW_ONLY
    scale: InitVar[int] = 2

    def __post_init__(self, scale):
        self.total = self.price * scale

def facts():
    hints = typing.get_type_hints(Node)
    return [Node(5, Node(6), scale=3).total, hints["parent"] == Node | None]
"""


@pytest.mark.parametrize("name", ["pricing", "pricing.eu", "json", "dateutil", "scripts"])
def test_annotations_that_are_texts_are_found(run: Run, name: str) -> None:
    for _ in range(2):
        assert payload(run(returning("facts()", NODES), name=name)) == [15, True]
    # A module of this name is still itself.
    assert payload(run(returning("json.dumps([1])", "import json"), name=name)) == "[1]"


def test_annotations_that_are_texts_are_found_in_a_library(run: Run) -> None:
    library = (LibraryCode("nodes", NODES),)

    for code in (returning("nodes.facts()", "import nodes"),) * 2:
        assert payload(run(code, libraries=library)) == [15, True]


def test_no_library_is_left_among_the_modules(run: Run) -> None:
    library = (LibraryCode("nodes", NODES),)
    around = "import json\nnames = json.codecs.sys.modules"
    assert payload(run(returning("'nodes' in names", f"import nodes\n{around}"), libraries=library))

    assert not payload(run(returning("'nodes' in names", around), libraries=library))


def test_missing_correlation_id_is_restored_with_a_warning(run: Run) -> None:
    outcome = run("def run(message, context): return {'payload': 1}")

    assert outcome.output == f'{{"correlationId":"{CORRELATION_ID}","payload":1}}'.encode()
    assert outcome.warning == "correlationId was missing and restored"


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


# Characters that end a line for str.splitlines, and for no script.
NO_ENDS = "\u2028 \u2029 \x85 \x0b \x0c \x1c \x1e"


def test_a_traceback_quotes_its_line_whatever_stands_before_it(run: Run) -> None:
    code = f"""
TEXT = "a {NO_ENDS} b"
# c {NO_ENDS} d
def run(message, context):
    return message["nope"]
"""
    raised = error(run(code), ScriptRaised)

    assert 'line 5, in run\n    return message["nope"]\n' in raised.traceback


@pytest.mark.parametrize(
    ("line", "kind", "said"),
    [
        ("open('x')", ScriptInvalid, "a script has no files: read and write an io.BytesIO"),
        ("import gzip; gzip.open('x')", ScriptInvalid, "a script has no files: read and write"),
        ("import bz2; bz2.open('x')", ScriptInvalid, "a script has no files"),
        ("import lzma; lzma.open('x')", ScriptInvalid, "a script has no files"),
        ("import zipfile; zipfile.ZipFile('x.zip')", ScriptInvalid, "a script has no files"),
        (
            "import xml.etree.ElementTree as E; E.parse('x')",
            ScriptInvalid,
            "a script has no files",
        ),
        (
            "import email.utils; email.utils.make_msgid()",
            ScriptInvalid,
            "does not allow what email.utils.make_msgid() does; give it a domain",
        ),
        ("raise PermissionError('of the bank')", ScriptRaised, "of the bank"),
        ("raise Retry(after='sixty')", ScriptInvalid, "not 'sixty'; a reason is given as"),
        ("raise Retry(5, after=6)", ScriptInvalid, "takes one time"),
    ],
)
def test_errors_say_what_a_script_does_instead(
    run: Run, line: str, kind: type[ScriptError], said: str
) -> None:
    assert said in str(error(run(f"def run(message, context):\n    {line}"), kind))


@pytest.mark.parametrize(
    ("raised", "after", "reason"),
    [
        ("Retry('busy')", None, "busy"),
        ("Retry(60, 'busy')", 60, "busy"),
        ("Retry('60')", 60, ""),
        ("Retry(after=60, reason='busy')", 60, "busy"),
        ("Retry(reason='busy')", None, "busy"),
    ],
)
def test_a_retry_takes_its_time_and_its_reason(
    run: Run, raised: str, after: float | None, reason: str
) -> None:
    outcome = error(run(f"def run(message, context): raise {raised}"), ScriptRetry)

    assert (outcome.after, outcome.reason) == (after, reason)


def test_what_is_raised_in_a_destructor_is_in_the_log(run: Run) -> None:
    code = """
class Row:
    def __del__(self):
        raise ValueError("in del")

def run(message, context):
    row = Row()
    del row
    return message
"""
    [line] = run(code).logs

    assert line["level"] == "warning"
    assert line["text"].startswith("Exception ignored in Row.__del__\n")
    assert 'line 4, in __del__\n    raise ValueError("in del")\n' in line["text"]
    assert line["text"].endswith("ValueError: in del")


def test_what_is_printed_may_be_kept_from_the_log(run: Run) -> None:
    code = """
import contextlib, io
def run(message, context):
    kept = io.StringIO()
    with contextlib.redirect_stdout(kept):
        print("kept", 1)
    print("said")
    return message | {"payload": kept.getvalue()}
"""
    outcome = run(code)

    assert payload(outcome) == "kept 1\n"
    assert [line["text"] for line in outcome.logs] == ["said"]


def test_an_error_in_a_template_names_its_line(run: Run) -> None:
    code = r"""
import jinja2
def run(message, context):
    return jinja2.Environment().from_string("one\n{{ 1/0 }}").render()
"""
    raised = error(run(code), ScriptRaised)

    assert '  File "<template>", line 2, in top-level template code\n' in raised.traceback
    assert raised.traceback.endswith("ZeroDivisionError: division by zero")


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("[1, 2]", "$[0] is a number; each item of a list of messages must be an object"),
        ("[message, 'x']", "$[1] is a text; each item"),
        ("[message, {'x': 1}]", "$[1] has no payload."),
        ("[message, message | {'correlationId': 5}]", "$[1] has another correlationId: an int."),
        ("'x'", "The output is a text; it must be an object with a payload."),
        ("{'x': 1}", "The output has no payload."),
    ],
)
def test_an_output_that_is_no_message_says_which_item_it_is(
    run: Run, output: str, said: str
) -> None:
    refused = error(run(f"def run(message, context): return {output}"), OutputInvalid)

    assert str(refused).startswith(said)


def test_a_decision_in_a_group_of_exceptions_counts(run: Run) -> None:
    group = 'ExceptionGroup("b", [Reject("bad", code="C1")])'
    code = f'def run(m, c): raise ExceptionGroup("a", [ValueError("x"), {group}, Retry(5)])'

    assert error(run(code), ScriptRejected).code == "C1"
