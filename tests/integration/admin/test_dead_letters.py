from __future__ import annotations

import html
import json
import re
from typing import Any

import pytest
from django.urls import reverse
from django.utils import timezone

from flows import engine
from flows.admin.dead_letters import DeadLetterAdmin
from flows.message.error_class import error_class_of
from flows.models import AuditEntry, DeadLetter, Message, Reprocessing, Run
from scripts.models import Script, ScriptVersion
from tests.documents import content
from tests.integration.admin.pages import answer_dialog, messages_of, sent_form

LIST = "/admin/flows/deadletter/"


@pytest.fixture
def page(world):
    return reverse("admin:flows_deadletter_reprocess", args=[world.dead_letter.pk])


def reprocess_from_list(client, *letters):
    """Tick the rows, and answer the page that shows the count."""
    data = {"action": "reprocess_selected", "_selected_action": [each.pk for each in letters]}
    page = client.post(LIST, data, follow=True)
    return client.post("/admin/flows/reprocessing/begin/", sent_form(page), follow=True)


def requeue_url(letter):
    return reverse("admin:flows_deadletter_requeue", args=[letter.pk])


def test_list_shows_the_line_that_names_the_error(client, world):
    content = client.get(LIST).content.decode()

    assert "TimeoutError: no answer" in content
    assert "Traceback" not in content


def test_a_list_that_is_counted_no_further_says_so(client, world, monkeypatch):
    monkeypatch.setattr("flows.admin.letter_list.MOST_COUNTED", 1)

    text = client.get(LIST).content.decode()

    assert re.search(r"\b1\+\s+dead letter", text)


FILTERED: list[Any] = [
    ("flow=order-processing", 1),
    ("queue=billing", 1),
    ("queue=orders", 0),
    ("step=charge", 1),
    ("step=reserve", 0),
    ("script=reserve-goods", 1),
    ("script=another", 0),
    ("error=TimeoutError:+no+answer", 1),
    ("error=KeyError", 0),
    ("q=NO+ANSWER", 1),
    ("q=orderid", 1),
    ("q=elsewhere", 0),
    ("reason=exhausted", 1),
    ("reason=rejected", 0),
    ("state=open", 1),
    ("state=reprocessed", 0),
    ("state=discarded", 0),
    ("dead_at_from_0=2020-01-01", 1),
    ("dead_at_to_0=2020-01-01", 0),
    ("dead_at_from_0=2020-01-01&dead_at_zone=Asia/Tokyo", 1),
    # As the form takes them.
    ("dead_at_from_0=2020-1-1&dead_at_from_1=9:30", 1),
    ("dead_at_to_0=2020-1-1&dead_at_to_1=9:30", 0),
    # Ends of the calendar, also where they lie outside of it in UTC.
    ("dead_at_to_0=9999-12-31", 1),
    ("dead_at_to_0=9999-12-31&dead_at_to_1=23:59:59&dead_at_zone=America/New_York", 1),
    ("dead_at_from_0=0001-01-01&dead_at_zone=Asia/Tokyo", 1),
    ("dead_at_from_0=0001-01-02&dead_at_zone=Asia/Tokyo", 1),
]


@pytest.mark.long
def test_list_is_filtered(client, world):
    for query, count in FILTERED:
        assert client.get(f"{LIST}?{query}").context["cl"].result_count == count, query


def test_the_way_to_many_has_the_times_of_the_list(client, world):
    times = "dead_at_from_0=0001-01-02&dead_at_to_0=9999-12-30&dead_at_zone=Etc/GMT-9"

    html = client.get(f"{LIST}?{times}").content.decode()

    assert "dead_after=0001-01-01T15%3A00%3A00&amp;dead_before=9999-12-30T15%3A00%3A00" in html


def test_the_way_to_many_tells_of_a_filter_that_cannot_be_read(client, world):
    url = reverse("admin:flows_deadletter_reprocess_many")

    page = client.get(f"{url}?dead_at_from_0=30.11.2026", follow=True)

    assert page.redirect_chain[-1][0] == LIST
    assert "The list is not filtered" in page.content.decode()
    assert page.status_code == 200


def test_page_shows_the_message_indented(client, world):
    response = client.get(reverse("admin:flows_deadletter_change", args=[world.dead_letter.pk]))

    assert "&quot;payload&quot;: {\n    &quot;orderId&quot;" in response.content.decode()


def test_page_says_to_the_second_when_the_message_died(client, world):
    response = client.get(reverse("admin:flows_deadletter_change", args=[world.dead_letter.pk]))

    assert f"{world.dead_letter.dead_at:%Y-%m-%d %H:%M:%S}" in response.content.decode()


def test_ticked_rows_lead_to_a_page_with_their_count(client, world):
    data = {"action": "reprocess_selected", "_selected_action": [world.dead_letter.pk]}

    response = client.post(LIST, data, follow=True)

    assert "Reprocess 1 dead letter" in response.content.decode()
    assert not Reprocessing.objects.exists()


def test_ticked_rows_are_reprocessed_after_that(client, world, superuser):
    response = reprocess_from_list(client, world.dead_letter)

    begun = Reprocessing.objects.get()
    assert begun.filter == {"ids": [world.dead_letter.pk]}
    assert messages_of(response) == ["Dead letters that are being reprocessed: 1."]


def test_all_of_a_list_are_its_filter(client, world):
    data = {"action": "reprocess_selected", "_selected_action": [world.dead_letter.pk]}

    response = client.post(f"{LIST}?queue=billing&state=open", data | {"select_across": "1"})

    assert response.url == "/admin/flows/reprocessing/begin/?queue=billing"


@pytest.mark.parametrize("state", ["reprocessed", "discarded"])
def test_a_list_of_letters_that_were_decided_on_offers_nothing_to_do_to_them(client, world, state):
    decided = {f"{state}_at": timezone.now()}
    DeadLetter.objects.update(**decided)
    url = f"{LIST}?state={state}"

    shown = client.get(url).content.decode()
    data = {"action": "reprocess_selected", "_selected_action": [world.dead_letter.pk]}
    response = client.post(url, data | {"select_across": "1"})

    assert "TimeoutError" in shown
    assert "reprocess_selected" not in shown
    assert (response.status_code, getattr(response, "url", url)) == (200, url)


def test_a_row_is_reprocessed_by_one_click(client, world, superuser):
    assert requeue_url(world.dead_letter) in client.get(LIST).content.decode()

    response = client.post(f"{requeue_url(world.dead_letter)}?queue=billing", follow=True)

    world.dead_letter.refresh_from_db()
    assert world.dead_letter.reprocessed_by == superuser
    assert Message.objects.get(pk=world.failed.pk).step == world.dead_letter.step
    assert response.redirect_chain[-1][0] == f"{LIST}?queue=billing"
    [message] = messages_of(response)
    assert str(world.failed.pk) in message


def test_a_row_that_was_reprocessed_is_not_again(client, world):
    client.post(requeue_url(world.dead_letter))

    response = client.post(requeue_url(world.dead_letter), follow=True)

    assert "reprocessed before" in messages_of(response)[-1]
    assert requeue_url(world.dead_letter) not in response.content.decode()
    assert Message.objects.count() == 1


def test_a_row_goes_on_with_the_newest_script(client, world):
    edit_script(world)

    client.post(requeue_url(world.dead_letter))

    assert Message.objects.get().step.script_version.number == 2


def test_a_row_of_a_deleted_queue_says_so(client, world):
    world.flow.delete()
    world.billing.delete()

    response = client.post(requeue_url(world.dead_letter), follow=True)

    [message] = messages_of(response)
    assert "no longer exists" in message
    world.dead_letter.refresh_from_db()
    assert world.dead_letter.reprocessed_at is None


def test_a_row_is_not_reprocessed_by_a_link(client, world):
    assert client.get(requeue_url(world.dead_letter)).status_code == 405
    assert not Message.objects.exists()


def add_letters(world, count, error):
    letter = world.dead_letter
    return DeadLetter.objects.bulk_create(
        DeadLetter(
            run=letter.run,
            step=letter.step,
            reason="rejected",
            error=error,
            error_class=error_class_of(error),
            body="{}",
            deliveries=1,
            dead_at=timezone.now(),
        )
        for _ in range(count)
    )


def test_errors_are_grouped_with_their_counts(client, world):
    add_letters(world, 3, "KeyError: 'total'")

    context = client.get(LIST).context

    counts = {each["group"].error_class: each["group"].count for each in context["groups"]}
    assert counts == {"KeyError: <text>": 3, "TimeoutError: no answer": 1}
    assert (context["errors"], context["letters"]) == (2, 4)
    assert sum(context["groups"][0]["group"].curve) == 3


def test_a_group_leads_to_its_letters_and_to_reprocessing_them(client, world):
    add_letters(world, 3, "KeyError: 'total'")
    group = client.get(LIST).context["groups"][0]

    shown = client.get(group["url"])
    many = client.get(group["many_url"])

    assert shown.context["cl"].result_count == 3
    assert many.context["matched"].matched == 3


def test_groups_are_of_the_filtered_list_and_of_open_letters(client, world):
    add_letters(world, 3, "KeyError: 'total'")

    assert client.get(f"{LIST}?reason=exhausted").context["letters"] == 1
    assert "groups" not in client.get(f"{LIST}?state=discarded").context


def test_a_search_says_where_it_stopped(client, world, monkeypatch):
    monkeypatch.setattr("flows.admin.letter_list.MOST_SEARCHED", 2)
    add_letters(world, 2, "KeyError: 'total'")

    cut = client.get(f"{LIST}?q=answer")
    whole = client.get(f"{LIST}?q=answer&reason=exhausted")

    assert cut.context["cl"].result_count == 0
    assert "The search has looked at the newest" in cut.content.decode()
    assert whole.context["cl"].result_count == 1
    assert "The search has looked at the newest" not in whole.content.decode()


def test_the_id_of_a_run_finds_its_letters(client, world):
    assert client.get(f"{LIST}?q={world.failed.pk}").context["cl"].result_count == 1
    assert client.get(f"{LIST}?q={world.completed.pk}").context["cl"].result_count == 0


def test_the_list_takes_as_many_queries_for_many_rows(client, world, django_assert_max_num_queries):
    add_letters(world, 40, "KeyError: 'total'")

    with django_assert_max_num_queries(30):
        client.get(LIST)


def test_reprocessing_on_the_page_leads_to_the_run(client, world, page):
    payload = client.get(page).context["form"].initial["payload"]

    # A browser sends the lines of a text area with both ends.
    response = client.post(page, {"payload": payload.replace("\n", "\r\n")}, follow=True)

    run_page = reverse("admin:flows_run_change", args=[world.failed.pk])
    assert response.redirect_chain[-1][0] == run_page
    assert Message.objects.get().body == world.dead_letter.body
    assert Run.objects.get(pk=world.failed.pk).status != Run.Status.FAILED


def test_reprocessing_with_a_repaired_payload(client, world, page):
    client.post(page, {"payload": '{"orderId": "A-2", "amount": 7}'})

    repaired = {"orderId": "A-2", "amount": 7}
    assert json.loads(Message.objects.get().body)["payload"] == repaired


GOOD = '{"orderId": "A-1", "amount": 1}'


def accept_any_payload():
    ScriptVersion.objects.update(input_schema={})
    Script.objects.update(input_schema={})


def test_a_repair_that_the_script_would_refuse_is_refused_with_the_places(client, world, page):
    refused = client.post(page, {"payload": '{"orderId": 5, "amount": 0}'})

    form = refused.context["form"]
    assert {fault["path"] for fault in form.faults} == {"$.orderId", "$.amount"}
    assert any("$.amount" in error for error in form.errors["payload"])
    assert "data-schema-form" in refused.content.decode()
    assert Message.objects.count() == 0


def test_a_repair_is_checked_by_the_schema_of_the_chosen_version(client, world, page):
    world.script.input_schema = {"type": "object", "required": ["currency"]}
    world.script.save()
    repaired = {"payload": '{"orderId": "A-2", "amount": 7}'}

    newest = client.post(page, {**repaired, "script": "newest"})
    client.post(page, {**repaired, "script": "own"})

    assert "currency" in str(newest.context["form"].errors["payload"])
    assert Message.objects.count() == 1


EXACT = '{"huge":12345678901234567890123,"price":1.10,"e":1e5,"z":-0,"l":"\\u2028","iban":"bad"}'


def test_repair_of_one_field_leaves_the_others_digit_for_digit(client, world, page):
    accept_any_payload()
    body = f'{{"correlationId":"c","payload":{EXACT},"rate":1234567890123456.78}}'
    DeadLetter.objects.filter(pk=world.dead_letter.pk).update(body=body)
    payload = client.get(page).context["form"].initial["payload"]

    client.post(page, {"payload": payload.replace('"bad"', '"good"').replace("\n", "\r\n")})

    repaired = Message.objects.get().body
    assert content(repaired) == content(body.replace('"bad"', '"good"'))


def test_message_is_shown_as_it_is_written(client, world):
    body = f'{{"correlationId":"c","payload":{EXACT}}}'
    DeadLetter.objects.filter(pk=world.dead_letter.pk).update(body=body)

    shown = html.unescape(client.get(letter_page(world.dead_letter)).content.decode())

    for line in EXACT.strip("{}").split(","):
        assert line.replace(":", ": ") in shown


def test_payload_that_no_form_would_take_goes_on_where_it_is_left_alone(client, world, page):
    body = '{"correlationId":"c","payload":[1.0]}'
    DeadLetter.objects.filter(pk=world.dead_letter.pk).update(body=body)

    client.post(page, {"payload": client.get(page).context["form"].initial["payload"]})

    assert Message.objects.get().body == body


def test_list_that_a_join_was_given_can_be_repaired(client, world, page):
    accept_any_payload()
    body = '{"correlationId":"c","payload":[{"a":1.0},{"a":"bad"}]}'
    DeadLetter.objects.filter(pk=world.dead_letter.pk).update(body=body)

    client.post(page, {"payload": '[{"a":1.0},{"a":2.50}]'})

    assert Message.objects.get().body == body.replace('"bad"', "2.50")


def test_repair_is_refused_with_the_place(client, world, page):
    response = client.post(page, {"payload": '{"a": {"b": 1, "b": 2}}'})

    assert "$.a.b is a key that stands twice" in response.context["form"].errors["payload"][0]
    assert Message.objects.count() == 0


def test_reprocessing_refuses_a_payload_that_is_not_an_object(client, world, page):
    response = client.post(page, {"payload": "[]"})

    assert response.status_code == 200
    assert "must be a JSON object" in response.context["form"].errors["payload"][0]
    assert Message.objects.count() == 0


def test_reprocessing_twice_says_so(client, world, page):
    client.post(page, {"payload": GOOD})

    response = client.post(page, {"payload": GOOD}, follow=True)

    assert "reprocessed before" in messages_of(response)[-1]
    assert Message.objects.count() == 1


def test_who_may_only_look_cannot_reprocess(staff_client, world, page):
    client = staff_client("flows.view_deadletter")

    assert client.get(page).status_code == 403
    assert client.post(page, {"payload": GOOD}).status_code == 403
    assert client.post(requeue_url(world.dead_letter)).status_code == 403
    assert "letters-again" not in client.get(LIST).content.decode()
    assert Message.objects.count() == 0


def edit_script(world):
    world.script.code = "def run(message, context): return None"
    world.script.save()


def discard_page(letter):
    return reverse("admin:flows_deadletter_discard", args=[letter.pk])


def letter_page(letter):
    return reverse("admin:flows_deadletter_change", args=[letter.pk])


def test_reprocessing_offers_the_own_script_version_and_the_newest(client, world, page):
    edit_script(world)

    content = client.get(page).content.decode()

    assert "its own: reserve-goods v1" in content
    assert "the newest: reserve-goods v2" in content


def test_reprocessing_keeps_the_script_version_unless_the_newest_is_chosen(client, world, page):
    edit_script(world)

    client.post(page, {"payload": GOOD})

    assert Message.objects.get().step == world.dead_letter.step


def test_reprocessing_with_the_newest_script_takes_the_flow_as_it_is(client, world, page):
    edit_script(world)

    client.post(page, {"payload": GOOD, "script": "newest"})

    step = Message.objects.get().step
    assert (step.name, step.script_version.number) == ("charge", 2)


def test_the_newest_script_is_preset_where_it_is_newer(client, world, page):
    before = client.get(page).context["form"]["script"].value()
    edit_script(world)

    assert (before, client.get(page).context["form"]["script"].value()) == ("own", "newest")


def test_the_newest_script_is_not_offered_where_the_step_is_gone(client, world, page):
    world.flow.steps.filter(name="charge").delete()

    response = client.post(page, {"payload": GOOD, "script": "newest"})

    assert response.context["form"].errors["script"]
    assert Message.objects.count() == 0


def test_a_dead_letter_is_discarded_on_its_page(client, world, superuser):
    client.get(discard_page(world.dead_letter))
    assert DeadLetter.objects.open().count() == 1

    response = answer_dialog(client, discard_page(world.dead_letter))

    assert messages_of(response) == ["Discarded: its run stays failed."]
    world.dead_letter.refresh_from_db()
    assert world.dead_letter.discarded_by == superuser
    assert Run.objects.get(pk=world.failed.pk).status == Run.Status.FAILED
    assert client.get(f"{LIST}?state=discarded").context["cl"].result_count == 1


def test_a_dead_letter_that_was_decided_on_says_by_whom_and_offers_nothing(client, world):
    answer_dialog(client, discard_page(world.dead_letter))

    content = client.get(letter_page(world.dead_letter)).content.decode()

    assert "by root" in content
    assert "/reprocess/" not in content
    assert "/discard/" not in content


def test_what_was_discarded_is_neither_reprocessed_nor_discarded_again(client, world, page):
    engine.discard(world.dead_letter)

    again = answer_dialog(client, discard_page(world.dead_letter))
    response = client.post(page, {"payload": GOOD}, follow=True)

    assert messages_of(again) == ["The dead letter was discarded before."]
    assert messages_of(response) == ["The dead letter was discarded before."]
    assert Message.objects.count() == 0


def test_dead_letters_are_discarded_from_the_list_after_a_yes(client, world):
    data = {"action": "discard_selected", "_selected_action": [world.dead_letter.pk]}

    asked = client.post(LIST, data, follow=True)
    assert "Discard 1 dead letter?" in asked.content.decode()
    assert DeadLetter.objects.open().exists()
    answer = {"ids": asked.context["ids"], "reason": "a test order"}
    response = client.post(asked.redirect_chain[-1][0], answer, follow=True)

    assert messages_of(response) == ["Discarded: 1."]
    assert not DeadLetter.objects.open().exists()
    assert AuditEntry.objects.get(verb="discard").reason == "a test order"


def test_a_list_that_is_too_long_to_be_discarded_at_once_says_so(client, world, monkeypatch):
    monkeypatch.setattr("flows.admin.dead_letters.MOST_IDS", 1)
    data = {"action": "discard_selected", "_selected_action": [world.dead_letter.pk]}

    asked = client.post(LIST, data, follow=True).content.decode()

    assert "No more than 1 are discarded at once." in asked


def test_who_may_only_look_cannot_discard(staff_client, world):
    client = staff_client("flows.view_deadletter")

    refused = client.post(discard_page(world.dead_letter), {"_form_submitted": "True"})
    many = reverse("admin:flows_deadletter_discard_many")
    refused_many = client.post(many, {"ids": world.dead_letter.pk})

    assert refused.status_code == refused_many.status_code == 403
    assert DeadLetter.objects.open().count() == 1


@pytest.mark.parametrize("levels", [201, 255, 970, 1023, 5000])
def test_a_payload_that_is_nested_too_deep_is_refused_in_the_form(client, world, page, levels):
    payload = '{"a":' + "[" * (levels - 1) + "]" * (levels - 1) + "}"

    response = client.post(page, {"script": "own", "payload": payload})

    assert "is nested more than 200 deep" in response.rendered_content
    assert not Message.objects.exists()


@pytest.mark.parametrize("levels", [201, 970, 1023, 5000])
def test_a_deep_dead_letter_is_shown_and_can_be_requeued_as_it_is(client, world, page, levels):
    letter = world.dead_letter
    payload = '{"a":' + "[" * (levels - 1) + "]" * (levels - 1) + "}"
    letter.body = f'{{"correlationId":"{letter.run_id}","payload":{payload}}}'
    letter.save()

    shown = client.get(reverse("admin:flows_deadletter_change", args=[letter.pk]))
    form = client.get(page).context["form"]
    client.post(page, {"script": "own", "payload": form.initial["payload"]})

    assert shown.status_code == 200
    assert payload in Message.objects.get().body


def test_a_script_that_was_saved_anew_offers_what_waits_for_it(client, world):
    page = reverse("admin:scripts_script_change", args=[world.script.pk])
    assert client.get(page).context["offers"] == []
    edit_script(world)

    [offer] = client.get(page).context["offers"]
    many = client.get(offer.url)

    assert offer.text == "Reprocess the 1 dead letter that waits for this script"
    assert many.context["matched"].matched == 1
    assert many.context["form"]["script"].value() == "newest"


def test_the_form_is_made_from_what_the_script_expects_of_the_payload(client, world, page):
    shown = client.get(page)

    assert shown.context["schema"] == world.script.input_schema
    assert 'data-schema-form="id_payload"' in shown.content.decode()
    assert "flows/schema_form.js" in shown.content.decode()


def test_the_pages_that_are_left_out_are_no_link(client, world, monkeypatch):
    letter = DeadLetter.objects.first()
    for _ in range(40):
        letter.pk = None
        letter.save(force_insert=True)
    monkeypatch.setattr(DeadLetterAdmin, "list_per_page", 2)

    html = client.get("/admin/flows/deadletter/").content.decode()

    assert "…" in html
    assert "%E2%80%A6" not in html
