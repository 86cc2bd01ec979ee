from __future__ import annotations

from datetime import timedelta

import pytest
from django.urls import reverse

from flows import engine
from flows.admin.queues import LIVE_CELLS
from flows.models import AuditEntry, Flow, Message, Queue, QueueState
from tests.integration.admin.pages import act_on, answer_dialog, form_data, messages_of


@pytest.fixture
def page(world):
    return reverse("admin:flows_queue_change", args=[world.billing.pk])


def test_list_shows_depth_of_size_and_the_step_it_feeds(client, world):
    content = client.get(reverse("admin:flows_queue_changelist")).content.decode()

    assert "12 / 10,000" in content
    assert "charge of" in content
    assert "no step" in content


def test_list_links_to_the_open_dead_letters_of_a_queue(client, world):
    content = client.get(reverse("admin:flows_queue_changelist")).content.decode()
    letters = reverse("admin:flows_deadletter_changelist") + "?queue=billing&state=open"

    assert letters.replace("&", "&amp;") in content
    assert client.get(letters).context["cl"].result_count == 1


def test_durations_are_shown_as_people_write_them(client, page):
    data = form_data(client.get(page))

    assert data["polling"] == "100 ms"
    assert 'value="100 ms"' in client.get(page).content.decode()


def test_settings_are_saved(client, world, page):
    changes = {
        "polling": "250 ms",
        "backoff_max": "10 min",
        "rate_count": 100,
        "rate_period": "1 s",
    }

    response = client.post(page, form_data(client.get(page)) | changes)

    assert response.status_code == 302
    queue = Queue.objects.get(pk=world.billing.pk)
    assert queue.polling == timedelta(milliseconds=250)
    assert queue.backoff_max == timedelta(minutes=10)
    assert (queue.rate_count, queue.rate_period) == (100, timedelta(seconds=1))


@pytest.mark.sampled(3)
@pytest.mark.parametrize("text", ["soon", "-1 s", "0 s", "1000000 d", "1e9 s"])
def test_a_duration_that_makes_no_sense_is_refused(client, page, text):
    response = client.post(page, form_data(client.get(page)) | {"polling": text})

    assert response.status_code == 200
    assert response.context["adminform"].form.errors["polling"]


def test_a_queue_is_paused_and_resumed_on_its_page(client, world, page):
    assert "Resume" not in client.get(page).content.decode()

    pause = reverse("admin:flows_queue_pause", args=[world.billing.pk])
    client.get(pause)
    world.billing.refresh_from_db()
    assert world.billing.paused is False

    response = client.post(pause, {"_form_submitted": "True"})

    world.billing.refresh_from_db()
    assert world.billing.paused is True
    shown = client.get(response["Location"])
    assert messages_of(shown) == ["Paused: billing."]
    assert "Resume" in shown.content.decode()
    assert "paused by root" in shown.content.decode()


def test_queues_are_paused_and_resumed_from_the_list(client, world, superuser):
    chosen = [world.orders, world.billing]
    changelist = reverse("admin:flows_queue_changelist")

    act_on(client, changelist, "pause_selected", *chosen, reason="stocktaking")
    assert set(Queue.objects.values_list("pause_reason", flat=True)) == {"stocktaking", ""}
    assert Queue.objects.filter(paused=True, paused_by=superuser).count() == 2
    assert ">by root: stocktaking</small>" in client.get(changelist).content.decode()

    act_on(client, changelist, "resume_selected", *chosen)
    assert Queue.objects.filter(paused=True).count() == 0


def test_a_queue_that_feeds_a_step_is_not_deleted(client, world):
    client.post(reverse("admin:flows_queue_delete", args=[world.billing.pk]), {"post": "yes"})

    assert Queue.objects.filter(pk=world.billing.pk).exists()


def test_the_page_says_why_the_messages_wait(client, world, superuser):
    engine.start("order-processing", {"orderId": "A-1", "amount": 1})
    engine.pause(world.orders, user=superuser)

    content = client.get(reverse("admin:flows_queue_change", args=[world.orders.pk])).content

    assert "The queue &#x27;orders&#x27; is paused by root since" in content.decode()


LIST = "/admin/flows/queue/"


def state_of(client, queue):
    rows = client.get(LIST).context["cl"].result_list
    return next(row.seen.state for row in rows if row.pk == queue.pk)


def test_a_queue_whose_flow_is_paused_is_not_shown_as_open(client, world):
    before = state_of(client, world.billing)

    engine.pause(world.flow)

    assert (before, state_of(client, world.billing)) == ("open", "flow paused")


def test_a_queue_that_is_full_is_not_shown_as_open(client, world):
    Queue.objects.filter(pk=world.billing.pk).update(size=12)

    assert state_of(client, world.billing) == "full"


def test_messages_of_a_deleted_flow_are_said_to_be_of_one(client, world):
    world.flow.delete()

    page = client.get(LIST).content.decode()
    live = client.get(reverse("admin:flows_queue_live", args=[world.billing.pk]))

    assert "of a deleted flow" in page
    assert "messages of a deleted flow" in live.content.decode()


def test_a_pause_shows_its_reason(client, world, page):
    pause = reverse("admin:flows_queue_pause", args=[world.billing.pk])

    client.post(pause, {"_form_submitted": "True", "reason": "the warehouse moves"})

    assert "paused by root: the warehouse moves" in client.get(page).content.decode().lower()
    assert AuditEntry.objects.get(verb="pause").reason == "the warehouse moves"


@pytest.mark.parametrize(
    ("model", "field", "value"), [(Queue, "size", 77), (Flow, "keep", "nothing")]
)
def test_an_earlier_state_of_the_history_leaves_a_pause_as_it_is(client, model, field, value):
    row = model.objects.create(name="bank")
    first, before = row.history.first(), getattr(row, field)
    setattr(row, field, value)
    row.save()
    engine.pause(row, reason="The bank is closed.")
    name = f"admin:flows_{model._meta.model_name}_simple_history"
    page = reverse(name, args=[row.pk, first.history_id])

    client.post(page, form_data(client.get(page)))

    row.refresh_from_db()
    assert getattr(row, field) == before
    assert (row.paused, row.pause_reason) == (True, "The bank is closed.")


def test_one_message_is_let_through_a_paused_queue(client, world):
    run = engine.start("order-processing", {"orderId": "A-1", "amount": 1}).correlation_id
    through = reverse("admin:flows_queue_let_one_through", args=[world.orders.pk])
    shown = reverse("admin:flows_queue_change", args=[world.orders.pk])
    assert through not in client.get(shown).content.decode()
    engine.pause(world.orders)
    assert through in client.get(shown).content.decode()

    response = answer_dialog(client, through)

    assert str(run) in messages_of(response)[-1]
    assert Message.objects.get(run=run).bypasses_pause


def test_the_page_refreshes_its_figures(client, world, page):
    live = reverse("admin:flows_queue_live", args=[world.billing.pk])
    assert f'hx-get="{live}"' in client.get(page).content.decode()

    QueueState.objects.filter(queue=world.billing).update(depth=34)

    assert "34 / 10,000" in client.get(live).content.decode()


def test_the_list_takes_as_many_queries_for_many_queues(
    client, world, django_assert_max_num_queries
):
    for number in range(30):
        Queue.objects.create(name=f"queue-{number}")

    with django_assert_max_num_queries(30):
        client.get(LIST)


def test_the_live_cells_take_as_many_queries_for_many_queues(
    client, world, django_assert_max_num_queries
):
    made = [Queue.objects.create(name=f"queue-{number}", paused=True) for number in range(30)]
    QueueState.objects.update(depth=1)
    ids = ",".join(str(queue.pk) for queue in made)

    with django_assert_max_num_queries(14):
        content = client.get(reverse("admin:flows_queue_live_list"), {"ids": ids}).content

    assert content.decode().count("hx-swap-oob") == len(made) * len(LIVE_CELLS)
