"""The page of the values of the installation."""

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from flows.models import AuditEntry
from scripts.models import ConfigurationValue
from scripts.models.configuration_values import configuration_values, forget_configuration_values
from scripts.protocol.calls import Program
from scripts.services.engine import engine_services

pytestmark = pytest.mark.django_db
LIST = "admin:scripts_configurationvalue_changelist"
ADD = "admin:scripts_configurationvalue_add"


@pytest.fixture(autouse=True)
def fresh() -> None:
    forget_configuration_values()


def test_a_value_is_entered_read_and_recorded(admin_client: Client) -> None:
    data = {"name": "shop.url", "value": "https://shop.example", "description": ""}

    response = admin_client.post(reverse(ADD), data)

    assert response.status_code == 302
    services = engine_services()
    program = Program(1, "s", "python", "", 20, 64)
    assert services["config"](program, {}, 0) == {"values": {"shop.url": "https://shop.example"}}
    assert AuditEntry.objects.filter(kind="value", verb="add", name="shop.url").count() == 1
    assert "https://shop.example" in admin_client.get(reverse(LIST)).content.decode()


@pytest.mark.parametrize("name", ["", "Shop", "1a", "a b", "a:b"])
def test_a_name_that_scripts_cannot_ask_for_is_refused(admin_client: Client, name: str) -> None:
    admin_client.post(reverse(ADD), {"name": name, "value": "x", "description": ""})

    assert not ConfigurationValue.objects.exists()


def test_the_page_needs_its_permission(client: Client) -> None:
    user = User.objects.create_user("ada", password="pw", is_staff=True)
    client.force_login(user)

    refused = client.get(reverse(LIST)).status_code
    user.user_permissions.add(Permission.objects.get(codename="view_configurationvalue"))
    seen = client.get(reverse(LIST)).status_code

    assert (refused, seen) == (403, 200)


def test_a_changed_value_reaches_workers_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    value = ConfigurationValue.objects.create(name="limit", value="1")
    before = configuration_values()["limit"]
    value.value = "2"
    value.save()
    monkeypatch.setattr("scripts.models.configuration_values.KEPT_SECONDS", -1.0)

    assert (before, configuration_values()["limit"]) == ("1", "2")
