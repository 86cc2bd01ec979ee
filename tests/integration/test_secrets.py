"""Secrets: encrypted where they are stored, and given to the scripts alone that may read them."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.core import checks
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.db import connection

from scripts.callables.service_client import CallableServices
from scripts.models import Script, Secret, secret_values
from scripts.models.configuration_values import forget_configuration_values
from scripts.models.secret_values import SecretUnavailable, forget_secrets, secret_value
from scripts.protocol.calls import Call, CallSite, Program
from scripts.protocol.services import RequestFailed
from scripts.services.engine import SecretService, engine_services

OLD, NEW = (Fernet.generate_key().decode() for _ in range(2))

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def old_key(settings):
    settings.ASYNCENGINE_SECRETS_KEYS = [OLD]
    forget_secrets()


def make_secret(value: str = "swordfish", name: str = "shop.key") -> Secret:
    secret = Secret(name=name)
    secret.set_value(value)
    secret.save()
    return secret


@pytest.mark.django_db(transaction=True)
def test_the_thread_that_serves_a_secret_leaves_no_connection_open():
    make_secret()
    program = Program(1, "reads", "python", "", 1.0, 64, secrets=("shop.key",))
    served: list[object] = []

    def serve() -> None:
        served.append(SecretService()(program, {"name": "shop.key"}, time.monotonic() + 60))
        served.append(connection.connection)

    thread = threading.Thread(target=serve)
    thread.start()
    thread.join()

    assert served == [{"value": "swordfish"}, None]
    assert Secret.objects.exists()


def test_a_value_is_stored_encrypted_and_in_no_history():
    secret = make_secret()

    row = Secret.objects.filter(pk=secret.pk).values().get()
    history = secret.history.values().get()
    assert "swordfish" not in str(row)
    assert secret.encrypted not in str(history)
    assert secret_value("shop.key") == "swordfish"


def test_a_missing_secret_is_named():
    with pytest.raises(SecretUnavailable, match=r"There is no secret 'shop\.key'"):
        secret_value("shop.key")


def test_a_secret_of_another_key_is_named(settings):
    make_secret()
    settings.ASYNCENGINE_SECRETS_KEYS = [NEW]

    with pytest.raises(SecretUnavailable, match="ASYNCENGINE_SECRETS_KEYS"):
        secret_value("shop.key")


def test_a_value_is_kept_for_a_moment_and_then_read_again(monkeypatch, django_assert_num_queries):
    secret = make_secret()
    secret_value("shop.key")
    secret.set_value("marlin")
    secret.save()

    with django_assert_num_queries(0):
        assert secret_value("shop.key") == "swordfish"
    later = time.monotonic() + secret_values.KEPT_SECONDS + 1
    monkeypatch.setattr(secret_values.time, "monotonic", lambda: later)
    assert secret_value("shop.key") == "marlin"


def test_rotation_encrypts_with_the_newest_key_and_writes_no_history(settings, capsys):
    secret = make_secret()
    settings.ASYNCENGINE_SECRETS_KEYS = [NEW, OLD]

    call_command("rotate_secrets")

    settings.ASYNCENGINE_SECRETS_KEYS = [NEW]
    assert secret_value("shop.key") == "swordfish"
    assert secret.history.count() == 1


def test_rotation_names_what_no_key_fits_and_does_the_rest(settings):
    settings.ASYNCENGINE_SECRETS_KEYS = [Fernet.generate_key().decode()]
    make_secret(name="lost")
    settings.ASYNCENGINE_SECRETS_KEYS = [OLD]
    make_secret()
    settings.ASYNCENGINE_SECRETS_KEYS = [NEW, OLD]

    with pytest.raises(CommandError, match="lost"):
        call_command("rotate_secrets")

    settings.ASYNCENGINE_SECRETS_KEYS = [NEW]
    assert secret_value("shop.key") == "swordfish"


@pytest.mark.parametrize("name", ["", "two words", ".hidden", "line\n"])
def test_a_name_is_one_that_a_script_can_write(name):
    with pytest.raises(ValidationError):
        Secret(name=name).full_clean()


def test_a_secret_knows_the_scripts_that_may_read_it():
    secret = make_secret()
    script = Script.objects.create(name="pay", code="x", secrets=["shop.key", "other"])
    Script.objects.create(name="none", code="x", secrets=["shop"])

    assert secret.scripts() == [script]


@pytest.mark.parametrize("is_kept", [True, False])
def test_the_deployment_check_warns_of_a_kept_key(settings, is_kept):
    settings.SECRETS_KEY_IS_KEPT = is_kept

    found = [each.id for each in checks.run_checks(include_deployment_checks=True)]

    assert ("flows.W002" in found) is is_kept


@pytest.mark.parametrize(
    "keys",
    [[], "", NEW, ["bad-key"], [NEW, ""], [NEW[:-4]], [None]],
    ids=["no keys", "no list", "text", "no key", "empty one", "cut one", "none"],
)
def test_malformed_keys_of_secrets_are_an_error_of_check(settings, keys):
    assert not [each for each in checks.run_checks() if each.id == "flows.E015"]
    settings.ASYNCENGINE_SECRETS_KEYS = keys

    (found,) = [each for each in checks.run_checks() if each.id == "flows.E015"]

    assert NEW not in str(found)
    assert "bad-key" not in str(found)


def test_a_secret_that_is_not_readable_enters_no_script():
    secret = make_secret("a shared key of more than thirty-two bytes")
    Secret.objects.filter(pk=secret.pk).update(is_readable=False)
    program = Program(1, "signs", "python", "", 1.0, 64, secrets=("shop.key",))
    deadline = time.monotonic() + 60
    signing = {"what": "sign", "algorithm": "HS256", "secret": "shop.key", "data": "x"}
    services = engine_services()

    with pytest.raises(RequestFailed, match="is not readable by scripts") as raised:
        services["secret"](program, {"name": "shop.key"}, deadline)

    assert raised.value.kind == "not-readable"
    assert services["sign"](program, signing, deadline)["signature"]
    stranger = Program(2, "other", "python", "", 1.0, 64)
    with pytest.raises(RequestFailed, match="was not given"):
        services["sign"](stranger, signing, deadline)


def services_of_a_callable() -> CallableServices:
    program = Program(0, "c", "callable", "a.b", 5, 64, secrets=("shop.key", "none"))
    site = CallSite("f", "s", "q", False)
    return CallableServices(program, 5, site, Call("k", "c", 1, "d", b"{}"))


def reply_to(service: str, **request: str) -> dict[str, Any]:
    services = services_of_a_callable()
    return services.read_reply(0, services.send_request(0, service, request))[1]


def test_a_callable_is_told_a_secret_without_a_key_from_one_that_is_not_there(settings):
    make_secret()
    settings.ASYNCENGINE_SECRETS_KEYS = [NEW]

    assert reply_to("secret", name="shop.key")["kind"] == "unavailable"
    assert reply_to("secret", name="none")["kind"] == "unknown"


@pytest.mark.django_db(transaction=True)
def test_a_callable_keeps_its_connection_when_it_reads_a_value():
    forget_configuration_values()
    connection.ensure_connection()
    before = connection.connection

    assert reply_to("config")["values"] == {}
    assert connection.connection is before
