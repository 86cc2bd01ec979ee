"""Starts like those of a moment ago: their login and flow are compared where they are stored."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from unittest import mock

import pytest
from django.contrib.auth.models import Group, User
from django.db import IntegrityError, OperationalError
from django.db.models import F
from django.utils import timezone
from knox.models import AuthToken

from flows.access.users_by_key import starter_seen
from flows.errors import CommitInDoubt
from flows.models import Flow, FlowTotals, Message, Queue, QueueState, RoleMapping, Run
from flows.plan import flow_plan
from flows.starts.new_run import new_run
from flows.store import store
from tests.integration.api.helpers import PASSWORD, grant, make_loan_flow
from tests.integration.api.test_start_groups import START, Server, caller, server, warm

__all__ = ["caller", "server", "warm"]

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def seen(warm: Server) -> Server:
    """A server that has read the login of such a start: two runs are there."""
    assert statuses(warm, 1) == [202]
    return warm


def statuses(server: Server, *amounts: int, **how: Any) -> list[int]:
    return [status for status, _, _ in server.post(*({"amount": n} for n in amounts), **how)]


def nothing_is_read() -> Any:
    """Return a block in which no login is looked up before its starts."""
    return mock.patch.object(store().database, "see", side_effect=AssertionError("read"))


def test_starts_are_stored_and_counted_without_a_look_before(seen: Server, caller: User):
    with nothing_is_read():
        answers = seen.post(*({"amount": n} for n in range(20)))

    assert [status for status, _, _ in answers] == [202] * 20
    assert max(seen.groups) > 1
    assert len({document["correlationId"] for _, _, document in answers}) == 20
    assert Run.objects.filter(started_by=caller).count() == Message.objects.count() == 22
    assert QueueState.objects.get(queue__name="loan queue 1").depth == 22
    assert FlowTotals.objects.get(flow_name="loan").accepted == 22


def revoke(caller: User) -> None:
    AuthToken.objects.all().delete()


def let_expire(caller: User) -> None:
    AuthToken.objects.update(expiry=timezone.now() - timedelta(seconds=1))


def deactivate(caller: User) -> None:
    User.objects.filter(pk=caller.pk).update(is_active=False)


def take_role(caller: User) -> None:
    caller.groups.clear()


def take_right(caller: User) -> None:
    RoleMapping.objects.all().delete()


def change_right(caller: User) -> None:
    RoleMapping.objects.update(right="watch")


def give_right_to_another_flow(caller: User) -> None:
    RoleMapping.objects.update(flow=make_loan_flow("another"))


def switch_off(caller: User) -> None:
    Flow.objects.update(active=False)


def rename(caller: User) -> None:
    Flow.objects.update(name="credit")


@pytest.mark.parametrize(
    ("change", "status"),
    [
        (revoke, 401),
        (let_expire, 401),
        (deactivate, 401),
        (take_role, 403),
        (take_right, 403),
        (change_right, 403),
        (give_right_to_another_flow, 403),
        (switch_off, 409),
        (rename, 404),
    ],
)
def test_what_was_changed_counts_at_the_next_start(
    seen: Server, caller: User, change: Callable[[User], None], status: int
):
    change(caller)
    before = set(Run.objects.values_list("pk", flat=True))

    assert statuses(seen, 1, 2) == [status] * 2
    assert set(Run.objects.values_list("pk", flat=True)) == before


def test_the_flow_as_it_is_now_is_started_at_once(seen: Server):
    step = Flow.objects.get().steps.first()
    step.name = "another name"
    step.save()

    [(_, _, document)] = seen.post({"amount": 1})

    version = Run.objects.get(pk=document["correlationId"]).flow_version
    assert version.steps.order_by("position").first().name == "another name"


def test_a_change_of_what_does_not_count_is_read_once(seen: Server, caller: User):
    User.objects.filter(pk=caller.pk).update(last_login=timezone.now())

    assert statuses(seen, 1) == [202]
    with nothing_is_read():
        assert statuses(seen, 2) == [202]


def test_a_role_that_is_given_back_counts_again(seen: Server, caller: User):
    caller.groups.clear()
    assert statuses(seen, 1) == [403]

    caller.groups.add(Group.objects.get())
    assert statuses(seen, 2, 3) == [202, 202]


def test_starts_of_two_callers_have_each_its_own(seen: Server, caller: User):
    other = User.objects.create_user("other", password=PASSWORD)
    grant(other)
    token = AuthToken.objects.create(other)[1]
    assert [statuses(seen, 1, token=token) for _ in range(3)] == [[202]] * 3

    answers = seen.post_each([({"amount": n}, {"token": token if n % 2 else ""}) for n in range(6)])

    assert [status for status, _, _ in answers] == [202] * 6
    for n, (_, _, document) in enumerate(answers):
        starter = Run.objects.get(pk=document["correlationId"]).started_by
        assert starter == (other if n % 2 else caller)


def test_starts_of_two_flows_are_each_of_their_flow(seen: Server):
    make_loan_flow("credit")
    paths = [START, "/async/api/start?flowName=credit"]
    assert [statuses(seen, 1, path=path) for path in paths * 2] == [[202]] * 4

    answers = seen.post_each([({"amount": n}, {"path": paths[n % 2]}) for n in range(6)])

    assert [d["flowName"] for _, _, d in answers] == ["loan", "credit"] * 3
    assert FlowTotals.objects.get(flow_name="credit").accepted == 5
    assert QueueState.objects.get(queue__name="credit queue 1").depth == 5


@pytest.mark.parametrize("room", [0, 1, 3])
def test_a_queue_takes_what_it_has_room_for(seen: Server, room: int):
    Queue.objects.filter(name="loan queue 1").update(size=2 + room)

    answers = statuses(seen, *range(5))

    assert sorted(answers) == [202] * room + [429] * (5 - room)
    assert Run.objects.count() == Message.objects.count() == 2 + room
    assert QueueState.objects.get(queue__name="loan queue 1").depth == 2 + room
    assert FlowTotals.objects.get(flow_name="loan").accepted == 2 + room


def test_reserved_room_is_not_taken(seen: Server):
    Queue.objects.filter(name="loan queue 1").update(size=4)
    QueueState.objects.filter(queue__name="loan queue 1").update(reserved=F("reserved") + 2)

    assert statuses(seen, 1) == [429]


def test_a_payload_that_is_refused_harms_no_other_and_stores_nothing(seen: Server):
    answers = seen.post({"amount": 1}, b'{"amount": "one"}', {"amount": 2})

    assert [status for status, _, _ in answers] == [202, 400, 202]
    assert Run.objects.count() == 4


def losing(happens: bool, then: Callable[[], object] = lambda: None) -> Any:
    """Return a block in which the answer to one store is lost; say whether it happens."""
    start, lost = store().start_as_seen, list[bool]()

    def loses(*arguments: Any) -> bool:
        if lost:
            return start(*arguments)
        lost.append(happens and start(*arguments))
        then()
        raise CommitInDoubt("the connection was lost")

    return mock.patch.object(store(), "start_as_seen", loses)


@pytest.mark.parametrize("happens", [True, False])
def test_starts_in_doubt_are_stored_once(seen: Server, happens: bool):
    with losing(happens):
        answers = seen.post(*({"amount": n} for n in range(5)))

    assert [status for status, _, _ in answers] == [202] * 5
    assert Run.objects.count() == Message.objects.count() == 7
    assert {d["correlationId"] for _, _, d in answers} <= {
        str(pk) for pk in Run.objects.values_list("pk", flat=True)
    }


@pytest.mark.parametrize("happens", [True, False])
def test_a_start_in_doubt_whose_token_was_revoked_meanwhile_is_not_stored_then(
    seen: Server, caller: User, happens: bool
):
    with losing(happens, lambda: revoke(caller)):
        assert statuses(seen, 1) == [504]

    assert Run.objects.count() == 2 + happens
    assert statuses(seen, 1) == [401]


def test_starts_in_doubt_whose_database_stays_lost_are_unknown(seen: Server):
    away = mock.patch.object(
        store().database, "is_as_seen", side_effect=OperationalError("the connection is closed")
    )
    with losing(False), away:
        assert statuses(seen, 1, 2) == [504] * 2

    assert Run.objects.count() == 2


def test_starts_that_cannot_be_stored_together_are_stored_each(seen: Server):
    with mock.patch.object(store(), "start_as_seen", side_effect=IntegrityError("one of them")):
        assert statuses(seen, 1, 2) == [202, 202]

    assert Run.objects.count() == Message.objects.count() == 4


def test_starts_of_which_one_cannot_be_stored_leave_nothing_behind(seen: Server, caller: User):
    starter = starter_seen(AuthToken.objects.get().pk)
    assert starter is not None
    assert starter.seen is not None
    run = new_run(flow_plan("loan"), b"{}", caller, 5, None)

    with pytest.raises(IntegrityError):
        store().start_as_seen(starter.seen, [run, run])

    assert Run.objects.count() == Message.objects.count() == 2
    assert QueueState.objects.get(queue__name="loan queue 1").depth == 2
    assert store().start_as_seen(starter.seen, [run])
    assert FlowTotals.objects.get(flow_name="loan").accepted == 3
