"""The settings that a project gets beside its own."""

from pathlib import Path

import pytest

from asyncengine import engine, environment, settings_for
from asyncengine.mounting import with_apps
from flows.checks.settings import no_other_broker_is_left_with_tasks

PLAIN = {
    "INSTALLED_APPS": ["django.contrib.admin", "django.contrib.auth", "shop"],
    "DATABASES": {"default": {"ENGINE": "django.db.backends.sqlite3"}},
    "TEMPLATES": [{"BACKEND": "django.template.backends.django.DjangoTemplates"}],
    "MIDDLEWARE": ["shop.middleware.Own"],
    "REST_FRAMEWORK": {"PAGE_SIZE": 10},
    "ASYNCENGINE_CALLABLE_MODULES": ["shop.steps"],
}
NOT_GIVEN = {"MIDDLEWARE", "REST_FRAMEWORK", "DATABASES", "UNFOLD", "LOGGING", "ROOT_URLCONF"}


def test_settings_of_the_project_stay():
    given = settings_for(PLAIN)

    assert not NOT_GIVEN & given.keys()
    assert "ASYNCENGINE_CALLABLE_MODULES" not in given
    assert given["TEMPLATES"][1:] == PLAIN["TEMPLATES"]
    assert given["ASYNCENGINE_MAX_DELAY_DAYS"] == engine.ASYNCENGINE_MAX_DELAY_DAYS
    assert PLAIN["INSTALLED_APPS"] == ["django.contrib.admin", "django.contrib.auth", "shop"]


@pytest.mark.parametrize(
    "apps",
    [
        [],
        ["django_q", "shop", "django.contrib.admin"],
        ["unfold", "django.contrib.admin", "shop.admin.ShopAdminConfig"],
        ["simple_history", "django.contrib.admin.apps.SimpleAdminConfig", "rest_framework"],
    ],
)
def test_missing_apps_follow_those_of_the_project_in_their_order(apps):
    found = with_apps(apps, engine.INSTALLED_APPS)

    kept = [app for app in apps if app != "django_q"]
    assert found[: len(kept)] == kept
    assert found.index("flows") < found.index("django_q")
    assert sum("unfold" in (app, app.partition(".apps.")[0]) for app in found) == 1
    assert ("django.contrib.admin" in found) == ("django.contrib.admin" in apps or apps == [])


@pytest.mark.parametrize(
    ("own", "kept"),
    [
        (None, engine.Q_CLUSTER),
        ({"name": "shop", "workers": 7, "timeout": 5}, {"name": "shop", "task_workers": 7}),
        ({"workers": 1, "task_workers": 2}, {"workers": 1, "task_workers": 2}),
        ({"broker_class": "shop.Broker", "redis": {}, "retry": 9}, {"redis": {}, "retry": 9}),
    ],
)
def test_a_cluster_of_the_project_gets_the_broker(own, kept):
    cluster = settings_for(PLAIN | ({"Q_CLUSTER": own} if own else {}))["Q_CLUSTER"]

    assert cluster["broker_class"] == "flows.worker.broker.QueueBroker"
    assert (cluster["orm"], cluster["poll"]) == ("default", 0)
    assert {name: cluster[name] for name in kept} == kept


@pytest.mark.parametrize(
    ("own", "named"),
    [
        ({}, ""),
        ({"name": "shop", "workers": 4, "orm": "default"}, ""),
        ({"broker_class": "flows.worker.broker.QueueBroker", "orm": "default"}, ""),
        ({"orm": "reports"}, "orm 'reports'"),
        ({"redis": "redis://:secret@cache/0"}, "redis"),
        ({"sqs": {"aws_secret_access_key": "secret"}}, "sqs"),
        ({"django_redis": "default"}, "django_redis"),
        ({"broker_class": "shop.Broker", "redis": {}}, "broker_class 'shop.Broker'"),
    ],
)
def test_broker_that_is_replaced_is_named_without_its_address(own, named, settings):
    settings.ASYNCENGINE_REPLACED_BROKER = settings_for(PLAIN | {"Q_CLUSTER": own})[
        "ASYNCENGINE_REPLACED_BROKER"
    ]

    found = no_other_broker_is_left_with_tasks()

    assert [each.id for each in found] == ["flows.W021"] * bool(named)
    assert named in "".join(each.msg for each in found)
    assert "secret" not in str(found)


@pytest.mark.parametrize(
    ("own", "variable", "expected"),
    [
        ({"BASE_DIR": Path("/srv/shop"), "ASYNCENGINE_DATA_DIR": "data"}, "", "/srv/shop/data"),
        ({"BASE_DIR": "/srv/shop", "ASYNCENGINE_DATA_DIR": Path("/data")}, "env", "/data"),
        ({"BASE_DIR": Path("/srv/shop")}, "env", "/srv/shop/env"),
        ({"BASE_DIR": Path("/srv/shop")}, "", "/srv/shop/var"),
        ({}, "/env", "/env"),
    ],
)
def test_keys_and_files_are_where_the_settings_of_the_project_say(
    own, variable, expected, monkeypatch
):
    monkeypatch.setattr(environment, "VAR_DIR", environment.VAR_DIR)
    monkeypatch.setenv("ASYNCENGINE_DATA_DIR", variable)

    settings_for(PLAIN | own)

    assert Path(expected) == environment.VAR_DIR
