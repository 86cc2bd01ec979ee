"""Size, threads, rate and polling of a queue, changed in place."""

from __future__ import annotations

import re

import pytest
from django.urls import reverse

from flows import engine
from flows.models import AuditEntry, Queue

LIST = "/admin/flows/queue/"


@pytest.fixture
def page(world):
    return reverse("admin:flows_queue_tune", args=[world.billing.pk])


def sent(response, **changes):
    """Return what the form holds, as a browser would send it back, with these changes."""
    form = response.context["form"]
    data = {bound.name: bound.value() for bound in form if bound.value() is not None}
    return data | {"_seen": response.context["seen"], "_confirmed": "yes"} | changes


def test_size_threads_rate_and_polling_are_saved_with_an_entry_for_each_object(client, world, page):
    changes = {"size": 500, "threads": 7, "rate_count": 20, "polling": "2 s"}

    response = client.post(page, sent(client.get(page), **changes))

    assert response.status_code == 302
    queue = Queue.objects.get(pk=world.billing.pk)
    assert (queue.size, queue.rate_count, queue.polling.total_seconds()) == (500, 20, 2)
    assert queue.step.threads == 7
    assert world.flow.versions.order_by("-number")[0].steps.get(name="charge").threads == 7
    entries = AuditEntry.objects.filter(verb="change").values_list("kind", flat=True)
    assert sorted(entries) == ["queue", "step"]


def test_what_the_change_touches_is_asked_before_it_is_saved(client, world, page):
    data = sent(client.get(page), size=5)
    del data["_confirmed"]

    asked = client.post(page, data)

    assert asked.context["impact"].notes
    assert Queue.objects.get(pk=world.billing.pk).size == 10_000
    assert 'name="_confirmed"' in asked.content.decode()


@pytest.mark.parametrize(
    ("field", "value"),
    [("size", 0), ("threads", 0), ("rate_count", -1), ("polling", "100"), ("polling", "2 h")],
)
def test_what_the_whole_form_refuses_is_refused(client, world, page, field, value):
    response = client.post(page, sent(client.get(page), **{field: value}))

    assert response.context["form"].errors[field]
    assert not AuditEntry.objects.filter(verb="change").exists()


def test_a_change_of_another_user_meanwhile_is_shown_and_not_overwritten(client, world, page):
    data = sent(client.get(page), polling="5 s")
    Queue.objects.filter(pk=world.billing.pk).update(size=77)

    conflict = client.post(page, data)

    assert [each.name for each in conflict.context["differences"]] == ["size", "polling"]
    assert Queue.objects.get(pk=world.billing.pk).size == 77


def test_fields_that_are_not_in_the_form_stay_as_another_user_has_saved_them(client, world, page):
    data = sent(client.get(page), size=500)
    Queue.objects.filter(pk=world.billing.pk).update(max_deliveries=9)

    client.post(page, data)

    queue = Queue.objects.get(pk=world.billing.pk)
    assert (queue.size, queue.max_deliveries) == (500, 9)


def test_a_queue_without_a_step_has_no_threads_to_change(client, world):
    page = client.get(reverse("admin:flows_queue_tune", args=[world.spare.pk]))

    assert "threads" not in page.context["form"].fields


@pytest.mark.parametrize(("right", "status"), [("watch", 403), ("configure", 200)])
def test_it_takes_the_right_to_configure_the_flow(
    staff_client, give_right, world, page, right, status
):
    client = staff_client()
    give_right("watch", world.flow)
    give_right(right, world.flow) if right != "watch" else None

    assert client.get(page).status_code == status
    assert ("queue-change" in client.get(LIST).content.decode()) is (status == 200)


def test_the_list_loads_its_cells_again_with_a_bounded_number_of_queries(
    client, world, django_assert_max_num_queries
):
    content = client.get(LIST).content.decode()
    live = re.search(r'hx-get="([^"]*/live/\?ids=[0-9,]+)"', content)
    assert live is not None
    engine.pause(world.spare)

    with django_assert_max_num_queries(20):
        cells = client.get(live[1]).content.decode()

    assert cells.count('hx-swap-oob="innerHTML"') == 3 * 7
    ids = re.findall(r'<div id="(queue-\d+-\w+)"', cells)
    assert all(f'<div id="{each}">' in content for each in ids)
    assert "paused" in cells


def test_the_live_cells_show_no_queue_that_the_user_may_not_see(staff_client, give_right, world):
    client = staff_client()
    give_right("watch", world.flow)

    cells = client.get(f"{LIST}live/?ids={world.spare.pk},x,99999999999999999999").content.decode()

    assert "hx-swap-oob" not in cells
