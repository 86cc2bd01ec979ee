from collections.abc import Iterator

import pytest
from django.test import override_settings

from flows.tasks.measures import MeasureChannel, no_measures
from flows.worker.broker import QueueBroker
from flows.worker.measuring import Measuring
from flows.worker.this_worker import this_worker


@pytest.fixture(autouse=True, scope="module")
def static_root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Have a directory of collected files, for whitenoise warns where there is none.

    One for many tests: with another directory Django makes all addresses of files anew.
    """
    with override_settings(STATIC_ROOT=tmp_path_factory.mktemp("static")):
        yield


@pytest.fixture
def broker():
    broker = QueueBroker("asyncengine")
    yield broker
    if broker.listener:
        broker.listener.close()


@pytest.fixture
def measured_here(monkeypatch):
    """Return what takes all that this process has measured, as a broker does."""
    channel = MeasureChannel()
    monkeypatch.setattr(this_worker, "measuring", Measuring(channel))

    def taken():
        this_worker.measuring.send()
        measures = no_measures()
        channel.receive(measures)
        return measures

    yield taken
    channel.shut()


@pytest.fixture
def one_connection(monkeypatch):
    # django-q2's parts would close the connection that holds the test's transaction.
    monkeypatch.setattr("django.db.close_old_connections", lambda: None)
    # In a worker of its own, what a task leaves is undone; here that is the test's transaction.
    monkeypatch.setattr("flows.tasks.leftovers.put_connections_right", lambda: None)
