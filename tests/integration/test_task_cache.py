"""What django-q2's processes share, without another server: cached results, states of clusters."""

from __future__ import annotations

import threading
import uuid
from datetime import timedelta

import pytest
from django.db import close_old_connections, connection
from django.utils import timezone
from django_q import monitor_terminal
from django_q.brokers import get_broker
from django_q.conf import Conf
from django_q.models import OrmQ
from django_q.signing import SignedPackage
from django_q.status import Stat
from django_q.tasks import async_iter, async_task, fetch, result, result_group

from flows.models import CachedValue
from flows.tasks import retention
from flows.tasks.cache import TaskCache, save_cached_in_turn
from flows.tasks.lanes import Lanes
from flows.worker.broker import QueueBroker
from flows.worker.cluster import CrashSafeSentinel
from tests.databases import is_postgresql
from tests.integration.task_runs import work

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("one_connection")]
DOUBLE = "tests.tasks.double"


@pytest.fixture
def cache():
    return TaskCache()


@pytest.fixture(autouse=True)
def own_tasks(settings, monkeypatch):
    # In a worker of its own, what a task leaves is undone; here that is the test's transaction.
    monkeypatch.setattr("flows.tasks.leftovers.put_connections_right", lambda: None)
    settings.ASYNCENGINE_CALLABLE_MODULES = ["tests.tasks"]


@pytest.mark.parametrize("value", ["text", "", ["a", "b"], [], {"a": 1}, 0])
def test_a_value_is_found_by_every_process(cache, value):
    cache.set("key", value)

    assert TaskCache().get("key", "another") == value
    assert "key" in cache


def test_a_value_is_replaced_and_deleted(cache):
    cache.set("key", "first")
    cache.set("key", "second")

    assert cache.get("key") == "second"
    assert cache.delete("key") is True
    assert cache.delete("key") is False
    assert cache.get("key") is None


def test_a_value_that_is_there_is_not_added_again_before_it_has_expired(cache):
    assert cache.add("key", "first") is True
    assert cache.add("key", "second") is False
    cache.set("key", "first", timeout=-1)

    assert cache.add("key", "second") is True
    assert cache.get("key") == "second"


def test_a_value_expires_and_is_purged(cache):
    cache.set("short", "value", timeout=60)
    cache.set("long", "value", timeout=None)
    assert cache.touch("short", 30) is True
    CachedValue.objects.filter(key__contains="short").update(
        expires_at=timezone.now() - timedelta(seconds=1)
    )

    assert cache.get("short") is None
    assert cache.touch("short", 60) is False
    retention.purge()

    assert [value.key for value in CachedValue.objects.all()] == [cache.make_key("long")]


def test_a_key_that_is_too_long_is_refused(cache):
    with pytest.raises(ValueError, match="at most 255"):
        cache.set("x" * 256, "value")


def test_a_project_may_name_another_cache_for_django_q2(monkeypatch):
    monkeypatch.setitem(Conf.conf, "cache", "default")

    assert not isinstance(QueueBroker().cache, TaskCache)


def test_a_cached_result_is_found_in_the_cache_alone(broker):
    task = async_task(DOUBLE, 21, cached=True)
    work(broker)

    assert result(task, cached=True) == 42
    assert fetch(task, cached=True).success
    assert fetch(task) is None


def test_the_results_of_a_cached_group_are_found(broker):
    for number in range(3):
        async_task(DOUBLE, number, group="numbers", cached=60)
    work(broker)

    assert sorted(result_group("numbers", cached=True)) == [0, 2, 4]


def test_an_iteration_gives_its_results_as_one(broker):
    task = async_iter(DOUBLE, [1, 2, 3])
    work(broker)

    assert sorted(result(task)) == [2, 4, 6]
    assert not CachedValue.objects.exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("cached", [None, 60])
def test_an_iteration_is_stored_where_connections_are_closed_in_between(cached, monkeypatch):
    # As in the monitor's process; `one_connection` leaves that closing out.
    monkeypatch.setattr("django.db.close_old_connections", close_old_connections)
    options = {"cached": cached} if cached else {}
    task = async_iter(DOUBLE, [1, 2, 3], **options)
    packages = [SignedPackage.loads(row.payload) for row in OrmQ.objects.order_by("pk")]

    for package in packages:
        now = timezone.now()
        package |= {"success": True, "result": package["args"][0], "started": now, "stopped": now}
        save_cached_in_turn(package, get_broker())

    assert sorted(result(task, cached=bool(cached))) == [1, 2, 3]


@pytest.mark.skipif(not is_postgresql(), reason="SQLite has one writer at a time")
@pytest.mark.django_db(transaction=True)
def test_results_of_a_group_that_end_at_once_are_all_kept():
    def store(number):
        task = {"id": str(number), "group": "numbers", "cached": 60, "result": number}
        save_cached_in_turn(task, get_broker())
        connection.close()

    threads = [threading.Thread(target=store, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(get_broker().cache.get("asyncengine:numbers:keys")) == 8


# --- states of clusters --------------------------------------------------------------------------


class Sentinel(CrashSafeSentinel):
    """A sentinel that starts no processes."""

    def __init__(self, of):
        self.broker = of
        self.pid, self.parent_pid, self.cluster_id = 2, 1, uuid.uuid4()
        self.tob = timezone.now()
        self.reincarnations = 3
        self.pool, self.monitor, self.pusher = [], None, None
        self.task_queue = self.broker.lanes = Lanes(1, 1)
        self.result_queue = self.task_queue.results

    def status(self):
        return Conf.IDLE


@pytest.fixture
def sentinel(broker):
    sentinel = Sentinel(broker)
    yield sentinel
    broker.lanes.shut()


def test_the_state_of_a_cluster_is_stored_by_its_pusher(sentinel):
    Stat(sentinel).save()
    assert Stat.get_all() == []

    sentinel.broker.dequeue()

    [stat] = Stat.get_all()
    assert (stat.cluster_id, stat.pid, stat.sentinel) == (sentinel.cluster_id, 1, 2)
    assert (stat.status, stat.reincarnations) == (Conf.IDLE, 3)
    assert stat.uptime() >= 0
    # JSON has milliseconds.
    assert abs(Stat.get(1, sentinel.cluster_id).tob - sentinel.tob) < timedelta(milliseconds=1)


def test_a_cluster_that_is_not_known_has_stopped():
    assert Stat.get(1, uuid.uuid4()).status == Conf.STOPPED


def test_a_state_is_not_stored_each_time_that_the_sentinel_looks(sentinel):
    Stat(sentinel).save()
    sentinel.broker.dequeue()
    [before] = Stat.get_all()

    sentinel.reincarnations = 4
    Stat(sentinel).save()
    sentinel.broker.reaped_at = 0.0
    sentinel.broker.dequeue()
    assert [stat.timestamp for stat in Stat.get_all()] == [before.timestamp]

    sentinel.broker.reaped_at = sentinel.broker.stat_at = 0.0
    Stat(sentinel).save()
    sentinel.broker.dequeue()
    assert [stat.reincarnations for stat in Stat.get_all()] == [4]


def test_the_sentinel_never_waits_for_its_pusher(sentinel):
    for _ in range(5_000):
        Stat(sentinel).save()

    assert sentinel.task_queue.notes.last() is not None


def test_the_terminal_shows_how_many_clusters_there_are(sentinel, capsys):
    pytest.importorskip("blessed")
    Stat(sentinel).save()
    sentinel.broker.dequeue()

    monitor_terminal.info()

    assert "Clusters" in capsys.readouterr().out
