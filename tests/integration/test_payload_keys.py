"""Payloads are encrypted at rest where there are keys, and all goes on as it does without."""

import json
from datetime import timedelta
from io import StringIO
from uuid import UUID

import pytest
from cryptography.fernet import Fernet
from django.contrib.auth.models import AnonymousUser
from django.core.checks import run_checks
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models.functions import Length
from django.urls import reverse
from django.utils import timezone

from flows import engine, public
from flows.archive.files import files, lines_of
from flows.dead_letters import DeadLetterFilter
from flows.doctor.examination import by_rules
from flows.doctor.findings import State
from flows.doctor.keys import payloads
from flows.encryption import payload_keys
from flows.encryption.payload_keys import MARK, PayloadKey
from flows.errors import IdempotencyConflict, PayloadUnreadable
from flows.models import (
    BranchEnd,
    DeadLetter,
    Flow,
    FlowState,
    IdempotencyKey,
    LiveCluster,
    Message,
    Run,
    RunDeadline,
    RunningAttempt,
    RunText,
    StepRun,
    WebhookDelivery,
)
from flows.monitoring.conservation import check
from flows.monitoring.events.page import Position
from flows.monitoring.letter_groups import letter_groups
from flows.monitoring.run_search import runs_with
from flows.monitoring.trace import trace_json
from flows.monitoring.wait_reason import why_run
from flows.run_again import run_again
from flows.store import store
from flows.store.sizes import fault_of_ends
from flows.tasks import clusters, installation
from flows.tasks.clusters import ClusterStatus
from flows.tasks.deadlines import cancel_overdue
from flows.tasks.encrypting import _ids_of_batch, places
from flows.tasks.error_classes import fill_some_error_classes
from flows.tasks.reprocessing import reprocess_many
from flows.tasks.retention import purge
from flows.tasks.run_texts import gather
from flows.tasks.unreadable import UnreadableChannel
from flows.webhooks.attempt import _body
from flows.worker.this_worker import this_worker
from flows.worker.unreadable import Unreadable
from scripts.services.flow_states import pending_states
from tests.builders import ECHO, make_flow, run_of, work, work_until_idle
from tests.callables import noted
from tests.integration.test_erasure import FAILS_FIRST, RIGHTS, indexed, tables_with
from tests.integration.test_events import events, everything, page_of
from tests.integration.test_isolation import refusing
from tests.integration.test_reprocessing import finish, repair
from tests.integration.webhooks import set_webhook

pytestmark = pytest.mark.django_db

MARKER = "Zeiglmeier-4711-Übersee"
# Of the rejections with the marker.
CLASS = "no Zeiglmeier-<number>-Übersee"
OLD, NEW = Fernet.generate_key().decode(), Fernet.generate_key().decode()
REJECTS = (
    "def run(message, context):\n"
    "    name = message['payload']['name']\n"
    "    if message['payload'].get('dies'):\n"
    "        raise Reject('no ' + name, code='no', details={'name': name})\n"
    "    context.state.set('last', name)\n"
    "    return message\n"
)
FANS_OUT = (
    "def run(message, context):\n"
    "    name = message['payload']['name']\n"
    "    return [{'payload': {'name': name, 'n': n}} for n in range(3)]\n"
)
WAITS = (
    "def run(message, context):\n"
    "    if context.wait_state is None:\n"
    "        name = message['payload']['name']\n"
    "        raise Wait(after=0, reason='for ' + name, state={'name': name})\n"
    "    return {'payload': context.wait_state}\n"
)
JOINS = (
    "def run(message, context):\n"
    "    return {'payload': {'names': [each['name'] for each in message['payload']]}}\n"
)


@pytest.fixture
def keyed(settings):
    settings.ASYNCENGINE_PAYLOAD_KEYS = [OLD]


def start(flow: str = "flow", name: str = MARKER, **options: object) -> Run:
    payload = {"name": name, "dies": options.pop("dies", False)}
    return run_of(engine.start(flow, payload, **options).correlation_id)


def name_of(run_id: UUID) -> str:
    return str(public.result(run_id)["payload"]["name"])


def rotate() -> str:
    out = StringIO()
    call_command("rotate_payloads", stdout=out)
    return out.getvalue()


def gathered() -> None:
    for _ in range(2):
        gather(settled=timedelta(0))


def test_no_column_has_a_payload_and_everything_goes_on(keyed):
    flow = make_flow(codes=[FAILS_FIRST, REJECTS], max_deliveries=3)
    done = start(idempotency_key="once", labels={"customer": "77"})
    assert start(idempotency_key="once", labels={"customer": "77"}).pk == done.pk
    dead = start(dies=True)
    assert tables_with(MARKER) == {}
    work(flow.steps.get(position=0).queue.name)
    assert tables_with(MARKER) == {}
    work_until_idle(flow)
    cancelled = start()
    engine.cancel(cancelled)
    repeated = run_again(run_of(done.pk), RIGHTS, user=AnonymousUser()).started.correlation_id
    work_until_idle(flow)
    logs = f'["{MARKER}"]'
    RunningAttempt.objects.create(
        pk=dead.pk, consumer_id=1, delivery=1, started_at=timezone.now(), logs=logs
    )
    gathered()

    assert tables_with(MARKER) == {}
    assert not RunText.objects.exists()
    assert name_of(done.pk) == MARKER
    assert name_of(repeated) == MARKER
    assert MARKER in run_of(cancelled.pk).cancelled_input
    assert RunningAttempt.objects.get().logs == logs
    for run in (done, dead):
        assert MARKER in json.dumps(json.loads(trace_json(run_of(run.pk))), ensure_ascii=False)
    assert json.loads(FlowState.objects.get().value) == MARKER
    letter = DeadLetter.objects.get()
    assert letter.error == f"no {MARKER}"
    assert json.loads(letter.details) == {"name": MARKER}
    assert runs_with(MARKER, Run.objects.all()).ids == []

    engine.reprocess(letter, payload={"name": MARKER})
    assert tables_with(MARKER) == {}
    work_until_idle(flow)

    assert name_of(dead.pk) == MARKER
    assert tables_with(MARKER) == {}
    assert [fault for checked in check() for fault in checked.faults()] == []


def test_branches_joins_and_waiting_scripts_are_encrypted(keyed):
    flow = make_flow(codes=[FANS_OUT, WAITS, JOINS])
    flow.steps.filter(position=2).update(join=True)
    run = start()

    for _ in range(20):
        waiting = Message.objects.filter(queue__isnull=False).order_by("available_at")
        name = waiting.values_list("queue__name", flat=True).first()
        if name is None:
            break
        work(name, threads=1)
        assert tables_with(MARKER) == {}

    assert public.result(run.pk)["payload"] == {"names": [MARKER] * 3}


def test_the_size_of_encrypted_branches_is_that_of_their_texts(keyed, settings):
    flow = make_flow(codes=[FANS_OUT, ECHO])
    run = start(name="x" * 9_000)
    [first, *_] = flow.steps.order_by("position")
    work(first.queue.name)
    settings.ASYNCENGINE_MAX_RESULT_BYTES = 30_000
    work_until_idle(flow)

    assert len(public.result(run.pk)) == 3
    assert fault_of_ends(store().database, run.pk.hex) is None


def test_webhook_deliveries_are_encrypted(keyed):
    run = start(flow=make_flow(codes=[ECHO]).name)
    delivery = WebhookDelivery.objects.create(
        id=run.pk,
        run=run,
        kind=WebhookDelivery.Kind.CALLBACK,
        url="https://example.org/",
        run_status=Run.Status.COMPLETED,
        at=timezone.now(),
        **dict.fromkeys(("body", "answer", "error"), MARKER),
    )

    assert tables_with(MARKER) == {}
    delivery.refresh_from_db()
    assert (delivery.body, delivery.answer, delivery.error) == (MARKER,) * 3


def test_a_webhook_tells_the_end_of_a_run_whose_result_cannot_be_read(keyed, settings):
    flow = make_flow(codes=[ECHO])
    run = start()
    work_until_idle(flow)
    settings.ASYNCENGINE_PAYLOAD_KEYS = [NEW]
    status = Run.Status.COMPLETED
    delivery = WebhookDelivery(id=run.pk, run_id=run.pk, run_status=status, at=timezone.now())

    assert str(run.pk) in _body(delivery).decode()


def test_a_webhook_that_cannot_be_read_is_listed_shown_and_sent_again(
    admin_client, keyed, settings
):
    flow = make_flow(codes=[ECHO])
    set_webhook(flow, "https://receiver.example/hook")
    run = start()
    work_until_idle(flow)
    WebhookDelivery.objects.update(body=payload_keys.encrypt("{}"))
    settings.ASYNCENGINE_PAYLOAD_KEYS = [NEW]

    [shown] = admin_client.get(f"/async/api/runs/{run.pk}/webhooks").json()["results"]
    again = admin_client.post(f"/async/api/webhooks/{shown['id']}/replay")
    assert again.status_code == 202
    for page in ("", f"{shown['id']}/change/"):
        assert admin_client.get(f"/admin/flows/webhookdelivery/{page}").status_code == 200


def test_nothing_is_encrypted_without_keys():
    flow = make_flow(codes=[REJECTS])
    start()
    start(dies=True)
    work_until_idle(flow)

    assert tables_with(MARKER)
    assert tables_with(MARK) == {}


def test_errors_of_a_class_are_grouped_and_filtered_whatever_their_key(keyed, settings):
    flow = make_flow(codes=[REJECTS])
    letters = []
    for keys in ([], [OLD], [NEW, OLD]):
        settings.ASYNCENGINE_PAYLOAD_KEYS = keys
        start(dies=True)
        work_until_idle(flow)
        letters.append(DeadLetter.objects.latest("pk").pk)

    [group] = letter_groups(DeadLetter.objects.open(), timezone.now()).groups

    assert (group.error_class, group.count) == (CLASS, 3)
    found = DeadLetterFilter(error_class=group.error_class).open(None)
    assert sorted(each.pk for each in found) == letters


def test_an_idempotency_key_is_compared_by_a_digest_that_needs_the_key(settings):
    make_flow(codes=[ECHO])
    plain = start(idempotency_key="plain").pk
    digest = IdempotencyKey.objects.get(key="plain").body_digest
    settings.ASYNCENGINE_PAYLOAD_KEYS = [OLD]
    first = start(idempotency_key="once").pk
    assert digest != IdempotencyKey.objects.get(key="once").body_digest
    settings.ASYNCENGINE_PAYLOAD_KEYS = [NEW, OLD]

    assert start(idempotency_key="plain").pk == plain
    assert start(idempotency_key="once").pk == first
    with pytest.raises(IdempotencyConflict):
        start(name="another", idempotency_key="once")


def test_it_is_turned_on_and_off_while_messages_wait(settings):
    flow = make_flow(codes=[ECHO, REJECTS])
    runs = []
    for keys in ([], [OLD], ["plain", OLD]):
        settings.ASYNCENGINE_PAYLOAD_KEYS = keys
        runs.append(start())
        work(flow.steps.get(position=0).queue.name)
        # What was taken first waits at the second step, written with these keys.
    assert {run_of(run.pk).result is None for run in runs} == {False}
    settings.ASYNCENGINE_PAYLOAD_KEYS = []
    runs.append(start())
    settings.ASYNCENGINE_PAYLOAD_KEYS = [OLD]
    runs.append(start())
    settings.ASYNCENGINE_PAYLOAD_KEYS = ["plain", OLD]
    work_until_idle(flow)

    assert {name_of(run.pk) for run in runs} == {MARKER}


def test_rotation_goes_from_plain_over_keys_and_back_beside_waiting_messages(settings):
    flow = make_flow(codes=[FAILS_FIRST, REJECTS], max_deliveries=3)
    done, dead = start(), start(dies=True)
    work_until_idle(flow)
    gathered()
    waiting = start()
    assert tables_with(MARKER)

    settings.ASYNCENGINE_PAYLOAD_KEYS = [OLD]
    assert payloads().state is State.WARNING
    told = rotate()
    assert "flows_message  1\n" in told
    assert "searchTexts" in told
    assert tables_with(MARKER) == {}
    assert not indexed(MARKER[:3])
    assert payloads().state is State.OK
    assert rotate() == "Nothing is left to do.\n"

    settings.ASYNCENGINE_PAYLOAD_KEYS = [NEW, OLD]
    assert payloads().state is State.WARNING
    rotate()
    assert tables_with(PayloadKey(OLD).prefix) == {}
    settings.ASYNCENGINE_PAYLOAD_KEYS = [NEW]
    assert payloads().state is State.OK
    work_until_idle(flow)
    assert {name_of(run.pk) for run in (done, waiting)} == {MARKER}
    assert DeadLetter.objects.get(run=dead).error_class == CLASS

    settings.ASYNCENGINE_PAYLOAD_KEYS = ["plain", NEW]
    rotate()
    assert tables_with(MARK) == {}
    settings.ASYNCENGINE_PAYLOAD_KEYS = []
    assert payloads().state is State.OK
    assert name_of(done.pk) == MARKER


def test_messages_whose_key_is_missing_wait_and_use_up_no_delivery(keyed, settings):
    flow = make_flow(codes=[ECHO], max_deliveries=1)
    run = start()
    settings.ASYNCENGINE_PAYLOAD_KEYS = [NEW]

    work_until_idle(flow)

    assert Message.objects.values_list("deliveries", flat=True).get() == 0
    assert run_of(run.pk).status == Run.Status.QUEUED
    cause = why_run(run_of(run.pk))
    assert cause is not None
    assert cause.code == "payload-unreadable"
    assert PayloadKey(OLD).id in cause
    found = payloads()
    assert found.state is State.ERROR
    assert PayloadKey(OLD).id in found.seen
    with pytest.raises(CommandError, match=f"1 stay as they are.*{PayloadKey(OLD).id}"):
        rotate()
    settings.ASYNCENGINE_PAYLOAD_KEYS = [NEW, OLD]
    Message.objects.update(available_at=timezone.now())
    work_until_idle(flow)
    assert name_of(run.pk) == MARKER
    assert [fault for checked in check() for fault in checked.faults()] == []


def test_a_text_that_was_changed_is_named_and_never_read_as_another(keyed):
    make_flow(codes=[ECHO])
    run = start()
    with connection.cursor() as cursor:
        cursor.execute("SELECT body FROM flows_message")
        [text] = cursor.fetchone()
        other = "A" if text[60] != "A" else "B"
        cursor.execute("UPDATE flows_message SET body = %s", [text[:60] + other + text[61:]])

    with pytest.raises(PayloadUnreadable, match="was changed since"):
        assert Message.objects.get(run=run).body


def test_a_run_whose_key_is_missing_is_cancelled_and_keeps_its_payload(keyed, settings):
    make_flow(codes=[ECHO])
    run = start()
    settings.ASYNCENGINE_PAYLOAD_KEYS = [NEW]

    engine.cancel(run)

    settings.ASYNCENGINE_PAYLOAD_KEYS = [OLD]
    assert MARKER in run_of(run.pk).cancelled_input


def test_a_run_whose_key_is_missing_is_cancelled_at_its_deadline_and_keeps_no_other(
    keyed, settings
):
    make_flow(codes=[ECHO])
    deadline = timezone.now() + timedelta(hours=1)
    runs = [start(deadline=deadline) for _ in range(2)]
    RunDeadline.objects.update(at=timezone.now() - timedelta(seconds=1))
    settings.ASYNCENGINE_PAYLOAD_KEYS = [NEW]

    assert cancel_overdue() == 2

    settings.ASYNCENGINE_PAYLOAD_KEYS = [NEW, OLD]
    for run in runs:
        assert "had not ended by its deadline" in run_of(run.pk).error
        assert MARKER in run_of(run.pk).cancelled_input


def test_runs_whose_key_is_lost_are_seen_listed_and_erased(admin_client, keyed, settings):
    flow = make_flow(codes=[ECHO])
    done, cancelled = start(), start()
    engine.cancel(cancelled)
    work_until_idle(flow)
    settings.ASYNCENGINE_PAYLOAD_KEYS = [NEW]
    again = run_again(cancelled, RIGHTS, user=None, payload=b'{"name": "other"}').started
    work_until_idle(flow)

    api = "/async/api/runs"
    listed = admin_client.get(api).json()["results"]
    assert {run["correlationId"] for run in listed} == {
        str(id) for id in (done.pk, cancelled.pk, again.correlation_id)
    }
    assert admin_client.get(f"{api}/{cancelled.pk}").json()["status"] == "CANCELLED"
    for part in ("logs", "webhooks"):
        assert admin_client.get(f"{api}/{done.pk}/{part}").status_code == 200
    assert admin_client.get(f"{api}/{done.pk}/result").status_code == 503
    page = f"/admin/flows/run/{again.correlation_id}/change/"
    assert str(cancelled.pk) in admin_client.get(page).content.decode()
    assert admin_client.get(f"/admin/flows/flow/{flow.pk}/change/").status_code == 200
    assert public.status(done.pk) == Run.Status.COMPLETED
    call_command("runs", "logs", str(done.pk), stdout=StringIO())
    for run in (done, cancelled):
        body = {"correlationId": str(run.pk)}
        erased = admin_client.post(f"{api}/erase", body, content_type="application/json")
        assert erased.json()["isComplete"]
    assert set(Run.objects.values_list("result", "cancelled_input")) == {(None, None)}


def test_a_start_is_repeated_though_no_key_decrypts_its_result(admin_client, settings, keyed):
    flow = make_flow(codes=[ECHO])
    # The digest of the request needs a key as well.
    settings.ASYNCENGINE_PAYLOAD_KEYS = []

    def repeated() -> dict[str, str]:
        return admin_client.post(
            "/async/api/start?flowName=flow",
            {"name": MARKER},
            content_type="application/json",
            headers={"Idempotency-Key": "a"},
        ).json()

    first = repeated()
    settings.ASYNCENGINE_PAYLOAD_KEYS = [OLD]
    work_until_idle(flow)
    settings.ASYNCENGINE_PAYLOAD_KEYS = []

    assert repeated() == first | {"status": "COMPLETED"}


def test_an_error_that_looks_encrypted_is_shown_as_it_is():
    text = f"{MARK}00000000:AAAA"
    flow = make_flow(codes=[f"def run(message, context):\n    raise Reject({text!r})\n"])
    run = start()
    work_until_idle(flow)

    letter = DeadLetter.objects.get()
    assert letter.error.strip() == text
    assert run_of(run.pk).error.strip() == text


def test_the_archive_is_encrypted_rotated_read_and_erased(keyed, settings, tmp_path):
    settings.ASYNCENGINE_ARCHIVE_DIR = str(tmp_path)
    flow = make_flow(codes=[ECHO])
    flow.archive = True
    flow.save()
    exact = b'{"name": "%s", "sum": 12345678901234567890123.10}' % MARKER.encode()
    run = engine.start("flow", exact, labels={"customer": "77"}).correlation_id
    work_until_idle(flow)
    assert purge(timezone.now() + timedelta(days=31), budget_seconds=None) == 1

    def lines() -> str:
        return "".join(line.decode() for path in files() for line in lines_of(path))

    assert MARKER not in lines()
    assert str(run) in lines()
    assert "12345678901234567890123.10" in archived()
    settings.ASYNCENGINE_PAYLOAD_KEYS = [NEW, OLD]
    assert "archived  1\n" in rotate()
    settings.ASYNCENGINE_PAYLOAD_KEYS = [OLD]
    with pytest.raises(CommandError, match=PayloadKey(NEW).id):
        archived()
    # Whose key is lost is erased all the same.
    told = StringIO()
    call_command("erase", "--label", "customer:77", stdout=told)
    assert told.getvalue().startswith("archived  1\n")
    assert MARK not in lines()
    assert json.loads(archived())["erasedAt"]


def test_a_damaged_file_of_the_archive_keeps_no_other_from_being_encrypted(settings, tmp_path):
    settings.ASYNCENGINE_ARCHIVE_DIR = str(tmp_path)
    for name in ("first", "second"):
        flow = make_flow(name, codes=[ECHO])
        flow.archive = True
        flow.save()
        engine.start(name, {"name": MARKER})
        work_until_idle(flow)
    assert purge_all() == 2
    damaged, whole = sorted(tmp_path.rglob("*.zst"))
    content = bytearray(damaged.read_bytes())
    # Behind the frame with the run: the file ends as a whole one does.
    content[-16:-16] = b"no frame"
    content[-8:] = (len(content) - 16).to_bytes(8, "little")
    damaged.write_bytes(content)

    settings.ASYNCENGINE_PAYLOAD_KEYS = [OLD]
    with pytest.raises(CommandError, match=f"1 stay as they are.*{damaged.name} is damaged"):
        rotate()

    assert {b'"encrypted":' in line for line in lines_of(whole)} == {True}
    assert damaged.read_bytes() == content


def test_one_text_that_cannot_be_read_leaves_no_other_of_its_row_plain(settings):
    flow = make_flow(codes=[REJECTS])
    start(dies=True)
    work_until_idle(flow)
    FlowState.objects.all().delete()
    settings.ASYNCENGINE_PAYLOAD_KEYS = [OLD]
    DeadLetter.objects.update(details='"lost"')
    settings.ASYNCENGINE_PAYLOAD_KEYS = [NEW]

    with pytest.raises(CommandError, match=f"^1 stay as they are.*{PayloadKey(OLD).id}"):
        rotate()

    assert tables_with(MARKER) == {}
    assert DeadLetter.objects.values_list("error", flat=True).get() == f"no {MARKER}"


def test_rotation_takes_few_large_rows_in_one_transaction_and_leaves_none(settings):
    flow = make_flow(codes=[ECHO])
    for size in (1_500_000, 1_500_000, 1_500_000, 5_000_000, 10):
        run = start()
        work_until_idle(flow)
        Run.objects.filter(pk=run.pk).update(result="x" * size)
    sizes = Run.objects.order_by("pk").values_list("pk", Length("result"))
    batches = []
    while ids := _ids_of_batch(sizes):
        batches.append(len(ids))
        sizes = sizes.filter(pk__gt=ids[-1])
    assert batches == [2, 1, 1, 1]

    settings.ASYNCENGINE_PAYLOAD_KEYS = [OLD]
    assert "flows_run  5\n" in rotate()
    assert rotate() == "Nothing is left to do.\n"


def test_a_row_that_is_deleted_meanwhile_is_none_that_others_hold(settings):
    make_flow(codes=[ECHO])
    start()
    settings.ASYNCENGINE_PAYLOAD_KEYS = [OLD]

    def deleting(execute, sql, params, many, context):
        if "body_stored" in sql and "flows_message" in sql:
            with connection.cursor() as cursor:
                cursor.execute("DELETE FROM flows_message")
        return execute(sql, params, many, context)

    with connection.execute_wrapper(deleting):
        assert rotate() == "Nothing is left to do.\n"
    assert not Message.objects.exists()


@pytest.mark.parametrize(
    "refused", [("flows_run", "NEW.status = 'RUNNING'"), ("flows_message", "NEW.queue_id > 0")]
)
def test_a_message_that_can_neither_be_read_nor_stored_loses_nothing(keyed, settings, refused):
    flow = make_flow(codes=[ECHO])
    run = start()
    settings.ASYNCENGINE_PAYLOAD_KEYS = [NEW]
    table, condition = refused

    with refusing(table, "UPDATE", condition):
        work_until_idle(flow)

    settings.ASYNCENGINE_PAYLOAD_KEYS = [NEW, OLD]
    waiting, dead = Message.objects.first(), DeadLetter.objects.first()
    if table == "flows_run":
        assert dead is None
    else:
        assert waiting is None
    assert MARKER in (waiting or dead).body
    assert [fault for checked in check() for fault in checked.faults()] == []
    assert run_of(run.pk).status == ("QUEUED" if waiting else "FAILED")


def test_a_join_whose_branches_cannot_be_read_waits_for_their_key(settings):
    settings.ASYNCENGINE_PAYLOAD_KEYS = [NEW]
    flow = make_flow(codes=[FANS_OUT, ECHO, JOINS])
    flow.steps.filter(position=2).update(join=True)
    run = start()
    work(flow.steps.get(position=0).queue.name)
    last = Message.objects.order_by("pk").values_list("pk", flat=True)[0]
    Message.objects.filter(pk=last).update(available_at=timezone.now() + timedelta(hours=1))
    work_until_idle(flow)
    settings.ASYNCENGINE_PAYLOAD_KEYS = [OLD, NEW]
    for end in BranchEnd.objects.all():
        BranchEnd.objects.filter(pk=end.pk).update(body=end.body)
    settings.ASYNCENGINE_PAYLOAD_KEYS = [NEW]

    Message.objects.update(available_at=timezone.now())
    work_until_idle(flow)

    assert not DeadLetter.objects.exists()
    assert Message.objects.values_list("pk", "deliveries").get() == (last, 0)
    settings.ASYNCENGINE_PAYLOAD_KEYS = [NEW, OLD]
    Message.objects.update(available_at=timezone.now())
    work_until_idle(flow)
    assert public.result(run.pk)["payload"] == {"names": [MARKER] * 3}
    assert [fault for checked in check() for fault in checked.faults()] == []


def test_state_whose_key_is_missing_is_replaced_and_what_is_added_to_it_waits(keyed, settings):
    sets = "def run(message, context):\n    context.state.set('n', 1)\n    return message\n"
    adds = "def run(message, context):\n    context.state.increment('n')\n    return message\n"
    flow, other = make_flow(codes=[sets]), make_flow("other", codes=[sets])
    for each in (flow, other):
        start(each.name)
        work_until_idle(each)
    repair(other, adds)
    settings.ASYNCENGINE_PAYLOAD_KEYS = [NEW]

    replaced, added = start(), start("other")
    for each in (flow, other):
        work_until_idle(each)

    assert run_of(replaced.pk).status == "COMPLETED"
    assert not DeadLetter.objects.exists()
    assert Message.objects.values_list("run", "deliveries").get() == (added.pk, 0)
    settings.ASYNCENGINE_PAYLOAD_KEYS = [NEW, OLD]
    Message.objects.update(available_at=timezone.now())
    work_until_idle(other)
    values = dict(FlowState.objects.values_list("flow__name", "value"))
    assert values == {"flow": "1", "other": "2"}
    assert [fault for checked in check() for fault in checked.faults()] == []


READS = "def run(message, context):\n    return {'payload': {'n': context.state.get('n')}}\n"
READS_AND_GOES_ON = (
    "def run(message, context):\n"
    "    try:\n"
    "        n = context.state.get('n')\n"
    "    except RuntimeError:\n"
    "        n = 0\n"
    "    return {'payload': {'n': n}}\n"
)
READS_IN_JAVASCRIPT = "setData({payload: {n: await context.state.get('n')}});\n"
READS_IN = {
    "script": (READS, "python"),
    "script that goes on": (READS_AND_GOES_ON, "python"),
    "javascript": (READS_IN_JAVASCRIPT, "javascript"),
    "callable": ("tests.callables.read_state", "callable"),
    "transaction": ("tests.callables.read_state", "callable"),
}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("how", READS_IN)
def test_what_reads_state_whose_key_is_missing_waits_and_uses_up_no_delivery(keyed, settings, how):
    sets = "def run(message, context):\n    context.state.set('n', 1)\n    return message\n"
    flow = make_flow(codes=[sets], max_deliveries=1)
    start()
    work_until_idle(flow)
    pending_states.clear()
    settings.ASYNCENGINE_CALLABLE_MODULES = ["tests.callables"]
    script = flow.steps.get().script
    script.code, script.language = READS_IN[how]
    script.in_transaction = how == "transaction"
    script.save()
    settings.ASYNCENGINE_PAYLOAD_KEYS = [NEW, OLD]
    run = start()
    settings.ASYNCENGINE_PAYLOAD_KEYS = [NEW]

    for _ in range(2):
        work_until_idle(flow)
        waiting = Message.objects.get()
        assert (waiting.deliveries, waiting.available_at > timezone.now()) == (0, True)
        Message.objects.update(available_at=timezone.now())

    assert not StepRun.objects.filter(run=run.pk).exists()
    assert how == "callable" or noted() == []
    Message.objects.update(available_at=timezone.now() + timedelta(seconds=30))
    cause = why_run(run_of(run.pk))
    assert cause is not None
    assert cause.code == "payload-unreadable"
    assert PayloadKey(OLD).id in cause
    settings.ASYNCENGINE_PAYLOAD_KEYS = [NEW, OLD]
    Message.objects.update(available_at=timezone.now())
    work_until_idle(flow)
    assert public.result(run.pk)["payload"] == {"n": 1}
    assert [fault for checked in check() for fault in checked.faults()] == []


def test_a_session_that_can_read_nothing_ends_and_leaves_what_waits_to_others(
    keyed, settings, monkeypatch
):
    monkeypatch.setattr("flows.worker.session.UNREAD_SECONDS", 0)
    channel = UnreadableChannel()
    monkeypatch.setattr(this_worker, "unreadable", Unreadable(channel))
    flow = make_flow(codes=[ECHO])
    for _ in range(20):
        start()
    settings.ASYNCENGINE_PAYLOAD_KEYS = [NEW]

    work("flow-0", threads=4)

    assert Message.objects.filter(available_at__gt=timezone.now()).count() == 4
    [(queue_id, why, backs_off)] = channel.received()
    assert (queue_id, backs_off) == (flow.steps.get().queue_id, True)
    assert PayloadKey(OLD).id in why
    settings.ASYNCENGINE_PAYLOAD_KEYS = [NEW, OLD]
    work("flow-0", threads=4)
    assert Run.objects.filter(status=Run.Status.COMPLETED).count() == 16
    channel.shut()


def test_a_queue_that_cannot_be_read_is_looked_at_one_by_one_where_others_may_read_it(
    keyed, settings, monkeypatch
):
    monkeypatch.setattr("flows.worker.session.UNREAD_SECONDS", 0)
    channel = UnreadableChannel()
    monkeypatch.setattr(this_worker, "unreadable", Unreadable(channel, "own"))
    LiveCluster("own", "", True, 1, timezone.now()).tell()
    make_flow(codes=[ECHO])
    for _ in range(40):
        start()
    settings.ASYNCENGINE_PAYLOAD_KEYS = [NEW]

    def put_off() -> int:
        before = Message.objects.filter(available_at__gt=timezone.now()).count()
        work("flow-0", threads=4)
        return Message.objects.filter(available_at__gt=timezone.now()).count() - before

    assert [put_off() for _ in range(5)] == [4, 1, 2, 4, 4]
    LiveCluster("another", "", True, 1, timezone.now()).tell()
    assert [put_off() for _ in range(3)] == [4, 1, 1]
    settings.ASYNCENGINE_PAYLOAD_KEYS = [NEW, OLD]
    work("flow-0", threads=4)
    assert Run.objects.filter(status=Run.Status.COMPLETED).count() == 40 - 21
    channel.shut()


def test_a_message_that_was_changed_waits_alone_and_is_named(keyed, monkeypatch, admin_client):
    channel = UnreadableChannel()
    monkeypatch.setattr(this_worker, "unreadable", Unreadable(channel))
    flow = make_flow(codes=[ECHO])
    changed, others = start(), [start() for _ in range(5)]
    text = stored_text("flows_message", "body")
    other = "A" if text[60] != "A" else "B"
    Message.objects.filter(run=changed.pk).update(body=text[:60] + other + text[61:])

    work_until_idle(flow)

    assert {run_of(each.pk).status for each in others} == {Run.Status.COMPLETED}
    assert [backs_off for *_, backs_off in channel.received()] == [False]
    cause = why_run(run_of(changed.pk))
    assert cause is not None
    assert (cause.code, "was changed since" in cause) == ("payload-unreadable", True)
    assert (
        "was changed since"
        in admin_client.get(f"/admin/flows/run/{changed.pk}/change/").content.decode()
    )
    channel.shut()


def test_home_doctor_and_the_pages_of_the_queue_say_what_cannot_be_read(admin_client, monkeypatch):
    queue, why = make_flow(codes=[ECHO]).steps.get().queue, "The key 0123abcd is missing."
    start()
    told = ClusterStatus("b:1", "b", 1, timezone.now(), 1, unreadable=((queue.name, why),))
    monkeypatch.setattr(clusters, "live_clusters", lambda: [told])

    page = f"/admin/flows/queue/{queue.pk}"
    for address in ("/admin/", f"{page}/change/", f"{page}/live/"):
        assert f"On b: {why}" in admin_client.get(address).content.decode()
    found = {each.name: each for each in by_rules(installation.health())}
    assert found["messages-unreadable"].state is State.ERROR
    assert f"On b: {why}" in found["messages-unreadable"].seen


def test_a_log_whose_key_is_missing_is_told_as_one_line_and_ends_no_stream(keyed, settings):
    says = "def run(message, context):\n    context.log('said')\n    return message\n"
    flow = make_flow(codes=[says])
    for keys in ([OLD], [NEW]):
        settings.ASYNCENGINE_PAYLOAD_KEYS = keys
        start()
        work_until_idle(flow)
    begin = StepRun.objects.order_by("pk").values_list("pk", flat=True)[0] - 1

    told = events(page_of(everything(), Position(begin)).text)

    texts = [data["text"] for _, name, data in told if name == "log"]
    assert PayloadKey(OLD).id in texts[0]
    assert texts[1:] == ["said"]
    assert [name for _, name, _ in told] == ["log", "step-finished", "run-finished"] * 2


def test_the_log_names_a_missing_key_once_a_minute(settings, caplog):
    flow, lost = make_flow(codes=[ECHO]), Fernet.generate_key().decode()
    settings.ASYNCENGINE_PAYLOAD_KEYS = [lost]
    for _ in range(20):
        start()
    settings.ASYNCENGINE_PAYLOAD_KEYS = [NEW]

    work_until_idle(flow)

    named = [each for each in caplog.records if PayloadKey(lost).id in each.getMessage()]
    assert len([each for each in named if each.levelname == "ERROR"]) == 1
    assert not Message.objects.filter(available_at__lte=timezone.now()).exists()


def end_under(keys: list[list[str]], settings) -> list[Run]:
    """Return runs that have ended, each with a failed attempt, under each of the keys."""
    flow = make_flow(codes=[FAILS_FIRST, REJECTS], max_deliveries=3)
    ended = []
    for each in keys:
        settings.ASYNCENGINE_PAYLOAD_KEYS = each
        ended.append(start())
        work_until_idle(flow)
    FlowState.objects.update(expires_at=timezone.now())
    return ended


def purge_all() -> int:
    return purge(timezone.now() + timedelta(days=31), budget_seconds=None)


def test_runs_whose_key_is_lost_are_purged(settings):
    end_under([[OLD], [NEW]], settings)

    assert purge_all() == 2

    assert tables_with(MARK) == {}
    assert not FlowState.objects.exists()
    assert [fault for checked in check() for fault in checked.faults()] == []


def test_failed_runs_whose_key_is_lost_are_purged_with_their_dead_letters(keyed, settings):
    flow = make_flow(codes=[REJECTS])
    start(dies=True)
    work_until_idle(flow)
    made = reprocess_many(DeadLetterFilter(), sample=0).reprocessing
    assert made is not None
    finish(flow, made)
    engine.discard(DeadLetter.objects.open().get())
    settings.ASYNCENGINE_PAYLOAD_KEYS = [NEW]

    assert purge_all() == 1

    assert tables_with(MARK) == {}
    assert [fault for checked in check() for fault in checked.faults()] == []


@pytest.mark.parametrize("door", ["code", "command", "api", "page", "list"])
def test_a_dead_letter_whose_key_is_lost_is_discarded(keyed, settings, admin_client, door):
    flow = make_flow(codes=[REJECTS])
    start(dies=True)
    work_until_idle(flow)
    pk = DeadLetter.objects.values_list("pk", flat=True).get()
    settings.ASYNCENGINE_PAYLOAD_KEYS = [NEW]

    if door == "code":
        public.discard(pk)
    elif door == "command":
        call_command("dead_letters", "discard", str(pk), stdout=StringIO())
    elif door == "api":
        assert admin_client.delete(f"/async/api/dead-letters/{pk}").status_code == 204
    elif door == "page":
        page = reverse("admin:flows_deadletter_discard", args=[pk])
        admin_client.post(page, {"_form_submitted": "True"}, headers={"HX-Request": "true"})
    else:
        admin_client.post(reverse("admin:flows_deadletter_discard_many"), {"ids": pk})

    assert not DeadLetter.objects.open().exists()


def test_commands_name_a_key_that_is_missing_and_state_is_deleted_without_it(
    keyed, settings, monkeypatch
):
    flow, logs = make_flow(codes=[REJECTS]), make_flow("logs", codes=[FAILS_FIRST])
    runs = [start(), start(dies=True), start("logs")]
    for each in (flow, logs):
        work_until_idle(each)
    letter = DeadLetter.objects.values_list("pk", flat=True).get()
    settings.ASYNCENGINE_PAYLOAD_KEYS = [NEW]

    def said(*command: str) -> str:
        out = StringIO()
        call_command(*command, stdout=out, stderr=StringIO())
        return out.getvalue()

    def work_elsewhere(*args: object) -> bool:
        settings.ASYNCENGINE_PAYLOAD_KEYS = [OLD, NEW]
        work_until_idle(logs)
        settings.ASYNCENGINE_PAYLOAD_KEYS = [NEW]
        return True

    why = f"encrypted with the key {PayloadKey(OLD).id}"
    assert said("dead_letters", "list").startswith(f"{letter}  ")
    assert f"last = [The payload is {why}" in said("state", "flow")
    monkeypatch.setattr("flows.management.commands.start.wait_until_finished", work_elsewhere)
    for command in (
        ["state", "flow", "--get", "last"],
        ["runs", "logs", str(runs[2].pk)],
        ["start", "logs", "--payload", '{"name": "x"}', "--wait", "1"],
    ):
        with pytest.raises(CommandError, match=why):
            said(*command)
    said("state", "flow", "--delete", "last")

    assert not FlowState.objects.exists()
    assert [fault for checked in check() for fault in checked.faults()] == []


@pytest.mark.parametrize("column", ["result", "attempt"])
def test_runs_that_cannot_be_read_stay_and_those_behind_them_are_archived(
    settings, tmp_path, column, caplog
):
    settings.ASYNCENGINE_ARCHIVE_DIR = str(tmp_path)
    lost, readable = end_under([[OLD], [NEW]], settings)
    Flow.objects.update(archive=True)
    if column == "attempt":
        # Its error alone is under a key that is not there.
        settings.ASYNCENGINE_PAYLOAD_KEYS = [NEW, OLD]
        rotate()
        settings.ASYNCENGINE_PAYLOAD_KEYS = [OLD]
        lost.step_runs.filter(error__gt="").update(error=MARKER)
        settings.ASYNCENGINE_PAYLOAD_KEYS = [NEW]

    assert purge_all() == 1

    assert list(Run.objects.values_list("pk", flat=True)) == [lost.pk]
    assert str(readable.pk) in archived()
    assert str(lost.pk) not in archived()
    assert (str(lost.pk) in caplog.text) is (column == "attempt")
    settings.ASYNCENGINE_PAYLOAD_KEYS = [NEW, OLD]
    assert purge_all() == 1
    assert str(lost.pk) in archived()
    assert "ASYNCENGINE_PAYLOAD_KEYS" not in archived()


def test_letters_get_their_error_class_when_their_key_is_there(keyed, settings):
    flow = make_flow(codes=[REJECTS])
    start(dies=True)
    work_until_idle(flow)
    DeadLetter.objects.update(error_class=None)
    settings.ASYNCENGINE_PAYLOAD_KEYS = [NEW]
    assert fill_some_error_classes() == 0

    settings.ASYNCENGINE_PAYLOAD_KEYS = [NEW, OLD]
    assert fill_some_error_classes() == 1

    assert DeadLetter.objects.get().error_class == CLASS


def test_what_is_shown_of_an_error_without_its_key_is_not_saved(keyed, settings):
    flow = make_flow(codes=[REJECTS])
    start(dies=True)
    work_until_idle(flow)
    settings.ASYNCENGINE_PAYLOAD_KEYS = [NEW]
    run = Run.objects.defer("result").get()
    assert PayloadKey(OLD).id in run.error
    run.save()

    settings.ASYNCENGINE_PAYLOAD_KEYS = [OLD]
    assert Run.objects.get().error == f"no {MARKER}"


def archived() -> str:
    out = StringIO()
    call_command("archive", "read", stdout=out)
    return out.getvalue()


def test_encrypted_payloads_are_erased(keyed):
    flow = make_flow(codes=[FAILS_FIRST, REJECTS], max_deliveries=3)
    start(labels={"customer": "77"}, idempotency_key="once")
    start(labels={"customer": "77"}, dies=True)
    work_until_idle(flow)
    FlowState.objects.all().delete()
    assert tables_with(MARK)

    call_command("erase", "--label", "customer:77", stdout=StringIO())

    assert tables_with(MARK) == {}
    assert rotate() == "Nothing is left to do.\n"


def test_the_searches_say_that_encrypted_payloads_are_not_searched(admin_client, settings):
    flow = make_flow(codes=[REJECTS])
    start(dies=True)
    work_until_idle(flow)
    addresses = ["/admin/flows/run/?q=Zeiglmeier", "/admin/flows/deadletter/?q=Zeiglmeier"]
    for address in addresses:
        page = admin_client.get(address).content.decode()
        assert "are not searched" not in page
        assert "no such" not in page
    settings.ASYNCENGINE_PAYLOAD_KEYS = [OLD]
    start(dies=True)
    work_until_idle(flow)
    # Base64 has any three letters.
    [encrypted] = DeadLetter.objects.order_by("-pk")[:1]
    part = stored_body(encrypted.pk)[30:33]

    for address in addresses:
        assert "are not searched" in admin_client.get(address).content.decode()
    assert encrypted.run_id not in runs_with(part, Run.objects.all()).ids
    assert encrypted not in DeadLetterFilter(text=part).open(None)


def stored_text(table: str, column: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {column} FROM {table} ORDER BY id LIMIT 1")
        return str(cursor.fetchone()[0])


def stored_body(pk: int) -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT body FROM flows_deadletter WHERE id = %s", [pk])
        return str(cursor.fetchone()[0])


def test_a_bulk_reprocessing_refuses_the_dead_letters_that_cannot_be_read(keyed, settings):
    flow = make_flow(codes=[REJECTS])
    for keys in ([OLD], [NEW]):
        settings.ASYNCENGINE_PAYLOAD_KEYS = keys
        start(dies=True)
        work_until_idle(flow)
    unread, readable = DeadLetter.objects.order_by("pk").values_list("run", flat=True)
    repair(flow)

    made = reprocess_many(DeadLetterFilter(), newest_script=True).reprocessing
    assert made is not None
    finish(flow, made)

    assert (made.reprocessed, made.refused) == (1, 1)
    assert PayloadKey(OLD).id in made.last_refusal
    assert name_of(readable) == MARKER
    assert run_of(unread).status == Run.Status.FAILED


def test_pages_and_the_api_name_a_key_that_is_missing(admin_client, keyed, settings):
    flow = make_flow(codes=[ECHO, REJECTS])
    dead, waiting = start(dies=True), None
    work_until_idle(flow)
    waiting = start()
    letter = DeadLetter.objects.get().pk
    settings.ASYNCENGINE_PAYLOAD_KEYS = []
    id = PayloadKey(OLD).id

    for address in ("/admin/flows/deadletter/", f"/admin/flows/run/{waiting.pk}/change/"):
        assert admin_client.get(address).status_code == 200
    shown = admin_client.get(f"/admin/flows/deadletter/{letter}/change/")
    assert shown.status_code in (200, 503)
    assert id in shown.content.decode()
    answer = admin_client.get(f"/async/api/dead-letters/{letter}")
    assert answer.status_code == 503
    assert answer.json()["type"].endswith("/payload-unreadable")
    assert id in answer.json()["detail"]
    assert admin_client.get(f"/async/api/runs/{dead.pk}").status_code in (200, 503)


@pytest.mark.parametrize("keys", [["bad-key"], [OLD, "plain"], ["A" * 43 + "="], [OLD[:-2]]])
def test_malformed_keys_are_an_error_of_check(settings, keys):
    settings.ASYNCENGINE_PAYLOAD_KEYS = keys
    is_key = keys[0].startswith("AAA")

    found = [each for each in run_checks() if each.id == "flows.E014"]

    assert bool(found) is not is_key
    assert not any(key in str(found) for key in keys if key != "plain")


def test_each_place_that_is_erased_is_a_place_that_is_encrypted():
    names = {(model.__name__, column.name) for model, columns in places() for column in columns}

    assert names == {
        *(("Run", name) for name in ("result", "error", "cancelled_input")),
        *(("StepRun", name) for name in ("input", "error", "logs")),
        *(("DeadLetter", name) for name in ("body", "error", "error_class", "details")),
        *(("Message", name) for name in ("body", "waiting")),
        *(("RunningAttempt", name) for name in ("logs", "progress")),
        *(("WebhookDelivery", name) for name in ("body", "answer", "error")),
        ("BranchEnd", "body"),
        ("FlowState", "value"),
    }
