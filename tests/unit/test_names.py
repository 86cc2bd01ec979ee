import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.names import address_fault, name_fault


@pytest.mark.parametrize("name", ["", " ", "\t", "a\r\nb", "a\x00", "\x7f", "a\x85b", "\x1b[31m"])
def test_blank_names_and_control_characters_are_refused_everywhere(name: str):
    assert name_fault(name)
    assert address_fault(name)


@pytest.mark.parametrize(
    "name",
    [
        *(".", "..", "a/..", "../a", "a/./b", "/", "/a", "a/", "a//b"),
        *("a/start", "a/b/start", "a/pause", "a/resume"),
    ],
)
def test_names_that_are_other_addresses_are_refused_where_they_stand_in_addresses(name: str):
    assert address_fault(name)
    assert not name_fault(name)


@pytest.mark.parametrize(
    "name", ["loan", "a b", "a/b", "start", "start/a", "a.b", "...", ".a", "ä", "a?b#c%d{e}"]
)
def test_other_names_are_taken(name: str):
    assert address_fault(name) is None


@given(st.text(max_size=20))
def test_every_name_is_judged(name: str):
    assert name_fault(name) is None or address_fault(name)
