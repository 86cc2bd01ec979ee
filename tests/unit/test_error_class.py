from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.message.error_class import LONGEST, error_class_of, naming_line

TRACEBACK = """Traceback (most recent call last):
  File "script", line 3, in run
    order = message["payload"]["order"]
{line}
"""


@pytest.mark.parametrize(
    ("error", "error_class"),
    [
        ("KeyError: 'total'", "KeyError: <text>"),
        ('ValueError: "a \\" b" is no price', "ValueError: <text> is no price"),
        ("ValueError: 12.50 of 1,000 at -3e5", "ValueError: <number> of <number> at <number>"),
        ("order A-1001 is unknown", "order A-<number> is unknown"),
        ("order INV20240017 is unknown", "order INV<number> is unknown"),
        ("run 01a188ea-fc1f-72bc-8000-0000000002bc is late", "run <id> is late"),
        ("object at 0x7f3a2b1c", "object at <id>"),
        ("commit 9fceb02d0ae598e9", "commit <id>"),
        ("since 2026-11-28T10:11:12.5Z it waits", "since <time> it waits"),
        ("GET https://shop.example/a?b=1 failed", "GET <url> failed"),
        ("no mailbox ada@example.org", "no mailbox <text>"),
        ("can't decode utf8, doesn't matter", "can't decode utf8, doesn't matter"),
        ("", ""),
    ],
)
def test_what_differs_from_message_to_message_is_left_out(error, error_class):
    assert error_class_of(error) == error_class


def test_the_first_line_of_the_message_names_the_error_of_a_traceback():
    error = TRACEBACK.format(line="ValueError: no price\nof 3 items\n  and more")

    assert naming_line(error) == "ValueError: no price"


def test_the_last_of_chained_tracebacks_names_the_error():
    first = TRACEBACK.format(line="KeyError: 'a'")
    then = "\nDuring handling of the above exception, another exception occurred:\n\n"

    error = first + then + TRACEBACK.format(line="TimeoutError: no answer")

    assert naming_line(error) == "TimeoutError: no answer"


def test_a_traceback_that_is_quoted_within_a_line_is_none():
    error = "ValueError: it said: Traceback (most recent call last): none\nof 3"

    assert naming_line(error) == "ValueError: it said: Traceback (most recent call last): none"


def test_the_first_line_names_the_error_of_javascript():
    assert naming_line("TypeError: x is no function\n    at run (script:3)") == (
        "TypeError: x is no function"
    )


@given(st.integers(), st.integers())
def test_errors_that_differ_in_numbers_have_the_same_class(one, other):
    assert error_class_of(f"Error: order {one} is late") == error_class_of(
        f"Error: order {other} is late"
    )


@pytest.mark.parametrize("escapes", ["\\n", "\\", "\\'"])
def test_a_quoted_text_that_is_cut_within_its_escapes_has_a_class(escapes: str):
    assert error_class_of(f"ValueError: no number: 'a{escapes * 500}").startswith("ValueError: no")


@given(st.text(max_size=2000))
def test_any_text_has_a_class_that_fits(error):
    assert len(error_class_of(error)) <= LONGEST
