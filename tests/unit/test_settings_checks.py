"""`check` names what settings of a project's own lack."""

from __future__ import annotations

import pytest
from django.apps import apps
from django.conf import settings as those

from flows import settings_checks
from flows.content_policy import ContentPolicyMiddleware
from flows.worker.broker import QueueBroker


class OwnBroker(QueueBroker):
    """A project's."""


class OwnPolicy(ContentPolicyMiddleware):
    """A project's."""


def ids(messages) -> list[str]:
    return [each.id for each in messages]


def found() -> list[str]:
    return ids(
        settings_checks.apps_stand_in_their_order()
        + settings_checks.workers_ask_the_broker_of_flows()
        + settings_checks.middleware_is_there()
    )


def test_the_engine_s_own_settings_lack_nothing():
    assert found() == []


@pytest.mark.parametrize(
    ("first", "second"),
    [("unfold", "flows"), ("django_q", "flows"), ("django.contrib.admin", "unfold")],
)
def test_apps_in_another_order_are_an_error_that_names_both(monkeypatch, first, second):
    configs = {config.name: config for config in apps.get_app_configs()}
    swapped = [configs[first], configs[second]]
    monkeypatch.setattr(apps, "get_app_configs", lambda: swapped)

    (error,) = settings_checks.apps_stand_in_their_order()

    assert error.id == "flows.E005"
    assert error.msg.startswith(f"{first} stands before {second} in INSTALLED_APPS")


@pytest.mark.parametrize("broker", [None, "django_q.brokers.orm.ORM", "no.such.Broker"])
def test_another_broker_is_an_error(settings, broker):
    settings.Q_CLUSTER = {"name": "shop", "broker_class": broker}

    assert found() == ["flows.E006"]


def test_settings_may_name_the_broker_by_its_former_address(settings):
    settings.Q_CLUSTER = {"name": "shop", "broker_class": "flows.broker.QueueBroker"}

    assert found() == []


@pytest.mark.parametrize("name", settings_checks.MIDDLEWARE)
def test_middleware_that_is_missing_is_named(settings, name):
    settings.MIDDLEWARE = [each for each in those.MIDDLEWARE if each != name]

    (warning,) = settings_checks.middleware_is_there()

    assert warning.id == "flows.W011"
    assert name in warning.msg


def test_classes_of_the_project_s_own_that_are_made_of_ours_will_do(settings):
    own = {"flows.content_policy.ContentPolicyMiddleware": f"{__name__}.OwnPolicy"}
    settings.MIDDLEWARE = [own.get(each, each) for each in those.MIDDLEWARE]
    settings.Q_CLUSTER = {"broker_class": f"{__name__}.OwnBroker"}

    assert found() == []
