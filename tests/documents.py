"""JSON texts of every kind, and what must not change of one on its way."""

import json
import math
from typing import Any

from hypothesis import strategies as st

# Some that JavaScript treats in a way of its own, or that a message has itself.
_ODD_KEYS = ("", "__proto__", "constructor", "toJSON", "length", "payload", "correlationId")
_INTEGER_KEYS = ("0", "1", "2", "10", "01", "-1", "4294967294", "4294967295")
_ODD_TEXTS = ("\u2028\u2029", "\ufeff", "\x7f\x80\x9f", "\\u0000", "</script>", "12.50", "1e5")

NUMBERS = st.one_of(
    st.from_regex(r"-?(0|[1-9][0-9]{0,25})(\.[0-9]{1,25})?([eE][+-]?[0-9]{1,3})?", fullmatch=True),
    st.from_regex(r"-?[1-9][0-9]{0,3}\.[0-9]0", fullmatch=True),
    st.integers().map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.sampled_from(["-0", "-0.0", "1.0", "1e5", "0.30000000000000004", "1234567890123456.78"]),
).filter(lambda text: math.isfinite(float(text)))
_CHARACTERS = st.characters(exclude_categories=("Cs",), exclude_characters="\0")
TEXTS = st.one_of(st.text(_CHARACTERS, max_size=8), st.sampled_from(_ODD_TEXTS))
KEYS = st.one_of(TEXTS, st.sampled_from(_ODD_KEYS), st.sampled_from(_INTEGER_KEYS))
_BLANKS = st.sampled_from(["", "", " ", "\n  ", "\t"])


def _written(text: str, as_ascii: bool) -> str:
    return json.dumps(text, ensure_ascii=as_ascii)


def _array(items: list[str], blank: str) -> str:
    return f"[{blank}{f',{blank}'.join(items)}]"


def _object(members: dict[str, str], blank: str, as_ascii: bool) -> str:
    written = (f"{_written(key, as_ascii)}{blank}:{blank}{v}" for key, v in members.items())
    return f"{{{blank}{f',{blank}'.join(written)}}}"


def _objects(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    members = st.dictionaries(KEYS, values, max_size=6)
    return st.builds(_object, members, _BLANKS, st.booleans())


def _all_values() -> st.SearchStrategy[str]:
    strings = st.builds(_written, TEXTS, st.booleans())
    return st.recursive(
        st.one_of(NUMBERS, strings, st.sampled_from(["null", "true", "false"])),
        lambda values: st.one_of(
            st.builds(_array, st.lists(values, max_size=5), _BLANKS), _objects(values)
        ),
        max_leaves=20,
    )


@st.composite
def values(draw: st.DrawFn) -> str:
    """Draw the text of any JSON value."""
    return draw(_VALUES)


@st.composite
def objects(draw: st.DrawFn) -> str:
    """Draw the text of a JSON object."""
    return draw(_OBJECTS)


_VALUES = _all_values()
_OBJECTS = _objects(_VALUES)


def content(text: str | bytes) -> Any:
    """Return what a JSON text says: digits as they are written, keys in order, each character.

    Blanks between values and the ways to escape a character make no difference.
    """
    return json.loads(
        text,
        parse_float=lambda digits: ("number", digits),
        parse_int=lambda digits: ("number", digits),
        object_pairs_hook=lambda pairs: ("object", pairs),
    )
