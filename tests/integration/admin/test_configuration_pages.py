from __future__ import annotations

import json

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse

from flows.configuration import export_configuration, export_flows, import_configuration
from flows.models import AuditEntry, Flow, FlowTotals, Queue
from scripts.models import Library, Script, Secret
from tests.builders import ECHO
from tests.integration.admin.pages import messages_of

ADDED = {
    "scripts": [{"name": "welcome", "language": "python", "code": ECHO}],
    "queues": [{"name": "greetings", "size": 5}],
    "flows": [
        {"name": "greeting", "steps": [{"name": "g", "script": "welcome", "queue": "greetings"}]}
    ],
}
ORIGINAL = [
    {
        "flowName": "orders",
        "queueMappings": [
            {
                "sourceQueueName": "in",
                "endpointName": "welcome",
                "initial": True,
                "maxThreads": 2,
            }
        ],
    }
]


@pytest.fixture
def page():
    return reverse("admin:flows_configuration_import")


@pytest.fixture
def export():
    return reverse("admin:flows_configuration_export")


def shown(client, page, document, **more):
    """Send a document and return the page with what it would change."""
    return client.post(page, {"document": json.dumps(document)} | more)


def confirmed(client, page, response, **more):
    """Send the second form of that page."""
    return client.post(page, response.context["confirm"] | more, follow=True)


def test_an_import_shows_what_would_change_and_changes_nothing(client, world, page):
    before = export_configuration()

    response = shown(client, page, ADDED)

    names = [(each["action"], each["kind"], each["name"]) for each in response.context["changes"]]
    assert names == [
        ("added", "script", "welcome"),
        ("added", "queue", "greetings"),
        ("added", "flow", "greeting"),
    ]
    assert "g: script welcome, queue greetings, threads" in response.content.decode()
    assert export_configuration() == before
    assert not AuditEntry.objects.filter(verb="import").exists()


def test_the_confirmed_import_is_applied_and_recorded(client, world, page, superuser):
    response = confirmed(client, page, shown(client, page, ADDED))

    assert messages_of(response) == ["The document was imported: 3 added, 0 changed, 0 removed."]
    version = Flow.objects.get(name="greeting").versions.get()
    assert version.author == superuser
    entries = AuditEntry.objects.filter(verb="import")
    assert {"greeting", "welcome", "greetings"} <= {entry.name for entry in entries}
    assert {entry.actor for entry in entries} == {"root"}


def test_a_file_is_imported_with_its_byte_order_mark_and_line_ends(client, world, page):
    text = "\ufeff" + json.dumps(ADDED, indent=2).replace("\n", "\r\n")
    file = SimpleUploadedFile("c.json", text.encode(), "application/json")

    response = client.post(page, {"file": file, "document": ""})
    confirmed(client, page, response)

    assert Flow.objects.filter(name="greeting").exists()


def test_what_is_added_is_shown_as_a_whole(client, world, page):
    html = shown(client, page, ADDED).content.decode()

    assert html.count('<details class="diff transfer-change" open>') == 3
    assert "def run(message, context)" in html


def test_a_flow_that_loses_its_steps_is_named_with_what_it_touches(client, world, page):
    FlowTotals.objects.filter(flow_name=world.flow.name).delete()
    FlowTotals.objects.create(flow_name=world.flow.name, accepted=7_003, completed=3)

    html = shown(client, page, {"flows": [{"name": world.flow.name}]}).content.decode()

    names = ", ".join(world.flow.steps.values_list("name", flat=True))
    assert f"It loses the steps {names}. It has none then, and refuses every start." in html
    assert "This touches flows in use." in html
    assert "<td>7,000</td>" in html


def test_a_queue_that_changes_touches_the_flow_that_it_feeds(client, world, page):
    FlowTotals.objects.filter(flow_name=world.flow.name).delete()
    FlowTotals.objects.create(flow_name=world.flow.name, accepted=7_003, completed=3)
    document = export_flows([world.flow.name])
    step = world.flow.steps.first()
    queues = [each for each in document["queues"] if each["name"] == step.queue.name]

    html = shown(client, page, {"queues": [queues[0] | {"size": 77}]}).content.decode()

    assert "This touches flows in use." in html
    assert "It loses" not in html


def test_a_library_that_changes_touches_the_flows_of_its_scripts(client, world, page):
    script, code = world.script, "RATE = 2\n"
    script.libraries = [Library.objects.create(name="rates", code="RATE = 1\n")]
    script.save()

    html = shown(client, page, {"libraries": [{"name": "rates", "code": code}]}).content.decode()

    assert "This touches flows in use." in html
    assert world.flow.name in html


def test_changed_code_is_shown_line_by_line(client, world, page):
    script = Script.objects.get(pk=world.script.pk)
    document = export_flows([world.flow.name])
    for entry in document["scripts"]:
        if entry["name"] == script.name:
            entry["code"] += "# <b>mended</b>\n"

    html = shown(client, page, document).content.decode()

    assert "# &lt;b&gt;mended&lt;/b&gt;" in html
    assert "+1" in html


def test_a_configuration_that_changed_meanwhile_is_shown_again(client, world, page):
    document = {"queues": [{"name": "orders", "size": 77}]}
    first = shown(client, page, document)
    Queue.objects.filter(name="orders").update(size=55)

    second = confirmed(client, page, first)

    assert "the configuration changed after" in second.content.decode()
    assert Queue.objects.get(name="orders").size == 55
    confirmed(client, page, second)
    assert Queue.objects.get(name="orders").size == 77


def test_another_document_than_the_shown_one_is_not_imported(client, world, page):
    first = shown(client, page, {"queues": [{"name": "orders", "size": 77}]})

    other = {"document": json.dumps({"queues": [{"name": "orders", "size": 99}]})}
    response = confirmed(client, page, first, **other)

    assert "the configuration changed after" in response.content.decode()
    assert Queue.objects.get(name="orders").size not in (77, 99)


def test_pruning_needs_to_have_been_shown(client, world, page):
    first = shown(client, page, {"queues": []})
    assert first.context["changes"] == []

    response = confirmed(client, page, first, prune="on")

    assert response.redirect_chain == []
    assert Queue.objects.exists()


def test_faults_are_listed_with_their_places(client, world, page):
    document = {
        "queues": [{"name": "q", "size": -1}],
        "flows": [{"name": "f", "steps": [{"name": "s", "script": "none", "queue": "q"}]}],
    }

    response = shown(client, page, document)

    assert "queues[0].size" in {fault["path"] for fault in response.context["faults"]}
    assert "<code>queues[0].size</code>" in response.content.decode()
    assert response.context["form"].initial["document"] == json.dumps(document)


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ('{"queues": [', "not JSON"),
        ('{"queues": [], "queues": []}', "stands twice"),
        ('{"quues": []}', "quues"),
        ("", "Choose a file or paste"),
        ("   ", "Choose a file or paste"),
    ],
)
def test_what_is_no_document_is_refused_with_the_reason(client, world, page, text, detail):
    response = client.post(page, {"document": text})

    assert response.status_code == 200
    assert detail in response.content.decode()


def test_bytes_that_are_no_text_are_refused(client, world, page):
    response = client.post(page, {"file": SimpleUploadedFile("c.json", b'{"a": "\xff"}')})

    assert "not UTF-8" in response.content.decode()


def test_the_flow_array_of_the_original_product_is_imported(client, world, page):
    import_configuration({"scripts": ADDED["scripts"]})

    confirmed(client, page, shown(client, page, ORIGINAL))

    step = Flow.objects.get(name="orders").steps.get()
    assert (step.script.name, step.queue.name, step.threads) == ("welcome", "in", 2)


def test_going_back_keeps_the_document(client, world, page):
    first = shown(client, page, ADDED)

    response = client.post(page, first.context["confirm"] | {"_edit": "1"})

    assert "greetings" in response.content.decode()
    assert not Flow.objects.filter(name="greeting").exists()


def test_the_export_shows_and_downloads_the_whole_configuration(client, world, export):
    html = client.get(export)
    file = client.get(export, {"download": "1"})

    assert html.context["text"] == file.content.decode()
    assert json.loads(file.content) == export_configuration()
    assert file["Content-Disposition"] == 'attachment; filename="configuration.json"'


def test_chosen_flows_come_with_what_they_use_and_can_be_imported_again(client, world, export):
    import_configuration(ADDED)

    response = client.get(export, {"flow": "greeting", "download": "1"})

    document = json.loads(response.content)
    assert [each["name"] for each in document["scripts"]] == ["welcome"]
    assert [each["name"] for each in document["queues"]] == ["greetings"]
    assert "rbac" not in document
    assert 'filename="greeting.json"' in response["Content-Disposition"]
    assert not import_configuration(document, dry_run=True)


def test_an_export_has_no_value_of_a_secret(client, world, export):
    secret = Secret(name="key")
    secret.set_value("open sesame")
    secret.save()
    Script.objects.filter(pk=world.script.pk).update(secrets=["key"])

    assert "open sesame" not in client.get(export).content.decode()


@pytest.mark.parametrize("name", ["import", "export"])
def test_both_pages_are_for_superusers_alone(staff_client, world, name):
    client = staff_client("flows.view_flow", "flows.change_flow", "flows.add_flow")
    address = reverse(f"admin:flows_configuration_{name}")

    assert client.get(address).status_code == 403
    assert client.post(address, {"document": "{}"}).status_code == 403
    assert address not in client.get(reverse("admin:index")).content.decode()
