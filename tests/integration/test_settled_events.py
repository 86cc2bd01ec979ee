"""No row is passed over by those who follow a table, in whatever order transactions commit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flows.models import QuietEnd
from flows.monitoring.events.settled import Settled
from tests.examples import examples
from tests.side_by_side import side_by_side

INSERT = "INSERT INTO flows_quietend (run, at) VALUES (%s, now()) RETURNING id"
WRITERS = 3


class Follower:
    """Looks, and keeps the ids that it was given."""

    def __init__(self) -> None:
        self.settled = Settled(QuietEnd, "pk")
        self.seen: list[int] = []
        self.look()

    def look(self) -> None:
        self.seen += [row[0] for row in self.settled.look()]


class Writer:
    """A connection of its own, with the ids of its open transaction and of those committed."""

    def __init__(self, stack: ExitStack) -> None:
        params = connection.get_connection_params()
        for name in ("cursor_factory", "context"):
            params.pop(name, None)
        self.server = stack.enter_context(psycopg.connect(**params))
        self.open: list[int] = []
        self.committed: list[int] = []

    def insert(self) -> int:
        row = self.server.execute(INSERT, [uuid4()]).fetchone()
        assert row
        self.open.append(row[0])
        return self.open[-1]

    def commit(self) -> None:
        self.server.commit()
        self.committed += self.open
        self.open = []

    def rollback(self) -> None:
        self.server.rollback()
        self.open = []


@pytest.fixture
def writers(transactional_db: None) -> Iterator[list[Writer]]:
    with ExitStack() as stack:
        yield [Writer(stack) for _ in range(WRITERS)]


@side_by_side
def test_a_row_that_comes_after_a_later_one_is_waited_for(writers: list[Writer]):
    slow, fast, _ = writers
    follower = Follower()
    first, second = slow.insert(), fast.insert()

    fast.commit()
    for _ in range(3):
        follower.look()
    assert follower.seen == []

    slow.commit()
    for _ in range(2):
        follower.look()
    assert follower.seen == [first, second]


@side_by_side
def test_a_row_that_never_comes_is_waited_for_no_longer_than_its_transaction(
    writers: list[Writer],
):
    slow, fast, other = writers
    other.server.execute("CREATE TEMPORARY TABLE of_another (id int)")
    follower = Follower()
    slow.insert()
    second = fast.insert()
    fast.commit()
    follower.look()

    slow.rollback()
    for _ in range(2):
        follower.look()

    assert follower.seen == [second]


@side_by_side
@settings(
    max_examples=examples(25),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    deeds=st.lists(
        st.tuples(
            st.sampled_from(["insert", "insert", "commit", "rollback", "look"]),
            st.integers(0, WRITERS - 1),
        ),
        max_size=40,
    )
)
def test_every_committed_row_is_seen_once_and_in_order(writers: list[Writer], deeds: Any):
    for writer in writers:
        writer.commit()
        writer.committed = []
    follower = Follower()

    for deed, number in deeds:
        follower.look() if deed == "look" else getattr(writers[number], deed)()
    for writer in writers:
        writer.commit()
    for _ in range(3):
        follower.look()

    assert follower.seen == sorted(id for writer in writers for id in writer.committed)


@pytest.mark.django_db(transaction=True)
def test_rows_of_one_writer_are_seen_at_once():
    follower = Follower()

    ids = [QuietEnd.objects.create(run=uuid4(), at="2026-01-01T00:00Z").pk for _ in range(3)]
    QuietEnd.objects.filter(pk=ids[1]).delete()
    for _ in range(3):
        follower.look()

    assert follower.seen == [ids[0], ids[2]]
