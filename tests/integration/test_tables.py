"""Reference tables in the database: files, versions, and what scripts get of them."""

from __future__ import annotations

import hashlib
import sys
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command

from scripts.callables.tables import files, tables_of
from scripts.host.tables import Table
from scripts.models import ReferenceTable, TableContent, TablePiece
from scripts.protocol.calls import Program
from scripts.protocol.errors import NoValue
from scripts.services import table_storing
from scripts.services import tables as services_tables
from scripts.services.database import let_go
from scripts.services.table_storing import file_of, restore, store
from scripts.services.tables import TableFiles, opened
from scripts.tables.reading import TableInvalid
from tests.no_threads import no_new_threads
from tests.waiting import PATIENCE, wait_for

pytestmark = pytest.mark.django_db
ZIPS = b"zip,town\n10115,Berlin\n20095,Hamburg\n"


@pytest.fixture(autouse=True)
def directory(settings: Any, tmp_path: Path) -> Path:
    files().expire()
    settings.ASYNCENGINE_TABLES_DIRECTORY = str(tmp_path / "tables")
    return tmp_path / "tables"


def stored(content: bytes = ZIPS, name: str = "zip", **options: Any) -> ReferenceTable:
    table = ReferenceTable.objects.filter(name=name).first() or ReferenceTable(name=name)
    store(table, [content[:9], content[9:]], "csv", **options)
    return table


def looked_up(name: str = "zip") -> Table:
    program = Program(1, "pricing", "callable", "x", 20, 64, tables=(name,))
    return Table(name, tables_of(program).file(name), {})


def test_a_table_that_is_not_there_is_lasting_for_callables_too():
    with pytest.raises(NoValue, match="table 'zip'"):
        looked_up()


def test_a_stored_file_is_looked_up_and_comes_back_byte_for_byte():
    author = get_user_model().objects.create_user("ada")

    table = stored(author=author)
    version = table.latest()

    assert version is not None
    assert (version.number, version.author) == (1, author)
    assert version.content.digest == hashlib.sha256(ZIPS).hexdigest()
    assert (version.content.rows, version.content.size) == (2, len(ZIPS))
    assert version.content.columns == ["zip", "town"]
    assert b"".join(file_of(version.content)) == ZIPS
    assert looked_up()["10115"] == {"zip": "10115", "town": "Berlin"}


def test_the_same_file_makes_no_version_and_another_key_does():
    stored()
    stored()
    table = stored(key="town")

    assert [version.number for version in table.versions.all()] == [2, 1]


def test_an_older_version_is_restored_as_a_new_one_with_the_same_bytes():
    table = stored()
    stored(b"zip,town\n1,Bonn\n")

    version = restore(table.versions.get(number=1))

    assert version.number == 3
    assert TableContent.objects.count() == 2
    assert b"".join(file_of(version.content)) == ZIPS


def test_a_file_that_makes_no_table_leaves_nothing(directory: Path):
    with pytest.raises(TableInvalid, match="line 3: the key '1' stands there again, after line 2"):
        stored(b"a,b\n1,x\n1,y\n")

    assert not ReferenceTable.objects.exists()
    assert not TablePiece.objects.exists()
    assert list(directory.iterdir()) == []


def test_the_newest_versions_are_kept_with_their_bytes(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(table_storing, "MAX_VERSIONS", 2)
    for number in range(4):
        table = stored(b"a,b\n1,%d\n" % number)

    assert [version.number for version in table.versions.all()] == [4, 3]
    assert TableContent.objects.count() == 2


def test_a_file_of_this_machine_that_was_harmed_is_made_anew(directory: Path):
    version = stored().latest()
    assert version is not None
    (path,) = directory.glob("*.table")
    path.write_bytes(path.read_bytes()[:-3] + b"???")

    file = opened(version.content)

    assert Path(f"/proc/self/fd/{file.fileno()}").read_bytes() == path.read_bytes()
    assert b"???" not in path.read_bytes()


def test_only_the_user_of_the_workers_reads_the_files(directory: Path):
    stored()

    assert directory.stat().st_mode & 0o077 == 0
    assert all(path.stat().st_mode & 0o077 == 0 for path in directory.iterdir())


def test_a_table_that_is_not_there_is_named():
    with pytest.raises(KeyError, match="There is no table 'zip' in this installation"):
        looked_up()


@pytest.mark.django_db(transaction=True)
def test_workers_read_tables_in_threads_and_see_new_versions():
    program = Program(1, "pricing", "python", "x", 20, 64, tables=("zip", "none"))
    files = TableFiles()
    stored()
    with no_new_threads():
        assert files.given(program) is None

    first, none = wait_for(lambda: files.given(program)) or ()
    stored(b"zip,town\n1,Bonn\n")
    kept = files.given(program)
    files.expire()
    wait_for(lambda: (files.given(program) or [first])[0] != first)

    assert none.problem == "There is no table 'none' in this installation."
    assert kept == (first, none)


@pytest.mark.django_db(transaction=True)
def test_callables_wait_for_a_table_that_another_one_looks_up(monkeypatch: pytest.MonkeyPatch):
    program = Program(1, "pricing", "callable", "x", 20, 64, tables=("zip",))
    stored()
    tables, newest = TableFiles(threaded=False), services_tables.newest_content
    asked, may_answer = threading.Event(), threading.Event()

    def slow(name: str) -> TableContent | None:
        asked.set()
        may_answer.wait(PATIENCE)
        return newest(name)

    def given() -> Any:
        try:
            return tables.given(program)
        finally:
            let_go()

    monkeypatch.setattr(services_tables, "newest_content", slow)
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(given)
        asked.wait(PATIENCE)
        second = threads.submit(given)
        # Time to find that the first one is at it.
        wait([second], timeout=0.2)
        may_answer.set()

    assert [each.problem for each in first.result()] == [""]
    assert second.result() == first.result()


def test_tables_are_stored_listed_printed_and_restored_by_a_command(
    tmp_path: Path, capfdbinary: Any
):
    (tmp_path / "a.csv").write_bytes(ZIPS)
    (tmp_path / "b.csv").write_bytes(b"zip,town\n1,Bonn\n")
    output = StringIO()

    call_command("tables", "set", "zip", str(tmp_path / "a.csv"), stdout=output)
    call_command("tables", "set", "zip", str(tmp_path / "b.csv"), "--key", "town", stdout=output)
    call_command("tables", "restore", "zip", "1", stdout=output)
    call_command("tables", "list", stdout=output)
    call_command("tables", "get", "zip")
    sys.stdout.flush()

    said = output.getvalue()
    assert "zip v1 has 2 rows; running workers see it within 5 s." in said
    assert f"zip v3 2 rows {hashlib.sha256(ZIPS).hexdigest()}" in said
    assert capfdbinary.readouterr().out == ZIPS
    (tmp_path / "c.csv").write_bytes(b"a,b\n1\n")
    with pytest.raises(CommandError, match="line 2: 1 values for 2 columns"):
        call_command("tables", "set", "zip", str(tmp_path / "c.csv"))
    call_command("tables", "delete", "zip")
    assert not TableContent.objects.exists()
