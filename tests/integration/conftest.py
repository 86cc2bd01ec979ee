import pytest

from flows.worker.broker import QueueBroker


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
