from collections.abc import Iterator

import pytest
from django.test import override_settings

from flows.worker.broker import QueueBroker


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
def one_connection(monkeypatch):
    # django-q2's parts would close the connection that holds the test's transaction.
    monkeypatch.setattr("django.db.close_old_connections", lambda: None)
    # In a worker of its own, what a task leaves is undone; here that is the test's transaction.
    monkeypatch.setattr("flows.tasks.leftovers.put_connections_right", lambda: None)
