"""No function is run because a form or a row names it, unless it is allowed."""

from __future__ import annotations

import pickle
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django_q.models import Failure, OrmQ, Schedule, Success, Task
from django_q.scheduler import scheduler
from django_q.signing import SignedPackage
from django_q.tasks import Chain, async_task, result

from flows.tasks import allowed_tasks
from flows.tasks.allowed_tasks import TaskRefused, task_fault
from tests.integration.task_runs import work

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("one_connection")]

FORBIDDEN = [
    "os.system",
    "posix.system",
    "subprocess.run",
    "builtins.eval",
    "pickle.loads",
    "django.core.management.call_command",
    "flows.tasks.retention.os.system",
    "flows.tasks.reprocessing.async_task",
    "flows.worker.cluster.pickle.loads",
    "flows.worker.worker.consume",
    "flows.engine.start",
    "tests.callables",
    "os",
    "system",
    "",
    " os.system",
    "flows.tasks.retention.purge ",
    "flows..retention.purge",
    "tests.integration.test_allowed_tasks.TaskRefused",
]


class Touching:
    """A pickle of it makes a file while it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.fixture
def superuser_client(db):
    client = Client()
    client.force_login(User.objects.create_superuser("root", password="secret"))
    return client


def queued(**options):
    """Store a task as a row of the queue, signed, past every check."""
    task = {"id": "a" * 32, "name": "row", "args": (), "kwargs": {}, "started": timezone.now()}
    payload = SignedPackage.dumps(task | options)
    return OrmQ.objects.create(key="asyncengine", payload=payload, lock=an_hour_ago())


def an_hour_ago():
    return timezone.now() - timedelta(hours=1)


def plant(column, obj):
    """Put a pickle into a row of the tasks, as one who can write to the database may."""
    pickled = b64encode(pickle.dumps(obj)).decode()
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE django_q_task SET {column} = %s", [pickled])


def make_task(**fields):
    now = timezone.now()
    fields = {"id": "b" * 32, "name": "planted", "func": "x.y", "success": True} | fields
    return Task.objects.create(started=now, stopped=now, **fields)


@pytest.mark.parametrize("path", FORBIDDEN)
def test_a_path_that_is_neither_the_engines_nor_allowed_has_a_fault(path):
    assert task_fault(path)


@pytest.mark.parametrize("path", ["os.system", "tests.callables.subprocess.run"])
def test_a_module_beside_the_allowed_ones_has_a_fault(settings, path):
    settings.ASYNCENGINE_CALLABLE_MODULES = ["math"]

    assert "not allowed" in task_fault(path)


def test_a_function_that_an_allowed_module_only_imports_has_a_fault(settings):
    settings.ASYNCENGINE_CALLABLE_MODULES = ["tests.integration.test_allowed_tasks"]

    assert task_fault("tests.integration.test_allowed_tasks.reverse")
    assert not task_fault("tests.integration.test_allowed_tasks.an_hour_ago")


def test_a_refused_path_is_not_imported(tmp_path, monkeypatch):
    (tmp_path / "planted_module.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    monkeypatch.syspath_prepend(tmp_path)

    assert task_fault("planted_module.run")
    assert not (tmp_path / "ran").exists()


def test_every_task_of_the_engine_is_allowed():
    assert Schedule.objects.exists()
    for schedule in Schedule.objects.all():
        assert task_fault(schedule.func) == ""
    for path in allowed_tasks.ENGINE_TASKS:
        module, _, name = path.rpartition(".")
        assert callable(getattr(import_module(module), name))


@pytest.mark.parametrize("path", FORBIDDEN)
def test_a_task_that_is_queued_with_a_forbidden_path_fails_with_the_reason(broker, path):
    async_task(path or "nothing", task_name="bad")

    work(broker)

    failure = Failure.objects.get(name="bad")
    assert "was not run" in failure.result
    assert not OrmQ.objects.exists()


@pytest.mark.parametrize(
    "options",
    [
        {"func": "os.system", "args": ("touch ran",)},
        {"func": "math.sqrt", "args": (4,), "hook": "os.system"},
        {"func": "math.sqrt", "args": (4,), "chain": [("os.system", ("touch ran",))]},
        {"func": "math.sqrt", "args": (4,), "chain": ["os.system"]},
    ],
)
def test_a_row_of_the_queue_is_checked_before_it_runs(
    broker, settings, tmp_path, monkeypatch, options
):
    monkeypatch.chdir(tmp_path)
    settings.ASYNCENGINE_CALLABLE_MODULES = ["math"]
    queued(**options)

    work(broker)

    assert not (tmp_path / "ran").exists()
    assert "os.system was not run" in Failure.objects.get(name="row").result
    assert not OrmQ.objects.exists()


@pytest.mark.parametrize("func", [Path.touch, print, allowed_tasks.refuse])
def test_a_row_that_holds_a_function_is_not_loaded(broker, func):
    queued(func=func, args=())

    work(broker)

    assert "no plain data" in Failure.objects.get(name="unreadable").result


def test_a_row_whose_pickle_is_a_program_does_not_run_it(broker, tmp_path):
    queued(func="math.sqrt", args=(Touching(tmp_path / "ran"),))

    work(broker)

    assert not (tmp_path / "ran").exists()
    assert Failure.objects.get(name="unreadable")


def test_a_row_with_a_wrong_signature_fails_and_harms_no_other(broker, settings):
    settings.ASYNCENGINE_CALLABLE_MODULES = ["math"]
    OrmQ.objects.create(key="asyncengine", payload="nonsense:1:2", lock=an_hour_ago())
    queued(func="math.sqrt", args=(4,))

    work(broker)

    assert Failure.objects.get(name="unreadable")
    assert Success.objects.get(name="row").result == 2


@pytest.mark.sampled(4)
@pytest.mark.parametrize("column", ["args", "kwargs", "result"])
@pytest.mark.parametrize("page", ["changelist", "change"])
@pytest.mark.parametrize("success", [True, False])
def test_a_planted_pickle_is_shown_as_not_loaded(superuser_client, tmp_path, column, page, success):
    task = make_task(success=success)
    plant(column, Touching(tmp_path / "ran"))
    model = "success" if success else "failure"
    args = [task.pk] if page == "change" else []

    response = superuser_client.get(reverse(f"admin:django_q_{model}_{page}", args=args))

    assert response.status_code == 200
    assert not (tmp_path / "ran").exists()
    if page == "change":
        assert "Not loaded" in response.content.decode()


def test_the_monitor_meets_a_planted_row_and_does_not_load_it(broker, settings, tmp_path):
    settings.ASYNCENGINE_CALLABLE_MODULES = ["math"]
    make_task(id="a" * 32, name="row", success=False, hook="os.system")
    plant("args", Touching(tmp_path / "ran"))
    queued(func="math.sqrt", args=(4,))

    work(broker)

    assert not (tmp_path / "ran").exists()
    assert result("row") == 2


def test_a_hook_that_a_row_names_is_not_run(monkeypatch):
    called: list[Task] = []
    monkeypatch.setattr("tests.callables.planted_hook", called.append, raising=False)

    make_task(hook="tests.callables.planted_hook").save()

    assert called == []


def test_a_hook_of_an_allowed_module_is_run(settings):
    settings.ASYNCENGINE_CALLABLE_MODULES = ["tests.integration.test_allowed_tasks"]
    hooked.clear()

    make_task(hook="tests.integration.test_allowed_tasks.note")

    assert hooked == ["planted"]


hooked: list[str] = []


def note(task):
    hooked.append(task.name)


def test_plain_data_of_every_kind_comes_through(broker, settings):
    settings.ASYNCENGINE_CALLABLE_MODULES = ["tests.integration.test_allowed_tasks"]
    data = [None, True, 10**30, 1.5, "é", b"\x00", {1}, Decimal("0.1"), datetime.now(UTC)]

    async_task(same, data, task_name="plain", hook=note)
    work(broker)

    assert Success.objects.get(name="plain").result == data
    assert Success.objects.get(name="plain").args == (data,)


def same(value):
    return value


def test_chains_of_allowed_functions_go_on(broker, settings):
    settings.ASYNCENGINE_CALLABLE_MODULES = ["math"]
    chain = Chain()
    chain.append("math.sqrt", 16)
    chain.append("math.floor", 2.5)

    chain.run()
    work(broker)
    work(broker)

    assert sorted(each.result for each in Success.objects.all()) == [2, 4]


def test_a_schedule_that_a_row_holds_fails_and_the_others_go_on(broker, tmp_path):
    Schedule.objects.update(next_run=an_hour_ago())
    Schedule.objects.create(
        name="shell", func="os.system", args=f"'touch {tmp_path / 'ran'}'", next_run=an_hour_ago()
    )

    scheduler(broker)
    work(broker)

    assert not (tmp_path / "ran").exists()
    assert "os.system was not run" in Failure.objects.get(group="shell").result
    assert Success.objects.filter(func="flows.tasks.retention.purge").exists()


@pytest.mark.parametrize("options", ["q_options={'sync': True}", "sync=True"])
def test_a_schedule_that_asks_to_run_at_once_runs_nothing_forbidden(broker, tmp_path, options):
    Schedule.objects.create(
        name="shell",
        func="os.system",
        args=f"'touch {tmp_path / 'ran'}'",
        kwargs=options,
        next_run=an_hour_ago(),
    )

    scheduler(broker)

    assert not (tmp_path / "ran").exists()


def test_a_synchronous_task_that_is_forbidden_raises():
    with pytest.raises(TaskRefused, match=r"os.system was not run"):
        async_task("os.system", "true", sync=True)


def schedule_data(**changes):
    return {
        "name": "mine",
        "func": "flows.tasks.retention.purge",
        "hook": "",
        "args": "",
        "kwargs": "",
        "schedule_type": "H",
        "repeats": "-1",
        "next_run_0": "2030-01-01",
        "next_run_1": "00:00:00",
    } | changes


def test_a_schedule_of_the_engines_own_task_is_saved(superuser_client):
    response = superuser_client.post(
        reverse("admin:django_q_schedule_add"), schedule_data(kwargs="budget_seconds=1")
    )

    assert response.status_code == 302
    assert Schedule.objects.get(name="mine").kwargs == "budget_seconds=1"


REFUSED_FIELDS: list[Any] = [
    *(("func", path) for path in FORBIDDEN if path.strip() == path and path),
    ("hook", "os.system"),
    ("args", "1, ("),
    ("args", "__import__('os')"),
    ("kwargs", "1"),
    ("kwargs", "x=open('a')"),
    ("kwargs", "[1]"),
    ("kwargs", "**{}"),
    ("kwargs", "{1: 2}"),
    ("kwargs", "q_options=1"),
    ("schedule_type", "X"),
]


@pytest.mark.long
def test_a_schedule_that_may_not_or_cannot_run_is_refused_on_its_page(superuser_client):
    count = Schedule.objects.count()

    for field, value in REFUSED_FIELDS:
        response = superuser_client.post(
            reverse("admin:django_q_schedule_add"), schedule_data(**{field: value})
        )

        assert response.status_code == 200, (field, value)
        assert field in response.context["adminform"].form.errors, (field, value)
        assert Schedule.objects.count() == count, (field, value)


@pytest.mark.parametrize(
    ("cron", "is_saved"), [("", False), ("every day", False), ("0 4 * * *", True)]
)
def test_a_schedule_of_the_type_cron_needs_its_expression(superuser_client, cron, is_saved):
    data = schedule_data(schedule_type=Schedule.CRON, cron=cron)

    superuser_client.post(reverse("admin:django_q_schedule_add"), data)

    assert Schedule.objects.filter(schedule_type=Schedule.CRON).exists() == is_saved


@pytest.mark.sampled(3)
@pytest.mark.parametrize("model", ["schedule", "success", "failure", "ormq"])
def test_staff_with_every_permission_of_django_q2_see_nothing_of_it(db, model):
    user = User.objects.create_user("staff", password="secret", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(content_type__app_label="django_q"))
    client = Client()
    client.force_login(user)

    home = client.get(reverse("admin:index"))
    pages = {page: reverse(f"admin:django_q_{model}_{page}") for page in ("changelist", "add")}
    page = reverse(f"admin:django_q_{model}_change", args=[1])

    assert f"/django_q/{model}/" not in home.content.decode()
    for url in (*pages.values(), page):
        assert client.get(url).status_code in {302, 403}
        assert client.post(url, schedule_data()).status_code in {302, 403}
    assert not Schedule.objects.filter(name="mine").exists()
