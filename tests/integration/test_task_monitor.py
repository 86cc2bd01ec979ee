"""The monitor of a cluster stores each result, also after trouble of the database."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.db.models.signals import pre_delete, pre_save
from django.utils import timezone
from django_q.conf import Conf
from django_q.models import OrmQ, Task
from django_q.signals import post_execute
from django_q.tasks import async_chain, async_task, fetch

from flows.tasks import monitor
from tests.integration.task_runs import work
from tests.integration.test_database_trouble import CODES, refuse

pytestmark = pytest.mark.django_db(transaction=True)

WAITS = "results of tasks wait for the database"


@pytest.fixture(autouse=True)
def setup(settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.ASYNCENGINE_CALLABLE_MODULES = ["tests.tasks"]
    monkeypatch.setattr(monitor, "RETRY_SECONDS", 0.01)


@contextmanager
def refused(signal: Any, model: Any, what: Callable[[], None], times: int) -> Iterator[None]:
    """Have the database refuse the first of these statements."""
    left = [None] * times

    def refuse_it(**kwargs: Any) -> None:
        if left:
            left.pop()
            what()

    signal.connect(refuse_it, sender=model, weak=False)
    try:
        yield
        assert not left
    finally:
        signal.disconnect(refuse_it, sender=model)


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize(("signal", "model"), [(pre_save, Task), (pre_delete, OrmQ)])
def test_result_is_stored_when_the_database_takes_it_again(signal, model, code, broker, caplog):
    name = async_task("tests.tasks.double", 21)
    last = async_task("tests.tasks.double", 1)

    with refused(signal, model, lambda: refuse(code), 2):
        work(broker)

    assert [fetch(each).result for each in (name, last)] == [42, 2]
    assert not OrmQ.objects.exists()
    assert [each.message for each in caplog.records if WAITS in each.message] == [
        each.message for each in caplog.records if each.levelno >= logging.WARNING
    ]
    assert caplog.text.count(WAITS) == 1


@pytest.mark.parametrize("model", [OrmQ, Task])
def test_chain_goes_on_once_though_its_result_waited(model, broker):
    async_chain([("tests.tasks.double", (number,)) for number in range(3)])

    with refused(pre_save, model, lambda: refuse(CODES[0]), 1):
        work(broker)
    for _ in range(2):
        work(broker)

    assert sorted(Task.objects.values_list("result", flat=True)) == [0, 2, 4]


def fail() -> None:
    raise ValueError("no value of this column")


def test_result_that_can_never_be_stored_is_told_and_keeps_no_other(broker, caplog):
    async_task("tests.tasks.double", 1, task_name="odd")
    name = async_task("tests.tasks.double", 2)

    with refused(pre_save, Task, fail, 1):
        work(broker)

    assert "the result of the task 'tests.tasks.double' (odd) is not stored" in caplog.text
    assert fetch(name).result == 4
    assert not OrmQ.objects.exists()


def test_receiver_that_raises_keeps_no_result(broker):
    names = [async_task("tests.tasks.double", number) for number in (1, 2)]

    def raises(**kwargs: Any) -> None:
        fail()

    post_execute.connect(raises)
    try:
        work(broker)
    finally:
        post_execute.disconnect(raises)

    assert [fetch(name).result for name in names] == [2, 4]


def test_task_of_the_engine_that_fails_is_tried_again_soon(broker):
    async_task("flows.tasks.upgrading.go_on", "no id", None, None, save=False)
    async_task("tests.tasks.fail", "a project's own")
    (own, other), began = OrmQ.objects.order_by("pk"), timezone.now()

    work(broker)

    assert not Task.objects.filter(success=True).exists()
    own.refresh_from_db()
    other.refresh_from_db()
    assert began < own.lock < other.lock - timedelta(minutes=50)


def test_task_of_the_engine_that_fails_again_and_again_waits_longer_each_time(broker):
    async_task("flows.tasks.upgrading.go_on", "no id", None, None, save=False)
    waits = []

    for _ in range(Conf.MAX_ATTEMPTS - 1):
        OrmQ.objects.update(lock=timezone.now())
        began = timezone.now()
        work(broker)
        waits.append(OrmQ.objects.get().lock - began)
    OrmQ.objects.update(lock=timezone.now())
    work(broker)

    assert waits == sorted(waits)
    assert waits[-1] > timedelta(minutes=15)
    assert not OrmQ.objects.exists()


def test_task_of_the_engine_that_has_failed_for_ever_waits_for_retry(broker, monkeypatch):
    monkeypatch.setattr(Conf, "MAX_ATTEMPTS", 0)
    async_task("flows.tasks.upgrading.go_on", "no id", None, None, save=False)
    work(broker)
    Task.objects.update(attempt_count=1_000)
    OrmQ.objects.update(lock=timezone.now())
    began = timezone.now()

    work(broker)

    hour = timedelta(seconds=Conf.RETRY)
    assert began + hour <= OrmQ.objects.get().lock <= timezone.now() + hour


def test_cluster_that_stops_gives_the_database_its_grace_alone(settings, broker, caplog):
    settings.ASYNCENGINE_GRACE_SECONDS = 0.0
    name = async_task("tests.tasks.double", 1)
    task = {"id": name, "name": "n", "func": "f", "args": (), "kwargs": {}, "success": True}
    task |= {"started": timezone.now(), "stopped": timezone.now()}
    row = OrmQ.objects.get().pk
    ending = monitor.Monitor(broker, lambda: True)

    # It takes the next statement: nothing is to go without its result.
    with refused(pre_save, Task, lambda: refuse(CODES[0]), 1):
        ending.run(Items(task | {"ack_id": row, "result": 1, "group": None}, "STOP"))

    assert "will run again" in caplog.text
    assert OrmQ.objects.filter(pk=row).exists()


class Items(list[Any]):
    def __init__(self, *items: Any) -> None:
        super().__init__(reversed(items))

    get = list.pop
