"""What a host claims to be an output is checked by the worker, from its text alone."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.protocol.errors import OutputInvalid
from scripts.protocol.json_text import MAX_DEPTH
from scripts.protocol.outputs import fault_of

BODY = b'{"correlationId":"id","payload":{}}'


def nested(levels: int) -> str:
    return "[" * levels + "]" * levels


def message(payload: str, before: str = "", after: str = "") -> str:
    return f'{before}{{"correlationId": "id","payload" :{payload}{after}}}'


def fault(text: str, is_last: bool = False, body: str = "") -> OutputInvalid | None:
    return fault_of(text.encode(), body.encode() or BODY, "id", is_last)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("null", "$"),
        ("5", "$"),
        ('"payload"', "$"),
        ("[5,6]", "$[0]"),
        ("[ {}]", "$[0].payload"),
        ("{}", "$.payload"),
        ('{"payload":1}', "$.correlationId"),
        ('{"payload":1,"correlationId":null}', "$.correlationId"),
        ('{"payload":1,"correlationId":"ID"}', "$.correlationId"),
        (f"[{message('1')},{message('1')}, [] ]", "$[2]"),
        (f"[{message('1')},{{}}]", "$[1].payload"),
        (message('"\\u0000"'), "$"),
        (message('{"\\\\\\u0000":1}'), "$"),
    ],
)
def test_what_is_no_message_is_a_fault_that_names_the_place(text: str, place: str) -> None:
    found = fault(text)

    assert found is not None
    assert found.place == place


@pytest.mark.parametrize(
    "text",
    [
        message("1"),
        message("1", before=" \n"),
        message("1", after=',"more":[]'),
        "[]",
        f"[ {message('1')} ,\n{message('{}')}]",
        message('"\\\\u0000"'),
        message("9" * 4300),
        message("9" * 309),
    ],
)
def test_messages_and_lists_of_them_are_outputs_however_they_are_written(text: str) -> None:
    assert fault(text) is None


@pytest.mark.parametrize("text", ["null", "5", "[5,6]", "[ {}]", '"x"', '{"payload":1}'])
def test_the_last_output_may_be_any_json(text: str) -> None:
    assert fault(text, is_last=True) is None


@pytest.mark.parametrize("text", ["", "{", "[1,]", "NaN", '"\ud800"', "1" * 5000 + "x", "[" * 99])
def test_what_is_no_json_is_no_output_at_all(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        fault_of(text.encode("utf-8", "surrogatepass"), BODY, "id", False)


@pytest.mark.parametrize("is_last", [False, True])
@pytest.mark.parametrize(
    ("before", "after"),
    [("", ""), ("[", "]"), (f"[{message('1')},", "]")],
)
def test_a_payload_may_be_nested_to_the_limit(before: str, after: str, is_last: bool) -> None:
    assert fault(before + message(nested(MAX_DEPTH)) + after, is_last) is None

    found = fault(before + message(nested(MAX_DEPTH + 1)) + after, is_last)
    assert found is not None
    assert f"nested more than {MAX_DEPTH} deep" in str(found)
    assert found.place is not None
    assert "payload[0]" in found.place


@pytest.mark.parametrize(
    "levels", [201, 254, 255, 256, 970, 1000, 1022, 1023, 1024, 1025, 5000, 100_000]
)
def test_an_output_of_any_depth_is_a_fault_and_raises_nothing(levels: int) -> None:
    for text in (message(nested(levels)), f"[{message(nested(levels))}]"):
        assert "deep" in str(fault(text))
    assert "deep" in str(fault(nested(levels), is_last=True))
    assert "deep" in str(fault('{"a":' * levels + "1" + "}" * levels, is_last=True))


def test_a_deep_output_with_a_string_without_an_end_is_judged_at_once() -> None:
    # Read anew from each quote it would hold its worker for hours.
    assert "deep" in str(fault("[" * 300 + '"' + '\\"' * 2_000_000))


def test_a_step_may_pass_on_what_it_got_however_deep() -> None:
    joined = message(nested(MAX_DEPTH + 5))

    assert fault(joined, body=joined) is None
    assert fault(f"[{joined}]", body=joined) is None
    assert fault(message(nested(MAX_DEPTH + 6)), body=joined) is not None


@pytest.mark.parametrize("digits", [4301, 5000, 1_000_000])
def test_an_integer_that_python_does_not_read_is_a_fault(digits: int) -> None:
    for text in (message("9" * digits), f"[{message('-' + '9' * digits)}]"):
        assert "digits" in str(fault(text))


@given(st.text() | st.binary().map(lambda raw: raw.decode("latin-1")), st.booleans())
def test_any_text_is_checked_or_no_json(text: str, is_last: bool) -> None:
    raw = text.encode("utf-8", "surrogatepass")

    try:
        found = fault_of(raw, BODY, "id", is_last)
    except ValueError:
        with pytest.raises(ValueError, match=r"."):
            orjson.loads(raw)
    else:
        assert (found is None) == (is_last and "\\u0000" not in text)
