"""Runs are archived before they are purged, read back and erased there."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from flows import engine
from flows.archive import files as archive_files
from flows.archive.files import MOST_BYTES, append, files, lines_of
from flows.archive.reading import erase_archived
from flows.doctor import examination
from flows.doctor.findings import State
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
    made = tmp_path / "archive"
    made.mkdir()
    settings.ASYNCENGINE_ARCHIVE_DIR = str(made)
    return made


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

    assert not any(each.stat().st_mode & 0o007 for each in folder.glob("*/"))
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

    def end(*_):
        raise RuntimeError("killed")

    with monkeypatch.context() as killed:
        killed.setattr("flows.tasks.retention._subtract_from_totals", end)
        with pytest.raises(RuntimeError, match="killed"):
            purge_later()
    assert Run.objects.filter(pk=run.pk).exists()
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


def test_a_disk_that_is_full_keeps_the_runs_takes_no_more_and_stops_no_other_purge(
    folder, monkeypatch, caplog
):
    first = ended(archived_flow())
    purge_later()
    (path,) = files()
    size = path.stat().st_size
    run = ended(first.flow_version.flow)
    ended(make_flow("plain", codes=[ECHO]))

    def no_room(file):
        file.flush()
        raise OSError("no room")

    with monkeypatch.context() as full:
        full.setattr(archive_files, "_sync", no_room)
        assert purge_later() == 1
        with archive_files.held(), pytest.raises(OSError, match="no room"):
            append("new", [b"{}\n"], timezone.now())

    assert list(Run.objects.values_list("pk", flat=True)) == [run.pk]
    assert "cannot be archived: no room" in caplog.text
    assert (files(), path.stat().st_size) == ([path], size)
    assert purge_later() == 1
    assert len(read()) == 2


def test_runs_go_to_the_archive_in_parts_of_a_bounded_size(folder, monkeypatch):
    flow = archived_flow()
    ids = {str(ended(flow).pk) for _ in range(3)}
    monkeypatch.setattr("flows.tasks.retention.ARCHIVED_TOGETHER", 2)
    monkeypatch.setattr("flows.tasks.retention.ARCHIVED_BYTES", 1)

    assert purge_later() == 3

    assert {json.loads(line)["correlationId"] for line in read()} == ids
    assert not Run.objects.exists()


def test_runs_of_a_flow_that_was_deleted_are_archived_as_it_was(folder):
    kept, plain = archived_flow("kept"), make_flow("plain", codes=[ECHO])
    run = ended(kept)
    ended(plain)
    for flow in (kept, plain):
        flow.delete()

    assert purge_later() == 2

    (line,) = read()
    assert json.loads(line)["correlationId"] == str(run.pk)


def test_runs_of_a_deleted_flow_are_archived_whatever_its_name_was_at_its_end(folder):
    kept = archived_flow("kept")
    run = ended(kept)
    kept.name = "other"
    kept.save()
    kept.delete()
    make_flow("kept", codes=[]).delete()

    assert purge_later() == 1

    (line,) = read()
    assert json.loads(line)["correlationId"] == str(run.pk)


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


def test_a_reader_that_ends_early_is_no_fault_of_the_archive(folder):
    ended(archived_flow())
    purge_later()
    reader, writer = os.pipe()
    os.close(reader)
    out = os.fdopen(writer, "w", buffering=1)

    with pytest.raises(BrokenPipeError):
        call_command("archive", "list", stdout=out)
    with suppress(BrokenPipeError):
        out.close()


def test_integers_beyond_a_double_are_read_back_and_erased(folder):
    code = "def run(message, context):\n    return message | {'payload': {'n': 10**400}}\n"
    run = ended(archived_flow(codes=[code]))
    purge_later()
    of_run = ("--correlation-id", str(run.pk))

    (line,) = read(*of_run)
    assert "1" + "0" * 400 in line
    assert "archived  1\n" in erase(*of_run)
    (line,) = read(*of_run)
    assert "0" * 400 not in line
    assert json.loads(line)["stepRuns"][0]["delivery"] == 1


def test_a_message_that_waited_and_was_kept_in_part_is_read_back_and_erased(folder, settings):
    settings.ASYNCENGINE_MAX_KEPT_BYTES = 200
    flow = archived_flow()
    large = json.dumps({"name": MARKER, "text": "x" * 500}).encode()
    runs = [run_of(engine.start(flow.name, each).correlation_id) for each in (large, EXACT)]
    for run in runs:
        engine.cancel(run)

    assert purge_later() == 2

    cut, whole = (json.loads(line)["cancelledInput"] for line in read())
    assert cut.startswith(f'{{"correlationId":"{runs[0].pk}","payload":{{"name": "Zeigl')
    assert whole["payload"]["name"] == MARKER
    erase("--correlation-id", str(runs[0].pk))
    cut, whole = (json.loads(line)["cancelledInput"] for line in read())
    assert (cut, whole["payload"]["name"]) == (None, MARKER)


def test_a_damaged_file_is_not_replaced_and_a_cut_end_goes_with_what_is_erased(folder):
    lines = [b'{"correlationId": "%d", "erasedAt": null}\n' % number for number in (1, 2)]
    for line in lines:
        append("flow", [line], timezone.now())
    (path,) = files()
    whole = path.read_bytes()
    path.write_bytes(whole[:20] + bytes([whole[20] ^ 255]) + whole[21:])
    damaged = path.read_bytes()

    with pytest.raises(OSError, match="is damaged"):
        archive_files.rewrite(path, bytes)
    assert path.read_bytes() == damaged
    path.write_bytes(whole + whole[:30])
    assert erase_archived([], "all") == 0

    assert archive_files.is_whole(path)
    assert list(lines_of(path)) == lines
    assert not list(folder.rglob("*.part"))


def test_erasing_names_a_damaged_file_also_where_the_run_is_behind_the_damage(folder):
    flow = archived_flow()
    runs = []
    for _ in range(2):
        runs.append(ended(flow))
        assert purge_later() == 1
    (path,) = files()
    whole = path.read_bytes()
    path.write_bytes(whole[:20] + bytes([whole[20] ^ 255]) + whole[21:])
    behind = ("--correlation-id", str(runs[1].pk))

    for more in (["--dry-run"], []):
        with pytest.raises(CommandError, match=f"{path} is damaged"):
            erase(*behind, *more)
    path.write_bytes(whole)

    assert "archived  1\n" in erase(*behind)


def test_a_folder_whose_volume_is_missing_is_not_made_and_nothing_is_lost(folder, caplog):
    archived = ended(archived_flow(), labels={"customer": "77"})
    purge_later()
    left = ended(Flow.objects.get(), labels={"customer": "77"})
    folder.rename(folder.with_name("elsewhere"))

    assert purge_later() == 0

    assert not folder.exists()
    assert Run.objects.filter(pk=left.pk).exists()
    assert f"{folder} is not there" in caplog.text
    assert examination.archive().state is State.ERROR
    for command in (
        ["archive", "list"],
        ["archive", "read"],
        ["erase", "--label", "customer:77"],
    ):
        with pytest.raises(CommandError, match="is not there"):
            call_command(*command, stdout=StringIO())
    folder.with_name("elsewhere").rename(folder)
    assert examination.archive().state is not State.ERROR
    assert purge_later() == 1
    assert {json.loads(line)["correlationId"] for line in read()} == {
        str(archived.pk),
        str(left.pk),
    }


@contextmanager
def without_rights() -> Iterator[None]:
    """Have this process be a user that owns nothing; root reads every folder."""
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(12345)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)


def test_a_flow_whose_folder_cannot_be_read_is_not_left_out_silently(settings):
    with TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        settings.ASYNCENGINE_ARCHIVE_DIR = name
        for flow in ("one", "other"):
            ended(archived_flow(flow))
        purge_later()
        closed, other = sorted(each for each in Path(name).iterdir() if each.is_dir())
        other.chmod(0o755)
        closed.chmod(0o000)

        with without_rights(), pytest.raises(PermissionError) as error:
            files()
        closed.chmod(0o770)

        assert error.value.filename == str(closed)
        assert [path.parent for path in files()] == [closed, other]
        assert files("never archived") == []


def test_doctor_tells_of_a_folder_that_it_cannot_reach(settings):
    with TemporaryDirectory() as name:
        settings.ASYNCENGINE_ARCHIVE_DIR = f"{name}/archive"
        Path(name, "archive").mkdir()
        Path(name).chmod(0o000)

        with without_rights():
            found = examination.archive()
        Path(name).chmod(0o700)

        assert found.state is State.ERROR
        assert f"{name}/archive cannot be reached" in found.seen
