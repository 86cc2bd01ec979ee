"""The audit log: who changed or did what, when and from where."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.core.management import call_command
from django.db import DatabaseError, connection, transaction
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st
from knox.models import AuthToken

from flows import engine
from flows.access import audit
from flows.access.audit import Source, Target, acting, record, source_of_process
from flows.access.tokens import make_token
from flows.configuration import import_configuration
from flows.dead_letters import DeadLetterFilter
from flows.models import AuditEntry, DeadLetter, Flow, Queue, RoleMapping, Run, Step
from flows.tasks import reprocessing
from flows.tasks.retention import purge
from scripts.models import Library, Script, Secret
from tests.builders import ECHO, make_flow, make_script, work_until_idle

pytestmark = pytest.mark.django_db

RAISING = "def run(message, context):\n    raise Reject('no luck')\n"


@pytest.fixture
def operator() -> User:
    return User.objects.create_user("operator", password="secret", is_staff=True)


@pytest.fixture
def flow() -> Flow:
    return make_flow("orders", [ECHO, ECHO])


def newest(**conditions: Any) -> Any:
    return AuditEntry.objects.filter(**conditions).first()


def dead_letter(flow: Flow) -> DeadLetter:
    script = flow.steps.all()[0].script
    script.code = RAISING
    script.save()
    engine.start(flow.name, {})
    work_until_idle(flow)
    return DeadLetter.objects.get()


# --- changes of the configuration --------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda: Flow.objects.create(name="new"), "flow"),
        (lambda: Queue.objects.create(name="new"), "queue"),
        (lambda: Script.objects.create(name="new", code=ECHO), "script"),
        (lambda: Library.objects.create(name="new", code="x = 1"), "library"),
        (lambda: Group.objects.create(name="new"), "role"),
        (lambda: User.objects.create(username="new"), "user"),
    ],
)
def test_new_rows_of_each_kind_are_recorded(make, kind):
    row = make()

    entry = newest(kind=kind)

    assert (entry.verb, entry.name, entry.target_id) == ("add", "new", str(row.pk))
    assert entry.before is None
    assert entry.after


def test_change_has_the_fields_that_changed_alone(flow):
    queue = Queue.objects.get(name="orders-0")
    queue.size = 7
    queue.backoff_max = timedelta(minutes=2)
    queue.save()

    entry = newest()

    assert (entry.verb, entry.kind, entry.name) == ("change", "queue", "orders-0")
    assert entry.before == {"size": 10_000, "backoff_max": "300 s"}
    assert entry.after == {"size": 7, "backoff_max": "120 s"}


def test_save_that_changes_nothing_is_not_recorded(flow):
    count = AuditEntry.objects.count()

    flow.save()
    flow.steps.first().save()

    assert AuditEntry.objects.count() == count


def test_save_of_some_fields_has_none_of_the_others(flow):
    flow.description, flow.active = "not saved", False
    flow.save(update_fields=["active"])

    assert newest().after == {"active": False}


def test_libraries_of_a_script_are_in_the_entry_of_its_change():
    script = make_script("score")
    script.libraries = [Library.objects.create(name="tools", code="x = 1")]
    script.memory_mb = 64
    script.save()

    entry = newest(kind="script")

    assert entry.before == {"memory_mb": 256, "libraries": []}
    assert entry.after == {"memory_mb": 64, "libraries": ["tools"]}


def test_step_names_its_flow_its_script_and_its_queue(flow):
    step = flow.steps.first()
    step.script = make_script("another")
    step.save()

    entry = newest(kind="step")

    assert entry.name == "orders / orders-0"
    assert (entry.before, entry.after) == ({"script": "orders-0"}, {"script": "another"})


def test_deletion_keeps_what_was_there_with_its_parts(flow):
    role = Group.objects.create(name="shop")
    RoleMapping.objects.create(role=role, right="start", flow=flow)

    flow.delete()

    deleted: Any = AuditEntry.objects.filter(verb="delete")
    assert sorted(deleted.values_list("kind", "name")) == [
        ("flow", "orders"),
        ("role mapping", "shop may start orders"),
        ("step", "orders / orders-0"),
        ("step", "orders / orders-1"),
    ]
    assert deleted.get(name="orders / orders-1").before["queue"] == "orders-1"


def test_values_of_secrets_are_never_recorded():
    secret = Secret(name="key", description="of the bank")
    secret.set_value("s3cret-value")
    secret.save()
    secret.set_value("0ther-value")
    secret.save()
    secret.delete()

    entries: Any = AuditEntry.objects.filter(kind="secret")
    assert [entry.verb for entry in entries] == ["delete", "change", "add"]
    assert entries[1].after == {"value": "••••••"}
    shown = repr(list(entries.values()))
    assert "s3cret" not in shown
    assert "0ther" not in shown
    assert secret.encrypted not in shown


def test_password_of_a_user_is_masked(operator):
    operator.set_password("another one")
    operator.save()

    entry = newest(kind="user")

    assert (entry.before, entry.after) == ({"password": "••••••"}, {"password": "••••••"})
    assert "md5" not in repr(list(AuditEntry.objects.values()))
    assert "pbkdf2" not in repr(list(AuditEntry.objects.values()))


def test_login_that_hashes_the_password_anew_is_no_change(operator, settings):
    settings.PASSWORD_HASHERS = [
        "django.contrib.auth.hashers.PBKDF2SHA1PasswordHasher",
        *settings.PASSWORD_HASHERS,
    ]
    count = AuditEntry.objects.count()

    assert User.objects.get(pk=operator.pk).check_password("secret")

    assert AuditEntry.objects.count() == count


def test_times_of_logins_are_no_change(operator):
    count = AuditEntry.objects.count()

    operator.last_login = timezone.now()
    operator.save(update_fields=["last_login"])

    assert AuditEntry.objects.count() == count


def test_members_of_a_role_are_recorded_from_either_side(operator):
    role = Group.objects.create(name="shop")

    operator.groups.add(role)
    added = newest(kind="user")
    role.user_set.clear()
    cleared = newest(kind="user")

    assert (added.name, added.before, added.after) == (
        "operator",
        {"roles": []},
        {"roles": ["shop"]},
    )
    assert (cleared.before, cleared.after) == ({"roles": ["shop"]}, {"roles": []})


def test_permissions_of_a_role_are_recorded():
    role = Group.objects.create(name="shop")
    permission = Permission.objects.get(codename="view_run")

    role.permissions.set([permission])

    entry = newest(kind="role")
    assert (entry.before, entry.after) == ({"permissions": []}, {"permissions": [str(permission)]})


def test_tokens_are_recorded_without_their_digest(operator):
    token = make_token(operator).text
    made = newest(kind="token")
    AuthToken.objects.all().delete()
    revoked = newest(kind="token")

    assert (made.verb, made.actor) == ("add", "operator")
    assert revoked.verb == "delete"
    assert made.name == f"{token[:8]}… of operator"
    shown = repr(list(AuditEntry.objects.values()))
    assert token not in shown
    assert "digest" not in shown


def test_token_that_has_expired_is_deleted_without_an_entry(operator):
    AuthToken.objects.create(operator, expiry=timedelta(seconds=-1))
    count = AuditEntry.objects.count()

    AuthToken.objects.all().delete()

    assert AuditEntry.objects.count() == count


def test_import_records_each_change_with_its_reason():
    document = {
        "scripts": [{"name": "score", "language": "python", "code": ECHO}],
        "queues": [{"name": "scores"}],
        "flows": [
            {"name": "score", "steps": [{"name": "a", "script": "score", "queue": "scores"}]}
        ],
    }
    import_configuration(document, dry_run=True)
    assert not AuditEntry.objects.exists()

    import_configuration(document)

    entries = AuditEntry.objects.values_list("kind", "verb", "reason")
    assert sorted(entries) == [
        (kind, "add", "configuration import") for kind in ("flow", "queue", "script", "step")
    ]


# --- verbs of operators ------------------------------------------------------------------------


def test_start_of_a_run_is_not_recorded(flow, operator):
    count = AuditEntry.objects.count()

    engine.start("orders", {}, user=operator)
    work_until_idle(flow)

    assert Run.objects.get().status == Run.Status.COMPLETED
    assert AuditEntry.objects.count() == count


def test_pause_and_resume_are_one_entry_each_with_user_and_reason(flow, operator):
    count = AuditEntry.objects.count()

    engine.pause(flow, user=operator, reason="the bank is away")
    engine.pause(flow, user=operator)
    engine.resume(flow, user=operator)

    resume, pause = AuditEntry.objects.all()[:2]
    assert AuditEntry.objects.count() == count + 2
    assert (pause.verb, pause.kind, pause.actor) == ("pause", "flow", "operator")
    assert (pause.actor_id, pause.reason) == (str(operator.pk), "the bank is away")
    assert (pause.before, pause.after) == ({"paused": False}, {"paused": True})
    assert (resume.verb, resume.reason) == ("resume", "")


def test_cancel_is_recorded_once_it_has_an_effect(flow, operator):
    run = Run.objects.get(pk=engine.start("orders", {}).correlation_id)

    engine.cancel(run, user=operator, reason="by mistake")
    engine.cancel(run, user=operator)

    [entry] = AuditEntry.objects.filter(verb="cancel")
    assert (entry.kind, entry.name, entry.target_id) == ("run", "orders", str(run.pk))
    assert (entry.before, entry.after) == ({"status": "QUEUED"}, {"status": "CANCELLED"})
    assert entry.reason == "by mistake"


def test_bypass_of_a_pause_is_recorded(flow, operator):
    engine.pause(flow)
    run = Run.objects.get(pk=engine.start("orders", {}).correlation_id)

    engine.bypass_pause(run, user=operator)

    entry = newest()
    assert (entry.verb, entry.target_id) == ("bypass the pause", str(run.pk))


def test_reprocess_says_that_the_payload_is_another_and_not_which(flow, operator):
    letter = dead_letter(flow)

    engine.reprocess(letter, user=operator, payload={"iban": "DE02"})

    entry = newest()
    assert (entry.verb, entry.kind, entry.target_id) == ("reprocess", "dead letter", str(letter.pk))
    assert entry.after["payload"] == "another one"
    assert "DE02" not in repr(list(AuditEntry.objects.values()))


def test_discard_is_recorded(flow, operator):
    letter = dead_letter(flow)

    engine.discard(letter, user=operator, reason="a test order")

    entry = newest()
    assert (entry.verb, entry.name, entry.reason) == (
        "discard",
        "orders / orders-0",
        "a test order",
    )


def test_reprocessing_in_bulk_is_two_entries_whatever_it_reprocesses(flow, operator):
    dead_letter(flow)
    count = AuditEntry.objects.count()

    found = reprocessing.reprocess_many(DeadLetterFilter(flow_name="orders"), user=operator)
    made = found.reprocessing
    reprocessing.advance(made.pk, made.fencing_token)
    reprocessing.stop(made, user=operator)
    reprocessing.stop(made, user=operator)

    stop, begin = list[Any](AuditEntry.objects.all()[:2])
    assert AuditEntry.objects.count() == count + 2
    assert (begin.verb, begin.after["matched"]) == ("reprocess many", 1)
    assert (stop.verb, stop.actor) == ("stop", "operator")


@pytest.mark.django_db(transaction=True)
def test_entry_is_rolled_back_with_its_change():
    flow = make_flow("orders", [ECHO])
    count = AuditEntry.objects.count()

    with transaction.atomic():
        engine.pause(flow)
        transaction.set_rollback(True)

    flow.refresh_from_db()
    assert not flow.paused
    assert AuditEntry.objects.count() == count


@pytest.mark.django_db(transaction=True)
def test_change_is_rolled_back_where_its_entry_cannot_be_stored(monkeypatch):
    flow = make_flow("orders", [ECHO])

    def fail(*args, **kwargs):
        raise RuntimeError("no room for the entry")

    monkeypatch.setattr(audit, "record", fail)
    flow.active = False
    with pytest.raises(RuntimeError):
        flow.save()
    with pytest.raises(RuntimeError):
        engine.pause(Queue.objects.get())

    flow.refresh_from_db()
    assert flow.active
    assert not Queue.objects.get().paused


# --- who and from where ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "source"),
    [
        (["manage.py", "config", "import"], Source.COMMAND),
        (["/srv/app/manage.py", "shell"], Source.COMMAND),
        (["/usr/bin/django-admin", "createsuperuser"], Source.COMMAND),
        (["manage.py", "qcluster"], Source.TASK),
        (["manage.py", "up"], Source.COMMAND),
        (["manage.py", "runserver"], Source.CODE),
        (["/usr/bin/gunicorn", "shop.wsgi"], Source.CODE),
        ([""], Source.CODE),
        ([], Source.CODE),
    ],
)
def test_source_outside_of_requests_is_that_of_the_process(arguments, source):
    assert source_of_process(arguments) == source


def test_user_of_a_block_counts_for_the_changes_in_it(operator):
    with acting(user=operator, reason="for the audit"):
        Flow.objects.create(name="new")

    entry = newest()
    assert (entry.actor, entry.actor_id, entry.reason) == (
        "operator",
        str(operator.pk),
        "for the audit",
    )


def test_entry_outlives_the_user(operator):
    engine.pause(make_flow("orders", [ECHO]), user=operator)
    Flow.objects.all().update(paused_by=None)
    key = str(operator.pk)

    operator.delete()

    assert newest(verb="pause").actor == "operator"
    assert newest(verb="pause").actor_id == key
    assert newest(verb="delete", kind="user").name == "operator"


@given(st.text(st.characters(), max_size=400), st.text(st.characters(), max_size=300))
def test_any_text_can_be_recorded(text, name):
    with transaction.atomic():
        record("change", Target("flow", name), after={"text": text}, reason=text)
        entry = AuditEntry.objects.first()
        transaction.set_rollback(True)

    assert entry.verb == "change"


# --- append only -------------------------------------------------------------------------------


def test_entries_are_never_changed_or_deleted_by_the_model(flow):
    entry = AuditEntry.objects.first()
    entry.verb = "another"

    for change in (
        entry.save,
        entry.delete,
        AuditEntry.objects.all().delete,
        lambda: AuditEntry.objects.update(verb="another"),
        lambda: AuditEntry.objects.bulk_update([entry], ["verb"]),
        lambda: AuditEntry.objects.update_or_create(pk=entry.pk, verb="another"),
    ):
        with pytest.raises(TypeError, match="never changed or deleted"):
            change()

    assert not AuditEntry.objects.filter(verb="another").exists()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE flows_auditentry SET actor = 'another'",
        "DELETE FROM flows_auditentry",
        "DELETE FROM flows_auditentry WHERE verb = 'add'",
    ],
)
def test_database_refuses_to_change_or_delete_entries(flow, statement):
    count = AuditEntry.objects.count()

    with transaction.atomic(), connection.cursor() as cursor:
        with pytest.raises(DatabaseError, match="never changed or deleted"):
            cursor.execute(statement)
        transaction.set_rollback(True)

    assert AuditEntry.objects.count() == count
    assert not AuditEntry.objects.filter(actor="another").exists()


def test_base_manager_cannot_go_around_the_model(flow):
    with pytest.raises(DatabaseError, match="never changed"), transaction.atomic():
        AuditEntry._base_manager.all().update(verb="another")


def test_old_entries_are_purged_and_new_ones_stay_protected(flow, settings):
    settings.ASYNCENGINE_AUDIT_DAYS = 30
    AuditEntry.objects.create(
        at=timezone.now() - timedelta(days=31), source="code", verb="add", kind="flow", name="old"
    )
    count = AuditEntry.objects.count()

    purge()

    assert AuditEntry.objects.count() == count - 1
    assert not AuditEntry.objects.filter(name="old").exists()
    with pytest.raises(DatabaseError, match="never changed"), transaction.atomic():
        AuditEntry._base_manager.all().delete()


@pytest.mark.parametrize("days", [0, 1_000_000, 10**12], ids=["0", "too early", "too many"])
def test_entries_are_kept_for_ever_where_the_setting_says_so(settings, days):
    settings.ASYNCENGINE_AUDIT_DAYS = days
    AuditEntry.objects.create(
        at=timezone.now() - timedelta(days=9_999), source="code", verb="add", kind="flow"
    )

    purge()

    assert AuditEntry.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_flush_empties_the_log_and_leaves_it_protected():
    make_flow("orders", [ECHO])

    call_command("flush", interactive=False, verbosity=0)
    assert not AuditEntry.objects.exists()

    make_flow("orders", [ECHO])
    with pytest.raises(DatabaseError, match="never changed"), transaction.atomic():
        AuditEntry._base_manager.all().delete()


def test_deletion_of_steps_by_a_change_of_a_flow_is_recorded(flow):
    Step.objects.filter(flow=flow, name="orders-1").delete()

    assert newest().name == "orders / orders-1"
