"""Runs are archived before they are purged, read back and erased there."""

import json
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from flows import engine
from flows.archive import files as archive_files
from flows.archive.files import MOST_BYTES, append, files, lines_of
from flows.models import AuditEntry, Flow, Run
from flows.tasks.retention import purge
from tests.builders import ECHO, make_flow, run_of, work_until_idle

pytestmark = pytest.mark.django_db

MARKER = "Zeiglmeier-4711-Übersee"
LATER = timedelta(days=31)
LOGS_AND_REJECTS = (
    "def run(message, context):\n"
    "    context.log('seen ' + message['payload']['name'])\n"
    "    raise Reject('no', code='C-7', details={'name': message['payload']['name']})\n"
)
# Digits that a double does not have, and a line break between members.
EXACT = b'{"name": "%s",\n "sum": 12345678901234567890123.10}' % MARKER.encode()


@pytest.fixture
def folder(settings, tmp_path):
    settings.ASYNCENGINE_ARCHIVE_DIR = str(tmp_path / "archive")
    return tmp_path / "archive"


def archived_flow(name: str = "flow", codes: list[str] | None = None) -> Flow:
    flow = make_flow(name, codes=codes or [ECHO])
    flow.archive = True
    flow.save()
    return flow


def ended(flow: Flow, payload: bytes = EXACT, **options: object) -> Run:
    run = run_of(engine.start(flow.name, payload, **options).correlation_id)
    work_until_idle(flow)
    return run_of(run.pk)


def purge_later() -> int:
    return purge(timezone.now() + LATER, budget_seconds=None)


def read(*arguments: str) -> list[str]:
    out = StringIO()
    call_command("archive", "read", *arguments, stdout=out)
    return out.getvalue().splitlines()


def erase(*arguments: str) -> str:
    out = StringIO()
    call_command("erase", *arguments, stdout=out)
    return out.getvalue()


def test_a_purged_run_is_read_back_with_all_that_belonged_to_it(folder):
    flow, other = archived_flow("a/b ä" * 19, [LOGS_AND_REJECTS]), archived_flow("other")
    plain = make_flow("plain", codes=[ECHO])
    run, second = ended(flow, labels={"customer": "77"}), ended(other)
    ended(plain)
    for letter in run.dead_letters.all():
        engine.discard(letter)

    assert purge_later() == 3

    (line,) = read("--flow", flow.name)
    found = json.loads(line)
    assert found["correlationId"] == str(run.pk)
    assert (found["status"], found["labels"]) == ("FAILED", {"customer": "77"})
    assert found["deadLetters"][0]["details"] == {"name": MARKER}
    assert found["stepRuns"][0]["logs"][0]["text"] == f"seen {MARKER}"
    assert "12345678901234567890123.10" in line
    assert read("--correlation-id", str(second.pk)) == read("--flow", "other")
    assert len(read()) == 2
    now = timezone.now()
    assert len(read("--from", str(now - timedelta(hours=1)), "--to", str(now))) == 2
    assert read("--from", str(now)) == []
    out = StringIO()
    call_command("archive", "list", stdout=out)
    assert len(out.getvalue().splitlines()) == 2


def test_a_run_is_never_lost_and_read_once_when_a_purge_breaks_off(folder, monkeypatch):
    flow = archived_flow()
    run = ended(flow)

    def no_room(*_):
        raise OSError("no room")

    with monkeypatch.context() as broken:
        broken.setattr(archive_files, "_frame", no_room)
        with pytest.raises(OSError, match="no room"):
            purge_later()
    assert Run.objects.filter(pk=run.pk).exists()
    with monkeypatch.context() as killed:
        killed.setattr("flows.tasks.retention._subtract_from_totals", no_room)
        with pytest.raises(OSError, match="no room"):
            purge_later()
    assert len(read()) == 1
    assert purge_later() == 1

    assert sum(1 for path in files() for _ in lines_of(path)) == 2
    assert len(read()) == 1


def test_what_a_kill_has_cut_is_left_out_and_followed_by_another_file(folder, monkeypatch):
    now = timezone.now()
    line = b'{"n": %d}\n'
    append("flow", [line % 1], now)
    append("flow", [line % 2], now)
    (path,) = files()
    whole = path.read_bytes()
    path.write_bytes(whole[:-30])

    append("flow", [line % 3], now)

    assert [list(lines_of(each)) for each in files()] == [[line % 1], [line % 3]]
    monkeypatch.setattr(archive_files, "MOST_BYTES", 1)
    append("flow", [line % 4], now)
    append("flow", [line % 5], now + timedelta(days=1))
    days = [f"{now:%Y-%m-%d}"] * 3 + [f"{now + timedelta(days=1):%Y-%m-%d}"]
    names = [path.name for path in files("flow")]
    assert names == [f"{day}.{n}.ndjson.zst" for day, n in zip(days, (1, 2, 3, 1), strict=True)]
    assert MOST_BYTES == 64 * 1024**2


def test_nothing_is_purged_that_cannot_be_archived(settings):
    settings.ASYNCENGINE_ARCHIVE_DIR = ""
    ended(archived_flow())
    ended(make_flow("plain", codes=[ECHO]))

    assert purge_later() == 1
    with pytest.raises(CommandError, match="there is no archive"):
        read()


def test_erasing_reaches_the_archive_and_the_relatives_of_what_is_there(folder):
    flow = archived_flow()
    first = ended(flow, labels={"customer": "77"})
    other = ended(flow, b'{"name": "Other customer"}')
    purge_later()
    repeat = ended(flow)
    Run.objects.filter(pk=repeat.pk).update(repeats=first.pk)

    assert "archived  1\n" in erase("--label", "customer:77", "--dry-run")
    assert "archived  1\n" in erase("--label", "customer:77", "--reason", "asked for")

    left = b"".join(line for path in files() for line in lines_of(path)).decode()
    assert MARKER not in left
    assert "Other customer" in left
    assert run_of(repeat.pk).erased_at
    (line,) = read("--correlation-id", str(first.pk))
    assert json.loads(line)["erasedAt"]
    assert "Other customer" in read("--correlation-id", str(other.pk))[0]
    entry = AuditEntry.objects.get(verb="erase", kind="archive")
    assert (entry.reason, (entry.after or {})["archived"]) == ("asked for", 1)
    assert not list(folder.rglob("*.part"))
