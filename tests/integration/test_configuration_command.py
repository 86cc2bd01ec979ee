import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connections

from flows.demo import demo_document
from flows.errors import CommitInDoubt
from flows.models import Flow, Queue
from tests.databases import fresh_database

ROOT = Path(__file__).resolve().parents[2]


def config(*arguments: str) -> str:
    output = io.StringIO()
    call_command("config", *arguments, stdout=output)
    return output.getvalue()


@pytest.fixture
def document(tmp_path) -> Path:
    path = tmp_path / "configuration.json"
    path.write_text(json.dumps(demo_document()), encoding="utf-8")
    return path


@pytest.mark.django_db
def test_an_import_prints_a_line_for_each_change_and_a_summary(document):
    printed = config("import", str(document)).splitlines()

    assert 'added flow "loan-application"' in printed
    assert printed[-1] == "10 added, 0 changed, 0 removed."
    assert config("import", str(document)) == "Nothing to change.\n"


@pytest.mark.django_db
def test_a_dry_run_prints_the_same_and_stores_nothing(document):
    printed = config("import", str(document), "--dry-run")

    assert not Flow.objects.exists()
    assert printed == config("import", str(document))


@pytest.mark.django_db
def test_an_export_to_a_file_has_the_bytes_that_stdout_has(document, tmp_path):
    config("import", str(document))
    file = tmp_path / "exported.json"

    assert config("export", str(file)) == ""

    assert file.read_text(encoding="utf-8") == config("export") == config("export", "-")
    assert file.read_bytes().endswith(b"}\n")
    assert config("import", str(file), "--prune") == "Nothing to change.\n"


@pytest.mark.django_db
def test_a_dash_reads_stdin(document, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(document.read_bytes())))

    config("import", "-")

    assert Flow.objects.count() == 1


@pytest.mark.django_db
def test_prune_removes_what_is_not_named(document, tmp_path):
    Queue.objects.create(name="other")

    printed = config("import", str(document), "--prune")

    assert 'removed queue "other"' in printed


@pytest.mark.django_db
def test_all_faults_are_in_the_error(tmp_path):
    path = tmp_path / "wrong.json"
    path.write_text('{"queues": [{"name": "q", "size": 0}], "flows": [{}]}')

    with pytest.raises(CommandError) as caught:
        config("import", str(path))

    assert str(caught.value).splitlines() == [
        "nothing was changed:",
        "queues[0].size: must be at least 1",
        'flows[0]: "name" is missing',
    ]


@pytest.mark.django_db
def test_a_file_that_is_not_there_or_cannot_be_written_is_named(tmp_path):
    with pytest.raises(CommandError, match=r"nowhere\.json: No such file"):
        config("import", str(tmp_path / "nowhere.json"))
    with pytest.raises(CommandError, match="Is a directory"):
        config("export", str(tmp_path))


@pytest.mark.long
def test_a_failure_exits_with_1_and_says_why_on_stderr(tmp_path):
    path = tmp_path / "wrong.json"
    path.write_text("{")
    with fresh_database(tmp_path) as url:
        environment = os.environ | {"DATABASE_URL": url}

        def manage(*arguments: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [sys.executable, "manage.py", *arguments],
                cwd=ROOT,
                env=environment,
                capture_output=True,
                text=True,
            )

        not_json = manage("config", "import", str(path))
        not_migrated = manage("config", "export")

    assert (not_json.returncode, not_json.stdout) == (1, "")
    assert "The document is not JSON: " in not_json.stderr
    assert not_migrated.returncode == 1
    assert "Traceback" not in not_migrated.stderr
    assert "manage.py migrate" in not_migrated.stderr


@pytest.mark.django_db(transaction=True)
def test_a_commit_in_doubt_is_not_told_as_nothing_changed(document):
    database: Any = connections["default"]
    commit = database._commit

    def lost() -> None:
        del database._commit
        commit()
        raise CommitInDoubt

    database._commit = lost

    with pytest.raises(CommandError) as raised:
        config("import", str(document))

    assert "nothing was changed" not in str(raised.value)
    assert "Repeat the command" in str(raised.value)
    assert config("import", str(document)) == "Nothing to change.\n"
