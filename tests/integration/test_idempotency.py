"""Idempotency keys under contention, and over the change that gave them to their callers."""

from __future__ import annotations

from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.utils import timezone

from flows import engine
from flows.errors import IdempotencyConflict
from flows.models import Flow, IdempotencyKey, Run
from flows.options import RunOptions
from flows.plan import flow_plan
from flows.starts.conflict import Asked, conflict
from tests.builders import make_flow, run_of
from tests.integration.at_once import at_once

pytestmark = pytest.mark.django_db(transaction=True)

CALLERS = "0007_idempotency_keys_by_caller"


def test_one_key_of_two_users_at_once_starts_a_run_for_each():
    make_flow()
    users = [User.objects.create_user(name) for name in ("one", "other")] * 4

    started = at_once(
        [lambda u=user: engine.start("flow", {}, idempotency_key="k", user=u) for user in users]
    )

    assert Run.objects.count() == 2
    for user, answer in zip(users, started, strict=True):
        assert run_of(answer.correlation_id).started_by == user
    assert [answer.repeated for answer in started].count(False) == 2


def test_one_key_for_different_requests_at_once_starts_one_of_them():
    make_flow()

    answers = at_once(
        [lambda n=n: engine.start("flow", {"n": n}, idempotency_key="k") for n in range(6)]
    )

    assert Run.objects.count() == IdempotencyKey.objects.count() == 1
    assert [isinstance(answer, IdempotencyConflict) for answer in answers].count(False) == 1


def test_going_back_leaves_one_key_of_several_users_and_keys_go_to_those_who_started():
    make_flow()
    users = [User.objects.create_user(name) for name in ("one", "other")]
    keys = [(users[0], "both"), (users[1], "both"), (users[0], "mine"), (None, "ours")]
    runs = [
        engine.start("flow", {}, user=user, idempotency_key=key).correlation_id
        for user, key in keys
    ]
    # No later migration changes the table, so this one is undone alone.
    loader = MigrationLoader(connection, replace_migrations=False)
    migration = loader.get_migration("flows", CALLERS)
    state = loader.project_state(migration.dependencies)

    with connection.schema_editor(atomic=True) as editor:
        migration.unapply(state.clone(), editor)
    with connection.cursor() as cursor:
        cursor.execute("SELECT run_id, created_at FROM flows_idempotencykey")
        kept = cursor.fetchall()
    with connection.schema_editor(atomic=True) as editor:
        migration.apply(state.clone(), editor)

    assert len(kept) == 3
    callers = dict(IdempotencyKey.objects.values_list("run", "caller"))
    assert len(callers) == 3
    assert (callers.pop(runs[2]), callers.pop(runs[3])) == (str(users[0].pk), "")
    assert callers in ({runs[0]: str(users[0].pk)}, {runs[1]: str(users[1].pk)})


def test_a_process_that_does_not_know_callers_yet_can_still_keep_a_key():
    make_flow()
    run_id = engine.start("flow", {}).correlation_id

    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO flows_idempotencykey (flow_name, key, body_digest, run_id, created_at)"
            " VALUES (%s, %s, %s, %s, %s)",
            ["flow", "k", "x" * 64, run_id.hex, str(timezone.now())],
        )

    assert IdempotencyKey.objects.get().caller == ""


def test_a_key_whose_run_is_just_purged_still_has_another_request():
    known = IdempotencyKey(run_id=uuid4(), body_digest="of another one")

    error = conflict(known, Asked("{}", RunOptions(priority=4)))

    assert "the payload or startAt differs" in str(error)


def by_itself(flow: str) -> engine.Started:
    return engine.start(flow, {}, idempotency_key="k")


def with_others(flow: str) -> engine.Started:
    [started] = engine.start_together([engine.StartRequest(flow_plan(flow), b"{}", None, "k")])
    assert isinstance(started, engine.Started)
    return started


def in_a_batch(flow: str) -> engine.Started:
    [started] = engine.start_keyed(flow_plan(flow), [("k", b"{}")])
    assert isinstance(started, engine.Started)
    return started


def rename(flow: Flow, name: str) -> None:
    flow.name = name
    flow.save()


@pytest.mark.parametrize("start", [by_itself, with_others, in_a_batch])
def test_a_key_names_the_same_run_after_its_flow_was_renamed(start):
    flow = make_flow()
    first = start("flow")
    rename(flow, "between")
    engine.start("between", {})
    rename(flow, "other")

    again = start("other")

    assert (again.correlation_id, again.repeated) == (first.correlation_id, True)
    assert again.flow_name == "other"


@pytest.mark.parametrize("start", [by_itself, with_others, in_a_batch])
def test_a_key_of_a_flow_that_has_the_former_name_is_another(start):
    flow = make_flow()
    engine.start("flow", {})
    rename(flow, "other")
    rename(make_flow("later"), "flow")
    first = start("flow")

    second = start("other")

    assert second.correlation_id != first.correlation_id
    assert not second.repeated
