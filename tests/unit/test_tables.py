"""Reference tables: files that are read, made into an index, and looked up."""

from __future__ import annotations

import io
import json
import mmap
import tempfile
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.host.tables import Table, TableFile, given_tables
from scripts.protocol.table_file import MAX_FILE_BYTES, MAX_KEY_BYTES, MAX_ROW_BYTES
from scripts.tables.building import build, is_whole
from scripts.tables.reading import TableInvalid, read_rows

ZIPS = b'zip,town,rate\r\n10115,Berlin,1.50\r\n20095,"Hamburg, ""Mitte""",2\r\n'


def made(content: bytes, form: str = "csv", key: str = "", piece: int = 7) -> Table:
    """Return the table of a file that arrives in small pieces."""
    pieces = (content[at : at + piece] for at in range(0, len(content), piece))
    with tempfile.TemporaryFile() as file:
        build(read_rows(pieces, form, key), file)
        assert is_whole(file)
        mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    return Table("zip", TableFile(mapped), {})


def fault(content: bytes, form: str = "csv", key: str = "") -> str:
    with pytest.raises(TableInvalid) as refused:
        made(content, form, key)
    return str(refused.value)


def test_rows_of_a_csv_file_are_dicts_of_texts_by_the_first_column():
    table = made(ZIPS)

    assert table["10115"] == {"zip": "10115", "town": "Berlin", "rate": "1.50"}
    assert table["20095"]["town"] == 'Hamburg, "Mitte"'
    assert table.columns == ("zip", "town", "rate")
    assert (len(table), list(table)) == (2, ["10115", "20095"])


def test_another_column_may_have_the_keys():
    table = made(ZIPS, key="town")

    assert table["Berlin"]["zip"] == "10115"


def test_a_key_that_is_missing_is_a_key_error_or_the_default():
    table = made(ZIPS)

    assert table.get("0") is None
    assert table.get("0", {}) == {}
    assert "0" not in table
    assert None not in table
    with pytest.raises(KeyError, match="no key '0' in the table 'zip'"):
        table["0"]


def test_a_whole_number_stands_for_its_digits_and_nothing_else_is_a_key():
    table = made(ZIPS)

    assert table[10115] == table["10115"]
    for key in (True, 1.5, None, b"10115"):
        with pytest.raises(TypeError, match="The key of a table is a text"):
            table[key]  # type: ignore[index]


@pytest.mark.parametrize("key", ["\ud800", "x" * 5_000_000, "", "\0", "é" * MAX_KEY_BYTES])
def test_giant_and_strange_keys_are_just_not_there(key: str):
    assert key not in made(ZIPS)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_the_delimiter_is_the_one_of_the_first_line(delimiter: str):
    table = made(f"a{delimiter}b\n1{delimiter}x\n".encode())

    assert table["1"] == {"a": "1", "b": "x"}


def test_a_byte_order_mark_and_empty_lines_do_not_count():
    table = made(b"\xef\xbb\xbfa,b\n\n1,x\n\n")

    assert dict(table) == {"1": {"a": "1", "b": "x"}}


def test_a_json_object_has_a_value_for_each_key_digit_for_digit():
    table = made(
        b' {"a" : 1.50, "b": {"n": [12345678901234567890123, null]}, "c": "\\u00e9"}\n', "json"
    )

    assert table["b"] == {"n": [12345678901234567890123, None]}
    assert table["c"] == "é"
    assert table._file.text("a") == b"1.50"
    assert table.columns is None


def test_a_json_list_has_the_key_in_a_member():
    table = made(b'[{"id": 7, "x": 1e2}, {"id": "8"}]', "json", "id")

    assert list(table) == ["7", "8"]
    assert table._file.text("7") == b'{"id": 7, "x": 1e2}'


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "The first line must name the columns."),
        (b"a,a\n", "line 1: the column 'a' stands there twice"),
        (b"a,b\n1\n", "line 2: 1 values for 2 columns"),
        (b'a,b\n"1\n2",x\n3,y,z\n', "line 4: 3 values for 2 columns"),
        (b"a,b\n,x\n", "line 2: the key is empty"),
        (b"a,b\n1,x\n2,y\n\n1,z\n", "line 5: the key '1' stands there again, after line 2"),
        (b"a,b\n1,\xfc\n", "line 2: byte 0xfc is no UTF-8: save the file in that encoding"),
        (b"a,b\n1,\0\n", "line 2: it holds a NUL, so it is no text"),
        (b'a,b\n1,"x\n', "line 2: unexpected end of data"),
        (
            b"a,b\n" + b"k" * (MAX_KEY_BYTES + 1) + b",x\n",
            "line 2: the key has more than 1000 bytes",
        ),
        (b"a,b\n1," + b"x" * MAX_ROW_BYTES + b"\n", "line 2: more than 128 kB"),
    ],
)
def test_a_csv_file_is_refused_with_its_line(content: bytes, words: str):
    assert fault(content) == words


@pytest.mark.parametrize(
    ("content", "key", "words"),
    [
        (b"", "", "must be a JSON object by key, or a list"),
        (b"12", "", "must be a JSON object by key, or a list"),
        (b"[1]", "id", "entry 1: it must be an object whose 'id' is a text"),
        (b'[{"id": true}]', "id", "entry 1: it must be an object whose 'id'"),
        (b"[]", "", "A list needs the name of the member"),
        (b"{}", "id", "needs no name of the key"),
        (b'{"a": 1, "a": 2}', "", "entry 2: the key 'a' stands there again, after entry 1"),
        (b'{"a": {"x": 1, "x": 2}}', "", "entry 1: the key 'x' stands twice in an object"),
        (b'{"a": NaN}', "", "entry 1: NaN is no JSON"),
        (b'{"a": 1', "", "A comma or } was expected"),
        (b'{"a": 1,}', "", "entry 2"),
        (b'{"a": 1} x', "", "goes on behind its end with 'x'"),
        (b'{"a": "\xff"}', "", "no UTF-8"),
        (b'{"\\ud800": 1}', "", "entry 1: the key has half a character"),
        (b'{"a": ' + b"[" * 100_000, "", "entry 1: it is nested too deeply"),
        (b'{"a": "' + b"x" * MAX_ROW_BYTES + b'"}', "", "entry 1: more than 128 kB"),
    ],
)
def test_a_json_file_is_refused_with_its_entry(content: bytes, key: str, words: str):
    assert words in fault(content, "json", key)


def test_a_file_that_is_too_large_is_refused_without_reading_on():
    def pieces() -> Iterator[bytes]:
        yield b"a,b\n"
        for number in range(MAX_FILE_BYTES):
            yield f"{number},".encode() + b"x" * 100_000 + b"\n"

    with pytest.raises(TableInvalid, match="more than 50 MB"):
        build(read_rows(pieces(), "csv"), io.BytesIO())


def test_an_empty_table_has_no_rows():
    assert dict(made(b"a,b\n")) == {}
    assert dict(made(b"{}", "json")) == {}


def test_a_file_that_was_cut_or_changed_is_not_whole():
    with tempfile.TemporaryFile() as file:
        build(read_rows([ZIPS], "csv"), file)
        file.seek(-1, 2)
        file.write(b"?")
        assert not is_whole(file)

        file.truncate(20)
        assert not is_whole(file)


def test_a_script_gets_only_the_tables_that_it_lists():
    tables = given_tables(
        [
            ("none", "There is no table 'none' in this installation.", False),
            ("broken", "The table 'broken' cannot be used now.", True),
        ],
        [],
    )

    with pytest.raises(KeyError, match="was not given a table 'zip'"):
        tables.file("zip")
    with pytest.raises(KeyError, match="There is no table 'none'"):
        tables.file("none")
    with pytest.raises(RuntimeError, match="cannot be used now"):
        tables.file("broken")


texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(texts, values, max_size=40), st.integers(1, 9), st.booleans())
def test_whatever_a_json_object_has_is_found(rows: dict[str, object], piece: int, escaped: bool):
    table = made(json.dumps(rows, ensure_ascii=escaped).encode(), "json", piece=piece)

    assert dict(table) == rows
    assert list(table) == list(rows)
    assert [key for key in ("a", "", "0") if key in table and key not in rows] == []
