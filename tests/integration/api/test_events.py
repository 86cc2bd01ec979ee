"""Streams of events: what a view has the front stream, and for how long."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from knox.models import AuthToken

from flows import engine
from flows.api.events import check
from flows.front.streams import STREAM, Stream
from flows.models import QuietEnd, Right, RoleMapping, Run, StepRun
from flows.monitoring.events.page import OVER, Position
from flows.monitoring.events.settled import last_id_given
from tests.integration.api.helpers import PASSWORD, assert_problem, basic, client_of, grant

FORM = {"Accept": "text/event-stream"}


def ask(client: Client, path: str, **headers: str) -> tuple[Any, Stream]:
    """Ask as the front does; return the answer and the stream that the view has filled in."""
    stream = Stream()
    headers = FORM | {name.replace("_", "-"): value for name, value in headers.items()}
    return client.get(f"/async/api/{path}", headers=headers, **{STREAM: stream}), stream


def test_without_a_front_the_answer_is_501(client, user, flow):
    grant(user, Right.WATCH, flow)
    run = engine.start("loan", {}).correlation_id

    for path in ("events", "events?flowName=loan", f"runs/{run}/events"):
        response = client.get(f"/async/api/{path}", headers=FORM)
        assert_problem(response, 501, "no-streams")


def test_a_run_is_told_from_its_beginning_and_all_runs_from_now_on(client, user, flow):
    grant(user, Right.WATCH, flow)
    run = engine.start("loan", {}).correlation_id

    _, of_run = ask(client, f"runs/{run}/events")
    _, of_all = ask(client, "events")
    _, resumed = ask(client, "events?flowName=loan", Last_Event_ID="7-2-1")

    assert (of_run.selection.run_id, of_run.after) == (run, Position())
    assert (of_all.selection.flow_id, of_all.after) == (None, None)
    assert (resumed.selection.flow_id, resumed.after) == (flow.pk, Position(7, 2, 1))


def test_the_end_of_a_run_is_not_told_again_to_who_has_received_it(client, user, flow):
    grant(user, Right.WATCH, flow)
    run = engine.start("loan", {}).correlation_id
    last = str(Position(0, 0, OVER))

    _, goes_on = ask(client, f"runs/{run}/events", Last_Event_ID=last)
    Run.objects.update(status=Run.Status.COMPLETED)
    response, stream = ask(client, f"runs/{run}/events", Last_Event_ID=last)

    assert goes_on.after == Position()
    assert (response.status_code, stream.selection) == (204, None)


def test_an_end_is_told_to_who_has_received_an_earlier_one(client, user, flow):
    grant(user, Right.WATCH, flow)
    run = engine.start("loan", {}).correlation_id
    engine.cancel(Run.objects.get(pk=run))
    last = Position(0, QuietEnd.objects.get().pk, OVER)
    earlier = replace(last, end=last.end - 1)

    _, stream = ask(client, f"runs/{run}/events", Last_Event_ID=str(earlier))
    response, _ = ask(client, f"runs/{run}/events", Last_Event_ID=str(last))

    assert stream.after == replace(earlier, told=0)
    assert response.status_code == 204


def test_an_end_that_was_told_before_a_backup_was_restored_is_told_again(client, user, flow):
    grant(user, Right.WATCH, flow)
    run = engine.start("loan", {}).correlation_id
    engine.cancel(Run.objects.get(pk=run))
    ahead = Position(last_id_given(StepRun) + 1, QuietEnd.objects.get().pk, OVER)

    response, stream = ask(client, f"runs/{run}/events", Last_Event_ID=str(ahead))

    assert response.status_code == 200
    assert stream.after == replace(ahead, told=0)


@pytest.mark.parametrize(
    ("path", "headers", "status", "word"),
    [
        ("events", {"Last_Event_ID": "x"}, 400, "header-invalid"),
        ("events?flowName=nosuch", {}, 404, "unknown-flow"),
        ("events?flow=loan", {}, 400, "query-invalid"),
        ("events", {"Accept": "application/json"}, 406, "not-acceptable"),
        ("runs/nosuch/events", {}, 404, "not-found"),
    ],
)
def test_what_is_refused(client, user, flow, path, headers, status, word):
    grant(user, Right.WATCH, flow)

    response, stream = ask(client, path, **headers)

    assert_problem(response, status, word)
    assert stream.selection is None


def by_token(user: User) -> Client:
    return client_of(user)


def by_password(user: User) -> Client:
    user.set_password(PASSWORD)
    user.save()
    return Client(headers=basic(user.get_username()))


def by_session(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def revoke_token(user: User, client: Client) -> None:
    AuthToken.objects.filter(user=user).delete()


def deactivate(user: User, client: Client) -> None:
    User.objects.filter(pk=user.pk).update(is_active=False)


def leave_role(user: User, client: Client) -> None:
    user.groups.set([])


def delete_mapping(user: User, client: Client) -> None:
    RoleMapping.objects.all().delete()


def change_password(user: User, client: Client) -> None:
    user.set_password("another")
    user.save()


def log_out(user: User, client: Client) -> None:
    client.logout()


EVERY_LOGIN = [deactivate, leave_role, delete_mapping, change_password]


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    ("login", "change"),
    [
        (by_token, revoke_token),
        (by_session, log_out),
        *product((by_token, by_password, by_session), EVERY_LOGIN),
    ],
)
def test_a_stream_ends_with_the_login_and_with_the_right(
    user: User, flow: Any, login: Callable[..., Client], change: Callable[..., None]
):
    grant(user, Right.WATCH, flow)
    client = login(user)
    run = engine.start("loan", {}).correlation_id
    streams = [
        ask(client, path)[1] for path in ("events?flowName=loan", f"runs/{run}/events", "events")
    ]
    tickets = [stream.ticket for stream in streams]
    assert check(tickets) == [stream.selection for stream in streams]

    change(user, client)

    *of_flow, of_all = check(tickets)
    assert of_flow == [None, None]
    # Who has lost a right may have others.
    assert of_all is None or not of_all.has_flow(flow.pk)


def test_a_right_that_is_added_counts_in_open_streams(client, user, flow):
    group = Group.objects.create(name="watchers")
    user.groups.add(group)
    _, stream = ask(client, "events")
    assert not stream.selection.has_flow(flow.pk)

    RoleMapping.objects.create(role=group, right=Right.WATCH, flow=flow)

    [selection] = check([stream.ticket])
    assert selection.has(flow.pk, None)


def test_many_streams_are_checked_with_few_queries(user, flow, django_assert_max_num_queries):
    grant(user, Right.WATCH, flow)
    tickets = [ask(client_of(user), "events")[1].ticket for _ in range(5)]
    tickets.append(ask(by_password(user), "events")[1].ticket)

    with django_assert_max_num_queries(3):
        check(tickets)
