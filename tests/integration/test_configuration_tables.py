"""Reference tables in a configuration document and its directory."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from flows.configuration import (
    ConfigurationInvalid,
    export_configuration,
    export_flows,
    import_configuration,
    read_directory,
    write_directory,
)
from scripts.models import ReferenceTable, Script, TableContent
from scripts.services.table_storing import file_of, store
from tests.builders import make_flow
from tests.integration.configuration_imports import faults_of

pytestmark = pytest.mark.django_db
ZIPS = b"zip,town\n10115,Berlin\n"
DIGEST = sha256(ZIPS).hexdigest()
EXPORTED = {"name": "zip", "format": "csv", "digest": DIGEST, "key": "town"}


@pytest.fixture(autouse=True)
def files(settings: Any, tmp_path: Path) -> None:
    settings.ASYNCENGINE_TABLES_DIRECTORY = str(tmp_path / "of the machine")


def stored() -> ReferenceTable:
    table = ReferenceTable(name="zip")
    store(table, [ZIPS], "csv", "town")
    return table


def written(directory: Path) -> Path:
    """Export a table into a directory, and delete it here."""
    table = stored()
    write_directory(export_configuration(), directory)
    table.delete()
    return directory


def test_an_export_has_what_identifies_the_file_of_a_table():
    without = export_configuration()
    stored()

    assert "tables" not in without
    assert export_configuration()["tables"] == [EXPORTED]


def test_the_export_of_a_flow_has_the_tables_of_its_scripts():
    stored()
    make_flow("orders", ["def run(message, context):\n    return message\n"])
    without = export_flows(["orders"])
    script = Script.objects.get()
    script.tables = ["zip"]
    script.save()

    exported = export_flows(["orders"])

    assert "tables" not in without
    assert exported["tables"] == [EXPORTED]
    assert exported["scripts"][0]["tables"] == ["zip"]


def test_a_directory_has_the_files_and_an_import_stores_them(tmp_path: Path):
    directory = written(tmp_path / "exported")

    first = import_configuration(read_directory(directory))
    again = import_configuration(read_directory(directory))

    assert (directory / "tables" / "zip.csv").read_bytes() == ZIPS
    assert [str(change) for change in first.items] == ['added table "zip"']
    assert not again
    latest = ReferenceTable.objects.get().latest()
    assert latest is not None
    assert (latest.number, latest.content.key) == (1, "town")
    assert b"".join(file_of(latest.content)) == ZIPS


def test_a_dry_run_tells_the_change_and_stores_nothing(tmp_path: Path):
    directory = written(tmp_path / "exported")

    changes = import_configuration(read_directory(directory), dry_run=True)

    assert [str(change) for change in changes.items] == ['added table "zip"']
    assert not ReferenceTable.objects.exists()


def test_an_import_with_a_fault_elsewhere_stores_no_table(tmp_path: Path):
    document = read_directory(written(tmp_path / "exported"))
    document["queues"] = [{"name": "orders", "size": -1}]

    with pytest.raises(ConfigurationInvalid):
        import_configuration(document)

    assert not ReferenceTable.objects.exists()
    assert not TableContent.objects.exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: (d / "tables/zip.csv").write_bytes(b"zip,town\n1,x\n2,x\n"), "line 3: the key"),
        (lambda d: (d / "tables/zip.csv").write_bytes(ZIPS + b"1,Bonn\n"), "has the SHA-256"),
        (lambda d: (d / "tables/zip.csv").unlink(), "No such file"),
        (lambda d: edited(d, file="../secret"), "is not below the directory"),
        (lambda d: edited(d, file="/etc/passwd"), "is not below the directory"),
    ],
)
def test_a_file_that_does_not_fit_is_a_fault_with_its_place(
    tmp_path: Path, change: Any, words: str
):
    directory = written(tmp_path / "exported")
    change(directory)

    with pytest.raises(ConfigurationInvalid, match=r"tables\[0\]") as refused:
        import_configuration(read_directory(directory))

    assert words in str(refused.value)
    assert not ReferenceTable.objects.exists()


def edited(directory: Path, **values: str) -> None:
    path = directory / "configuration.json"
    document = json.loads(path.read_text())
    document["tables"][0].update(values)
    path.write_text(json.dumps(document))


def test_a_document_by_itself_reads_no_file_of_the_machine(tmp_path: Path):
    (tmp_path / "a.csv").write_bytes(ZIPS)
    entry = {"name": "zip", "format": "csv", "file": str(tmp_path / "a.csv")}

    assert faults_of({"tables": [entry]}) == ["tables[0].file: is read from a directory alone"]


def test_a_document_by_itself_warns_of_tables_that_are_not_here():
    first = import_configuration({"tables": [EXPORTED]})
    stored()
    second = import_configuration({"tables": [EXPORTED]}, prune=True)

    assert first.warnings == [
        'tables[0]: the table "zip" has another file here, or none; that of the document has the'
        f" SHA-256 {DIGEST[:12]}…"
    ]
    assert second.warnings == []
    assert ReferenceTable.objects.exists()


@pytest.mark.parametrize(
    ("entries", "fault"),
    [
        (
            [{"name": "zip", "format": "csv"}],
            "tables[0]: needs `file`, in a directory, or `digest`",
        ),
        ([EXPORTED, EXPORTED], 'tables[1].name: "zip" stands there twice'),
    ],
)
def test_what_is_no_table_is_a_fault_with_its_place(entries: Any, fault: str):
    assert faults_of({"tables": entries}) == [fault]
