"""`check` names what settings of a project's own lack."""

from __future__ import annotations

import pytest
from django.apps import apps
from django.conf import settings as those

from flows.checks import settings as settings_checks
from flows.front.content_policy import ContentPolicyMiddleware
from flows.worker.broker import QueueBroker


class OwnBroker(QueueBroker):
    """A project's."""


class OwnPolicy(ContentPolicyMiddleware):
    """A project's."""


class Replica:
    """A router that reads the rows of an app elsewhere."""

    def db_for_read(self, model, **hints):
        return "replica" if model._meta.app_label == "flows" else None


class Archive:
    """A router that writes the rows of an app elsewhere."""

    def db_for_write(self, model, **hints):
        return "archive" if model._meta.app_label == "django_q" else None


class Own:
    """A router for other apps."""

    def db_for_write(self, model, **hints):
        return "own" if model._meta.app_label == "shop" else None


def ids(messages) -> list[str]:
    return [each.id for each in messages]


def found() -> list[str]:
    return ids(
        settings_checks.apps_stand_in_their_order()
        + settings_checks.workers_ask_the_broker_of_flows()
        + settings_checks.middleware_is_there()
        + settings_checks.moments_have_a_time_zone()
        + settings_checks.rows_are_in_the_default_database()
        + settings_checks.tokens_are_what_the_api_says()
        + settings_checks.start_rate_is_a_number_in_seconds()
        + settings_checks.callers_can_log_in()
        + settings_checks.an_idle_cluster_wakes_up()
        + settings_checks.caches_are_shared()
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
    settings.Q_CLUSTER = {"name": "shop", "broker_class": broker, "poll": 0}

    assert found() == ["flows.E006"]


def test_settings_may_name_the_broker_by_its_former_address(settings):
    settings.Q_CLUSTER = {"name": "shop", "broker_class": "flows.broker.QueueBroker", "poll": 0}

    assert found() == []


@pytest.mark.parametrize("name", settings_checks.MIDDLEWARE)
def test_middleware_that_is_missing_is_named(settings, name):
    settings.MIDDLEWARE = [each for each in those.MIDDLEWARE if each != name]

    (warning,) = settings_checks.middleware_is_there()

    assert warning.id == "flows.W011"
    assert name in warning.msg


def test_classes_of_the_project_s_own_that_are_made_of_ours_will_do(settings):
    own = {"flows.front.content_policy.ContentPolicyMiddleware": f"{__name__}.OwnPolicy"}
    settings.MIDDLEWARE = [own.get(each, each) for each in those.MIDDLEWARE]
    settings.Q_CLUSTER = {"broker_class": f"{__name__}.OwnBroker", "poll": 0}

    assert found() == []


def test_moments_without_time_zones_are_an_error(settings):
    settings.USE_TZ = False

    assert found() == ["flows.E007"]


@pytest.mark.parametrize(
    ("router", "named"), [(Replica, "flows.Run, flows.Flow"), (Archive, "django_q.OrmQ")]
)
def test_routers_that_send_the_engine_s_rows_elsewhere_are_an_error(settings, router, named):
    settings.DATABASE_ROUTERS = [router()]

    (error,) = settings_checks.rows_are_in_the_default_database()

    assert error.id == "flows.E008"
    assert named in error.msg


def test_routers_for_a_project_s_own_apps_will_do(settings):
    settings.DATABASE_ROUTERS = [Own()]

    assert found() == []


@pytest.mark.parametrize(
    ("knox", "named"),
    [
        ({}, "AUTH_HEADER_PREFIX, TOKEN_LIMIT_PER_USER:"),
        (those.REST_KNOX | {"TOKEN_TTL": None}, "TOKEN_TTL"),
        (those.REST_KNOX | {"AUTH_HEADER_PREFIX": "Token"}, "AUTH_HEADER_PREFIX"),
    ],
)
def test_tokens_that_the_api_cannot_make_or_use_are_an_error(settings, knox, named):
    settings.REST_KNOX = knox

    (error,) = settings_checks.tokens_are_what_the_api_says()

    assert error.id == "flows.E009"
    assert named in error.msg


def test_ways_to_log_in_that_are_missing_are_named(settings):
    settings.REST_FRAMEWORK = {}

    assert found() == ["flows.W012"] * 2


@pytest.mark.parametrize("poll", [{}, {"poll": 5}])
def test_an_idle_cluster_that_sleeps_is_named(settings, poll):
    own = {key: value for key, value in those.Q_CLUSTER.items() if key != "poll"}
    settings.Q_CLUSTER = own | poll

    assert found() == ["flows.W013"]


@pytest.mark.parametrize("backend", ["dummy.DummyCache", "locmem.LocMemCache"])
def test_caches_that_processes_do_not_share_are_named_where_they_lose_something(settings, backend):
    settings.CACHES = {"default": {"BACKEND": f"django.core.cache.backends.{backend}"}}
    assert found() == []
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.cache"
    settings.Q_CLUSTER = those.Q_CLUSTER | {"cache": "default"}

    assert found() == ["flows.W014"] * 2


@pytest.mark.parametrize("app", ["flows", "scripts"])
def test_our_models_have_their_keys_whatever_default_auto_field_a_project_has(app):
    config = apps.get_app_config(app)

    assert type(config).default_auto_field == "django.db.models.BigAutoField"


@pytest.mark.parametrize(
    ("rate", "messages"),
    [
        (None, []),
        ((100, 60), []),
        ("100/s", ["flows.E012"]),
        ((0, 1), ["flows.E012"]),
        ((1, 90_000), ["flows.E012"]),
    ],
)
def test_a_start_rate_that_cannot_be_is_an_error(settings, rate, messages):
    settings.ASYNCENGINE_START_RATE = rate

    assert found() == messages
