"""Edits, starts, rollbacks and commits of several threads: each run runs what its flow had then."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from functools import partial

import pytest
from django.contrib.auth.models import User
from django.test import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from knox.models import AuthToken

from flows.models import Flow, Message, QueueState, version_maker
from tests.builders import work_until_idle
from tests.examples import examples
from tests.interleaving import interleave
from tests.players import EDITS, FLOWS, PLAYS, STARTS, History, Player, imbalances, wrong_runs
from tests.side_by_side import at_the_same_time, shared_database

pytestmark = pytest.mark.django_db(transaction=True)

# How long threads run freely, after which each brings its block to an end.
FREE_SECONDS = 4.0


@pytest.fixture(autouse=True)
def shared(transactional_db, tmp_path) -> Iterator[None]:
    with shared_database(tmp_path):
        yield


@pytest.fixture
def headers(shared) -> dict[str, str]:
    _, token = AuthToken.objects.create(User.objects.create_superuser("root"))
    return {"Authorization": f"Bearer {token}"}


def left_over() -> int:
    states = QueueState.objects.values_list("depth", "reserved", "delayed")
    return Message.objects.count() + sum(map(sum, states))


@settings(
    max_examples=examples(6),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    plays=st.lists(PLAYS, min_size=2, max_size=3),
    choices=st.lists(st.integers(0, 2), max_size=40),
)
def test_whatever_the_order_each_run_runs_a_script_that_its_flow_had(plays, choices, headers):
    history = History.of_new_flows()
    players = [Player(history, client=Client(headers=headers)) for _ in plays]

    raised = interleave(
        iter(choices),
        *[partial(player.play_by_turns, play) for player, play in zip(players, plays, strict=True)],
    )

    assert raised == []
    assert wrong_runs(players) == []
    assert imbalances() == []
    assert left_over() == 0


def random_block(dice: random.Random, depth: int = 2) -> list:
    """Return a few actions, some of them in transactions and savepoints."""
    return [
        (dice.random() < 0.6, random_block(dice, depth - 1))
        if depth and dice.random() < 0.4
        else (dice.choice(EDITS + STARTS + STARTS), dice.choice(FLOWS))
        for _ in range(dice.randint(1, 4))
    ]


@pytest.mark.parametrize("lock_timeout", ["1s", "1ms"])
def test_threads_that_run_freely_beside_a_worker_do_so_too(headers, lock_timeout, monkeypatch):
    # With a short one transactions make versions within, as they do on a busy machine.
    settings = version_maker.SETTINGS.replace("'1s'", f"'{lock_timeout}'")
    monkeypatch.setattr(version_maker, "SETTINGS", settings)
    seed = random.randrange(10**9)
    print(f"seed {seed}")
    history, ends = History.of_new_flows(), time.monotonic() + FREE_SECONDS
    players = [Player(history, client=Client(headers=headers)) for _ in range(4)]

    def play(player: Player, dice: random.Random) -> None:
        while time.monotonic() < ends:
            player.play(random_block(dice))

    def work() -> None:
        while time.monotonic() < ends:
            for flow in Flow.objects.filter(name__in=history.names.values()):
                work_until_idle(flow)

    raised = at_the_same_time(
        *[partial(play, each, random.Random(seed + n)) for n, each in enumerate(players)],
        work,
    )

    assert raised == []
    assert sum(len(player.started) for player in players) > 0
    assert wrong_runs(players) == []
    assert imbalances() == []
    assert left_over() == 0
