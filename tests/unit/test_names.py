import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.names import address_fault, address_note, name_fault


@pytest.mark.parametrize("name", ["", " ", "\t", "a\r\nb", "a\x00", "\x7f", "a\x85b", "\x1b[31m"])
def test_blank_names_and_control_characters_are_refused_everywhere(name: str):
    assert name_fault(name)
    assert address_fault(name)


@pytest.mark.parametrize(
    "name",
    [
        *(".", "..", "...", "a/..", "../a", "a/./b", "/", "/a", "a/", "a//b", "a/b"),
        *("a/start", "a/b/start", "a/pause", "a/resume", " a", "a ", "a\N{NO-BREAK SPACE}"),
    ],
)
def test_names_that_are_other_addresses_are_refused_where_they_stand_in_addresses(name: str):
    assert address_fault(name)
    assert not name_fault(name)


@pytest.mark.parametrize(
    "name", ["loan", "a b", "start", "a.b", ".a", "a..", "ä", "a?b#c%d{e}", "a\\b"]
)
def test_other_names_are_taken(name: str):
    assert address_fault(name) is None


@pytest.mark.parametrize("name", ["loan", "loan-2.b_c~d", "...a"])
def test_name_that_is_written_as_it_is_needs_no_note(name: str):
    assert address_note(name) == ""


@pytest.mark.parametrize(
    ("name", "written"), [("a b", "a%20b"), ("ü", "%C3%BC"), ("a?b", "a%3Fb"), ("100%", "100%25")]
)
def test_name_that_is_written_otherwise_in_addresses_has_a_note(name: str, written: str):
    assert written in address_note(name)


@given(st.text(max_size=20))
def test_every_name_is_checked(name: str):
    assert name_fault(name) is None or address_fault(name)
