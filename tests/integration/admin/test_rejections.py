"""What a script says of a message that it rejects, from the script to the page."""

from __future__ import annotations

import pytest
from django.urls import reverse

from flows import engine
from flows.models import DeadLetter, Reprocessing
from tests.builders import make_flow, work
from tests.integration.admin.pages import sent_form

pytestmark = pytest.mark.django_db

REJECTING = (
    "def run(message, context):\n"
    "    raise Reject('no', code=message['payload']['code'], details={'of': 'the <order>'})\n"
)


def test_a_rejection_is_kept_shown_and_found_by_its_code(admin_client):
    make_flow(codes=[REJECTING])
    for code in ("E5", "E6"):
        engine.start("flow", {"code": code})
    work("flow-0")
    letter = DeadLetter.objects.get(code="E5")

    page = admin_client.get(reverse("admin:flows_deadletter_change", args=[letter.pk]))
    found = admin_client.get(page.context["code_url"])
    many = admin_client.get(found.context["many_url"])

    assert (letter.error, letter.reason) == ("no", "rejected")
    assert "the &lt;order&gt;" in page.content.decode()
    assert [each.pk for each in found.context["cl"].result_list] == [letter.pk]
    assert found.context["letters"] == 1
    assert many.context["form"].filter.code == "E5"
    admin_client.post(reverse("admin:flows_reprocessing_begin"), sent_form(many))
    assert Reprocessing.objects.get().filter == {"code": "E5"}


def test_a_script_that_cannot_work_dies_at_its_first_delivery():
    make_flow(codes=["import os\ndef run(message, context): return message"], max_deliveries=5)
    engine.start("flow", {})

    work("flow-0")

    letter = DeadLetter.objects.get()
    assert (letter.reason, letter.deliveries) == ("script-invalid", 1)
    assert "module 'os' may not be imported" in letter.error
