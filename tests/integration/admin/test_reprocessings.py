from __future__ import annotations

import json
import re
from datetime import UTC, datetime

import pytest
from django.contrib.auth.models import Group, User
from django.urls import reverse
from django.utils import timezone

from flows.admin.reprocessing_form import FILTER
from flows.models import DeadLetter, Flow, Queue, ReprocessedLetter, Reprocessing, RoleMapping, Step
from tests.integration.admin.pages import answer_dialog, field_names, messages_of

LIST = "/admin/flows/reprocessing/"


@pytest.fixture
def begin(world):
    return reverse("admin:flows_reprocessing_begin")


def fields(**given):
    return {"script": "own", "sample": "0", **given}


def confirmed(client, begin, **given):
    """Count first, then send the same with what the page has shown."""
    page = client.post(begin, fields(**given))
    return client.post(begin, fields(**given, confirmed=page.context["confirmed"]), follow=True)


def text_of(response):
    return " ".join(re.sub(r"<[^>]+>", " ", response.content.decode()).split())


def test_dead_letters_lead_to_the_page_for_many(client, begin):
    response = client.get(reverse("admin:flows_deadletter_reprocess_many"))

    assert response.url.startswith(begin)


def test_counting_tells_where_they_are_and_puts_none_back(client, world, begin):
    response = client.post(begin, fields(count="1"))

    letter = world.dead_letter
    assert "1 dead letter matches" in text_of(response)
    assert f"1 at {letter.step.name} of order-processing, queue billing" in text_of(response)
    assert not Reprocessing.objects.exists()


def test_reprocessing_begins_with_what_was_chosen(client, superuser, begin):
    response = confirmed(
        client,
        begin,
        flow_name="order-processing",
        queue="billing",
        reason="exhausted",
        script="newest",
        sample="5",
        stop_after_failures="3",
        rate_per_second="2.5",
    )

    begun = Reprocessing.objects.get()
    assert begun.filter == {
        "flow_name": "order-processing",
        "queue": "billing",
        "reason": "exhausted",
    }
    assert (begun.script, begun.sample, begun.user) == ("newest", 5, superuser)
    assert (begun.stop_after_failures, begun.rate_per_second) == (3, 2.5)
    assert messages_of(response) == ["Dead letters that are being reprocessed: 1."]
    assert "flow order-processing, queue billing, reason exhausted" in text_of(response)


def test_the_page_has_a_field_for_each_part_of_its_filter(client, begin):
    assert set(FILTER) <= field_names(client.get(begin))


def test_none_begins_before_its_count_was_seen(client, world, begin):
    response = client.post(begin, fields())

    assert "1 dead letter matches" in text_of(response)
    assert not Reprocessing.objects.exists()


def test_the_count_of_one_filter_does_not_confirm_another(client, world, begin):
    counted = client.post(begin, fields(queue="billing")).context["confirmed"]

    client.post(begin, fields(confirmed=counted))

    assert not Reprocessing.objects.exists()


def test_the_filter_of_the_list_is_filled_in_and_counted(client, world, begin):
    listed = "/admin/flows/deadletter/?queue=billing&error=TimeoutError%3A+no+answer"
    many = client.get(f"{listed}&dead_at_to_0=2999-01-01").context["many_url"]

    response = client.get(many)

    assert response.context["matched"].matched == 1
    document = json.loads(response.context["confirmed"])
    assert document == {
        "queue": "billing",
        "error_class": "TimeoutError: no answer",
        "dead_before": "2999-01-02T00:00:00+00:00",
    }


def test_the_newest_script_is_preset_where_it_is_newer(client, world, begin):
    before = client.get(begin).context["form"]["script"].value()
    world.script.code = "def run(message, context): return None"
    world.script.save()

    page = client.get(begin)

    assert (before, page.context["form"]["script"].value()) == ("own", "newest")
    assert "has reserve-goods v2 now" in text_of(page)


def test_the_page_of_a_running_one_follows_it(client, world, begin):
    page = confirmed(client, begin)
    begun = Reprocessing.objects.get()
    live = reverse("admin:flows_reprocessing_live", args=[begun.pk])
    assert f'hx-get="{live}"' in page.content.decode()

    Reprocessing.objects.update(matched=4, reprocessed=2, completed=1)
    assert "2 of 4 reprocessed" in text_of(client.get(live))

    Reprocessing.objects.update(state="FINISHED", finished_at=timezone.now())
    assert "data-live-ended" in client.get(live).content.decode()


def test_what_failed_again_is_shown_with_its_newest_dead_letter(client, world, begin):
    confirmed(client, begin)
    begun = Reprocessing.objects.get()
    ReprocessedLetter.objects.create(
        reprocessing=begun, dead_letter=world.dead_letter, outcome="FAILED"
    )
    again = DeadLetter.objects.create(
        run=world.failed,
        step=world.dead_letter.step,
        error="KeyError: 'total'",
        body="{}",
        deliveries=1,
        dead_at=timezone.now(),
    )
    Reprocessing.objects.update(reprocessed=1, failed_again=1)

    content = client.get(reverse("admin:flows_reprocessing_live", args=[begun.pk])).content

    assert reverse("admin:flows_deadletter_change", args=[again.pk]) in content.decode()
    assert "KeyError: &#x27;total&#x27;" in content.decode()


def test_one_that_stopped_goes_on(client, begin):
    confirmed(client, begin)
    begun = Reprocessing.objects.get()
    answer_dialog(client, reverse("admin:flows_reprocessing_stop", args=[begun.pk]))

    answer_dialog(client, reverse("admin:flows_reprocessing_go_on", args=[begun.pk]))

    begun.refresh_from_db()
    assert (begun.state, begun.note) == ("RUNNING", "")


@pytest.mark.parametrize(
    "wrong", [{"sample": "-1"}, {"stop_after_failures": "0"}, {"rate_per_second": "0"}]
)
def test_limits_that_make_no_sense_are_refused(client, begin, wrong):
    response = client.post(begin, fields(**wrong))

    assert response.status_code == 200
    assert [*wrong] == [*response.context["form"].errors]
    assert not Reprocessing.objects.exists()


def test_a_running_one_is_stopped(client, superuser, begin):
    confirmed(client, begin)
    begun = Reprocessing.objects.get()

    answer_dialog(client, reverse("admin:flows_reprocessing_stop", args=[begun.pk]))

    begun.refresh_from_db()
    assert (begun.state, begun.note) == ("STOPPED", f"Stopped by {superuser}.")


def test_who_may_only_look_begins_none(staff_client, begin):
    client = staff_client("flows.view_reprocessing")

    assert client.get(LIST).status_code == 200
    assert client.post(begin, fields()).status_code == 403
    assert not Reprocessing.objects.exists()


def test_one_of_all_flows_is_not_seen_by_who_operates_some_of_them_now(staff_client, world):
    client = staff_client("flows.view_reprocessing")
    user = User.objects.get(username="staff")
    role = Group.objects.create(name="operators")
    RoleMapping.objects.create(role=role, right="operate", flow=world.flow)
    user.groups.add(role)
    now = timezone.now()
    confined, everywhere = (
        Reprocessing.objects.create(
            user=user, flow_ids=flow_ids, last_id=0, created_at=now, due_at=now
        )
        for flow_ids in ([world.flow.pk], None)
    )

    shown = {
        each.pk: client.get(f"{LIST}{each.pk}/change/").status_code == 200
        for each in (confined, everywhere)
    }

    assert shown == {confined.pk: True, everywhere.pk: False}


def test_counting_takes_as_many_queries_for_many_flows(
    client, world, begin, django_assert_max_num_queries
):
    for number in range(20):
        flow = Flow.objects.create(name=f"flow-{number}")
        Step.objects.create(
            flow=flow,
            position=0,
            name="one",
            script=world.script,
            queue=Queue.objects.create(name=f"queue-{number}"),
        )
        DeadLetter.objects.create(
            run=world.failed,
            step=flow.make_version().steps.get(),
            error="",
            body="{}",
            deliveries=1,
            dead_at=timezone.now(),
        )

    with django_assert_max_num_queries(30):
        response = client.get(begin)

    assert response.context["matched"].matched == 21


def test_a_form_with_an_error_still_tells_which_dead_letters_it_means(client, world, begin):
    page = text_of(client.post(begin, fields(flow_name="order-processing", sample="-1")))

    assert "Flow order-processing." in page
    assert " . " not in page
    assert "Correct what is marked, and count again." in page


def test_a_filter_with_an_error_is_told_by_no_words(client, world, begin):
    page = text_of(client.post(begin, fields(dead_after="soon")))

    assert " . " not in page
    assert "these are all open dead letters" not in page


@pytest.mark.parametrize(("state", "verb"), [("RUNNING", "stop"), ("STOPPED", "go_on")])
def test_dialogs_of_a_reprocessing_tell_how_many_are_left(client, superuser, state, verb):
    found = Reprocessing.objects.create(
        filter={},
        state=state,
        matched=300,
        reprocessed=77,
        refused=3,
        last_id=1,
        created_at=timezone.now(),
        due_at=timezone.now(),
    )
    page = client.get(reverse(f"admin:flows_reprocessing_{verb}", args=[found.pk]))

    assert "220 dead letters are left" in text_of(page)


def test_times_are_in_utc_whatever_time_zone_the_project_has(client, begin, world, settings):
    """As the list of dead letters gives them."""
    settings.TIME_ZONE = "Europe/Berlin"
    died = datetime(2026, 11, 2, 9, 30, tzinfo=UTC)
    DeadLetter.objects.update(dead_at=died)
    filters = {"dead_at_from_0": "2026-11-02", "dead_at_from_1": "09:30", "dead_at_zone": "UTC"}

    listed = client.get(reverse("admin:flows_deadletter_changelist"), filters)
    page = client.get(listed.context["many_url"])

    assert [letter.pk for letter in listed.context["cl"].result_list] == [world.dead_letter.pk]
    assert page.context["form"].filter.dead_after == died
    assert page.context["matched"].matched == 1


@pytest.mark.parametrize("field", ["sample", "stop_after_failures"])
def test_a_number_that_no_column_holds_is_refused_at_its_field(client, begin, field):
    page = client.post(begin, fields(**{field: "9" * 12}))

    assert page.status_code == 200
    assert list(page.context["form"].errors) == [field]
    assert not Reprocessing.objects.exists()


def test_ids_that_no_row_can_have_are_refused(client, begin, world):
    huge = "9" * 30

    page = client.post(begin, fields(ids=huge))
    discard = client.get(reverse("admin:flows_deadletter_discard_many"), {"ids": huge})

    assert list(page.context["form"].errors) == ["ids"]
    assert discard.context["count"] == 0
