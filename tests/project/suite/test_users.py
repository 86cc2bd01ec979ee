"""Users who log in with their e-mail address and have UUIDs, or texts, for keys."""

from __future__ import annotations

import base64
import io
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.base_user import BaseUserManager
from django.contrib.auth.models import Group
from django.core.management import call_command
from django.db import connection, transaction
from django.db.models import ProtectedError
from django.test import Client

from accounts.models import Staff, User, UserManager
from flows import public
from flows.access.administrator import NoAdministrator, make_administrator
from flows.access.tokens import tokens_of
from flows.api.authentication import users_of_identities
from flows.errors import IdempotencyConflict
from flows.identity.claims import Claims
from flows.identity.errors import UserRefused
from flows.identity.options import options
from flows.identity.users import user_of
from flows.models import DeadLetter, Reprocessing, Run
from flows.testing import FlowKit
from orders.models import Order
from suite.conftest import PASSWORD, as_json

START = "/async/api/start?flowName=order"
ORDER = {"order": 1, "amount": "10.00"}
ISSUED = replace(options(), issuer="https://id.example.org")


def basic(name: str, password: str = PASSWORD) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def make_token(name: str) -> Any:
    return Client().post(
        "/async/api/auth/token",
        {"userName": name, "password": PASSWORD},
        content_type="application/json",
    )


def start(headers: dict[str, str], **more: str) -> Any:
    return Client().post(START, ORDER, content_type="application/json", headers={**headers, **more})


def test_nothing_is_wrong_with_the_project() -> None:
    said = io.StringIO()

    call_command("check", "--fail-level", "WARNING", "--database", "default", stdout=said)
    call_command("makemigrations", "--check", "--dry-run", stdout=said)

    assert "no issues" in said.getvalue()


@pytest.mark.parametrize("name", ["Clerk@example.org", "CLERK@EXAMPLE.ORG"])
def test_basic_starts_a_run_for_the_user_whom_the_model_finds(clerk: User, name: str) -> None:
    first, second = start(basic(name)), start(basic(name))

    assert (first.status_code, second.status_code) == (202, 202)
    assert {run.started_by for run in Run.objects.all()} == {clerk}


def test_a_wrong_password_and_an_inactive_user_are_refused_by_every_door(clerk: User) -> None:
    token = as_json(make_token(clerk.email))["accessToken"]
    assert start(basic(clerk.email)).status_code == 202
    User.objects.filter(pk=clerk.pk).update(is_active=False)

    answers = [start(basic(clerk.email)), start(basic(clerk.email, "x")), start(bearer(token))]

    assert [answer.status_code for answer in answers] == [401, 401, 401]
    assert make_token(clerk.email).status_code == 401


def test_a_token_for_the_email_starts_runs_until_the_password_changes(clerk: User) -> None:
    token = as_json(make_token(clerk.email))["accessToken"]
    before = [start(bearer(token)).status_code, start(bearer(token)).status_code]

    clerk.set_password("another one")
    clerk.save()

    assert before == [202, 202]
    assert start(bearer(token)).status_code == 401


def test_tokens_end_with_the_password_through_a_proxy_of_the_model_too(clerk: User) -> None:
    make_token(clerk.email)
    staff = Staff.objects.get(pk=clerk.pk)

    staff.set_password("another one")
    staff.save()

    assert not tokens_of(clerk).exists()


@pytest.mark.parametrize("model", [User, Staff])
def test_a_user_who_started_a_run_is_not_deleted(clerk: User, model: type[User]) -> None:
    public.start("order", ORDER, user=clerk)

    with transaction.atomic(), pytest.raises(ProtectedError, match="Deactivate"):
        model.objects.get(pk=clerk.pk).delete()

    assert User.objects.filter(pk=clerk.pk).exists()


def test_what_becomes_of_the_projects_own_rows_its_models_say(clerk: User) -> None:
    seller = User.objects.create_user("seller@example.org", "A Seller", PASSWORD)
    order = Order.objects.create(customer=clerk, seller=seller, amount=1)

    seller.delete()

    order.refresh_from_db()
    assert order.seller is None


@pytest.mark.parametrize("door", ["basic", "token", "page"])
def test_failed_logins_count_for_the_account_at_every_door(clerk: User, door: str) -> None:
    """Also where the request would be a transaction that its failure takes back."""
    known = Client()
    assert known.get("/async/api/flows", headers=basic(clerk.email)).status_code == 200
    spellings = [clerk.email, clerk.email.upper(), clerk.email.lower()]

    codes = [failed_login(spellings[number % 3], door) for number in range(11)]

    assert codes[:10] == [200 if door == "page" else 401] * 10
    assert codes[10] == 429


@pytest.mark.parametrize("door", ["basic", "token", "page"])
def test_a_name_that_its_field_cannot_have_belongs_to_no_user(
    monkeypatch: pytest.MonkeyPatch, clerk: User, door: str
) -> None:
    """Here users log in by their keys, which no other text can be."""
    monkeypatch.setattr(User, "USERNAME_FIELD", "id")
    by_field = BaseUserManager.get_by_natural_key
    monkeypatch.setattr(UserManager, "get_by_natural_key", by_field)

    refused = [failed_login(name, door) for name in ("abc", uuid4().hex, "é" * 20)]

    assert refused == [200 if door == "page" else 401] * 3
    assert start(basic(getattr(clerk.pk, "hex", clerk.pk))).status_code == 202


def failed_login(name: str, door: str) -> int:
    client = Client()
    if door == "basic":
        return client.get("/async/api/flows", headers=basic(name, "wrong")).status_code
    if door == "token":
        credentials = {"userName": name, "password": "wrong"}
        path = "/async/api/auth/token"
        return client.post(path, credentials, content_type="application/json").status_code
    return client.post("/admin/login/", {"username": name, "password": "wrong"}).status_code


def test_token_of_an_issuer_makes_a_user_of_the_project(clerk: User) -> None:
    said = {"email": "ada@example.org", "name": "Ada Lovelace"}

    ada = user_of(claims("1", **said), ISSUED)
    other = user_of(claims("2", email=clerk.email, preferred_username="clerk"), ISSUED)

    assert (ada.email, ada.full_name) == ("ada@example.org", "Ada Lovelace")
    assert user_of(claims("1", email="lovelace@example.org"), ISSUED) == ada
    assert other != clerk
    assert other.email.endswith("@example.org")
    assert not ada.has_usable_password()
    [identity] = ada.external_identities.all()
    assert users_of_identities([identity.key]) == {identity.key: ada}
    with pytest.raises(UserRefused, match="no claim gives a user name"):
        user_of(claims("3", preferred_username="no address"), ISSUED)


def claims(subject: str, **said: str) -> Claims:
    return Claims(ISSUED.issuer, subject, 1.0, 2.0, {"sub": subject, **said})


def test_roles_decide_what_a_user_may_do(clerk: User) -> None:
    stranger = User.objects.create_user("stranger@example.org", "A Stranger", PASSWORD)

    assert start(basic(clerk.email)).status_code == 202
    assert start(basic(stranger.email)).status_code == 403
    own = Client().get("/async/api/runs", headers=basic(stranger.email))
    assert as_json(own)["results"] == []


def test_an_idempotency_key_belongs_to_its_user(clerk: User, boss: User) -> None:
    headers = {"Idempotency-Key": "k"}
    runs = [
        as_json(start(basic(user.email), **headers))["correlationId"]
        for user in (clerk, boss, clerk)
    ]

    assert runs[0] == runs[2] != runs[1]
    assert public.start("order", ORDER, user=clerk, idempotency_key="k") == UUID(runs[0])
    with pytest.raises(IdempotencyConflict):
        public.start("order", {"order": 2, "amount": 1}, user=clerk, idempotency_key="k")


def test_runs_name_who_started_and_who_cancelled_them(clerk: User, boss: User) -> None:
    run = public.start("order", ORDER, user=clerk)

    public.cancel(run, user=boss)

    found = Run.objects.get(pk=run)
    assert (found.started_by, found.cancelled_by) == (clerk, boss)


def test_dead_letters_name_who_decided_about_them(
    boss: User, client_of: Any, flow_kit: FlowKit
) -> None:
    client = client_of(boss)
    for _ in range(3):
        flow_kit.run("order", {"order": 0, "amount": 1, "unpriced": True}, user=boss)
    requeued, discarded, _ = DeadLetter.objects.order_by("pk")

    again = client.post(f"/async/api/dead-letters/{requeued.pk}/reprocess", {}, "application/json")
    gone = client.delete(f"/async/api/dead-letters/{discarded.pk}")
    many = client.post(
        "/async/api/dead-letters/reprocess", {"filter": {"flowName": "order"}}, "application/json"
    )
    flow_kit.work()

    assert (again.status_code, gone.status_code, many.status_code) == (202, 204, 202), many.content
    for letter in (requeued, discarded):
        letter.refresh_from_db()
    assert (requeued.reprocessed_by, discarded.discarded_by) == (boss, boss)
    assert Reprocessing.objects.get().user == boss
    page = client.get(f"/admin/flows/deadletter/{requeued.pk}/change/")
    assert "The Boss" in page.content.decode()


def test_a_pause_names_who_paused(boss: User, client_of: Any) -> None:
    public.pause(queue="price", user=boss)
    run = public.start("order", ORDER, user=boss)

    trace = as_json(client_of(boss).get(f"/async/api/runs/{run}"))
    queues = as_json(client_of(boss).get("/async/api/queues"))["results"]

    assert trace["status"] == "QUEUED"
    (price,) = (queue for queue in queues if queue["name"] == "price")
    assert "boss@example.org" in str(price)


def test_a_role_goes_with_the_document_only_where_it_has_no_members(clerk: User) -> None:
    document = {"scripts": [], "queues": [], "flows": [], "rbac": {}}

    from flows.configuration.importer import import_configuration

    import_configuration(document, prune=True)

    assert Group.objects.filter(name="clerks").exists()
    clerk.groups.clear()


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({}, "admin@localhost"),
        ({"email": "root@example.org", "full_name": "R"}, "root@example.org"),
    ],
)
def test_the_administrator_of_up_can_log_in(given: dict[str, str], name: str) -> None:
    made = make_administrator(PASSWORD, given)

    user = get_user_model().objects.get()
    assert made == user.email == name
    assert user.is_superuser
    assert Client().login(username=name, password=PASSWORD)


@pytest.mark.parametrize(
    ("required", "given", "refusal"),
    [
        (["full_name"], {"full_name": "x" * 201}, "DJANGO_SUPERUSER_FULL_NAME must be set"),
        (["full_name"], {"email": "no address"}, "DJANGO_SUPERUSER_EMAIL must be set"),
        (["full_name", "is_active"], {}, "TypeError"),
    ],
)
def test_up_says_which_fields_its_administrator_lacks(
    monkeypatch: pytest.MonkeyPatch, required: list[str], given: dict[str, str], refusal: str
) -> None:
    monkeypatch.setattr(User, "REQUIRED_FIELDS", required)

    with pytest.raises(NoAdministrator, match=refusal):
        make_administrator(PASSWORD, given)

    assert not User.objects.exists()


def test_the_keys_of_users_have_the_type_of_the_model() -> None:
    with connection.cursor() as cursor:
        columns = connection.introspection.get_table_description(cursor, "flows_run")
    (column,) = (each for each in columns if each.name == "started_by_id")
    kind = connection.introspection.get_field_type(column.type_code, column)

    is_uuid = User._meta.pk.get_internal_type() == "UUIDField"
    assert kind == ("UUIDField" if is_uuid and connection.vendor == "postgresql" else "CharField")
