"""Secrets, private addresses and any host are for those who have a permission for that."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.core.management import call_command
from django.urls import reverse

from scripts.grants import grants_of
from scripts.models import Library, Script, Secret, TrialRecord
from scripts.models.secret_values import forget_secrets, secret_value
from scripts.trials.records import code_digest
from tests.integration.admin.pages import form_data
from tests.loopback import serving

READS = 'def run(message, context):\n    return {"payload": context.secrets["shop.key"][::-1]}\n'
EDITOR = ("scripts.view_script", "scripts.change_script", "scripts.add_script")
REACHES: dict[str, dict[str, Any]] = {
    "use_secrets": {"secrets": ["shop.key"]},
    "call_private_addresses": {
        "network": True,
        "private_addresses": True,
        "allowed_hosts": ["intranet.example.org"],
    },
    "call_any_host": {"network": True},
}
FORM_OF: dict[str, dict[str, Any]] = {
    "use_secrets": {"secrets": ["shop.key"]},
    "call_private_addresses": {
        "network": "on",
        "private_addresses": "on",
        "allowed_hosts": "intranet.example.org",
    },
    "call_any_host": {"network": "on"},
}
BY_GRANT = pytest.mark.parametrize("grant", REACHES)


@pytest.fixture(autouse=True)
def secret(db):
    forget_secrets()
    secret = Secret(name="shop.key")
    secret.set_value("swordfish")
    secret.save()
    return secret


@pytest.fixture
def script(world):
    world.script.input_schema = {}
    world.script.save()
    return world.script


@pytest.fixture
def known_secret(monkeypatch, secret):
    """Have the value in memory: the thread that serves it does not see the test's transaction."""
    monkeypatch.setattr("scripts.models.secret_values.KEPT_SECONDS", 1e9)
    secret_value("shop.key")


def page_of(script):
    return reverse("admin:scripts_script_change", args=[script.pk])


def give(script, grant):
    for name, value in REACHES[grant].items():
        setattr(script, name, value)
    script.save()


def save(client, script, **changes):
    page = page_of(script)
    response = client.post(page, form_data(client.get(page)) | changes)
    script.refresh_from_db()
    return response


def attempt(client, script, **changes):
    data = form_data(client.get(page_of(script))) | changes | {"sample": "{}"}
    return client.post(reverse("admin:scripts_script_trial", args=[script.pk]), data).json()


@BY_GRANT
def test_who_lacks_the_grant_cannot_save_a_script_that_needs_it(staff_client, script, grant):
    client = staff_client(*EDITOR)

    response = save(client, script, **FORM_OF[grant])

    assert response.status_code == 200
    assert grant in str(response.context["adminform"].form.errors)
    assert grants_of(script) == []


@BY_GRANT
def test_who_has_the_grant_saves_it(staff_client, script, grant):
    client = staff_client(*EDITOR, f"scripts.{grant}")

    assert save(client, script, **FORM_OF[grant]).status_code == 302
    assert [each.permission for each in grants_of(script)] == [f"scripts.{grant}"]


@BY_GRANT
def test_a_new_script_needs_the_grant_too(staff_client, script, grant):
    client = staff_client(*EDITOR)
    add = reverse("admin:scripts_script_add")
    data = form_data(client.get(add)) | {"name": "new", "code": READS} | FORM_OF[grant]

    assert client.post(add, data).status_code == 200
    assert not Script.objects.filter(name="new").exists()


@BY_GRANT
def test_what_runs_with_a_grant_is_changed_only_by_who_has_it(staff_client, script, grant):
    give(script, grant)
    before = script.code
    client = staff_client(*EDITOR)

    refused = save(client, script, code=READS)
    described = save(client, script, description="of the shop")

    assert (refused.status_code, described.status_code) == (200, 302)
    assert (script.code, script.description) == (before, "of the shop")


@BY_GRANT
def test_a_grant_may_be_given_up_by_who_lacks_it(staff_client, script, grant):
    give(script, grant)
    client = staff_client(*EDITOR)
    page = page_of(script)
    data = form_data(client.get(page))
    for name in ("network", "secrets", "private_addresses"):
        data.pop(name, None)

    assert client.post(page, data).status_code == 302
    script.refresh_from_db()
    assert grants_of(script) == []


@BY_GRANT
def test_a_trial_runs_nothing_for_a_user_without_the_grant(staff_client, script, grant):
    client = staff_client(*EDITOR)

    by_form = attempt(client, script, code=READS, **FORM_OF[grant])
    give(script, grant)
    as_it_is = attempt(client, script)

    assert grant in by_form["refusals"][0]["text"]
    assert grant in as_it_is["refusals"][0]["text"]
    assert not TrialRecord.objects.exists()


@BY_GRANT
def test_a_version_is_restored_only_by_who_has_its_grants(staff_client, script, grant):
    give(script, grant)
    version = script.current_version
    script.secrets, script.network, script.private_addresses = [], False, False
    script.save()
    client = staff_client(*EDITOR, "scripts.view_scriptversion")

    client.post(
        reverse("admin:scripts_scriptversion_restore", args=[version.pk]),
        {"_form_submitted": "True"},
    )

    script.refresh_from_db()
    assert grants_of(script) == []


@BY_GRANT
def test_an_old_state_is_reverted_to_only_by_who_has_its_grants(staff_client, script, grant):
    give(script, grant)
    old = script.history.first()
    script.secrets, script.network, script.private_addresses = [], False, False
    script.save()
    client = staff_client(*EDITOR)
    url = reverse("admin:scripts_script_simple_history", args=[script.pk, old.history_id])

    response = client.post(url, form_data(client.get(url)))

    script.refresh_from_db()
    assert response.status_code == 200
    assert grants_of(script) == []


@BY_GRANT
def test_the_library_of_such_a_script_is_changed_only_by_who_has_its_grants(
    staff_client, script, grant
):
    library = Library.objects.create(name="prices", code="VAT = 19")
    script.libraries = [library]
    give(script, grant)
    client = staff_client("scripts.view_library", "scripts.change_library")
    page = reverse("admin:scripts_library_change", args=[library.pk])

    response = client.post(page, form_data(client.get(page)) | {"code": "VAT = 20"})

    library.refresh_from_db()
    assert "reserve-goods" in str(response.context["adminform"].form.errors)
    assert library.code == "VAT = 19"


@pytest.mark.parametrize("hosts", [["*.com"], ["*.org:443"], ["api.example.org", "*.de."]])
def test_all_names_of_a_top_level_domain_are_any_host(hosts):
    assert grants_of(Script(network=True, allowed_hosts=hosts))
    assert not grants_of(Script(network=True, allowed_hosts=["*.example.org", "a:80"]))


def test_a_trial_that_reads_a_secret_is_written_down(client, superuser, script, known_secret):
    result = attempt(client, script, code=READS, secrets=["shop.key"])

    record = TrialRecord.objects.get()
    assert json.loads(result["output"])["payload"] == "hsifdrows"
    assert (record.user, record.user_name, record.script) == (superuser, "root", script)
    assert (record.secrets, record.secrets_read) == (["shop.key"], ["shop.key"])
    assert record.hosts == []
    assert len(record.code_digest) == 64


def test_a_trial_that_calls_hosts_is_written_down(client, script):
    with serving() as server:
        code = f"def run(m, c):\n    c.http.get({server.url()!r})\n    return m\n"
        hosts = server.url().removeprefix("http://").rstrip("/")

        attempt(
            client, script, code=code, network="on", private_addresses="on", allowed_hosts=hosts
        )

    record = TrialRecord.objects.get()
    assert (record.hosts, record.hosts_called) == ([hosts], [hosts])
    assert record.private_addresses


def test_names_that_no_database_takes_hide_nothing_of_a_trial(client, script, known_secret):
    code = (
        "def run(m, c):\n    for name in ('shop.key', 'a\\0b'): name in c.secrets\n"
        "    try: c.http.get('http://a\\0b/')\n    except c.http.Error: pass\n    return m\n"
    )

    result = attempt(client, script, code=code, secrets=["shop.key"], network="on")

    record = TrialRecord.objects.get()
    assert result["error"] == ""
    assert record.secrets_read == ["shop.key", "a\N{REPLACEMENT CHARACTER}b"]
    assert record.hosts_called == ["a\N{REPLACEMENT CHARACTER}b"]


def test_a_trial_that_reaches_nothing_leaves_no_record(client, script):
    attempt(client, script)

    assert not TrialRecord.objects.exists()


def test_a_trial_on_the_command_line_is_written_down(script, capsys, known_secret):
    script.code, script.secrets = READS, ["shop.key"]
    script.save()

    call_command("script", "test", script.name, "--input", "{}")

    record = TrialRecord.objects.get()
    assert record.user_name.startswith("command line, ")
    assert record.secrets_read == ["shop.key"]


def test_the_digest_is_that_of_code_and_libraries(script):
    first = code_digest(script.program())
    script.libraries = [Library.objects.create(name="prices", code="VAT = 19")]

    assert first != code_digest(script.program())


def test_trials_are_shown_and_cannot_be_changed(client, script):
    attempt(client, script, code=READS, secrets=["shop.key"])
    record = TrialRecord.objects.get()
    page = reverse("admin:scripts_trialrecord_change", args=[record.pk])

    listed = client.get(reverse("admin:scripts_trialrecord_changelist")).content.decode()
    shown = client.get(page).content.decode()

    assert "shop.key" in listed
    assert record.code_digest in shown
    assert client.post(page, {"user_name": "other"}).status_code == 403
    delete = reverse("admin:scripts_trialrecord_delete", args=[record.pk])
    assert client.post(delete, {"post": "yes"}).status_code == 403


@pytest.mark.parametrize(
    "model", ["flows_flow", "flows_queue", "scripts_script", "scripts_library", "scripts_secret"]
)
def test_who_may_only_look_cannot_revert(staff_client, world, secret, model):
    library = Library.objects.create(name="prices", code="VAT = 19")
    obj = {
        "flows_flow": world.flow,
        "flows_queue": world.spare,
        "scripts_script": world.script,
        "scripts_library": library,
        "scripts_secret": secret,
    }[model]
    old = obj.history.first()
    field = "size" if model == "flows_queue" else "code" if hasattr(obj, "code") else "description"
    setattr(obj, field, 77 if field == "size" else "def run(a, b): return a")
    obj.save()
    app, name = model.split("_")
    client = staff_client(f"{app}.view_{name}")

    response = client.post(
        reverse(f"admin:{model}_simple_history", args=[obj.pk, old.history_id]), {}
    )

    assert response.status_code == 403
    after = type(obj).objects.get(pk=obj.pk)
    assert getattr(after, field) == getattr(obj, field)
